//! A federation of five hundred servers with known faults: which findings are right, which are
//! wrong, and which are missing. A healthy month gives none.

use crate::store::{all_calls, done, open};
use callscope::rtc::broken_call::REJOIN_GRACE_MS;
use callscope::rtc::event::RoomEvent;
use callscope::rtc::finding_kind::{FindingKind, KINDS, Sureness};
use callscope::rtc::fold::Rules;
use callscope::rtc::words::{Source, Watch};
use callscope::store::findings::derive::{StoredFinding, derive_next_findings, findings_of_calls};
use callscope::store::findings::list::{FindingFilter, list_findings};
use callscope::store::ingest::batch::{Arrival, Batch, RoomBatch};
use callscope::store::ingest::probes::{AnswerState, RequestResult, SfuResult, record_result};
use callscope::store::ingest::write::write_batch;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const NOW: i64 = 1_795_358_836_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const SERVERS: u64 = 500;
const ROOMS: usize = 390;

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn between(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from).unwrap())).unwrap()
    }
}

/// A fault that is known: its kind, its room, and the first person whom it is about.
type Fault = (FindingKind, String, String);

/// What happened in one room.
struct Room {
    id: String,
    events: Vec<Value>,
    faults: BTreeSet<Fault>,
    /// SFUs that did not answer from one time to another.
    down: Vec<(String, i64, i64)>,
    /// SFUs that never answered, when they were asked first, and when last.
    dead: Vec<(String, i64, i64)>,
    nth: usize,
}

/// One device of a person.
#[derive(Clone)]
struct Device {
    user: String,
    name: String,
    sfu: Option<String>,
    /// It follows the SFU of the oldest member.
    follows: bool,
    /// It renews every hour, as clients of today do.
    renews: bool,
    call_id: String,
    /// The room of the SFU that it names, if it is not that of the others.
    alias: Option<String>,
}

impl Room {
    fn new(nth: usize) -> Self {
        Self {
            id: format!("!r{nth}:s{nth}.example"),
            events: Vec::new(),
            faults: BTreeSet::new(),
            down: Vec::new(),
            dead: Vec::new(),
            nth: 0,
        }
    }

    fn push(&mut self, kind: &str, sender: &str, key: &str, at_ms: i64, content: &Value) -> String {
        self.nth += 1;
        let id = format!("${}-{}", self.id, self.nth);
        self.events
            .push(json!({ "event_id": id, "type": kind, "sender": sender,
            "state_key": key, "origin_server_ts": at_ms, "content": content }));
        id
    }

    fn state(&mut self, one: &Device, created_ms: i64, at_ms: i64, expires: i64) {
        let foci: Vec<Value> = one
            .sfu
            .iter()
            .map(|sfu| {
                let alias = one.alias.as_ref().unwrap_or(&self.id);
                json!({ "type": "livekit", "livekit_alias": alias,
                "livekit_service_url": format!("https://{sfu}") })
            })
            .collect();
        let selection = if one.follows {
            "oldest_membership"
        } else {
            "multi_sfu"
        };
        let mut content = json!({ "application": "m.call", "call_id": one.call_id,
            "scope": "m.room", "device_id": one.name, "expires": expires,
            "focus_active": { "type": "livekit", "focus_selection": selection },
            "foci_preferred": foci });
        if at_ms > created_ms {
            content["created_ts"] = created_ms.into();
        }
        if one.renews {
            content["m.call.intent"] = "video".into();
        }

        let key = format!("_{}_{}_m.call{}", one.user, one.name, one.call_id);
        self.push(CALL, &one.user, &key, at_ms, &content);
    }

    /// A whole stay: it joins, renews every hour, and says goodbye.
    fn stay(&mut self, one: &Device, from_ms: i64, until_ms: i64) {
        self.live(one, from_ms, until_ms);
        self.leave(one, until_ms);
    }

    /// It joins, and renews until this time.
    fn live(&mut self, one: &Device, from_ms: i64, until_ms: i64) {
        self.state(one, from_ms, from_ms, 4 * HOUR);
        let mut at_ms = from_ms + HOUR;
        let mut expires = 8 * HOUR;
        while one.renews && at_ms < until_ms {
            self.state(one, from_ms, at_ms, expires);
            at_ms += HOUR;
            expires += 4 * HOUR;
        }
    }

    fn leave(&mut self, one: &Device, at_ms: i64) {
        let key = format!("_{}_{}_m.call{}", one.user, one.name, one.call_id);
        self.push(CALL, &one.user, &key, at_ms, &json!({}));
    }

    /// The person goes out of the room, or in.
    fn go(&mut self, user: &str, membership: &str, at_ms: i64) {
        let content = json!({ "membership": membership });
        self.push("m.room.member", user, user, at_ms, &content);
    }

    /// An event of 2023 that has all devices of a person.
    fn array(&mut self, devices: &[&Device], created_ms: &[i64], at_ms: i64) {
        let item = |(one, created_ms): (&&Device, &i64)| {
            json!({ "application": "m.call", "call_id": "", "scope": "m.room",
                "device_id": one.name, "expires": 4 * HOUR, "created_ts": created_ms })
        };
        let items: Vec<Value> = devices.iter().zip(created_ms).map(item).collect();
        let user = devices
            .first()
            .map_or("", |one| one.user.as_str())
            .to_owned();
        self.push(CALL, &user, &user, at_ms, &json!({ "memberships": items }));
    }

    fn fault(&mut self, kind: FindingKind, user: &str) {
        self.faults.insert((kind, self.id.clone(), user.to_owned()));
    }
}

const CALL: &str = "org.matrix.msc3401.call.member";

/// Somebody of any server, with the SFU of that server.
fn anybody(dice: &mut Dice, room: usize, nth: usize) -> Device {
    let server = dice.below(SERVERS);
    Device {
        user: format!("@u{room}x{nth}:s{server}.example"),
        name: format!("D{nth}"),
        sfu: Some(format!("sfu{server}.example")),
        follows: false,
        renews: true,
        call_id: String::new(),
        alias: None,
    }
}

/// Two devices of one person that share an event, each of which leaves the other in it.
fn add_call_of_2023(room: &mut Room, dice: &mut Dice, nth: usize) {
    let one = anybody(dice, nth, 80);
    let other = Device {
        name: "OTHER".to_owned(),
        ..one.clone()
    };
    let from_ms = NOW - 32 * DAY;
    let later_ms = from_ms + dice.between(1, 60) * MINUTE;
    room.array(&[&one], &[from_ms], from_ms);
    room.array(&[&one, &other], &[from_ms, later_ms], later_ms);
    room.array(&[&other], &[later_ms], later_ms + HOUR);
    let nobody = json!({ "memberships": [] });
    room.push(CALL, &one.user, &one.user, later_ms + 2 * HOUR, &nobody);
}

/// Calls as they are when all is well: of any size and length, with devices that come again.
fn add_healthy_calls(room: &mut Room, dice: &mut Dice, nth: usize) {
    add_call_of_2023(room, dice, nth);
    let mut at_ms = NOW - 30 * DAY + dice.between(0, DAY);
    while at_ms < NOW - 2 * DAY {
        let length_ms = dice.between(2 * MINUTE, 9 * HOUR);
        let follow = dice.below(3) == 0;
        let size = 1 + usize::try_from(dice.below(6)).unwrap();
        let mut joins_ms = at_ms;
        for person in 0..size {
            let mut one = anybody(dice, nth, person);
            one.follows = follow;
            // Those who follow the oldest member agree on one SFU.
            if follow && dice.below(2) == 0 {
                one.sfu = Some("shared.example".to_owned());
            }
            let until_ms = at_ms + length_ms + dice.between(0, 30 * SECOND);
            match dice.below(7) {
                // A goodbye, and out of the room.
                6 if joins_ms < until_ms => {
                    room.stay(&one, joins_ms, until_ms);
                    room.go(&one.user, "leave", until_ms + SECOND);
                    room.go(&one.user, "join", until_ms + MINUTE);
                }
                // A page that is loaded again.
                0 if until_ms - joins_ms > 4 * MINUTE => {
                    let middle_ms = dice.between(joins_ms + MINUTE, until_ms - MINUTE);
                    room.stay(&one, joins_ms, middle_ms);
                    room.stay(&one, middle_ms + 15 * SECOND, until_ms);
                }
                // A second device, such as a phone.
                1 => {
                    room.stay(&one, joins_ms, until_ms);
                    let phone = Device {
                        name: format!("P{person}"),
                        ..one.clone()
                    };
                    room.stay(&phone, joins_ms + 20 * SECOND, until_ms - SECOND);
                }
                _ if joins_ms < until_ms => room.stay(&one, joins_ms, until_ms),
                _ => {}
            }
            joins_ms += dice.between(4 * SECOND, 3 * MINUTE);
            if joins_ms > at_ms + length_ms - MINUTE {
                break;
            }
        }

        // Some hang up and call again a few minutes later.
        at_ms += length_ms + dice.between(3 * MINUTE, 3 * DAY);
    }

    // One call of now, in which everybody renews.
    if nth.is_multiple_of(10) {
        for person in 0..3 {
            let one = anybody(dice, nth, 50 + person);
            room.live(&one, NOW - 5 * HOUR + dice.between(0, 30 * MINUTE), NOW);
        }
    }
}

/// One fault, at a time when no other call runs in the room.
fn add_fault(room: &mut Room, dice: &mut Dice, nth: usize) {
    let at_ms = NOW - 36 * HOUR + dice.between(0, 4 * HOUR);
    let mut one = anybody(dice, nth, 90);
    let mut two = anybody(dice, nth, 91);
    one.sfu = Some(format!("one{nth}.example"));
    two.sfu = Some(format!("two{nth}.example"));
    let end_ms = at_ms + dice.between(20 * MINUTE, 3 * HOUR);
    match nth % 15 {
        0 => {
            one.follows = true;
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + MINUTE, end_ms - MINUTE);
            room.fault(FindingKind::Apart, &one.user);
        }
        1 => {
            room.live(&one, at_ms, at_ms + 1);
            room.stay(&two, at_ms + MINUTE, end_ms);
            room.fault(FindingKind::NoGoodbye, &one.user);
        }
        2 => {
            room.state(&one, NOW - 3 * HOUR, NOW - 3 * HOUR, 4 * HOUR);
            room.live(&two, NOW - 3 * HOUR, NOW);
            room.fault(FindingKind::Silent, &one.user);
        }
        3 => {
            (one.call_id, two.call_id) = ("a".to_owned(), "b".to_owned());
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + MINUTE, end_ms);
            room.fault(FindingKind::SideBySide, &one.user);
            room.fault(FindingKind::SideBySide, &two.user);
        }
        4 => {
            one.renews = false;
            room.state(&one, at_ms, at_ms, HOUR);
            room.stay(&two, at_ms + MINUTE, at_ms + 2 * HOUR);
            room.leave(&one, at_ms + HOUR + 20 * MINUTE);
            room.fault(FindingKind::RanOut, &one.user);
        }
        5 => {
            (one.follows, two.follows) = (true, true);
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + dice.between(100, 1900), end_ms);
            room.fault(FindingKind::OldestTie, &one.user);
        }
        6 => {
            one.follows = true;
            two.follows = true;
            room.live(&one, at_ms, at_ms + 1);
            room.stay(&two, at_ms + HOUR, at_ms + 2 * HOUR);
            room.fault(FindingKind::NoGoodbye, &one.user);
            room.fault(FindingKind::GhostOldest, &one.user);
        }
        7 => {
            one.sfu = None;
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + MINUTE, end_ms);
            room.fault(FindingKind::NoTransport, &one.user);
        }
        8 => {
            room.stay(&two, at_ms, at_ms + HOUR);
            for times in 0..6 {
                let from_ms = at_ms + MINUTE + times * 90 * SECOND;
                room.stay(&one, from_ms, from_ms + dice.between(5, 60) * SECOND);
            }
            room.fault(FindingKind::Flapping, &one.user);
        }
        9 => {
            let gap_ms = dice.between(3, 25) * SECOND;
            for device in [&one, &two] {
                room.stay(device, at_ms, end_ms);
                room.stay(device, end_ms + gap_ms, end_ms + gap_ms + HOUR);
            }
            let first = one.user.clone().min(two.user.clone());
            room.fault(FindingKind::BrokenCall, &first);
        }
        10 => {
            // Its SFU does not answer from the middle of the call on, or never did.
            two.sfu.clone_from(&one.sfu);
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + MINUTE, end_ms - MINUTE);
            let url = format!("https://one{nth}.example");
            if nth.is_multiple_of(2) {
                let middle_ms = i64::midpoint(at_ms, end_ms);
                room.down.push((url, middle_ms, end_ms + HOUR));
            } else {
                room.dead.push((url, at_ms - HOUR, end_ms));
            }
            // Another one that was down, while nobody was on it.
            room.down.push((
                format!("https://two{nth}.example"),
                at_ms - 3 * HOUR,
                at_ms - HOUR,
            ));
            let first = one.user.clone().min(two.user.clone());
            room.fault(FindingKind::DeadSfu, &first);
        }
        11 => {
            let mut three = anybody(dice, nth, 92);
            (two.sfu, three.sfu) = (one.sfu.clone(), one.sfu.clone());
            one.alias = Some("another".to_owned());
            room.stay(&one, at_ms, end_ms);
            room.stay(&two, at_ms + MINUTE, end_ms);
            room.stay(&three, at_ms + 2 * MINUTE, end_ms);
            room.fault(FindingKind::AliasDiffers, &one.user);
        }
        12 => {
            // Some went out while they were in the call, some a while ago and some just now; some
            // events were emptied by a moderator, some expired.
            let from_ms = if nth.is_multiple_of(2) {
                at_ms
            } else {
                NOW - 90 * MINUTE
            };
            let out_ms = from_ms + dice.between(2, 50) * MINUTE;
            room.live(&one, from_ms, out_ms);
            let membership = if nth % 4 < 2 { "leave" } else { "ban" };
            room.go(&one.user, membership, out_ms);
            room.stay(&two, from_ms, out_ms + dice.between(1, 30) * MINUTE);
            if nth.is_multiple_of(3) {
                let key = format!("_{}_{}_m.call", one.user, one.name);
                let emptied_ms = out_ms + dice.between(3, 10) * MINUTE;
                room.push(CALL, "@mod:mods.example", &key, emptied_ms, &json!({}));
            }
            room.fault(FindingKind::LeftOver, &one.user);
        }
        13 => {
            let phone = Device {
                name: "PHONE".to_owned(),
                ..one.clone()
            };
            room.array(&[&one], &[at_ms], at_ms);
            room.array(&[&phone], &[at_ms + 5 * MINUTE], at_ms + 5 * MINUTE);
            room.push(
                CALL,
                &one.user,
                &one.user,
                end_ms,
                &json!({ "memberships": [] }),
            );
            room.fault(FindingKind::Overwritten, &one.user);
        }
        _ => {
            room.live(&one, at_ms, at_ms + 1);
            room.stay(&two, at_ms + MINUTE, end_ms);
            let server = one.user.split_once(':').unwrap().1.to_owned();
            room.push(
                "m.room.server_acl",
                "@mod:mods.example",
                "",
                at_ms + 5 * MINUTE,
                &json!({ "allow": ["*"], "deny": [server], "allow_ip_literals": false }),
            );
            room.fault(FindingKind::ServerDenied, &one.user);
            room.fault(FindingKind::NoGoodbye, &one.user);
        }
    }
}

/// The findings of all calls of these rooms.
async fn findings(rooms: &[Room]) -> Vec<StoredFinding> {
    let (store, database) = open().await;
    for chunk in rooms.chunks(50) {
        let batch = |room: &Room| RoomBatch {
            arrivals: room
                .events
                .iter()
                .map(|json| Arrival {
                    event: RoomEvent::from_json(json, None).unwrap().into(),
                    json: json.to_string(),
                    in_timeline: true,
                })
                .collect(),
            watch: Some(Watch::Joined),
            ..RoomBatch::new(&room.id, Source::Sync)
        };
        let batch = Batch {
            vantage_id: "v".into(),
            seen_ms: NOW,
            position: Some("s".into()),
            rooms: chunk.iter().map(batch).collect(),
            invitations: vec![],
        };
        write_batch(&store, &Rules::default(), &batch)
            .await
            .unwrap();
    }

    for (url, from_ms, until_ms) in rooms.iter().flat_map(|room| &room.down) {
        for (at_ms, state) in [
            (from_ms - DAY, AnswerState::Ok),
            (*from_ms, AnswerState::Failed),
            // What one probe finds is not believed.
            (i64::midpoint(*from_ms, *until_ms), AnswerState::Failed),
            (*until_ms, AnswerState::Ok),
        ] {
            let result = SfuResult {
                health: RequestResult { state, why: None },
                took_ms: None,
                delegates_leave: None,
                cors: None,
            };
            record_result(&store, url, &result, at_ms).await.unwrap();
        }
    }

    for (url, first_ms, last_ms) in rooms.iter().flat_map(|room| &room.dead) {
        for at_ms in [first_ms, last_ms] {
            let result = SfuResult {
                health: RequestResult {
                    state: AnswerState::Failed,
                    why: None,
                },
                took_ms: None,
                delegates_leave: None,
                cors: None,
            };
            record_result(&store, url, &result, *at_ms).await.unwrap();
        }
    }

    let calls = all_calls(&store).await;
    println!("{} calls in {} rooms", calls.len(), rooms.len());
    let mut found = Vec::new();
    for calls in calls.chunks(200) {
        let new = findings_of_calls(&store, calls.to_vec(), NOW, REJOIN_GRACE_MS).await;
        found.extend(new.unwrap());
    }

    // What is derived in the background is the same.
    while derive_next_findings(&store, NOW, REJOIN_GRACE_MS)
        .await
        .unwrap()
    {}
    let stored = list_findings(&store, &FindingFilter::default(), None, 100_000).await;
    let ids = |found: &[StoredFinding]| -> BTreeSet<String> {
        let over = found.iter().filter(|one| one.until_ms.is_some());
        over.map(|one| one.id.clone()).collect()
    };
    let running: BTreeSet<&String> = calls
        .iter()
        .filter(|call| call.until_ms >= NOW)
        .map(|call| &call.id)
        .collect();
    let over: Vec<StoredFinding> = found
        .iter()
        .filter(|one| !running.contains(&one.call_id))
        .cloned()
        .collect();
    assert_eq!(ids(&stored.unwrap()), ids(&over));
    done(store, database).await;

    found
}

#[tokio::test]
async fn known_faults_are_found_and_nothing_else() {
    let mut dice = Dice(7);
    let rooms: Vec<Room> = (0..ROOMS)
        .map(|nth| {
            let mut room = Room::new(nth);
            add_healthy_calls(&mut room, &mut dice, nth);
            add_fault(&mut room, &mut dice, nth);
            room
        })
        .collect();
    let known: BTreeSet<Fault> = rooms.iter().flat_map(|room| room.faults.clone()).collect();
    let mut found: BTreeSet<Fault> = BTreeSet::new();
    for finding in findings(&rooms).await {
        // What is only perhaps so says so.
        if finding.sure != Sureness::Perhaps {
            let first = finding.users.first().cloned().unwrap_or_default();
            let is_known = |user: &String| {
                known.contains(&(finding.kind, finding.room_id.clone(), user.clone()))
            };
            let other = finding.users.iter().find(|user| is_known(user));
            let first = match other {
                Some(other) if !is_known(&first) => other.clone(),
                _ => first,
            };
            found.insert((finding.kind, finding.room_id, first));
        }
    }

    let mut wrong = Vec::new();
    let mut told: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for entry in KINDS {
        let of_kind = |faults: &BTreeSet<Fault>| -> BTreeSet<Fault> {
            let same = faults.iter().filter(|fault| fault.0 == entry.kind);
            same.cloned().collect()
        };
        let (known, found) = (of_kind(&known), of_kind(&found));
        let right = known.intersection(&found).count();
        told.insert(entry.kind.as_str(), (right, found.len(), known.len()));
        if known.is_empty() && found.is_empty() {
            continue;
        }

        let part = |of: usize| {
            f64::from(u32::try_from(right).unwrap()) / f64::from(u32::try_from(of.max(1)).unwrap())
        };
        let (precision, recall) = (part(found.len()), part(known.len()));
        println!(
            "{:<18} precision {precision:.3} ({right}/{}), recall {recall:.3} ({right}/{})",
            entry.kind.as_str(),
            found.len(),
            known.len()
        );
        let least = if entry.is_certain { 1.0 } else { 0.95 };
        if precision < least || recall < 0.95 {
            let extra: Vec<&Fault> = found.difference(&known).take(3).collect();
            let missing: Vec<&Fault> = known.difference(&found).take(3).collect();
            wrong.push(format!("{}: {extra:?}, missing {missing:?}", entry.kind));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_healthy_month_gives_nothing() {
    let mut dice = Dice(11);
    let rooms: Vec<Room> = (0..ROOMS / 2)
        .map(|nth| {
            let mut room = Room::new(nth);
            add_healthy_calls(&mut room, &mut dice, nth);
            room
        })
        .collect();
    let found = findings(&rooms).await;
    assert!(
        found.is_empty(),
        "{} {:?}",
        found.len(),
        &found[..found.len().min(3)]
    );
}

#[tokio::test]
async fn what_is_left_over_ends_when_it_is_emptied_or_its_person_comes_back() {
    let from_ms = NOW - 3 * HOUR;
    let out_ms = from_ms + 20 * MINUTE;
    let mut dice = Dice(5);
    let one = anybody(&mut dice, 0, 1);
    let key = format!("_{}_{}_m.call", one.user, one.name);
    let gone = || {
        let mut room = Room::new(0);
        room.live(&one, from_ms, out_ms);
        room.go(&one.user, "leave", out_ms);
        room
    };
    let ends = async |room: Room| {
        let found = findings(&[room]).await;
        let of_kind = found.iter().filter(|one| one.kind == FindingKind::LeftOver);
        of_kind.map(|one| one.until_ms).collect::<Vec<_>>()
    };

    assert_eq!(ends(gone()).await, [Some(from_ms + 4 * HOUR)], "it stands");
    let later_ms = out_ms + 10 * MINUTE;
    let mut emptied = gone();
    emptied.push(CALL, "@mod:mods.example", &key, later_ms, &json!({}));
    assert_eq!(ends(emptied).await, [Some(later_ms)]);
    // Somebody else is there all the time, so that the call goes on.
    let mut back = gone();
    let other = anybody(&mut dice, 0, 2);
    back.live(&other, from_ms, NOW);
    back.go(&one.user, "join", later_ms);
    assert_eq!(ends(back).await, [Some(later_ms)], "it counts again");
    let mut soon = gone();
    soon.push(CALL, "@mod:mods.example", &key, out_ms + SECOND, &json!({}));
    assert_eq!(ends(soon).await, [], "it was taken away with them");
}
