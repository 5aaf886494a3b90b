//! Coverage of a room over time: when it was watched live, polled, read from history, not watched,
//! or not visible.

use super::words::{JobEnd, words};

/// A span of time, ms since the Unix epoch, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub from: i64,
    pub to: i64,
}

impl Span {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to <= self.from
    }

    /// The intersection of both spans. It is empty ([`Self::is_empty`]) if they do not meet.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        Self {
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        }
    }
}

words! {
    /// How a span of time is known.
    pub enum Cover {
        /// The sync stream was followed.
        Live = "live",
        /// The state was polled repeatedly.
        Polled = "polled",
        /// Nobody watched, but history and state were read later.
        Backfilled = "backfilled",
        /// Nobody watched, and the time has not been read later (yet).
        Gap = "gap",
        /// History is hidden from us.
        NotVisible = "not_visible",
    }
}

impl Cover {
    /// Is nothing known of this time, be it unwatched or hidden?
    #[must_use]
    pub fn is_blind(self) -> bool {
        matches!(self, Self::Gap | Self::NotVisible)
    }
}

/// A span and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub span: Span,
    pub cover: Cover,
}

/// How much of a span nobody watched and nobody read later, ms: the part of it in these spans
/// (`blind`), which are in order and do not overlap.
#[must_use]
pub fn blind_ms_within(blind: &[Span], span: Span) -> i64 {
    let first = blind.partition_point(|gap| gap.to <= span.from);

    blind[first..]
        .iter()
        .take_while(|gap| gap.from < span.to)
        .map(|gap| gap.to.min(span.to) - gap.from.max(span.from))
        .sum()
}

/// A read of history: the observer reads it backwards (back-fill).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRead {
    /// When it was opened, ms. A read of a gap is opened when the gap ends.
    pub opened_ms: i64,
    /// It covers the whole room, not one gap.
    pub history: bool,
    /// For a gap reported by a limited timeline: the time of the previous answer of the sync
    /// stream, ms.
    pub since_ms: Option<i64>,
    /// The oldest time it has reached, ms.
    pub reached_ms: Option<i64>,
    /// The limit of the read, ms: nothing older is read.
    pub horizon_ms: Option<i64>,
    /// Why it ended; `None` = still running.
    pub ended_by: Option<JobEnd>,
}

/// The observer's records about one room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoverageRecords {
    /// When the sync stream was received, in order; only if the room is followed.
    pub heard: Vec<Span>,
    /// When the room was polled, in order.
    pub polled: Vec<Span>,
    /// When we were not in the room or could not read it; an end in the far future = still.
    pub away: Vec<Span>,
    pub first_seen_ms: i64,
    /// The last read of its full state, ms.
    pub polled_ms: Option<i64>,
    pub created_ms: Option<i64>,
    pub reads: Vec<HistoryRead>,
    /// When the room's history was hidden from us ([`super::visibility`]), in order.
    pub hidden: Vec<Span>,
    /// The source is silent: its last span does not reach until now.
    pub silent: bool,
}

/// Maximum time since the last answer that still counts as live, ms. A long poll answers within
/// half a minute.
pub const GRACE_MS: i64 = 90_000;

/// How the room was known, from its known beginning until `now`, ms. The intervals are in order and
/// contiguous, and neighbours have different coverage.
#[must_use]
pub fn coverage_of_room(notes: &CoverageRecords, now: i64) -> Vec<Interval> {
    let mut found = coverage_before_first_seen(notes, now);
    // Up to where the coverage is decided, ms.
    let mut at = notes.first_seen_ms.min(now);
    for (span, cover) in watched_spans(notes, now) {
        if span.from > at {
            let gap = Span {
                from: at,
                to: span.from,
            };

            for (half, known) in split_at_read_from(gap, gap_read_from(notes, span.from)) {
                append_interval(&mut found, half, known);
            }
        }

        append_interval(
            &mut found,
            Span {
                from: span.from.max(at),
                to: span.to,
            },
            cover,
        );
        at = at.max(span.to);
    }

    append_interval(&mut found, Span { from: at, to: now }, Cover::Gap);

    with_hidden_spans(
        with_gaps_of_limited_timelines(found, &notes.reads),
        &notes.hidden,
    )
}

/// The same intervals, which must be in order, with the spans that limited timelines left out
/// although the stream was received. Only live time changes: such a span is a gap until its read
/// has finished, and back-filled after that.
fn with_gaps_of_limited_timelines(
    intervals: Vec<Interval>,
    reads: &[HistoryRead],
) -> Vec<Interval> {
    let mut left_out: Vec<(Span, Cover)> =
        reads.iter().flat_map(HistoryRead::left_out_span).collect();
    left_out.sort_by_key(|(span, _)| *span);
    let mut left_out = left_out.into_iter().peekable();
    let mut found = Vec::new();
    for Interval { span, cover } in intervals {
        let mut rest = span;
        while let Some((gap, known)) = left_out.peek().filter(|(span, _)| span.from < rest.to) {
            let part = rest.within(gap);
            append_interval(
                &mut found,
                Span {
                    from: rest.from,
                    to: part.from,
                },
                cover,
            );
            append_interval(
                &mut found,
                part,
                if cover == Cover::Live { *known } else { cover },
            );
            rest.from = rest.from.max(part.to);
            if gap.to > span.to {
                break;
            }

            left_out.next();
        }

        append_interval(&mut found, rest, cover);
    }

    found
}

/// The same intervals, with those spans not visible in which the room's history was hidden from us
/// (`hidden`, in order and disjoint). Only gaps and back-filled time change: what we saw live or by
/// polls stays.
fn with_hidden_spans(intervals: Vec<Interval>, hidden: &[Span]) -> Vec<Interval> {
    let mut found = Vec::new();
    for Interval { span, cover } in intervals {
        let mut rest = span;
        for veil in hidden
            .iter()
            .filter(|_| matches!(cover, Cover::Backfilled | Cover::Gap))
        {
            append_interval(
                &mut found,
                Span {
                    from: rest.from,
                    to: rest.to.min(veil.from),
                },
                cover,
            );
            append_interval(&mut found, rest.within(veil), Cover::NotVisible);
            rest.from = rest.from.max(veil.to.min(rest.to));
        }

        append_interval(&mut found, rest, cover);
    }

    found
}

/// The coverage at a time, ms, by intervals in order. A time before all of them is a gap; a time
/// after them is as the last one.
#[must_use]
pub fn cover_at(intervals: &[Interval], ms: i64) -> Cover {
    let last = intervals.last().filter(|last| ms >= last.span.to);
    let here = intervals
        .iter()
        .find(|interval| (interval.span.from..interval.span.to).contains(&ms))
        .or(last);

    here.map_or(Cover::Gap, |interval| interval.cover)
}

/// Since when the room has not been watched, ms, by intervals in order that reach until now; `None`
/// if it is watched now.
#[must_use]
pub fn unwatched_since(intervals: &[Interval]) -> Option<i64> {
    intervals
        .last()
        .filter(|last| last.cover.is_blind())
        .map(|last| last.span.from)
}

/// Adds a span at the end of intervals in order: it must not begin before the last one. It extends
/// the last interval if that has the same coverage and reaches the span; an empty span is ignored.
fn append_interval(found: &mut Vec<Interval>, span: Span, cover: Cover) {
    if span.is_empty() {
        return;
    }

    match found
        .last_mut()
        .filter(|last| last.cover == cover && last.span.to >= span.from)
    {
        Some(last) => last.span.to = last.span.to.max(span.to),
        None => found.push(Interval { span, cover }),
    }
}

/// The coverage from the room's creation until we first saw it (or until `now`, ms, if a clock says
/// that this is earlier), by the reads of its history: what a
/// read has reached is back-filled. Older time is back-filled if a read ended at the beginning of
/// the room, not visible if the last read found it hidden, else a gap.
fn coverage_before_first_seen(notes: &CoverageRecords, now: i64) -> Vec<Interval> {
    let first = notes.first_seen_ms.min(now);
    // A read begins where an earlier one ended, so what was read stays read.
    let history: Vec<&HistoryRead> = notes.reads.iter().filter(|read| read.history).collect();
    let reached = history.iter().filter_map(|read| read.reached_ms).min();
    let reached = reached.unwrap_or(first);
    let created = notes.created_ms.unwrap_or(reached).min(first);
    // A timestamp before the room's creation is wrong.
    let reached = reached.clamp(created, first);
    let last = history.iter().max_by_key(|read| read.opened_ms);
    let is_hidden = last.is_some_and(|read| read.ended_by == Some(JobEnd::NotVisible));
    let mut ends = history.iter().filter_map(|read| read.ended_by);
    let beyond = if ends.any(|why| why == JobEnd::Beginning) {
        Cover::Backfilled
    } else if is_hidden {
        Cover::NotVisible
    } else {
        Cover::Gap
    };

    let mut found = Vec::new();
    append_interval(
        &mut found,
        Span {
            from: created,
            to: reached,
        },
        beyond,
    );
    append_interval(
        &mut found,
        Span {
            from: reached,
            to: first,
        },
        Cover::Backfilled,
    );

    found
}

/// The spans in which the room was watched, live or by polls, in order. Times when we were away are
/// left out. The last span lasts until `now`, unless the source is silent.
fn watched_spans(notes: &CoverageRecords, now: i64) -> Vec<(Span, Cover)> {
    let live = notes.heard.iter().map(|span| (*span, Cover::Live));
    let polled = notes.polled.iter().map(|span| (*span, Cover::Polled));
    let mut spans: Vec<(Span, Cover)> = live.chain(polled).collect();
    spans.sort_by_key(|(span, _)| *span);
    if let Some((last, _)) = spans.iter_mut().max_by_key(|(span, _)| span.to)
        && !notes.silent
    {
        last.to = now;
    }

    let whole = Span {
        from: notes.first_seen_ms,
        to: now,
    };

    let mut found = Vec::new();
    for (span, cover) in spans {
        let mut rest = span.within(&whole);
        for away in &notes.away {
            found.push((
                Span {
                    from: rest.from,
                    to: rest.to.min(away.from),
                },
                cover,
            ));
            rest.from = rest.from.max(away.to);
        }

        found.push((rest, cover));
    }

    found.retain(|(span, _)| !span.is_empty());
    found.sort_by_key(|(span, _)| *span);

    found
}

impl HistoryRead {
    /// The time from which on the gap was read, ms; `i64::MIN` if all of it was read. `None` while
    /// the read runs, or if it ended without having read the gap.
    fn read_from(&self) -> Option<i64> {
        match self.ended_by? {
            JobEnd::Horizon => Some(self.horizon_ms.unwrap_or(i64::MIN)),
            JobEnd::Beginning | JobEnd::Met => Some(i64::MIN),
            _ => None,
        }
    }

    /// The span that a limited timeline left out, as up to two parts: the older one still unread,
    /// the newer one read. Empty if this read belongs to no limited timeline.
    fn left_out_span(&self) -> Vec<(Span, Cover)> {
        let Some(from) = self.since_ms.filter(|_| !self.history) else {
            return Vec::new();
        };

        let mut parts = split_at_read_from(
            Span {
                from,
                to: self.opened_ms,
            },
            self.read_from(),
        )
        .to_vec();
        parts.retain(|(span, _)| !span.is_empty());

        parts
    }
}

/// Splits a gap at the time from which on it was read, ms: first the part that stays a gap, then
/// the back-filled part. Either may be empty. With `None` nothing was read.
fn split_at_read_from(gap: Span, read_from: Option<i64>) -> [(Span, Cover); 2] {
    let cut = read_from
        .unwrap_or(i64::MAX)
        .clamp(gap.from, gap.to.max(gap.from));

    [
        (
            Span {
                from: gap.from,
                to: cut,
            },
            Cover::Gap,
        ),
        (
            Span {
                from: cut,
                to: gap.to,
            },
            Cover::Backfilled,
        ),
    ]
}

/// The time from which on a gap that ended at `end` is known, both in ms; `i64::MIN` if all of it
/// is, also if nobody asked to read it. `None` if it is not known: the full state was not read
/// since then, or a read of the gap has not finished.
fn gap_read_from(notes: &CoverageRecords, end: i64) -> Option<i64> {
    if notes.polled_ms.is_none_or(|polled| polled < end) {
        return None;
    }

    let reads = notes
        .reads
        .iter()
        .filter(|read| !read.history && read.opened_ms == end);

    reads
        .map(HistoryRead::read_from)
        .try_fold(i64::MIN, |latest, from| Some(latest.max(from?)))
}

#[cfg(test)]
mod tests;
