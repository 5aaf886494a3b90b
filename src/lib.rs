//! Callscope watches `MatrixRTC` calls (MSC4143) across the Matrix federation. A bot account
//! observes rooms on a homeserver, stores what it saw, computes who was in which call and when, and
//! shows it: HTML for people, JSON for programs. One binary, self-hosted.
//!
//! # The one sentence
//!
//! > `rtc` knows nobody; `matrix` and `store` know only `rtc`; the `observer` writes the store, the
//! > `web` reads it; `app` wires.
//!
//! | module | may import (of ours) | may touch |
//! |---|---|---|
//! | [`rtc`] | nothing | nothing: no async, no clock, no logging, no I/O |
//! | [`matrix`] | `rtc`, `tls` | the network, towards homeservers |
//! | [`store`] | `rtc` | the database; all SQL is here; `Reader` reads, `Writer` also writes, `SignIns` writes who signed in |
//! | [`observer`] | `rtc`, `matrix`, `store`, `changes`, `clock` | timers; the only writer |
//! | [`web`] | `rtc`, `store` (`Reader`, `SignIns`), `changes`, `clock`, `tls` | sockets of browsers and programs; the provider of OpenID Connect |
//! | [`sim`] | nothing of ours | a simulated homeserver over real HTTP, for the demo and the tests |
//! | [`alerting`] | `rtc`, `matrix`, `store`, `changes`, `clock`, `tls` | channels: rooms and programs that hear of alerts |
//! | [`config`] | `rtc`, `matrix`, `telemetry`, `alerting` | the configuration file and the environment |
//! | [`changes`], [`clock`], [`telemetry`], [`tls`] | nothing | memory; the clock; the log; whom TLS trusts |
//! | [`setup`] | `rtc`, `matrix`, `store`, `config`, `web`, `clock` | the first run: pages that write the configuration file |
//! | [`app`], [`cli`] | all | start and stop, the command line |
//!
//! `tests/it/layers.rs` enforces it: it fails on any other import, on SQL outside `store`, on
//! `Writer` in `web`, and on `async` in `rtc`.
//!
//! # The one idea
//!
//! The central function is pure: [`rtc::derive`] turns the events of a room into memberships,
//! sessions and rejected events. It consists of two folds: the events of one *member key* (a state
//! key, or a sender's sticky key) into memberships ([`rtc::fold`]), and the memberships of one slot
//! into sessions ([`rtc::session`]). The store runs the same two folds on the member keys and the
//! time span that new events touch ([`store::derive`]). A property test checks that batches in any
//! order give the same result as `derive` over all events.
//!
//! Events are the source of truth and are only appended. Memberships and sessions can be deleted
//! and derived again. Expiry writes nothing: a membership stores `until_ms`, and it is active if
//! `until_ms > now`; `now` is an argument. Events are deleted only by age, if the operator
//! configures it: first a member key is sealed, and the results of its older events are kept
//! ([`store::upkeep::retention`]). Events that cannot be parsed are stored, counted as rejected
//! with the reason, and shown.
//!
//! # What nobody saw
//!
//! The store records when the sync stream was received and when rooms were polled
//! ([`store::read::coverage`]). From that, from the reads of history (back-fill) and from the
//! room's history visibility follows the coverage of each time ([`rtc::coverage`]). From the
//! coverage and from the way that events came follows the certainty of each boundary
//! ([`rtc::evidence`]). Both are pure and computed when a page is written; they are not derived
//! state. If a poll of the state shows a change without an event ([`store::ingest::snapshots`],
//! [`store::ingest::state_resets`]), an event of our own is appended; its id begins with `~`.
//!
//! # Who is there now
//!
//! One module decides whether the present of a room, or of all rooms, is known ([`rtc::present`],
//! with data from [`store::read::present`]). Every page and answer about the present asks it
//! (`web/view/liveness`), and shows *unknown* instead of nothing. Whether a device that still
//! counts is still there follows from its silence and from other signs ([`rtc::ghost`], with data
//! from [`store::read::ghosts`]). Devices that are probably gone are counted separately everywhere;
//! a call with only such devices is stuck. Both are computed when a page is written; they are not
//! derived state.
//!
//! # What the room's own state says
//!
//! Creation, power levels, server ACL and tombstone are stored separately from the events, the
//! newest few of each, and so are the members of a room ([`store::ingest::access`]). Their meaning
//! for a call is pure ([`rtc::power`], [`rtc::acl`], [`rtc::room_finding`]) and reported as
//! findings. `observer/successors` follows the room that replaced another one. Changes that a poll
//! of the state showed without an event are in [`store::ingest::state_resets`].
//!
//! # What is summed
//!
//! Sums are shown with and without inferred time ([`store::stats::usage`]). One module decides
//! until when a stay was really seen ([`store::stats::ghost_time`]). Sums are computed on request,
//! with indexes on time. Only the last signs of life of stays that nobody ended
//! ([`store::stats::last_seen`]) and the totals of finished days
//! ([`store::stats::daily_rollup`]) are stored, and an answer that took a second is cached for a
//! hundred ([`web::http::cost_cache`]).
//!
//! # When something is wrong
//!
//! Each loop keeps its own error until its next success ([`observer`]). An error of the database
//! cannot be stored in it, so it is kept in memory ([`store::db::health`]). The observer's writes
//! record it; a small write is made regularly for this purpose. Every page, `/readyz` and the
//! metrics read it. Both decide what a page may say about the present
//! ([`web::pages::observer_state`]): never "well" for what was not seen.
//!
//! # Where to begin
//!
//! `docs/ARCHITECTURE.md` says what to read, and follows one event through the program. It has the
//! map of all files, the rules that apply everywhere, and the starting points for usual changes.
//! `docs/glossary.md` explains the terms. `docs/matrixrtc.md` has the rules of `MatrixRTC` that
//! comments cite by section.

/// Rows are allocated in the database's thread and freed in another one. The system's allocator is
/// slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod alerting;
pub mod app;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod matrix;
pub mod observer;
pub mod rtc;
pub mod setup;
pub mod sim;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod web;
