//! Ghosts: stays that still count although the device is probably gone, and the signs of that.
//!
//! A client that is killed says goodbye only if its homeserver does it for it (MSC4140). Otherwise
//! the membership counts until it expires, for hours. Silence alone proves nothing: clients renew a
//! membership every hour since matrix-js-sdk 39.1, every four hours before, and some never. So two
//! things are needed: silence, and a sign that this client would have renewed by now or that
//! nothing can say goodbye for it.

use super::words::words;
use serde_json::Value;

/// Clients renew a membership every hour at the latest since matrix-js-sdk 39.1, older ones every
/// four hours.
pub const RENEWED_MS: i64 = 3_600_000;
/// A renewal that is late by no more than this, ms, may still be on its way.
pub const OVERDUE_MS: i64 = 300_000;
/// What one renewal adds to the expiry, ms: 4 h, in all clients in use. So it is also how long a
/// membership lasts that is never renewed.
const TERM_MS: i64 = 4 * RENEWED_MS;
/// An `expires` above this is a time, ms, not a length; and no client that renews hourly writes it
/// so.
const LENGTH_MAX_MS: i64 = 100_000_000_000;
/// Maximum average time between two renewals of a client that renews every hour, ms.
const HOURLY_MS: i64 = 2 * RENEWED_MS;
/// Minimum number of ended stays for a statement about a server.
const ENDED_MIN: i64 = 30;
/// A server counts as losing goodbyes if at least one of this many stays had none.
const LOST_ONE_OF: i64 = 5;

words! {
    /// A sign that a silent device is gone.
    pub enum GhostSign {
        /// It came back with the start of a stay that had already ended: a renewal after a goodbye,
        /// so no delayed leave is set up for it.
        CameBack = "came_back",
        /// It renewed every hour until then.
        RenewedHourly = "renewed_hourly",
        /// Its event has fields that only clients with hourly renewal write.
        HourlyClient = "hourly_client",
        /// Its homeserver does not support delayed events: nothing says goodbye for a client that
        /// is killed.
        NoDelayedEvents = "no_delayed_events",
        /// The same person joined later with another device, which is still here.
        OtherDevice = "other_device",
        /// Its homeserver is known to lose goodbyes: many of its stays ended only by expiry.
        LosesGoodbyes = "loses_goodbyes",
    }
}

impl GhostSign {
    /// All signs, the strongest first.
    pub const ALL: [Self; 6] = [
        Self::CameBack,
        Self::RenewedHourly,
        Self::HourlyClient,
        Self::NoDelayedEvents,
        Self::OtherDevice,
        Self::LosesGoodbyes,
    ];
}

words! {
    /// What kind of ghost it is, which decides what helps.
    pub enum GhostClass {
        /// The room takes no leave from it any more: by its power levels or its server ACL.
        Muzzled = "muzzled",
        /// The same person came later with another device.
        Superseded = "superseded",
        /// It expired; its event is still in the state of the room, which clients ignore.
        Expired = "expired",
        /// It still counts, and a sign or its silence says that it is gone.
        Gone = "gone",
        /// Its person left the room; its event is still in the state, which clients ignore.
        Left = "left",
        /// Another device of the same person wrote over its event.
        Overwritten = "overwritten",
    }
}

impl GhostClass {
    /// In a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Muzzled => "The room takes no leave from it any more",
            Self::Superseded => "The same person came later with another device",
            Self::Expired => "It expired; its event is still in the state of the room",
            Self::Gone => "It still counts, and is probably gone",
            Self::Left => "Its person left the room; its event is still in the state",
            Self::Overwritten => "Another device of the same person wrote over its event",
        }
    }
}

/// How the stays of a homeserver ended lately: their number, and how many ended only by expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Goodbyes {
    pub ended: i64,
    pub missed: i64,
}

impl Goodbyes {
    /// Is the server known to lose goodbyes: of enough ended stays, one in five or more had none?
    #[must_use]
    pub fn are_lost(&self) -> bool {
        self.ended >= ENDED_MIN && self.missed.saturating_mul(LOST_ONE_OF) >= self.ended
    }
}

/// Evidence about a stay from outside it. Unknown facts are `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clues {
    /// The result of [`is_by_hourly_client`] for the last event.
    pub is_hourly_client: bool,
    /// The result of [`has_come_back`].
    pub came_back: bool,
    /// It is on our own homeserver, which reported that it does not support delayed events.
    pub has_no_delayed_events: bool,
    pub goodbyes: Goodbyes,
}

/// The properties of a stay that decide about its silence. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilentStay {
    pub joined_ms: i64,
    /// When it expires unless renewed.
    pub until_ms: i64,
    /// Its last event.
    pub last_sign_ms: i64,
    /// Renewals so far.
    pub updates: i64,
    /// Its format is one that usual clients renew every few hours: the call format of today.
    pub is_renewed_by_hours: bool,
    /// The same person is here with a device that joined after the last sign of this one.
    pub is_elsewhere: bool,
}

/// How sure it is that a silent device is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GhostDoubt {
    /// A renewal is overdue, and these signs show that the client is not one that renews later.
    Probable(Vec<GhostSign>),
    /// A renewal is overdue, but no sign tells which client it is.
    Possible,
}

impl GhostDoubt {
    #[must_use]
    pub fn is_probable(&self) -> bool {
        matches!(self, Self::Probable(_))
    }
}

/// How sure it is that the device of a stay that counts at `now`, ms, is gone; `None` if no renewal
/// is overdue, or if its client is not known to renew at all.
#[must_use]
pub fn doubt_about_stay(stay: &SilentStay, clues: &Clues, now: i64) -> Option<GhostDoubt> {
    if !is_overdue(stay, now) {
        return None;
    }

    if !stay.is_renewed_by_hours && !clues.is_hourly_client {
        return None;
    }

    let is_there = |sign: &GhostSign| match sign {
        GhostSign::CameBack => clues.came_back,
        GhostSign::RenewedHourly => has_renewed_hourly(stay),
        GhostSign::HourlyClient => clues.is_hourly_client,
        GhostSign::NoDelayedEvents => clues.has_no_delayed_events,
        GhostSign::OtherDevice => stay.is_elsewhere,
        GhostSign::LosesGoodbyes => clues.goodbyes.are_lost(),
    };

    let signs: Vec<GhostSign> = GhostSign::ALL.into_iter().filter(is_there).collect();

    if signs.is_empty() {
        Some(GhostDoubt::Possible)
    } else {
        Some(GhostDoubt::Probable(signs))
    }
}

/// When the next renewal after the last sign is due, ms, for a client that renews every hour.
#[must_use]
pub fn renewal_due_ms(last_sign_ms: i64) -> i64 {
    last_sign_ms.saturating_add(RENEWED_MS)
}

/// Does the stay still count at `now`, ms, although a client that renews every hour would have
/// renewed by then?
#[must_use]
pub fn is_overdue(stay: &SilentStay, now: i64) -> bool {
    let last = stay.last_sign_ms.max(stay.joined_ms);
    stay.until_ms > now && now > renewal_due_ms(last).saturating_add(OVERDUE_MS)
}

/// Did the client of this stay renew every hour? Each renewal moves the end by one term of four
/// hours, whenever it comes. So only a client that renews more often is more than one term ahead.
fn has_renewed_hourly(stay: &SilentStay) -> bool {
    let last = stay.last_sign_ms.max(stay.joined_ms);
    let is_ahead = stay.until_ms.saturating_sub(last) > TERM_MS + OVERDUE_MS;
    let is_often = last.saturating_sub(stay.joined_ms) <= stay.updates.saturating_mul(HOURLY_MS);
    is_ahead && stay.updates > 0 && is_often
}

/// Was this content written by a client that renews every hour? `origin_ms` is the event's
/// timestamp. Three signs tell, each written only by such clients. (1) `membershipID`:
/// matrix-js-sdk since 40. (2) An intent beside an `expires` that is a multiple of four hours: the
/// intent is written since 38, hourly renewal came with 39.1, and no client of today is older. (3)
/// Such an `expires` that is longer than the age of the membership allows for any other client.
#[must_use]
pub fn is_by_hourly_client(content: &Value, origin_ms: i64) -> bool {
    let Some(expires) = content.get("expires").and_then(Value::as_i64) else {
        return false;
    };

    let has_text = |key: &str| content.get(key).is_some_and(Value::is_string);
    let has_form =
        has_text("application") && content.get("focus_active").is_some_and(Value::is_object);
    if !has_form || !(1..=LENGTH_MAX_MS).contains(&expires) {
        return false;
    }

    if has_text("membershipID") {
        return true;
    }

    let is_usual = expires % TERM_MS == 0;

    is_usual && (has_text("m.call.intent") || is_far_ahead(content, expires, origin_ms))
}

/// Is the end more than one term (4 h) after this event? A client that renews once per term never
/// states that. `expires` is the whole length since `created_ts`, ms.
fn is_far_ahead(content: &Value, expires: i64, origin_ms: i64) -> bool {
    let Some(created) = content.get("created_ts").and_then(Value::as_i64) else {
        return false;
    };

    let age = origin_ms.saturating_sub(created);

    age >= 0 && expires.saturating_sub(age) > TERM_MS + OVERDUE_MS
}

/// Did a stay with this first content begin with a renewal after a goodbye? `goodbye_ms` is when
/// the last goodbye on the same key before it came, ms, if any. The renewal still has the
/// `created_ts` of the stay that had ended.
#[must_use]
pub fn has_come_back(content: &Value, goodbye_ms: Option<i64>) -> bool {
    let created = content.get("created_ts").and_then(Value::as_i64);
    created
        .zip(goodbye_ms)
        .is_some_and(|(created, goodbye)| created < goodbye)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOUR: i64 = RENEWED_MS;

    fn killed() -> SilentStay {
        SilentStay {
            joined_ms: 0,
            until_ms: 4 * HOUR,
            last_sign_ms: 0,
            updates: 0,
            is_renewed_by_hours: true,
            is_elsewhere: false,
        }
    }

    fn signs(stay: SilentStay, clues: Clues) -> Vec<GhostSign> {
        match doubt_about_stay(&stay, &clues, 2 * HOUR) {
            Some(GhostDoubt::Probable(signs)) => signs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn silence_alone_is_no_sign() {
        let nothing = Clues::default();
        let due = HOUR + OVERDUE_MS;
        assert_eq!(
            doubt_about_stay(&killed(), &nothing, due),
            None,
            "not late yet"
        );
        assert_eq!(
            doubt_about_stay(&killed(), &nothing, due + 1),
            Some(GhostDoubt::Possible)
        );
        assert_eq!(
            doubt_about_stay(&killed(), &nothing, 4 * HOUR),
            None,
            "it ran out"
        );
        let heard = SilentStay {
            last_sign_ms: HOUR,
            ..killed()
        };

        assert_eq!(
            doubt_about_stay(&heard, &nothing, 2 * HOUR),
            None,
            "it renewed"
        );
    }

    #[test]
    fn each_sign_makes_it_probable_a_few_minutes_after_the_renewal_was_due() {
        let lost = Goodbyes {
            ended: 30,
            missed: 6,
        };

        let clues = [
            (
                GhostSign::CameBack,
                Clues {
                    came_back: true,
                    ..Clues::default()
                },
            ),
            (
                GhostSign::HourlyClient,
                Clues {
                    is_hourly_client: true,
                    ..Clues::default()
                },
            ),
            (
                GhostSign::NoDelayedEvents,
                Clues {
                    has_no_delayed_events: true,
                    ..Clues::default()
                },
            ),
            (
                GhostSign::LosesGoodbyes,
                Clues {
                    goodbyes: lost,
                    ..Clues::default()
                },
            ),
        ];
        for (sign, clues) in clues {
            assert_eq!(signs(killed(), clues), [sign]);
            let due = HOUR + OVERDUE_MS;
            assert_eq!(doubt_about_stay(&killed(), &clues, due), None, "{sign:?}");
            let soon = doubt_about_stay(&killed(), &clues, due + 1);
            assert_eq!(soon, Some(GhostDoubt::Probable(vec![sign])));
        }

        let elsewhere = SilentStay {
            is_elsewhere: true,
            ..killed()
        };

        assert_eq!(signs(elsewhere, Clues::default()), [GhostSign::OtherDevice]);
    }

    #[test]
    fn who_renewed_every_hour_would_have_done_so_again() {
        let renewed = SilentStay {
            until_ms: 7 * HOUR,
            last_sign_ms: HOUR,
            updates: 1,
            ..killed()
        };

        let found = |stay| doubt_about_stay(&stay, &Clues::default(), 3 * HOUR);
        assert_eq!(
            found(renewed),
            Some(GhostDoubt::Probable(vec![GhostSign::RenewedHourly]))
        );
        let long = SilentStay {
            until_ms: 24 * HOUR,
            last_sign_ms: 0,
            updates: 0,
            ..renewed
        };

        assert_eq!(
            found(long),
            Some(GhostDoubt::Possible),
            "a long term is no renewal"
        );
        let daily = SilentStay {
            until_ms: 48 * HOUR,
            last_sign_ms: 24 * HOUR,
            ..renewed
        };

        assert_eq!(
            doubt_about_stay(&daily, &Clues::default(), 27 * HOUR),
            Some(GhostDoubt::Possible),
            "it renewed once a day"
        );
    }

    #[test]
    fn signs_add_up_and_the_strongest_comes_first() {
        let clues = Clues {
            is_hourly_client: true,
            came_back: true,
            has_no_delayed_events: true,
            goodbyes: Goodbyes {
                ended: 100,
                missed: 90,
            },
        };

        let all = SilentStay {
            until_ms: 12 * HOUR,
            updates: 3,
            is_elsewhere: true,
            ..killed()
        };

        assert_eq!(signs(all, clues), GhostSign::ALL);
        assert!(GhostSign::ALL.is_sorted());

        for sign in GhostSign::ALL {
            assert_eq!(sign.as_str().parse(), Ok(sign));
        }
    }

    #[test]
    fn what_is_not_renewed_by_hours_is_no_ghost_for_being_silent() {
        let board = SilentStay {
            is_renewed_by_hours: false,
            ..killed()
        };

        let clues = Clues {
            has_no_delayed_events: true,
            ..Clues::default()
        };

        assert_eq!(doubt_about_stay(&board, &clues, 3 * HOUR), None);
        let known = Clues {
            is_hourly_client: true,
            ..Clues::default()
        };

        assert_eq!(signs(board, known), [GhostSign::HourlyClient]);
    }

    #[test]
    fn a_server_is_known_to_lose_goodbyes_only_by_enough_of_them() {
        let lost = |ended, missed| Goodbyes { ended, missed }.are_lost();
        assert!(lost(30, 6) && lost(1000, 900));
        assert!(!lost(29, 29), "too few to say");
        assert!(!lost(30, 5), "so many run out everywhere");
        assert!(!lost(0, 0));
    }

    #[test]
    fn clients_that_renew_every_hour_are_known_by_what_they_write() {
        let content = |more: Value| {
            let mut content = json!({ "application": "m.call", "call_id": "", "device_id": "D",
                "expires": 14_400_000, "focus_active": { "type": "livekit" } });
            let more = more.as_object().cloned().unwrap_or_default();
            content.as_object_mut().unwrap().extend(more);
            content
        };

        let hourly = |more| is_by_hourly_client(&content(more), 10 * HOUR);
        assert!(hourly(json!({ "membershipID": "@a:h:D" })));
        assert!(hourly(json!({ "m.call.intent": "audio" })));
        assert!(!hourly(json!({})), "so did clients that renew later");
        assert!(!hourly(json!({ "membershipID": 7 })));
        assert!(
            !hourly(json!({ "membershipID": "x", "expires": 1_795_795_200_000_i64 })),
            "another kind of client"
        );
        assert!(!hourly(
            json!({ "membershipID": "x", "expires": "14400000" })
        ));
        let renewed = |expires: i64, created_ts: i64| {
            hourly(json!({ "expires": expires, "created_ts": created_ts }))
        };

        assert!(renewed(3 * TERM_MS, 8 * HOUR), "twelve hours after two");
        assert!(!renewed(2 * TERM_MS, 6 * HOUR), "renewed once in a term");
        assert!(!renewed(TERM_MS, 10 * HOUR));
        assert!(!renewed(2 * TERM_MS, 11 * HOUR), "a start in the future");

        for odd in [
            json!(null),
            json!([]),
            json!({ "expires": i64::MIN }),
            json!({ "expires": 1e300 }),
        ] {
            assert!(!is_by_hourly_client(&odd, i64::MAX));
        }
    }

    #[test]
    fn a_renewal_after_a_goodbye_came_back() {
        let renewal = json!({ "created_ts": 100 });
        assert!(has_come_back(&renewal, Some(150)));
        assert!(!has_come_back(&renewal, Some(100)), "a stay after it");
        assert!(!has_come_back(&renewal, None), "nobody said goodbye");
        assert!(!has_come_back(&json!({}), Some(150)), "a join");
    }
}
