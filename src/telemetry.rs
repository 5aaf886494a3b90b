//! The log: plain lines on standard error, which is what a terminal, a container and the journal all take.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The words that stand for a level when they stand alone.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a log directive such as `info` or `info,callscope=debug`.
///
/// # Errors
/// What is wrong with it, in words. A lone word that is no level counts as wrong: the filter would take
/// `inof` for the name of a module, and hide everything else.
pub fn check(directive: &str) -> Result<(), String> {
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

/// Starts the log of the whole process. Under systemd the lines carry no time, because the journal has its own.
///
/// # Errors
/// The directive is wrong, or a log was started before.
pub fn start(directive: &str) -> Result<(), String> {
    start_to(directive, std::io::stderr)
}

/// The same, with the lines written elsewhere: above a progress bar, which they would tear.
///
/// # Errors
/// As [`start`].
pub fn start_to<W>(directive: &str, writer: W) -> Result<(), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    check(directive)?;
    let filter = EnvFilter::try_new(directive).map_err(|error| error.to_string())?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().finish().try_init()
    } else {
        lines.finish().try_init()
    };
    started.map_err(|error| format!("the log could not be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_told_from_slips() {
        for good in [
            "info",
            "DEBUG",
            "warn,callscope=debug",
            "callscope::matrix=trace, error",
            "off",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["inof", "", "callscope=loud", "info,,", "info,[{"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_log_starts_once() {
        assert!(start("nonsense words").is_err());
        start("off").unwrap();
        assert!(start("off").unwrap_err().contains("could not be started"));
    }
}
