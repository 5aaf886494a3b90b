//! Turns for what is expensive: only so many at once, and of one viewer only a part of them, so that
//! whoever asks a lot keeps nobody else waiting.

use crate::store::visible::Viewer;
use crate::web::sign_in::Asker;
use actix_web::HttpRequest;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who shares turns. An account has the same from wherever it asks. All others are told apart by
/// address, because strangers, operators and those with a shared address are many people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TurnOwner {
    viewer: Viewer,
    address: Option<IpAddr>,
}

impl TurnOwner {
    /// The owner of the turns of a request of this viewer.
    #[must_use]
    pub fn of_request(req: &HttpRequest, viewer: &Viewer) -> Self {
        let is_account = matches!(viewer, Viewer::Account { .. });
        let asker = Asker::of_request(req).filter(|_| !is_account);

        Self {
            viewer: viewer.clone(),
            address: asker.map(|asker| asker.address),
        }
    }
}

/// The turns of all viewers. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct FairTurns {
    all: Arc<Semaphore>,
    owners: Arc<Mutex<HashMap<TurnOwner, Weak<Semaphore>>>>,
    of_owner: usize,
}

/// A turn; dropping it gives it to the next one.
#[derive(Debug)]
pub struct FairTurn {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
    /// Kept, so that the owner has no second set of turns.
    _turns_of_owner: Arc<Semaphore>,
}

/// From this number of owners on, those without a turn are removed.
const OWNERS_KEPT: usize = 1000;

impl FairTurns {
    /// So many turns of one owner at once, and of all together.
    #[must_use]
    pub fn at_most(of_owner: usize, in_all: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(in_all)),
            owners: Arc::default(),
            of_owner,
        }
    }

    /// The turns of one owner.
    fn turns_of_owner(&self, owner: &TurnOwner) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = owners.get(owner).and_then(Weak::upgrade) {
            return turns;
        }

        if owners.len() >= OWNERS_KEPT {
            owners.retain(|_, turns| turns.strong_count() > 0);
        }

        let turns = Arc::new(Semaphore::new(self.of_owner));
        owners.insert(owner.clone(), Arc::downgrade(&turns));

        turns
    }

    /// Waits for a turn. It first waits behind other requests of its owner, and only then behind
    /// those of all.
    pub async fn wait_for_turn(&self, owner: &TurnOwner) -> FairTurn {
        let turns = self.turns_of_owner(owner);
        let own = Arc::clone(&turns).acquire_owned().await;
        let of_all = Arc::clone(&self.all).acquire_owned().await;
        match (own, of_all) {
            (Ok(own), Ok(of_all)) => FairTurn {
                _own: own,
                _of_all: of_all,
                _turns_of_owner: turns,
            },
            // Nobody closes the semaphores.
            _ => std::future::pending().await,
        }
    }

    /// A turn if there is one now.
    #[must_use]
    pub fn take_turn(&self, owner: &TurnOwner) -> Option<FairTurn> {
        let turns = self.turns_of_owner(owner);

        Some(FairTurn {
            _own: Arc::clone(&turns).try_acquire_owned().ok()?,
            _of_all: Arc::clone(&self.all).try_acquire_owned().ok()?,
            _turns_of_owner: turns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn owner(last: u8) -> TurnOwner {
        TurnOwner {
            viewer: Viewer::Anonymous,
            address: Some(IpAddr::from([10, 0, 0, last])),
        }
    }

    #[test]
    fn one_owner_never_has_all_turns() {
        let turns = FairTurns::at_most(2, 3);
        let first = [1, 1].map(|last| turns.take_turn(&owner(last)).unwrap());
        assert!(turns.take_turn(&owner(1)).is_none());
        let second = turns.take_turn(&owner(2)).unwrap();
        assert!(turns.take_turn(&owner(3)).is_none(), "three in all");
        drop(first);
        assert!(turns.take_turn(&owner(1)).is_some());
        drop(second);
        let many: Vec<TurnOwner> = (0..=255).cycle().take(OWNERS_KEPT * 3).map(owner).collect();
        for owner in &many {
            drop(turns.take_turn(owner));
        }
        assert!(turns.owners.lock().unwrap().len() <= OWNERS_KEPT);
    }

    #[tokio::test]
    async fn who_waits_behind_their_own_requests_keeps_nobody_waiting() {
        let turns = FairTurns::at_most(2, 3);
        let own = [1, 1].map(|last| turns.take_turn(&owner(last)).unwrap());
        let mut waiting: Vec<_> = (0..20)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.wait_for_turn(&owner(1)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let other = owner(2);
        let turn = turns.wait_for_turn(&other);
        timeout(Duration::from_secs(5), turn).await.unwrap();
        drop(own);
        for turn in waiting.drain(..2) {
            timeout(Duration::from_secs(5), turn)
                .await
                .unwrap()
                .unwrap();
        }
    }
}
