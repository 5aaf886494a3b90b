//! Who asks: the operator by a password, a person by a proxy, a provider, a code or a widget, a
//! program by a key, or nobody known. Nothing here answers a request; `web/http/gate` does.

pub mod access;
pub mod attempts;
pub mod client_address;
pub mod codes;
pub mod cookie;
pub mod form_token;
pub mod new_key;
pub mod openid;
pub mod operator_token;
pub mod password;
pub mod proxy;
pub mod secret_text;
pub mod user_id;
pub mod widget;

use crate::store::sign_in::api_keys::KeyScope;
use crate::store::sign_in::share_links::ShareLink;
use actix_web::{HttpMessage, HttpRequest};
use std::net::IpAddr;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody known.
    Anonymous,
    /// Who may see everything.
    Operator,
    /// A program with a key.
    Key {
        id: String,
        name: String,
        scope: KeyScope,
    },
    /// A person by Matrix id.
    User { user_id: String },
    /// Whoever has the address of a shared call.
    Share { link: ShareLink },
    /// A person by Matrix id, in a widget that shows one room.
    WidgetUser { user_id: String, room_id: String },
}

impl Identity {
    /// The word by which it stands in the log: `operator`, a Matrix id, or the id of a key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Operator => "operator",
            Self::Key { id, .. } => id,
            Self::User { user_id } | Self::WidgetUser { user_id, .. } => user_id,
            Self::Share { link } => &link.id,
        }
    }

    /// May everything be seen?
    #[must_use]
    pub fn sees_all(&self) -> bool {
        match self {
            Self::Operator => true,
            Self::Key { scope, .. } => *scope == KeyScope::All,
            Self::Anonymous | Self::User { .. } | Self::WidgetUser { .. } | Self::Share { .. } => {
                false
            }
        }
    }
}

/// The way by which somebody came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrance {
    /// By none: nobody has to sign in, or nobody did.
    None,
    /// By a session; the hash of its id.
    Session { id_hash: String },
    /// A trusted proxy said who it is.
    Proxy,
    /// By a key, or by the secret of a widget.
    Key,
}

/// What is known of who asks. It is in the extensions of each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub identity: Identity,
    pub entrance: Entrance,
    /// May the admin page be used?
    pub is_admin: bool,
    /// The client, seen through trusted proxies.
    pub address: IpAddr,
    /// Does the client speak TLS with us, or with the proxy before us?
    pub is_https: bool,
}

impl Asker {
    /// Who asks, as the gate found it; `None` if the request did not pass it.
    #[must_use]
    pub fn of_request(req: &HttpRequest) -> Option<Self> {
        req.extensions().get::<Self>().cloned()
    }
}

/// What the frame of a page shows of who asks. Pages are kept for all who see the same, so no more
/// of who asks may stand in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    pub link: SignInLink,
    /// Is the admin page open to who asks?
    pub has_admin_page: bool,
}

/// What the top of a page offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInLink {
    /// Nothing: nobody can sign in, or it was not here that somebody did.
    None,
    SignIn,
    SignOut,
}

impl Frame {
    /// The frame where nobody can sign in, and for those of whom nothing is known.
    pub const PLAIN: Self = Self {
        link: SignInLink::None,
        has_admin_page: false,
    };
}
