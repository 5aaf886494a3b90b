//! Feeds of ended calls, of all rooms or of one: Atom for feed readers, iCalendar for calendars.

use crate::store::ingest::{rooms, vantages};
use crate::store::model::CallFilter;
use crate::store::read::calls;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::http::{etag, host};
use crate::web::pages::space::site_of_space;
use crate::web::pages::{problems, read_calls_with_members};
use crate::web::view::format as f;
use crate::web::view::liveness::{AllSeenFacts, Liveness, SeenFacts, no_such_room};
use crate::web::view::{CallFacts, ProblemFacts, RoomRef, person_title};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;

/// Default number of calls, the newest ones.
pub const KNOWN: &[&str] = &["limit"];
const LIMIT: i64 = 50;

/// The calls of a feed, and its title.
#[derive(Debug)]
struct Feed {
    title: String,
    calls: Vec<CallFacts>,
    /// The beginning of our addresses.
    base: String,
    path: String,
    /// The HTML page with the same calls.
    page: String,
    /// A stable id: independent of the host name in the request, and different for each
    /// installation.
    id: String,
    /// Whether running calls are known. Ended calls are in the feed in any case.
    seen: SeenFacts,
    now: i64,
}

/// The format of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FeedFormat {
    Atom,
    Ics,
}

/// `GET /feed/calls.atom`: the newest ended calls of all rooms, for feed readers.
pub async fn get_calls_atom(req: HttpRequest, web: Web) -> HttpResponse {
    send_feed(&req, &web, None, FeedFormat::Atom).await
}

/// `GET /feed/rooms/{id}/calls.atom`: the newest ended calls of one room, for feed readers.
pub async fn get_room_calls_atom(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    send_feed(&req, &web, Some(&id), FeedFormat::Atom).await
}

/// `GET /feed/calls.ics`: the newest ended calls of all rooms, for calendars.
pub async fn get_calls_ics(req: HttpRequest, web: Web) -> HttpResponse {
    send_feed(&req, &web, None, FeedFormat::Ics).await
}

/// `GET /feed/rooms/{id}/calls.ics`: the newest ended calls of one room, for calendars.
pub async fn get_room_calls_ics(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    send_feed(&req, &web, Some(&id), FeedFormat::Ics).await
}

/// `GET /feed/problems.atom`: the findings that match the filters of the request, for feed readers:
/// open ones and the newest past ones.
pub async fn get_problems_atom(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let text = async {
        let query = Query::read(&ask.query, problems::FILTER)?;
        let account = first_account_id(&web).await?;
        let web = site_of_space(&web, &query).await?;
        let asked = problems::request_of_query(&web, &query).await?;
        let computed = problems::read_computed(&web, &ask).await?;
        let most = usize::try_from(LIMIT).unwrap_or(0);
        let found = problems::next_problems(&web, &ask, &asked, &computed, None, most).await?;
        let last = found
            .iter()
            .map(|one| one.finding.until_ms.unwrap_or(one.finding.from_ms))
            .max();

        Ok(ProblemFeed {
            query: query.with(&[], None),
            base: host::public_base_url(web.public_url.as_deref(), req.headers()),
            id: format!("urn:callscope:{account}:problems"),
            updated: f::rfc3339(last.unwrap_or(0)),
            problems: found,
        }
        .render()?)
    };

    match text.await {
        Ok(text) => {
            let text: String = text;
            let tag = etag::tag_of_body(text.as_bytes());
            let kind = "application/atom+xml; charset=utf-8";
            response::send_tagged(&ask, kind, tag, text.into_bytes())
        }
        Err(error) => response::send_error(&ask, &error),
    }
}

#[derive(Template)]
#[template(path = "problems.xml")]
struct ProblemFeed {
    problems: Vec<ProblemFacts>,
    /// The beginning of our addresses, and the filter.
    base: String,
    query: String,
    id: String,
    updated: String,
}

/// Answers with the feed of a room, or (`None`) of all rooms, in this format.
async fn send_feed(
    req: &HttpRequest,
    web: &Web,
    room: Option<&str>,
    form: FeedFormat,
) -> HttpResponse {
    let ask = PageRequest::of_request(req, web);
    let feed = load_feed(web, &ask, req, room).await;
    let (kind, text) = match form {
        FeedFormat::Atom => (
            "application/atom+xml; charset=utf-8",
            feed.and_then(|feed| feed.atom()),
        ),
        FeedFormat::Ics => ("text/calendar; charset=utf-8", feed.map(|feed| feed.ics())),
    };

    match text {
        Ok(text) => {
            let tag = etag::tag_of_body(text.as_bytes());
            response::send_tagged(&ask, kind, tag, text.into_bytes())
        }
        Err(error) => response::send_error(&ask, &error),
    }
}

/// Reads the newest ended calls of a room, or (`None`) of all rooms, and what the feed says of
/// itself.
async fn load_feed(
    web: &Web,
    ask: &PageRequest,
    req: &HttpRequest,
    room: Option<&str>,
) -> Result<Feed, Error> {
    let limit = Query::read(&ask.query, KNOWN)?.limit(LIMIT)?;
    let mut filter = CallFilter {
        active: Some(false),
        ..Default::default()
    };

    let (mut title, mut page) = ("Calls on Matrix".to_owned(), "/calls".to_owned());
    let account = first_account_id(web).await?;
    let present = Liveness::read(web, ask.now).await?;
    let AllSeenFacts { mut seen, .. } = present.everything();
    let mut id = format!("urn:callscope:{account}:calls");
    if let Some(room) = room {
        let Some(room) = rooms::find_room_name(&web.store, room).await? else {
            return Err(no_such_room(web, ask.now).await);
        };

        filter.room = Some(room.room_id.clone());
        seen = present.room(&room.room_id).into();
        id = format!(
            "urn:callscope:{account}:room:{}",
            f::path_segment(&room.room_id)
        );
        let room = RoomRef::from(room);
        (title, page) = (format!("Calls in {}", room.title()), room.href());
    }

    let calls = calls::list_calls(&web.store, &filter, None, limit, ask.now).await?;
    let calls = read_calls_with_members(web, ask, calls).await?;
    let (base, path) = (
        host::public_base_url(web.public_url.as_deref(), req.headers()),
        req.path().to_owned(),
    );

    Ok(Feed {
        title,
        calls,
        base,
        path,
        page,
        id,
        seen,
        now: ask.now,
    })
}

/// The user id of the first observing account, escaped for a URL, for the ids of feeds: it is
/// unique to an installation and does not change with the host name. `nobody` without an account.
/// The first is the one whose `id` in the configuration is least, whatever the order there.
async fn first_account_id(web: &Web) -> Result<String, Error> {
    let accounts = vantages::list_vantages_for(&web.store).await?;
    let first = accounts
        .into_iter()
        .map(|account| (account.id, account.user_id))
        .min();

    Ok(first.map_or("nobody".to_owned(), |(_, user_id)| {
        f::path_segment(&user_id)
    }))
}

/// A call in one line: how many people, how long it lasted, and the names of the first five, in the
/// order of its members. Two people of the same name are named once.
fn describe_call(call: &CallFacts) -> String {
    let mut names: Vec<String> = Vec::new();
    for member in &call.members {
        let name = person_title(member.name.as_deref(), &member.user_id);
        if !names.contains(&name) {
            names.push(name);
        }
    }

    let unnamed = names.len().saturating_sub(5);
    names.truncate(5);
    let more = if unnamed > 0 {
        format!(" and {unnamed} more")
    } else {
        String::new()
    };

    let people = f::count_with_noun(call.people, "person", "people");

    format!(
        "{people}, {}: {}{more}.",
        f::ended_duration(call.duration_ms),
        names.join(", ")
    )
}

#[derive(Template)]
#[template(path = "feed.xml")]
struct AtomFeed<'a> {
    feed: &'a Feed,
    updated: String,
}

impl Feed {
    /// A sentence that it is unknown whether a call runs now, and why; `None` if that is known.
    fn unknown(&self) -> Option<String> {
        let why = self.seen.words();
        self.seen
            .unknown
            .then(|| format!("Whether a call runs now is unknown: {why}."))
    }

    /// The feed as an Atom document.
    fn atom(&self) -> Result<String, Error> {
        let last = self.calls.iter().filter_map(|call| call.ended_ms).max();
        Ok(AtomFeed {
            feed: self,
            updated: f::rfc3339(last.unwrap_or(0)),
        }
        .render()?)
    }

    /// The feed as an iCalendar file: an event for each call.
    fn ics(&self) -> String {
        let mut text = String::new();
        let mut line = |words: &str| add_folded_line(&mut text, words);
        line("BEGIN:VCALENDAR");
        line("VERSION:2.0");
        line("PRODID:-//Callscope//Calls//EN");
        line("CALSCALE:GREGORIAN");
        line(&format!("X-WR-CALNAME:{}", escape_icalendar(&self.title)));
        if let Some(words) = self.unknown() {
            line(&format!("X-WR-CALDESC:{}", escape_icalendar(&words)));
        }

        for call in &self.calls {
            let ended = call.ended_ms.unwrap_or(self.now);
            line("BEGIN:VEVENT");
            line(&format!("UID:{}@callscope", escape_icalendar(&call.id)));
            line(&format!("DTSTAMP:{}", icalendar_time(ended)));
            line(&format!("DTSTART:{}", icalendar_time(call.started_ms)));
            line(&format!("DTEND:{}", icalendar_time(ended)));
            line(&format!(
                "SUMMARY:{}",
                escape_icalendar(&format!("{} in {}", call.noun().title, call.room.title()))
            ));
            line(&format!(
                "DESCRIPTION:{}",
                escape_icalendar(&describe_call(call))
            ));
            line(&format!("URL:{}{}", self.base, call.href()));
            // The call is over, so the event does not mark anybody as busy.
            line("TRANSP:TRANSPARENT");
            line("END:VEVENT");
        }

        line("END:VCALENDAR");

        text
    }
}

/// A time as iCalendar writes it; calendars begin with year 1 and end with 9999.
fn icalendar_time(ms: i64) -> String {
    let at = f::utc_datetime(ms);
    let at = if at.year() < 1 {
        f::utc_datetime(0_i64)
    } else {
        at
    };
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A text as a value in iCalendar (RFC 5545, 3.3.11), without control characters.
fn escape_icalendar(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace(';', "\\;")
        .replace(',', "\\,");

    text.replace('\n', "\\n")
        .replace(|letter: char| letter.is_control(), "")
}

/// Adds a line, folded after at most 75 bytes (RFC 5545, 3.1), never within a character.
fn add_folded_line(text: &mut String, line: &str) {
    let mut room = 75;
    for letter in line.chars() {
        if letter.len_utf8() > room {
            text.push_str("\r\n ");
            room = 74;
        }

        room -= letter.len_utf8();
        text.push(letter);
    }

    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{NOW, ended_calls};

    fn feed(calls: Vec<CallFacts>) -> Feed {
        let (base, path) = (
            "https://calls.example".to_owned(),
            "/feed/calls.atom".to_owned(),
        );
        let page = "/calls".to_owned();
        let (title, id) = (
            "Calls; <all>, \"of them\"".to_owned(),
            "urn:callscope:calls".to_owned(),
        );

        Feed {
            title,
            calls,
            base,
            path,
            page,
            id,
            seen: SeenFacts::default(),
            now: NOW,
        }
    }

    #[test]
    fn no_line_of_a_calendar_is_too_long_or_broken() {
        let mut calls = ended_calls();
        calls[0].room.title = "Ü, ; \\ \u{7} ".repeat(30);
        let text = feed(calls).ics();
        assert!(
            text.split("\r\n")
                .all(|line| line.len() <= 75 && !line.contains(['\n', '\r', '\u{7}'])),
            "{text}"
        );
        let whole = text.replace("\r\n ", "");
        assert!(whole.contains("SUMMARY:Call in Ü\\, \\; \\\\ "), "{whole}");
        assert_eq!(whole.matches("BEGIN:VEVENT").count(), 3);
        assert!(
            whole.contains("DTSTART:20261122T141900Z\r\nDTEND:20261122T143100Z"),
            "{whole}"
        );
    }

    #[test]
    fn a_feed_is_xml_whatever_a_room_is_called() {
        let mut calls = ended_calls();
        calls[0].room.name = Some("<b>&\"'\u{0}\u{b}]]>".to_owned());
        let text = feed(calls).atom().unwrap();
        assert!(
            !text.contains("<b>") && !text.contains('\u{0}') && !text.contains('\u{b}'),
            "{text}"
        );
        assert_eq!(text.matches("<entry>").count(), 3);
        assert!(
            text.contains("<updated>2026-11-22T14:31:00.000Z</updated>"),
            "{text}"
        );
        assert!(
            text.contains("href=\"https://calls.example/calls/board\""),
            "{text}"
        );
    }
}
