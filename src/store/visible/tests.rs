//! A viewer reads what is in the visible rooms, as if there were nothing else.

use super::rooms::{VisibleRooms, find_visible_rooms};
use super::version::read_visibility_version;
use super::viewer::{Viewer, VisibilityPolicy};
use super::views::{Rows, TABLES};
use crate::rtc::coverage::Span;
use crate::rtc::finding_kind::KINDS;
use crate::store::db::dialect::Dialect;
use crate::store::derive::pseudonyms;
use crate::store::ingest::spaces;
use crate::store::test_database::Database;
use crate::store::{Reader, Writer};
use sqlx::{AssertSqlSafe, Column, Row};
use std::collections::BTreeSet;

const ALICE: &str = "@alice:h";

struct Bed {
    _database: Database,
    store: Writer,
}

impl Bed {
    async fn new() -> Self {
        let database = Database::new().await;
        let store = Writer::open(database.url()).await.unwrap();

        Self {
            _database: database,
            store,
        }
    }

    async fn run(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&self.store.write)
            .await
            .unwrap();
    }

    /// A room with these columns of visibility, and a call in it from 100 to 200.
    async fn add_room(&self, room_id: &str, history: &str, join_rule: &str) {
        self.run(&format!(
            "insert into rooms (room_id, watch, first_seen_ms, history_visibility, join_rule)
            values ('{room_id}', 'joined', 1, '{history}', '{join_rule}')"
        ))
        .await;
        self.add_call(room_id, 100, 200).await;
    }

    async fn add_call(&self, room_id: &str, from: i64, until: i64) {
        self.run(&format!(
            "insert into sessions (id, room_id, slot_id, application, started_ms, until_ms,
                memberships, users, devices, peak, peak_users, servers, first_event_id)
            values ('{room_id}{from}', '{room_id}', 's', 'm.call', {from}, {until}, 1, 1, 1, 1, 1,
                'h', '$e')"
        ))
        .await;
        self.run(&format!(
            "insert into memberships (id, room_id, chain, slot_id, user_id, device_id, server,
                kind, joined_ms, until_ms, end_reason, updates, join_event_id, resumed, claimed,
                selection, session_id)
            values ('m{room_id}{from}', '{room_id}', 'c', 's', '@bob:h', 'D', 'h', 'session',
                {from}, {until}, 'left', 0, '$j', 0, 0, 'unknown', '{room_id}{from}')"
        ))
        .await;
    }

    /// The account's membership of the room, as event and as it stands.
    async fn set_member(&self, room_id: &str, at: i64, membership: &str) {
        let joined = i64::from(membership == "join");
        self.run(&format!(
            "insert into room_members (room_id, user_id, joined, event_ms, event_id)
            values ('{room_id}', '{ALICE}', {joined}, {at}, '$m{at}')
            on conflict (room_id, user_id) do update set joined = excluded.joined"
        ))
        .await;
        let content = format!(r#"{{"membership":"{membership}"}}"#);
        self.add_event(room_id, at, "m.room.member", ALICE, &content)
            .await;
    }

    async fn add_event(&self, room_id: &str, at: i64, kind: &str, key: &str, content: &str) {
        self.run(&format!(
            "insert into events (event_id, room_id, kind, state_key, sender, origin_server_ts,
                stream, source, in_timeline, json)
            select '${kind}{at}', '{room_id}', '{kind}', '{key}', '@a:h', {at},
                coalesce(max(stream), 0) + 1, 'sync', 1, '{{\"content\":{content}}}' from events"
        ))
        .await;
    }

    async fn reader(&self, viewer: &Viewer, policy: VisibilityPolicy) -> Reader {
        self.store.for_viewer(viewer, policy).await.unwrap()
    }
}

fn alice() -> Viewer {
    Viewer::Account {
        user_id: ALICE.to_owned(),
    }
}

async fn texts(store: &Reader, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&store.read)
        .await
        .unwrap()
}

/// The kinds of findings that are visible, of one of each kind that was stored of this call.
async fn kinds_of_findings(bed: &Bed, reader: &Reader, call_id: &str) -> Vec<String> {
    let room_id = call_id.trim_end_matches(|letter: char| letter.is_ascii_digit());
    for entry in KINDS {
        bed.run(&format!(
            "insert into findings (id, room_id, call_id, kind, severity, certainty, from_ms,
                until_ms, server)
            values ('{call_id}{kind}', '{room_id}', '{call_id}', '{kind}', 1, 'computed', 310, 340,
                'h') on conflict (id) do nothing",
            kind = entry.kind.as_str()
        ))
        .await;
    }

    texts(reader, "select kind from findings order by kind").await
}

async fn calls_of(store: &Reader) -> Vec<String> {
    texts(store, "select id from sessions order by id").await
}

#[tokio::test]
async fn each_viewer_sees_the_calls_of_the_rooms_that_are_visible() {
    let bed = Bed::new().await;
    bed.add_room("!world", "world_readable", "invite").await;
    bed.add_room("!open", "shared", "public").await;
    bed.add_room("!mine", "shared", "invite").await;
    bed.add_room("!theirs", "shared", "invite").await;
    bed.add_room("!hidden", "world_readable", "public").await;
    bed.run("update rooms set shown_by_room = 'hidden' where room_id = '!hidden'")
        .await;
    for room_id in ["!mine", "!hidden"] {
        bed.set_member(room_id, 50, "join").await;
    }

    let strict = VisibilityPolicy::default();
    let open = VisibilityPolicy {
        open_rooms_are_public: true,
        ..strict
    };
    let seen = async |viewer: &Viewer, policy| calls_of(&bed.reader(viewer, policy).await).await;
    assert_eq!(seen(&Viewer::Operator, strict).await.len(), 5);
    assert_eq!(seen(&Viewer::Anonymous, strict).await, ["!world100"]);
    assert_eq!(
        seen(&Viewer::Anonymous, open).await,
        ["!open100", "!world100"]
    );
    assert_eq!(seen(&alice(), strict).await, ["!mine100", "!world100"]);
    assert_eq!(seen(&alice(), open).await.len(), 3);

    let reader = bed.reader(&alice(), strict).await;
    for same in [reader.for_dear_questions(), reader.for_pages()] {
        assert_eq!(calls_of(&same).await, ["!mine100", "!world100"]);
    }
    let moment = reader.at_one_moment().await.unwrap();
    assert_eq!(calls_of(moment.reader()).await, ["!mine100", "!world100"]);
    drop(moment);
    assert_eq!(
        texts(&reader, "select room_id from rooms order by 1").await,
        ["!mine", "!world"]
    );
    assert_eq!(
        texts(&reader, "select session_id from memberships order by 1").await,
        ["!mine100", "!world100"]
    );
}

#[tokio::test]
async fn every_change_of_what_is_visible_is_counted_and_seen() {
    let bed = Bed::new().await;
    bed.add_room("!world", "world_readable", "invite").await;
    bed.add_room("!mine", "shared", "invite").await;
    bed.set_member("!mine", 50, "join").await;
    let policy = VisibilityPolicy::default();
    let rooms = async |viewer: &Viewer| {
        // As if a second had passed.
        bed.store.visible.forget_fresh_rooms();
        let reader = bed.reader(viewer, policy).await;
        let looked_up = find_visible_rooms(&bed.store, viewer, policy).await;
        assert_eq!(reader.visible_rooms(), Some(&looked_up.unwrap()));

        reader.visible_rooms().unwrap().clone()
    };
    let version = async || read_visibility_version(&bed.store).await.unwrap();
    if version().await.is_none() {
        return;
    }

    let world = "where room_id = '!world'";
    let changes = [
        format!("update rooms set shown_by_operator = 'hidden' {world}"),
        format!("update rooms set shown_by_operator = null {world}"),
        format!("update rooms set shown_by_room = 'hidden' {world}"),
        format!("update rooms set shown_by_room = null {world}"),
        format!("update rooms set history_visibility = 'shared' {world}"),
        format!("update rooms set history_visibility = 'world_readable' {world}"),
        "update room_members set joined = 0 where room_id = '!mine'".to_owned(),
        "update room_members set joined = 1 where room_id = '!mine'".to_owned(),
        "delete from room_members where room_id = '!mine'".to_owned(),
        format!("delete from rooms {world}"),
    ];
    for change in &changes {
        let before = (version().await, rooms(&alice()).await);
        bed.run(change).await;
        let after = (version().await, rooms(&alice()).await);
        assert!(before.0 < after.0 && before.1 != after.1, "{change}");
    }

    bed.add_room("!new", "world_readable", "invite").await;
    assert!(rooms(&Viewer::Anonymous).await.whole.contains("!new"));
    let before = version().await;
    let content = r#"{"history_visibility":"joined"}"#;
    let kind = "m.room.history_visibility";
    bed.add_event("!new", 60, kind, "", content).await;
    assert!(version().await > before);
    assert!(!rooms(&Viewer::Anonymous).await.whole.contains("!new"));
    let before = version().await;
    bed.run("update events set chain = 'aside' where kind = 'm.room.history_visibility'")
        .await;
    assert!(version().await > before);
    assert!(rooms(&Viewer::Anonymous).await.whole.contains("!new"));
    let before = version().await;
    bed.run("delete from events").await;
    assert!(version().await > before);

    let before = version().await;
    bed.add_call("!new", 300, 400).await;
    bed.add_event("!new", 70, "m.call.member", "k", "{}").await;
    for nothing in [
        "update rooms set polled_ms = 7, name = 'New'",
        "update rooms set history_visibility = history_visibility",
        "update events set json = '{}' where kind = 'm.call.member'",
        "insert into rooms (room_id, watch, first_seen_ms) values ('!new', 'joined', 1)
            on conflict (room_id) do nothing",
    ] {
        bed.run(nothing).await;
    }
    assert_eq!(version().await, before);
}

#[tokio::test]
async fn within_some_rooms_a_viewer_sees_no_more_than_elsewhere() {
    let bed = Bed::new().await;
    bed.add_room("!world", "world_readable", "invite").await;
    bed.add_room("!other", "world_readable", "invite").await;
    bed.add_room("!mine", "shared", "invite").await;
    bed.add_room("!theirs", "shared", "invite").await;
    bed.set_member("!mine", 150, "join").await;
    let chosen = ["!world", "!mine", "!theirs"].map(ToOwned::to_owned).into();

    let policy = VisibilityPolicy::default();
    let mut numbers = BTreeSet::new();
    let mut seen = async |viewer: &Viewer| {
        let reader = bed.reader(viewer, policy).await;
        let within = reader.within_rooms(&chosen).await.unwrap();
        let again = within.within_rooms(&chosen).await.unwrap();
        assert!(numbers.insert(reader.rooms_number()));
        assert!(numbers.insert(within.rooms_number()));
        assert_eq!(again.rooms_number(), within.rooms_number());
        assert_eq!(calls_of(&again).await, calls_of(&within).await);

        calls_of(&within).await
    };
    assert_eq!(
        seen(&Viewer::Operator).await,
        ["!mine100", "!theirs100", "!world100"]
    );
    assert_eq!(seen(&Viewer::Anonymous).await, ["!world100"]);
    assert_eq!(seen(&alice()).await, ["!mine100", "!world100"]);
    let nothing = bed.store.within_rooms(&BTreeSet::new()).await.unwrap();
    assert_eq!(calls_of(&nothing).await, [""; 0]);
}

#[tokio::test]
async fn a_member_sees_the_calls_that_the_history_shows_to_members() {
    let bed = Bed::new().await;
    bed.add_room("!r", "joined", "invite").await;
    bed.add_call("!r", 300, 400).await;
    bed.add_call("!r", 500, 600).await;
    let content = r#"{"history_visibility":"joined"}"#;
    bed.add_event("!r", 10, "m.room.history_visibility", "", content)
        .await;
    bed.set_member("!r", 250, "join").await;
    bed.set_member("!r", 350, "leave").await;

    let reader = bed.reader(&alice(), VisibilityPolicy::default()).await;
    assert_eq!(calls_of(&reader).await, ["!r300"]);
    assert_eq!(
        texts(&reader, "select id from memberships").await,
        ["m!r300"]
    );
    assert_eq!(texts(&reader, "select room_id from rooms").await, ["!r"]);
    // The events before the join and after the leave are not shown either.
    assert_eq!(
        texts(&reader, "select event_id from events").await,
        ["$m.room.member250"]
    );

    // What rests on the room's own state, which is not shown, is not shown either.
    let kinds = kinds_of_findings(&bed, &reader, "!r300").await;
    assert_eq!(kinds.len(), KINDS.len() - 5, "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind == "side_by_side"));
    assert!(!kinds.iter().any(|kind| kind == "nobody_could_come"));
}

#[tokio::test]
async fn a_room_that_becomes_public_is_public_from_then_on() {
    let bed = Bed::new().await;
    bed.add_room("!r", "world_readable", "invite").await;
    bed.add_call("!r", 300, 400).await;
    for (at, word) in [(10, "joined"), (250, "world_readable")] {
        let content = format!(r#"{{"history_visibility":"{word}"}}"#);
        bed.add_event("!r", at, "m.room.history_visibility", "", &content)
            .await;
    }

    let rooms = async || {
        let policy = VisibilityPolicy::default();
        find_visible_rooms(&bed.store, &Viewer::Anonymous, policy)
            .await
            .unwrap()
    };
    let span = Span {
        from: 250,
        to: i64::MAX,
    };
    assert_eq!(rooms().await.in_part["!r"], [span]);
    let reader = bed
        .reader(&Viewer::Anonymous, VisibilityPolicy::default())
        .await;
    assert_eq!(calls_of(&reader).await, ["!r300"]);
    bed.run("update rooms set shown_by_operator = 'public'")
        .await;
    assert!(rooms().await.whole.contains("!r"));
}

#[tokio::test]
async fn what_is_visible_changes_with_the_rooms() {
    let bed = Bed::new().await;
    bed.add_room("!r", "shared", "invite").await;
    let rooms = async || {
        let policy = VisibilityPolicy::default();
        find_visible_rooms(&bed.store, &alice(), policy)
            .await
            .unwrap()
    };
    assert_eq!(rooms().await.whole, BTreeSet::new());
    bed.set_member("!r", 50, "join").await;
    assert_eq!(rooms().await.whole, ["!r".to_owned()].into());
    bed.set_member("!r", 60, "leave").await;
    let span = Span { from: 0, to: 60 };
    assert_eq!(rooms().await.in_part["!r"], [span]);
    bed.run("update rooms set shown_by_operator = 'hidden'")
        .await;
    assert_eq!(rooms().await.in_part.len(), 0);
}

/// A new table must be named in [`TABLES`]: what it shows is decided there.
#[tokio::test]
async fn every_table_is_decided_on() {
    let bed = Bed::new().await;
    let sql = match bed.store.dialect() {
        Dialect::Sqlite => {
            "select name from sqlite_master where type = 'table' and name not like 'sqlite%'
            and name not like '\\_%' escape '\\'"
        }
        Dialect::Postgres => {
            "select cast(tablename as text) from pg_tables where schemaname = current_schema()
            and tablename not like '\\_%'"
        }
    };
    let there: BTreeSet<String> = texts(&bed.store, sql).await.into_iter().collect();
    let decided: BTreeSet<String> = TABLES
        .iter()
        .map(|(table, _)| (*table).to_owned())
        .collect();
    assert_eq!(there, decided);
    let with_rooms = match bed.store.dialect() {
        Dialect::Sqlite => {
            "select m.name from sqlite_master m join pragma_table_info(m.name) c
            where m.type = 'table' and c.name = 'room_id'"
        }
        Dialect::Postgres => {
            "select cast(c.table_name as text) from information_schema.columns c
            join pg_tables t on t.tablename = c.table_name
            where c.table_schema = current_schema() and c.column_name = 'room_id'"
        }
    };
    for table in texts(&bed.store, with_rooms).await {
        let (_, rows) = TABLES.iter().find(|(name, _)| *name == table).unwrap();
        assert_ne!(*rows, Rows::All, "{table} has rows of rooms");
    }
}

#[test]
fn few_rooms_are_few_of_many() {
    let rooms = |visible: usize, known: u32| VisibleRooms {
        whole: (0..visible).map(|n| n.to_string()).collect(),
        known: super::rooms::RoomCount::from_digits(known),
        ..VisibleRooms::default()
    };
    assert!(rooms(50, 14).are_few());
    assert!(!rooms(9000, 14).are_few());
    assert!(!rooms(1, 2).are_few());
}

#[tokio::test]
async fn whoever_sees_no_names_sees_the_same_pseudonym_in_a_room_and_another_in_others() {
    let bed = Bed::new().await;
    for room_id in ["!a", "!b"] {
        bed.add_room(room_id, "world_readable", "invite").await;
        bed.add_call(room_id, 300, 400).await;
    }
    let sql = "insert into people (room_id, user_id, name, event_ms, event_id)
        values ('!a', '@bob:h', 'Bob', 1, '$n')";
    bed.run(sql).await;

    let policy = VisibilityPolicy::default();
    let reader = bed.reader(&Viewer::Anonymous, policy).await;
    let names = "select user_id from memberships order by room_id, joined_ms";
    let unknown = texts(&reader, names).await;
    assert_eq!(unknown, ["@somebody:hidden.invalid"; 4], "no pseudonym yet");

    pseudonyms::renew_pseudonyms(&bed.store, [7; 32])
        .await
        .unwrap();
    let shown = texts(&reader, names).await;
    assert_eq!((&shown[0], &shown[2]), (&shown[1], &shown[3]));
    assert_ne!(shown[0], shown[2]);
    assert!(shown[0].ends_with(":hidden.invalid"), "{shown:?}");
    assert_eq!(texts(&reader, "select name from people").await, [""; 0]);
    let servers = texts(&reader, "select servers from sessions").await;
    assert_eq!(servers, [""; 4]);

    let with_servers = VisibilityPolicy {
        servers_are_public: true,
        ..policy
    };
    let reader = bed.reader(&Viewer::Anonymous, with_servers).await;
    let beside_servers = texts(&reader, names).await;
    assert_eq!(beside_servers[0], shown[0].replace(":hidden.invalid", ":h"));

    pseudonyms::renew_pseudonyms(&bed.store, [8; 32])
        .await
        .unwrap();
    assert_ne!(texts(&reader, names).await[0], beside_servers[0]);
}

#[tokio::test]
async fn who_has_a_link_sees_this_call_only() {
    let bed = Bed::new().await;
    bed.add_room("!mine", "shared", "invite").await;
    bed.add_room("!theirs", "world_readable", "invite").await;
    // Another call at the same time.
    bed.add_call("!mine", 150, 300).await;
    bed.run("update rooms set shown_by_operator = 'hidden'")
        .await;
    let link = |call_id: &str, with_names| Viewer::HasShareLink {
        call_id: call_id.to_owned(),
        with_names,
    };
    let policy = VisibilityPolicy::default();
    let reader = bed.reader(&link("!mine100", true), policy).await;
    assert_eq!(calls_of(&reader).await, ["!mine100"]);
    let people = "select user_id from memberships";
    assert_eq!(texts(&reader, people).await, ["@bob:h"]);
    assert_eq!(texts(&reader, "select room_id from rooms").await, ["!mine"]);

    let reader = bed.reader(&link("!mine100", false), policy).await;
    assert_eq!(texts(&reader, people).await, ["@somebody:hidden.invalid"]);
    // A ring of the other call, an event of its member key, and one of this call's.
    bed.run("update memberships set chain = 'other' where session_id = '!mine150'")
        .await;
    for (at, chain) in [(160, None), (170, Some("other")), (180, Some("c"))] {
        bed.add_event("!mine", at, "ring", "", "{}").await;
        if let Some(chain) = chain {
            bed.run(&format!(
                "update events set chain = '{chain}' where event_id = '$ring{at}'"
            ))
            .await;
        }
    }
    let reader = bed.reader(&link("!mine100", true), policy).await;
    let events = texts(&reader, "select event_id from events order by 1").await;
    assert_eq!(events, ["$ring180"]);

    // Nothing that is about two calls, or rests on the room's own state.
    bed.add_call("!mine", 305, 400).await;
    let reader = bed.reader(&link("!mine305", true), policy).await;
    let kinds = kinds_of_findings(&bed, &reader, "!mine305").await;
    assert_eq!(kinds.len(), KINDS.len() - 7, "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind == "apart"));
    assert!(!kinds.iter().any(|kind| kind == "broken_call"));

    for unknown in ["!mine101", "' or '1' = '1"] {
        let reader = bed.reader(&link(unknown, true), policy).await;
        assert_eq!(calls_of(&reader).await, [""; 0], "{unknown}");
    }
}

/// A view that names its columns has those of the table.
#[tokio::test]
async fn views_of_pseudonyms_have_all_columns() {
    let bed = Bed::new().await;
    bed.add_room("!r", "world_readable", "invite").await;
    let policy = VisibilityPolicy::default();
    let reader = bed.reader(&Viewer::Anonymous, policy).await;
    let columns = async |store: &Reader, table| {
        let sql = format!("select * from {table}");
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_one(&store.read)
            .await
            .unwrap();
        let names = row.columns().iter().map(|column| column.name().to_owned());

        names.collect::<BTreeSet<String>>()
    };
    for table in ["memberships", "sessions"] {
        assert_eq!(
            columns(&bed.store, table).await,
            columns(&reader, table).await
        );
    }
}

#[tokio::test]
async fn a_space_and_its_rooms_are_visible_each_for_itself() {
    let bed = Bed::new().await;
    for (room_id, history) in [
        ("!space", "world_readable"),
        ("!hidden", "shared"),
        ("!open", "world_readable"),
        ("!closed", "shared"),
    ] {
        bed.add_room(room_id, history, "invite").await;
    }
    for space in ["!space", "!hidden"] {
        for room in ["!open", "!closed"] {
            bed.run(&format!(
                "insert into space_rooms (space_id, room_id) values ('{space}', '{room}')"
            ))
            .await;
        }
    }
    bed.run("insert into room_titles (room_id, title, folded) values ('!open', 'Ada', 'ada')")
        .await;

    let policy = VisibilityPolicy::default();
    let reader = bed.reader(&Viewer::Anonymous, policy).await;
    let found = spaces::list_spaces(&reader).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].room.room_id.as_str(), found[0].rooms),
        ("!space", 1)
    );
    let rooms = spaces::rooms_of_space(&reader, "!space").await.unwrap();
    assert_eq!(rooms, BTreeSet::from(["!open".to_owned()]));
    let hidden = spaces::rooms_of_space(&reader, "!hidden").await.unwrap();
    assert_eq!(hidden, BTreeSet::new());
    assert_eq!(
        texts(&reader, "select title from room_titles").await,
        [""; 0],
        "a title names people"
    );

    let reader = bed.reader(&Viewer::Operator, policy).await;
    assert_eq!(spaces::list_spaces(&reader).await.unwrap().len(), 2);
    assert_eq!(
        texts(&reader, "select title from room_titles").await,
        ["Ada"]
    );
}
