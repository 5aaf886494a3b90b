//! Answers that took long to compute are kept for a while: one that took a second serves a hundred seconds, so that
//! no more than a hundredth of the time goes into any of them, however many ask.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, RwLock};

/// How many times as long as it took.
const TIMES: u32 = 100;
/// Never longer than this.
const LONGEST: Duration = Duration::from_hours(1);
/// Kept at once.
const MOST: usize = 64;

/// One kind of answer, by what was asked.
#[derive(Debug)]
pub struct Kept<T>(Mutex<HashMap<String, Arc<Place<T>>>>);

/// One answer, until when it serves, and whether somebody computes the next one.
#[derive(Debug)]
struct Place<T> {
    answer: RwLock<Option<(Instant, T)>>,
    busy: Mutex<()>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    /// The kept answer, or a new one. One is computed at a time: who asks meanwhile gets the old one, or waits for the
    /// first.
    ///
    /// # Errors
    /// Those of the computation; an error is not kept.
    pub async fn get<E>(
        &self,
        key: &str,
        compute: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let place = self.place(key).await;
        if let Some(fresh) = place.known(true).await {
            return Ok(fresh);
        }
        let _turn = match (place.busy.try_lock(), place.known(false).await) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => place.busy.lock().await,
        };
        if let Some(fresh) = place.known(true).await {
            return Ok(fresh);
        }
        let begun = Instant::now();
        let answer = compute.await?;
        let until = Instant::now() + (begun.elapsed() * TIMES).min(LONGEST);
        *place.answer.write().await = Some((until, answer.clone()));
        Ok(answer)
    }

    async fn place(&self, key: &str) -> Arc<Place<T>> {
        let mut kept = self.0.lock().await;
        if kept.len() >= MOST && !kept.contains_key(key) {
            kept.clear();
        }
        let empty = || {
            Arc::new(Place {
                answer: RwLock::new(None),
                busy: Mutex::new(()),
            })
        };
        kept.entry(key.to_owned()).or_insert_with(empty).clone()
    }
}

impl<T: Clone> Place<T> {
    async fn known(&self, fresh: bool) -> Option<T> {
        let answer = self.answer.read().await;
        answer
            .as_ref()
            .filter(|(until, _)| !fresh || Instant::now() < *until)
            .map(|(_, answer)| answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn slow(answer: u8) -> Result<u8, &'static str> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(answer)
    }

    #[tokio::test]
    async fn what_took_long_is_kept_and_an_error_is_not() {
        let kept = Kept::default();
        assert_eq!(kept.get("a", async { Err::<u8, _>("no") }).await, Err("no"));
        // Kept for five seconds at least; who asks while the first is computed waits for it.
        assert_eq!(
            tokio::join!(kept.get("a", slow(1)), kept.get("a", slow(9))),
            (Ok(1), Ok(1))
        );
        assert_eq!(kept.get("a", async { Err("computed again") }).await, Ok(1));
        assert_eq!(kept.get("b", slow(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn an_old_answer_serves_while_the_next_is_computed() {
        let kept = Kept::default();
        kept.get("a", slow(1)).await.unwrap();
        let place = kept.place("a").await;
        let past = Instant::now();
        *place.answer.write().await = Some((past, 1));
        assert_eq!(
            tokio::join!(kept.get("a", slow(2)), kept.get("a", slow(9))),
            (Ok(2), Ok(1))
        );
        assert_eq!(kept.get("a", slow(9)).await, Ok(2));
    }
}
