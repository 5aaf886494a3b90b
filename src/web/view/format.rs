//! Formats facts as text: times, spans, counts and names, in the same way on all pages.

mod text;
pub use text::{
    CodedText, RawJson, host_of_url, isolate_bidi, list_in_words, mark_code, path_segment,
    raw_json, sanitize_line, sanitize_message, sfu_href,
};

use askama::filters::HtmlSafe;
use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use std::fmt;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// The date and time in UTC of a moment, ms since the Unix epoch; works for every `i64`.
#[must_use]
pub fn utc_datetime(ms: impl WholeNumber) -> DateTime {
    date(1970, 1, 1)
        .at(0, 0, 0, 0)
        .saturating_add(SignedDuration::from_millis(ms.whole()))
}

/// The start of the UTC day of a time; both in ms since the Unix epoch.
#[must_use]
pub fn start_of_day(ms: i64) -> i64 {
    ms.div_euclid(DAY).saturating_mul(DAY)
}

/// A moment, ms since the Unix epoch, in RFC 3339 with milliseconds.
#[must_use]
pub fn rfc3339(ms: impl WholeNumber) -> String {
    utc_datetime(ms)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

/// A whole number or a reference to one: templates pass references.
pub trait WholeNumber {
    fn whole(&self) -> i64;
}

impl WholeNumber for i64 {
    fn whole(&self) -> i64 {
        *self
    }
}

impl WholeNumber for usize {
    fn whole(&self) -> i64 {
        i64::try_from(*self).unwrap_or(i64::MAX)
    }
}

impl<T: WholeNumber> WholeNumber for &T {
    fn whole(&self) -> i64 {
        (**self).whole()
    }
}

/// How a time is written on a page. The viewer's browser rewrites it in the same style in its own
/// time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeStyle {
    /// `14:05`
    Clock,
    /// `14:05:12`
    Seconds,
    /// Like `Seconds`; with the day (`22 Nov, 14:05:12`) if the times beside it are of several
    /// days.
    Stamp(bool),
    /// `14:05` today, `12 March` this year, else `14 March 2023`
    When,
    /// Like `When`, but always with the time.
    Moment,
    /// `12 March`, or `14 March 2023`
    Day,
    /// `Sunday, 22 November`
    DayName,
}

impl TimeStyle {
    /// The word by which the browser knows the style, in `data-f`.
    fn word(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Seconds => "seconds",
            Self::Stamp(_) => "stamp",
            Self::When => "when",
            Self::Moment => "moment",
            Self::Day => "day",
            Self::DayName => "dayname",
        }
    }

    /// The time in this style in UTC. `now` says which day and which year need not be named. Both
    /// times are in ms.
    fn text(self, ms: i64, now: i64) -> String {
        let (at, today) = (utc_datetime(ms), utc_datetime(now));
        let day = if at.year() == today.year() {
            "%-d %B"
        } else {
            "%-d %B %Y"
        };

        match self {
            Self::Clock => at.strftime("%H:%M").to_string(),
            Self::Stamp(true) if at.year() != today.year() => {
                at.strftime("%-d %b %Y, %H:%M:%S").to_string()
            }
            Self::Stamp(true) => at.strftime("%-d %b, %H:%M:%S").to_string(),
            Self::Seconds | Self::Stamp(false) => at.strftime("%H:%M:%S").to_string(),
            Self::When | Self::Moment if at.date() == today.date() => {
                at.strftime("%H:%M").to_string()
            }
            Self::When | Self::Day => at.strftime(day).to_string(),
            Self::Moment => at.strftime(&format!("{day}, %H:%M")).to_string(),
            Self::DayName => at.strftime(&format!("%A, {day}")).to_string(),
        }
    }
}

/// A `<time>` element. The server writes UTC; the viewer's browser replaces it by its own time zone
/// and puts the UTC time into the title.
///
/// The fields are the time, now (both ms), and the style.
#[derive(Debug, Clone, Copy)]
pub struct TimeTag(i64, i64, TimeStyle);

impl fmt::Display for TimeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ms, now, style) = *self;
        let at = utc_datetime(ms);
        let (machine, word, text) = (
            at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            style.word(),
            style.text(ms, now),
        );

        write!(
            f,
            r#"<time datetime="{machine}" data-f="{word}">{text}</time>"#
        )
    }
}

impl HtmlSafe for TimeTag {}

/// The time of day of a moment: `14:05`.
#[must_use]
pub fn time_of_day(ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), ms.whole(), TimeStyle::Clock)
}

/// The time of day of a moment with seconds: `14:05:12`.
#[must_use]
pub fn time_with_seconds(ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), ms.whole(), TimeStyle::Seconds)
}

/// A time, with its day if `dated`: in a table that has times of several days. The browser decides
/// again for its time zone.
#[must_use]
pub fn time_in_table(
    ms: impl WholeNumber,
    dated: impl std::borrow::Borrow<bool>,
    now_ms: impl WholeNumber,
) -> TimeTag {
    TimeTag(
        ms.whole(),
        now_ms.whole(),
        TimeStyle::Stamp(*dated.borrow()),
    )
}

/// The time if it is of today, else the day: `14:05` or `12 March`.
#[must_use]
pub fn day_or_time(ms: impl WholeNumber, now_ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), now_ms.whole(), TimeStyle::When)
}

/// The time, with its day unless that is today: `12 March, 14:05`.
#[must_use]
pub fn day_and_time(ms: impl WholeNumber, now_ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), now_ms.whole(), TimeStyle::Moment)
}

/// The day of a time, in the viewer's zone: `12 March`.
#[must_use]
pub fn local_day(ms: impl WholeNumber, now_ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), now_ms.whole(), TimeStyle::Day)
}

/// The day of a time with its weekday, in the viewer's zone: `Sunday, 22 November`.
#[must_use]
pub fn local_day_name(ms: impl WholeNumber, now_ms: impl WholeNumber) -> TimeTag {
    TimeTag(ms.whole(), now_ms.whole(), TimeStyle::DayName)
}

/// A calendar day in UTC, given by its midnight. It is not a moment, so the browser must not
/// convert it to another time zone, where that midnight belongs to another day.
#[derive(Debug, Clone, Copy)]
pub struct DayTag(TimeTag);

impl fmt::Display for DayTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(TimeTag(ms, now, style)) = *self;
        write!(
            f,
            r#"<time datetime="{}">{}</time>"#,
            utc_datetime(ms).strftime("%Y-%m-%d"),
            style.text(ms, now)
        )
    }
}

impl HtmlSafe for DayTag {}

/// The calendar day in UTC that begins at `ms`: `12 March`, with the year if it is not this year.
#[must_use]
pub fn utc_day(ms: impl WholeNumber, now_ms: impl WholeNumber) -> DayTag {
    DayTag(local_day(ms, now_ms))
}

/// The calendar day in UTC that begins at `ms`, with its weekday: `Sunday, 22 November`.
#[must_use]
pub fn utc_day_name(ms: impl WholeNumber, now_ms: impl WholeNumber) -> DayTag {
    DayTag(local_day_name(ms, now_ms))
}

/// A time for a `<title>` or an attribute, which cannot contain an element: `13:58:04`, with the
/// date if `dated`.
#[must_use]
pub fn plain_time(ms: impl WholeNumber, dated: impl std::borrow::Borrow<bool>) -> String {
    let dated = *dated.borrow();
    utc_datetime(ms.whole())
        .strftime(if dated {
            "%-d %b %Y %H:%M:%S"
        } else {
            "%H:%M:%S"
        })
        .to_string()
}

/// The duration of something that still runs: `3:47`, `1:12:09`, from four days on `5 d 4 h`.
#[must_use]
pub fn running_duration(ms: impl WholeNumber) -> String {
    let seconds = ms.whole().max(0) / 1000;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);

    match h {
        0 => format!("{m}:{s:02}"),
        1..96 => format!("{h}:{m:02}:{s:02}"),
        _ => format!("{} d {} h", group_digits(h / 24), h % 24),
    }
}

/// This many ms in units of `unit` ms, rounded to the nearest.
fn round_to_unit(ms: i64, unit: i64) -> i64 {
    ms.saturating_add(unit / 2) / unit
}

/// The duration of something that has ended, rounded: `under 1 min`, `12 min`, `1 h 40`,
/// `2 d 3 h`.
#[must_use]
pub fn ended_duration(ms: impl WholeNumber) -> String {
    let ms = ms.whole().max(0);
    let minutes = round_to_unit(ms, MINUTE);
    let hours = round_to_unit(ms, HOUR);

    match minutes {
        _ if ms < MINUTE => "under 1 min".to_owned(),
        ..60 => format!("{minutes} min"),
        60..1440 => format!("{} h {:02}", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", group_digits(hours / 24), hours % 24),
    }
}

/// The duration that something takes at most: as [`ended_duration`], rounded up.
#[must_use]
pub fn longest_duration(ms: impl WholeNumber) -> String {
    let ms = ms.whole().max(0);
    let unit = match ms {
        ..MINUTE => 1,
        MINUTE..DAY => MINUTE,
        _ => HOUR,
    };

    ended_duration(ms.saturating_add(unit - 1) / unit * unit)
}

/// A total duration, rounded: `0 min`, `under 1 min`, `12 min`, `56 h 52`, `1,184 h`.
#[must_use]
pub fn total_duration(ms: impl WholeNumber) -> String {
    let ms = ms.whole().max(0);
    let minutes = round_to_unit(ms, MINUTE);

    match minutes {
        _ if (1..MINUTE).contains(&ms) => "under 1 min".to_owned(),
        ..60 => format!("{minutes} min"),
        60..6000 => format!("{} h {:02}", minutes / 60, minutes % 60),
        _ => format!("{} h", group_digits(round_to_unit(ms, HOUR))),
    }
}

/// A whole number with a comma between thousands: `1,284`.
#[must_use]
pub fn group_digits(number: impl WholeNumber) -> String {
    let number = number.whole();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }

        text.push(digit);
    }

    text
}

/// `1 call`, `1,284 calls`
#[must_use]
pub fn count_with_noun(number: impl WholeNumber, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        group_digits(number.whole()),
        if number.whole() == 1 { one } else { many }
    )
}

/// A change in words: `4 more`, `3 fewer`, `the same`.
#[must_use]
pub fn change_in_count(now: impl WholeNumber, before: impl WholeNumber) -> String {
    match now.whole().saturating_sub(before.whole()) {
        0 => "the same".to_owned(),
        more @ 1.. => format!("{} more", group_digits(more)),
        fewer => format!("{} fewer", group_digits(fewer.saturating_neg())),
    }
}

/// A change of a total duration in words: `9 h 10 more`, `12 min less`.
#[must_use]
pub fn change_in_duration(now: impl WholeNumber, before: impl WholeNumber) -> String {
    match now.whole().saturating_sub(before.whole()) / MINUTE {
        0 => "the same".to_owned(),
        more @ 1.. => format!("{} more", total_duration(more * MINUTE)),
        less => format!(
            "{} less",
            total_duration(less.saturating_neg().saturating_mul(MINUTE))
        ),
    }
}

/// A size in bytes in words, such as `1.4 MB`, with one decimal below 20 (none for bytes).
#[must_use]
pub fn byte_size(number: impl WholeNumber) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mut size = number.whole().max(0) as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 1000.0 {
            return if unit == "bytes" || size >= 20.0 {
                format!("{size:.0} {unit}")
            } else {
                format!("{size:.1} {unit}")
            };
        }

        size /= 1000.0;
    }

    format!("{size:.1} TB")
}

/// The time if it is possible, else `None`: Matrix began in September 2014, so earlier timestamps
/// are mistakes or jokes.
#[must_use]
pub fn plausible_time(ms: impl std::borrow::Borrow<Option<i64>>) -> Option<i64> {
    ms.borrow().filter(|ms| *ms >= 1_409_529_600_000)
}

/// How long ago something was, in words. `ms` is the time since then.
#[must_use]
pub fn time_ago(ms: impl WholeNumber) -> String {
    let ms = ms.whole();
    match ms {
        ..1000 => "just now".to_owned(),
        1000..MINUTE => format!("{} s ago", ms / 1000),
        _ => format!("{} ago", ended_duration(ms)),
    }
}

#[cfg(test)]
mod tests;
