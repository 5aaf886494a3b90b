//! Turns for what is expensive: only so many at once, and of one viewer only a part of them, so
//! that whoever asks a lot keeps nobody else waiting.

use super::rate_limit::network_of_client;
use crate::store::visible::Viewer;
use crate::web::sign_in::Asker;
use actix_web::HttpRequest;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who shares turns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TurnOwner {
    /// A Matrix account, from wherever it asks, in widgets, too.
    Account(String),
    /// All others of a network, whatever they show: strangers, operators, programs with keys.
    Network(IpAddr),
    /// This machine, where a proxy may speak for everybody. It may have all turns.
    ThisMachine,
}

impl TurnOwner {
    /// The owner of the turns of a request of this viewer.
    #[must_use]
    pub fn of_request(req: &HttpRequest, viewer: &Viewer) -> Self {
        match viewer {
            Viewer::Account { user_id } | Viewer::AccountInRoom { user_id, .. } => {
                Self::Account(user_id.clone())
            }
            Viewer::Operator | Viewer::Anonymous | Viewer::HasShareLink { .. } => {
                match Asker::of_request(req).map(|asker| asker.address.to_canonical()) {
                    Some(address) if !address.is_loopback() => {
                        Self::Network(network_of_client(address))
                    }
                    Some(_) | None => Self::ThisMachine,
                }
            }
        }
    }
}

/// The turns of one owner.
#[derive(Debug)]
struct OwnTurns {
    free: Arc<Semaphore>,
    /// Requests that wait for one of these turns, and how many may.
    waiting: AtomicUsize,
    waiting_most: usize,
}

/// The turns of all. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct FairTurns {
    all: Arc<Semaphore>,
    owners: Arc<Mutex<HashMap<TurnOwner, Weak<OwnTurns>>>>,
    of_owner: usize,
    in_all: usize,
}

/// One of the turns of an owner, who may now wait for one of all.
#[derive(Debug)]
pub struct OwnTurn {
    _own: OwnedSemaphorePermit,
    /// Kept, so that the owner has no second set of turns.
    _turns: Arc<OwnTurns>,
}

/// A turn; dropping it gives it to the next one.
#[derive(Debug)]
pub struct FairTurn {
    _own: OwnTurn,
    _of_all: OwnedSemaphorePermit,
}

/// From this number of owners on, those without a turn are removed.
const OWNERS_KEPT: usize = 1000;
/// Maximum requests of one owner that wait. Further ones are refused.
const WAITING_OF_OWNER: usize = 100;

/// A waiting request of an owner.
struct WaitingOfOwner<'t>(&'t OwnTurns);

impl Drop for WaitingOfOwner<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OwnTurns {
    /// Counts one more waiting request until the result is dropped; `None` if there are too many.
    fn begin_to_wait(&self) -> Option<WaitingOfOwner<'_>> {
        let waiting = WaitingOfOwner(self);
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);

        (before < self.waiting_most).then_some(waiting)
    }
}

impl FairTurns {
    /// So many turns of one owner at once, and of all together.
    #[must_use]
    pub fn at_most(of_owner: usize, in_all: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(in_all)),
            owners: Arc::default(),
            of_owner,
            in_all,
        }
    }

    /// The turns of one owner.
    fn turns_of_owner(&self, owner: &TurnOwner) -> Arc<OwnTurns> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = owners.get(owner).and_then(Weak::upgrade) {
            return turns;
        }

        if owners.len() >= OWNERS_KEPT {
            owners.retain(|_, turns| turns.strong_count() > 0);
        }

        let (most, waiting_most) = match owner {
            TurnOwner::ThisMachine => (self.in_all, usize::MAX),
            TurnOwner::Account(_) | TurnOwner::Network(_) => (self.of_owner, WAITING_OF_OWNER),
        };
        let turns = Arc::new(OwnTurns {
            free: Arc::new(Semaphore::new(most)),
            waiting: AtomicUsize::new(0),
            waiting_most,
        });
        owners.insert(owner.clone(), Arc::downgrade(&turns));

        turns
    }

    /// Waits for one of the owner's turns; `None` if too many of the owner's requests wait.
    pub async fn wait_for_own_turn(&self, owner: &TurnOwner) -> Option<OwnTurn> {
        let turns = self.turns_of_owner(owner);
        let own = {
            let _waiting = turns.begin_to_wait()?;
            // Nobody closes the semaphore.
            Arc::clone(&turns.free).acquire_owned().await.ok()?
        };

        Some(OwnTurn {
            _own: own,
            _turns: turns,
        })
    }

    /// Waits for one of the turns of all.
    pub async fn wait_for_turn(&self, own: OwnTurn) -> Option<FairTurn> {
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;

        Some(FairTurn {
            _own: own,
            _of_all: of_all,
        })
    }

    /// A turn if there is one now.
    #[must_use]
    pub fn take_turn(&self, owner: &TurnOwner) -> Option<FairTurn> {
        let turns = self.turns_of_owner(owner);
        let own = Arc::clone(&turns.free).try_acquire_owned().ok()?;

        Some(FairTurn {
            _own: OwnTurn {
                _own: own,
                _turns: turns,
            },
            _of_all: Arc::clone(&self.all).try_acquire_owned().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn owner(last: u8) -> TurnOwner {
        TurnOwner::Network(IpAddr::from([10, 0, 0, last]))
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
        let wait = |last| {
            let turns = turns.clone();
            tokio::spawn(async move {
                let own = turns.wait_for_own_turn(&owner(last)).await?;
                turns.wait_for_turn(own).await
            })
        };
        let mut waiting: Vec<_> = (0..WAITING_OF_OWNER).map(|_| wait(1)).collect();
        tokio::task::yield_now().await;
        let soon = |turn| timeout(Duration::from_secs(5), turn);
        assert!(soon(wait(1)).await.unwrap().unwrap().is_none(), "too many");
        assert!(soon(wait(2)).await.unwrap().unwrap().is_some());
        drop(own);
        for turn in waiting.drain(..2) {
            assert!(soon(turn).await.unwrap().unwrap().is_some());
        }
    }

    #[test]
    fn a_network_and_an_account_are_one_owner_whatever_they_show() {
        let request = actix_web::test::TestRequest::default().to_http_request();
        let of = |viewer: Viewer| TurnOwner::of_request(&request, &viewer);
        let link = |call: &str| Viewer::HasShareLink {
            call_id: call.to_owned(),
            with_names: true,
        };
        assert_eq!(of(Viewer::Anonymous), of(link("a")));
        let account = Viewer::Account {
            user_id: "@a:x".to_owned(),
        };
        let widget = Viewer::AccountInRoom {
            user_id: "@a:x".to_owned(),
            room_id: "!r:x".to_owned(),
        };
        assert_eq!(of(account), of(widget));
    }
}
