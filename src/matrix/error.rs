//! The errors between us and a homeserver, and the questions that callers ask about them.

use std::path::PathBuf;
use std::time::Duration;

/// The result of a request to a homeserver.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request. The texts name the request (method and path, never the query or a token) in
/// words for the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The client cannot work with these settings; a retry does not help.
    #[error("{0}")]
    Setup(String),
    /// There was no connection, or it was lost before the answer began.
    #[error("{asked}: cannot reach the homeserver: {why}")]
    Unreachable { asked: String, why: String },
    /// There was no complete answer within the request's timeout.
    #[error("{asked}: the homeserver did not answer within {} s", .after.as_secs_f32())]
    Timeout { asked: String, after: Duration },
    /// The homeserver refused, with a Matrix error or a server error (5xx).
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The homeserver does not accept this login, and a retry does not help until somebody changes
    /// something.
    #[error("{0}")]
    LoginRefused(Box<Refusal>),
    /// This homeserver has no login by password.
    #[error("{}", no_password(.user_id, .offers.as_deref()))]
    NoPassword {
        user_id: String,
        /// The logins that the homeserver offers instead, if it says so.
        offers: Option<String>,
    },
    /// An answer that Matrix does not allow: a web page, invalid JSON, a missing field, a truncated
    /// body.
    #[error("{asked}: the homeserver answered with something that is not Matrix: {why}")]
    NotMatrix {
        asked: String,
        status: u16,
        why: String,
    },
    /// The answer was larger than the limit in memory; it was not read to its end.
    #[error("{asked}: the answer is larger than {} and was not read \
             (max_response_mb)", size_in_words(*.limit))]
    TooLarge { asked: String, limit: usize },
    /// The file with device and token could not be read or written.
    #[error("{}: {why}", path.display())]
    Credentials { path: PathBuf, why: String },
}

/// A refusal of a homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Method and path of the request.
    pub asked: String,
    /// The HTTP status.
    pub status: u16,
    /// Matrix's error code, for example `M_FORBIDDEN`; `None` when a 5xx came without one.
    pub errcode: Option<String>,
    /// The homeserver's message, shortened and without control characters.
    pub message: String,
    /// The wait that the homeserver asks for.
    pub retry_after: Option<Duration>,
    /// With a 401: the device still exists; a new login with its id keeps it.
    pub soft_logout: bool,
}

impl std::fmt::Display for Refusal {
    /// What was asked, what the refusal means for the operator, then status, code and message of
    /// the homeserver.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.asked)?;
        match self.errcode.as_deref() {
            Some("M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN") => {
                f.write_str("the access token is not valid (any more)")?;
            }
            Some("M_LIMIT_EXCEEDED") => f.write_str("the homeserver asks us to slow down")?,
            Some("M_FORBIDDEN") => f.write_str("the homeserver does not allow it")?,
            Some("M_NOT_FOUND") => f.write_str("the homeserver does not have it")?,
            Some("M_UNRECOGNIZED") => f.write_str("the homeserver does not know this request")?,
            _ if self.status >= 500 => {
                f.write_str("the homeserver (or a proxy before it) has a fault")?;
            }
            _ => f.write_str("the homeserver refused")?,
        }

        write!(f, " ({}", self.status)?;
        if let Some(errcode) = &self.errcode {
            write!(f, " {errcode}")?;
        }

        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }

        f.write_str(")")
    }
}

impl Error {
    /// May the same request succeed later without any change by the operator?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NotMatrix { .. }
            | Self::TooLarge { .. } => true,
            Self::Refused(no) => {
                no.status >= 500
                    || no.status == 429
                    || no.status == 408
                    || self.is("M_LIMIT_EXCEEDED")
            }
            Self::Setup(_)
            | Self::Credentials { .. }
            | Self::LoginRefused(_)
            | Self::NoPassword { .. } => false,
        }
    }

    /// Was there no answer?
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }

    /// Would the same login be refused again until somebody changes something?
    #[must_use]
    pub fn is_login_refused(&self) -> bool {
        matches!(self, Self::LoginRefused(_) | Self::NoPassword { .. })
    }

    /// Does the homeserver not know this kind of request at all? Then the caller tries another way.
    /// A 404 counts, too, so ask only about requests whose object must exist.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.is("M_UNRECOGNIZED") || matches!(self.status(), Some(404 | 405 | 501))
    }

    /// Does the homeserver say that it has no login by password? Homeservers say so with many
    /// codes, so the words of the message decide.
    #[must_use]
    pub(super) fn is_no_password_login(&self) -> bool {
        let words = self
            .refusal()
            .map(|no| no.message.to_lowercase())
            .unwrap_or_default();
        let says_disabled = ["disabled", "not enabled", "not supported"]
            .iter()
            .any(|word| words.contains(word));
        let says_login = words.contains("login") || words.contains("password");
        let says_login_type = words.contains("login type") && !self.is_forbidden();

        self.is_unsupported() || says_login_type || (says_disabled && says_login)
    }

    /// How long to wait before a retry, if the homeserver said so. A 429 always has a time.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|no| no.retry_after)
    }

    /// Is the access token no longer accepted? Only a new login, or a new token, helps.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.status() == Some(401) && (self.is("M_UNKNOWN_TOKEN") || self.is("M_MISSING_TOKEN"))
    }

    /// Was the token revoked in a way that keeps the device (`soft_logout`)?
    #[must_use]
    pub fn is_soft_logout(&self) -> bool {
        self.is_revoked() && self.refusal().is_some_and(|no| no.soft_logout)
    }

    /// Does the homeserver not know the position (`since`, `from`) that we gave? Then start without
    /// one. Synapse says 400 `M_UNKNOWN` "Invalid stream token", others use words of their own, so
    /// a part of the message decides.
    #[must_use]
    pub fn is_unknown_position(&self) -> bool {
        if self.is("M_UNKNOWN_POS") {
            return true;
        }

        let named = ["M_UNKNOWN", "M_INVALID_PARAM", "M_BAD_PARAM"]
            .iter()
            .any(|code| self.is(code));

        self.status() == Some(400)
            && named
            && self.refusal().is_some_and(|no| {
                let words = no.message.to_lowercase();
                ["token", "since", "'from'", "position"]
                    .iter()
                    .any(|word| words.contains(word))
            })
    }

    /// Does the homeserver no longer have the stored filter? Then upload it again. Synapse says 400
    /// `M_INVALID_PARAM` "No such filter".
    #[must_use]
    pub fn is_unknown_filter(&self) -> bool {
        matches!(self.status(), Some(400 | 404))
            && self
                .refusal()
                .is_some_and(|no| no.message.to_lowercase().contains("filter"))
    }

    /// Did the homeserver say that we are not allowed?
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.is("M_FORBIDDEN") || self.is("M_GUEST_ACCESS_FORBIDDEN")
    }

    /// Did the homeserver say, with a Matrix error, that the object does not exist? A 404 page of a
    /// proxy does not count.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.is("M_NOT_FOUND") || (self.status() == Some(404) && self.is("M_UNRECOGNIZED"))
    }

    /// Did the homeserver say that the object does not exist or that we are not allowed? An unknown
    /// endpoint (`M_UNRECOGNIZED`, for example from a misconfigured proxy) is another case, and may
    /// be temporary.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.is_forbidden() || self.is("M_NOT_FOUND")
    }

    /// The HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(no) | Self::LoginRefused(no) => Some(no.status),
            Self::NotMatrix { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The homeserver's refusal; `None` for an error of another kind.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(no) | Self::LoginRefused(no) => Some(no),
            _ => None,
        }
    }

    /// Did the homeserver refuse with this Matrix error code?
    fn is(&self, errcode: &str) -> bool {
        self.refusal()
            .is_some_and(|no| no.errcode.as_deref() == Some(errcode))
    }
}

/// The text of [`Error::NoPassword`]: what to do if there is no login by password.
fn no_password(user_id: &str, offers: Option<&str>) -> String {
    let local = user_id.trim_start_matches('@');
    let local = local.split(':').next().unwrap_or(local);
    let offers = offers.map_or(String::new(), |offers| format!(" (it offers {offers})"));

    format!(
        "give Callscope an access token instead of user id and password: with the Matrix \
         Authentication Service, `mas-cli manage issue-compatibility-token {local}` makes one; \
         else sign in as this account in Element, copy the token from Settings, Help & About, \
         Access Token, and do not sign out there. Set it as access_token (CALLSCOPE_ACCESS_TOKEN) \
         in place of user_id and password, and restart. The homeserver does not let {user_id} sign \
         in with a password{offers}"
    )
}

/// A size in whole MiB, or in bytes below one.
fn size_in_words(bytes: usize) -> String {
    const MIB: usize = 1024 * 1024;
    if bytes >= MIB {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, errcode: &str, message: &str) -> Error {
        Error::Refused(Box::new(Refusal {
            asked: "GET /x".to_owned(),
            status,
            errcode: Some(errcode.to_owned()),
            message: message.to_owned(),
            retry_after: None,
            soft_logout: false,
        }))
    }

    #[test]
    fn a_position_is_unknown_only_when_the_words_say_so() {
        assert!(refused(400, "M_UNKNOWN", "Invalid stream token 's1_2'").is_unknown_position());
        assert!(refused(400, "M_INVALID_PARAM", "bad since").is_unknown_position());
        assert!(refused(400, "M_UNKNOWN_POS", "").is_unknown_position());
        assert!(refused(400, "M_UNKNOWN", "'from' parameter is invalid").is_unknown_position());
        assert!(!refused(400, "M_UNKNOWN", "filter too long").is_unknown_position());
        assert!(!refused(401, "M_UNKNOWN_TOKEN", "Invalid access token").is_unknown_position());
    }

    #[test]
    fn a_lost_filter_is_told_from_a_lost_position() {
        let lost = refused(400, "M_INVALID_PARAM", "No such filter");
        assert!(lost.is_unknown_filter() && !lost.is_unknown_position());
        assert!(!refused(400, "M_UNKNOWN", "Invalid stream token").is_unknown_filter());
    }

    #[test]
    fn what_is_transient() {
        assert!(refused(500, "M_UNKNOWN", "").is_transient());
        assert!(refused(429, "M_LIMIT_EXCEEDED", "").is_transient());
        assert!(!refused(403, "M_FORBIDDEN", "").is_transient());
        assert!(!refused(401, "M_UNKNOWN_TOKEN", "").is_transient());
        assert!(
            Error::TooLarge {
                asked: String::new(),
                limit: 1
            }
            .is_transient()
        );
        assert!(!Error::Setup(String::new()).is_transient());
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let text = refused(403, "M_FORBIDDEN", "not in room").to_string();
        assert_eq!(
            text,
            "GET /x: the homeserver does not allow it (403 M_FORBIDDEN: not in room)"
        );
    }
}
