//! Personal files are readable only by the owner of the process.

use crate::app::bed::Bed;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn the_database_is_for_its_owner_only() {
    let bed = Bed::new().await;
    let app = bed.start().await;
    app.ready().await;
    for name in ["callscope.db", "callscope.db-wal", "callscope.db-shm"] {
        let mode = std::fs::metadata(bed.folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    app.app.stop().await;
}
