//! Codes by which people sign in who get them in a direct room. Only hashes are stored. A code
//! itself goes to the observer, which sends it, through memory alone.

use super::SignIns;
use crate::store::Error;
use crate::store::db::json_row::read_rows;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc};

/// How long a code is good for, ms.
pub const GOOD_FOR_MS: i64 = 10 * 60 * 1000;
/// How often a code may be entered until it is right.
pub const TRIES_MOST: i64 = 6;
/// Maximum codes that wait to be sent.
const WAITING_MOST: usize = 100;

/// A code that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedCode {
    /// SHA-256 of what the browser has in its cookie, in hex.
    pub browser_hash: String,
    pub user_id: String,
    /// SHA-256 of the code and of what the browser has, in hex.
    pub code_hash: String,
    pub asked_ms: i64,
}

/// What became of a code that was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeCheck {
    Right {
        user_id: String,
    },
    Wrong {
        user_id: String,
        tries_left: i64,
    },
    /// None is good in this browser: it was used, is too old, was entered wrongly too often, or was
    /// never asked for.
    NotGood,
}

/// A code that is to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct CodeWish {
    pub user_id: String,
    pub code: String,
    /// The address of the pages, for people.
    pub site: Option<String>,
    pub asked_ms: i64,
}

impl fmt::Debug for CodeWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeWish")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// Where codes are handed in that are to be sent.
#[derive(Debug, Clone)]
pub struct CodeOutbox {
    waiting: mpsc::Sender<CodeWish>,
    is_open: Arc<AtomicBool>,
}

/// Where codes come that are to be sent. Cheap to clone: all clones are one.
#[derive(Debug, Clone)]
pub struct CodeInbox {
    waiting: Arc<Mutex<mpsc::Receiver<CodeWish>>>,
    is_open: Arc<AtomicBool>,
}

/// The two ends of the way that codes go. It is closed at first.
#[must_use]
pub fn code_channel() -> (CodeOutbox, CodeInbox) {
    let (sender, receiver) = mpsc::channel(WAITING_MOST);
    let is_open = Arc::new(AtomicBool::new(false));
    let outbox = CodeOutbox {
        waiting: sender,
        is_open: is_open.clone(),
    };
    let inbox = CodeInbox {
        waiting: Arc::new(Mutex::new(receiver)),
        is_open,
    };

    (outbox, inbox)
}

impl CodeOutbox {
    /// Can codes be sent now?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Hands in a code. Returns false if too many wait.
    #[must_use]
    pub fn hand_in(&self, wish: CodeWish) -> bool {
        self.waiting.try_send(wish).is_ok()
    }
}

impl CodeInbox {
    /// Says whether codes can be sent now.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// The next code; `None` if no more will come.
    pub async fn next(&self) -> Option<CodeWish> {
        self.waiting.lock().await.recv().await
    }
}

json_row! {
    struct CodeRow {
        user_id: String = "user_id",
        tries: i64 = "tries",
    }
}

const FORGET: &str = "delete from sign_in_codes where asked_ms <= $1";
const ADD: &str = "insert into sign_in_codes (browser_hash, user_id, code_hash, asked_ms, tries)
    values ($1, $2, $3, $4, 0)";

/// Adds a code, and deletes those that are no longer good at its time.
///
/// # Errors
/// When the database fails.
pub async fn add_code(sign_ins: &SignIns, code: &AskedCode) -> Result<(), Error> {
    delete_old_codes(sign_ins, code.asked_ms).await?;
    let statement = || {
        sqlx::query(ADD)
            .bind(code.browser_hash.as_str())
            .bind(code.user_id.as_str())
            .bind(code.code_hash.as_str())
            .bind(code.asked_ms)
    };
    sign_ins.write(statement).await?;

    Ok(())
}

/// Deletes the codes that are no longer good at `now`, ms.
///
/// # Errors
/// When the database fails.
pub async fn delete_old_codes(sign_ins: &SignIns, now: i64) -> Result<(), Error> {
    let before = now.saturating_sub(GOOD_FOR_MS);
    sign_ins.write(|| sqlx::query(FORGET).bind(before)).await?;

    Ok(())
}

const TRY: &str = "update sign_in_codes set tries = tries + 1
    where browser_hash = $1 and asked_ms > $2 and tries < $3";
const FIND: &str = sql!(
    "select ",
    CodeRow::TEXT,
    " from sign_in_codes where browser_hash = $1"
);
const USE: &str = "delete from sign_in_codes where browser_hash = $1 and code_hash = $2";

/// Tries a code in the browser with this hash at `now`, ms. It is counted before it is looked at,
/// so that many at once are counted, too. A right one is deleted, so that it is good once.
///
/// # Errors
/// When the database fails.
pub async fn try_code(
    sign_ins: &SignIns,
    browser_hash: &str,
    code_hash: &str,
    now: i64,
) -> Result<CodeCheck, Error> {
    let after = now.saturating_sub(GOOD_FOR_MS);
    let statement = || {
        sqlx::query(TRY)
            .bind(browser_hash)
            .bind(after)
            .bind(TRIES_MOST)
    };
    if sign_ins.write(statement).await? == 0 {
        return Ok(CodeCheck::NotGood);
    }

    // By the connection that writes, so that it is as we left it.
    let query = sign_ins.dialect().query(FIND).bind(browser_hash);
    let rows = query.fetch_all(&sign_ins.write).await?;
    let Some(found) = read_rows(&rows, |row: CodeRow| row)?.pop() else {
        return Ok(CodeCheck::NotGood);
    };

    let statement = || sqlx::query(USE).bind(browser_hash).bind(code_hash);
    let is_right = sign_ins.write(statement).await? > 0;

    Ok(if is_right {
        CodeCheck::Right {
            user_id: found.user_id,
        }
    } else {
        CodeCheck::Wrong {
            user_id: found.user_id,
            tries_left: TRIES_MOST.saturating_sub(found.tries),
        }
    })
}
