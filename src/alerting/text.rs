//! Messages in words, for people. What strangers wrote is cut, and has no signs that change the text
//! around it.

use crate::rtc::alert::message::{AlertMessage, Message, SummaryMessage, SummaryReason};
use crate::rtc::alert::{AlertEvent, AlertKind, AlertRoom, Condition};
use askama::filters::{Html, escape};
use jiff::{Timestamp, Unit};

/// Maximum length of what strangers wrote, in characters.
const NAME_MOST: usize = 80;
const DETAIL_MOST: usize = 300;
/// Maximum people that are named.
const PEOPLE_MOST: usize = 5;
/// Maximum alerts of a summary that are named.
const LINES_MOST: usize = 10;

/// A message in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// One line.
    pub title: String,
    /// Further lines; may be empty.
    pub body: String,
    /// Where there is more.
    pub link: Option<String>,
}

impl Text {
    /// All of it, as plain text.
    #[must_use]
    pub fn plain(&self) -> String {
        let parts = [
            Some(self.title.as_str()),
            Some(self.body.as_str()),
            self.link.as_deref(),
        ];
        let parts: Vec<&str> = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();

        parts.join("\n")
    }

    /// All of it, as HTML.
    #[must_use]
    pub fn html(&self) -> String {
        let mut html = format!("<strong>{}</strong>", escape_html(&self.title));
        for line in self.body.lines() {
            html.push_str("<br>");
            html.push_str(&escape_html(line));
        }

        if let Some(link) = &self.link {
            html.push_str("<br><a href=\"");
            html.push_str(&escape_html(link));
            html.push_str("\">Details</a>");
        }

        html
    }
}

fn escape_html(text: &str) -> String {
    escape(text, Html).map_or_else(|_| String::new(), |text| text.to_string())
}

/// A stranger's text without control signs and signs that turn the direction of writing, cut.
fn sanitize_text(text: &str, most: usize) -> String {
    let is_plain = |sign: &char| {
        !sign.is_control()
            && !matches!(*sign, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
    };
    let mut plain: String = text.chars().filter(is_plain).take(most + 1).collect();
    if plain.chars().count() > most {
        plain = plain.chars().take(most.saturating_sub(1)).collect();
        plain.push('…');
    }

    plain
}

/// A message in words. `public_url` is the address of the pages, with a slash at its end.
#[must_use]
pub fn text_of_message(message: &Message, public_url: Option<&str>) -> Text {
    match message {
        Message::Alert(alert) => text_of_alert(alert, public_url),
        Message::Summary(summary) => text_of_summary(summary, public_url),
        Message::Test(test) => Text {
            title: format!(
                "TEST of the alert rule “{}”",
                sanitize_text(&test.rule, NAME_MOST)
            ),
            body: "This is a test message of Callscope. Nothing is wrong.".to_owned(),
            link: None,
        },
    }
}

fn text_of_alert(alert: &AlertMessage, public_url: Option<&str>) -> Text {
    let condition = &alert.condition;
    let head = headline_of_condition(condition);
    let title = match alert.event {
        AlertEvent::Fired => head,
        AlertEvent::Repeated => format!("Still: {head}"),
        AlertEvent::Resolved => format!("Over: {head}"),
    };
    let mut lines = Vec::new();
    if !condition.facts.people.is_empty() {
        lines.push(format!("Who: {}", people_words(&condition.facts.people)));
    }

    if condition.kind == AlertKind::CallEnded {
        lines.push(summary_of_call(condition));
    }

    if let Some(detail) = &condition.facts.detail {
        lines.push(sanitize_text(detail, DETAIL_MOST));
    }

    if !condition.kind.is_once() {
        let since = time_words(alert.opened_ms);
        lines.push(match alert.ended_ms {
            Some(ended) => format!("From {since} to {}", time_words(ended)),
            None => format!("Since {since}"),
        });
    }

    Text {
        title,
        body: lines.join("\n"),
        link: public_url.map(|url| link_of_condition(condition, url)),
    }
}

/// What it is, in one line.
fn headline_of_condition(condition: &Condition) -> String {
    let room = condition.room.as_ref().map_or_else(String::new, room_words);
    let facts = &condition.facts;
    let name = |text: &Option<String>| {
        sanitize_text(text.as_deref().unwrap_or("an unknown one"), NAME_MOST)
    };
    match condition.kind {
        AlertKind::CallBegan => format!("A call began in {room}"),
        AlertKind::CallEnded => format!("A call ended in {room}"),
        AlertKind::Alone => format!("Somebody is alone in a call in {room}"),
        AlertKind::MissedRing => format!("Nobody answered a ring in {room}"),
        AlertKind::Ghost => format!("A ghost is in a call in {room}"),
        AlertKind::Split => format!("People cannot hear each other in {room}"),
        AlertKind::SfuDown if room.is_empty() => format!("The SFU {} is down", name(&facts.sfu)),
        AlertKind::SfuDown => format!("The SFU {} of a call in {room} is down", name(&facts.sfu)),
        AlertKind::ServerBroken => format!("Calls fail on the server {}", name(&facts.server)),
        AlertKind::Blind => "Callscope is blind: who is in a call is not known".to_owned(),
        AlertKind::HomeserverUnheard => {
            format!("The homeserver {} is not heard", name(&facts.server))
        }
        AlertKind::DiskFull => "The disk of Callscope is full: nothing can be stored".to_owned(),
        AlertKind::TokenDead => format!(
            "The homeserver {} does not accept the account of Callscope",
            name(&facts.server)
        ),
    }
}

fn room_words(room: &AlertRoom) -> String {
    sanitize_text(room.shown_name(), NAME_MOST)
}

fn people_words(people: &[String]) -> String {
    let named: Vec<String> = people
        .iter()
        .take(PEOPLE_MOST)
        .map(|user| sanitize_text(user, NAME_MOST))
        .collect();
    let more = people.len().saturating_sub(named.len());
    let words = named.join(", ");

    if more > 0 {
        format!("{words} and {more} more")
    } else {
        words
    }
}

/// How a call was that is over.
fn summary_of_call(condition: &Condition) -> String {
    let facts = &condition.facts;
    let minutes = facts.duration_ms.unwrap_or(0) / 60_000;
    let seconds = facts.duration_ms.unwrap_or(0) / 1000 % 60;
    let people = facts.people_total.unwrap_or(0);
    let noun = if people == 1 { "person" } else { "people" };

    format!(
        "{minutes} min {seconds} s, {people} {noun}, at most {} at once",
        facts.peak.unwrap_or(0)
    )
}

fn time_words(ms: i64) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default();
    let at = at.round(Unit::Second).unwrap_or(at);

    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn link_of_condition(condition: &Condition, public_url: &str) -> String {
    let facts = &condition.facts;
    match (&facts.call_id, condition.kind) {
        (Some(call_id), _) => format!("{public_url}calls/{call_id}"),
        (None, AlertKind::ServerBroken) => format!(
            "{public_url}servers/{}/check",
            facts.server.as_deref().unwrap_or_default()
        ),
        (None, AlertKind::SfuDown) => format!("{public_url}transports"),
        _ => format!("{public_url}status"),
    }
}

fn text_of_summary(summary: &SummaryMessage, public_url: Option<&str>) -> Text {
    let total = summary.total;
    let noun = if total == 1 { "alert" } else { "alerts" };
    let title = match summary.reason {
        SummaryReason::Quiet => format!("{total} {noun} during quiet hours"),
        SummaryReason::Flood => format!("And {total} more {noun}"),
    };
    let kinds: Vec<String> = summary
        .by_kind
        .iter()
        .map(|(kind, count)| format!("{count} × {}", kind.replace('_', " ")))
        .collect();
    let mut lines = vec![kinds.join(", ")];
    for alert in summary.alerts.iter().take(LINES_MOST) {
        let end = match (alert.event, alert.ended_ms) {
            (AlertEvent::Resolved, _) | (_, Some(_)) => " (over)",
            _ => "",
        };
        let at = time_words(alert.opened_ms);
        lines.push(format!(
            "{at}: {}{end}",
            headline_of_condition(&alert.condition)
        ));
    }

    Text {
        title,
        body: lines.join("\n"),
        link: public_url.map(|url| format!("{url}problems")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::alert::AlertFacts;

    fn alert(title: &str) -> AlertMessage {
        AlertMessage {
            rule: "r".to_owned(),
            event: AlertEvent::Fired,
            condition: Condition {
                kind: AlertKind::Split,
                subject: "s".to_owned(),
                former_subjects: Vec::new(),
                room: Some(AlertRoom {
                    room_id: "!r:x".to_owned(),
                    alias: None,
                    title: Some(title.to_owned()),
                }),
                servers: Vec::new(),
                severity: AlertKind::Split.severity(),
                since_ms: 0,
                facts: AlertFacts {
                    call_id: Some("abc".to_owned()),
                    people: vec!["@a:x".to_owned(), "@b:x".to_owned()],
                    ..AlertFacts::default()
                },
            },
            opened_ms: 1_768_046_400_000,
            ended_ms: None,
        }
    }

    #[test]
    fn an_alert_says_what_where_who_and_since_when() {
        let message = Message::Alert(Box::new(alert("Lobby")));
        let text = text_of_message(&message, Some("https://calls.example/"));
        assert_eq!(
            text.plain(),
            "People cannot hear each other in Lobby\nWho: @a:x, @b:x\nSince 2026-01-10 12:00:00 \
             UTC\nhttps://calls.example/calls/abc"
        );
    }

    #[test]
    fn the_name_of_a_room_changes_nothing_around_it() {
        let evil = "<img src=x>\n\u{202E}over: all is well\u{200B}".to_owned() + &"x".repeat(500);
        let text = text_of_message(&Message::Alert(Box::new(alert(&evil))), None);
        assert!(!text.html().contains("<img"), "{}", text.html());
        assert!(text.html().contains("img src=x"), "{}", text.html());
        assert_eq!(text.title.lines().count(), 1);
        assert!(text.title.chars().count() < 150, "{}", text.title);
        assert!(!text.title.contains('\u{202E}'));
    }

    #[test]
    fn a_flood_says_how_many_there_are() {
        let many: Vec<Message> = (0..990)
            .map(|_| Message::Alert(Box::new(alert("Lobby"))))
            .collect();
        let summary = SummaryMessage::of_messages(&many);
        let text = text_of_message(&Message::Summary(summary), None);
        assert_eq!(text.title, "And 990 more alerts");
        assert!(text.body.starts_with("990 × split\n"), "{}", text.body);
        assert_eq!(text.body.lines().count(), 1 + LINES_MOST);
    }
}
