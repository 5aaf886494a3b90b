//! Limits the number of connections, so that enough of the process's open files are left for the
//! database and for homeservers, and for others than the one who opens most. Without the limits,
//! strangers could keep the observer from working.

use super::address_slots::AddressSlots;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::SockRef;
use std::any::Any;
use std::net::{IpAddr, Shutdown};

/// Open files that the process needs besides client connections.
const OTHERS: usize = 160;
/// Minimum and maximum number of connections per worker.
const LEAST: usize = 32;
const MOST: usize = 16_384;
/// The assumed limit of open files if the system states none.
const USUAL: usize = 1024;

/// Maximum number of connections of one address.
const OF_ADDRESS: usize = 512;

/// The open connections, by address. Cheap to clone: all clones share the same data.
#[derive(Debug, Clone)]
pub struct OpenConnections(AddressSlots);

impl Default for OpenConnections {
    fn default() -> Self {
        Self(AddressSlots::at_most(OF_ADDRESS, usize::MAX))
    }
}

impl OpenConnections {
    /// Counts a new connection until it is closed, or closes it if its address has too many.
    /// Addresses of which `may_be_proxy` holds are not limited: all may come from there.
    pub fn admit_or_close(
        &self,
        connection: &dyn Any,
        extensions: &mut Extensions,
        may_be_proxy: impl Fn(IpAddr) -> bool,
    ) {
        let Some(stream) = connection.downcast_ref::<TcpStream>() else {
            return;
        };
        let Ok(peer) = stream.peer_addr() else {
            return;
        };

        let address = peer.ip().to_canonical();
        if may_be_proxy(address) {
            return;
        }

        match self.0.take_slot(address) {
            Some(open) => {
                extensions.insert(open);
            }
            // What was closed is found out when it is read from, which is at once.
            None => drop(SockRef::from(stream).shutdown(Shutdown::Both)),
        }
    }
}

/// How many open files the process asks for. Systems allow more than they give unasked.
#[cfg(target_os = "linux")]
const WANTED: u64 = 65_536;

/// Raises the number of files that the process may open, as far as the system lets it. If it does
/// not, there are fewer connections.
pub fn raise_open_files_limit() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
        if limit.current.is_none_or(|current| current >= wanted) {
            return;
        }

        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of open files could not be raised");
        }
    }
}

/// Maximum number of connections per worker, for this number of workers.
#[must_use]
pub fn max_connections_per_worker(workers: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    connection_share(open_files_limit(&limits).unwrap_or(USUAL), workers)
}

/// Maximum number of open live streams: half of all connections, so that the others are left for
/// requests.
#[must_use]
pub fn max_live_streams() -> usize {
    max_connections_per_worker(1) / 2
}

/// The connections of one of so many workers, if the process may open this many files.
fn connection_share(files: usize, workers: usize) -> usize {
    (files.saturating_sub(OTHERS) / workers.max(1)).clamp(LEAST, MOST)
}

/// The soft limit of open files, from `/proc/self/limits`; `None` if it is missing or unlimited.
fn open_files_limit(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_too_many_is_closed() {
        use crate::web::http::address_slots::AddressSlot;
        use tokio::io::AsyncReadExt;

        let connections = OpenConnections::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _open: Vec<AddressSlot> = (0..OF_ADDRESS)
            .map(|_| connections.0.take_slot(address.ip()).unwrap())
            .collect();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        connections.admit_or_close(&server, &mut Extensions::new(), |_| false);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn a_worker_has_its_share_of_what_may_be_open() {
        let limits = "Limit   Soft Limit  Hard Limit  Units\n\
                      Max processes   7  7  processes\n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(
            open_files_limit("Max open files unlimited unlimited files"),
            None
        );
        assert_eq!(open_files_limit(""), None);
        assert_eq!(
            [
                connection_share(1024, 2),
                connection_share(64, 8),
                connection_share(1 << 30, 2)
            ],
            [432, LEAST, MOST]
        );
    }
}
