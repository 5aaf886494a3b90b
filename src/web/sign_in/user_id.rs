//! Makes Matrix ids of what others call a person: a proxy, or a provider of sign-ins.

/// Maximum length of a Matrix id, bytes.
const ID_MAX: usize = 255;

/// The Matrix id that a template gives for a name, which stands where `placeholder` does. A
/// template that is nothing else takes a name that is a Matrix id already. `None` if it would be
/// none.
#[must_use]
pub fn fill_user_id(template: &str, placeholder: &str, name: &str) -> Option<String> {
    let is_id = template == placeholder;
    // A colon in a name would begin the name of a server.
    let is_name = !name.is_empty()
        && !name.contains([':', '@'])
        && name.chars().all(|sign| sign.is_ascii_graphic());
    if !is_id && !is_name {
        return None;
    }

    let id = template.replace(placeholder, name);
    let is_good = id.len() <= ID_MAX && ruma::UserId::parse(&*id).is_ok();

    is_good.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_an_id_and_an_id_stays_one() {
        let template = "@{name}:example.org";
        let id = fill_user_id(template, "{name}", "alice");
        assert_eq!(id.as_deref(), Some("@alice:example.org"));
        let id = fill_user_id("{name}", "{name}", "@a:b.example");
        assert_eq!(id.as_deref(), Some("@a:b.example"));
    }

    #[test]
    fn what_makes_no_id_of_ours_is_none() {
        let template = "@{name}:example.org";
        for odd in [
            "",
            "root:evil.example",
            "@alice",
            "a b",
            "a\n",
            "\u{430}lice",
            &"a".repeat(300),
        ] {
            assert_eq!(fill_user_id(template, "{name}", odd), None, "{odd}");
        }

        for odd in ["", "alice", "@alice", "@alice:", "@a:b c", "a@b.example"] {
            assert_eq!(fill_user_id("{name}", "{name}", odd), None, "{odd}");
        }
    }
}
