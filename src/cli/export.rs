//! `callscope export`: all that is stored about a person, also beside a running server.

use super::key::open_store;
use crate::clock::Clock;
use crate::config::Config;
use crate::rtc::forgotten::ForgottenKind;
use crate::store::Writer;
use crate::store::rights::export::write_export;
use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// Runs `callscope export`: writes the document to standard output while it is read.
pub(super) async fn run(config: &Config, user: &str) -> Result<ExitCode, Box<dyn Error>> {
    let wish = super::forget::parse_name(user)?;
    if wish.kind != ForgottenKind::Person {
        return Err(format!("{user} is no user id; write it in full: @user:example.org").into());
    }

    let store = open_store(config).await?;
    let done = print_export(&store, &wish.name).await;
    store.close().await;
    done?;

    Ok(ExitCode::SUCCESS)
}

async fn print_export(store: &Writer, user_id: &str) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(io::stdout());
    let write = |text: String| {
        let done = out.write_all(text.as_bytes());
        std::future::ready(done)
    };
    write_export(store, user_id, Clock::System.now_ms(), write).await?;

    Ok(out.flush()?)
}
