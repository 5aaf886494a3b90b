//! Back-off: how long a loop waits after its next error.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

/// Waits that grow from half a second to a minute, with jitter, so that many observers do not send
/// requests at the same moment.
#[derive(Debug)]
pub(super) struct Backoff(ExponentialBackoff);

impl Backoff {
    /// A back-off at its beginning. Make a new one after each success.
    pub fn new() -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST);

        Self(
            builder
                .with_factor(2.0)
                .without_max_times()
                .with_jitter()
                .build(),
        )
    }

    /// How long to wait after the next error.
    pub fn next(&mut self) -> Duration {
        self.0.next().unwrap_or(LONGEST)
    }
}
