//! `callscope demo --record`: the pictures of the README.

use crate::support::app::Settings;
use crate::support::chromium::executable;
use std::collections::BTreeSet;

/// The largest picture, and the largest one that moves, in bytes.
const PICTURE_MAX: u64 = 260_000;
const TOUR_MAX: u64 = 1_000_000;

/// Width and height of a PNG, from its header.
fn size_of_png(bytes: &[u8]) -> (u32, u32) {
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"));
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());

    (number(16), number(20))
}

/// How many frames a PNG has that moves; `None` if it does not.
fn frames_of_png(bytes: &[u8]) -> Option<u32> {
    let at = bytes.windows(4).position(|name| name == b"acTL")? + 4;

    Some(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

#[test]
#[ignore = "needs Chromium: `scripts/test browser`"]
fn the_demo_takes_pictures_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    let chromium = executable();
    let output = Settings::default().run(&[
        "demo",
        "--record",
        pictures.to_str().unwrap(),
        "--chromium",
        chromium.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let mut expected = BTreeSet::from(["tour.png".to_owned()]);
    for page in ["overview", "call", "statistics", "problems"] {
        for window in ["", "-dark", "-phone", "-phone-dark"] {
            expected.insert(format!("{page}{window}.png"));
        }
    }

    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&pictures).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let length = u64::try_from(bytes.len()).unwrap();
        if name == "tour.png" {
            assert!(length < TOUR_MAX, "{name}: {length}");
            assert!(frames_of_png(&bytes) > Some(4), "{name}");
        } else {
            assert!(length < PICTURE_MAX, "{name}: {length}");
            assert_eq!(frames_of_png(&bytes), None, "{name}");
            let is_phone = name.contains("phone");
            let width = if is_phone { 780 } else { 1120 };
            assert_eq!(size_of_png(&bytes).0, width, "{name}");
        }

        found.insert(name);
    }

    assert_eq!(found, expected);
    assert_ne!(
        std::fs::read(pictures.join("call.png")).unwrap(),
        std::fs::read(pictures.join("call-dark.png")).unwrap(),
    );
}
