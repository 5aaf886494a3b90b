//! The numbers of days (UTC) that are counted already, by room, as sums over a span use them. A
//! viewer's day is the sum over the rooms that the viewer sees wholly. Of a room that is seen in
//! part, stays and calls are counted.

use crate::rtc::coverage::Span;
use crate::rtc::time::{DAY_MS, day_of_time};
use crate::store::visible::{HIDDEN_SERVER, PeopleShown, VisibleRooms};
use crate::store::{Error, Reader};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// A day as it is stored. `R` are the numbers of a room.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StoredDay<R> {
    /// Servers, lists of servers (separated by spaces) and people: rooms have their indexes.
    names: Vec<String>,
    rooms: HashMap<String, R>,
}

/// The numbers of one room on one day. Times in ms. A name is an index into those of the day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RoomDay {
    /// By server: device time, and the part of it that was seen.
    #[serde(rename = "p", skip_serializing_if = "Vec::is_empty")]
    places: Vec<(usize, i64, i64)>,
    /// Calls that began, and those whose start or end is inferred.
    #[serde(rename = "b", skip_serializing_if = "is_nothing")]
    begun: (i64, i64),
    /// Calls that began, by their servers.
    #[serde(rename = "s", skip_serializing_if = "Vec::is_empty")]
    servers: Vec<(usize, i64)>,
    /// By server: stays that ended, and those without an end event.
    #[serde(rename = "e", skip_serializing_if = "Vec::is_empty")]
    ends: Vec<(usize, i64, i64)>,
    /// Hours since the Unix epoch and their device time.
    #[serde(rename = "h", skip_serializing_if = "Vec::is_empty")]
    hours: Vec<(i64, i64)>,
    /// Calls that began: the length as seen, and the number of people, of each.
    #[serde(rename = "c", skip_serializing_if = "Vec::is_empty")]
    calls: Vec<(i64, i64)>,
    /// Everybody who was in calls.
    #[serde(rename = "u", skip_serializing_if = "Vec::is_empty")]
    people: Vec<usize>,
}

fn is_nothing(begun: &(i64, i64)) -> bool {
    *begun == (0, 0)
}

/// A day while it is counted.
#[derive(Debug, Default)]
pub(super) struct DayInMaking {
    day: StoredDay<RoomDay>,
    indexes: HashMap<String, usize>,
}

impl DayInMaking {
    /// The index of a name.
    fn index_of_name(&mut self, name: &str) -> usize {
        if let Some(index) = self.indexes.get(name) {
            return *index;
        }

        let index = self.day.names.len();
        self.day.names.push(name.to_owned());
        self.indexes.insert(name.to_owned(), index);

        index
    }

    fn room(&mut self, room_id: &str) -> &mut RoomDay {
        self.day.rooms.entry(room_id.to_owned()).or_default()
    }

    /// Adds the device time of a server in a room, and the part of it that was seen, ms.
    pub fn add_place(&mut self, room_id: &str, server: &str, together_ms: i64, seen_ms: i64) {
        let server = self.index_of_name(server);
        self.room(room_id)
            .places
            .push((server, together_ms, seen_ms));
    }

    /// Sets how many calls began in a room, and how many of them have an inferred start or end.
    pub fn set_begun(&mut self, room_id: &str, calls: i64, unsure: i64) {
        self.room(room_id).begun = (calls, unsure);
    }

    /// Adds calls of a room that began with people of these servers, separated by spaces.
    pub fn add_calls(&mut self, room_id: &str, servers: &str, calls: i64) {
        let servers = self.index_of_name(servers);
        self.room(room_id).servers.push((servers, calls));
    }

    /// Adds stays of a server in a room that ended, and those of them without an end event.
    pub fn add_ends(&mut self, room_id: &str, server: &str, ended: i64, expired: i64) {
        let server = self.index_of_name(server);
        self.room(room_id).ends.push((server, ended, expired));
    }

    /// Sets the device time of a room by hour since the Unix epoch, ms.
    pub fn set_hours(&mut self, room_id: &str, hours: BTreeMap<i64, i64>) {
        self.room(room_id).hours = hours.into_iter().collect();
    }

    /// Adds the length and the number of people of a call of a room that began.
    pub fn add_size(&mut self, room_id: &str, size: CallSize) {
        let room = self.room(room_id);
        room.calls.push((size.length_ms, size.people));
    }

    /// Adds somebody who was in a call of a room.
    pub fn add_person(&mut self, room_id: &str, user_id: &str) {
        let person = self.index_of_name(user_id);
        self.room(room_id).people.push(person);
    }

    /// The text that is stored.
    pub fn to_text(&self) -> Result<String, Error> {
        serde_json::to_string(&self.day).map_err(|error| Error::Content(error.to_string()))
    }
}

/// How long a call was, and with how many people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::store) struct CallSize {
    /// Its length as seen, ms: a call that claims an impossible start counts from its first event.
    pub length_ms: i64,
    /// Different people.
    pub people: i64,
}

/// The totals of a day over the rooms that a reader sees wholly. Times in ms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct DayTotals {
    /// By room and server: device time, and the part of it that was seen.
    pub places: BTreeMap<String, BTreeMap<String, (i64, i64)>>,
    /// By room: calls that began, and those whose start or end is inferred.
    pub begun: BTreeMap<String, (i64, i64)>,
    /// Calls that began, by their servers (separated by spaces).
    pub servers: BTreeMap<String, i64>,
    /// By server: stays that ended, and those without an end event.
    pub ends: BTreeMap<String, (i64, i64)>,
    /// Hours since the Unix epoch and their device time.
    pub hours: BTreeMap<i64, i64>,
    /// Calls that began.
    pub calls: Vec<CallSize>,
    /// Different people in calls, as indexes into those of [`CountedDays`].
    people: Vec<u32>,
}

/// The days that are counted.
#[derive(Debug, Default)]
pub(in crate::store) struct CountedDays {
    days: BTreeMap<i64, DayTotals>,
    /// The index of each person, by user id; and by room, if each room has its own pseudonym.
    people: HashMap<String, u32>,
    /// The rooms of which only stays and calls are counted: those seen in part.
    in_part: Vec<String>,
}

/// The counted days that were read at one moment, with the first of them and the one after the
/// last.
#[derive(Debug, Default)]
pub(in crate::store) struct DaysOfMoment(Mutex<Vec<(i64, i64, Arc<CountedDays>)>>);

/// What must be counted from stays and calls, because it is not in the days that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Uncounted<'d> {
    pub span: Span,
    /// Only of this room; of all that are seen if `None`.
    pub room_id: Option<&'d str>,
}

/// Maximum number of rooms seen in part that are counted one by one. A reader with more counts
/// stays only.
const IN_PART_MOST: usize = 200;

pub(in crate::store) const READ: &str =
    "select day, facts from days where day >= $1 and day < $2 and facts <> ''";

impl CountedDays {
    /// The totals of the counted days that lie wholly within a span, as the reader sees them. At
    /// one moment they are read once.
    pub async fn load_days(store: &Reader, span: Span) -> Result<Arc<Self>, Error> {
        let Some((first, end)) = whole_days(span) else {
            return Ok(Arc::default());
        };

        let known = store.days.as_ref().and_then(|days| {
            let days = days.0.lock().unwrap_or_else(PoisonError::into_inner);
            days.iter()
                .find(|(from, to, _)| *from <= first && *to >= end)
                .map(|(_, _, days)| Arc::clone(days))
        });
        if let Some(days) = known {
            return Ok(days);
        }

        let read = Arc::new(Self::read_days(store, span).await?);
        if let Some(days) = &store.days {
            let mut days = days.0.lock().unwrap_or_else(PoisonError::into_inner);
            days.push((first, end, Arc::clone(&read)));
        }

        Ok(read)
    }

    /// Reads the totals of the counted days that lie wholly within a span, as the reader sees them.
    async fn read_days(store: &Reader, span: Span) -> Result<Self, Error> {
        let (Some((first, end)), Some(mut found)) =
            (whole_days(span), Self::without_days(store.visible_rooms()))
        else {
            return Ok(Self::default());
        };

        let rows: Vec<(i64, String)> = sqlx::query_as(READ)
            .bind(first)
            .bind(end)
            .fetch_all(&store.read)
            .await?;
        for (day, facts) in rows {
            found
                .add_day(day, &facts, store.visible_rooms())
                .map_err(|error| Error::Content(format!("what day {day} came to: {error}")))?;
        }

        Ok(found)
    }

    /// None of the days yet; `None` if a viewer of these rooms is not served by counted days.
    fn without_days(visible: Option<&VisibleRooms>) -> Option<Self> {
        let in_part: Vec<String> = match visible {
            None => Vec::new(),
            Some(visible) if visible.only_call.is_some() => return None,
            Some(visible) => visible.in_part.keys().cloned().collect(),
        };

        (in_part.len() <= IN_PART_MOST).then(|| Self {
            in_part,
            ..Self::default()
        })
    }

    /// Adds a stored day: of its rooms those that are seen wholly.
    fn add_day(
        &mut self,
        day: i64,
        facts: &str,
        visible: Option<&VisibleRooms>,
    ) -> Result<(), serde_json::Error> {
        let mut totals = DayTotals::default();
        let mut people = BTreeSet::new();
        let shown = visible.map_or(PeopleShown::ByName, |visible| visible.people);
        match visible {
            Some(visible) if visible.are_few() => {
                // The numbers of rooms that are not seen are not even read.
                let stored: StoredDay<&RawValue> = serde_json::from_str(facts)?;
                for (room_id, room) in &stored.rooms {
                    if visible.whole.contains(room_id) {
                        let room: RoomDay = serde_json::from_str(room.get())?;
                        totals.add_room(room_id, &room, &stored.names, shown);
                        self.add_people(&mut people, room_id, &room, &stored.names, shown);
                    }
                }
            }
            _ => {
                let stored: StoredDay<RoomDay> = serde_json::from_str(facts)?;
                for (room_id, room) in &stored.rooms {
                    if visible.is_none_or(|visible| visible.whole.contains(room_id)) {
                        totals.add_room(room_id, room, &stored.names, shown);
                        self.add_people(&mut people, room_id, room, &stored.names, shown);
                    }
                }
            }
        }

        totals.people = people.into_iter().collect();
        self.days.insert(day, totals);

        Ok(())
    }

    /// Adds the indexes of those who were in calls of a room on a day.
    fn add_people(
        &mut self,
        people: &mut BTreeSet<u32>,
        room_id: &str,
        room: &RoomDay,
        names: &[String],
        shown: PeopleShown,
    ) {
        for user_id in name_of_each(&room.people, names) {
            let index = if shown == PeopleShown::ByName {
                self.people.get(user_id).copied()
            } else {
                None
            };
            let index = index.unwrap_or_else(|| {
                let key = match shown {
                    PeopleShown::ByName => user_id.to_owned(),
                    // Nobody can see that two pseudonyms of two rooms are one person.
                    PeopleShown::ByPseudonymAndServer | PeopleShown::ByPseudonym => {
                        format!("{room_id} {user_id}")
                    }
                };
                let next = u32::try_from(self.people.len()).unwrap_or(u32::MAX);

                *self.people.entry(key).or_insert(next)
            });
            people.insert(index);
        }
    }

    /// How many people were in calls on the day that is this span; `None` if the span is no whole
    /// day, or the day is not counted for all rooms that are seen.
    pub fn people(&self, span: Span) -> Option<i64> {
        let is_day = span.from.rem_euclid(DAY_MS) == 0 && span.to - span.from == DAY_MS;
        let is_known = is_day && self.in_part.is_empty();

        is_known
            .then(|| self.days.get(&day_of_time(span.from)))
            .flatten()
            .map(|day| crate::store::to_i64(day.people.len()))
    }

    /// The indexes of everybody who was in calls on the counted days of a span.
    fn indexes_of_people(&self, span: Span) -> BTreeSet<u32> {
        let (days, _) = self.split(span);
        let people = days.into_iter().flat_map(|(_, day)| &day.people);

        people.copied().collect()
    }

    /// How many people were in calls within a span: those of its counted days, and these others,
    /// some of whom may be among them. Their names are shown.
    pub fn count_people_with(&self, span: Span, others: &BTreeSet<String>) -> usize {
        let indexes = self.indexes_of_people(span);
        let is_new = |user_id: &&String| {
            let index = self.people.get(*user_id);
            index.is_none_or(|index| !indexes.contains(index))
        };

        indexes.len() + others.iter().filter(is_new).count()
    }

    /// Everybody who was in calls on the counted days of a span. Their names are shown.
    pub fn people_of_span(&self, span: Span) -> BTreeSet<String> {
        let indexes = self.indexes_of_people(span);
        let is_there = |(_, index): &(&String, &u32)| indexes.contains(index);

        self.people
            .iter()
            .filter(is_there)
            .map(|(user_id, _)| user_id.clone())
            .collect()
    }

    /// Are only stays and calls of this room counted, also on counted days?
    pub fn is_in_part(&self, room_id: &str) -> bool {
        self.in_part
            .binary_search_by(|id| id.as_str().cmp(room_id))
            .is_ok()
    }

    /// The counted days that lie wholly within a span, in order, each with its totals, and the
    /// rest, which must be counted from stays and calls. Only days within the span that these were
    /// read for are known.
    pub fn split(&self, span: Span) -> (Vec<(i64, &DayTotals)>, Vec<Uncounted<'_>>) {
        // `at`: up to where the span is dealt with, ms.
        let (mut days, mut rest, mut at) = (Vec::new(), Vec::new(), span.from);
        let mut counted: Vec<Span> = Vec::new();
        if let Some((first, end)) = whole_days(span) {
            for (day, facts) in self.days.range(first..end) {
                rest.extend((day * DAY_MS > at).then_some(Span {
                    from: at,
                    to: day * DAY_MS,
                }));
                days.push((*day, facts));
                at = (day + 1) * DAY_MS;
                match counted.last_mut().filter(|last| last.to == day * DAY_MS) {
                    Some(last) => last.to = at,
                    None => counted.push(Span {
                        from: day * DAY_MS,
                        to: at,
                    }),
                }
            }
        }

        rest.extend((span.to > at).then_some(Span {
            from: at,
            to: span.to,
        }));
        let mut rest: Vec<Uncounted> = rest
            .into_iter()
            .map(|span| Uncounted {
                span,
                room_id: None,
            })
            .collect();
        for span in counted {
            rest.extend(self.in_part.iter().map(|room_id| Uncounted {
                span,
                room_id: Some(room_id),
            }));
        }

        (days, rest)
    }
}

impl DayTotals {
    /// Adds the numbers of a room. `names` are those of the day.
    fn add_room(&mut self, room_id: &str, room: &RoomDay, names: &[String], shown: PeopleShown) {
        let name = |index: usize| names.get(index).map_or("", String::as_str);
        let server = |index: usize| server_shown(name(index), shown);
        if !room.places.is_empty() {
            let places = self.places.entry(room_id.to_owned()).or_default();
            for (index, together_ms, seen_ms) in &room.places {
                add_pair(places, server(*index), *together_ms, *seen_ms);
            }
        }

        if !is_nothing(&room.begun) {
            self.begun.insert(room_id.to_owned(), room.begun);
        }

        for (index, calls) in &room.servers {
            let servers = if shown == PeopleShown::ByPseudonym {
                ""
            } else {
                name(*index)
            };
            add_number(&mut self.servers, servers, *calls);
        }

        for (index, ended, expired) in &room.ends {
            add_pair(&mut self.ends, server(*index), *ended, *expired);
        }

        for (hour, ms) in &room.hours {
            *self.hours.entry(*hour).or_default() += ms;
        }

        let size = |(length_ms, people): &(i64, i64)| CallSize {
            length_ms: *length_ms,
            people: *people,
        };
        self.calls.extend(room.calls.iter().map(size));
    }
}

/// The server that is shown in the place of one.
fn server_shown(server: &str, shown: PeopleShown) -> &str {
    if shown == PeopleShown::ByPseudonym {
        HIDDEN_SERVER
    } else {
        server
    }
}

/// The names with these indexes.
fn name_of_each<'n>(indexes: &'n [usize], names: &'n [String]) -> impl Iterator<Item = &'n str> {
    indexes
        .iter()
        .filter_map(|index| names.get(*index).map(String::as_str))
}

/// Adds two numbers to those of a name. Most names are there already.
fn add_pair(sums: &mut BTreeMap<String, (i64, i64)>, name: &str, first: i64, second: i64) {
    if let Some(sum) = sums.get_mut(name) {
        *sum = (sum.0 + first, sum.1 + second);
    } else {
        sums.insert(name.to_owned(), (first, second));
    }
}

/// Adds a number to that of a name. Most names are there already.
fn add_number(sums: &mut BTreeMap<String, i64>, name: &str, more: i64) {
    if let Some(sum) = sums.get_mut(name) {
        *sum += more;
    } else {
        sums.insert(name.to_owned(), more);
    }
}

/// The first whole day of a span and the day after the last one, as days since the Unix epoch;
/// `None` if no whole day is in it.
fn whole_days(span: Span) -> Option<(i64, i64)> {
    let (first, end) = (-(-span.from).div_euclid(DAY_MS), span.to.div_euclid(DAY_MS));
    (first < end).then_some((first, end))
}
