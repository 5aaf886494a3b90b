//! The store: after any batches its content equals what the pure core derives, on each given
//! database.

mod accounts;
mod depth;
mod direct_rooms;
pub mod filled;
mod forgotten;
mod keep;
mod large;
mod limits;
mod lists;
mod moved;
mod plans;
mod polls;
mod redactions;
mod rings;
mod rules;
mod sign_ins;
mod transfers;
mod unseen;
mod upgrades;
mod words;

use crate::generate;
use crate::support::database::Database;
use callscope::rtc::coverage::Span;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::fold::Rules;
use callscope::rtc::membership::Membership;
use callscope::rtc::session::Session;
use callscope::rtc::words::{EndReason, JobEnd, JobKind, Mode, Source, Watch};
use callscope::rtc::{self, Derived};
use callscope::store::derive::rebuild;
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch, StateSnapshot};
use callscope::store::ingest::history_jobs::job::{self, HistoryJob, JobTurn};
use callscope::store::ingest::history_jobs::{events as missing_events, reads};
use callscope::store::ingest::invitations::{self, Invitation};
use callscope::store::ingest::write::write_batch;
use callscope::store::ingest::{rooms, vantages};
use callscope::store::model::{Call, CallFilter, Cursor, Member, More, RoomName};
use callscope::store::read::{
    calls, coverage, events, evidence, history_progress, memberships, related, room_at, zombies,
};
use callscope::store::stats::distributions::EndFacts;
use callscope::store::stats::ghost_time::Gone;
use callscope::store::stats::scope::Scope;
use callscope::store::stats::{
    calls_ever, concurrency, distributions, gauges, last_seen, transport_usage, usage,
};
use callscope::store::{Tuning, Writer};
use proptest::prelude::*;
use serde_json::{Value, json};

const ROOM: &str = "!r:h0";
/// After everything in the generated rooms.
const LATER: i64 = 1_800_000_000_000;

fn arrivals(room: &[Value]) -> Vec<Arrival> {
    let arrival = |json: &Value| Arrival {
        event: RoomEvent::from_recorded(json).unwrap().into(),
        json: json.to_string(),
        in_timeline: true,
    };

    room.iter().map(arrival).collect()
}

fn batch(arrivals: Vec<Arrival>) -> Batch {
    let room = RoomBatch {
        arrivals,
        ..RoomBatch::new(ROOM, Source::Backfill)
    };

    Batch {
        vantage_id: "v".into(),
        seen_ms: LATER,
        position: None,
        rooms: vec![room],
        invitations: vec![],
    }
}

pub async fn open() -> (Writer, Database) {
    let database = Database::new().await;
    let store = Writer::open(database.url()).await.unwrap();

    (store, database)
}

pub async fn done(store: Writer, database: Database) {
    store.close().await;
    drop(database);
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

#[rustfmt::skip]
fn stored_call(c: &Call) -> Value {
    json!([c.id, c.slot_id, c.started_ms, c.until_ms, c.memberships, c.people, c.devices, c.peak, c.peak_users,
        c.servers, c.intent, c.first_event_id])
}

#[rustfmt::skip]
fn derived_call(s: &Session) -> Value {
    json!([s.id, s.slot_id, s.started_ms, s.until_ms, s.memberships, s.users, s.devices, s.peak, s.peak_users,
        s.servers, s.intent, s.first_event_id])
}

#[rustfmt::skip]
fn stored_member(member: &Member) -> Value {
    member_of_session(&member.stay, &member.session_id)
}

#[rustfmt::skip]
fn derived_member(m: &Membership, sessions: &[Session]) -> Value {
    let session = sessions.iter().find(|s| s.membership_ids.contains(&m.id)).unwrap();
    member_of_session(m, &session.id)
}

#[rustfmt::skip]
fn member_of_session(m: &Membership, session_id: &str) -> Value {
    json!([m.joined_ms, m.user_id, m.device_id, m.until_ms, m.end_reason.as_str(), m.updates, m.join_event_id,
        m.format.as_str(), m.resumed, session_id, m.back_since_ms, m.outlived_ms])
}

/// All calls, newest first.
pub async fn all_calls(store: &Writer) -> Vec<Call> {
    let filter = CallFilter::default();
    calls::list_calls(store, &filter, None, 10_000, LATER)
        .await
        .unwrap()
}

/// The stays of these calls.
async fn members_of(store: &Writer, calls: &[Call]) -> Vec<Member> {
    let ids: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
    memberships::members_of_calls(store, &ids).await.unwrap()
}

/// The content of the store, in the form of the core's result.
async fn stored(store: &Writer) -> Value {
    stored_of_room(store, ROOM).await
}

/// The same for another room.
async fn stored_of_room(store: &Writer, room_id: &str) -> Value {
    let calls = all_calls(store).await;
    let members = members_of(store, &calls).await;
    let rejected = events::list_rejected(store, Some(room_id), None, 10_000)
        .await
        .unwrap();

    json!({
        "members": sorted(members.iter().map(stored_member).collect()),
        "calls": sorted(calls.iter().map(stored_call).collect()),
        "rejected": sorted(rejected.iter().map(|r| json!([r.event_id, r.reason])).collect()),
    })
}

fn derived(derived: &Derived) -> Value {
    let members = derived
        .memberships
        .iter()
        .filter(|m| m.until_ms > m.joined_ms);

    json!({
        "members": sorted(members.map(|m| derived_member(m, &derived.sessions)).collect()),
        "calls": sorted(derived.sessions.iter().map(derived_call).collect()),
        "rejected": sorted(derived.rejected.iter().map(|(id, reason)| json!([id,
            reason])).collect()),
    })
}

/// Writes the events in batches of these sizes, each twice: the second time changes nothing.
async fn write_all(store: &Writer, mut rest: Vec<Arrival>, sizes: &[usize]) {
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let tail = rest.split_off(sizes.next().unwrap().min(rest.len()));
        write_batch(store, &Rules::default(), &batch(rest.clone()))
            .await
            .unwrap();
        let again = write_batch(store, &Rules::default(), &batch(rest))
            .await
            .unwrap();
        assert!(again.slots.is_empty() && again.new_events == 0, "{again:?}");
        rest = tail;
    }
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The content of the store after everything was derived again.
async fn rebuilt(store: &Writer) -> Value {
    for (room_id, _) in rebuild::count_member_events(store, None).await.unwrap() {
        let mut place = rebuild::RebuildPlace::default();
        while let Some(next) = rebuild::rebuild_next_part(store, &Rules::default(), &room_id, place)
            .await
            .unwrap()
        {
            place = next;
        }

        rebuild::recount_calls(store, &room_id).await.unwrap();
    }

    assert!(rebuild::measure_database(store).await.unwrap().0 > 0);

    stored(store).await
}

/// As in use; with a checkpoint after every second event; with a head after every event.
const TUNINGS: [Tuning; 3] = [
    Tuning {
        checkpoint: 32,
        head: 3,
        page: 256,
        tally: 256,
        rare: 4000,
    },
    Tuning {
        checkpoint: 2,
        head: 3,
        page: 5,
        tally: 2,
        rare: 0,
    },
    Tuning {
        checkpoint: 6,
        head: 1,
        page: 64,
        tally: 2,
        rare: 0,
    },
];

proptest! {
    #![proptest_config(generate::config(120))]

    #[test]
    fn batch_boundaries_and_order_never_count(
        tuning in prop::sample::select(&TUNINGS[..]),
        (room, order, sizes) in generate::room().prop_flat_map(|room| {
            let order = Just((0..room.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(room), order, prop::collection::vec(1..14_usize, 1..12))
        })
    ) {
        let want = derived(&rtc::derive(ROOM, arrivals(&room).into_iter().map(|a| (*a.event).clone()), &Rules::default()));
        let got = block(async {
            let (store, place) = open().await;
            let store = store.with_tuning(tuning);
            let shuffled: Vec<Value> = order.iter().map(|&at| room[at].clone()).collect();
            write_all(&store, arrivals(&shuffled), &sizes).await;
            let got = stored(&store).await;
            let again = rebuilt(&store).await;
            done(store, place).await;
            (got, again)
        });
        prop_assert_eq!(&got.0, &want);
        prop_assert_eq!(&got.1, &want, "after a rebuild");
    }
}

/// Every query runs on the database; a statement that one of the two does not support fails here.
fn ended_by(now: i64) -> CallFilter {
    let (from_ms, to_ms) = (Some(0), Some(now));
    CallFilter {
        room: Some(ROOM.into()),
        active: Some(false),
        from_ms,
        to_ms,
        ..Default::default()
    }
}

#[test]
fn every_read_answers() {
    block(async {
        let (store, place) = open().await;
        let now = LATER;
        write_all(&store, arrivals(&[joined()]), &[1]).await;
        let calls = calls::list_calls(&store, &CallFilter::default(), None, 5, now)
            .await
            .unwrap();
        let call = &calls[0];
        let filter = ended_by(now);
        let cursor = Cursor {
            started_ms: now,
            id: "x".into(),
        };

        assert_eq!(
            calls::list_calls(&store, &filter, Some(&cursor), 5, now)
                .await
                .unwrap(),
            calls
        );
        assert_eq!(
            calls::count_calls(&store, &filter, now)
                .await
                .unwrap()
                .calls,
            1
        );
        assert_eq!(calls_ever::count_calls_begun(&store, now).await.unwrap(), 1);
        assert_eq!(
            calls::find_call(&store, "$j").await.unwrap().as_ref(),
            Some(call)
        );
        assert_eq!(calls::find_call(&store, "$none").await.unwrap(), None);
        assert_eq!(
            calls::list_active_calls(&store, call.started_ms)
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            events::events_behind_call(&store, &call.id, 9)
                .await
                .unwrap()
                .1,
            1
        );
        assert!(
            events::list_rejected(&store, None, None, 9)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(events::count_rejected(&store).await.unwrap().is_empty());
        assert_eq!(rooms::list_rooms(&store, now).await.unwrap().len(), 1);
        assert_eq!(
            rooms::find_room(&store, ROOM, now)
                .await
                .unwrap()
                .unwrap()
                .calls,
            1
        );
        assert_eq!(rooms::list_watched_rooms(&store).await.unwrap().len(), 1);
        let span = Span {
            from: call.started_ms,
            to: call.until_ms,
        };
        let numbers = concurrency::numbers_of_span(&store, span, now, &Gone::default())
            .await
            .unwrap();
        assert_eq!((numbers.calls, numbers.people, numbers.peak), (1, 1, 1));
        assert_eq!(numbers.together_ms, call.until_ms - call.started_ms);
        of_the_sums(&store, call).await;
        assert_eq!(
            concurrency::call_starts_in_room(&store, ROOM, 0)
                .await
                .unwrap(),
            [(call.started_ms, 1)]
        );
        let origins = evidence::origins_of_calls(&store, std::slice::from_ref(&call.id))
            .await
            .unwrap();
        assert!(
            origins
                .values()
                .all(|origins| origins.join.is_some() && origins.last_sign_ms.is_some()),
            "{origins:?}"
        );
        assert_eq!(
            coverage::coverage_of_rooms(&store, &[ROOM.to_owned()].into(), now)
                .await
                .unwrap()
                .len(),
            1
        );
        assert!(
            coverage::list_unheard_spans(&store, 0, now)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            room_at::calls_at(&store, ROOM, call.started_ms)
                .await
                .unwrap(),
            calls
        );
        assert_eq!(
            room_at::calls_between(&store, ROOM, Span { from: 0, to: now }, 5)
                .await
                .unwrap(),
            (calls.clone(), 0)
        );
        assert!(
            related::related_of_call(&store, call)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(
            zombies::zombies_of_room(&store, ROOM, 5)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            concurrency::count_stored_rows(&store).await.unwrap().calls,
            1
        );
        done(store, place).await;
    });
}

#[test]
fn searches_and_gauges_answer() {
    block(async {
        let (store, place) = open().await;
        let now = LATER;
        write_all(&store, arrivals(&[joined()]), &[1]).await;
        let gauges = gauges::read_gauges(&store).await.unwrap();
        assert_eq!((gauges.calls, gauges.events, gauges.rejected), (1, 1, 0));
        for (more, found) in [
            (
                More {
                    q: Some(ROOM.to_uppercase()),
                    ..More::default()
                },
                1,
            ),
            (
                More {
                    q: Some("%".into()),
                    ..More::default()
                },
                0,
            ),
            (
                More {
                    server: Some("none.example".into()),
                    ..More::default()
                },
                0,
            ),
            (
                More {
                    user: Some("@none:h".into()),
                    ..More::default()
                },
                0,
            ),
            (
                More {
                    group: Some(false),
                    min_people: Some(1),
                    min_ms: Some(0),
                    ..More::default()
                },
                1,
            ),
            (
                More {
                    id: Some("none".into()),
                    application: Some("m.call".into()),
                    ..More::default()
                },
                0,
            ),
        ] {
            for (rare, from_ms) in [(4000, None), (0, None), (4000, Some(0)), (0, Some(0))] {
                let store = store.clone().with_tuning(Tuning {
                    rare,
                    ..Tuning::default()
                });
                let filter = CallFilter {
                    more: more.clone(),
                    from_ms,
                    ..CallFilter::default()
                };

                let calls = calls::list_calls(&store, &filter, None, 5, now)
                    .await
                    .unwrap();
                assert_eq!(calls.len(), found, "{filter:?}");
                let counted = calls::count_calls(&store, &filter, now).await.unwrap();
                assert_eq!(
                    (usize::try_from(counted.calls).unwrap(), counted.more),
                    (found, false),
                    "{filter:?}"
                );
            }
        }

        done(store, place).await;
    });
}

#[test]
fn every_write_of_the_observer_answers() {
    block(async {
        let (store, place) = open().await;
        let start = vantages::VantageStart {
            id: "v",
            user_id: "@b:h",
            homeserver: "http://h/",
            device_id: Some("D"),
            mode: Mode::Follow,
            software: None,
            delayed_events: true,
            sticky_events: false,
            now: 1,
        };

        vantages::record_start(&store, &start).await.unwrap();
        let mut first = batch(arrivals(&[joined()]));
        first.position = Some("s1".into());
        first.rooms[0].watch = Some(Watch::Joined);
        first.rooms[0].note_unread(JobKind::Backfill, Some("t1".into()));
        first.rooms[0].snapshot = Some(StateSnapshot {
            asked_ms: 5,
            members: ["$j".to_owned()].into(),
            people: std::collections::BTreeSet::new(),
        });
        write_batch(&store, &Rules::default(), &first)
            .await
            .unwrap();
        assert_eq!(
            vantages::sync_position(&store, "v")
                .await
                .unwrap()
                .as_deref(),
            Some("s1")
        );
        let read = open_reads(&store).await.remove(0);
        assert!(
            !reads::has_reached_known_events(&store, &read, ["$j"].into_iter())
                .await
                .unwrap(),
            "it came with the read"
        );
        let mut second = batch(Vec::new());
        second.rooms[0].page = Some(last(&read));
        write_batch(&store, &Rules::default(), &second)
            .await
            .unwrap();
        assert!(open_reads(&store).await.is_empty());
        of_the_reads(&store).await;
        of_the_ledger(&store).await;
        of_the_vantage(&store, start).await;
        rooms::record_room_error(&store, "#a:h", Some(Watch::Blind), "gone", 5)
            .await
            .unwrap();
        rooms::delete_pending_room(&store, "#a:h").await.unwrap();
        rooms::delete_unseen_rooms(&store).await.unwrap();
        assert_eq!(
            callscope::store::read::memberships::ended_between(&store, 0, LATER)
                .await
                .unwrap()
                .len(),
            1
        );
        done(store, place).await;
    });
}

/// The reads that are not done.
async fn open_reads(store: &Writer) -> Vec<HistoryJob> {
    job::list_due_jobs(store, JobTurn::OpenRead, 0)
        .await
        .unwrap()
}

/// The finished read has its result; that of a limited timeline begins at the previous answer.
async fn of_the_reads(store: &Writer) {
    let read = history_progress::progress_of_room(store, ROOM, 5)
        .await
        .unwrap()
        .remove(0);
    let job = read.job;
    assert_eq!(
        (job.ended_by, job.horizon_ms, job.spent_ms),
        (Some(JobEnd::Beginning), Some(5), 7)
    );
    assert_eq!(
        (job.since_ms, job.reached_ms),
        (None, Some(1_700_000_000_000))
    );
    let mut limited = batch(Vec::new());
    limited.seen_ms = LATER + 9;
    limited.rooms[0].note_unread(JobKind::Gap, Some("t2".into()));
    write_batch(store, &Rules::default(), &limited)
        .await
        .unwrap();
    let open = history_progress::progress_of_open_reads(store, 5)
        .await
        .unwrap();
    assert_eq!(
        open.iter()
            .map(|read| read.job.since_ms)
            .collect::<Vec<_>>(),
        [Some(LATER)]
    );
    let sums = history_progress::sum_reads(store, None).await.unwrap();
    assert_eq!(
        sums,
        history_progress::ReadSums {
            rooms: 1,
            open: 1,
            pages: 1,
            found: 0
        }
    );
    assert_eq!(
        history_progress::sum_reads(store, Some(ROOM))
            .await
            .unwrap(),
        sums
    );
}

/// The page that ends a read.
fn last(read: &HistoryJob) -> callscope::store::ingest::batch::ReadPage {
    callscope::store::ingest::batch::ReadPage {
        read: read.key(),
        token: None,
        ended_by: Some(JobEnd::Beginning),
        horizon_ms: Some(5),
        took_ms: 7,
        is_cut: false,
    }
}

/// An expired stay in an unwatched room: nothing of it counts as seen.
async fn of_the_sums(store: &Writer, call: &Call) {
    let span = Span {
        from: call.started_ms,
        to: call.until_ms,
    };
    for _ in 0..2 {
        for scope in [Scope::All, Scope::Room(ROOM), Scope::Server("h")] {
            let sums = usage::sums_of_span(store, scope, span, LATER, &Gone::default())
                .await
                .unwrap();
            assert_eq!(
                (sums.calls, sums.calls_exact, sums.people, sums.places.len()),
                (1, 0, 1, 1)
            );
            assert_eq!(
                (sums.together_ms, sums.together_seen_ms),
                (call.until_ms - call.started_ms, 0)
            );
        }

        assert!(!last_seen::record_last_seen(store, LATER).await.unwrap());
    }

    let hours = usage::stay_hours(store, Scope::All, span, LATER)
        .await
        .unwrap();
    assert_eq!(hours.iter().map(|hours| hours.stays).sum::<i64>(), 1);
    assert!(!last_seen::delete_orphaned_last_seen(store).await.unwrap());
    assert_eq!(
        usage::device_time_of_span(store, span, LATER)
            .await
            .unwrap(),
        call.until_ms - call.started_ms
    );
    let classes = distributions::CallsOfSpan::read(store, span, LATER)
        .await
        .unwrap()
        .classes();
    assert_eq!(
        (classes.len(), classes[0].people, classes[0].calls),
        (1, 1, 1)
    );
    let usual = distributions::CallsOfSpan::read(store, span, LATER)
        .await
        .unwrap()
        .usual_length();
    assert_eq!(usual, Some(call.until_ms - call.started_ms));
    assert_eq!(
        distributions::room_names(store, &[ROOM.to_owned()])
            .await
            .unwrap()
            .len(),
        1
    );
    let servers = distributions::servers_in_calls(store, span.from, LATER)
        .await
        .unwrap();
    assert_eq!(
        (
            servers[0].server.as_str(),
            servers[0].ended,
            servers[0].expired
        ),
        ("h", 1, 1)
    );
    assert!(distributions::is_known_server(store, "h").await.unwrap());
    assert!(!distributions::is_known_server(store, "g").await.unwrap());
    assert_eq!(
        distributions::end_reasons_of_server(store, "h", span, LATER)
            .await
            .unwrap(),
        [EndFacts {
            reason: EndReason::Expired,
            stays: 1
        }]
    );
    assert_eq!(
        distributions::list_ran_out_stays(store, "h", span, 5)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        distributions::top_people_of_server(store, "h", span, LATER, 5, &Gone::default())
            .await
            .unwrap()[0]
            .together_seen_ms,
        0
    );
    assert!(
        distributions::transports_of_server(store, "h", span)
            .await
            .unwrap()
            .is_empty(),
        "it named none"
    );
    let (carried, without_ms) =
        transport_usage::usage_by_transport(store, span, LATER, &Gone::default())
            .await
            .unwrap();
    assert_eq!(
        (carried.len(), without_ms),
        (0, call.until_ms - call.started_ms)
    );
}

async fn of_the_ledger(store: &Writer) {
    unseen::of_the_missing_events(store).await;
    assert!(!reads::has_seen_creation(store, ROOM).await.unwrap());
    let mut third = batch(Vec::new());
    (third.seen_ms, third.position) = (LATER + 90_000, Some("s2".into()));
    assert!(
        write_batch(store, &Rules::default(), &third)
            .await
            .unwrap()
            .heard_anew,
        "after a long silence"
    );
    third.seen_ms += 30_000;
    assert!(
        !write_batch(store, &Rules::default(), &third)
            .await
            .unwrap()
            .heard_anew,
        "it goes on"
    );
    let gaps = coverage::list_unheard_spans(store, 0, third.seen_ms)
        .await
        .unwrap();
    assert_eq!(
        gaps.iter()
            .map(|gap| gap.span.to - gap.span.from)
            .collect::<Vec<_>>(),
        [90_000]
    );
}

async fn of_the_vantage(store: &Writer, start: vantages::VantageStart<'_>) {
    vantages::record_error(store, "v", "no", 2).await.unwrap();
    vantages::set_last_poll(store, "v", 3).await.unwrap();
    let mut invited = batch(Vec::new());
    invited.invitations = [
        ("!a:h", false),
        ("!c:h", true),
        ("!b:h", false),
        ("!c:h", true),
        ("!d:h", true),
    ]
    .map(|(room, accepted)| Invitation {
        is_direct: false,
        room: RoomName {
            room_id: room.into(),
            ..RoomName::default()
        },
        inviter: "@i:h".into(),
        accepted,
    })
    .into();
    write_batch(store, &Rules::default(), &invited)
        .await
        .unwrap();
    invitations::close_invitation(store, "v", "!d:h")
        .await
        .unwrap();
    // The same again, as after a lost position: nothing counts twice, and those that wait are kept.
    invited.invitations.truncate(1);
    write_batch(store, &Rules::default(), &invited)
        .await
        .unwrap();
    let kept = async || -> Vec<(String, bool)> {
        let open = invitations::list_invitations(store, "v").await.unwrap();
        open.into_iter()
            .map(|pending| (pending.room.room_id, pending.accepted))
            .collect()
    };

    let all = [("!a:h", false), ("!b:h", false), ("!c:h", true)];
    assert_eq!(
        kept().await,
        all.map(|(room, accepted)| (room.to_owned(), accepted))
    );
    invitations::set_accepted(store, "v", "!b:h", true)
        .await
        .unwrap();
    let mut left = batch(Vec::new());
    left.rooms[0].room_id = "!a:h".into();
    left.rooms[0].source = Source::Sync;
    left.rooms[0].watch = Some(Watch::Left);
    write_batch(store, &Rules::default(), &left).await.unwrap();
    let rest = [("!b:h", true), ("!c:h", true)];
    assert_eq!(
        kept().await,
        rest.map(|(room, accepted)| (room.to_owned(), accepted)),
        "one that was withdrawn is forgotten"
    );
    let seen = vantages::list_vantages(store).await.unwrap().remove(0);
    assert_eq!(
        (seen.error.as_deref(), seen.errors, seen.invites_refused),
        (Some("no"), 1, 2)
    );
    vantages::set_standing(store, "v", None, None)
        .await
        .unwrap();
    vantages::record_start(
        store,
        &vantages::VantageStart {
            user_id: "@c:h",
            ..start
        },
    )
    .await
    .unwrap();
    assert_eq!(
        vantages::sync_position(store, "v").await.unwrap(),
        None,
        "another account knows no such position"
    );
    vantages::delete_position(store, "v").await.unwrap();
}

fn joined() -> Value {
    json!({"event_id": "$j", "type": "m.call.member", "state_key": "k", "sender": "@a:h",
        "origin_server_ts": 1_700_000_000_000_i64, "content": {"application": "m.call",
        "call_id": "",
        "device_id": "D", "focus_active": {"type": "livekit"}}})
}
