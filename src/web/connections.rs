//! How many connections are taken at once: no more than the system lets the process have open, with
//! enough left for the database and for homeservers. Else it would be strangers who decide whether
//! the observer can work.

/// Files that the process needs besides connections of readers.
const OTHERS: usize = 160;
/// Connections of one worker at least and at most.
const LEAST: usize = 32;
const MOST: usize = 4096;
/// What a process may have open where it is not said.
const USUAL: usize = 1024;

/// Connections that each of so many workers may have.
#[must_use]
pub fn of_worker(workers: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    share(open_files(&limits).unwrap_or(USUAL), workers)
}

/// Live streams that may be open at once: half of all connections, so that there are others for
/// questions.
#[must_use]
pub fn streams() -> usize {
    of_worker(1) / 2
}

fn share(files: usize, workers: usize) -> usize {
    (files.saturating_sub(OTHERS) / workers.max(1)).clamp(LEAST, MOST)
}

/// The limit in force, from what Linux says of a process; `None` where it says nothing or there is
/// no limit.
fn open_files(limits: &str) -> Option<usize> {
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
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files unlimited unlimited files"), None);
        assert_eq!(open_files(""), None);
        assert_eq!(
            [share(1024, 2), share(64, 8), share(1 << 30, 2)],
            [432, LEAST, MOST]
        );
    }
}
