//! To forget somebody: whenever it happens, the store equals what the pure core derives from events
//! without the name; and what follows from events that are deleted keeps its numbers.

use crate::store::*;
use callscope::rtc::forgotten::{Forgotten, ForgottenKind};
use callscope::store::rights::export::write_export;
use callscope::store::rights::forget::{
    ForgetCounts, Forgot, KnownName, NameToForget, OpenWish, finish_erasing, finish_forgetting,
    forget_name, list_open_wishes, look_up_name, remember_wish,
};
use callscope::store::sign_in::audit_log::{AuditEntry, AuditKind, list_entries, record_entry};
use callscope::store::upkeep::retention;
use std::cell::RefCell;

const KEY: [u8; 32] = [7; 32];
const BEGIN: i64 = 1_700_000_000_000;

fn person(user_id: &str) -> NameToForget {
    NameToForget {
        kind: ForgottenKind::Person,
        name: user_id.to_owned(),
    }
}

async fn forget(store: &Writer, wish: &NameToForget) -> Forgot {
    let forgot = forget_name(store, &Rules::default(), wish, LATER, KEY)
        .await
        .unwrap();
    finish_forgetting(store, wish, LATER).await.unwrap();

    forgot
}

/// The events of one room without those that homeservers would not accept: a member event in the
/// name of somebody else.
fn own_events(room: &[Value]) -> Vec<Value> {
    let is_own = |event: &&Value| {
        let key = event["state_key"].as_str().unwrap_or_default();
        !key.contains('@') || key.contains(event["sender"].as_str().unwrap())
    };

    room.iter().filter(is_own).cloned().collect()
}

/// What is derived from these events without the name.
fn derived_without(wish: &NameToForget, room: &[Value]) -> Value {
    let mut forgotten = Forgotten::new(&KEY, []);
    forgotten.add(wish.kind, &wish.name);
    let mut names = forgotten.in_room(ROOM);
    let nameless = arrivals(room).into_iter().map(|arrival| {
        let nameless = names.nameless_event(&arrival.event);
        nameless.unwrap_or_else(|| (*arrival.event).clone())
    });

    derived(&rtc::derive(ROOM, nameless, &Rules::default()))
}

/// The reasons why events are rejected may differ: of an event of who is forgotten less is kept.
fn without_reasons(mut stored: Value) -> Value {
    for rejected in stored["rejected"].as_array_mut().unwrap() {
        rejected[1] = Value::Null;
    }

    stored
}

/// All that is stored about somebody.
async fn exported(store: &Writer, user_id: &str) -> Value {
    let text = RefCell::new(String::new());
    let write = |part: String| {
        text.borrow_mut().push_str(&part);
        std::future::ready(Ok(()))
    };
    write_export(store, user_id, LATER, write).await.unwrap();

    serde_json::from_str(&text.into_inner()).unwrap()
}

fn is_empty(exported: &Value) -> bool {
    let parts = exported.as_object().unwrap().values();
    parts.filter_map(Value::as_array).all(Vec::is_empty)
}

proptest! {
    #![proptest_config(generate::config(60))]

    #[test]
    fn when_somebody_is_forgotten_never_counts(
        tuning in prop::sample::select(&TUNINGS[..]), cut in 0_usize..100, who in 0_usize..4,
        (room, order) in generate::room().prop_flat_map(|room| {
            let order = Just((0..room.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(room), order)
        })
    ) {
        let shuffled: Vec<Value> = order.iter().map(|&at| room[at].clone()).collect();
        let room = own_events(&shuffled);
        prop_assume!(!room.is_empty());
        let user_id = room[who * room.len() / 4]["sender"].as_str().unwrap().to_owned();
        let (first, later) = room.split_at(cut * room.len() / 100);
        let want = derived_without(&person(&user_id), &room);
        block(async {
            let (store, place) = open().await;
            let store = store.with_tuning(tuning);
            write_all(&store, arrivals(first), &[5]).await;
            forget(&store, &person(&user_id)).await;
            // What is not yet known of the room decides whether a later event counts.
            write_all(&store, arrivals(later), &[3]).await;
            let got = stored(&store).await;
            assert_eq!(without_reasons(got), without_reasons(want.clone()));
            // The homeserver sends all of it again.
            write_batch(&store, &Rules::default(), &batch(arrivals(&room))).await.unwrap();
            assert_eq!(without_reasons(rebuilt(&store).await), without_reasons(want));
            let left = exported(&store, &user_id).await;
            assert!(is_empty(&left), "{left}");
            done(store, place).await;
        });
    }
}

/// The calls, without whose they are.
async fn numbers(store: &Writer) -> Vec<Value> {
    let calls = all_calls(store).await;
    let numbers = calls.iter().map(|call| {
        json!([
            call.id,
            call.started_ms,
            call.until_ms,
            call.people,
            call.devices,
            call.peak,
            call.memberships
        ])
    });

    sorted(numbers.collect())
}

fn member(id: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": "m.call.member", "state_key": "_@a:h_SECRET", "sender": "@a:h",
        "origin_server_ts": BEGIN + at, "content": content})
}

fn join() -> Value {
    json!({"application": "m.call", "call_id": "", "device_id": "SECRET", "expires": 1_000_000,
        "focus_active": {"type": "livekit"}})
}

#[test]
fn stays_whose_events_are_gone_lose_the_name_and_go_on() {
    block(async {
        let (store, place) = open().await;
        let room = [
            member("$1", 0, &join()),
            member("$2", 100_000, &json!({})),
            member("$3", 200_000, &join()),
        ];
        write_all(&store, arrivals(&room), &[1]).await;
        let before = numbers(&store).await;
        assert_eq!(before.len(), 2);
        let cut = BEGIN + 300_000;
        let rules = Rules::default();
        for member_key in retention::list_old_keys(&store, ROOM, cut).await.unwrap() {
            retention::raise_cutoff(&store, &rules, ROOM, &member_key, cut)
                .await
                .unwrap();
            let old = retention::events_before_cutoff(&store, ROOM, &member_key)
                .await
                .unwrap();
            let old: Vec<&String> = old.iter().collect();
            assert!(!old.is_empty());
            retention::delete_stored_events(&store, ROOM, &old, LATER)
                .await
                .unwrap();
        }

        forget(&store, &person("@a:h")).await;
        assert_eq!(numbers(&store).await, before);
        let left = exported(&store, "@a:h").await;
        assert!(is_empty(&left), "{left}");
        // The last stay is open: what comes next ends it.
        write_all(&store, arrivals(&[member("$4", 400_000, &json!({}))]), &[1]).await;
        let calls = all_calls(&store).await;
        assert_eq!((calls.len(), calls[0].until_ms), (2, BEGIN + 400_000));
        let members = members_of(&store, &calls).await;
        assert!(members.iter().all(|member| {
            member.stay.user_id.starts_with("@forgotten-")
                && !format!("{member:?}").contains("SECRET")
        }));
        done(store, place).await;
    });
}

#[test]
fn a_name_is_known_stored_forgotten_or_our_own() {
    block(async {
        let (store, place) = open().await;
        let known = async |name: &str| look_up_name(&store, &person(name)).await.unwrap();
        assert_eq!(known("@a:h").await, KnownName::No);
        write_all(&store, arrivals(&[member("$1", 0, &join())]), &[1]).await;
        assert_eq!(known("@a:h").await, KnownName::Stored);
        let counts = ForgetCounts {
            rooms: 1,
            events: 1,
            stays: 1,
            others: 2,
        };
        assert_eq!(forget(&store, &person("@a:h")).await, Forgot::Done(counts));
        assert_eq!(known("@a:h").await, KnownName::Forgotten);
        assert_eq!(forget(&store, &person("@a:h")).await, Forgot::Before);
        assert_eq!(known("@b:h").await, KnownName::No);
        done(store, place).await;
    });
}

#[test]
fn a_server_is_forgotten_with_its_people_and_its_name() {
    block(async {
        let (store, place) = open().await;
        let with_sfu = |id: &str, user: &str, at: i64| {
            let mut content = join();
            // Below the name of a server may be other people's hosts.
            let host = if user.ends_with(":home.example") {
                "sfu.home.example"
            } else {
                "home.example"
            };
            content["foci_preferred"] =
                json!([{"type": "livekit", "livekit_service_url": format!("https://{host}")}]);
            json!({"event_id": id, "type": "m.call.member", "state_key": format!("_{user}_D"),
                "sender": user, "origin_server_ts": BEGIN + at, "content": content})
        };
        let room = [
            with_sfu("$1", "@a:home.example", 0),
            with_sfu("$2", "@b:home.example", 10),
            with_sfu("$3", "@c:away.example", 20),
        ];
        write_all(&store, arrivals(&room), &[1]).await;
        let before = numbers(&store).await;
        let wish = NameToForget {
            kind: ForgottenKind::Server,
            name: "home.example".into(),
        };
        forget(&store, &wish).await;
        assert_eq!(numbers(&store).await, before);
        let calls = all_calls(&store).await;
        let members = members_of(&store, &calls).await;
        let text = format!("{calls:?}{members:?}");
        assert!(
            members.len() == 3 && !text.contains("home.example"),
            "{text}"
        );
        done(store, place).await;
    });
}

/// What is stored outside of rooms about a user, and about their server.
const OUTSIDE: [&str; 8] = [
    "insert into web_sessions (id_hash, identity, address, created_ms, last_seen_ms, expires_ms)
        values ('USER', 'USER', '::1', 1, 1, 1)",
    "insert into direct_rooms (user_id, room_id, made_ms)
        select 'USER', '!direct' || count(*), 1 from direct_rooms",
    "insert into feed_keys (owner, hash, created_ms) values ('USER', 'USER', 1)",
    "insert into sign_in_codes (browser_hash, user_id, code_hash, asked_ms, tries)
        values ('USER', 'USER', 'x', 1, 0)",
    "insert into audit_log (number, at_ms, kind, identity, detail)
        select coalesce(max(number), 0) + 1, 1, 'sign_in', 'USER', 'USER at SERVER' from audit_log",
    "insert into probes (kind, name, asked_ms, result) values ('server', 'SERVER', 1, 'SERVER')",
    "insert into probe_flips (kind, name, step, at_ms, before, state, words)
        values ('check', 'SERVER', 'x', 1, 'ok', 'broken', 'at SERVER')",
    "insert into unasked (vantage_id, kind, events, first_ms, last_ms)
        values ('v', 'x.USER', 1, 1, 1)",
];

/// All of it that is left, row by row.
const LEFT: &str = "select identity from web_sessions union all select owner from feed_keys
    union all select user_id from direct_rooms union all select user_id from sign_in_codes union all select identity from audit_log
    union all select detail from audit_log union all select name from probes union all select words from probe_flips
    union all select kind from unasked union all select user_id from memberships
    union all select user_id from people union all select user_id from room_members
    union all select json from events";

#[test]
fn who_has_a_similar_name_is_not_forgotten() {
    let wishes = [
        NameToForget {
            kind: ForgottenKind::Server,
            name: "data.org".into(),
        },
        person("@x:data.org"),
    ];
    let others = [
        "@x:bigdata.org",
        "@x:sub.data.org",
        "@xx:data.org.example",
        "@x:data.org8",
        "@x:data.org:8448",
        "@x:my-data.org",
    ];
    for wish in wishes {
        block(async {
            let (store, place) = open().await;
            let pool = sqlx::AnyPool::connect(place.url()).await.unwrap();
            let left = async || {
                let mut left: Vec<Option<String>> =
                    sqlx::query_scalar(LEFT).fetch_all(&pool).await.unwrap();
                left.sort();
                left
            };
            let add = async |users: &[&str]| {
                let mut events = Vec::new();
                for user in users {
                    let server = user.split_once(':').unwrap().1;
                    for statement in OUTSIDE {
                        let statement = statement.replace("USER", user).replace("SERVER", server);
                        let query = sqlx::query(sqlx::AssertSqlSafe(statement));
                        query.execute(&pool).await.unwrap();
                    }

                    let mut event = member(&format!("$of{user}"), 0, &join());
                    event["sender"] = json!(user);
                    event["state_key"] = json!(format!("_{user}_D"));
                    events.push(event);
                }

                write_all(&store, arrivals(&events), &[1]).await;
            };
            add(&others).await;
            let before = left().await;
            assert_eq!(
                look_up_name(&store, &wish).await.unwrap(),
                KnownName::No,
                "{wish:?}"
            );
            forget(&store, &wish).await;
            assert_eq!(left().await, before, "{wish:?}");
            done(store, place).await;

            let (store, place) = open().await;
            let pool = sqlx::AnyPool::connect(place.url()).await.unwrap();
            for statement in OUTSIDE {
                let statement = statement
                    .replace("USER", "@x:data.org")
                    .replace("SERVER", "data.org");
                let query = sqlx::query(sqlx::AssertSqlSafe(statement));
                query.execute(&pool).await.unwrap();
            }

            forget(&store, &wish).await;
            let left: Vec<Option<String>> =
                sqlx::query_scalar(LEFT).fetch_all(&pool).await.unwrap();
            let named = left.iter().flatten();
            let of_user = named.filter(|text| text.contains("@x:data.org")).count();
            assert_eq!(of_user, 0, "{left:?}");
            let rooms: Vec<String> = sqlx::query_scalar("select room_id from direct_rooms")
                .fetch_all(&pool)
                .await
                .unwrap();
            assert_eq!(rooms, ["!direct0"], "it is still no room to watch");
            done(store, place).await;
        });
    }
}

#[test]
fn a_wish_is_open_until_the_name_is_erased() {
    block(async {
        let (store, place) = open().await;
        write_all(&store, arrivals(&[member("$1", 0, &join())]), &[1]).await;
        let wishes = async |now| list_open_wishes(&store, now).await.unwrap();
        let (ann, server) = (
            person("@a:h"),
            NameToForget {
                kind: ForgottenKind::Server,
                name: "home.example".into(),
            },
        );
        remember_wish(&store, &ann, 5).await.unwrap();
        remember_wish(&store, &server, 9).await.unwrap();
        assert_eq!(wishes(4).await, []);
        assert_eq!(wishes(5).await, [OpenWish::Forget(ann.clone())]);
        assert_eq!(wishes(9).await.len(), 2, "none waits for another");

        // Stopped before it is erased.
        forget_name(&store, &Rules::default(), &ann, LATER, KEY)
            .await
            .unwrap();
        assert!(!store.is_forgotten("@a:h") && store.is_being_forgotten("@a:h"));
        assert_eq!(
            look_up_name(&store, &ann).await.unwrap(),
            KnownName::Stored,
            "it goes on"
        );
        let open = wishes(9).await;
        let Some(OpenWish::Erase { hash }) = open.first() else {
            panic!("{open:?}");
        };
        finish_erasing(&store, hash, LATER).await.unwrap();
        assert!(store.is_forgotten("@a:h") && !store.is_being_forgotten("@a:h"));
        assert_eq!(
            look_up_name(&store, &ann).await.unwrap(),
            KnownName::Forgotten
        );
        assert_eq!(wishes(9).await, [OpenWish::Forget(server)]);
        done(store, place).await;
    });
}

#[test]
fn the_log_never_names_who_is_forgotten() {
    block(async {
        let (store, place) = open().await;
        let entry = AuditEntry {
            at_ms: LATER,
            kind: AuditKind::SignIn,
            identity: Some("@a:h".into()),
            detail: Some("a code for @a:h".into()),
            address: Some("192.0.2.7".into()),
        };
        let sign_ins = store.sign_ins();
        record_entry(&sign_ins, &entry).await.unwrap();
        forget(&store, &person("@a:h")).await;
        record_entry(&sign_ins, &entry).await.unwrap();
        let other = AuditEntry {
            identity: Some("@b:h".into()),
            detail: None,
            ..entry.clone()
        };
        record_entry(&sign_ins, &other).await.unwrap();
        let entries = list_entries(&sign_ins, None, 9).await.unwrap().entries;
        assert_eq!(entries[0], other);
        assert_eq!(entries.len(), 3);
        for entry in &entries[1..] {
            let text = format!("{entry:?}");
            assert!(
                !text.contains("@a:h") && !text.contains("192.0.2.7"),
                "{text}"
            );
            assert!(text.contains("forgotten-"), "{text}");
        }

        done(store, place).await;
    });
}

#[test]
fn a_document_is_about_exactly_one_person() {
    block(async {
        let (store, place) = open().await;
        let mut events = Vec::new();
        for user in ["@a:h", "@a:h.example", "@aa:h", "@a:h8", "@a:h:8448"] {
            let mut event = member(&format!("$of{user}"), 0, &join());
            event["sender"] = json!(user);
            event["state_key"] = json!(format!("_{user}_D"));
            events.push(event);
        }

        let named = json!({"event_id": "$named", "type": "m.room.power_levels", "state_key": "",
            "sender": "@b:h", "origin_server_ts": BEGIN, "content": {"users": {"@a:h": 50}}});
        events.push(named);
        write_all(&store, arrivals(&events), &[1]).await;
        let document = exported(&store, "@a:h").await;
        let mut ids: Vec<&str> = document["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event_id"].as_str().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["$named", "$of@a:h"]);
        assert_eq!(document["left_out"], json!([]));
        let mut other = document.to_string();
        other.retain(|letter| letter != '\\');
        assert!(
            !other.contains("@a:h.example") && !other.contains("is_theirs"),
            "{other}"
        );
        done(store, place).await;
    });
}
