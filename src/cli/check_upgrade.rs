//! Says in `callscope check` what the next start would do to the database.

use super::check::FaultCount;
use super::look::{number_with_noun, say};
use crate::config::Config;
use crate::rtc::fold::Rules;
use crate::store::Error;
use crate::store::upkeep::next_start::{NextStart, PlannedBackup, read_next_start};

/// How much of a database is backed up and checked in a second, and how much of it migrations go
/// through, bytes. Measured on a slow disk, and rounded down.
const BACKED_UP_IN_A_SECOND: u64 = 20_000_000;
const MIGRATED_IN_A_SECOND: u64 = 10_000_000;
/// How many member events are derived again in a second.
const DERIVED_IN_A_SECOND: u64 = 2_000;

/// Prints what the next start would do to a database that exists, and about how long it takes.
/// Nothing is changed.
pub(super) async fn print_next_start(config: &Config, faults: &mut FaultCount) {
    let rules = Rules {
        slot_policy: config.slot_policy,
        ..Rules::default()
    };
    let next = match read_next_start(config.database_url.expose(), &rules).await {
        Ok(next) => next,
        Err(error) => {
            say!("Next start:");
            faults.add(&error.to_string());
            return;
        }
    };

    say!(
        "Next start: {}",
        words_of_shape(&next, config.backup_before_upgrade)
    );
    if let Some(names) = words_of_migrations(&next) {
        say!("  {names}");
    }
    print_backup(config, &next, faults);
    if next.stale_events > 0 {
        say!("  {}", words_of_rederiving(&next));
    }
}

/// Prints which backup is made first, and counts it as a fault if it does not fit.
fn print_backup(config: &Config, next: &NextStart, faults: &mut FaultCount) {
    if next.migrations.is_empty() || next.from.is_none() {
        return;
    }

    if !config.backup_before_upgrade {
        say!("  No backup is made first, because backup_before_upgrade is off.");
        return;
    }

    match &next.backup {
        None if config.database_url.expose().starts_with("sqlite:") => {}
        None => say!(
            "  No backup is made first on PostgreSQL: run pg_dump --format=custom --file=FILE NAME \
             before you start it."
        ),
        Some(backup) => match backup.check_room() {
            Ok(()) => say!("  {}", words_of_backup(backup)),
            Err(error @ Error::NoRoomForBackup { .. }) => faults.add(&error.to_string()),
            Err(error) => faults.add(&format!("the backup: {error}")),
        },
    }
}

/// What becomes of the shape, in words. `makes_backup` = backups before an upgrade are on.
fn words_of_shape(next: &NextStart, makes_backup: bool) -> String {
    let Some(from) = next.from else {
        return "the tables are made.".to_owned();
    };
    if next.migrations.is_empty() {
        return format!("the database has this version's shape ({from}) and stays as it is.");
    }

    let steps = number_with_noun(next.migrations.len() as u64, "step", "steps");
    let seconds = next.bytes / MIGRATED_IN_A_SECOND
        + next
            .backup
            .as_ref()
            .filter(|backup| makes_backup && !backup.is_made)
            .map_or(0, |backup| backup.bytes / BACKED_UP_IN_A_SECOND);

    format!(
        "the database is upgraded from shape {from} to {}, in {steps}; {}. An older version cannot \
         use it then.",
        next.to,
        about(seconds)
    )
}

/// What the steps are about; `None` if there are none, or all of a new database.
fn words_of_migrations(next: &NextStart) -> Option<String> {
    next.from.filter(|_| !next.migrations.is_empty())?;

    Some(format!("Steps: {}.", next.migrations.join(", ")))
}

fn words_of_backup(backup: &PlannedBackup) -> String {
    if backup.is_made {
        return format!(
            "The backup of an earlier try is used: {}. Nothing was written to the database since.",
            backup.path.display()
        );
    }

    format!(
        "A backup is made first: {}, about {} MB; {} MB are free there.",
        backup.path.display(),
        backup.bytes.div_ceil(1_000_000),
        backup.free_bytes / 1_000_000
    )
}

fn words_of_rederiving(next: &NextStart) -> String {
    let seconds = next.stale_events.unsigned_abs() / DERIVED_IN_A_SECOND;

    format!(
        "The calls of {} are derived again from {}, in the background while pages are served; {}.",
        number_with_noun(next.stale_rooms, "room", "rooms"),
        number_with_noun(next.stale_events, "event", "events"),
        about(seconds)
    )
}

/// A rough length of time in words.
fn about(seconds: u64) -> String {
    match seconds {
        0..30 => "that takes seconds".to_owned(),
        30..90 => "that takes about a minute".to_owned(),
        90..5400 => format!("that takes about {} minutes", (seconds + 30) / 60),
        _ => format!("that takes about {} hours", (seconds + 1800) / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn what_the_next_start_does_is_said_in_words() {
        let next = NextStart {
            from: Some(114),
            to: 179,
            migrations: vec!["pulse".to_owned(), "heads".to_owned()],
            bytes: 1_200_000_000,
            backup: Some(PlannedBackup {
                database: PathBuf::from("/data/c.db"),
                is_made: false,
                path: PathBuf::from("/data/c.db.before-upgrade-from-0114"),
                bytes: 1_000_000_001,
                free_bytes: 5_999_999_999,
            }),
            stale_rooms: 1,
            stale_events: 20_000_000,
        };
        assert_eq!(
            words_of_shape(&next, true),
            "the database is upgraded from shape 114 to 179, in 2 steps; that takes about 3 \
             minutes. An older version cannot use it then."
        );
        let without = words_of_shape(&next, false);
        assert!(without.contains("that takes about 2 minutes"), "{without}");
        let mut made = next.backup.clone().unwrap();
        made.is_made = true;
        assert_eq!(
            words_of_backup(&made),
            "The backup of an earlier try is used: /data/c.db.before-upgrade-from-0114. Nothing was \
             written to the database since."
        );
        assert!(made.check_room().is_ok());
        assert_eq!(
            words_of_migrations(&next).as_deref(),
            Some("Steps: pulse, heads.")
        );
        assert_eq!(
            words_of_backup(next.backup.as_ref().unwrap()),
            "A backup is made first: /data/c.db.before-upgrade-from-0114, about 1001 MB; 5999 MB \
             are free there."
        );
        assert_eq!(
            words_of_rederiving(&next),
            "The calls of 1 room are derived again from 20000000 events, in the background while \
             pages are served; that takes about 3 hours."
        );

        let done = NextStart {
            migrations: vec![],
            from: Some(179),
            ..next.clone()
        };
        assert_eq!(
            words_of_shape(&done, true),
            "the database has this version's shape (179) and stays as it is."
        );
        let new = NextStart { from: None, ..next };
        assert_eq!(
            (words_of_shape(&new, true), words_of_migrations(&new)),
            ("the tables are made.".to_owned(), None)
        );
    }
}
