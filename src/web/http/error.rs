//! The one error type of the web: a status, a Matrix-style code and a sentence; internal text stays
//! in the log.

use crate::store;
use crate::web::svg::png::DrawError;
use actix_web::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter that cannot be understood. The text is for the reader and names the parameter.
    #[error("{0}")]
    Invalid(String),
    /// There is no such call or room. The text is for the reader.
    #[error("{0}")]
    NotFound(String),
    #[error("there is nothing at this address")]
    Unrecognized,
    #[error("this address answers only GET")]
    NotAllowed,
    /// Who does not sign in, and has no key, sees nothing here.
    #[error(
        "this needs a key: send it as \"Authorization: Bearer csk_…\" or \"X-Api-Key: csk_…\"; \
         the operator makes one with `callscope key add`"
    )]
    MissingKey,
    #[error("this key is not known, has expired or was revoked")]
    BadKey,
    /// It is known who asks, and it is not allowed. The text is for the reader.
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("the form did not come whole in time")]
    TooSlow,
    /// The client's address asked too often; after so many seconds it is answered again.
    #[error("your address asks too often; ask again in {wait_s} s")]
    TooMany { wait_s: u64 },
    /// The body of a request is longer than so many bytes.
    #[error("a form may have at most {0} bytes")]
    TooLarge(usize),
    /// The request's `Host` is not one of our names.
    #[error(
        "Callscope does not answer under the name \"{0}\". If people are to reach it so, set \
         CALLSCOPE_PUBLIC_URL to that address, for example https://calls.example.org, and restart"
    )]
    Misdirected(String),
    /// The server is overloaded; a retry may succeed. The text says which limit was reached.
    #[error("{0}; ask again in a moment")]
    Busy(&'static str),
    #[error("the store failed: {0}")]
    Store(#[from] store::Error),
    #[error("the page could not be written: {0}")]
    Template(#[from] askama::Error),
    #[error(transparent)]
    Draw(#[from] DrawError),
    #[error("the metrics could not be written")]
    Metrics,
    #[error("the answer could not be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// The body of every error in JSON.
#[derive(Debug, Serialize, PartialEq, Eq, ToSchema)]
pub struct ErrorBody {
    pub errcode: &'static str,
    pub error: String,
    pub status: u16,
}

impl Error {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::Unrecognized => StatusCode::NOT_FOUND,
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MissingKey | Self::BadKey => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if error.is_busy() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Template(_) | Self::Json(_) | Self::Draw(_) | Self::Metrics => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// Is it only an overload, so that the same request may succeed later?
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::Store(error) => error.is_busy(),
            _ => false,
        }
    }

    /// Is it an internal error? Its text is only for the log then.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.status().is_server_error() && !self.is_busy()
    }

    /// The error as the client gets it.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let errcode = match self {
            Self::Invalid(_) => "M_INVALID_PARAM",
            Self::NotFound(_) => "M_NOT_FOUND",
            Self::Misdirected(_) | Self::Forbidden(_) => "M_FORBIDDEN",
            Self::MissingKey => "M_MISSING_TOKEN",
            Self::BadKey => "M_UNKNOWN_TOKEN",
            Self::TooMany { .. } => "M_LIMIT_EXCEEDED",
            Self::TooLarge(_) => "M_TOO_LARGE",
            Self::Unrecognized | Self::NotAllowed => "M_UNRECOGNIZED",
            _ if self.is_busy() => "M_LIMIT_EXCEEDED",
            _ => "M_UNKNOWN",
        };

        let error = if let (Self::Store(_), true) = (self, self.is_busy()) {
            "Too many questions are asked at once, or this one takes too long; ask again in a \
             moment, or for less."
                .to_owned()
        } else if self.is_internal() {
            "Callscope could not answer; its log says why.".to_owned()
        } else {
            self.to_string()
        };

        ErrorBody {
            errcode,
            error,
            status: self.status().as_u16(),
        }
    }
}
