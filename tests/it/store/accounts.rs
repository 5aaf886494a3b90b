//! Who is in a room and who may join its calls, on each database.

use crate::store::*;
use callscope::rtc::power::SendAccess;

const MEMBER: &str = "org.matrix.msc3401.call.member";

fn state(id: &str, kind: &str, key: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": kind, "state_key": key, "sender": "@ada:h",
        "origin_server_ts": at,
        "content": content})
}

fn stands(id: &str, user: &str, at: i64, membership: &str) -> Value {
    state(
        id,
        "m.room.member",
        user,
        at,
        &json!({"membership": membership}),
    )
}

async fn look(store: &Writer, state: &[Value], at: i64) {
    let members = state
        .iter()
        .filter(|event| event["type"] == MEMBER)
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    let mut look = batch(arrivals(state));
    look.seen_ms = at;
    look.rooms[0].source = Source::Poll;
    look.rooms[0].snapshot = Some(StateSnapshot {
        asked_ms: at,
        members,
        people: std::collections::BTreeSet::new(),
    });
    write_batch(store, &Rules::default(), &look).await.unwrap();
}

async fn learn(store: &Writer, events: &[Value]) {
    write_batch(store, &Rules::default(), &batch(arrivals(events)))
        .await
        .unwrap();
}

async fn access(store: &Writer) -> Vec<SendAccess> {
    let room = rooms::find_room(store, ROOM, LATER).await;
    room.unwrap().unwrap().access
}

/// Accounts in the room, and those that may join.
async fn counted(store: &Writer) -> Vec<(i64, i64)> {
    let access = access(store).await;
    access.iter().map(|one| (one.accounts, one.may)).collect()
}

#[test]
fn accounts_are_counted_whatever_their_clocks_say() {
    block(async {
        let (store, place) = open().await;
        let t = 1_700_000_000_000;
        let levels = json!({"users": {"@ada:h": 100}, "state_default": 50});
        let known = [
            state("$c", "m.room.create", "", t, &json!({"room_version": "11"})),
            state("$pl", "m.room.power_levels", "", t + 1, &levels),
            stands("$ja", "@ada:h", t + 2, "join"),
            stands("$jb", "@ben:h", t + 3, "join"),
            stands("$jc", "@cleo:h", t + 4, "join"),
            state("$call", MEMBER, "_@ada:h_D", t + 5, &joined()["content"]),
        ];
        learn(&store, &known).await;
        assert_eq!(counted(&store).await, [], "nobody looked at all of it yet");
        look(&store, &known, t + 100).await;
        assert_eq!(counted(&store).await, [(3, 1)]);

        // Ben leaves with a clock that is behind; the link shows that it comes after the join.
        let mut left = stands("$lb", "@ben:h", t, "leave");
        left["unsigned"] = json!({"replaces_state": "$jb"});
        learn(&store, &[left]).await;
        assert_eq!(counted(&store).await, [(2, 1)]);
        // An event from before the join that comes late changes nothing.
        learn(&store, &[stands("$old", "@cleo:h", t + 1, "leave")]).await;
        assert_eq!(counted(&store).await, [(2, 1)]);

        let open_to_all = json!({"events": {MEMBER: 0}, "users": {"@cleo:h": -1}});
        learn(
            &store,
            &[state(
                "$pl2",
                "m.room.power_levels",
                "",
                t + 200,
                &open_to_all,
            )],
        )
        .await;
        assert_eq!(counted(&store).await, [(2, 1)], "all but Cleo");
        learn(&store, &[stands("$lc", "@cleo:h", t + 300, "leave")]).await;
        assert_eq!(counted(&store).await, [], "all who are here may");
        done(store, place).await;
    });
}

#[test]
fn a_look_puts_the_list_of_accounts_right() {
    block(async {
        let (store, place) = open().await;
        let t = 1_700_000_000_000;
        let levels = json!({"users": {"@ada:h": 100}, "state_default": 50});
        let rules = [
            state("$c", "m.room.create", "", t, &json!({"room_version": "11"})),
            state("$pl", "m.room.power_levels", "", t + 1, &levels),
            state("$call", MEMBER, "_@ada:h_D", t + 5, &joined()["content"]),
            stands("$ja", "@ada:h", t + 2, "join"),
        ];
        let ben = stands("$jb", "@ben:h", t + 3, "join");
        let cleo = stands("$jc", "@cleo:h", t + 4, "join");
        let both = [&rules[..], &[ben.clone(), cleo.clone()]].concat();
        look(&store, &both, t + 100).await;
        assert_eq!(counted(&store).await, [(3, 1)]);
        let only_ben = [&rules[..], &[ben]].concat();
        look(&store, &only_ben, t + 200).await;
        assert_eq!(counted(&store).await, [(2, 1)], "Cleo is not in the state");
        look(&store, &both, t + 300).await;
        assert_eq!(counted(&store).await, [(3, 1)], "and is again");
        done(store, place).await;
    });
}

#[test]
fn a_room_replaced_since_a_time() {
    block(async {
        let (store, place) = open().await;
        let t = 1_700_000_000_000;
        let tombstone = |id: &str, at: i64, to: &str| {
            state(
                id,
                "m.room.tombstone",
                "",
                at,
                &json!({"replacement_room": to}),
            )
        };

        learn(
            &store,
            &[
                tombstone("$1", t, "!new:h"),
                tombstone("$2", t + 5, "!new:h"),
            ],
        )
        .await;
        let found = async |store: &Writer| {
            let room = rooms::find_room(store, ROOM, LATER).await;
            let room = room.unwrap().unwrap();
            (room.replaced_by, room.replaced_ms)
        };

        assert_eq!(found(&store).await, (Some("!new:h".to_owned()), Some(t)));
        learn(&store, &[tombstone("$3", t + 9, ROOM)]).await;
        assert_eq!(
            found(&store).await,
            (None, None),
            "a room does not replace itself"
        );
        done(store, place).await;
    });
}
