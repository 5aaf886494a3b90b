//! How facts become text: spans, counts, times and names of strangers.

use super::text::NAME_MAX;
use super::*;
use serde_json::json;

const HOUR: i64 = 60 * MINUTE;
/// 2026-11-22 14:47:16 UTC, a Sunday.
const NOW: i64 = 1_795_358_836_000;

#[test]
fn spans_are_written_as_people_say_them() {
    let runs = [0, 227_000, 2_952_000, 4_329_000, 100 * HOUR].map(running_duration);
    assert_eq!(runs, ["0:00", "3:47", "49:12", "1:12:09", "4 d 4 h"]);
    let over = [
        59_999,
        12 * MINUTE,
        100 * MINUTE,
        312 * MINUTE,
        51 * HOUR,
        -5,
    ]
    .map(ended_duration);
    assert_eq!(
        over,
        [
            "under 1 min",
            "12 min",
            "1 h 40",
            "5 h 12",
            "2 d 3 h",
            "under 1 min"
        ]
    );
    assert_eq!(
        [0, 56 * HOUR + 52 * MINUTE, 1184 * HOUR].map(total_duration),
        ["0 min", "56 h 52", "1,184 h"]
    );
}

#[test]
fn counts_and_changes_have_words() {
    assert_eq!(
        [0_i64, 999, 1284, -1_000_000].map(group_digits),
        ["0", "999", "1,284", "-1,000,000"]
    );
    assert_eq!(group_digits(i64::MIN), "-9,223,372,036,854,775,808");
    assert_eq!(count_with_noun(1_i64, "call", "calls"), "1 call");
    assert_eq!(
        [
            change_in_count(23_i64, 19_i64),
            change_in_count(1_i64, 4_i64),
            change_in_count(2_i64, 2_i64)
        ],
        ["4 more", "3 fewer", "the same"]
    );
    assert_eq!(change_in_duration(HOUR, 72 * MINUTE), "12 min less");
    assert_eq!(
        [999_i64, 18_400_000, 1_450_000].map(byte_size),
        ["999 bytes", "18.4 MB", "1.4 MB"]
    );
}

#[test]
fn a_time_says_its_day_only_when_it_must() {
    let text = |style: TimeStyle, ms: i64| style.text(ms, NOW);
    assert_eq!(text(TimeStyle::When, NOW), "14:47");
    assert_eq!(text(TimeStyle::When, NOW - 250 * DAY), "17 March");
    assert_eq!(
        text(TimeStyle::Moment, NOW - 1350 * DAY),
        "13 March 2023, 14:47"
    );
    assert_eq!(text(TimeStyle::DayName, NOW), "Sunday, 22 November");
    assert_eq!(
        time_of_day(NOW).to_string(),
        r#"<time datetime="2026-11-22T14:47:16Z" data-f="clock">14:47</time>"#
    );
    assert_eq!(text(TimeStyle::Stamp(false), NOW), "14:47:16");
    assert_eq!(text(TimeStyle::Stamp(true), NOW), "22 Nov, 14:47:16");
    assert_eq!(
        text(TimeStyle::Stamp(true), NOW - 1350 * DAY),
        "13 Mar 2023, 14:47:16"
    );
    // A calendar day is not a moment, so the browser must not convert it to its time zone.
    assert_eq!(
        utc_day(NOW - 250 * DAY, NOW).to_string(),
        r#"<time datetime="2026-03-17">17 March</time>"#
    );
    assert_eq!(
        utc_day_name(NOW, NOW).to_string(),
        r#"<time datetime="2026-11-22">Sunday, 22 November</time>"#
    );
}

#[test]
fn every_number_is_some_time() {
    assert_eq!(rfc3339(NOW), "2026-11-22T14:47:16.000Z");
    assert_eq!(
        rfc3339(crate::rtc::time::LATEST_MS),
        "9999-12-31T23:59:59.999Z"
    );

    for ms in [i64::MIN, i64::MAX, 0, -1] {
        assert!(day_and_time(ms, NOW).to_string().ends_with("</time>"));
        let _ = (
            running_duration(ms),
            ended_duration(ms),
            total_duration(ms),
            start_of_day(ms),
        );
    }
}

#[test]
fn text_of_strangers_is_made_harmless() {
    assert_eq!(sanitize_line("a\u{202e}b\u{0}\nc"), "ab c");
    assert_eq!(sanitize_line("\u{200b}\u{2066} "), "(no visible name)");
    let long = sanitize_line(&"é".repeat(60_000));
    assert!(long.ends_with('…') && long.chars().count() == NAME_MAX + 1);
    assert_eq!(sanitize_line("👩‍🚀 Ada"), "👩‍🚀 Ada");
    let raw = raw_json(&json!({ "a": "<b>&\"\u{202e}\u{0}" })).to_string();
    assert_eq!(raw, "{\n  \"a\": \"&lt;b&gt;&amp;\\\"\\u202e\\u0000\"\n}");
    assert!(raw_json(&json!("x".repeat(60_000))).to_string().len() < 5000);
    assert_eq!(path_segment("!a/ü?#:x"), "!a%2F%C3%BC%3F%23:x");
}

#[test]
fn names_of_keys_are_code_and_nothing_else_is_markup() {
    assert_eq!(
        mark_code("`next` of <an> answer").to_string(),
        "<code>next</code> of &lt;an&gt; answer"
    );
}

#[test]
fn a_name_from_right_to_left_stays_in_its_place() {
    assert_eq!(isolate_bidi("Zoë"), "Zoë");
    assert_eq!(isolate_bidi("דנה 2"), "\u{2068}דנה 2\u{2069}");
}

#[test]
fn durations_are_rounded_to_what_is_shown() {
    assert_eq!(ended_duration(MINUTE - 1), "under 1 min");
    assert_eq!(ended_duration(MINUTE + 29_999), "1 min");
    assert_eq!(ended_duration(MINUTE + 30_000), "2 min");
    assert_eq!(ended_duration(HOUR - 1), "1 h 00");
    assert_eq!(ended_duration(2 * HOUR - 1), "2 h 00");
    assert_eq!(ended_duration(DAY - 1), "1 d 0 h");
    assert_eq!(ended_duration(2 * DAY - 1), "2 d 0 h");
    assert_eq!(longest_duration(MINUTE - 1), "under 1 min");
    assert_eq!(longest_duration(MINUTE + 1), "2 min");
    assert_eq!(longest_duration(2 * MINUTE), "2 min");
    assert_eq!(longest_duration(DAY + 1), "1 d 1 h");
    assert_eq!(longest_duration(DAY - 1), "1 d 0 h");
    assert_eq!(total_duration(0_i64), "0 min");
    assert_eq!(total_duration(1_i64), "under 1 min");
    assert_eq!(total_duration(100 * HOUR - 1), "100 h");
    assert_eq!(total_duration(100 * HOUR + 30 * MINUTE), "101 h");
    assert_eq!(total_duration(i64::MAX), "2,562,047,788,015 h");
}
