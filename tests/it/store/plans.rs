//! The rows that `PostgreSQL` reads for an answer: rows of a table are read by a suitable index,
//! and never all of them. It counts for itself how many rows it read. By which index `SQLite` goes
//! is in the tests of `src/store`.

use crate::store::{LATER, arrivals, batch, block, joined};
use crate::support::database::Database;
use callscope::rtc::coverage::Span;
use callscope::rtc::fold::Rules;
use callscope::store::Writer;
use callscope::store::ingest::rooms;
use callscope::store::ingest::write::write_batch;
use callscope::store::model::{CallFilter, More};
use callscope::store::read::call_order::{self, CallOrder, SortKey};
use callscope::store::read::{
    calls, coverage, events, evidence, history_progress, large_calls, related, rings, room_at,
};
use callscope::store::stats::ghost_time::Gone;
use callscope::store::stats::scope::Scope;
use callscope::store::stats::{clock_skew, concurrency, distributions, usage};
use sqlx::Row;
use std::collections::BTreeMap;
use std::time::Duration;

const ROOM: &str = "!r7:h";
const SERVER: &str = "s7";
const DAY: i64 = 86_400_000;
/// At most one part in this many of a table may be read for one answer.
const PART: i64 = 5;
/// Number of calls in the year; there are twice as many stays and four times as many events.
const CALLS: i64 = 10_000;

/// Calls of a year in forty rooms, of five hundred people of as many servers, two stays each.
async fn filled() -> Database {
    let database = Database::new().await;
    let calls = CALLS - 1;
    let started = format!("{LATER} - n * {}", 365 * DAY / CALLS);
    let statements = [
        "insert into rooms (room_id, watch, first_seen_ms) select '!r' || n || ':h', 'joined', 1 from generate_series(0, 39) n".to_owned(),
        format!(
            "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms, memberships, users, devices,
                peak, peak_users, servers, first_event_id)
            select 'c' || n, '!r' || n % 40 || ':h', 's', 'm.call', {started}, {started} + 1200000, 2, 2, 2, 2, 2,
                's' || n % 500, '$j' || n || '.0' from generate_series(cast(0 as bigint), {calls}) n"
        ),
        format!(
            "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server, kind, joined_ms, until_ms,
                end_event_id, end_reason, updates, join_event_id, resumed, claimed, selection, session_id, opened_ms)
            select 'm' || n || '.' || d, '!r' || n % 40 || ':h', 'k' || n % 500 || '.' || d, 's',
                '@u' || n % 500 || ':s' || n % 500, 'D' || d, 's' || n % 500, 'session', {started}, {started} + 1200000,
                '$l' || n || '.' || d, 'left', 0, '$j' || n || '.' || d, 0, 0, 'unknown', 'c' || n, {started}
            from generate_series(cast(0 as bigint), {calls}) n, generate_series(0, 1) d"
        ),
        format!(
            "insert into events (event_id, room_id, kind, state_key, sender, origin_server_ts, received_ms, time_ms, chain,
                stream, source, in_timeline, json)
            select case when e = 0 then '$j' else '$l' end || n || '.' || d, '!r' || n % 40 || ':h', 'm.call.member',
                'k' || n % 500 || '.' || d, '@u' || n % 500 || ':s' || n % 500, {started} + e * 1200000,
                {started} + e * 1200000, {started} + e * 1200000, 'k' || n % 500 || '.' || d, n * 4 + d * 2 + e + 1,
                'sync', 1, '{{}}'
            from generate_series(cast(0 as bigint), {calls}) n, generate_series(0, 1) d, generate_series(0, 1) e"
        ),
        "analyze".to_owned(),
    ];
    for sql in statements {
        database.execute(&sql).await;
    }

    // One-time work on all stored data is done now.
    let store = Writer::open(database.url()).await.unwrap();
    store.close().await;

    database
}

/// How many rows of each table were read so far, by an index or without.
async fn rows_read(database: &Database) -> BTreeMap<String, i64> {
    // A pool of several could open a second connection, and both would wait for each other's end.
    let pool = sqlx::any::AnyPoolOptions::new()
        .max_connections(1)
        .connect(database.url())
        .await
        .unwrap();
    // The counts of a connection are known after it has ended.
    let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and backend_type = 'client backend'";
    loop {
        let open: i64 = sqlx::query_scalar(others).fetch_one(&pool).await.unwrap();
        if open == 0 {
            break;
        }

        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let rows = sqlx::query(
        "select cast(t.relname as text) as name, cast(t.seq_tup_read + (select coalesce(sum(i.idx_tup_read), 0)
            from pg_stat_user_indexes i where i.relid = t.relid) as bigint) as looked_at
        from pg_stat_user_tables t where t.relname in ('events', 'memberships', 'sessions')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;

    rows.iter()
        .map(|row| (row.get("name"), row.get("looked_at")))
        .collect()
}

/// The answers that read too many rows, one line each.
struct Asked<'a> {
    database: &'a Database,
    too_much: Vec<String>,
}

impl Asked<'_> {
    async fn ask(&mut self, what: &str, question: impl AsyncFnOnce(&Writer)) {
        let before = rows_read(self.database).await;
        let store = Writer::open(self.database.url()).await.unwrap();
        question(&store).await;
        store.close().await;
        let after = rows_read(self.database).await;

        for (table, rows) in [
            ("events", 4 * CALLS),
            ("memberships", 2 * CALLS),
            ("sessions", CALLS),
        ] {
            let looked_at = after[table] - before[table];
            if looked_at > rows / PART {
                self.too_much
                    .push(format!("{what}: {looked_at} of {rows} {table}"));
            }
        }
    }
}

fn last_week() -> Span {
    Span {
        from: LATER - 7 * DAY,
        to: LATER,
    }
}

#[test]
fn no_answer_looks_at_a_whole_table_on_postgresql() {
    block(async {
        if Database::are_files() {
            return;
        }

        let database = filled().await;
        let mut asked = Asked {
            database: &database,
            too_much: Vec::new(),
        };

        of_lists(&mut asked).await;
        of_filters(&mut asked).await;
        of_one_call(&mut asked).await;
        of_rooms(&mut asked).await;
        of_spans(&mut asked).await;
        of_writes(&mut asked).await;
        assert!(asked.too_much.is_empty(), "{:#?}", asked.too_much);
    });
}

async fn of_lists(asked: &mut Asked<'_>) {
    asked
        .ask("calls that run", async |store| {
            calls::list_active_calls(store, LATER).await.unwrap();
        })
        .await;
    asked
        .ask("calls that run in a room", async |store| {
            calls::active_in_room(store, ROOM, LATER).await.unwrap();
        })
        .await;
    asked
        .ask("calls that ended last", async |store| {
            calls::ended_last(store, LATER - DAY, LATER, 20)
                .await
                .unwrap();
        })
        .await;

    for by in [
        SortKey::Started,
        SortKey::Length,
        SortKey::People,
        SortKey::Peak,
    ] {
        let order = CallOrder {
            by,
            descending: true,
        };
        asked
            .ask(&format!("calls by {by:?}"), async |store| {
                call_order::list_ordered_calls(
                    store,
                    &CallFilter::default(),
                    order,
                    None,
                    50,
                    LATER,
                )
                .await
                .unwrap();
            })
            .await;
    }
}

async fn of_filters(asked: &mut Asked<'_>) {
    let more = |more: More| CallFilter {
        more,
        ..CallFilter::default()
    };
    let filters = [
        CallFilter::default(),
        CallFilter {
            room: Some(ROOM.into()),
            ..CallFilter::default()
        },
        CallFilter {
            from_ms: Some(LATER - DAY),
            ..CallFilter::default()
        },
        CallFilter {
            active: Some(true),
            ..CallFilter::default()
        },
        more(More {
            user: Some("@u7:s7".into()),
            ..More::default()
        }),
        more(More {
            server: Some(SERVER.into()),
            ..More::default()
        }),
        more(More {
            min_people: Some(99),
            ..More::default()
        }),
        more(More {
            min_ms: Some(DAY),
            ..More::default()
        }),
        more(More {
            id: Some("c7".into()),
            ..More::default()
        }),
    ];

    for filter in filters {
        asked
            .ask(&format!("calls with {filter:?}"), async |store| {
                calls::list_calls(store, &filter, None, 50, LATER)
                    .await
                    .unwrap();
            })
            .await;
    }
}

async fn of_one_call(asked: &mut Asked<'_>) {
    let ids = ["c77".to_owned()];
    asked
        .ask("a call by one of its events", async |store| {
            let call = calls::find_call(store, "$j77.1").await.unwrap();
            assert_eq!(call.unwrap().id, "c77");
        })
        .await;
    asked
        .ask("members of a call", async |store| {
            let members = callscope::store::read::memberships::members_of_calls(store, &ids)
                .await
                .unwrap();
            assert_eq!(members.len(), 2);
        })
        .await;
    asked
        .ask("what a call rests on", async |store| {
            evidence::origins_of_calls(store, &ids).await.unwrap();
        })
        .await;
    asked
        .ask("events behind a call", async |store| {
            let (_, total) = events::events_behind_call(store, &ids[0], 50)
                .await
                .unwrap();
            assert_eq!(total, 4);
        })
        .await;
    asked
        .ask("events behind a large call", async |store| {
            let call = calls::find_call(store, "c77").await.unwrap();
            events::events_behind_large_call(store, &call.unwrap(), 50)
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("who is in a call", async |store| {
            large_calls::people_now_in_call(store, &ids[0], LATER)
                .await
                .unwrap();
            large_calls::people_of_server(store, &ids[0], SERVER, LATER)
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("calls that belong to a call", async |store| {
            let call = calls::find_call(store, "c77").await.unwrap();
            related::related_of_call(store, &call.unwrap())
                .await
                .unwrap();
        })
        .await;
}

/// The list of all rooms counts the calls of each room once and caches the result, so it is not
/// tested here.
async fn of_rooms(asked: &mut Asked<'_>) {
    asked
        .ask("a room", async |store| {
            rooms::find_room(store, ROOM, LATER).await.unwrap();
        })
        .await;
    asked
        .ask("a room at one moment", async |store| {
            room_at::calls_at(store, ROOM, LATER - DAY).await.unwrap();
        })
        .await;
    asked
        .ask("a room's week", async |store| {
            let span = last_week();
            room_at::calls_between(store, ROOM, span, 50).await.unwrap();
        })
        .await;
    asked
        .ask("when a room was watched", async |store| {
            coverage::coverage_of_rooms(store, &[ROOM.to_owned()].into(), LATER)
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("how far a room's history is read", async |store| {
            history_progress::progress_of_open_reads(store, 50)
                .await
                .unwrap();
            history_progress::progress_of_room(store, ROOM, 50)
                .await
                .unwrap();
        })
        .await;
}

async fn of_spans(asked: &mut Asked<'_>) {
    let span = last_week();
    for scope in [Scope::All, Scope::Room(ROOM), Scope::Server(SERVER)] {
        asked
            .ask(&format!("sums of a week, {scope:?}"), async |store| {
                usage::sums_of_span(store, scope, span, LATER, &Gone::default())
                    .await
                    .unwrap();
            })
            .await;
        asked
            .ask(&format!("rings of a week, {scope:?}"), async |store| {
                rings::rings_within(store, scope, span, LATER, 50)
                    .await
                    .unwrap();
            })
            .await;
    }

    asked
        .ask("numbers of a week", async |store| {
            concurrency::numbers_of_span(store, span, LATER, &Gone::default())
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("how long calls of a week were", async |store| {
            distributions::CallsOfSpan::read(store, span, LATER)
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("servers of a week", async |store| {
            distributions::servers_in_calls(store, span.from, LATER)
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("a server's week", async |store| {
            distributions::end_reasons_of_server(store, SERVER, span, LATER)
                .await
                .unwrap();
            distributions::list_ran_out_stays(store, SERVER, span, 50)
                .await
                .unwrap();
            distributions::top_people_of_server(store, SERVER, span, LATER, 50, &Gone::default())
                .await
                .unwrap();
        })
        .await;
    asked
        .ask("a server's clock", async |store| {
            clock_skew::clock_of_server(store, SERVER, span, &[span])
                .await
                .unwrap();
        })
        .await;
}

async fn of_writes(asked: &mut Asked<'_>) {
    asked
        .ask("one event that is new", async |store| {
            let mut join = joined();
            join["origin_server_ts"] = LATER.into();
            let mut news = batch(arrivals(&[join]));
            news.rooms[0].room_id = ROOM.into();
            let written = write_batch(store, &Rules::default(), &news).await.unwrap();
            assert_eq!(written.new_events, 1);
        })
        .await;
}
