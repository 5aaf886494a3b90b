//! Server-sent events: tells browsers that something changed, never what; they fetch it by the one read path.

use super::Web;
use super::query::Query;
use super::reply::{self, Ask};
use crate::changes::Change;
use actix_web::http::header::{self, ContentEncoding};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};

/// How often a comment is sent, so that proxies and browsers know that the stream lives.
const PING: Duration = Duration::from_secs(15);

/// `GET /api/v1/live`
pub async fn get(req: HttpRequest, web: web::Data<Web>) -> HttpResponse {
    let ask = Ask::of(&req, &web);
    if let Err(error) = Query::read(&ask.query, &[]) {
        return reply::failure(&ask, &error);
    }
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // A compressor would keep events back until it has enough of them; so would nginx.
        .insert_header(ContentEncoding::Identity)
        .insert_header(("x-accel-buffering", "no"))
        .streaming(stream(web.changes.listen()))
}

fn stream(
    mut changes: Receiver<Change>,
) -> impl futures_util::Stream<Item = Result<web::Bytes, Infallible>> {
    async_stream::stream! {
        yield Ok(web::Bytes::from_static(b"retry: 2000\n: hello\n\n"));
        let mut ping = interval_at(Instant::now() + PING, PING);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => yield Ok(event(&told(change))),
                    // It missed some: it should look at everything.
                    Err(RecvError::Lagged(_)) => yield Ok(event(&json!({}))),
                    Err(RecvError::Closed) => break,
                },
                _ = ping.tick() => yield Ok(web::Bytes::from_static(b": ping\n\n")),
            }
        }
    }
}

fn told(change: Change) -> Value {
    match change {
        Change::Slot { room_id, slot_id } => json!({ "room_id": room_id, "slot_id": slot_id }),
        Change::Room { room_id } => json!({ "room_id": room_id }),
        Change::Observer => json!({}),
    }
}

fn event(data: &Value) -> web::Bytes {
    // JSON has no raw line breaks, so one data line holds it whatever a room id contains.
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
        let mut stream = Box::pin(stream(changes.listen()));
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
    async fn who_lags_is_told_to_look_at_everything() {
        let changes = Changes::default();
        let mut stream = Box::pin(stream(changes.listen()));
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
