//! The time machine of a room in JSON: who was in which call at a moment, and when its calls began
//! and ended.

use crate::rtc::coverage::{Cover, Span, cover_at};
use crate::rtc::present::{Unknown, UnknownReason};
use crate::store::ingest::rooms;
use crate::store::read::room_at;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::http::sort;
use crate::web::view::format as f;
use crate::web::view::liveness::{Liveness, no_such_room};
use crate::web::view::{EntriesTotal, Flip, List, Moment, RoomRef};
use actix_web::{HttpRequest, HttpResponse, web as http};
use serde::Serialize;
use utoipa::ToSchema;

/// Parameters of the two lists.
pub const MEMBERS: &[&str] = &["at"];
pub const FLIPS: &[&str] = &["from", "to", "cursor"];
/// Number of days whose last flips the page shows.
const DAYS: i64 = 30;
/// Approximate maximum number of calls whose flips are in one answer.
const CALLS: i64 = 1000;

/// When the calls of a room began and ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Flips {
    #[serde(flatten)]
    pub list: List<Flip>,
}

/// `GET /api/v1/rooms/{id}/members?at=`: who was in the calls of a room at a time; now, if no time
/// is given.
pub async fn get_members_at(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let query = ask.read_query(MEMBERS)?;
        let room = find_room(&web, &ask, &id).await?;
        load_moment(
            &web,
            &ask,
            room,
            moment_of_query(&query, ask.now)?.unwrap_or(ask.now),
        )
        .await
    };

    response::send_json(&ask, answer.await)
}

/// `GET /api/v1/rooms/{id}/flips?from=&to=`: when the calls of a room began and ended (each of
/// these moments is a flip), in parts from the newest to the oldest. The cursor is the end of the next
/// part, exclusive, ms.
pub async fn get_flips(req: HttpRequest, web: Web, id: http::Path<String>) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer = async {
        let query = ask.read_query(FLIPS)?;
        let room = find_room(&web, &ask, &id).await?;
        let to = query.time("to", true)?.unwrap_or(i64::MAX);
        let from = query.time("from", false)?.unwrap_or(0);
        let to = to.min(query.numeric_cursor()?.unwrap_or(i64::MAX));
        let (data, next_to) = read_flips(&web, &ask, &room.room_id, from, to).await?;
        let next = next_to.map(|time| time.to_string());
        let is_whole = next.is_none() && query.get("cursor").is_none();
        let path = format!("/rooms/{}/flips", f::path_segment(&room.room_id));

        Ok(Flips {
            list: List {
                entries_total: is_whole.then(|| EntriesTotal::exactly(data.len())),
                data,
                next_url: sort::next_url(&web, &path, &query, next.as_deref()),
                next,
            },
        })
    };

    response::send_json(&ask, answer.await)
}

/// The room with this id or alias. If we do not know it, the error says whether that is because the
/// present is not known.
async fn find_room(web: &Web, ask: &PageRequest, id: &str) -> Result<RoomRef, Error> {
    let found = rooms::find_room_name(&web.store, id).await?;
    match found {
        Some(found) => Ok(RoomRef::from(found)),
        None => Err(no_such_room(web, ask.now).await),
    }
}

/// The moment of the parameter `at`, ms; `None` if it is not given. It cannot be in the future.
///
/// # Errors
/// Not a time, or later than now.
pub(super) fn moment_of_query(query: &Query, now: i64) -> Result<Option<i64>, Error> {
    let at = query.moment("at")?;
    match at {
        Some(at) if at > now => Err(Error::Invalid("at lies in the future".to_owned())),
        at => Ok(at),
    }
}

/// The text in the time machine's field: what was requested, even if it cannot be answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AskedMoment {
    pub text: String,
    /// The parsed moment, ms.
    pub at_ms: Option<i64>,
    pub fault: Option<&'static str>,
}

impl AskedMoment {
    /// What the parameter `at` asks for. A moment after `now`, ms, is a fault. A fault is kept in
    /// words for the page, and is no error.
    pub(super) fn read(query: &Query, now: i64) -> Self {
        let text = query.get("at").unwrap_or_default().to_owned();
        let (at_ms, fault) = match query.moment("at") {
            Ok(Some(at)) if at > now => (Some(at), Some("That lies in the future.")),
            Ok(at) => (at, None),
            Err(_) => (
                None,
                Some("This is not a time that we understand. Write it like 2026-11-22 14:05."),
            ),
        };

        Self { text, at_ms, fault }
    }

    /// The moment, if it can be answered.
    pub(super) fn moment(&self) -> Option<i64> {
        self.at_ms.filter(|_| self.fault.is_none())
    }

    /// The HTML type of the field: one for times, or `text` for a text that is no time, which a
    /// time field would not show.
    #[must_use]
    pub fn field_type(&self) -> &'static str {
        if self.at_ms.is_some() || self.text.is_empty() {
            "datetime-local"
        } else {
            "text"
        }
    }

    /// The field's text, in UTC.
    #[must_use]
    pub fn value(&self) -> String {
        let Some(ms) = self.at_ms else {
            return self.text.clone();
        };

        f::utc_datetime(ms)
            .strftime(if ms % 60_000 == 0 {
                "%Y-%m-%dT%H:%M"
            } else {
                "%Y-%m-%dT%H:%M:%S"
            })
            .to_string()
    }
}

/// The calls of a room at one moment and their members, and why that is not fully known, if so.
pub(super) async fn load_moment(
    web: &Web,
    ask: &PageRequest,
    room: RoomRef,
    at_ms: i64,
) -> Result<Moment, Error> {
    let store = &web.store;
    let calls = room_at::calls_at(store, &room.room_id, at_ms).await?;
    let mut total = i64::try_from(calls.len()).unwrap_or(i64::MAX);
    if total >= room_at::AT_MOST {
        total = room_at::count_at(store, &room.room_id, at_ms).await?;
    }

    let calls = super::read_calls_with_members(web, ask, calls).await?;
    let cover = super::coverage_of(web, ask, &room.room_id).await?;
    let how = cover_at(&cover, at_ms);
    let present = Liveness::read(web, ask.now).await?;
    let unknown_why = why_unknown(how, present.room(&room.room_id), at_ms, ask.now);

    let moment = Moment::new(room, at_ms, how, unknown_why, calls);

    Ok(moment.with_total(total))
}

/// Why it is unknown who was in the room at `at_ms`; `None` if it is known. The reason why the
/// present (`now`, ms) is unknown holds if it applied already then; else nobody watched, by the
/// coverage at that moment (`how`). That memberships are encrypted holds for all times, since it
/// has no beginning that we know.
fn why_unknown(
    how: Cover,
    present: Option<Unknown>,
    at_ms: i64,
    now: i64,
) -> Option<UnknownReason> {
    let hidden = present.filter(|unknown| {
        unknown.why == UnknownReason::Encrypted || at_ms >= unknown.since_ms.unwrap_or(now)
    });
    let unwatched = how.is_blind().then_some(UnknownReason::NotWatched);

    hidden.map(|unknown| unknown.why).or(unwatched)
}

/// The flips of a room in the last part of `[from, to)`, ms, newest first, and the time, ms, where
/// that part begins; `None` if it is the whole span. A flip is the begin or the end of a call.
pub(super) async fn read_flips(
    web: &Web,
    ask: &PageRequest,
    room_id: &str,
    from: i64,
    to: i64,
) -> Result<(Vec<Flip>, Option<i64>), Error> {
    // Ignore calls with a timestamp from the future.
    let to = to.min(ask.now.saturating_add(1));
    let (calls, first) =
        room_at::calls_between(&web.store, room_id, Span { from, to }, CALLS).await?;

    Ok((
        Flip::flips_of_calls(&calls, first, to, ask.now),
        Some(first).filter(|first| *first > from),
    ))
}

/// The newest flips of a room, of the last [`DAYS`] days, for its page.
pub(super) async fn read_last_flips(
    web: &Web,
    ask: &PageRequest,
    room_id: &str,
) -> Result<Vec<Flip>, Error> {
    Ok(
        read_flips(web, ask, room_id, ask.now - DAYS * f::DAY, i64::MAX)
            .await?
            .0,
    )
}
