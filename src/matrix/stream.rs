//! A JSON answer that is split while it comes, so that only a part of it is in memory.

use super::error::{Error, Result};
use super::events::EventBuilder;
use super::json::check_strictly;
use super::repair::repair_json;
use super::request::AnswerBody;
use super::split::{Splitter, Taker};
use serde_json::Value;
use serde_json::value::RawValue;

/// Maximum length of an event, bytes. A longer one is left out. The specification allows 64 KiB,
/// and up to 100 KiB are kept whole.
pub(super) const EVENT_TEXT_MAX: usize = 1024 * 1024;

/// An answer that is passed to a taker as it comes.
pub(super) struct Stream<'a> {
    body: AnswerBody<'a>,
    splitter: Splitter,
    /// Its first byte, to distinguish a web page from invalid JSON.
    head: Option<u8>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(body: AnswerBody<'a>) -> Self {
        Self {
            body,
            splitter: Splitter::new(),
            head: None,
        }
    }

    /// Bytes received so far.
    pub(super) fn read(&self) -> usize {
        self.body.read()
    }

    /// Passes the next piece to the taker. Returns true if there may be more, false at the end of a
    /// complete answer.
    pub(super) async fn next(&mut self, taker: &mut impl Taker) -> Result<bool> {
        let Some(piece) = self.body.next().await? else {
            return if self.splitter.is_done() {
                Ok(false)
            } else {
                Err(self.broken_off())
            };
        };

        let first = piece.iter().find(|byte| !byte.is_ascii_whitespace());
        self.head = self.head.or(first.copied());

        match self.splitter.feed(&piece, taker) {
            Ok(()) => Ok(true),
            Err(_) if self.head == Some(b'<') => Err(self.not_matrix("a web page (HTML)")),
            Err(broken) => Err(self.not_matrix(format!("broken JSON (at byte {})", broken.0))),
        }
    }

    /// The error for an answer that ends before its JSON does.
    fn broken_off(&self) -> Error {
        if self.head.is_none() {
            return self.not_matrix("an empty answer");
        }

        let read = self.splitter.read();

        self.not_matrix(format!("JSON that breaks off after {read} bytes"))
    }

    /// The error for an answer that is JSON but does not conform to Matrix.
    pub(super) fn not_matrix(&self, why: impl Into<String>) -> Error {
        self.body.not_matrix(why)
    }
}

/// An event that came in a stream.
pub(super) struct Streamed {
    pub event: Value,
    /// Invalid parts of it were replaced.
    pub repaired: bool,
}

/// Builds an event from its text; `None` if it is no JSON even after repair.
pub(super) fn event_of(events: &mut EventBuilder, text: &[u8]) -> Option<Streamed> {
    if let Ok(text) = std::str::from_utf8(text)
        && check_strictly(text).is_ok()
    {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        return Some(Streamed {
            event: events.event(raw),
            repaired: false,
        });
    }

    let text = repair_json(text);
    check_strictly(&text).ok()?;
    let raw: &RawValue = serde_json::from_str(&text).ok()?;

    Some(Streamed {
        event: events.event(raw),
        repaired: true,
    })
}
