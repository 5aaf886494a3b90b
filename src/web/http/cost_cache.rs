//! Caches answers that took long to compute, in proportion to their cost: one that took a second is
//! used for a hundred seconds. So at most one percent of the time goes into each of them, however
//! many requests come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, RwLock};

/// How long an answer is kept, as a multiple of the time that it took.
const TIMES: u32 = 100;
/// Maximum time that an answer is kept, if nothing else is said.
const LONGEST: Duration = Duration::from_hours(1);
/// How the key of an answer begins that shows all rooms.
const FOR_ALL_ROOMS: &str = "0 ";
/// Maximum number of kept answers.
const MOST: usize = 64;

/// The kept answers of one kind, by request.
#[derive(Debug)]
pub struct CostCache<T> {
    slots: Mutex<HashMap<String, Arc<CacheSlot<T>>>>,
    /// Maximum time that an answer is kept.
    longest: Duration,
}

/// One answer, its expiry, and whether the next one is being computed.
#[derive(Debug)]
struct CacheSlot<T> {
    answer: RwLock<Option<(Instant, T)>>,
    busy: Mutex<()>,
}

impl<T> Default for CostCache<T> {
    fn default() -> Self {
        Self::kept_at_most(LONGEST)
    }
}

impl<T> CostCache<T> {
    /// A cache that keeps an answer for no longer than this.
    #[must_use]
    pub fn kept_at_most(longest: Duration) -> Self {
        Self {
            slots: Mutex::default(),
            longest,
        }
    }
}

impl<T: Clone> CostCache<T> {
    /// The kept answer, or a new one. Only one is computed at a time: other requests get the old
    /// one meanwhile, or wait if it is the first.
    ///
    /// # Errors
    /// Those of the computation; an error is not kept.
    pub async fn get<E>(
        &self,
        key: &str,
        compute: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let slot = self.slot(key).await;
        if let Some(fresh) = slot.known_until(Duration::ZERO).await {
            return Ok(fresh);
        }

        let _turn = match (slot.busy.try_lock(), slot.known_until(self.longest).await) {
            (Ok(turn), _) => turn,
            (Err(_), Some(old)) => return Ok(old),
            (Err(_), None) => slot.busy.lock().await,
        };

        if let Some(fresh) = slot.known_until(Duration::ZERO).await {
            return Ok(fresh);
        }

        let begun = Instant::now();
        let answer = compute.await?;
        let until = Instant::now() + (begun.elapsed() * TIMES).min(self.longest);
        *slot.answer.write().await = Some((until, answer.clone()));

        Ok(answer)
    }

    /// The kept answer, or a new one, which is kept only if `is_dear` says that it was expensive.
    /// While a kept answer is expensive, this does the same as [`Self::get`].
    ///
    /// # Errors
    /// Those of the computation; an error is not kept.
    pub async fn get_dear<E>(
        &self,
        key: &str,
        is_dear: impl Fn(&T) -> bool,
        compute: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let slot = self.slot(key).await;
        if slot
            .known_until(Duration::MAX)
            .await
            .is_some_and(|old| is_dear(&old))
        {
            return self.get(key, compute).await;
        }

        let begun = Instant::now();
        let answer = compute.await?;
        if is_dear(&answer) {
            let until = Instant::now() + (begun.elapsed() * TIMES).min(self.longest);
            *slot.answer.write().await = Some((until, answer.clone()));
        }

        Ok(answer)
    }

    /// The slot for answers to this request, made if it is new. If there are too many slots, all
    /// are dropped.
    async fn slot(&self, key: &str) -> Arc<CacheSlot<T>> {
        let mut kept = self.slots.lock().await;
        if kept.len() >= MOST && !kept.contains_key(key) {
            // Those of viewers who see all rooms are for many; they stay as long as others go.
            kept.retain(|key, _| key.starts_with(FOR_ALL_ROOMS));
            if kept.len() >= MOST {
                kept.clear();
            }
        }

        let empty = || {
            Arc::new(CacheSlot {
                answer: RwLock::new(None),
                busy: Mutex::new(()),
            })
        };

        kept.entry(key.to_owned()).or_insert_with(empty).clone()
    }
}

impl<T: Clone> CacheSlot<T> {
    /// The kept answer, unless it expired this long ago or longer: `ZERO` = only one that is still
    /// good, `MAX` = any.
    async fn known_until(&self, ago: Duration) -> Option<T> {
        let now = Instant::now();
        let answer = self.answer.read().await;
        answer
            .as_ref()
            .filter(|(until, _)| until.checked_add(ago).is_none_or(|end| now < end))
            .map(|(_, answer)| answer.clone())
    }
}

/// An expensive value that all pages show: computed once per change and per second, however many
/// requests come.
#[derive(Debug)]
pub struct SharedValue<T>(Mutex<Option<(DataVersion, Arc<T>)>>);

/// A state of the data. A value made at one state is valid for all requests of the same state or an
/// earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataVersion {
    /// See [`crate::changes::Changes::generation`].
    pub generation: u64,
    pub second: i64,
}

impl<T> Default for SharedValue<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> SharedValue<T> {
    /// The value made at this state or a later one; if there is none, it is made now. Other
    /// requests wait meanwhile.
    ///
    /// # Errors
    /// Those of the computation; an error is not kept.
    pub async fn get<E>(
        &self,
        stamp: impl Fn() -> DataVersion,
        compute: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let asked = stamp();
        let mut stored = self.0.lock().await;
        if let Some((made, known)) = stored.as_ref()
            && made.generation >= asked.generation
            && made.second >= asked.second
        {
            return Ok(Arc::clone(known));
        }

        let begun = stamp();
        let made = Arc::new(compute.await?);
        *stored = Some((begun, Arc::clone(&made)));

        Ok(made)
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
        let kept = CostCache::default();
        assert_eq!(kept.get("a", async { Err::<u8, _>("no") }).await, Err("no"));
        // It is kept for at least five seconds; requests during the first computation wait for it.
        assert_eq!(
            tokio::join!(kept.get("a", slow(1)), kept.get("a", slow(9))),
            (Ok(1), Ok(1))
        );
        assert_eq!(kept.get("a", async { Err("computed again") }).await, Ok(1));
        assert_eq!(kept.get("b", slow(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn what_is_shared_is_made_once_for_each_change() {
        let (shared, generation) = (SharedValue::default(), std::cell::Cell::new(1));
        let stamp = || DataVersion {
            generation: generation.get(),
            second: 7,
        };

        let (one, other) = tokio::join!(
            shared.get(stamp, slow(1)),
            shared.get(stamp, async { Err("made twice") })
        );
        assert_eq!((*one.unwrap(), *other.unwrap()), (1, 1));
        generation.set(2);
        assert_eq!(*shared.get(stamp, slow(2)).await.unwrap(), 2);
        generation.set(3);
        assert_eq!(
            shared.get(stamp, async { Err("no") }).await.unwrap_err(),
            "no",
            "nothing from before a change"
        );
    }

    #[tokio::test]
    async fn nothing_is_kept_for_longer_than_allowed() {
        let kept = CostCache::kept_at_most(Duration::ZERO);
        assert_eq!(kept.get("a", slow(1)).await, Ok(1));
        assert_eq!(kept.get("a", slow(2)).await, Ok(2));
        assert_eq!(
            tokio::join!(kept.get("a", slow(3)), kept.get("a", slow(4))),
            (Ok(3), Ok(4)),
            "nor while the next is computed"
        );
    }

    #[tokio::test]
    async fn an_old_answer_serves_while_the_next_is_computed() {
        let kept = CostCache::default();
        kept.get("a", slow(1)).await.unwrap();
        let slot = kept.slot("a").await;
        let past = Instant::now();
        *slot.answer.write().await = Some((past, 1));
        assert_eq!(
            tokio::join!(kept.get("a", slow(2)), kept.get("a", slow(9))),
            (Ok(2), Ok(1))
        );
        assert_eq!(kept.get("a", slow(9)).await, Ok(2));
    }
}
