//! Server ACLs: homeservers whose events a room no longer accepts (`m.room.server_acl`).

use serde_json::Value;

/// Maximum number of patterns read from one event; an event of 64 KiB holds hardly more.
const PATTERNS_MAX: usize = 8_000;

/// Which homeservers may take part in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAcl {
    allow: Vec<Vec<char>>,
    deny: Vec<Vec<char>>,
    allow_ip_literals: bool,
}

impl ServerAcl {
    /// What an `m.room.server_acl` content says. A content without a list of allowed servers denies
    /// all servers; homeservers read it that way, too. `None` for a redacted (empty) content:
    /// nothing is known.
    #[must_use]
    pub fn read(content: &Value) -> Option<Self> {
        let content = content.as_object().filter(|content| !content.is_empty())?;
        let patterns = |key: &str| {
            let list = content.get(key).and_then(Value::as_array);
            let texts = list.into_iter().flatten().filter_map(Value::as_str);
            texts.take(PATTERNS_MAX).map(lowercase_letters).collect()
        };

        Some(Self {
            allow: patterns("allow"),
            deny: patterns("deny"),
            allow_ip_literals: content
                .get("allow_ip_literals")
                .and_then(Value::as_bool)
                .unwrap_or(true),
        })
    }

    /// Is this server denied: does it match a pattern of `deny`, or none of `allow`? Its port is
    /// ignored, and so is the case of letters.
    #[must_use]
    pub fn denies(&self, server: &str) -> bool {
        let host = without_port(server);
        if !self.allow_ip_literals && is_ip_literal(host) {
            return true;
        }

        let host = lowercase_letters(host);
        let fits =
            |patterns: &[Vec<char>]| patterns.iter().any(|pattern| is_glob_match(pattern, &host));

        fits(&self.deny) || !fits(&self.allow)
    }
}

/// The characters of the text in lower case; patterns and hosts are compared in this form.
fn lowercase_letters(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// The host of a server name: `h` for `h:8448`, and `[::1]` for `[::1]:8448`.
pub(super) fn without_port(server: &str) -> &str {
    match server.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (host.ends_with(']') || !host.contains(':')) =>
        {
            host
        }

        _ => server,
    }
}

/// Is this host an IP address (`10.0.0.1` or `[::1]`), not a name?
fn is_ip_literal(host: &str) -> bool {
    let is_four_numbers =
        host.split('.').count() == 4 && host.split('.').all(|part| part.parse::<u8>().is_ok());
    host.starts_with('[') || is_four_numbers
}

/// Does the whole text match the pattern? `*` matches any characters, also none; `?` matches
/// exactly one. On a mismatch only the last `*` takes one character more; earlier ones need no
/// second try.
fn is_glob_match(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // The place in the pattern of the last `*`, and the place in the text where what it takes ends.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((after, taken)) = star else {
                    return false;
                };

                star = Some((after, taken + 1));
                at = after + 1;
                in_text = taken + 1;
            }
        }
    }

    pattern[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn denied(content: &Value, server: &str) -> bool {
        ServerAcl::read(content).unwrap().denies(server)
    }

    #[test]
    fn who_is_denied_and_who_is_not_allowed_is_kept_out() {
        let evil = json!({"allow": ["*"], "deny": ["evil.example", "*.evil.example"]});
        for (server, out) in [
            ("good.example", false),
            ("evil.example", true),
            ("EVIL.example:8448", true),
            ("a.b.evil.example", true),
            ("notevil.example", false),
        ] {
            assert_eq!(denied(&evil, server), out, "{server}");
        }

        let only = json!({"allow": ["h?.example", "*.org"]});
        for (server, out) in [
            ("h1.example", false),
            ("h12.example", true),
            ("a.org", false),
        ] {
            assert_eq!(denied(&only, server), out, "{server}");
        }

        assert!(
            denied(&json!({"allow": ["*"], "deny": ["*"]}), "a"),
            "denied before allowed"
        );
        assert!(denied(&json!({"deny": []}), "a"), "nobody is allowed");
    }

    #[test]
    fn addresses_may_be_kept_out_as_such() {
        let names = json!({"allow": ["*"], "allow_ip_literals": false});
        for server in ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[::1]:8448"] {
            assert!(denied(&names, server), "{server}");
            assert!(!denied(&json!({"allow": ["*"]}), server), "{server}");
        }

        assert!(!denied(&names, "1.2.3.4.example"));
    }

    #[test]
    fn what_is_gone_or_odd_tells_nothing() {
        assert_eq!(ServerAcl::read(&json!({})), None);
        assert_eq!(ServerAcl::read(&json!("x")), None);
        assert!(denied(
            &json!({"allow": "*", "deny": {}, "allow_ip_literals": "no"}),
            "a"
        ));
    }

    #[test]
    fn many_stars_are_no_trouble() {
        let pattern = format!("{}b", "*a".repeat(120));
        assert!(!denied(
            &json!({"allow": ["*"], "deny": [pattern]}),
            &"a".repeat(230)
        ));
    }
}
