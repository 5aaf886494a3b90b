//! Times as the core sees them: integers, milliseconds since the Unix epoch, always inside the
//! calendar.

use serde_json::Value;

/// The latest time that is stored: the end of the year 9999. So every time can be shown as a date.
pub const LATEST_MS: i64 = 253_402_300_799_999;

/// The length of a day, ms.
pub const DAY_MS: i64 = 86_400_000;

/// The day (UTC) in which a time, ms, lies: days since the Unix epoch.
#[must_use]
pub fn day_of_time(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS)
}

/// A JSON number as a whole number of milliseconds; floats (room versions up to 5) are truncated,
/// numbers past `i64` saturate. `None` when the value is not a number.
#[must_use]
pub fn millis_of_json(value: &Value) -> Option<i64> {
    let Value::Number(number) = value else {
        return None;
    };

    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` saturates, which is what is wanted"
    )]
    number.as_f64().map(|float| float as i64)
}

/// `start + length`, kept inside the calendar.
#[must_use]
pub fn add_within_calendar(start: i64, length: i64) -> i64 {
    start.saturating_add(length).clamp(i64::MIN / 2, LATEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_of_every_size_become_times() {
        assert_eq!(
            millis_of_json(&json!(1_700_000_000_000_i64)),
            Some(1_700_000_000_000)
        );
        assert_eq!(millis_of_json(&json!(1.9)), Some(1));
        assert_eq!(millis_of_json(&json!(u64::MAX)), Some(i64::MAX));
        assert_eq!(millis_of_json(&json!(-1e300)), Some(i64::MIN));
        assert_eq!(millis_of_json(&json!("1")), None);
        assert_eq!(add_within_calendar(i64::MAX, i64::MAX), LATEST_MS);
    }
}
