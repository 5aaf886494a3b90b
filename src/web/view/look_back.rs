//! Findings in hindsight: events that came after a stay had expired.

use super::{CallContext, FindingFacts};
use crate::store::model;

/// The findings of these stays, as known at `upto`, ms.
pub(super) fn findings_in_hindsight<'a>(
    members: &'a [model::Member],
    ledger: &'a CallContext,
    upto: i64,
) -> impl Iterator<Item = FindingFacts> + 'a {
    let ran_out = members
        .iter()
        .filter(move |member| member.outlived_ms.is_some() && member.until_ms <= upto);

    ran_out.map(move |member| {
        let origins = ledger.origins.get(&member.id);
        let last_sign = origins.and_then(|origins| origins.last_sign_ms);
        let since = last_sign.map_or(member.joined_ms, |at| at.max(member.joined_ms));
        FindingFacts::of_device("ran_out", member, since).until(member.until_ms)
    })
}
