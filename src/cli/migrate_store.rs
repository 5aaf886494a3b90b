//! `callscope migrate-store`: copies the database into another one, such as from SQLite to
//! PostgreSQL.

use super::look::{number_with_noun, say};
use crate::matrix::Secret;
use crate::store::db::instance_lock::WHICH_COPIES;
use crate::store::upkeep::transfer::{TransferProgress, Transferred, transfer_database};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use url::Url;

const BAR: &str = "{bar:20} {percent:>3} % {elapsed} {wide_msg}";
/// The interval of progress lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// What stands for a password that is not shown.
const NOT_SHOWN: &str = "PASSWORD";

/// The address of a database as it was given: an address, or the path of a SQLite file.
pub(super) fn parse_database(text: &str) -> Result<Secret, String> {
    let is_address = ["sqlite:", "postgres:", "postgresql:"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    if is_address {
        return Ok(Secret::new(text));
    }

    if text.is_empty() || text.contains("://") {
        return Err(
            "write the path of a SQLite file, or postgres://user:password@host/name".to_owned(),
        );
    }

    Ok(Secret::new(format!("sqlite://{text}")))
}

/// Copies the database at `from` to `to`, compares the two, and prints what to put into the
/// configuration. Nothing of `from` is changed.
pub(super) async fn run(from: &Secret, to: &Secret) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(file) = path_of_file(from.expose())
        && !file.exists()
    {
        return Err(format!("there is no database {}", file.display()).into());
    }

    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(BAR)?);
    let begun = Instant::now();
    let said = std::cell::Cell::new(begun);
    let who = format!("process {}, {WHICH_COPIES}", std::process::id());
    let tell = |progress: TransferProgress| {
        let words = words_of_progress(progress);
        bar.set_length(progress.rows_total * 2);
        bar.set_position(progress.rows_done);
        if bar.is_hidden() && said.get().elapsed() >= LINE {
            said.set(Instant::now());
            eprintln!("{words}");
        }
        bar.set_message(words);
    };
    let done = transfer_database(from.expose(), to.expose(), &who, tell).await;
    bar.finish_and_clear();
    print_result(from, to, &done?, begun.elapsed());

    Ok(ExitCode::SUCCESS)
}

fn words_of_progress(progress: TransferProgress) -> String {
    let TransferProgress {
        table,
        is_comparing,
        rows_done,
        rows_total,
    } = progress;

    if is_comparing {
        let compared = rows_done.saturating_sub(rows_total);
        format!("comparing {table}: {compared} of {rows_total} rows compared")
    } else {
        format!("copying {table}: {rows_done} of {rows_total} rows written")
    }
}

fn print_result(from: &Secret, to: &Secret, done: &Transferred, took: Duration) {
    for table in done.tables.iter().filter(|table| table.rows > 0) {
        say!("{:>12}  {}", table.rows, table.name);
    }

    say!(
        "Copied in {:.1} s: {} in {}. Each table was read again, and is equal.",
        took.as_secs_f64(),
        number_with_noun(done.rows(), "row", "rows"),
        number_with_noun(done.tables.len() as u64, "table", "tables")
    );
    if done.changed_texts > 0 {
        say!(
            "{} had the character NUL, which PostgreSQL cannot store; it is U+FFFD there.",
            number_with_noun(done.changed_texts, "text", "texts")
        );
    }

    if let Some(why) = &done.not_analyzed {
        say!(
            "PostgreSQL has not counted what is in the tables, so that pages may be slow until it does \
             so by itself: {why}"
        );
    }

    for line in next_lines(from.expose(), to.expose()) {
        say!("{line}");
    }
}

/// What to do next: what to put into the configuration, and what becomes of the old database.
fn next_lines(from: &str, to: &str) -> Vec<String> {
    let address = address_without_password(to);
    let mut lines = vec![
        String::new(),
        "Now put this into callscope.toml, and start Callscope:".to_owned(),
        format!("    database_url = \"{address}\""),
    ];
    if address.contains(NOT_SHOWN) {
        lines.push(format!(
            "with the password in the place of {NOT_SHOWN}; or put the address alone into a file, and \
             name that with database_url_file."
        ));
    } else if !to.starts_with("sqlite:") {
        lines.push(
            "If you gave its password by PGPASSWORD or ~/.pgpass, Callscope needs it, too: there, for \
             the user that it runs as, or in the address."
                .to_owned(),
        );
    }

    lines.push("In the environment it is CALLSCOPE_DATABASE_URL.".to_owned());
    if let Some(file) = path_of_file(from) {
        // It is looked for beside a database file.
        let kept = Path::new(&file).with_file_name("callscope.credentials.json");
        if kept.exists() {
            let kept = std::path::absolute(&kept).unwrap_or(kept);
            lines.push(format!(
                "So that the account keeps its device, put this there, too, if it is not set:\n    \
                 credentials_file = \"{}\"",
                kept.display()
            ));
        }

        lines.push(format!(
            "The old database stays as it is: {}. Delete it when you need it no more.",
            file.display()
        ));
    }

    lines
}

/// The file of an address of SQLite.
fn path_of_file(url: &str) -> Option<std::path::PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);

    Some(path.split('?').next().unwrap_or_default().into())
}

/// The address with a word in the place of its password.
fn address_without_password(address: &str) -> String {
    if address.starts_with("sqlite:") {
        return address.to_owned();
    }

    let Ok(mut url) = address.parse::<Url>() else {
        return "the address that you gave".to_owned();
    };
    if url.password().is_some() && url.set_password(Some(NOT_SHOWN)).is_err() {
        return "the address that you gave".to_owned();
    }

    let has_password = url.query_pairs().any(|(name, _)| name == "password");
    if has_password {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if name == "password" {
                    NOT_SHOWN.into()
                } else {
                    value
                };
                (name.into_owned(), value.into_owned())
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
    }

    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_sqlite_file_and_an_address_stays_one() {
        let parsed = |text| parse_database(text).map(|url| url.expose().to_owned());
        assert_eq!(parsed("a.db").as_deref(), Ok("sqlite://a.db"));
        assert_eq!(parsed("/d/a.db").as_deref(), Ok("sqlite:///d/a.db"));
        for address in ["sqlite://a.db", "postgres://u:p@h/n", "postgresql:///n"] {
            assert_eq!(parsed(address).as_deref(), Ok(address));
        }
        assert!(parsed("mysql://h/n").is_err() && parsed("").is_err());
    }

    #[test]
    fn no_password_is_printed() {
        assert_eq!(
            address_without_password("postgres://me:hunter2@db.example/calls?sslmode=require"),
            "postgres://me:PASSWORD@db.example/calls?sslmode=require"
        );
        assert_eq!(
            address_without_password("postgres:///calls?host=/run&password=hunter2"),
            "postgres:///calls?host=%2Frun&password=PASSWORD"
        );
        assert_eq!(
            address_without_password("postgres://me@h/calls"),
            "postgres://me@h/calls"
        );
        let lines = next_lines("sqlite:///d/a.db", "postgres://me:hunter2@h/c").join("\n");
        assert!(
            lines.contains("database_url = \"postgres://me:PASSWORD@h/c\"")
                && lines.contains("The old database stays as it is: /d/a.db")
                && !lines.contains("PGPASSWORD"),
            "{lines}"
        );
        let lines = next_lines("sqlite:///d/a.db", "postgres://me@h/c").join("\n");
        assert!(lines.contains("by PGPASSWORD or ~/.pgpass"), "{lines}");
        let lines = next_lines("postgres://me@h/c", "sqlite:///d/a.db").join("\n");
        assert!(!lines.contains("PGPASSWORD"), "{lines}");
    }

    #[test]
    fn progress_is_of_writing_and_then_of_comparing() {
        let progress = TransferProgress {
            table: "events",
            is_comparing: false,
            rows_done: 30,
            rows_total: 100,
        };
        assert_eq!(
            words_of_progress(progress),
            "copying events: 30 of 100 rows written"
        );
        let later = TransferProgress {
            is_comparing: true,
            rows_done: 130,
            ..progress
        };
        assert_eq!(
            words_of_progress(later),
            "comparing events: 30 of 100 rows compared"
        );
    }
}
