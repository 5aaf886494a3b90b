//! Server-sent events: tell browsers that something changed, but not the new content; they fetch it
//! like any other request.

use crate::changes::Change;
use crate::store::visible::VisibleRooms;
use crate::web::Web;
use crate::web::http::address_slots::AddressSlot;
use crate::web::http::error::Error;
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use actix_web::http::ConnectionType;
use actix_web::http::header::{self, ContentEncoding};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::Stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};

/// How often a comment is sent to keep the stream alive for proxies and browsers.
const PING: Duration = Duration::from_secs(15);

/// Maximum time of a stream, and of one for somebody who may not see all rooms: by then the right
/// to it may have ended, or other rooms may be visible. Browsers connect again.
const LONGEST: Duration = Duration::from_hours(1);
const VISIBLE_LONGEST: Duration = Duration::from_mins(5);

/// Minimum time between two messages of a stream; changes in between are sent together.
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of changes in one message; if there are more, the message means "reload
/// everything".
const TOLD_MOST: usize = 32;

/// Maximum number of open streams per address.
pub const STREAMS_OF_ADDRESS: usize = 64;

/// `GET /api/v1/live`: an endless stream that tells the browser when something changed. The number
/// of open streams is limited, also for each address; if it is reached, the answer is an error.
pub async fn get_live_events(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    if let Err(error) = Query::read(&ask.query, &[]) {
        return response::send_error(&ask, &error);
    }

    let client = web.access.client_for_limits(req.headers(), req.peer_addr());
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let Some(open) = web.memory.streams.take_slot(client) else {
        let mut refused =
            response::send_error(&ask, &Error::Busy("too many live streams are open"));
        // A refused client must not hold the connection.
        refused
            .head_mut()
            .set_connection_type(ConnectionType::Close);
        return refused;
    };

    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // A compressor would delay events until it has enough of them; so would nginx.
        .insert_header(ContentEncoding::Identity)
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream_holding_slot(
            stream_changes(web.changes.listen(), web.store.visible_rooms().cloned()),
            open,
        ))
}

/// The stream of `events`, which keeps its place among the open streams until it ends.
fn stream_holding_slot(
    events: impl Stream<Item = Result<web::Bytes, Infallible>>,
    open: AddressSlot,
) -> impl Stream<Item = Result<web::Bytes, Infallible>> {
    async_stream::stream! {
        let _open = open;
        for await event in events {
            yield event;
        }
    }
}

/// The stream for one browser: a message for each change, but at most one in [`PAUSE`], and
/// comments that keep it alive. Of other rooms than the `visible` ones nothing is told.
fn stream_changes(
    mut changes: Receiver<Change>,
    visible: Option<VisibleRooms>,
) -> impl Stream<Item = Result<web::Bytes, Infallible>> {
    async_stream::stream! {
        yield Ok(web::Bytes::from_static(b"retry: 2000\n: hello\n\n"));
        let mut ping = interval_at(Instant::now() + PING, PING);
        let longest = if visible.is_some() { VISIBLE_LONGEST } else { LONGEST };
        let end = Instant::now() + longest;
        loop {
            if Instant::now() >= end {
                break;
            }

            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) if !is_visible(&change, visible.as_ref()) => {}
                    Ok(change) => {
                        yield Ok(collect_sse_events(change, &mut changes, visible.as_ref()));
                        tokio::time::sleep(PAUSE).await;
                    }
                    // The stream missed some changes: the browser should reload everything.
                    Err(RecvError::Lagged(_)) => yield Ok(sse_event(&json!({}))),
                    Err(RecvError::Closed) => break,
                },
                _ = ping.tick() => yield Ok(web::Bytes::from_static(b": ping\n\n")),
            }
        }
    }
}

/// This change and those that are waiting, each once, as messages. If they are too many, the
/// browser is told of the first one, and to reload everything.
fn collect_sse_events(
    first: Change,
    changes: &mut Receiver<Change>,
    visible: Option<&VisibleRooms>,
) -> web::Bytes {
    let mut all = vec![first];
    while let Ok(next) = changes.try_recv() {
        // One more than is sent is collected, as a sign that there are too many.
        if all.len() <= TOLD_MOST && !all.contains(&next) && is_visible(&next, visible) {
            all.push(next);
        }
    }

    // If there are too many, only the first is sent, with a note that there are others.
    let others = all.len() > TOLD_MOST;
    if others {
        all.truncate(1);
    }

    let mut messages: Vec<u8> = all
        .into_iter()
        .flat_map(|change| sse_event(&change_json(change)))
        .collect();
    if others {
        messages.extend(sse_event(&json!({})));
    }

    web::Bytes::from(messages)
}

/// May this change be told to a viewer of these rooms? `None` is the viewer of all rooms.
fn is_visible(change: &Change, visible: Option<&VisibleRooms>) -> bool {
    let Some(visible) = visible else {
        return true;
    };

    match change {
        Change::Slot { room_id, .. } | Change::Room { room_id } => {
            visible.shows_present_of(room_id)
        }
        Change::Observer => true,
    }
}

/// What changed, as the browser is told; `{}` means anything.
fn change_json(change: Change) -> Value {
    match change {
        Change::Slot { room_id, slot_id } => json!({ "room_id": room_id, "slot_id": slot_id }),
        Change::Room { room_id } => json!({ "room_id": room_id }),
        Change::Observer => json!({}),
    }
}

/// A server-sent event of the kind `change` with this data.
fn sse_event(data: &Value) -> web::Bytes {
    // JSON has no raw line breaks, so it fits in one data line whatever a room id contains.
    web::Bytes::from(format!("event: change\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::Changes;
    use futures_util::StreamExt;

    async fn next(
        stream: &mut (impl futures_util::Stream<Item = Result<web::Bytes, Infallible>> + Unpin),
    ) -> String {
        String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_change_is_told_without_data() {
        let changes = Changes::default();
        let mut stream = Box::pin(stream_changes(changes.listen(), None));
        assert!(next(&mut stream).await.starts_with("retry:"));
        changes.announce(Change::Slot {
            room_id: "!a\nb".to_owned(),
            slot_id: "m.call#ROOM".to_owned(),
        });
        assert_eq!(
            next(&mut stream).await,
            "event: change\ndata: {\"room_id\":\"!a\\nb\",\"slot_id\":\"m.call#ROOM\"}\n\n"
        );
        changes.announce(Change::Observer);
        assert_eq!(next(&mut stream).await, "event: change\ndata: {}\n\n");
    }

    #[tokio::test]
    async fn nothing_is_told_of_a_room_that_is_not_visible() {
        let changes = Changes::default();
        let mut visible = VisibleRooms::default();
        visible.whole.insert("!mine".to_owned());
        let mut stream = Box::pin(stream_changes(changes.listen(), Some(visible)));
        next(&mut stream).await;
        for room_id in ["!theirs", "!mine", "!theirs"] {
            changes.announce(Change::Room {
                room_id: room_id.to_owned(),
            });
        }
        changes.announce(Change::Observer);
        assert_eq!(
            next(&mut stream).await,
            "event: change\ndata: {\"room_id\":\"!mine\"}\n\nevent: change\ndata: {}\n\n"
        );
    }

    #[tokio::test]
    async fn what_changes_at_once_is_told_together() {
        let changes = Changes::default();
        let mut stream = Box::pin(stream_changes(changes.listen(), None));
        next(&mut stream).await;
        let room = |index: usize| Change::Room {
            room_id: format!("!{index}"),
        };

        for index in [1, 2, 1] {
            changes.announce(room(index));
        }

        let told = next(&mut stream).await;
        assert_eq!(told.matches("event: change").count(), 2, "{told}");
        for index in 0..=TOLD_MOST {
            changes.announce(room(index));
        }

        let told = next(&mut stream).await;
        assert!(told.ends_with("event: change\ndata: {}\n\n"), "{told}");
        assert_eq!(told.matches("event: change").count(), 2, "{told}");
    }

    #[tokio::test]
    async fn who_lags_is_told_to_look_at_everything() {
        let changes = Changes::default();
        let mut stream = Box::pin(stream_changes(changes.listen(), None));
        next(&mut stream).await;
        for index in 0..3000 {
            changes.announce(Change::Room {
                room_id: format!("!{index}"),
            });
        }

        assert_eq!(next(&mut stream).await, "event: change\ndata: {}\n\n");
        assert!(next(&mut stream).await.contains("room_id"));
    }
}
