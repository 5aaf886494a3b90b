//! `callscope demo --record`: pictures of the demonstration for the README and the book.

use super::animation::{
    Frame, Picture, PictureError, read_picture, write_animation, write_picture,
};
use super::chromium::{Chromium, ChromiumError, Window};
use crate::tls::trust_authorities;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the demonstration may take until its history is read.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The highest picture of a page, in pixels.
const HEIGHT_MAX: u32 = 1500;
/// The size of the picture that moves, in pixels.
const TOUR: Window = Window {
    width: 1000,
    height: 640,
    is_phone: false,
    is_dark: false,
};

/// Why the pictures could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("{0}")]
    Chromium(#[from] ChromiumError),
    #[error("{0}")]
    Picture(#[from] PictureError),
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the demonstration does not answer: {0}")]
    Demo(#[from] reqwest::Error),
    #[error("the history of the demonstration was not read in five minutes")]
    Unread,
    #[error("no call of this seed is split and has a ghost: try another --seed")]
    NoCall,
}

/// A page of which pictures are taken.
struct PictureOfPage {
    /// The name of the files.
    name: &'static str,
    path: String,
    /// What the picture shows at least: it ends below the last of these, by a CSS selector.
    down_to: &'static str,
    /// A script that runs before a picture of a large window.
    before: &'static str,
}

/// Of a call, the first problem and who was there when stay: what stands between would make the
/// picture too high to be seen at a glance.
const SHORTEN_CALL: &str = "for (const part of document.querySelectorAll('.trouble .find > li + li, \
     section:has(.people), .box:has(.people), .window')) part.style.display = 'none'";

/// Takes all pictures of the demonstration at this address into the folder.
///
/// # Errors
/// When Chromium fails, the folder cannot be written, or the demonstration has no call to show.
pub(super) async fn record_demo(
    address: SocketAddr,
    chromium: &Path,
    folder: &Path,
) -> Result<(), RecordError> {
    let write_error = |path: &Path, source| RecordError::Write {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
    let base = format!("http://{address}");
    let mut chromium = Chromium::start(chromium).await?;
    let taken = take_pictures(&mut chromium, &base).await;
    chromium.stop().await;
    for (name, bytes) in taken? {
        let path = folder.join(name);
        std::fs::write(&path, &bytes).map_err(|source| write_error(&path, source))?;
        println!("{} ({} KB)", path.display(), bytes.len().div_ceil(1000));
    }

    Ok(())
}

/// All pictures, by the name of their file.
async fn take_pictures(
    chromium: &mut Chromium,
    base: &str,
) -> Result<Vec<(String, Vec<u8>)>, RecordError> {
    wait_for_history(base).await?;
    let call = find_telling_call(base).await?;
    let mut files = Vec::new();
    for page in pages(&call) {
        for window in windows() {
            let picture = picture_of_page(chromium, base, &page, window).await?;
            let name = file_name(page.name, window);
            files.push((name, write_picture(&picture)?));
        }
    }

    let tour = take_tour(chromium, base, &call).await?;
    files.push(("tour.png".to_owned(), write_animation(&tour)?));

    Ok(files)
}

/// The pages of which pictures are taken; `call` is the id of the most telling call.
fn pages(call: &str) -> [PictureOfPage; 4] {
    let page = |name, path: &str, down_to| PictureOfPage {
        name,
        path: path.to_owned(),
        down_to,
        before: if name == "call" { SHORTEN_CALL } else { "" },
    };

    [
        page("overview", "/", "#cards"),
        page("call", &format!("/calls/{call}"), "section:has(.tl)"),
        page("statistics", "/statistics?period=365d", "main .two"),
        page("problems", "/problems", "main"),
    ]
}

/// Desktop and phone, light and dark.
fn windows() -> [Window; 4] {
    let window = |is_phone, is_dark| Window {
        width: if is_phone { 390 } else { 1120 },
        height: if is_phone { 844 } else { 720 },
        is_phone,
        is_dark,
    };

    [
        window(false, false),
        window(false, true),
        window(true, false),
        window(true, true),
    ]
}

/// `overview.png`, `overview-phone-dark.png`.
fn file_name(page: &str, window: Window) -> String {
    let phone = if window.is_phone { "-phone" } else { "" };
    let dark = if window.is_dark { "-dark" } else { "" };

    format!("{page}{phone}{dark}.png")
}

/// A picture of a page from its top. A phone shows as much as it has; elsewhere, the window is as
/// high as the page says.
async fn picture_of_page(
    chromium: &mut Chromium,
    base: &str,
    page: &PictureOfPage,
    window: Window,
) -> Result<Picture, RecordError> {
    chromium.resize(window).await?;
    chromium.open(&format!("{base}{}", page.path)).await?;
    if !window.is_phone {
        chromium.evaluate(page.before).await?;
        let down = chromium.evaluate(&script_for_bottom(page.down_to)).await?;
        let down = down.as_u64().and_then(|down| u32::try_from(down).ok());
        let height = down.unwrap_or(window.height) + 24;
        let height = height.clamp(window.height, HEIGHT_MAX);
        chromium.resize(Window { height, ..window }).await?;
    }

    settle().await;

    Ok(read_picture(&chromium.take_picture().await?)?)
}

/// A script that says how far down the page the last of these elements goes, in pixels.
fn script_for_bottom(selector: &str) -> String {
    format!(
        "Math.ceil([...document.querySelectorAll({selector:?})].pop()?.getBoundingClientRect()\
         .bottom + scrollY)"
    )
}

/// What a newcomer sees within half a minute: calls that run, the one that needs a look, why, and
/// how it was in the last year.
async fn take_tour(
    chromium: &mut Chromium,
    base: &str,
    call: &str,
) -> Result<Vec<Frame>, RecordError> {
    let mut frames = Vec::new();
    chromium.resize(TOUR).await?;
    chromium.open(base).await?;
    settle().await;
    for shown_ms in [1000, 1000, 1000, 1000] {
        frames.push(take_frame(chromium, shown_ms).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    chromium.open(&format!("{base}/calls/{call}")).await?;
    settle().await;
    frames.push(take_frame(chromium, 4000).await?);
    chromium
        .evaluate("document.querySelector('.tl')?.closest('section')?.scrollIntoView()")
        .await?;
    settle().await;
    frames.push(take_frame(chromium, 4000).await?);
    chromium
        .open(&format!("{base}/statistics?period=365d"))
        .await?;
    settle().await;
    frames.push(take_frame(chromium, 3000).await?);

    Ok(frames)
}

async fn take_frame(chromium: &mut Chromium, shown_ms: u16) -> Result<Frame, RecordError> {
    Ok(Frame {
        picture: read_picture(&chromium.take_picture().await?)?,
        shown_ms,
    })
}

/// Lets a page be drawn.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

/// Waits until the history of all rooms is read and counted.
async fn wait_for_history(base: &str) -> Result<(), RecordError> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let status = ask(base, "/api/v1/status").await?;
        let history = &status["history"];
        if history["pages"].as_i64() > Some(0) && history["rooms_open"] == 0 {
            // What is counted from it, and what was wrong, is derived after the last page.
            let problems = ask(base, "/api/v1/problems").await?;
            if problems["still_deriving"] == false {
                tokio::time::sleep(Duration::from_secs(5)).await;
                return Ok(());
            }
        }

        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    Err(RecordError::Unread)
}

/// The id of the running call with a split and a ghost.
async fn find_telling_call(base: &str) -> Result<String, RecordError> {
    let active = ask(base, "/api/v1/calls/active").await?;
    let mut calls = active["data"].as_array().into_iter().flatten();
    let has = |call: &Value, kind: &str| {
        let mut findings = call["findings"].as_array().into_iter().flatten();
        findings.any(|finding| finding["kind"] == kind)
    };

    calls
        .find(|call| has(call, "apart") && has(call, "silent"))
        .and_then(|call| call["id"].as_str())
        .map(str::to_owned)
        .ok_or(RecordError::NoCall)
}

async fn ask(base: &str, path: &str) -> Result<Value, RecordError> {
    // The demonstration is on this machine.
    let client = trust_authorities(reqwest::Client::builder())
        .no_proxy()
        .timeout(ANSWER);
    let answer = client.build()?.get(format!("{base}{path}")).send().await?;

    Ok(answer.error_for_status()?.json().await?)
}
