//! Counts what is open at the same time for each address, within limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// What is open, by address. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct AddressSlots {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    /// Maximum number of one address.
    of_address: usize,
    /// Maximum number of all addresses together.
    in_all: usize,
}

/// One that is open; dropping it makes room for another.
#[derive(Debug)]
pub struct AddressSlot {
    slots: AddressSlots,
    address: IpAddr,
}

impl AddressSlots {
    /// So many of one address, and of all together.
    #[must_use]
    pub fn at_most(of_address: usize, in_all: usize) -> Self {
        Self {
            taken: Arc::default(),
            of_address,
            in_all,
        }
    }

    /// Takes one more for this address; `None` if a limit is reached.
    #[must_use]
    pub fn take_slot(&self, address: IpAddr) -> Option<AddressSlot> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&address).copied().unwrap_or(0);
        if own >= self.of_address {
            return None;
        }

        // Without a limit, nothing is added up.
        if self.in_all < usize::MAX && taken.values().sum::<usize>() >= self.in_all {
            return None;
        }

        taken.insert(address, own + 1);

        Some(AddressSlot {
            slots: self.clone(),
            address,
        })
    }
}

impl Drop for AddressSlot {
    fn drop(&mut self) {
        let taken = self.slots.taken.lock();
        let mut taken = taken.unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_has_so_many_and_all_together_not_many_more() {
        let slots = AddressSlots::at_most(64, 300);
        let mut open: Vec<AddressSlot> = (0..64).map(|_| slots.take_slot(ip(1)).unwrap()).collect();
        assert!(slots.take_slot(ip(1)).is_none() && slots.take_slot(ip(2)).is_some());
        open.pop();
        open.push(slots.take_slot(ip(1)).unwrap());
        open.extend((2..=u8::MAX).filter_map(|last| slots.take_slot(ip(last))));
        assert_eq!(open.len(), 300);
        drop(open);
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
