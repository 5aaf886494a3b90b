//! Callscope watches `MatrixRTC` calls (MSC4143) across the Matrix federation. A bot account
//! observes rooms on a homeserver, stores what it saw, computes who was in which call and when, and
//! shows it: HTML for people, JSON for programs. One binary, self-hosted.
//!
//! # The one sentence
//!
//! > `rtc` knows nobody; `matrix` and `store` know only `rtc`; the `observer` writes the store, the `web` reads it;
//! > `app` wires.
//!
//! | module | may import (of ours) | may touch |
//! |---|---|---|
//! | [`rtc`] | nothing | nothing: no async, no clock, no logging, no I/O |
//! | [`matrix`] | `rtc` | the network, towards homeservers |
//! | [`store`] | `rtc` | the database; all SQL of the program is here |
//! | [`observer`] | `rtc`, `matrix`, `store`, `changes`, `clock` | timers; the only writer |
//! | [`web`] | `rtc`, `store` (reads), `changes`, `clock` | sockets of browsers and API clients |
//! | [`sim`] | nothing of ours | a simulated homeserver over real HTTP: the demo and the tests use the same one |
//! | [`config`] | `rtc`, `matrix`, `telemetry` | the configuration file and the environment |
//! | [`app`], [`cli`] | all | start and stop, the command line |
//!
//! `tests/it/layers.rs` holds it: it fails on any other arrow, on SQL outside `store`, on `async` in
//! `rtc`.
//!
//! # The one idea
//!
//! There is one interesting function, and it is pure: [`rtc::derive`], from the events of a room to
//! memberships, sessions and rejected events. It is two folds: the events of one *chain* (a state
//! key, or a sender's sticky key) into memberships ([`rtc::fold`]), the memberships of one slot
//! into sessions ([`rtc::session`]). The store runs the same two folds on the chains and the span
//! that new events touch ([`store::batch`]); a property holds that batch by batch, in any order,
//! equals `derive` over the whole.
//!
//! Events are the truth and are only appended; memberships and sessions may be thrown away and
//! derived again. Expiry writes nothing: a membership stores `until_ms`, and "active" is the
//! question `until_ms > now`, with `now` an argument. Only age deletes events, where the operator
//! asks for it: a chain is sealed first, and what its older events gave is kept as it is
//! ([`store::retention`]). What cannot be parsed is stored and counted as rejected, with the
//! reason, and shown.
//!
//! # What nobody saw
//!
//! The store notes when the sync stream was heard and rooms were polled ([`store::coverage`]); from
//! that, the walks through history and the room's history visibility follows how each time is known
//! ([`rtc::coverage`]), and from that and from how events came, how sure each boundary is
//! ([`rtc::evidence`]). Both are pure and asked when a page is written: nothing of it is derived
//! state. Where no event tells of a change that a look at the state shows ([`store::snapshots`],
//! [`store::state_resets`]), an event of our own is appended; its id begins with `~`.
//!
//! # Who is there now
//!
//! Whether the present of a room, or of everything, is known is decided in one place
//! ([`rtc::present`], fed by [`store::present`]): every page and every answer that tells of now
//! asks it, and says *unknown* rather than nothing. Whether a device that still counts is still
//! there follows from its silence and from signs ([`rtc::ghost`], fed by [`store::ghosts`]): those
//! who are probably gone are counted apart everywhere, and a call of them alone is stuck. Both are
//! asked when a page is written; nothing of it is derived state.
//!
//! # What the room's own state says
//!
//! Creation, power levels, server ACL and tombstone are kept apart from the events, the newest few
//! of each, and so is who is in a room ([`store::access`]). What they mean for a call is pure
//! ([`rtc::power`], [`rtc::acl`], [`rtc::room_finding`]) and told as findings.
//! `observer/successors` goes on to the room that took another's place. What a look at the state
//! took away or brought back is in [`store::state_resets`].
//!
//! # What is summed
//!
//! Sums come with and without what is inferred ([`store::sums`]). Until when a stay was really seen
//! is decided in one place ([`store::gone`]). They are computed when asked, by the indexes of time;
//! only the signs of life of stays that nobody ended are kept ([`store::signs`]), and an answer
//! that took a second is kept for a hundred ([`web::kept`]).
//!
//! # The way of one event
//!
//! 1. `observer/follow` asks [`matrix::Client::sync_parts`]; `matrix/request` owns token, time-out,
//!    size cap, 429 and 5xx.
//! 2. `matrix/sync` gives the raw events of the answer, part by part, and the next position.
//! 3. `observer/ingest` (the funnel; poll and back-fill call the same function) hands it to
//!    [`store::batch::write`], one transaction: append the new events, note the sighting, fold the
//!    touched chains, replace what changed, move the position. Position and effect move together,
//!    so a crash repeats work and never loses it. Walks through history are rows, too
//!    ([`store::walks`]): each page moves its walk's place in the same commit, so that a stop at
//!    any point changes nothing. `callscope backfill` is the same code in the foreground.
//! 4. After the commit, and never before, [`changes`] announces the slot, without data.
//! 5. `web/live` tells browsers "changed"; `static/live.js` fetches the page again: one read path
//!    serves first load, refresh and API.
//! 6. `web/pages/calls` reads [`store::sorted`], makes one page struct of *facts* (ids,
//!    milliseconds, counts, never prose), and `web/reply` turns it into HTML or JSON. Formatting is
//!    a template filter.
//!
//! # When something is wrong
//!
//! Each loop keeps its own trouble until its next success ([`observer`]). What the database refuses
//! to store cannot be kept in it: that is in memory beside it ([`store::health`]), noted by the
//! observer's writes, of which one small one is made all the time, and read by every page,
//! `/readyz` and the metrics. What a page may say of now follows from both
//! ([`web::pages::standing`]): never well what was not seen.
//!
//! # Where to begin
//!
//! README, this page, [`rtc`], one vector of `tests/vectors`, `observer/ingest.rs`: half an hour.
//! `docs/ARCHITECTURE.md` has the map of all files, the rules that hold everywhere, and where to
//! start for a usual change. `docs/glossary.md` explains the words. `docs/matrixrtc.md` has the
//! rules of `MatrixRTC` that comments cite by section.

/// Rows go from the database's thread to another one, which frees them: the system's allocator is
/// slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod app;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod matrix;
pub mod observer;
pub mod rtc;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod web;
