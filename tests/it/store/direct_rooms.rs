//! The direct rooms in which people get their codes.

use crate::support::database::Database;
use callscope::store::Writer;
use callscope::store::ingest::direct_rooms::{
    DirectRoom, add_direct_room, find_direct_room, list_direct_rooms, set_left,
};

#[tokio::test]
async fn a_room_that_another_one_took_the_place_of_stays_known() {
    let database = Database::new().await;
    let store = Writer::open(database.url()).await.unwrap();
    let add = async |room_id, user_id| {
        add_direct_room(&store, room_id, user_id, 1).await.unwrap();
    };
    // Heard of before its making was answered.
    add("!one:x", None).await;
    add("!one:x", Some("@a:y")).await;
    add("!one:x", None).await;
    set_left(&store, "!one:x", Some(7)).await.unwrap();
    let found = find_direct_room(&store, "@a:y").await.unwrap();
    let one = DirectRoom {
        room_id: "!one:x".into(),
        left_ms: Some(7),
    };
    assert_eq!(found, Some(one));

    add("!two:x", Some("@a:y")).await;
    add("!three:x", Some("@a:y")).await;
    set_left(&store, "!three:x", None).await.unwrap();
    let found = find_direct_room(&store, "@a:y").await.unwrap().unwrap();
    assert_eq!((&*found.room_id, found.left_ms), ("!three:x", None));
    let mut all = list_direct_rooms(&store).await.unwrap();
    all.sort();
    assert_eq!(all, ["!one:x", "!three:x", "!two:x"]);
}
