//! Reads what an operator entered, field by field. Each fault says what to write instead. Nothing
//! is asked of anybody.

use crate::config::check::{parse_homeserver_url, parse_room, parse_server_name, parse_user_id};
use crate::config::{InvitePolicy, RoomSpec};
use crate::matrix::NamedHomeserver;
use percent_encoding::percent_decode_str;

/// Maximum number of rooms, or of spaces, that are read from one field.
const ROOMS_MAX: usize = 500;
/// Maximum length of a name that is sent to log in, bytes.
const NAME_MAX: usize = 255;
/// The beginnings of links to rooms and people.
const LINKS: [&str; 2] = ["https://matrix.to/#/", "http://matrix.to/#/"];

/// The rooms to watch, and whose invitations are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomChoice {
    pub rooms: Vec<RoomSpec>,
    pub spaces: Vec<RoomSpec>,
    pub invites: InvitePolicy,
}

/// A homeserver by address or by name. Of a user id its server is taken.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse_homeserver(text: &str) -> Result<NamedHomeserver, String> {
    const WRITE: &str = "Write its name, as in user ids (example.org), or its address \
                         (https://matrix.example.org)";
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("No homeserver is named. {WRITE}"));
    }

    if text.contains("://") {
        return match parse_homeserver_url(text) {
            Ok(url) => Ok(NamedHomeserver::Address(url)),
            Err(why) => Err(format!("{why}. {WRITE}")),
        };
    }

    let name = match text.strip_prefix('@') {
        Some(user) => user.split_once(':').map_or("", |(_, server)| server),
        None => text.trim_end_matches('/'),
    };

    match parse_server_name(name) {
        Ok(name) => Ok(NamedHomeserver::Name(name)),
        Err(why) => Err(format!("{why}. {WRITE}")),
    }
}

/// The name to log in with: a full user id, or its first part.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse_login_name(text: &str) -> Result<String, String> {
    const WRITE: &str = "Write callscope, or in full @callscope:example.org";
    let text = text.trim();
    if text.starts_with('@') {
        return parse_user_id(text).map_err(|why| format!("{why}. {WRITE}"));
    }

    let is_name = |sign: char| !sign.is_whitespace() && !sign.is_control() && sign != ':';
    if text.is_empty() {
        Err(format!("No user is named. {WRITE}"))
    } else if text.len() > NAME_MAX || !text.chars().all(is_name) {
        Err(format!("That is not the name of a user. {WRITE}"))
    } else {
        Ok(text.to_owned())
    }
}

/// An access token as it was pasted.
///
/// # Errors
/// What is wrong, and what to write. The token is not repeated.
pub fn parse_token(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_of_token = |sign: char| sign.is_ascii_graphic();
    if text.is_empty() {
        Err("There is no token. Paste the whole token of the account".to_owned())
    } else if !text.chars().all(is_of_token) {
        Err(
            "A token has no spaces and only plain letters, digits and signs. Copy it anew"
                .to_owned(),
        )
    } else {
        Ok(text.to_owned())
    }
}

/// Rooms or spaces by id, alias or link, with commas, spaces or new lines between them. Each is
/// taken once.
///
/// # Errors
/// All that are wrong, each with what to write.
pub fn parse_rooms(text: &str) -> Result<Vec<RoomSpec>, Vec<String>> {
    let mut rooms: Vec<RoomSpec> = Vec::new();
    let mut faults = Vec::new();
    for word in words_of_list(text) {
        match parse_room(&without_link(word)) {
            Ok(room) => {
                if !rooms.contains(&room) {
                    rooms.push(room);
                }
            }
            Err(why) => faults.push(format!(
                "{why}. Write #lobby:example.org or !abcdefg:example.org, with ?via=example.org \
                 where needed"
            )),
        }
    }

    if rooms.len() > ROOMS_MAX {
        faults.push(format!(
            "There are more than {ROOMS_MAX}. Name a space that has them, or add the others to the \
             file later"
        ));
    }

    if faults.is_empty() {
        Ok(rooms)
    } else {
        Err(faults)
    }
}

/// Whose invitations are accepted: people by user id, and servers by name.
///
/// # Errors
/// All that are wrong, each with what to write.
pub fn parse_inviters(text: &str) -> Result<InvitePolicy, Vec<String>> {
    let mut policy = InvitePolicy::default();
    let mut faults = Vec::new();
    for word in words_of_list(text) {
        let word = without_link(word);
        let (list, read) = if word.starts_with('@') {
            (&mut policy.allow_users, parse_user_id(&word))
        } else {
            (&mut policy.allow_servers, parse_server_name(&word))
        };
        match read {
            Ok(name) => {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
            Err(why) => faults.push(format!(
                "{why}. Write @admin:example.org for a person, or example.org for everybody of a \
                 server"
            )),
        }
    }

    if faults.is_empty() {
        Ok(policy)
    } else {
        Err(faults)
    }
}

/// Are the two passwords the same?
///
/// # Errors
/// They are not, or there is none.
pub fn check_same_password(password: &str, again: &str) -> Result<(), String> {
    if password.is_empty() {
        Err("There is no password. Write one of eight characters or more, twice".to_owned())
    } else if password == again {
        Ok(())
    } else {
        Err("The two passwords are not the same. Write both again".to_owned())
    }
}

/// The link by which others invite the account: it opens in their own client.
#[must_use]
pub fn link_to_user(user_id: &str) -> String {
    let plain: String = url::form_urlencoded::byte_serialize(user_id.as_bytes()).collect();
    // The sigil and the colon may stand as they are, and are easier to read so.
    format!(
        "https://matrix.to/#/{}",
        plain.replace("%40", "@").replace("%3A", ":")
    )
}

fn words_of_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign: char| sign == ',' || sign.is_whitespace())
        .filter(|word| !word.is_empty())
}

/// The id or alias in a link of matrix.to; any other text stays.
fn without_link(word: &str) -> String {
    let inside = LINKS.iter().find_map(|link| word.strip_prefix(link));

    match inside {
        Some(inside) => percent_decode_str(inside).decode_utf8_lossy().into_owned(),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homeserver_is_named_in_three_ways() {
        let name = |text: &str| NamedHomeserver::Name(text.to_owned());
        assert_eq!(parse_homeserver(" example.org "), Ok(name("example.org")));
        assert_eq!(parse_homeserver("example.org/"), Ok(name("example.org")));
        assert_eq!(
            parse_homeserver("@bot:example.org:8448"),
            Ok(name("example.org:8448"))
        );
        let url = "http://127.0.0.1:8008";
        assert_eq!(
            parse_homeserver(url),
            Ok(NamedHomeserver::Address(url.parse().unwrap()))
        );

        for wrong in [
            "",
            "  ",
            "@bot",
            "exam ple.org",
            "ftp://example.org",
            "https://me:secret@example.org",
            "https://example.org/_matrix/client",
            "<script>",
        ] {
            let why = parse_homeserver(wrong).unwrap_err();
            assert!(why.contains("Write its name"), "{wrong}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn names_and_tokens_are_read_as_pasted() {
        assert_eq!(parse_login_name(" bot "), Ok("bot".to_owned()));
        let full = "@bot:example.org";
        assert_eq!(parse_login_name(full), Ok(full.to_owned()));
        let lines = "@x\nopen_to_everybody = true\n#:hs.example";
        for wrong in ["", "@bot", "b ot", "bot:example.org", lines, "@b ot:x.org"] {
            assert!(parse_login_name(wrong).unwrap_err().contains("Write"));
        }

        assert_eq!(parse_token(" syt_a-b.c=\n"), Ok("syt_a-b.c=".to_owned()));
        for wrong in ["", "syt a", "syt_é"] {
            let why = parse_token(wrong).unwrap_err();
            assert!(!why.contains("syt"), "{why}");
        }
    }

    #[test]
    fn rooms_are_read_from_ids_aliases_and_links() {
        let read = parse_rooms(
            "#lobby:example.org, !abc?via=example.net\n\
             https://matrix.to/#/%23ops%3Aexample.org?via=example.org #lobby:example.org",
        );
        let settings: Vec<String> = read.unwrap().iter().map(RoomSpec::to_setting).collect();
        assert_eq!(
            settings,
            [
                "#lobby:example.org",
                "!abc?via=example.net",
                "#ops:example.org?via=example.org"
            ]
        );
        assert_eq!(parse_rooms(" \n "), Ok(vec![]));
        let faults = parse_rooms("lobby #a:example.org @bot:example.org").unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("\"lobby\"") && faults[0].contains("Write #"));

        let many: String = (0..501).fold(String::new(), |text, n| text + &format!("#r{n}:x.org "));
        assert!(parse_rooms(&many).unwrap_err()[0].contains("500"));
    }

    #[test]
    fn people_and_servers_that_may_invite_are_told_apart() {
        let policy = parse_inviters("@a:example.org example.net, example.net").unwrap();
        assert_eq!(policy.allow_users, ["@a:example.org"]);
        assert_eq!(policy.allow_servers, ["example.net"]);
        let faults = parse_inviters("@a #b:example.org").unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn a_password_is_written_twice() {
        assert_eq!(check_same_password("correct", "correct"), Ok(()));
        assert!(check_same_password("correct", "Correct").is_err());
        assert!(check_same_password("", "").is_err());
    }

    #[test]
    fn a_link_to_the_account_leads_out_of_nothing() {
        assert_eq!(
            link_to_user("@bot:example.org"),
            "https://matrix.to/#/@bot:example.org"
        );
        assert_eq!(
            link_to_user("@b/\"t:example.org"),
            "https://matrix.to/#/@b%2F%22t:example.org"
        );
    }
}
