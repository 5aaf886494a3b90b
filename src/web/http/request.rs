//! Parses the query string: only known parameters, and times in three formats.

use super::error::Error;
use crate::web::view::format::DAY;
use url::form_urlencoded;

/// Maximum length of a value, bytes; no room id, time or cursor is longer.
const VALUE_MAX: usize = 1024;

/// Maximum number of minutes or people in a filter.
pub const NUMBER_MAX: i64 = 1_000_000_000;

/// Maximum number of rows of a list per request.
const LIMIT_MAX: i64 = 500;

/// Parameters with free text; all others have fixed words and formats.
const FREE: [&str; 10] = [
    "label",
    "intent",
    "room",
    "space",
    "q",
    "server",
    "user",
    "application",
    "person",
    "sfu",
];

/// The parameters of a request, each at most once; empty ones count as absent, as forms send them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string. Parameters with an empty value are left out.
    ///
    /// # Errors
    /// A parameter that is not in `known`, is repeated or is too long; the error names it and the
    /// known ones.
    pub fn read(text: &str, known: &[&str]) -> Result<Self, Error> {
        for (name, _) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let name: String = name.chars().take(60).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };

                return Err(Error::Invalid(format!(
                    "unknown parameter {name:?}; known here: {known}"
                )));
            }
        }

        Self::read_known(text, known)
    }

    /// Reads the parameters in `known` of a query string; others are ignored. Parameters with an
    /// empty value are left out.
    ///
    /// # Errors
    /// A known parameter that is repeated or is too long; the error names it.
    pub fn read_known(text: &str, known: &[&str]) -> Result<Self, Error> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                continue;
            }

            if found.iter().any(|(other, _)| *other == name) {
                return Err(Error::Invalid(format!(
                    "the parameter {name:?} stands twice"
                )));
            }

            if value.len() > VALUE_MAX {
                return Err(Error::Invalid(format!(
                    "{name} is longer than {VALUE_MAX} bytes"
                )));
            }

            if value.contains(char::is_control) {
                return Err(Error::Invalid(format!(
                    "{name} must not contain control characters"
                )));
            }

            let value = if FREE.contains(&name.as_ref()) {
                value.trim()
            } else {
                &value
            };

            found.push((name.into_owned(), value.to_owned()));
        }

        found.retain(|(_, value)| !value.is_empty());

        Ok(Self(found))
    }

    /// The value of a parameter; `None` if it was not given, or was empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Is the word of the parameter `q` in any of these texts? True if no word is asked for.
    #[must_use]
    pub fn fits(&self, texts: &[Option<&str>]) -> bool {
        let Some(word) = self.get("q").map(str::to_lowercase) else {
            return true;
        };

        texts
            .iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(&word))
    }

    /// The other parameters, as hidden fields of a form that changes only `q`.
    #[must_use]
    pub fn beside_word(&self) -> Vec<(&str, &str)> {
        let others = self
            .0
            .iter()
            .filter(|(name, _)| name != "q" && name != "cursor");

        others
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// The query string (with `?`, or empty) without the parameters `without` and with `add` (name
    /// and value) at the end, in place of an earlier value of that name.
    #[must_use]
    pub fn with(&self, without: &[&str], add: Option<(&str, &str)>) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        let add_name = add.map(|(name, _)| name);
        for (name, value) in &self.0 {
            if !without.contains(&name.as_str()) && Some(name.as_str()) != add_name {
                text.append_pair(name, value);
            }
        }

        if let Some((name, value)) = add {
            text.append_pair(name, value);
        }

        let text = text.finish();

        if text.is_empty() {
            text
        } else {
            format!("?{text}")
        }
    }

    /// The parameter `limit`, from 1 to 500; `otherwise` if it is not given.
    ///
    /// # Errors
    /// Not a number, or outside.
    pub fn limit(&self, otherwise: i64) -> Result<i64, Error> {
        let Some(text) = self.get("limit") else {
            return Ok(otherwise);
        };

        let limit = text
            .parse()
            .ok()
            .filter(|limit| (1..=LIMIT_MAX).contains(limit));

        limit.ok_or_else(|| Error::Invalid("limit must be a whole number from 1 to 500".to_owned()))
    }

    /// The time in this parameter, ms; `None` if it is not given. A day means its begin, or with
    /// `is_end` its end, so that it is included.
    ///
    /// # Errors
    /// The text has none of the three forms, which the error names.
    pub fn time(&self, name: &str, is_end: bool) -> Result<Option<i64>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };

        let parsed = text.parse::<i64>().ok().or_else(|| {
            let stamp = text
                .parse::<jiff::Timestamp>()
                .ok()
                .map(jiff::Timestamp::as_millisecond);
            stamp.or_else(|| start_of_date(text).map(|ms| if is_end { ms + DAY } else { ms }))
        });

        parsed.map(Some).ok_or_else(|| {
            Error::Invalid(format!(
                "{name} must be milliseconds since 1970, an RFC 3339 time with its offset, or a \
                 day like 2026-11-22"
            ))
        })
    }

    /// The moment in this parameter, ms; `None` if it is not given. It may be in the formats of
    /// [`Self::time`], or without an offset, as form fields send it and people write it. Without an
    /// offset it is UTC, as a day is.
    ///
    /// # Errors
    /// None of these forms.
    pub fn moment(&self, name: &str) -> Result<Option<i64>, Error> {
        match (
            self.time(name, false),
            self.get(name).and_then(parse_utc_time),
        ) {
            (Err(_), Some(ms)) => Ok(Some(ms)),
            (Err(_), None) => Err(Error::Invalid(format!(
                "{name} must be a time like 2026-11-22 14:05, in UTC unless its offset follows, a \
                 day like 2026-11-22, or milliseconds since 1970"
            ))),
            (read, _) => read,
        }
    }

    /// The parameter `status`: true for active calls, false for ended ones, `None` for both if it
    /// is not given.
    ///
    /// # Errors
    /// Any other word.
    pub fn active(&self) -> Result<Option<bool>, Error> {
        match self.get("status") {
            None => Ok(None),
            Some("active") => Ok(Some(true)),
            Some("ended") => Ok(Some(false)),
            Some(_) => Err(Error::Invalid("status must be active or ended".to_owned())),
        }
    }

    /// The whole number from 0 on in this parameter; `None` if it is not given.
    ///
    /// # Errors
    /// The text is anything else.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };

        let number = text
            .parse()
            .ok()
            .filter(|number| (0..=NUMBER_MAX).contains(number));
        let fault = || {
            Error::Invalid(format!(
                "{name} must be a whole number from 0 to {NUMBER_MAX}"
            ))
        };

        number.map(Some).ok_or_else(fault)
    }

    /// The parameter `kind`: true for calls of several people (`group`), false for those of one
    /// (`solo`), `None` for both if it is not given.
    ///
    /// # Errors
    /// Any other word.
    pub fn group(&self) -> Result<Option<bool>, Error> {
        match self.get("kind") {
            None => Ok(None),
            Some("solo") => Ok(Some(false)),
            Some("group") => Ok(Some(true)),
            Some(_) => Err(Error::Invalid("kind must be solo or group".to_owned())),
        }
    }

    /// The parameter `cursor` of a list whose places are numbers; `None` if it is not given.
    ///
    /// # Errors
    /// The text is anything else.
    pub fn numeric_cursor(&self) -> Result<Option<i64>, Error> {
        let Some(text) = self.get("cursor") else {
            return Ok(None);
        };

        let cursor = text.parse().map(Some);

        cursor
            .map_err(|_| Error::Invalid("cursor must be the next of an earlier answer".to_owned()))
    }
}

/// The start of a day in UTC, ms, if the text is a date like `2026-11-22`.
fn start_of_date(text: &str) -> Option<i64> {
    let day: jiff::civil::Date = (text.len() == 10).then(|| text.parse().ok())??;

    // Do not convert through a timestamp: the last timestamp is a day before the last date, and
    // people write 9999-12-31 for "for ever".
    i64::try_from(
        day.duration_since(jiff::civil::date(1970, 1, 1))
            .as_millis(),
    )
    .ok()
}

/// The time, ms, if the text is a date and a time of day without an offset. It is read as UTC.
fn parse_utc_time(text: &str) -> Option<i64> {
    let has_time = text
        .get(10..)
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(['+', '-', '[', 'Z', 'z']));
    let time: jiff::civil::DateTime = has_time.then(|| text.parse().ok())??;

    i64::try_from(
        time.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0))
            .as_millis(),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["room", "status", "from", "to", "at", "cursor", "limit"];

    fn read(text: &str) -> Query {
        Query::read(text, KNOWN).unwrap()
    }

    fn fault(result: Result<impl std::fmt::Debug, Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn unknown_parameters_are_named_with_the_known_ones() {
        assert_eq!(
            fault(Query::read("rom=1", KNOWN)),
            r#"unknown parameter "rom"; known here: room, status, from, to, at, cursor, limit"#
        );
        assert_eq!(
            fault(Query::read("x=1", &[])),
            r#"unknown parameter "x"; known here: none"#
        );
        let lenient = Query::read_known("rom=1&room=a&utm=2&utm=3", KNOWN).unwrap();
        assert_eq!((lenient.get("room"), lenient.get("rom")), (Some("a"), None));
        assert!(fault(Query::read("room=a&room=b", KNOWN)).contains("twice"));
        assert!(
            fault(Query::read(&format!("room={}", "a".repeat(2000)), KNOWN)).contains("longer")
        );
        assert_eq!(read("room=&limit=").get("room"), None);
        assert_eq!(read("room=+%21a%3Ah+").get("room"), Some("!a:h"));
        assert!(
            read("status=%C2%A0").active().is_err(),
            "a blank is no word"
        );

        for bad in ["room=%00", "room=a%0Ab", "room=%C2%85", "limit=%7F"] {
            assert!(
                fault(Query::read(bad, KNOWN)).ends_with("must not contain control characters"),
                "{bad}"
            );
        }
    }

    #[test]
    fn times_come_in_three_forms() {
        let from = |text: &str| read(&format!("from={text}")).time("from", false);
        assert_eq!(from("1795356302118").unwrap(), Some(1_795_356_302_118));
        assert_eq!(from("1970-01-02").unwrap(), Some(DAY));
        assert_eq!(from("1970-01-01T01:00:00%2B01:00").unwrap(), Some(0));
        assert_eq!(
            read("to=1970-01-02").time("to", true).unwrap(),
            Some(2 * DAY)
        );
        assert_eq!(
            read("to=9999-12-31").time("to", true).unwrap(),
            Some(253_402_300_800_000)
        );
        assert_eq!(from("1969-12-31").unwrap(), Some(-DAY));

        for bad in [
            "yesterday",
            "2026-13-01",
            "99999999999999999999",
            "1970-01-01T01:00:00",
            "-5d",
        ] {
            assert!(fault(from(bad)).starts_with("from must be"), "{bad}");
        }
    }

    #[test]
    fn a_moment_may_be_written_as_people_do() {
        let at = |text: &str| read(&format!("at={text}")).moment("at");
        let five_past = 14 * 3_600_000 + 5 * 60_000;
        for text in [
            "1970-01-01T14:05",
            "1970-01-01+14:05",
            "1970-01-01%2014:05:00",
            "1970-01-01T14:05:00.000",
        ] {
            assert_eq!(at(text).unwrap(), Some(five_past), "{text}");
        }

        assert_eq!(at("1970-01-01T14:05:07").unwrap(), Some(five_past + 7000));
        // An offset is applied in both notations.
        assert_eq!(at("1970-01-01T15:05%2B01:00").unwrap(), Some(five_past));
        assert_eq!(at("1970-01-01+14:05Z").unwrap(), Some(five_past));
        assert_eq!(
            (
                at("1970-01-02").unwrap(),
                at("86400000").unwrap(),
                at("").unwrap()
            ),
            (Some(DAY), Some(DAY), None)
        );

        for bad in [
            "14:05",
            "2026-11-22T25:00",
            "2026-11-22T14:05-99:00",
            "2026-11-22T14:05[Europe/Berlin]",
            "soon",
        ] {
            assert!(
                fault(at(bad)).starts_with("at must be a time like"),
                "{bad}"
            );
        }
    }

    #[test]
    fn limits_have_an_end() {
        assert_eq!(read("").limit(50).unwrap(), 50);
        assert_eq!(read("limit=500").limit(50).unwrap(), 500);
        for bad in ["0", "501", "-1", "all", "1.5"] {
            assert!(read(&format!("limit={bad}")).limit(50).is_err(), "{bad}");
        }

        assert!(read("status=running").active().is_err());
        assert_eq!(read("status=ended").active().unwrap(), Some(false));
    }

    #[test]
    fn a_query_is_rewritten_with_its_values_escaped() {
        let query = read("room=%23a%26b%3Ac&from=5&cursor=aa");
        assert_eq!(query.with(&["cursor"], None), "?room=%23a%26b%3Ac&from=5");
        assert_eq!(
            query.with(&[], Some(("cursor", "b"))),
            "?room=%23a%26b%3Ac&from=5&cursor=b"
        );
        assert_eq!(read("room=a").with(&["room"], None), "");
    }
}
