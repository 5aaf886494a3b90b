//! The addresses by which a person joins a room or its call with a client of their own.

use super::RoomRef;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters escaped in a link: all that could end a part of it.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Maximum servers that are named for a client whose server is not in the room.
const SERVERS_MAX: usize = 3;

/// The link that opens a room in whichever Matrix client a person has. `servers` are in the room;
/// an id alone does not lead there from elsewhere.
#[must_use]
pub fn matrix_to_link(room: &RoomRef, servers: &[String]) -> String {
    if let Some(alias) = &room.alias {
        return format!("https://matrix.to/#/{}", escape_part(alias));
    }

    // Older ids end with the server that made the room.
    let of_id = room.room_id.split_once(':').map(|(_, server)| server);
    let known = servers.iter().map(String::as_str);
    let known: Vec<&str> = known.take(SERVERS_MAX).collect();
    let known = if known.is_empty() {
        of_id.into_iter().collect()
    } else {
        known
    };
    let via: Vec<String> = known
        .iter()
        .map(|server| format!("via={}", escape_part(server)))
        .collect();
    let query = if via.is_empty() { "" } else { "?" };

    format!(
        "https://matrix.to/#/{}{query}{}",
        escape_part(&room.room_id),
        via.join("&")
    )
}

/// The link that joins the call of a room in a browser, with Element Call.
#[must_use]
pub fn element_call_link(room: &RoomRef, servers: &[String]) -> String {
    let servers: Vec<&str> = servers
        .iter()
        .take(SERVERS_MAX)
        .map(String::as_str)
        .collect();

    format!(
        "https://call.element.io/room/#/?roomId={}&viaServers={}",
        escape_part(&room.room_id),
        escape_part(&servers.join(","))
    )
}

fn escape_part(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_room_and_nothing_can_end_it() {
        let room = |alias: Option<&str>| RoomRef {
            alias: alias.map(ToOwned::to_owned),
            ..RoomRef::without_name("!a/b?c#d:x")
        };
        let servers: Vec<String> = ["a.example", "b:8448", "c", "d"]
            .iter()
            .map(ToString::to_string)
            .collect();

        assert_eq!(
            matrix_to_link(&room(None), &servers),
            "https://matrix.to/#/%21a%2Fb%3Fc%23d%3Ax?via=a.example&via=b%3A8448&via=c"
        );
        assert_eq!(
            matrix_to_link(&room(None), &[]),
            "https://matrix.to/#/%21a%2Fb%3Fc%23d%3Ax?via=x"
        );
        assert_eq!(
            matrix_to_link(&room(Some("#tree:a.example")), &servers),
            "https://matrix.to/#/%23tree%3Aa.example"
        );
        assert_eq!(
            element_call_link(&room(None), &servers),
            "https://call.element.io/room/#/?roomId=%21a%2Fb%3Fc%23d%3Ax&viaServers=a.example%2Cb%3A8448%2Cc"
        );
    }
}
