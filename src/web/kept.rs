//! Answers that took long to compute are kept for a while: one that took a second serves a hundred seconds, so that
//! no more than a hundredth of the time goes into any of them, however many ask.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How many times as long as it took.
const TIMES: u32 = 100;
/// Never longer than this.
const LONGEST: Duration = Duration::from_mins(10);
/// Kept at once.
const MOST: usize = 64;

/// One kind of answer, by what was asked.
#[derive(Debug)]
pub struct Kept<T>(Mutex<HashMap<String, (Instant, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// The kept answer, or a new one. One is computed at a time: who asks meanwhile waits for it.
    ///
    /// # Errors
    /// Those of the computation; an error is not kept.
    pub async fn get<E>(&self, key: &str, compute: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut kept = self.0.lock().await;
        if let Some((until, answer)) = kept.get(key)
            && Instant::now() < *until
        {
            return Ok(answer.clone());
        }
        let begun = Instant::now();
        let answer = compute.await?;
        let until = Instant::now() + (begun.elapsed() * TIMES).min(LONGEST);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key.to_owned(), (until, answer.clone()));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_took_long_is_kept_and_an_error_is_not() {
        let kept = Kept::default();
        assert_eq!(kept.get("a", async { Err::<u8, &str>("no") }).await, Err("no"));
        let slow = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<u8, &str>(1)
        };
        assert_eq!(kept.get("a", slow).await, Ok(1));
        // Kept for five seconds at least.
        assert_eq!(kept.get("a", async { Err("computed again") }).await, Ok(1));
        assert_eq!(kept.get("b", async { Ok::<u8, &str>(2) }).await, Ok(2));
    }
}
