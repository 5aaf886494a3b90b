//! A ring has the same outcome everywhere, and a call names doubts about its times, on each
//! database.

use crate::store::*;
use callscope::rtc::ring::{RingOutcome, outcome_of_ring};
use callscope::store::read::rings::{self, RingCounts};

const BEGIN: i64 = 1_700_000_000_000;
const SECOND: i64 = 1000;
const HOUR: i64 = 3_600_000;

fn member(id: &str, user: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": "org.matrix.msc3401.call.member",
        "state_key": format!("_{user}_D_m.call"),
        "sender": user, "origin_server_ts": BEGIN + at, "content": content})
}

fn joins(id: &str, user: &str, at: i64, call_id: &str) -> Value {
    let content = json!({"application": "m.call", "call_id": call_id, "device_id": "D",
        "expires": 4 * HOUR,
        "focus_active": {"type": "livekit"}});
    member(id, user, at, &content)
}

fn leaves(id: &str, user: &str, at: i64) -> Value {
    member(id, user, at, &json!({}))
}

fn rings(id: &str, at: i64, content: &Value) -> Value {
    json!({"event_id": id, "type": "org.matrix.msc4075.rtc.notification", "sender": "@ada:h",
        "origin_server_ts": BEGIN + at, "content": content})
}

async fn calls_of(store: &Writer) -> Vec<Call> {
    let mut calls = all_calls(store).await;
    calls.sort_by_key(|call| call.started_ms);

    calls
}

/// The room's ring counts; statistics and the caller's server must have the same.
async fn answer(store: &Writer) -> RingCounts {
    let span = Span {
        from: BEGIN - HOUR,
        to: BEGIN + HOUR,
    };

    let ask = async |scope: Scope<'_>| {
        rings::rings_within(store, scope, span, LATER, 100)
            .await
            .unwrap()
    };

    let room = ask(Scope::Room(ROOM)).await;
    assert_eq!(ask(Scope::All).await, room);
    assert_eq!(ask(Scope::Server("h")).await, room);

    room
}

/// The outcomes of each call's rings.
async fn outcomes(store: &Writer) -> Vec<Vec<RingOutcome>> {
    let mut all = Vec::new();
    for call in calls_of(store).await {
        let found = related::related_of_call(store, &call).await.unwrap();
        let members = members_of(store, std::slice::from_ref(&call)).await;
        let stays = || {
            members
                .iter()
                .map(|member| &member.stay)
                .map(|stay| (stay.user_id.as_str(), stay.joined_ms, stay.until_ms))
        };

        let ringing = found.iter().filter(|one| one.what.as_str() == "ring");
        all.push(
            ringing
                .map(|ring| outcome_of_ring(ring, stays(), &found, LATER).0)
                .collect(),
        );
    }

    all
}

async fn with(events: &[Value]) -> (Writer, Database) {
    let (store, place) = open().await;
    write_batch(&store, &Rules::default(), &batch(arrivals(events)))
        .await
        .unwrap();

    (store, place)
}

#[test]
fn a_ring_taken_when_its_call_had_ended_is_missed_everywhere() {
    block(async {
        let ring = json!({"notification_type": "ring", "lifetime": 30_000, "sender_ts": BEGIN + 500,
            "m.mentions": {"user_ids": ["@ben:b"]}, "m.relates_to": {"rel_type": "m.reference",
            "event_id": "$a1"}});
        let events = [
            joins("$a1", "@ada:h", 0, ""),
            rings("$ring", 500, &ring),
            leaves("$a2", "@ada:h", 8 * SECOND),
            joins("$b1", "@ben:b", 15 * SECOND, ""),
            leaves("$b2", "@ben:b", 60 * SECOND),
        ];
        let (store, place) = with(&events).await;
        let said = answer(&store).await;
        assert_eq!((said.sent, said.answered, said.missed), (1, 0, 1));
        assert_eq!(said.usual_answer_ms, None);
        assert_eq!(outcomes(&store).await, [vec![RingOutcome::Missed], vec![]]);

        let calls = calls_of(&store).await;
        let mut told = Vec::new();
        for call in &calls {
            told.push(related::late_answers(&store, call, LATER).await.unwrap());
        }

        assert_eq!(told[0], told[1], "both calls tell of each other");
        let late = &told[0][0];
        assert_eq!((late.user_id.as_str(), told[0].len()), ("@ben:b", 1));
        assert_eq!(
            (&late.ended_call_id, &late.late_call_id),
            (&calls[0].id, &calls[1].id)
        );
        assert_eq!(late.came_ms - late.ended_ms, 7 * SECOND);
        done(store, place).await;
    });
}

#[test]
fn a_ring_that_is_answered_while_the_caller_is_there_is_answered() {
    block(async {
        let events = [
            joins("$a1", "@ada:h", 0, ""),
            rings("$ring", 500, &json!({"lifetime": 30_000})),
            joins("$b1", "@ben:b", 15 * SECOND, ""),
            leaves("$a2", "@ada:h", 20 * SECOND),
            leaves("$b2", "@ben:b", 60 * SECOND),
        ];
        let (store, place) = with(&events).await;
        let said = answer(&store).await;
        assert_eq!((said.sent, said.answered), (1, 1), "no type is a ring");
        assert_eq!(outcomes(&store).await, [vec![RingOutcome::Answered]]);
        done(store, place).await;
    });
}

#[test]
fn a_ring_for_one_slot_is_not_answered_in_another_and_may_be_taken_back() {
    block(async {
        let key = "m.call#ROOM";
        let ring = json!({"slot_id": key, "msc4354_sticky_key": key, "lifetime": 90_000});
        let back = json!({"msc4354_sticky_key": key});
        let events = [
            joins("$a1", "@ada:h", 0, ""),
            joins("$b1", "@ben:b", 10 * SECOND, "other"),
            rings("$ring", 500, &ring),
            rings("$back", 20 * SECOND, &back),
            leaves("$a2", "@ada:h", 60 * SECOND),
            leaves("$b2", "@ben:b", 70 * SECOND),
        ];
        let (store, place) = with(&events).await;
        let said = answer(&store).await;
        assert_eq!((said.sent, said.withdrawn, said.silent), (1, 1, 0));
        assert_eq!(
            outcomes(&store).await,
            [vec![RingOutcome::Withdrawn], vec![]]
        );
        done(store, place).await;
    });
}

async fn only_origins(store: &Writer) -> (Member, evidence::Origins) {
    let calls = all_calls(store).await;
    let member = members_of(store, &calls).await.remove(0);
    let ids = [member.session_id.clone()];
    let origins = evidence::origins_of_calls(store, &ids).await.unwrap();
    let of_member = origins[&member.stay.id];

    (member, of_member)
}

#[test]
fn an_event_that_nobody_could_get_makes_the_end_a_span() {
    block(async {
        let mut left = leaves("$a3", "@ada:h", HOUR);
        left["unsigned"] = json!({"replaces_state": "$a2"});
        let events = [joins("$a1", "@ada:h", 0, ""), left];
        let (store, place) = with(&events).await;
        let (_, origins) = only_origins(&store).await;
        assert_eq!(origins.end.unwrap().lost_since_ms, Some(BEGIN));
        let span = Span {
            from: BEGIN - HOUR,
            to: BEGIN + 2 * HOUR,
        };

        let all = usage::sums_of_span(&store, Scope::All, span, LATER, &Gone::default())
            .await
            .unwrap();
        assert_eq!((all.calls, all.calls_exact), (1, 0));
        done(store, place).await;
    });
}

#[test]
fn a_goodbye_after_it_ran_out_is_a_sign_of_life_and_no_ghost() {
    block(async {
        let mut join = joins("$a1", "@ada:h", 0, "");
        join["content"]["expires"] = json!(HOUR);
        let events = [join, leaves("$a2", "@ada:h", 2 * HOUR)];
        let (store, place) = with(&events).await;
        let (member, _) = only_origins(&store).await;
        assert_eq!(
            (member.stay.until_ms, member.stay.outlived_ms),
            (BEGIN + HOUR, Some(BEGIN + 2 * HOUR))
        );
        let span = Span {
            from: BEGIN - HOUR,
            to: BEGIN + 3 * HOUR,
        };

        let ghosts = distributions::list_ran_out_stays(&store, "h", span, 9)
            .await
            .unwrap();
        assert!(ghosts.is_empty(), "{ghosts:?}");
        let (shown, _) = events::events_behind_call(&store, &member.session_id, 9)
            .await
            .unwrap();
        assert_eq!(shown.len(), 2, "the goodbye is shown");
        done(store, place).await;
    });
}

#[test]
fn a_stamp_from_before_the_room_makes_no_call_of_decades() {
    block(async {
        let create = json!({"event_id": "$create", "type": "m.room.create", "state_key": "",
            "sender": "@ada:h",
            "origin_server_ts": BEGIN - HOUR, "content": {}});
        let mut join = joins("$a1", "@ada:h", 0, "");
        join["origin_server_ts"] = json!(1000);
        join["content"]["expires"] = json!(LATER);
        join["_received_ts"] = json!(BEGIN);
        let events = [join, leaves("$a2", "@ada:h", HOUR)];
        let (store, place) = with(&events).await;
        assert_eq!(calls_of(&store).await[0].started_ms, 1000);
        write_batch(&store, &Rules::default(), &batch(arrivals(&[create])))
            .await
            .unwrap();
        let call = calls_of(&store).await.remove(0);
        assert_eq!((call.started_ms, call.until_ms), (BEGIN, BEGIN + HOUR));
        let (member, _) = only_origins(&store).await;
        assert!(member.stay.claimed, "and it is never exact");
        done(store, place).await;
    });
}
