//! Who asked on the pages, or by a message, not to be recorded. The observer forgets them
//! (`store/rights`), and then their rows go.

use super::SignIns;
use crate::store::Error;

const ADD: &str = "insert into opt_outs (user_id, asked_ms) values ($1, $2)
    on conflict (user_id) do nothing";

/// Stores that this user asked not to be recorded, at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn record_opt_out(sign_ins: &SignIns, user_id: &str, now: i64) -> Result<(), Error> {
    sign_ins
        .write(|| sqlx::query(ADD).bind(user_id).bind(now))
        .await?;

    Ok(())
}

const IS_OPEN: &str = "select count(*) from opt_outs where user_id = $1";

/// Is this user about to be forgotten?
///
/// # Errors
/// When the database fails.
pub async fn is_opting_out(sign_ins: &SignIns, user_id: &str) -> Result<bool, Error> {
    let open: i64 = sqlx::query_scalar(IS_OPEN)
        .bind(user_id)
        .fetch_one(&sign_ins.read)
        .await?;

    Ok(open > 0)
}
