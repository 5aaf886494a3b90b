//! Findings in hindsight: events that came after a stay had expired.

use super::{CallContext, FindingFacts, FindingKind};
use crate::store::model;

/// The findings about stays of `members` that had expired by `upto`, ms, although a later event
/// shows that the device was still there. Each is from the last sign of the device, but not from
/// before its stay began, until the stay expired.
pub(super) fn findings_in_hindsight<'a>(
    members: &'a [model::Member],
    ledger: &'a CallContext,
    upto: i64,
) -> impl Iterator<Item = FindingFacts> + 'a {
    let stays = members.iter().map(|member| &member.stay);
    let ran_out = stays.filter(move |stay| stay.outlived_ms.is_some() && stay.until_ms <= upto);

    ran_out.map(move |stay| {
        let origins = ledger.origins.get(&stay.id);
        let last_sign = origins.and_then(|origins| origins.last_sign_ms);
        let since = last_sign.map_or(stay.joined_ms, |sign_ms| sign_ms.max(stay.joined_ms));
        FindingFacts::of_device(FindingKind::RanOut, stay, since).until(stay.until_ms)
    })
}
