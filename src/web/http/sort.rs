//! The `sort` parameter: the order of a list, with the same words for page, JSON and files; cursors
//! of sorted lists; and the links in table headers.

use super::error::Error;
use super::request::Query;
use crate::store::read::call_order::{CallOrder, ListPlace, SortKey};
use crate::web::Web;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Number of letters by which names are compared, because a cursor contains them.
const LETTERS: usize = 40;
/// Maximum length of an id in a cursor, bytes.
const ID_MAX: usize = 255;

/// The sort keys of a list. A `-` before a name reverses the order.
#[derive(Debug)]
pub struct SortKeys {
    /// The names of the keys. The first may be the name of the thing itself, which sorts ascending.
    pub names: &'static [&'static str],
    /// Is the first of them text?
    pub text_first: bool,
    pub default: &'static str,
}

/// `/calls`
pub const CALLS: SortKeys = SortKeys {
    names: &["started", "duration", "people", "peak"],
    text_first: false,
    default: "-started",
};
/// `/rooms`
pub const ROOMS: SortKeys = SortKeys {
    names: &["name", "calls", "last_call", "known_since"],
    text_first: true,
    default: "-last_call",
};
/// `/servers`
pub const SERVERS: SortKeys = SortKeys {
    names: &["server", "people", "calls", "time", "run_out", "now"],
    text_first: true,
    default: "-now",
};
/// `/transports`
pub const TRANSPORTS: SortKeys = SortKeys {
    names: &["sfu", "time", "calls", "people", "now"],
    text_first: true,
    default: "-time",
};

/// The sort keys of each list, by the beginning of its address.
pub const ALL: [(&str, &SortKeys); 4] = [
    ("/api/v1/calls", &CALLS),
    ("/api/v1/rooms", &ROOMS),
    ("/api/v1/servers", &SERVERS),
    ("/api/v1/transports", &TRANSPORTS),
];

/// A requested order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortOrder {
    pub name: &'static str,
    pub descending: bool,
    by_text: bool,
    default: &'static str,
}

/// The sort key of a row of a list in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowKey {
    pub number: i64,
    /// Its name, which is the key if requested or if the numbers are equal; and its id.
    pub name: String,
    pub id: String,
}

/// The header of a column: the target of a click, and the present order by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnHead {
    pub href: String,
    pub aria: &'static str,
    pub arrow: &'static str,
}

impl SortKeys {
    /// The order that `sort` asks for.
    ///
    /// # Errors
    /// A word that is not known; the error names all that are.
    pub fn read(&self, query: &Query) -> Result<SortOrder, Error> {
        let word = query.get("sort").unwrap_or(self.default);
        let (name, descending) = word
            .strip_prefix('-')
            .map_or((word, false), |name| (name, true));
        let Some(at) = self.names.iter().position(|known| *known == name) else {
            return Err(Error::Invalid(format!(
                "sort must be one of {}",
                self.words().join(", ")
            )));
        };

        let by_text = self.text_first && at == 0;

        Ok(SortOrder {
            name: self.names[at],
            descending,
            by_text,
            default: self.default,
        })
    }

    /// All words that `sort` may be: each key, and each key reversed.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        self.names
            .iter()
            .flat_map(|name| [(*name).to_owned(), format!("-{name}")])
            .collect()
    }
}

impl Default for SortOrder {
    fn default() -> Self {
        Self {
            name: "started",
            descending: true,
            by_text: false,
            default: CALLS.default,
        }
    }
}

impl SortOrder {
    /// The word in the address.
    #[must_use]
    pub fn word(self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.name)
    }

    /// Is it the default order of the list?
    #[must_use]
    pub fn is_default(self) -> bool {
        self.word() == self.default
    }

    /// The order as the store knows it; only for a list of calls.
    #[must_use]
    pub fn order(self) -> CallOrder {
        let by = match self.name {
            "duration" => SortKey::Length,
            "people" => SortKey::People,
            "peak" => SortKey::Peak,
            _ => SortKey::Started,
        };

        CallOrder {
            by,
            descending: self.descending,
        }
    }

    /// The header of the column `name`. A click on it sorts by it, largest first (or for a text
    /// column, `text`, from A on), or reverses the order.
    #[must_use]
    pub fn head(self, name: &str, text: bool, path: &str, query: &Query) -> ColumnHead {
        let is_here = self.name == name;
        let descending = if is_here { !self.descending } else { !text };
        let word = format!("{}{name}", if descending { "-" } else { "" });
        let add = (word != self.default).then_some(("sort", word.as_str()));
        let (aria, arrow) = match (is_here, self.descending) {
            (false, _) => ("none", ""),
            (true, true) => ("descending", " ↓"),
            (true, false) => ("ascending", " ↑"),
        };

        ColumnHead {
            href: format!("{path}{}", query.with(&["cursor", "sort"], add)),
            aria,
            arrow,
        }
    }

    /// How two rows stand to each other in this order, descending or not. Rows with equal numbers
    /// are sorted by name from A on, also in a descending order, unless the name itself is the key.
    fn compare(self, a: &RowKey, b: &RowKey) -> Ordering {
        let (numbers, names) = (
            a.number.cmp(&b.number),
            (&a.name, &a.id).cmp(&(&b.name, &b.id)),
        );
        let turn = |order: Ordering, turned: bool| if turned { order.reverse() } else { order };

        turn(numbers, self.descending).then(turn(names, self.descending && self.by_text))
    }

    /// One page of these rows, which need no order, in this order: after the query's cursor, at
    /// most as many as its `limit` says, else `limit`. Also returns the cursor of the next page;
    /// `None` if this is the last. All rows of the list are given. If numbers change meanwhile, a
    /// row may move across the place, but the cursor stays valid.
    ///
    /// # Errors
    /// The cursor is not valid for this order, or the limit is not a number from 1 to 500.
    pub fn cut<T>(
        self,
        rows: Vec<T>,
        query: &Query,
        limit: i64,
        key: impl Fn(&T) -> RowKey,
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let limit = usize::try_from(query.limit(limit)?).unwrap_or(1);
        let after: Option<RowKey> = query
            .get("cursor")
            .map(|text| self.decode(text))
            .transpose()?;
        let mut rows = self.sort_with_keys(rows, key);
        rows.retain(|(key, _)| {
            after
                .as_ref()
                .is_none_or(|after| self.compare(key, after).is_gt())
        });
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| is_more)
            .map(|(key, _)| self.encode(key));

        Ok((rows.into_iter().map(|(_, row)| row).collect(), next))
    }

    /// All rows in this order.
    #[must_use]
    pub fn all<T>(self, rows: Vec<T>, key: impl Fn(&T) -> RowKey) -> Vec<T> {
        self.sort_with_keys(rows, key)
            .into_iter()
            .map(|(_, row)| row)
            .collect()
    }

    /// All rows in this order, each with its key.
    fn sort_with_keys<T>(self, rows: Vec<T>, key: impl Fn(&T) -> RowKey) -> Vec<(RowKey, T)> {
        let mut rows: Vec<(RowKey, T)> = rows
            .into_iter()
            .map(|row| (key(&row).cut_for_cursor(), row))
            .collect();
        rows.sort_by(|(a, _), (b, _)| self.compare(a, b));

        rows
    }

    /// The place that the query's cursor names in a list of calls; `None` if it has no cursor.
    ///
    /// # Errors
    /// The cursor is not valid for this order.
    pub fn place(self, query: &Query) -> Result<Option<ListPlace>, Error> {
        let Some(text) = query.get("cursor") else {
            return Ok(None);
        };

        let (at_ms, key, started_ms, id): (Option<i64>, _, _, _) = self.decode(text)?;

        Ok(Some(ListPlace {
            at_ms: at_ms.unwrap_or(i64::MAX),
            key,
            started_ms,
            id,
        }))
    }

    /// A place in a list of calls as a cursor. It contains the moment of the first page only if
    /// running calls move with the clock; so an unchanged list keeps its cursor.
    #[must_use]
    pub fn cursor(self, place: &ListPlace) -> String {
        let at_ms = (self.order().by == SortKey::Length).then_some(place.at_ms);
        self.encode(&(at_ms, place.key, place.started_ms, &place.id))
    }

    /// A place as the text of a cursor: hex of JSON, with the order that it belongs to. The format
    /// may change at any time.
    fn encode(self, place: &impl Serialize) -> String {
        let text = serde_json::to_string(&(self.word(), place)).unwrap_or_default();
        text.bytes()
            .fold(String::with_capacity(text.len() * 2), |mut hex, byte| {
                for half in [byte >> 4, byte & 15] {
                    hex.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
                }

                hex
            })
    }

    /// The place in a cursor that [`Self::encode`] made. A cursor of another order is an error.
    fn decode<T: for<'de> Deserialize<'de>>(self, text: &str) -> Result<T, Error> {
        let read = || {
            let digit = |letter: char| {
                letter
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };

            let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>()?;
            let (pairs, []) = digits.as_chunks::<2>() else {
                return None;
            };

            let plain: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
            let (word, place): (String, T) = serde_json::from_slice(&plain).ok()?;
            (word == self.word()).then_some(place)
        };

        let fault = "cursor must be the next of an earlier answer with the same sort";

        read().ok_or_else(|| Error::Invalid(fault.to_owned()))
    }
}

/// The same list in other formats, each with its address: this page of it as JSON, the complete
/// list as files.
#[must_use]
pub fn file_links(path: &str, query: &Query) -> [(&'static str, String); 3] {
    let whole = query.with(&["cursor", "limit"], None);
    [
        ("JSON", format!("/api/v1{path}{}", query.with(&[], None))),
        ("CSV", format!("/api/v1{path}.csv{whole}")),
        ("NDJSON", format!("/api/v1{path}.ndjson{whole}")),
    ]
}

/// The addresses of the first and of the next page of a list, if they exist.
#[must_use]
pub fn page_links(
    path: &str,
    query: &Query,
    next: Option<&str>,
) -> (Option<String>, Option<String>) {
    let first = query
        .get("cursor")
        .map(|_| format!("{path}{}", query.with(&["cursor"], None)));

    (
        first,
        next.map(|next| format!("{path}{}", query.with(&[], Some(("cursor", next))))),
    )
}

/// The whole address of the next page of a list in JSON, if there is one.
#[must_use]
pub fn next_url(web: &Web, path: &str, query: &Query, next: Option<&str>) -> Option<String> {
    let query = query.with(&[], Some(("cursor", next?)));

    Some(web.url(&format!("/api/v1{path}{query}")))
}

impl RowKey {
    /// The key of a row. Names are compared in lower case; the id decides between equal ones.
    #[must_use]
    pub fn new(number: i64, name: &str, id: &str) -> Self {
        Self {
            number,
            name: name.to_lowercase(),
            id: id.to_owned(),
        }
    }

    /// The key with a name and an id that fit into a cursor. A hash stands for the end of a long
    /// id, so that two of them still differ.
    fn cut_for_cursor(mut self) -> Self {
        let cut = |text: &mut String, most: usize| {
            if let Some((at, _)) = text.char_indices().nth(most) {
                text.truncate(at);
            }
        };

        cut(&mut self.name, LETTERS);
        if self.id.len() > ID_MAX {
            let mut rest = DefaultHasher::new();
            self.id.hash(&mut rest);
            cut(&mut self.id, LETTERS);
            self.id = format!("{} {:x}", self.id, rest.finish());
        }

        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["sort", "cursor", "limit"];

    fn query(text: &str) -> Query {
        Query::read(text, KNOWN).unwrap()
    }

    #[test]
    fn an_unknown_order_is_refused_with_all_that_are_known() {
        let fault = ROOMS.read(&query("sort=colour")).unwrap_err().to_string();
        assert_eq!(
            fault,
            "sort must be one of name, -name, calls, -calls, last_call, -last_call, known_since, \
             -known_since"
        );
        assert!(CALLS.read(&query("sort=--started")).is_err());
        assert_eq!(CALLS.read(&query("")).unwrap(), SortOrder::default());
        assert_eq!(
            CALLS.read(&query("sort=-duration")).unwrap().order(),
            CallOrder {
                by: SortKey::Length,
                descending: true
            }
        );
    }

    #[test]
    fn the_head_of_a_column_sorts_by_it_and_turns_it_round() {
        let newest = CALLS.read(&query("")).unwrap();
        let head = newest.head("duration", false, "/calls", &query("limit=5&cursor=aa"));
        assert_eq!(
            (head.href.as_str(), head.aria),
            ("/calls?limit=5&sort=-duration", "none")
        );
        let longest = CALLS.read(&query("sort=-duration")).unwrap();
        let head = longest.head("duration", false, "/calls", &query("sort=-duration"));
        assert_eq!(
            (head.href.as_str(), head.aria),
            ("/calls?sort=duration", "descending")
        );
        let head = longest.head("started", false, "/calls", &query("sort=-duration"));
        assert_eq!(head.href, "/calls", "the usual order needs no word");
    }

    #[test]
    fn rows_in_memory_come_once_each_page_by_page() {
        let rows: Vec<(i64, &str)> = vec![(3, "b"), (1, "Ä"), (3, "a"), (2, "z"), (3, "C")];
        for (word, want) in [
            ("-calls", "a b C z Ä"),
            ("calls", "Ä z a b C"),
            ("name", "a b C z Ä"),
            ("-name", "Ä z C b a"),
        ] {
            let chosen = ROOMS.read(&query(&format!("sort={word}"))).unwrap();
            let key = |row: &(i64, &str)| {
                RowKey::new(if word.ends_with("name") { 0 } else { row.0 }, row.1, row.1)
            };

            let (mut found, mut next) = (Vec::new(), String::new());
            loop {
                let asked = query(&format!("limit=2&cursor={next}"));
                let (page, more) = chosen.cut(rows.clone(), &asked, 50, key).unwrap();
                found.extend(page.into_iter().map(|(_, name)| name));
                let Some(more) = more else { break };
                next = more;
            }

            assert_eq!(found.join(" "), want, "{word}");
            let other = ROOMS.read(&query("sort=known_since")).unwrap();
            assert!(
                other
                    .cut(rows.clone(), &query(&format!("cursor={next}")), 50, key)
                    .is_err()
            );
        }
    }

    #[test]
    fn a_cursor_is_short_and_comes_back_as_it_went() {
        let long = "\u{1f600}".repeat(300);
        let rows = vec![
            RowKey::new(1, &long, &"!".repeat(255)),
            RowKey::new(0, "a", "b"),
        ];
        let chosen = ROOMS.read(&query("")).unwrap();
        let (_, next) = chosen
            .cut(rows.clone(), &query("limit=1"), 50, Clone::clone)
            .unwrap();
        let asked = query(&format!("cursor={}", next.unwrap()));
        assert_eq!(
            chosen.cut(rows, &asked, 50, Clone::clone).unwrap().0,
            [RowKey::new(0, "a", "b")]
        );

        for bad in ["0", "zz", "5b5d", "é"] {
            assert!(
                chosen.place(&query(&format!("cursor={bad}"))).is_err(),
                "{bad}"
            );
        }
    }
}
