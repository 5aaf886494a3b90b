//! The result of asking a server one thing, as far as it can be told without what was asked for.

/// The result of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer<T> {
    Said(T),
    /// It does not exist there (404).
    Missing,
    /// It did not answer, or not with what was requested; in words.
    Failed(String),
    /// No request was sent; in words, why: for example, the address is not of the public Internet.
    Refused(String),
}

impl<T> ProbeAnswer<T> {
    /// The same result, with what was said changed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> ProbeAnswer<U> {
        self.and_then(|said| ProbeAnswer::Said(f(said)))
    }

    /// The result of reading what was said; anything else stays.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> ProbeAnswer<U>) -> ProbeAnswer<U> {
        match self {
            Self::Said(said) => f(said),
            Self::Missing => ProbeAnswer::Missing,
            Self::Failed(why) => ProbeAnswer::Failed(why),
            Self::Refused(why) => ProbeAnswer::Refused(why),
        }
    }

    /// What was said; `None` if nothing was.
    #[must_use]
    pub fn said(&self) -> Option<&T> {
        match self {
            Self::Said(said) => Some(said),
            Self::Missing | Self::Failed(_) | Self::Refused(_) => None,
        }
    }
}
