//! Findings in hindsight: events that came after a stay had expired.

use super::{CallContext, FindingFacts};
use crate::store::model;

/// The findings of these stays, as known at `upto`, ms.
pub(super) fn findings_in_hindsight<'a>(
    members: &'a [model::Member],
    ledger: &'a CallContext,
    upto: i64,
) -> impl Iterator<Item = FindingFacts> + 'a {
    members
        .iter()
        .flat_map(move |member| hindsight_of_stay(member, ledger, upto))
}

fn hindsight_of_stay(member: &model::Member, ledger: &CallContext, upto: i64) -> Vec<FindingFacts> {
    let origins = ledger.origins.get(&member.id).copied().unwrap_or_default();
    let mut found = Vec::new();

    if member.outlived_ms.is_some() && member.until_ms <= upto {
        let last_sign = origins.last_sign_ms.unwrap_or(member.joined_ms);
        let since = last_sign.max(member.joined_ms);
        found.push(FindingFacts::of_device("ran_out", member, since).until(member.until_ms));
    }

    found
}
