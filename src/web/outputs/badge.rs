//! Badges: the number of people in a call of a room or a homeserver now, as a picture and in the
//! JSON format of Shields.

use crate::rtc::present::UnknownReason;
use crate::rtc::words::words;
use crate::store::ingest::rooms;
use crate::store::read::large_calls;
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::pages::{read_running_calls, read_running_in_room};
use crate::web::view::format as f;
use crate::web::view::liveness::{Liveness, no_such_room};
use crate::web::view::{CallFacts, MemberFacts, PerhapsGone};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web as http};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// How long a badge may be cached by whoever shows it.
const KEEP: &str = "public, max-age=60";

/// Parameters of a badge.
pub const KNOWN: &[&str] = &["label", "style"];
/// Maximum number of letters of a label.
pub const LABEL_MAX: usize = 60;

words! {
    /// The look of a badge, by the name that Shields gives it.
    pub enum BadgeStyle {
        Flat = "flat",
        FlatSquare = "flat-square",
        ForTheBadge = "for-the-badge",
    }
}

/// How a badge was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct BadgeLook {
    label: Option<String>,
    style: BadgeStyle,
}

/// A badge in the form that Shields reads (its endpoint badge).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Badge {
    pub schema_version: i64,
    pub label: String,
    pub message: String,
    /// A colour by its name.
    pub color: String,
    pub style: BadgeStyle,
    /// Seconds for which it may be kept.
    pub cache_seconds: i64,
    /// Nothing is known.
    pub is_error: bool,
}

impl Badge {
    /// A badge with these words and a colour by its name. `is_error` says that nothing is known.
    fn new(message: String, color: &str, is_error: bool) -> Self {
        Self::with_label("call", message, color, is_error)
    }

    /// Like [`Self::new`], with the words of its left half.
    pub(in crate::web) fn with_label(
        label: &str,
        message: String,
        color: &str,
        is_error: bool,
    ) -> Self {
        Self {
            schema_version: 1,
            label: label.to_owned(),
            message,
            color: color.to_owned(),
            style: BadgeStyle::Flat,
            cache_seconds: 60,
            is_error,
        }
    }

    /// The badge that says that it is not known who is in a call.
    fn unknown() -> Self {
        Self::new("unknown".to_owned(), "lightgrey", true)
    }

    /// The badge for those who are in calls at `now`, ms. `others_unknown` says that there may be
    /// others whom nobody can see.
    fn from_count(count: &PeopleCount, others_unknown: bool, now: i64) -> Self {
        if count.people == 0 && others_unknown {
            return Self::unknown();
        }

        let at_least = if others_unknown { "at least " } else { "" };
        let people = match count.people {
            0 => "nobody".to_owned(),
            people => format!(
                "{at_least}{}",
                f::count_with_noun(people, "person", "people")
            ),
        };

        let people = match count.perhaps_gone.words(now) {
            Some(words) => format!("{people}, {words}"),
            None => people,
        };

        let message = match count.ghosts {
            0 => people,
            ghosts => format!(
                "{people}, {}",
                f::count_with_noun(ghosts, "ghost", "ghosts")
            ),
        };

        let color = if count.people > 0 && !count.perhaps_gone.are_all {
            "brightgreen"
        } else {
            "lightgrey"
        };

        Self::new(message, color, false)
    }
}

impl BadgeLook {
    /// The look that the parameters ask for.
    ///
    /// # Errors
    /// A parameter that a badge does not take, a label that is too long, or a style that is not
    /// known.
    pub(in crate::web) fn read(ask: &PageRequest) -> Result<Self, Error> {
        let query = Query::read(&ask.query, KNOWN)?;
        let style = match query.get("style").map(str::parse) {
            None => BadgeStyle::Flat,
            Some(Ok(style)) => style,
            Some(Err(_)) => {
                let words = "style must be flat, flat-square or for-the-badge";
                return Err(Error::Invalid(words.to_owned()));
            }
        };
        let label = query.get("label");
        if label.is_some_and(|label| label.chars().count() > LABEL_MAX) {
            return Err(Error::Invalid(format!(
                "label must have at most {LABEL_MAX} letters"
            )));
        }

        Ok(Self {
            label: label.map(f::sanitize_line),
            style,
        })
    }

    /// The badge with this look.
    pub(in crate::web) fn put_on(self, badge: Badge) -> Badge {
        Badge {
            label: self.label.unwrap_or(badge.label),
            style: self.style,
            ..badge
        }
    }
}

/// The number of distinct people in calls now, and of devices that are probably gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct PeopleCount {
    people: usize,
    ghosts: usize,
    /// Devices of these people that are perhaps gone.
    perhaps_gone: PerhapsGone,
}

impl PeopleCount {
    /// Counts the people in these calls, of one server or (`None`) of all. The calls must be read
    /// as of the time at which the badge speaks.
    fn count_calls<'a>(
        calls: impl IntoIterator<Item = &'a CallFacts> + Clone,
        server: Option<&str>,
    ) -> Self {
        let mut people: BTreeSet<&str> = BTreeSet::new();
        let mut ghosts: BTreeSet<(&str, &str)> = BTreeSet::new();
        let is_of = |member: &&MemberFacts| server.is_none_or(|name| member.server == name);
        let present = calls.clone().into_iter().flat_map(CallFacts::present);
        let perhaps_gone = PerhapsGone::among(present.filter(is_of));
        for call in calls {
            let here = call.present().filter(is_of);
            people.extend(here.map(|member| member.user_id.as_str()));
            let gone = call.ghosts().filter(is_of);
            ghosts.extend(gone.map(MemberFacts::device));
        }

        Self {
            people: people.len(),
            ghosts: ghosts.len(),
            perhaps_gone,
        }
    }
}

/// `GET /badge/rooms/{id}/active.svg`: the badge of a room as a picture. An unknown room gets a
/// picture that says so.
pub async fn get_room_badge_svg(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    send_badge_svg(&ask, "unknown room", load_room_badge(&web, &ask, &id).await)
}

/// `GET /badge/rooms/{id}/active.json`: the badge of a room in the JSON format of Shields.
pub async fn get_room_badge_json(
    req: HttpRequest,
    web: Web,
    id: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_json(&ask, load_room_badge(&web, &ask, &id).await)
}

/// `GET /badge/servers/{name}/active.svg`: the badge of a homeserver as a picture. An unknown
/// server gets a picture that says so.
pub async fn get_server_badge_svg(
    req: HttpRequest,
    web: Web,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    send_badge_svg(
        &ask,
        "unknown server",
        load_server_badge(&web, &ask, &name).await,
    )
}

/// `GET /badge/servers/{name}/active.json`: the badge of a homeserver in the JSON format of
/// Shields.
pub async fn get_server_badge_json(
    req: HttpRequest,
    web: Web,
    name: http::Path<String>,
) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    response::send_json(&ask, load_server_badge(&web, &ask, &name).await)
}

/// The badge of a room, in the look that was asked for.
async fn load_room_badge(web: &Web, ask: &PageRequest, id: &str) -> Result<Badge, Error> {
    let look = BadgeLook::read(ask)?;

    Ok(look.put_on(count_in_room(web, ask, id).await?))
}

/// Counts the people in calls of a room now. The badge says `unknown` if the present of the room is
/// unknown.
async fn count_in_room(web: &Web, ask: &PageRequest, id: &str) -> Result<Badge, Error> {
    let Some(room) = rooms::find_room_name(&web.store, id).await? else {
        return Err(no_such_room(web, ask.now).await);
    };

    let present = Liveness::read(web, ask.now).await?;
    let unknown = present.room(&room.room_id);
    let others_unknown = unknown.is_some_and(|unknown| unknown.why == UnknownReason::Encrypted);
    if unknown.is_some() && !others_unknown {
        return Ok(Badge::unknown());
    }

    let calls = read_running_in_room(web, ask, &room.room_id).await?;
    let unlisted: i64 = calls.iter().map(|call| call.unlisted.people).sum();
    let mut count = PeopleCount::count_calls(&calls, None);
    let unlisted = usize::try_from(unlisted).unwrap_or(0);
    count.people += unlisted;
    count.perhaps_gone.are_all &= unlisted == 0;

    Ok(Badge::from_count(&count, others_unknown, ask.now))
}

/// The badge of a homeserver, in the look that was asked for.
async fn load_server_badge(web: &Web, ask: &PageRequest, name: &str) -> Result<Badge, Error> {
    let look = BadgeLook::read(ask)?;

    Ok(look.put_on(count_of_server(web, ask, name).await?))
}

/// Counts the people of a homeserver in calls now. The badge says `unknown` if nothing about the
/// present is known, or if nobody is seen while some rooms cannot be read.
async fn count_of_server(web: &Web, ask: &PageRequest, name: &str) -> Result<Badge, Error> {
    // Accept any case: names of servers are lower case.
    let name = &name.to_lowercase();
    if !is_server_name(name) {
        return Err(Error::NotFound(
            "This is not the name of a homeserver.".to_owned(),
        ));
    }

    let present = Liveness::read(web, ask.now).await?.everything();
    if present.is_blind() {
        return Ok(Badge::unknown());
    }

    let running = read_running_calls(web, ask).await?;
    let of_server = |call: &&CallFacts| call.servers.iter().any(|server| server == name);
    let calls: Vec<&CallFacts> = running.calls.iter().filter(of_server).collect();
    let mut count = PeopleCount::count_calls(calls.iter().copied(), Some(name));
    // For a call that was not read completely, the other people are counted in the database. A
    // person in two such calls counts twice.
    for call in calls.iter().filter(|call| call.unlisted.people > 0) {
        let store = &web.store;
        let all = large_calls::people_of_server(store, &call.id, name, ask.now).await?;
        let listed = PeopleCount::count_calls([*call], Some(name));
        let beyond = usize::try_from(all).unwrap_or(0);
        count.people += beyond.saturating_sub(listed.people + listed.ghosts);
    }

    // If nobody is seen, there may be people in rooms that we cannot read.
    let is_hidden = count.people == 0 && present.hidden_rooms() > 0;

    Ok(Badge::from_count(&count, is_hidden, ask.now))
}

/// Is it a valid server name: a host, maybe with a port?
fn is_server_name(name: &str) -> bool {
    let end = name.rfind(']').map_or_else(
        || name.find(':').unwrap_or(name.len()),
        |bracket| bracket + 1,
    );
    let (host, port) = name.split_at(end);
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
    let is_host = match host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        }
    };

    is_host && is_port && name.len() <= 255
}

#[derive(Template)]
#[template(path = "badge.svg")]
struct BadgeSvg<'a> {
    label: &'a str,
    message: &'a str,
    fill: &'static str,
    /// Widths of the two halves, and the height, px.
    left: usize,
    right: usize,
    height: usize,
    /// The radius of its corners, px.
    radius: usize,
    is_bold: bool,
}

/// Answers with the badge as a picture. An error that there is no such thing is a picture with the
/// words `unknown`, because the page that shows it has no other place for one.
pub(in crate::web) fn send_badge_svg(
    ask: &PageRequest,
    unknown: &str,
    badge: Result<Badge, Error>,
) -> HttpResponse {
    let (status, badge) = match badge {
        Ok(badge) => (StatusCode::OK, badge),
        Err(Error::NotFound(_)) => (
            StatusCode::NOT_FOUND,
            Badge::new(unknown.to_owned(), "lightgrey", true),
        ),
        Err(error) => return response::send_error(ask, &error),
    };

    let is_large = badge.style == BadgeStyle::ForTheBadge;
    let cased = |text: &str| {
        if is_large {
            text.to_uppercase()
        } else {
            text.to_owned()
        }
    };
    let (label, message) = (cased(&badge.label), cased(&badge.message));
    let (edge, letter) = if is_large { (24, 9) } else { (12, 7) };
    let width = |text: &str| edge + text.chars().count() * letter;
    let fill = match badge.color.as_str() {
        "brightgreen" => "#0a6a5c",
        "red" => "#a3262a",
        _ => "#656a6e",
    };

    let (left, right) = (width(&label), width(&message));
    match (BadgeSvg {
        label: &label,
        message: &message,
        fill,
        left,
        right,
        height: if is_large { 28 } else { 20 },
        radius: if badge.style == BadgeStyle::Flat {
            4
        } else {
            0
        },
        is_bold: is_large,
    })
    .render()
    {
        Ok(svg) => HttpResponse::build(status)
            .insert_header((header::CONTENT_TYPE, "image/svg+xml"))
            .insert_header((header::CACHE_CONTROL, KEEP))
            .body(svg),
        Err(error) => response::send_error(ask, &error.into()),
    }
}
