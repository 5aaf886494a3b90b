//! What the head of a call's page says: to a person in a few words, and to programs that show a
//! preview of a link.

use super::call::CallPage;
use crate::web::http::response::Shell;
use crate::web::view::CallFacts;
use crate::web::view::format as f;

/// Maximum number of people named in a description.
const NAMED: usize = 6;

/// Maximum number of stays of a call whose page names its picture.
const CARD_STAYS_MAX: i64 = 100;

impl CallPage {
    /// The title of the page: the room, the day (UTC), and how it stands.
    #[must_use]
    pub fn title(&self, now: &i64) -> String {
        let call = &self.call;
        let day = f::utc_datetime(call.started_ms).strftime("%-d %B %Y");

        format!(
            "{}, {day}: {}",
            call.room.title(),
            state_in_short(call, *now)
        )
    }

    /// The page in one or two sentences: since when, who, and what is wrong.
    #[must_use]
    pub fn description(&self, now: &i64) -> String {
        let call = &self.call;
        let begin = f::utc_datetime(call.started_ms).strftime("%-d %B %Y, %H:%M UTC");
        let state = state_in_short(call, *now);
        let people: Vec<String> = self.named_people();
        let who = if people.is_empty() {
            String::new()
        } else {
            format!(" {}.", f::list_in_words(&people))
        };
        let wrong = call
            .first_finding()
            .map(|words| format!(" {words}."))
            .unwrap_or_default();

        format!("{} of {begin}: {state}.{wrong}{who}", call.noun().title)
    }

    /// Where programs find the picture of the call; `None` if they find nothing there. The page of a
    /// crowd is so long that it has no room for it.
    #[must_use]
    pub fn card_url(&self, shell: &Shell) -> Option<String> {
        let public_url = shell.public_url.as_deref().filter(|_| !shell.is_shared)?;
        if self.call.members_total > CARD_STAYS_MAX {
            return None;
        }

        Some(format!("{public_url}{}/card.png", self.call.href()))
    }

    /// Who is here, or where nobody is any more who was: the first few by name, others counted.
    fn named_people(&self) -> Vec<String> {
        let call = &self.call;
        let mut seen = std::collections::BTreeSet::new();
        let people = call.members.iter().filter(|stay| {
            !stay.ghost && (!call.active || stay.is_here()) && seen.insert(&stay.user_id)
        });
        let mut named: Vec<String> = people.map(|stay| f::isolate_bidi(&stay.title())).collect();
        let total = if call.active {
            call.people_now
        } else {
            usize::try_from(call.people).unwrap_or(0)
        };
        if named.len() > NAMED + 1 || total > named.len() {
            named.truncate(NAMED);
            let more = total.saturating_sub(named.len());
            named.push(format!("{} more", f::group_digits(more)));
        }

        named
    }
}

/// How a call stands, in a few words.
pub(in crate::web) fn state_in_short(call: &CallFacts, now: i64) -> String {
    let people = |count: usize| f::count_with_noun(count, "person", "people");
    let was = usize::try_from(call.people).unwrap_or(0);
    let state = if call.unknown_since_ms.is_some() {
        "not known whether it runs".to_owned()
    } else if call.is_stuck() {
        "probably stuck".to_owned()
    } else if call.is_not_answered() && call.active {
        "rang, not answered".to_owned()
    } else if call.active && call.others_unknown {
        format!("{} now, others unknown", people(call.people_now))
    } else if call.active {
        format!("{} now", people(call.people_now))
    } else if call.is_not_answered() {
        "not answered".to_owned()
    } else {
        format!(
            "{}, {}",
            people(was),
            f::ended_duration(call.end_ms(now) - call.started_ms)
        )
    };
    let ghosts = call.ghost_words().filter(|_| call.active);

    ghosts.map_or(state.clone(), |words| format!("{state}, {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixtures::{self, NOW};
    use crate::web::pages::call::call_page;

    fn page(call: CallFacts) -> CallPage {
        call_page(call, Vec::new(), 0, Vec::new(), NOW)
    }

    #[test]
    fn the_title_carries_room_day_and_people() {
        let running = page(fixtures::two_small_calls().remove(0));
        assert_eq!(
            running.title(&NOW),
            "مجلس المطوّرين, 22 November 2026: 2 people now"
        );
        let mut ended = fixtures::ended_calls().remove(0);
        assert_eq!(
            page(ended.clone()).title(&NOW),
            "Support desk, 22 November 2026: 3 people, 12 min"
        );
        ended.answered = Some(false);
        assert!(page(ended).title(&NOW).ends_with(": not answered"));
    }

    #[test]
    fn the_description_names_a_few() {
        let words = page(fixtures::crowd_call(20)).description(&NOW);
        assert!(words.contains(" and 11 more."), "{words}");
        let words = page(fixtures::ended_calls().remove(0)).description(&NOW);
        assert!(
            words.starts_with("Call of 22 November 2026, 14:19 UTC: 3 people, 12 min."),
            "{words}"
        );
        assert!(words.contains("u0") && words.contains(" and "), "{words}");
    }
}
