//! `callscope backfill`: the real program reads history in the foreground, as the server would have
//! done.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::app::mixture::plain;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use callscope::sim::{Fault, FaultKind};
use serde_json::json;
use std::process::{Command, Output};

const ALICE: &str = "@alice:sim.example";
const CALLS: i64 = 150;

/// A room with history that the bot is in.
fn room(bed: &Bed, calls: i64) -> String {
    let room = bed.room(&[ALICE]);
    for n in 0..calls {
        bed.joins(&room, ALICE, "AD", now() - 9_000_000 + n * 2000);
        bed.leaves(&room, ALICE, "AD", now() - 9_000_000 + n * 2000 + 1000);
    }

    room
}

async fn run(settings: &Settings, arguments: &'static [&'static str]) -> (i32, String, String) {
    let settings = settings.clone();
    words(
        &tokio::task::spawn_blocking(move || settings.run(arguments))
            .await
            .unwrap(),
    )
}

/// Exit code, standard output and standard error.
fn words(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The calls as shown by a server that reads no history itself.
async fn shown(bed: &Bed) -> Vec<String> {
    let app = bed.start_with(&[("BACKFILL", "false")]).await;
    app.ready().await;
    let calls = plain(&app).await;
    app.app.stop().await;

    calls
}

#[tokio::test]
async fn it_reads_what_the_server_would_have_read_and_then_has_nothing_to_do() {
    let bed = Bed::new().await;
    for _ in 0..2 {
        room(&bed, CALLS);
    }

    let (code, out, err) = run(&settings(&bed), &["backfill"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("2 of 2 rooms read; ")
            && err.contains("reading begins")
            && err.contains("history is read"),
        "{out}{err}"
    );
    assert!(
        !err.contains('\u{1b}') && !err.contains('█'),
        "no bar where there is no terminal: {err}"
    );
    let asked = bed.hs.count("/messages");
    let (code, out, err) = run(&settings(&bed), &["backfill"]).await;
    assert_eq!((code, bed.hs.count("/messages")), (0, asked), "{out}{err}");
    assert!(out.contains("nothing to do"), "{out}");
    let read = shown(&bed).await;
    assert!(
        bed.hs.count("/messages") <= asked + 2,
        "the server only looks whether something came since"
    );

    let other = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", other.path().join("other.db").display());
    let app = bed.start_with(&[("DATABASE_URL", &database)]).await;
    app.status_until("the server's own", |status| {
        status["totals"]["calls"] == 2 * CALLS && status["history_open"] == 0
    })
    .await;
    assert_eq!(plain(&app).await, read);
    app.app.stop().await;
}

#[tokio::test]
async fn stopped_at_a_page_or_killed_it_goes_on_where_it_was() {
    let bed = Bed::new().await;
    room(&bed, CALLS);
    let small = settings(&bed).with("CALLSCOPE_BACKFILL_PAGE", "2");
    for signal in ["-INT", "-KILL"] {
        let before = bed.hs.count("/messages");
        let child = small.spawn(&["backfill"]);
        eventually("some pages", 60, async || {
            (bed.hs.count("/messages") > before + 5).then_some(())
        })
        .await;
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        assert!(
            sent.success() && !output.status.success(),
            "it was under way: {output:?}"
        );
        if signal == "-INT" {
            let (code, out, _) = words(&output);
            assert!(
                code == 130
                    && out.contains("0 of 1 room read")
                    && out.contains("goes on from here"),
                "{code} {out}"
            );
        }
    }

    let (code, out, err) = run(&small, &["backfill"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(err.contains("reading goes on pages="), "{err}");
    let firsts = bed
        .hs
        .requests()
        .iter()
        .filter(|(_, path)| path.contains("/messages") && !path.contains("from="))
        .count();
    assert_eq!(firsts, 1, "nobody began again");
    assert_eq!(shown(&bed).await.len(), usize::try_from(CALLS).unwrap());
}

#[tokio::test]
async fn not_beside_a_server() {
    let bed = Bed::new().await;
    let server = App::ready(&settings(&bed)).await;
    let (code, out, err) = run(&settings(&bed), &["backfill"]).await;
    assert!(
        code == 1
            && err.contains("in use by another Callscope (process ")
            && err.contains("/status"),
        "{out}{err}"
    );
    server.kill();
}

#[tokio::test]
async fn the_rooms_that_are_named_and_no_others() {
    let bed = Bed::new().await;
    let (one, other) = (room(&bed, 20), room(&bed, 20));
    let settings = settings(&bed);
    let name: &'static str = one.clone().leak();
    let (code, out, err) = run(&settings, vec!["backfill", name].leak()).await;
    assert!(code == 0 && out.contains("1 of 1 room read"), "{out}{err}");
    let asked = |room: &str| {
        let part = crate::support::http::quote(room);
        let end = format!("{}/messages", &part[part.len() - 10..]);
        bed.hs.count(&end)
    };

    assert!(asked(&one) > 0 && asked(&other) == 0);
    for (wrong, fix) in [
        ("!no:sim.example", "CALLSCOPE_ROOMS"),
        ("#no:sim.example", "no room has this alias"),
    ] {
        let (code, _, err) = run(&settings, vec!["backfill", wrong].leak()).await;
        assert!(
            code == 1 && err.contains(wrong) && err.contains(fix),
            "{err}"
        );
    }

    let (code, _, err) = run(
        &settings.with("CALLSCOPE_ACCESS_TOKEN", "wrong"),
        &["backfill"],
    )
    .await;
    assert!(code == 1 && err.contains("token"), "{err}");
}

#[tokio::test]
async fn a_room_that_cannot_be_read_is_said_and_the_others_are_read() {
    let bed = Bed::new().await;
    let (one, other) = (room(&bed, 20), room(&bed, 20));
    let part = crate::support::http::quote(&one);
    let fault = FaultKind::Status(500, json!({"errcode": "M_UNKNOWN", "error": "x"}));
    bed.hs.inject(Fault::lasting(
        &format!("{}/messages", &part[part.len() - 10..]),
        fault,
    ));
    let (code, out, err) = run(&settings(&bed), &["backfill"]).await;
    assert!(code == 1 && out.contains("1 of 2 rooms read"), "{out}{err}");
    let line = err
        .lines()
        .find(|line| line.contains("could not be read"))
        .unwrap();
    assert!(
        line.contains(&one) && line.contains("500") && !line.contains(&other),
        "{line}"
    );
}

#[tokio::test]
async fn what_happens_between_it_and_the_server_is_read_too() {
    let bed = Bed::new().await;
    let room = room(&bed, 20);
    assert_eq!(run(&settings(&bed), &["backfill"]).await.0, 0);
    for n in 0..CALLS {
        bed.joins(&room, ALICE, "AD", now() - 900_000 + n * 2000);
        bed.leaves(&room, ALICE, "AD", now() - 900_000 + n * 2000 + 1000);
    }

    let app = bed.start().await;
    let all = usize::try_from(CALLS).unwrap() + 20;
    app.calls_until("both", |calls| calls.len() == all).await;
    app.app.stop().await;
}
