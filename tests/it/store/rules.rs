//! Data from older rules is derived again in steps, and a stop between them loses nothing.

use crate::store::*;
use callscope::rtc::slot::SlotPolicy;
use callscope::store::derive::rederive::{self, RederiveStep};

const DEVICES: usize = 150;

/// Devices in one call, by sticky events; the slot policy decides whether they count.
fn sticky_joins() -> Vec<Value> {
    let join = |at: usize| {
        let (user, member) = (format!("@u{at}:h"), format!("M{at}"));
        json!({"event_id": format!("$s{at}"), "type": "m.rtc.member", "sender": user,
            "origin_server_ts": 1_700_000_000_000_i64 + i64::try_from(at).unwrap(),
            "msc4354_sticky": {"duration_ms": 3_600_000},
            "content": {"slot_id": "m.call#ROOM", "sticky_key": member,
            "application": {"type": "m.call"},
                "rtc_transports": [], "member": {"id": member, "device_id": "D", "user_id": user}}})
    };

    (0..DEVICES).map(join).collect()
}

async fn devices(store: &Writer) -> i64 {
    let calls = all_calls(store).await;

    calls.iter().map(|call| call.devices).sum()
}

#[test]
fn a_stop_in_the_midst_goes_on_where_it_was() {
    block(async {
        let (store, place) = open().await;
        let (usual, strict) = (
            Rules::default(),
            Rules {
                slot_policy: SlotPolicy::Required,
                ..Rules::default()
            },
        );
        write_all(&store, arrivals(&sticky_joins()), &[DEVICES]).await;
        assert_eq!(devices(&store).await, 150);
        rederive::find_stale_rooms(&store, &usual, LATER)
            .await
            .unwrap();
        assert_eq!(store.rederiving(), None, "it is from these rules");

        rederive::find_stale_rooms(&store, &strict, LATER)
            .await
            .unwrap();
        assert!(store.is_from_older_rules(ROOM));
        assert_eq!(
            rederive::rederive_next_part(&store, &strict).await.unwrap(),
            RederiveStep::Went
        );
        let halfway = store.rederiving().unwrap();
        assert!(
            halfway.events_done > 0 && halfway.events_done < 150,
            "{halfway:?}"
        );
        let left = devices(&store).await;
        assert!(left > 0 && left < 150, "{left} devices left");

        // The process has ended; another one continues at its place.
        rederive::find_stale_rooms(&store, &strict, LATER)
            .await
            .unwrap();
        let again = store.rederiving().unwrap();
        assert_eq!(
            (again.events_done, again.events_total),
            (halfway.events_done, 150)
        );
        let mut steps = 0;
        while rederive::rederive_next_part(&store, &strict).await.unwrap() != RederiveStep::AllDone
        {
            steps += 1;
        }

        assert!(steps <= 3, "{steps} steps: it began anew");
        assert_eq!((devices(&store).await, store.rederiving()), (0, None));

        // Back to the previous rules, with a stop before the end.
        rederive::find_stale_rooms(&store, &usual, LATER)
            .await
            .unwrap();
        rederive::rederive_next_part(&store, &usual).await.unwrap();
        rederive::find_stale_rooms(&store, &strict, LATER)
            .await
            .unwrap();
        assert!(store.is_from_older_rules(ROOM), "it is a mixture");
        while rederive::rederive_next_part(&store, &strict).await.unwrap() != RederiveStep::AllDone
        {
        }
        assert_eq!(devices(&store).await, 0);
        done(store, place).await;
    });
}
