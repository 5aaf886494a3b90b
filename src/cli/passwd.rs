//! `callscope passwd`: makes the hash of the operator's password, which stands in the configuration.

use super::look::say;
use crate::web::sign_in::password::hash_password;
use std::error::Error;
use std::io::{IsTerminal, stdin};
use std::process::ExitCode;

/// Reads a password (twice without echo from a terminal, else one line) and prints its hash, as a
/// line for the configuration. Nothing is stored.
pub(super) fn run() -> Result<ExitCode, Box<dyn Error>> {
    let password = if stdin().is_terminal() {
        read_twice()?
    } else {
        read_line()?
    };

    let hash = hash_password(&password)?;
    say!("operator_password_hash = \"{hash}\"");
    eprintln!(
        "Put this line into the configuration file, above its first line with [ ]; or the text \
         between the quotes into the file that CALLSCOPE_OPERATOR_PASSWORD_HASH_FILE names, or \
         after CALLSCOPE_OPERATOR_PASSWORD_HASH= in an environment file. Restart, and sign in at \
         /sign-in."
    );

    Ok(ExitCode::SUCCESS)
}

/// A password that was written the same twice.
fn read_twice() -> Result<String, Box<dyn Error>> {
    let password = rpassword::prompt_password("Password of the operator: ")?;
    let again = rpassword::prompt_password("The same again: ")?;
    if password == again {
        Ok(password)
    } else {
        Err("the two are not the same; nothing was made".into())
    }
}

/// The first line of the standard input.
fn read_line() -> std::io::Result<String> {
    let mut line = String::new();
    stdin().read_line(&mut line)?;

    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
