//! Backup and restore with the real program: a copy while it runs, and the cases in which a restore
//! refuses.

use crate::app::alone::settings;
use crate::app::bed::{Bed, now};
use crate::support::app::{App, Settings};
use crate::support::eventually;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const ALICE: &str = "@alice:sim.example";

/// Runs a command; returns its exit code and all its output.
async fn run(settings: &Settings, command: &str, file: &Path) -> (Option<i32>, String) {
    let (settings, command, file) = (
        settings.clone(),
        command.to_owned(),
        file.to_str().unwrap().to_owned(),
    );
    let run = tokio::task::spawn_blocking(move || settings.run(&[&command, &file]));
    let output = run.await.unwrap();
    let said = [output.stdout, output.stderr].concat();

    (output.status.code(), String::from_utf8(said).unwrap())
}

async fn has_calls(app: &App, room: &str, count: usize) {
    eventually("the calls", 30, async || {
        (app.calls(room).await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_running_server_is_taken_back() {
    let bed = Bed::new().await;
    let room = bed.room(&[ALICE]);
    bed.joins(&room, ALICE, "AD", now() - 5000);
    bed.leaves(&room, ALICE, "AD", now() - 4000);
    let settings = settings(&bed);
    let (copy, path) = (bed.folder.path().join("copy.db"), bed.folder.path());

    let app = App::ready(&settings).await;
    has_calls(&app, &room, 1).await;
    let (code, said) = run(&settings, "backup", &copy).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("1 room, ") && said.contains("1 call, "),
        "{said}"
    );
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (code, said) = run(&settings, "backup", &copy).await;
    assert!(code == Some(1) && said.contains("File exists"), "{said}");

    bed.joins(&room, ALICE, "AD", now() - 3000);
    bed.leaves(&room, ALICE, "AD", now() - 2000);
    has_calls(&app, &room, 2).await;
    let (code, said) = run(&settings, "restore", &copy).await;
    assert!(
        code == Some(1) && said.contains("in use by another Callscope"),
        "{said}"
    );
    app.kill();

    let (code, said) = run(&settings, "restore", &copy).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("1 call,") && said.contains("before-restore-"),
        "{said}"
    );
    let names = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| !name.ends_with("-shm")).collect();
    let aside = names
        .iter()
        .find(|name| name.contains("before-restore") && !name.ends_with("-wal"))
        .unwrap();
    assert!(
        names
            .iter()
            .all(|name| !name.contains("partial") && !name.contains("restoring")),
        "{names:?}"
    );
    let old = settings.clone().without("CALLSCOPE_DATABASE_URL");
    let old = old.with(
        "CALLSCOPE_DATABASE_URL",
        &format!("sqlite://{}", path.join(aside).display()),
    );
    let (code, said) = run(&old, "backup", &path.join("old.db")).await;
    assert!(
        code == Some(0) && said.contains("2 calls"),
        "the old one is whole, its log too: {said}"
    );

    let app = App::ready(&settings).await;
    has_calls(&app, &room, 2).await;
}

#[tokio::test]
async fn what_is_no_copy_is_refused_and_nothing_changes() {
    let bed = Bed::new().await;
    bed.start().await.app.stop().await;
    let settings = settings(&bed);
    let at = |name: &str| bed.folder.path().join(name);
    let before = std::fs::read(at("callscope.db")).unwrap();
    let (code, said) = run(&settings, "backup", &at("good.db")).await;
    assert_eq!(code, Some(0), "{said}");

    std::fs::write(at("empty.db"), "").unwrap();
    std::fs::write(at("text.db"), "hello").unwrap();
    let good = std::fs::read(at("good.db")).unwrap();
    std::fs::write(at("short.db"), &good[..good.len() / 2]).unwrap();
    for (name, sql) in [
        ("foreign.db", "drop table _sqlx_migrations"),
        (
            "newer.db",
            "insert into _sqlx_migrations values (9999, 'x', current_timestamp, true, x'00', 0)",
        ),
    ] {
        std::fs::write(at(name), &good).unwrap();
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&format!("sqlite://{}", at(name).display()))
            .await
            .unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    for (name, why) in [
        ("none.db", "No such file"),
        ("empty.db", "not a database of Callscope"),
        ("text.db", "it is damaged"),
        ("short.db", "damaged"),
        ("foreign.db", "not a database of Callscope"),
        ("newer.db", "newer version"),
    ] {
        let (code, said) = run(&settings, "restore", &at(name)).await;
        assert!(code == Some(1) && said.contains(why), "{name}: {said}");
    }

    assert!(
        std::fs::read(at("callscope.db")).unwrap() == before,
        "the database is as it was"
    );
    let postgres = settings
        .without("CALLSCOPE_DATABASE_URL")
        .with("CALLSCOPE_DATABASE_URL", "postgres://h/x");

    for command in ["backup", "restore"] {
        let (code, said) = run(&postgres, command, &at("good.db")).await;
        assert!(
            code == Some(1) && said.contains("pg_dump") && said.contains("pg_restore"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn what_a_restore_keeps_is_never_overwritten() {
    let bed = Bed::new().await;
    bed.start().await.app.stop().await;
    let (settings, path) = (settings(&bed), bed.folder.path());
    assert_eq!(
        run(&settings, "backup", &path.join("copy.db")).await.0,
        Some(0)
    );
    let kept = || {
        std::fs::read_dir(path)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>()
    };

    for _ in 0..4 {
        assert_eq!(
            run(&settings, "restore", &path.join("copy.db")).await.0,
            Some(0)
        );
    }

    let names = kept()
        .into_iter()
        .filter(|name| name.to_string_lossy().contains("before-restore"));
    let names = names.filter(|name| {
        !name.to_string_lossy().ends_with("-wal") && !name.to_string_lossy().ends_with("-shm")
    });
    assert_eq!(names.count(), 4, "{:?}", kept());
    let (code, said) = run(&settings, "restore", &path.join("callscope.db")).await;
    assert!(
        code == Some(1) && said.contains("the database itself"),
        "{said}"
    );
}
