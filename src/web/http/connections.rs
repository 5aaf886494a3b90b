//! Limits the number of connections, so that enough of the process's open files are left for the
//! database and for homeservers. Without the limit, strangers could keep the observer from working.

/// Open files that the process needs besides client connections.
const OTHERS: usize = 160;
/// Minimum and maximum number of connections per worker.
const LEAST: usize = 32;
const MOST: usize = 16_384;
/// The assumed limit of open files if the system states none.
const USUAL: usize = 1024;

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
