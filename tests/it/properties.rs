//! Properties of the core: the order of arrival has no effect, sessions are disjoint, nothing makes
//! it panic.

use crate::generate::{self, ordinary};
use callscope::rtc::fold::{KeyState, Rules, find_cuts, fold_between_cuts, fold_member_key};
use callscope::rtc::forgotten::{Forgotten, ForgottenKind};
use callscope::rtc::membership::{Membership, Rejection};
use callscope::rtc::{self, Derived, event::RoomEvent, room::RoomConditions};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const ROOM: &str = "!r:h0";

fn events(json: &[Value]) -> Vec<RoomEvent> {
    json.iter()
        .map(|event| RoomEvent::from_recorded(event).unwrap())
        .collect()
}

fn derive(events: Vec<RoomEvent>) -> Derived {
    rtc::derive(ROOM, events, &Rules::default())
}

/// Every key that the core reads.
const KEYS: &str = "application call_id device_id focus_active foci_preferred type memberships m.calls m.devices \
    m.call_id session_id expires expires_ts created_ts member membership id slot_id sticky_key msc4354_sticky_key \
    duration_ms status session leave_reason redacts rtc_transports transports livekit_service_url content unsigned \
    replaces_state redacted_because";

/// Values with a meaning for the core.
const WORDS: &[&str] = &["m.call", "join", "leave", "m.call#ROOM", "open"];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
    ];
    let key = prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>());

    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|entries| entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// Folds a member key from cut to cut; each state passes through JSON, as a store would keep it.
fn in_parts(
    member_key: &str,
    events: &[&RoomEvent],
    cuts: &[i64],
    room: &RoomConditions,
) -> (Vec<Membership>, Vec<Rejection>) {
    let mut state = KeyState::default();
    let (mut members, mut rejected) = (Vec::new(), Vec::new());
    for until in cuts.iter().copied().map(Some).chain([None]) {
        let from = state;
        let inside = |event: &&RoomEvent| {
            from.at_ms.is_none_or(|at| event.time() >= at)
                && until.is_none_or(|until| event.time() < until)
        };

        let inside = events.iter().copied().filter(inside);
        let part = fold_between_cuts(member_key, &from, inside, until, room, &Rules::default());
        members.extend(part.members);
        rejected.extend(part.rejected);
        state = serde_json::from_str(&serde_json::to_string(&part.state).unwrap()).unwrap();
        assert_eq!(state, part.state);
    }

    members.sort_by(|a, b| (a.joined_ms, &a.id).cmp(&(b.joined_ms, &b.id)));
    rejected.sort();
    rejected.dedup_by(|a, b| a.0 == b.0);

    (members, rejected)
}

proptest! {
    #![proptest_config(generate::config(2000))]

    #[test]
    fn order_of_arrival_never_counts(
        (room, order) in generate::room().prop_flat_map(|room| {
            let order = Just((0..room.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(room), order)
        })
    ) {
        let events = events(&room);
        let shuffled = order.iter().map(|&at| events[at].clone()).collect();
        prop_assert_eq!(derive(events), derive(shuffled));
    }

    #[test]
    fn a_fold_in_parts_is_the_fold_of_the_whole(room in generate::room(), keep in prop::collection::vec(any::<bool>(), 40)) {
        let events = rtc::merge_copies(events(&room));
        let conditions = RoomConditions::from_events(events.values());
        let mut member_keys: BTreeMap<String, Vec<&RoomEvent>> = BTreeMap::new();
        for event in events.values() {
            if let Ok(Some(member_key)) = rtc::member::member_key_of(event) {
                member_keys.entry(member_key).or_default().push(event);
            }
        }

        for (member_key, events) in member_keys {
            let whole = fold_member_key(&member_key, events.iter().copied(), &conditions, &Rules::default());
            let time = |id: &str| events.iter().find(|event| event.event_id == id).map(|event| event.time());
            let cuts: Vec<i64> = find_cuts(events.iter().copied(), time, None).into_iter().zip(&keep).filter(|(_, keep)| **keep).map(|(at, _)| at).collect();
            prop_assert_eq!(in_parts(&member_key, &events, &cuts, &conditions), whole);
        }
    }

    #[test]
    fn duplicates_never_count(room in generate::room(), twice in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let events = events(&room);
        let mut doubled = events.clone();
        doubled.extend(twice.iter().map(|index| index.get(&events).clone()));
        prop_assert_eq!(derive(events), derive(doubled));
    }

    #[test]
    fn a_copy_that_came_redacted_takes_nothing_away(room in generate::room(), at in any::<prop::sample::Index>()) {
        let events = events(&room);
        let mut copy = at.get(&events).clone();
        copy.content = serde_json::json!({});
        copy.redacted_ts = Some(rtc::time::LATEST_MS);
        copy.readable = false;
        let (mut before, mut after) = (events.clone(), events);
        before.insert(0, copy.clone());
        after.push(copy);
        prop_assert_eq!(derive(before), derive(after));
    }

    #[test]
    fn the_sessions_of_a_slot_are_disjoint_and_cover_its_members(room in generate::room()) {
        let derived = derive(events(&room));
        for pair in derived.sessions.windows(2).filter(|pair| pair[0].slot_id == pair[1].slot_id) {
            prop_assert!(pair[0].until_ms < pair[1].started_ms, "{pair:?}");
        }

        for session in &derived.sessions {
            prop_assert!(session.started_ms < session.until_ms && session.peak >= 1 && session.peak <= session.devices);
            prop_assert!(session.peak_users <= session.users && session.users <= session.devices);
        }

        for member in derived.memberships.iter().filter(|m| m.until_ms > m.joined_ms) {
            let inside = derived.sessions.iter().filter(|s| s.slot_id == member.slot.as_str()
                && s.started_ms <= member.joined_ms && member.until_ms <= s.until_ms);
            prop_assert_eq!(inside.count(), 1);
        }

        let mut ids: Vec<_> = derived.memberships.iter().map(|m| &m.id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), derived.memberships.len(), "ids are unique");
        let mut ids: Vec<_> = derived.sessions.iter().map(|s| &s.id).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), derived.sessions.len(), "session ids are unique");
    }

    #[test]
    fn the_stays_of_one_device_on_one_chain_do_not_overlap(room in generate::room()) {
        let derived = derive(events(&room));
        for (at, a) in derived.memberships.iter().enumerate() {
            for b in &derived.memberships[at + 1..] {
                let same = a.member_key == b.member_key && a.device_id == b.device_id && a.slot == b.slot;
                prop_assert!(!same || a.until_ms <= b.joined_ms || b.until_ms <= a.joined_ms, "{a:?}\n{b:?}");
            }
        }
    }

    #[test]
    fn no_json_makes_it_panic(
        contents in prop::collection::vec((any_json(), 0..6_usize, any::<bool>()), 1..6), stamp in any::<i64>(), sticky in any::<i64>()
    ) {
        let kinds = ["org.matrix.msc3401.call.member", "org.matrix.msc4143.rtc.member", "m.rtc.slot", "m.room.member",
            "m.room.redaction", "m.room.create"];
        let json: Vec<Value> = contents.into_iter().enumerate().map(|(at, (content, kind, state))| {
            let mut event = serde_json::json!({"event_id": format!("$e{at}"), "type": kinds[kind],
                "sender": "@u0:h0",
                "origin_server_ts": stamp, "content": content,
                "msc4354_sticky": {"duration_ms": sticky}});
            if state {
                event["state_key"] = serde_json::json!("k");
            }

            event
        }).collect();
        derive(events(&json));
    }

    #[test]
    fn no_event_makes_it_panic(json in any_json()) {
        let _ = RoomEvent::from_json(&json, Some(5));
    }
}

/// The stays of ordinary clients are derived correctly: one each, with its times except for clock
/// errors.
fn stays_are_the_script(told: &ordinary::Told, order: &[usize]) -> Result<(), TestCaseError> {
    // Maximum error of a boundary: its homeserver's clock, and the network delay.
    const OFF_MAX: i64 = 63_000;
    let arrived: Vec<Value> = order.iter().map(|&at| told.events[at].clone()).collect();
    let derived = derive(events(&arrived));

    let mut left: Vec<&Membership> = derived.memberships.iter().collect();
    for stay in &told.stays {
        let end = match stay.end {
            ordinary::End::Said => "left",
            ordinary::End::RanOut => "expired",
        };

        let place = left.iter().position(|member| {
            member.user_id == stay.user
                && member.device_id.as_deref() == Some(&stay.device)
                && (member.joined_ms - stay.joined).abs() <= OFF_MAX
                && (member.until_ms - stay.left).abs() <= OFF_MAX
                && member.until_ms > member.joined_ms
                && member.end_reason.as_str() == end
                && member.updates == stay.renewals
        });
        let Some(place) = place else {
            return Err(TestCaseError::fail(format!(
                "{stay:#?} is none of {:#?}",
                derived.memberships
            )));
        };

        left.remove(place);
    }

    prop_assert!(left.is_empty(), "never were: {left:#?}");
    prop_assert_eq!(&derived.rejected, &Vec::<Rejection>::new());

    Ok(())
}

fn in_any_order(arrival: ordinary::Arrival) -> impl Strategy<Value = (ordinary::Told, Vec<usize>)> {
    ordinary::room(arrival).prop_flat_map(|told| {
        let order = Just((0..told.events.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(told), order)
    })
}

proptest! {
    #![proptest_config(generate::config(1000))]

    #[test]
    fn ordinary_clients_stay_as_they_did_when_seen_live((told, order) in in_any_order(ordinary::Arrival::Live)) {
        stays_are_the_script(&told, &order)?;
    }

    #[test]
    fn ordinary_clients_stay_as_they_did_when_read_from_history((told, order) in in_any_order(ordinary::Arrival::History)) {
        stays_are_the_script(&told, &order)?;
    }

    #[test]
    fn ordinary_clients_stay_as_they_did_in_any_mixture((told, order) in in_any_order(ordinary::Arrival::Mixed)) {
        stays_are_the_script(&told, &order)?;
    }
}

/// What is compared of a stay: all but the ids, which are hashes of names.
fn without_ids(members: &[Membership]) -> Vec<String> {
    let mut stays: Vec<String> = members
        .iter()
        .map(|member| {
            let member = Membership {
                id: String::new(),
                member_key: String::new(),
                ..member.clone()
            };
            format!("{member:?}")
        })
        .collect();
    stays.sort();

    stays
}

proptest! {
    #![proptest_config(generate::config(1000))]

    #[test]
    fn to_forget_and_to_derive_is_to_derive_and_to_forget(room in generate::room(), who in 0_usize..4) {
        // Homeservers accept a state key that names a user from that user only. Where somebody else
        // wrote to it, a device may be of two people, of whom one is forgotten.
        let is_own = |event: &RoomEvent| {
            let key = event.state_key.as_deref().unwrap_or_default();
            !key.contains('@') || key.contains(&event.sender)
        };
        let events: Vec<RoomEvent> = events(&room).into_iter().filter(is_own).collect();
        let people: Vec<&str> = events.iter().map(|event| event.sender.as_str()).collect();
        let mut forgotten = Forgotten::new(&[7; 32], []);
        if let Some(user) = people.get(who * people.len() / 4) {
            forgotten.add(ForgottenKind::Person, user);
        }

        let mut names = forgotten.in_room(ROOM);
        let nameless = events
            .iter()
            .map(|event| names.nameless_event(event).unwrap_or_else(|| event.clone()));
        let first = derive(nameless.collect());
        let mut then = derive(events);
        for member in &mut then.memberships {
            names.make_membership_nameless(member);
        }

        prop_assert_eq!(without_ids(&first.memberships), without_ids(&then.memberships));
        let numbers = |derived: &Derived| -> Vec<String> {
            let sessions = derived.sessions.iter();
            let numbers = sessions.map(|call| {
                let call = (&call.id, &call.slot_id, call.started_ms, call.until_ms, call.users,
                    call.devices, call.peak, call.peak_users, call.memberships);
                format!("{call:?}")
            });
            numbers.collect()
        };
        prop_assert_eq!(numbers(&first), numbers(&then));
        let rejected = |derived: &Derived| -> Vec<String> {
            derived.rejected.iter().map(|(id, _)| id.clone()).collect()
        };
        prop_assert_eq!(rejected(&first), rejected(&then));
    }
}
