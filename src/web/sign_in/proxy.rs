//! Proxies that sign people in: they name the user in a header, which is believed only of them.

use super::client_address::is_trusted;
use super::user_id::fill_user_id;
use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::IpAddr;

/// What stands for the user in the template of ids.
const USER: &str = "{user}";

/// The proxies that are believed, and how they name people.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// Their addresses; without any, no header is believed.
    pub networks: Vec<IpNet>,
    /// The header that names the user.
    pub user_header: String,
    /// The Matrix id of a user, with `{user}` for what the header says.
    pub user_id: String,
}

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedUser {
    /// There is no such header, or it is not believed of anybody.
    None,
    /// A trusted proxy names this Matrix id.
    User(String),
    /// Somebody else sent it, or it is not the name of one user.
    Ignored,
}

impl TrustedProxies {
    /// Is this the address of one of them?
    #[must_use]
    pub fn are_at(&self, peer: IpAddr) -> bool {
        is_trusted(&self.networks, peer)
    }

    /// Who the proxy at the other end of the connection says is signed in.
    #[must_use]
    pub fn named_user(&self, peer: IpAddr, headers: &HeaderMap) -> NamedUser {
        let Ok(name) = HeaderName::from_bytes(self.user_header.as_bytes()) else {
            return NamedUser::None;
        };

        let mut values = headers.get_all(name);
        let Some(value) = values.next().filter(|_| !self.networks.is_empty()) else {
            return NamedUser::None;
        };

        // Of two headers one may be the visitor's own.
        if !self.are_at(peer) || values.next().is_some() {
            return NamedUser::Ignored;
        }

        match value.to_str().map(str::trim) {
            Ok("") => NamedUser::None,
            Ok(user) => {
                fill_user_id(&self.user_id, USER, user).map_or(NamedUser::Ignored, NamedUser::User)
            }
            Err(_) => NamedUser::Ignored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn named(user_id: &str, peer: &str, users: &[&str]) -> NamedUser {
        let proxies = TrustedProxies {
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            user_header: "Remote-User".to_owned(),
            user_id: user_id.to_owned(),
        };
        let request = users.iter().fold(TestRequest::default(), |request, user| {
            request.append_header(("remote-user", *user))
        });
        let request = request.to_http_request();

        proxies.named_user(peer.parse().unwrap(), request.headers())
    }

    #[test]
    fn a_name_becomes_a_matrix_id() {
        let user = |id: &str| NamedUser::User(id.to_owned());
        let template = "@{user}:example.org";
        assert_eq!(
            named(template, "10.0.0.1", &["alice"]),
            user("@alice:example.org")
        );
        assert_eq!(
            named("{user}", "10.0.0.1", &["@a:b.example"]),
            user("@a:b.example")
        );
        assert_eq!(named(template, "10.0.0.1", &[]), NamedUser::None);
        assert_eq!(named(template, "10.0.0.1", &[""]), NamedUser::None);
    }

    #[test]
    fn strangers_and_odd_names_are_ignored() {
        let template = "@{user}:example.org";
        assert_eq!(named(template, "192.0.2.1", &["alice"]), NamedUser::Ignored);
        assert_eq!(
            named(template, "10.0.0.1", &["alice", "bob"]),
            NamedUser::Ignored
        );
        for odd in ["root:evil.example", "@alice", "a b", &"a".repeat(300)] {
            let request = named(template, "10.0.0.1", &[odd]);
            assert_eq!(request, NamedUser::Ignored, "{odd}");
        }

        for odd in ["alice", "@alice", "@alice:", "@a:b c"] {
            assert_eq!(
                named("{user}", "10.0.0.1", &[odd]),
                NamedUser::Ignored,
                "{odd}"
            );
        }
    }
}
