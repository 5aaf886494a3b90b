//! One process per database: a second real process that is started by mistake does no harm.

use crate::app::bed::{Bed, now};
use crate::support::app::{App, Settings};
use crate::support::eventually;

const ALICE: &str = "@alice:sim.example";

/// The program's settings for a process of its own.
pub fn settings(bed: &Bed) -> Settings {
    bed.settings()
        .iter()
        .fold(Settings::default(), |settings, (key, value)| {
            settings.with(key, value)
        })
}

#[tokio::test]
async fn a_second_process_says_who_has_the_database_and_stops() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    let first = App::ready(&settings(&bed)).await;
    bed.joins(&room, ALICE, "AD", now());
    eventually("the call", 30, async || {
        (first.calls(&room).await.len() == 1).then_some(())
    })
    .await;

    let second = tokio::task::spawn_blocking({
        let settings = settings(&bed);
        move || settings.run(&[])
    });
    let second = second.await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("in use by another Callscope (process ")
            && said.contains("CALLSCOPE_DATABASE_URL"),
        "{said}"
    );
    assert!(!said.contains("listening on"), "{said}");

    bed.leaves(&room, ALICE, "AD", now());
    eventually("the first goes on", 30, async || {
        first.calls(&room).await[0]["ended_ms"]
            .is_i64()
            .then_some(())
    })
    .await;

    first.kill();
    let again = App::ready(&settings(&bed)).await;
    assert_eq!(
        again.calls(&room).await.len(),
        1,
        "a killed process leaves no lock behind"
    );
}
