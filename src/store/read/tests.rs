//! What reads count, and which index they use, on a database filled by hand.

use super::call_filter::{CallCondition, EndBounds, conditions_of_filter};
use super::call_list::{AccessPath, ListRequest};
use super::{
    calls, coverage, events, evidence, history_progress, large_calls, name_search, related, rings,
    room_at,
};
use crate::rtc::coverage::Span;
use crate::store::db::dialect::Dialect;
use crate::store::derive::stale_findings;
use crate::store::findings::derive;
use crate::store::ingest::rooms;
use crate::store::model::{CallFilter, More};
use crate::store::stats::concurrency::{self, DevicesOfSpan};
use crate::store::stats::ghost_time::Gone;
use crate::store::stats::{clock_skew, usage};
use crate::store::test_database::Database;
use crate::store::{Reader, Writer};
use sqlx::{AssertSqlSafe, Row};

pub(in crate::store) const ROOM: &str = "!r:h";

pub(in crate::store) struct Bed {
    pub(in crate::store) store: Writer,
    database: Database,
}

impl Bed {
    pub(in crate::store) async fn new() -> Self {
        let database = Database::new().await;
        let bed = Self {
            store: Writer::open(database.url()).await.unwrap(),
            database,
        };

        bed.run(
            "insert into rooms (room_id, watch, first_seen_ms, polled_ms) values ('!r:h',
            'joined', 1, 40)",
        )
        .await;

        bed
    }

    pub(in crate::store) async fn run(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&self.store.write)
            .await
            .unwrap();
    }

    pub(in crate::store) async fn stay(
        &self,
        who: &str,
        device: &str,
        member_key: &str,
        joined: i64,
        until: i64,
    ) {
        self.run(&format!(
            "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server,
                kind, joined_ms, until_ms, end_reason, updates, join_event_id, resumed, claimed,
                selection, session_id)
            values ('{member_key} {joined}', '{ROOM}', '{member_key}', 's', '{who}', {device}, 'h',
            'session', {joined}, {until},
                'left', 0, '$j {member_key} {joined}', 0, 0, 'unknown', 'call')"
        ))
        .await;
    }

    pub(in crate::store) async fn call(&self, id: &str, started: i64, until: i64) {
        self.run(&format!(
            "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms,
                memberships, users, devices, peak, peak_users, servers, first_event_id)
            values ('{id}', '{ROOM}', 's', 'm.call', {started}, {until}, 1, 1, 1, 1, 1, 'h', '$j')"
        ))
        .await;
    }

    pub(in crate::store) async fn event(
        &self,
        id: &str,
        member_key: Option<&str>,
        kind: &str,
        time: i64,
    ) {
        let member_key =
            member_key.map_or("null".to_owned(), |member_key| format!("'{member_key}'"));
        self.run(&format!(
            "insert into events (event_id, room_id, kind, sender, origin_server_ts, chain, stream,
                source, in_timeline, json)
            select '{id}', '{ROOM}', '{kind}', '@a:h', {time}, {member_key}, count(*), 'sync', 1, '{{}}'
            from events"
        ))
        .await;
    }

    /// The query plan of `SQLite`, one step per line, wherever the rows are.
    /// `tests/it/store/plans.rs` counts the rows that `PostgreSQL` reads.
    pub(in crate::store) async fn plan(&self, sql: &str) -> String {
        if self.database.is_file() {
            return plan_on_sqlite(&self.store, sql).await;
        }

        let file = Database::file();
        let store = Writer::open(file.url()).await.unwrap();
        plan_on_sqlite(&store, sql).await
    }
}

async fn plan_on_sqlite(store: &Reader, sql: &str) -> String {
    let rows = sqlx::query(AssertSqlSafe(format!("explain query plan {sql}")))
        .fetch_all(&store.read)
        .await
        .unwrap();

    rows.iter()
        .map(|row| row.get::<String, _>("detail") + "\n")
        .collect()
}

#[tokio::test]
async fn a_device_counts_once_however_many_stays_name_it() {
    let bed = Bed::new().await;
    bed.stay("@a:h", "'D'", "one", 0, 60).await;
    bed.stay("@a:h", "'D'", "two", 20, 80).await;
    bed.stay("@a:h", "'E'", "three", 30, 40).await;
    bed.stay("@b:h", "null", "four", 80, 90).await;
    bed.stay("@c:h", "'F'", "five", 50, 50).await;
    bed.call("call", 0, 90).await;
    let (span, gone) = (Span { from: 10, to: 100 }, Gone::default());
    let devices = DevicesOfSpan::read(&bed.store, span, 100, &gone)
        .await
        .unwrap();
    assert_eq!(devices.steps(span), [(10, 1), (30, 2), (40, 1), (90, 0)]);
    let numbers = concurrency::numbers_of_span(&bed.store, span, 100, &gone)
        .await
        .unwrap();
    assert_eq!(
        (numbers.together_ms, numbers.peak, numbers.peak_ms),
        (90, 2, Some(30))
    );
    assert_eq!(numbers.people, 2, "a stay without length is none");
}

#[tokio::test]
async fn a_device_counts_once_in_calls_of_two_rooms() {
    let bed = Bed::new().await;
    bed.stay("@a:h", "'D'", "one", 0, 60).await;
    bed.stay("@a:h", "null", "nameless", 10, 30).await;
    bed.run("insert into rooms (room_id, watch, first_seen_ms) values ('!other:h', 'joined', 1)")
        .await;
    bed.run("update memberships set room_id = '!other:h', id = 'elsewhere ' || id")
        .await;
    bed.stay("@a:h", "'D'", "one", 20, 200).await;
    bed.stay("@a:h", "'D'", "late", 30, 300).await;
    bed.stay("@a:h", "null", "nameless", 10, 30).await;
    let span = Span { from: 0, to: 100 };
    let devices = DevicesOfSpan::read(&bed.store, span, 100, &Gone::default())
        .await
        .unwrap();
    assert_eq!(
        devices.steps(span),
        [(0, 1), (10, 3), (30, 1)],
        "without a name each is one; and nothing is after the end"
    );
}

#[tokio::test]
async fn evidence_is_counted_whole_and_read_in_part() {
    let bed = Bed::new().await;
    bed.call("call", 10, 20_000).await;
    bed.stay("@a:h", "'D'", "one", 10, 20_000).await;
    bed.run("update memberships set end_event_id = '$end'")
        .await;
    for (id, member_key, kind, time) in [
        ("$j one 10", Some("one"), "m.call.member", 5),
        ("$end", Some("one"), "m.call.member", 30_000),
        ("$other", Some("two"), "m.call.member", 50),
        ("$ring", None, "m.rtc.notification", 12),
        ("$ring before", None, "m.rtc.notification", 9),
        ("$talk", None, "m.room.name", 12),
    ] {
        bed.event(id, member_key, kind, time).await;
    }

    let many = "with recursive n(n) as (select 11 union all select n + 1 from n where n < 11010)
        insert into events (event_id, room_id, kind, sender, origin_server_ts, chain, stream,
        source, in_timeline, json)
        select '$' || n, '!r:h', 'm.call.member', '@a:h', n, 'one', 100 + n, 'sync', 1, '{}'
        from n";
    bed.run(many).await;
    let (shown, total) = events::events_behind_call(&bed.store, "call", 4)
        .await
        .unwrap();
    let ids: Vec<&str> = shown.iter().map(|event| event.event_id.as_str()).collect();
    assert_eq!(ids, ["$j one 10", "$11", "$12", "$ring"]);
    assert_eq!(total, 11_000 + 3, "all of them, also beyond what is read");
    let plan = bed.plan(events::BEHIND).await;
    assert!(
        plan.contains("memberships_session_until (session_id=?)") && !plan.contains("SCAN e\n"),
        "{plan}"
    );
    assert!(
        !plan.contains("events_time (room_id=?)"),
        "every event of the room is looked at:\n{plan}"
    );
    let plan = bed
        .plan(crate::store::read::memberships::OF_SESSIONS.one())
        .await;
    assert!(
        plan.contains("SEARCH e USING INDEX events_kind (room_id=? AND kind=? AND state_key=?)"),
        "{plan}"
    );
}

#[tokio::test]
async fn calls_without_findings_are_found_by_their_index() {
    let bed = Bed::new().await;
    for sql in [derive::WAITING, derive::UNDERIVED] {
        let plan = bed.plan(sql).await;
        // Both are as short, and one of them is what PostgreSQL needs.
        assert!(
            plan.contains("sessions_findings (findings=? AND until_ms<?")
                || plan.contains("sessions_waiting (until_ms<?"),
            "{plan}"
        );
    }

    let plan = bed.plan(derive::OTHER_RULES).await;
    assert!(
        plan.contains("sessions_findings (findings>? AND findings<?")
            && !plan.contains("SCAN sessions"),
        "{plan}"
    );

    let plan = bed.plan(stale_findings::CHANGED).await;
    assert!(
        plan.contains("sessions_room (room_id=? AND started_ms>? AND started_ms<?"),
        "{plan}"
    );
    assert!(plan.contains("sessions_long (until_ms>?"), "{plan}");
}

#[tokio::test]
async fn lists_of_calls_are_found_by_the_index_that_ends_soonest() {
    let bed = Bed::new().await;
    for sql in [calls::ACTIVE, calls::ACTIVE_IN_ROOM, calls::RUNNING] {
        let plan = bed.plan(sql).await;
        assert!(plan.contains("sessions_until (until_ms>?"), "{plan}");
    }

    let room = CallFilter {
        room: Some("!r:h".into()),
        ..CallFilter::default()
    };
    let application = CallFilter {
        more: More {
            application: Some("m.call".into()),
            ..More::default()
        },
        ..CallFilter::default()
    };

    for (filter, index) in [
        (CallFilter::default(), "sessions_started ("),
        (room, "sessions_room ("),
        (application, "sessions_application ("),
    ] {
        let request = ListRequest::new(&filter, None, 100);
        for select in [
            request.select(Dialect::Sqlite, AccessPath::InOrder, 50),
            request.select_counts(Dialect::Sqlite, 50),
        ] {
            let plan = bed.plan(select.as_text()).await;
            assert!(
                plan.contains(index) && plan.contains("(started_ms,id)<(?,?)"),
                "{plan}"
            );
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}

/// Thousands of devices that ran out must not each cost a scan of all events of the room.
#[tokio::test]
async fn the_last_sign_of_a_stay_is_found_by_its_chain() {
    let bed = Bed::new().await;
    for sql in [&evidence::OF_SESSIONS, &evidence::BY_ID] {
        let plan = bed.plan(sql.one()).await;
        let sign = plan.lines().find(|line| line.contains("SEARCH s "));
        assert!(
            sign.is_some_and(|line| line
                .contains("events_chain (room_id=? AND chain=? AND time_ms>? AND time_ms<?)")),
            "every event of the room or of the chain may be looked at:\n{plan}"
        );
    }
}

#[tokio::test]
async fn of_a_large_call_only_as_many_stays_are_looked_at_as_are_shown() {
    let bed = Bed::new().await;
    for (sql, index) in [
        (large_calls::FIRST, "memberships_session (session_id=?"),
        (large_calls::LAST, "memberships_session_until (session_id=?"),
    ] {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains(index) && !plan.contains("TEMP B-TREE"),
            "{plan}"
        );
    }

    for sql in [large_calls::PRESENT, large_calls::PRESENT_OF_SERVER] {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains("memberships_session_until (session_id=? AND until_ms>?)"),
            "{plan}"
        );
    }

    let plan = bed.plan(large_calls::WITHIN).await;
    assert!(
        plan.contains("memberships_session") && !plan.contains("SCAN memberships"),
        "{plan}"
    );
    let plan = bed.plan(events::BEHIND_LARGE).await;
    assert!(
        plan.contains("events_time (room_id=? AND origin_server_ts>?")
            && plan.contains("memberships_chain (room_id=? AND chain=?"),
        "{plan}"
    );
}

#[tokio::test]
async fn what_is_rare_is_found_by_its_own_index() {
    let bed = Bed::new().await;
    let filter = CallFilter {
        from_ms: Some(5),
        more: More {
            user: Some("@a:h".into()),
            server: Some("h".into()),
            group: Some(true),
            min_ms: Some(9),
            min_people: Some(3),
            ..More::default()
        },
        ..CallFilter::default()
    };
    let request = ListRequest::new(&filter, None, 100);

    for condition in conditions_of_filter(&filter, EndBounds::of_filter(&filter, 100), 100) {
        let index = match condition {
            CallCondition::EndsFrom(_) => "sessions_until (until_ms>?",
            CallCondition::Peak { .. } => "sessions_peak_users (peak_users>? AND peak_users<?",
            CallCondition::People(_) => "sessions_by_people (users>?",
            CallCondition::Length { .. } => "sessions_by_length (<expr>>?",
            CallCondition::User(_) => "memberships_user (user_id=?",
            CallCondition::Server(_) => "memberships_server (server=?",
            other => panic!("{other:?} is never rare"),
        };
        let page = request.select(Dialect::Sqlite, AccessPath::Rare(condition), 50);
        let count = condition.select_count(Dialect::Sqlite, 50);
        for select in [Some(page), count].iter().flatten() {
            let plan = bed.plan(select.as_text()).await;
            assert!(plan.contains(index), "{index}\n{plan}");
            assert!(
                !plan.contains("SCAN s\n") && !plan.contains("sessions_started"),
                "{plan}"
            );
        }
    }

    let one = CallFilter {
        more: More {
            id: Some("c".into()),
            ..More::default()
        },
        ..CallFilter::default()
    };
    let path = AccessPath::Rare(CallCondition::Call("c"));
    let select = ListRequest::new(&one, None, 100).select(Dialect::Sqlite, path, 50);
    let plan = bed.plan(select.as_text()).await;
    assert!(plan.contains("(id=?)"), "{plan}");

    let select = request.select(Dialect::Sqlite, AccessPath::Long, 50);
    let plan = bed.plan(select.as_text()).await;
    assert!(plan.contains("sessions_long (until_ms>?"), "{plan}");
}

#[tokio::test]
async fn a_word_is_found_without_a_look_at_every_stay() {
    let bed = Bed::new().await;
    let plan = bed.plan(name_search::USERS).await;
    assert!(plan.contains("memberships_user (user_id>?"), "{plan}");
    let plan = bed.plan(name_search::DISPLAY).await;
    assert!(plan.contains("memberships_user (user_id=?"), "{plan}");
    let plan = bed.plan(name_search::TOP).await + &bed.plan(name_search::NEWS).await;
    assert_eq!(plan.matches("events_stream").count(), 3, "{plan}");
    assert!(!plan.contains("SCAN p"), "{plan}");
    let indexes = [
        "(room_id=?",
        "memberships_server (server=?",
        "memberships_user (user_id=?",
    ];
    for (rows, index) in name_search::OF
        .iter()
        .flatten()
        .zip(indexes.into_iter().flat_map(|index| [index; 2]))
    {
        let plan = bed.plan(rows.one()).await;
        assert!(plan.contains(index), "{index}\n{plan}");
        assert!(
            !index.contains("user") || plan.contains("COVERING"),
            "each stay of somebody is looked at:\n{plan}"
        );
    }

    let filter = CallFilter::default();
    let request = ListRequest::new(&filter, None, 100);
    let ids = [(1, "one".to_owned()), (2, "other".to_owned())];
    let select = request.select(Dialect::Sqlite, AccessPath::Ids(&ids), 50);
    let plan = bed.plan(select.as_text()).await;
    assert!(plan.contains("sqlite_autoindex_sessions_1 (id=?"), "{plan}");
}

#[tokio::test]
async fn a_rooms_creation_is_found_without_a_look_at_its_events() {
    let bed = Bed::new().await;
    for sql in [
        coverage::ROOMS.one(),
        history_progress::OPEN,
        history_progress::OF_ROOM,
    ] {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains("events_kind (room_id=? AND kind=? AND state_key=?)"),
            "{plan}"
        );
        assert!(
            !plan.contains("events_time"),
            "every event of the room may be looked at:\n{plan}"
        );
    }
}

#[tokio::test]
async fn rooms_are_listed_without_a_look_at_their_events_and_calls() {
    let bed = Bed::new().await;
    let plan = bed.plan(rooms::LISTED).await;
    assert!(
        plan.matches("events_rejected_room (room_id=? AND stream>?")
            .count()
            == 2,
        "{plan}"
    );
    assert!(plan.contains("sessions_until (until_ms>?"), "{plan}");
    let time = plan.lines().filter(|line| line.contains("events_time"));
    assert!(
        time.into_iter()
            .all(|line| line.contains("origin_server_ts>?")),
        "{plan}"
    );
}

#[tokio::test]
async fn everything_is_counted_by_indexes_only() {
    let bed = Bed::new().await;
    let plan = bed.plan(concurrency::TOTALS).await;
    assert!(
        plan.contains("e USING COVERING INDEX events_time (room_id=? AND origin_server_ts>?)"),
        "{plan}"
    );
    for table in ["events", "memberships"] {
        let whole = plan
            .lines()
            .filter(|line| line.starts_with(&format!("SCAN {table}")));
        assert!(
            whole.clone().count() > 0 && whole.into_iter().all(|line| line.contains("INDEX")),
            "{plan}"
        );
    }

    bed.event("$joke", None, "m.room.name", 5).await;
    assert_eq!(
        concurrency::count_stored_rows(&bed.store)
            .await
            .unwrap()
            .oldest_event_ms,
        None
    );
    for time in [1_400_000_000_001, 1_400_000_000_000] {
        bed.event(&format!("${time}"), None, "m.room.name", time)
            .await;
    }

    let totals = concurrency::count_stored_rows(&bed.store).await.unwrap();
    assert_eq!(
        (totals.oldest_event_ms, totals.events),
        (Some(1_400_000_000_000), 3)
    );
}

#[tokio::test]
async fn a_room_that_cannot_be_seen_has_no_running_call() {
    let bed = Bed::new().await;
    bed.call("call", 10, 200).await;
    let active = || calls::list_active_calls(&bed.store, 100);
    assert_eq!(active().await.unwrap().len(), 1);
    for word in ["left", "blind"] {
        bed.run(&format!("update rooms set watch = '{word}'")).await;
        assert_eq!(active().await.unwrap(), [], "{word}");
    }

    bed.run("update rooms set watch = 'peeked'").await;
    assert_eq!(active().await.unwrap().len(), 1);
}

/// The columns that docs/database.md promises to users with tools of their own.
#[tokio::test]
async fn the_views_say_what_the_tables_hold() {
    let bed = Bed::new().await;
    bed.call("call", 10, 30).await;
    bed.stay("@a:h", "'D'", "c", 10, 30).await;
    bed.event("$e", Some("c"), "m.call.member", 10).await;
    let text = |sql: &'static str| {
        let read = &bed.store.read;
        async move {
            sqlx::query(sql)
                .fetch_one(read)
                .await
                .unwrap()
                .get::<String, _>(0)
        }
    };

    let calls = "select call_id || ' ' || room_id || ' ' || length_ms || ' ' || people || ' ' || peak_users from view_calls";
    assert_eq!(text(calls).await, "call !r:h 20 1 1");
    let stays = "select call_id || ' ' || user_id || ' ' || device_id || ' ' || length_ms || ' ' || end_reason from view_stays";
    assert_eq!(text(stays).await, "call @a:h D 20 left");
    assert_eq!(
        text("select room_id || ' ' || watch from view_rooms").await,
        "!r:h joined"
    );
    assert_eq!(
        text("select type || ' ' || json from view_events").await,
        "m.call.member {}"
    );
    let doc = include_str!("../../../docs/database.md");

    for view in ["view_calls", "view_stays", "view_rooms", "view_events"] {
        assert!(doc.contains(view), "{view} is documented");
    }
}

#[tokio::test]
async fn rings_and_stamps_are_found_without_a_look_at_every_event() {
    let bed = Bed::new().await;
    for sql in [rings::RINGS[0], rings::RINGS[2]] {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains("events_rings (origin_server_ts>?") && !plan.contains("TEMP B-TREE"),
            "{plan}"
        );
    }

    for sql in [rings::RINGS[1], rings::ANSWERS, related::AROUND] {
        let plan = bed.plan(sql).await;
        let index = "events_related (room_id=? AND origin_server_ts>? AND origin_server_ts<?)";
        assert!(plan.contains(index), "all that ever rang:\n{plan}");
    }

    let plan = bed.plan(rings::RINGS[1]).await;
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    let plan = bed.plan(events::BEHIND).await;
    assert!(
        plan.contains("events_related (room_id=? AND origin_server_ts>?"),
        "{plan}"
    );
    let plan = bed.plan(clock_skew::SAMPLE).await;
    assert!(
        plan.contains("memberships_server (server=?")
            && plan.contains("events_chain (room_id=? AND chain=?"),
        "{plan}"
    );
}

#[tokio::test]
async fn a_moment_of_a_room_is_found_without_a_look_at_all_its_calls() {
    let bed = Bed::new().await;
    for sql in [room_at::AT, room_at::COUNT_AT] {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains("(room_id=? AND started_ms>? AND started_ms<?)")
                && plan.contains("sessions_long (until_ms>?"),
            "{plan}"
        );
    }

    let (minute, day) = (60_000, 86_400_000);
    let at = 10 * day;
    for (id, started, until) in [
        ("long", at - 3 * day, at + minute),
        ("just over a day", at - day - 1, at + 1),
        ("a day", at - day, at + 1),
        ("now", at, at + minute),
        ("over", at - minute, at),
        ("long ago", minute, 2 * minute),
        ("later", at + 1, at + minute),
    ] {
        bed.call(id, started, until).await;
    }

    let found = room_at::calls_at(&bed.store, ROOM, at).await;
    let found = found.unwrap();
    let ids: Vec<&str> = found.iter().map(|call| call.id.as_str()).collect();
    assert_eq!(ids, ["long", "just over a day", "a day", "now"]);
    let count = room_at::count_at(&bed.store, ROOM, at).await;
    assert_eq!(count.unwrap(), 4);
    let first = room_at::calls_at(&bed.store, ROOM, i64::MIN).await;
    assert_eq!(first.unwrap(), []);
}

/// Thousands of stays may end at one moment.
#[tokio::test]
async fn how_a_call_ended_is_found_without_a_look_at_what_ended_at_the_same_time() {
    let bed = Bed::new().await;
    for sql in usage::CALLS {
        let plan = bed.plan(sql).await;
        assert!(
            plan.contains("memberships_session_until (session_id=? AND until_ms=?)"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn sqlite_is_built_as_the_project_says() {
    let file = Database::file();
    let store = Writer::open(file.url()).await.unwrap();
    let options: Vec<String> =
        sqlx::query_scalar("select compile_options from pragma_compile_options")
            .fetch_all(&store.read)
            .await
            .unwrap();
    let has = |name: &str| options.iter().any(|option| option == name);
    assert!(
        has("USE_ALLOCA") && !has("ENABLE_MEMORY_MANAGEMENT"),
        "see .cargo/config.toml: {options:?}"
    );
}
