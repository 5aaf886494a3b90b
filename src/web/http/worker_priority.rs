//! Threads that answer requests give way to the observer. Otherwise many viewers could take its
//! processor time, and an event would be stored late.

/// How far a thread that answers stands behind the others. 10 is about a tenth of their share while
/// a processor is busy, and nothing is lost while none is (man 7 sched).
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lowers the priority of the calling thread, and of the threads that it starts: those of its
/// connections to a `SQLite` file. On Linux, a priority belongs to a thread; elsewhere to the whole
/// process, so nothing is done there.
pub fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        // Whoever started us with a lower priority meant it.
        let is_low = rustix::process::getpriority_process(None).is_ok_and(|now| now >= NICE);
        if is_low {
            return;
        }

        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "the threads that answer keep their priority");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_and_those_it_starts_give_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let lowered = std::thread::spawn(move || {
            lower_priority();
            (priority(), std::thread::spawn(priority).join().unwrap())
        });

        let expected = NICE.max(before);
        assert_eq!(lowered.join().unwrap(), (expected, expected));
        assert_eq!(priority(), before);
    }
}
