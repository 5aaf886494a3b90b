//! `callscope backup` and `callscope restore`: a copy of the database, and back.

use super::look::{number_with_noun, say};
use crate::config::Config;
use crate::store::db::backup::{self, Contents};
use crate::store::db::instance_lock::WHICH_RESTORES;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const ON_POSTGRES: &str = "the database is on PostgreSQL, which has its own tools: pg_dump \
                           --format=custom --file=FILE NAME makes a copy while Callscope runs, and \
                           pg_restore --exit-on-error --single-transaction --no-owner --dbname=NEW \
                           FILE takes it back into a new, empty database NEW, which you then name \
                           with CALLSCOPE_DATABASE_URL";

/// Copies the database to a new file and prints what it contains. An error if it is on PostgreSQL,
/// which has its own tools.
pub(super) async fn back_up_database(
    config: &Config,
    file: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let url = config.database_url.expose();
    if !url.starts_with("sqlite:") {
        return Err(ON_POSTGRES.into());
    }

    let contents = backup::copy_database(url, file).await?;
    say!("{}: {}", file.display(), contents_in_words(&contents));

    Ok(ExitCode::SUCCESS)
}

/// Makes the copy in this file the database again, and prints what it contains. What was there
/// before is kept beside it, with the time in its name.
pub(super) async fn restore_database(
    config: &Config,
    file: &Path,
) -> Result<ExitCode, Box<dyn Error>> {
    let url = config.database_url.expose();
    if !url.starts_with("sqlite:") {
        return Err(ON_POSTGRES.into());
    }

    let now = jiff::Timestamp::now();
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let who = format!("process {}, {WHICH_RESTORES}", std::process::id());
    let done = backup::restore(url, file, &stamp, &who).await?;
    say!(
        "{} is now what {} holds: {}",
        done.database.display(),
        file.display(),
        contents_in_words(&done.contents)
    );
    if let Some(aside) = done.aside {
        say!(
            "The database before is kept as {}; remove it when you need it no more.",
            aside.display()
        );
    }

    say!("At its next start Callscope reads what happened since from the homeserver.");

    Ok(ExitCode::SUCCESS)
}

/// What a copy contains, as one line: rooms, events, stays, calls and bytes.
fn contents_in_words(contents: &Contents) -> String {
    let Contents {
        rooms,
        events,
        memberships,
        calls,
        bytes,
    } = contents;

    let counts = [
        number_with_noun(*rooms, "room", "rooms"),
        number_with_noun(*events, "event", "events"),
        number_with_noun(*memberships, "stay", "stays"),
        number_with_noun(*calls, "call", "calls"),
        number_with_noun(*bytes, "byte", "bytes"),
    ];

    counts.join(", ")
}
