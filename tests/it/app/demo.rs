//! The demonstration says where it is, last and alone, and that its calls are made up.

use crate::support::app::Settings;
use std::io::{BufRead, BufReader};

#[tokio::test]
async fn the_address_stands_last_and_alone_and_pages_say_that_calls_are_made_up() {
    let mut child = Settings::default().spawn(&["demo", "--bind", "127.0.0.1:0"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let address = lines.next().unwrap().unwrap();
    let page = reqwest::get(&address).await.unwrap().text().await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    assert!(first.contains("Made-up calls"), "{first}");
    assert!(page.contains("All calls here are made up"), "{page}");
    assert!(lines.next().is_none(), "nothing stands behind the address");
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.next().is_none(), "nothing is logged");
}

#[test]
fn pictures_without_a_browser_are_refused_with_the_way_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    let pictures = pictures.to_str().unwrap();
    let settings = Settings::default().with("PATH", folder.path().to_str().unwrap());

    let missing = settings.run(&["demo", "--record", pictures]);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert_eq!(missing.status.code(), Some(1), "{said}");
    assert!(said.contains("apt install chromium"), "{said}");
    assert!(said.contains("--chromium PATH"), "{said}");

    let arguments = [
        "demo",
        "--record",
        pictures,
        "--chromium",
        "/nowhere/chromium",
    ];
    let named = Settings::default().run(&arguments);
    let said = String::from_utf8_lossy(&named.stderr);
    assert_eq!(named.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/chromium is no file"), "{said}");
    assert!(!folder.path().join("pictures").exists());
}
