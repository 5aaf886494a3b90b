//! The log: plain lines on standard error, which is what a terminal, a container and the journal
//! all take. What strangers name (rooms, people, errors of homeservers) may hold anything: one
//! record is one line, whatever is in it.

use crate::rtc::direction::turns_direction;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The words that stand for a level when they stand alone.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a log directive such as `info` or `info,callscope=debug`.
///
/// # Errors
/// What is wrong with it, in words. A lone word that is no level counts as wrong: the filter would
/// take `inof` for the name of a module, and hide everything else.
pub fn check_directive(directive: &str) -> Result<(), String> {
    let alone = directive.split(',').map(str::trim).find(|part| {
        let word = !part.contains(['=', '[']);
        word && !LEVELS.contains(&part.to_lowercase().as_str())
    });
    if let Some(word) = alone {
        return Err(format!("{word:?} is not a log level"));
    }

    match EnvFilter::try_new(directive) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts the log of the whole process. Under systemd the lines carry no time, because the journal
/// has its own.
///
/// # Errors
/// The directive is wrong, or a log was started before.
pub fn start_log(directive: &str) -> Result<(), String> {
    start_log_to(directive, std::io::stderr)
}

/// The same, with the lines written elsewhere: above a progress bar, which they would tear.
///
/// # Errors
/// As [`start_log`].
pub fn start_log_to<W>(directive: &str, writer: W) -> Result<(), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    check_directive(directive)?;
    let filter = EnvFilter::try_new(directive).map_err(|error| error.to_string())?;
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(OneLine { writer, colours })
        .with_ansi(colours);
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().finish().try_init()
    } else {
        lines.finish().try_init()
    };

    started.map_err(|error| format!("the log could not be started: {error}"))
}

/// Lines about the upgrade of a database, and warnings of the store, for a command that has no log.
pub fn lines_of_upgrade<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let colours = std::io::stderr().is_terminal();
    let shown = Targets::new()
        .with_target("callscope::store", Level::WARN)
        .with_target("callscope::store::db::upgrade", Level::INFO);

    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_writer(OneLine { writer, colours })
        .with_ansi(colours)
        .finish()
        .with(shown)
}

/// Lets a panic be a line of the log: what the system prints by itself may be several.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload_as_str().unwrap_or("it said nothing");
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            "panic: {words}"
        );
    }));
}

/// Writers of lines: each record ends with the one line break that the formatter made.
#[derive(Debug)]
struct OneLine<W> {
    writer: W,
    /// The formatter writes colours.
    colours: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            writer: self.writer.make_writer(),
            colours: self.colours,
        }
    }
}

/// Writes one record.
#[derive(Debug)]
struct LineWriter<W> {
    writer: W,
    colours: bool,
}

impl<W: io::Write> io::Write for LineWriter<W> {
    /// The formatter gives a whole record at once.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        self.writer
            .write_all(one_line(&text, self.colours).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The record with everything escaped that would begin another line or steer a terminal. `record`
/// is one call of the formatter, whose own line break at the end stays. With `colours`, colours
/// stay as well, since the formatter writes them; whatever else begins with an escape character
/// comes from a stranger.
fn one_line(record: &str, colours: bool) -> String {
    let (body, end) = match record.strip_suffix('\n') {
        Some(body) => (body, "\n"),
        None => (record, ""),
    };

    let mut line = String::with_capacity(record.len());
    let mut rest = body;
    while let Some(letter) = rest.chars().next() {
        if let Some(colour) = COLOURS
            .iter()
            .find(|colour| colours && rest.starts_with(*colour))
        {
            line.push_str(colour);
            rest = &rest[colour.len()..];
            continue;
        }

        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            letter if letter.is_control() || breaks_or_turns(letter) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(letter));
            }
            letter => line.push(letter),
        }
    }

    line + end
}

/// What the formatter (`tracing_subscriber`) writes for colours: none, bold, dim, italic, and those
/// of the levels.
const COLOURS: [&str; 9] = [
    "\u{1b}[0m",
    "\u{1b}[1m",
    "\u{1b}[2m",
    "\u{1b}[3m",
    "\u{1b}[31m",
    "\u{1b}[32m",
    "\u{1b}[33m",
    "\u{1b}[34m",
    "\u{1b}[35m",
];

/// Line and paragraph breaks of Unicode, and what turns the direction of writing. Pages leave out
/// more than a line of the log escapes: what is merely invisible does no harm here.
fn breaks_or_turns(letter: char) -> bool {
    matches!(letter, '\u{2028}' | '\u{2029}') || turns_direction(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn levels_and_modules_are_told_from_slips() {
        for good in [
            "info",
            "DEBUG",
            "warn,callscope=debug",
            "callscope::matrix=trace, error",
            "off",
        ] {
            assert_eq!(check_directive(good), Ok(()), "{good}");
        }

        for bad in ["inof", "", "callscope=loud", "info,,", "info,[{"] {
            assert!(check_directive(bad).is_err(), "{bad}");
        }
    }

    /// What was written, for all who write.
    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The log of what `write` writes.
    fn logged(colours: bool, write: impl FnOnce()) -> String {
        let page = Page::default();
        let to = page.clone();
        let writer = OneLine {
            writer: move || to.clone(),
            colours,
        };
        let log = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(colours)
            .finish();
        tracing::subscriber::with_default(log, write);

        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_record_is_one_line_whatever_a_stranger_names() {
        let room =
            "!a\n2026-11-22T00:00:00Z ERROR callscope: forged\r\u{1b}[2J\u{85}\u{2028}\u{202e}end";
        let text = logged(false, || {
            tracing::warn!("{room}: no such room");
            tracing::warn!(room, error = %room, "polling");
            tracing::warn!(?room, "polling");
        });
        assert_eq!(text.lines().count(), 3, "{text}");
        let steers =
            |letter: char| letter != '\n' && (letter.is_control() || breaks_or_turns(letter));
        assert!(!text.contains(steers), "{text:?}");
        assert!(text.contains(r"!a\n2026-11-22"), "{text}");
    }

    #[test]
    fn colours_stay_where_the_log_has_them() {
        let line = "\u{1b}[31mERROR\u{1b}[0m a\nb\n";
        assert_eq!(one_line(line, true), "\u{1b}[31mERROR\u{1b}[0m a\\nb\n");
        assert!(!one_line(line, false).contains('\u{1b}'));
    }

    #[test]
    fn a_stranger_steers_no_terminal_where_the_log_has_colours() {
        let room = "!a\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[8mhidden";
        let mut text = logged(true, || {
            tracing::warn!(room_id = %room, "polling {room}");
        });
        assert!(text.contains("\u{1b}[3m"), "it has colours: {text:?}");
        for colour in COLOURS {
            text = text.replace(colour, "");
        }
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }

    #[test]
    fn the_log_starts_once() {
        assert!(start_log("nonsense words").is_err());
        start_log("off").unwrap();
        assert!(
            start_log("off")
                .unwrap_err()
                .contains("could not be started")
        );
    }
}
