//! What stands beside an event in its room's history: the order in which homeservers put events
//! tells when one happened, where its own stamp cannot be.

/// Servers that were apart for days put their events side by side; a stamp is refuted only by more
/// than this, ms.
const APART_MS: i64 = 7 * 86_400_000;
/// So many events before it are looked at.
const OLDER: usize = 5;

/// Of the stamps of one page of history, newest event first, ms: for each whose neighbours refute
/// it, the time that they give instead.
#[must_use]
pub fn refuted(stamps: &[i64]) -> Vec<Option<i64>> {
    let mut newest_ms: Option<i64> = None;
    let mut found = Vec::with_capacity(stamps.len());
    for (at, stamp) in stamps.iter().enumerate() {
        let older_ms = middle(stamps.get(at + 1..).unwrap_or_default());
        found.push(instead_of(*stamp, older_ms, newest_ms));
        newest_ms = newest_ms.max(Some(*stamp));
    }

    found
}

fn instead_of(stamp: i64, older_ms: Option<i64>, newest_ms: Option<i64>) -> Option<i64> {
    // Neighbours that contradict each other tell nothing.
    if older_ms
        .zip(newest_ms)
        .is_some_and(|(older, newest)| older > newest)
    {
        return None;
    }

    let is_before = |older: &i64| stamp < older.saturating_sub(APART_MS);
    // Who sends newer events with early stamps must not move what others sent before: the older ones
    // have to say the same.
    let is_after = |newest: &i64| {
        stamp > newest.saturating_add(APART_MS)
            && older_ms.is_some_and(|older| stamp > older.saturating_add(APART_MS))
    };

    older_ms.filter(is_before).or(newest_ms.filter(is_after))
}

/// The stamp in the middle of the next few older ones: one odd clock among several does not move
/// it.
fn middle(older: &[i64]) -> Option<i64> {
    let mut near: Vec<i64> = older.iter().take(OLDER).copied().collect();
    near.sort_unstable();
    near.get(near.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn a_stamp_far_from_those_beside_it_is_refuted() {
        let page = [NOW, 0, NOW - DAY, NOW - 2 * DAY];
        assert_eq!(refuted(&page), [None, Some(NOW - DAY), None, None]);
        let page = [NOW - 30 * DAY, NOW, NOW - 31 * DAY, NOW - 32 * DAY];
        assert_eq!(refuted(&page), [None, Some(NOW - 30 * DAY), None, None]);
    }

    #[test]
    fn servers_that_were_apart_for_days_are_believed() {
        let page = [NOW, NOW - 6 * DAY, NOW - DAY, NOW - 5 * DAY];
        assert_eq!(refuted(&page), [None; 4]);
    }

    #[test]
    fn a_stranger_who_stamps_the_newest_events_moves_no_others() {
        let page = [0, 0, 0, NOW, NOW - DAY, NOW - 2 * DAY];
        assert_eq!(refuted(&page)[3..], [None; 3]);
        assert_eq!(refuted(&[0, NOW]), [Some(NOW), None]);
        assert_eq!(refuted(&[]), []);
        assert_eq!(refuted(&[5]), [None]);
    }
}
