//! Whom to tell about a server: the contacts that it publishes (`/.well-known/matrix/support`). All
//! of it is a stranger's text: only what has the form of an address is kept.

use super::words::words;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Maximum contacts of a server that are kept, and length of an address, bytes.
const CONTACTS_MAX: usize = 5;
const ADDRESS_MAX: usize = 255;
const PAGE_MAX: usize = 500;

words! {
    /// What a contact is for.
    pub enum ContactRole {
        Admin = "admin",
        Security = "security",
        /// Not stated, or another word.
        Other = "other",
    }
}

impl ContactRole {
    /// In a word or two.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Admin => "Admin",
            Self::Security => "Security",
            Self::Other => "Contact",
        }
    }
}

/// Somebody who can be told. At least one of the two addresses is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupportContact {
    pub role: ContactRole,
    pub user_id: Option<String>,
    pub email: Option<String>,
}

/// What a server publishes about whom to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Support {
    pub contacts: Vec<SupportContact>,
    /// A page with more about it.
    pub page: Option<String>,
}

impl Support {
    /// Reads a document. What is not of the right form is left out.
    #[must_use]
    pub fn from_json(json: &Value) -> Self {
        let contacts = json.get("contacts").and_then(Value::as_array);
        let contacts = contacts.into_iter().flatten().filter_map(read_contact);
        let page = text_of(json, "support_page").filter(|page| is_page(page));

        Self {
            contacts: contacts.take(CONTACTS_MAX).collect(),
            page: page.map(ToOwned::to_owned),
        }
    }

    /// Does it name nobody and no page?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.page.is_none()
    }
}

fn text_of<'a>(json: &'a Value, key: &str) -> Option<&'a str> {
    json.get(key)?.as_str()
}

fn read_contact(json: &Value) -> Option<SupportContact> {
    let user_id = text_of(json, "matrix_id").filter(|text| is_user_id(text));
    let email = text_of(json, "email_address").filter(|text| is_email(text));
    let role = match text_of(json, "role") {
        Some("m.role.admin" | "admin") => ContactRole::Admin,
        Some("m.role.security" | "security") => ContactRole::Security,
        _ => ContactRole::Other,
    };

    (user_id.is_some() || email.is_some()).then(|| SupportContact {
        role,
        user_id: user_id.map(ToOwned::to_owned),
        email: email.map(ToOwned::to_owned),
    })
}

/// Is it an address for mail in its usual form?
fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);

    text.len() <= ADDRESS_MAX
        && !name.is_empty()
        && name.bytes().all(is_plain)
        && host.contains('.')
        && is_host(host)
}

/// Is it an id of a user in its usual form?
fn is_user_id(text: &str) -> bool {
    let Some((name, server)) = text.strip_prefix('@').and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._=-/+".contains(&byte);
    let (host, port) = server.split_once(':').unwrap_or((server, "0"));

    text.len() <= ADDRESS_MAX
        && !name.is_empty()
        && name.bytes().all(is_plain)
        && is_host(host)
        && port.parse::<u16>().is_ok()
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };

    !text.is_empty() && text.split('.').all(is_label)
}

/// Is it a web page, without a character that has a meaning elsewhere?
fn is_page(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"'`\\{}|^".contains(&byte);

    text.len() <= PAGE_MAX && is_host(host) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn contacts_are_read_with_their_roles() {
        let found = Support::from_json(&json!({
            "contacts": [
                {"role": "m.role.admin", "matrix_id": "@admin:a.example",
                 "email_address": "admin@a.example"},
                {"role": "m.role.security", "email_address": "security+calls@a.example"},
                {"role": 7, "matrix_id": "@help:a.example:8448"},
                {"role": "m.role.admin"},
            ],
            "support_page": "https://a.example/help?topic=calls",
        }));
        let roles: Vec<ContactRole> = found.contacts.iter().map(|one| one.role).collect();
        assert_eq!(
            roles,
            [
                ContactRole::Admin,
                ContactRole::Security,
                ContactRole::Other
            ]
        );
        assert_eq!(
            found.contacts[0].user_id.as_deref(),
            Some("@admin:a.example")
        );
        assert_eq!(
            found.page.as_deref(),
            Some("https://a.example/help?topic=calls")
        );
    }

    #[test]
    fn what_is_no_address_is_left_out() {
        for bad in [
            "javascript:alert(1)",
            "a@b",
            "@a.example",
            "a b@c.example",
            "a@c.example\r\nBcc: x@y.example",
            "a@c.example?subject=x",
            "<a@c.example>",
            "a@c.example@d.example",
        ] {
            assert!(!is_email(bad), "{bad}");
        }

        for bad in [
            "admin:a.example",
            "@:a.example",
            "@a",
            "@a:",
            "@a:b.example/../x",
            "@a:b.example:99999",
            "@<script>:a.example",
        ] {
            assert!(!is_user_id(bad), "{bad}");
        }

        for bad in [
            "http://a.example",
            "https://",
            "https://user@a.example/",
            "https://a.example/\"onclick=",
            "https://a.example/ x",
            "javascript:alert(1)",
        ] {
            assert!(!is_page(bad), "{bad}");
        }

        let many: Vec<Value> = (0..90)
            .map(|nth| json!({"matrix_id": format!("@a{nth}:b.example")}))
            .collect();
        assert_eq!(
            Support::from_json(&json!({"contacts": many}))
                .contacts
                .len(),
            CONTACTS_MAX
        );
        for odd in [json!(null), json!([]), json!({"contacts": {"a": 1}})] {
            assert!(Support::from_json(&odd).is_empty());
        }
    }
}
