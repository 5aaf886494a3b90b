//! The tables `[[channel]]` and `[[alert]]`: where alerts go, and of what.

use super::check;
use super::faults::quote_for_display;
use super::layers::Layers;
use super::table::TableReader;
use crate::alerting::channels::{ChannelKind, ChannelSettings, check_webhook_secret};
use crate::rtc::alert::quiet::QuietHours;
use crate::rtc::alert::{AlertKind, AlertRule, ChannelScope};
use crate::rtc::finding_kind::Severity;
use std::collections::BTreeSet;
use url::Url;

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// The defaults of a channel.
const PER_MINUTE: i64 = 10;
const RETRY_SECONDS: i64 = 5;
const GIVE_UP_HOURS: i64 = 72;
const PING_MINUTES: i64 = 5;

/// Where alerts go, and of what.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertsConfig {
    pub channels: Vec<ChannelSettings>,
    pub rules: Vec<AlertRule>,
}

/// The channels and rules. What is wrong with them is noted as faults.
pub(super) fn read_alerts(layers: &mut Layers) -> AlertsConfig {
    let mut channels: Vec<ChannelSettings> = Vec::new();
    for mut table in TableReader::read_all(layers, "channel") {
        let channel = read_channel(&mut table);
        let is_known = |known: &ChannelSettings| known.scope.name == table.name;
        if channels.iter().any(is_known) {
            table.fault(
                "name",
                "another channel has the same name. Give it one of its own",
            );
        }

        channels.extend(channel);
        table.finish(layers);
    }

    let asked = layers.count_tables("alert");
    let mut rules: Vec<AlertRule> = Vec::new();
    for mut table in TableReader::read_all(layers, "alert") {
        let rule = read_rule(&mut table, &channels);
        if rules.iter().any(|known| known.name == table.name) {
            table.fault(
                "name",
                "another alert has the same name. Give it one of its own",
            );
        }

        rules.push(rule);
        table.finish(layers);
    }

    layers.refuse_unused_variables();
    if asked == 0 {
        rules = default_rules(&channels);
    }

    AlertsConfig { channels, rules }
}

/// The channels that take alerts.
fn names_for_alerts(channels: &[ChannelSettings]) -> Vec<String> {
    let takers = channels
        .iter()
        .filter(|one| !matches!(one.kind, ChannelKind::Ping { .. }));

    takers.map(|one| one.scope.name.clone()).collect()
}

/// The rules for who configures channels and no rule.
fn default_rules(channels: &[ChannelSettings]) -> Vec<AlertRule> {
    let names = names_for_alerts(channels);
    if names.is_empty() {
        return Vec::new();
    }

    let rule = |name: &str, on: &[AlertKind], for_minutes: i64| AlertRule {
        name: name.to_owned(),
        on: on.iter().copied().collect(),
        rooms: Vec::new(),
        servers: Vec::new(),
        severity: Severity::Minor,
        for_ms: for_minutes * MINUTE_MS,
        repeat_ms: None,
        tells_end: true,
        quiet: None,
        channels: names.clone(),
    };

    vec![
        rule("calls", &[AlertKind::Split, AlertKind::SfuDown], 1),
        rule("ghosts", &[AlertKind::Ghost], 30),
        rule("servers", &[AlertKind::ServerBroken], 0),
        rule(
            "callscope",
            &[
                AlertKind::Blind,
                AlertKind::HomeserverUnheard,
                AlertKind::DiskFull,
                AlertKind::TokenDead,
            ],
            2,
        ),
    ]
}

fn parse_room_id(text: &str) -> Result<String, String> {
    if text.starts_with('!') {
        check::parse_room(text).map(|room| room.id_or_alias)
    } else {
        Err(format!(
            "{} is not the id of a room, which begins with !",
            quote_for_display(text)
        ))
    }
}

fn parse_room_name(text: &str) -> Result<String, String> {
    check::parse_room(text).map(|room| room.id_or_alias)
}

fn parse_topic(text: &str) -> Result<String, String> {
    let is_plain = |sign: char| sign.is_ascii_alphanumeric() || sign == '_' || sign == '-';
    if (1..=64).contains(&text.len()) && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("a topic has 1 to 64 letters, digits, - and _".to_owned())
    }
}

/// An address that is asked as it is, also with a query.
fn parse_target(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .filter(|url| url.username().is_empty() && url.password().is_none())
        .ok_or_else(|| "it is not a web address (without user and password)".to_owned())
}

fn read_channel(table: &mut TableReader) -> Option<ChannelSettings> {
    let word = table.required("type", "matrix, webhook, alertmanager, ntfy or ping");
    let kind = match word.as_deref() {
        Some("matrix") => read_matrix(table),
        Some("webhook") => read_webhook(table),
        Some("alertmanager") => {
            let url = table.required_parsed("url", "http://127.0.0.1:9093", parse_target);
            let token = table.secret("token");
            url.map(|url| ChannelKind::Alertmanager { url, token })
        }
        Some("ntfy") => read_ntfy(table),
        Some("ping") => {
            let write = "the address that the service gave, such as https://hc-ping.com/UUID";
            let url = table.required_parsed("url", write, parse_target);
            let minutes = table.number("every_minutes", 1, 1440, PING_MINUTES);
            let every_ms = minutes * MINUTE_MS;
            url.map(|url| ChannelKind::Ping { url, every_ms })
        }
        Some(_) => {
            table.fault(
                "type",
                "there is no such type. Write matrix, webhook, alertmanager, ntfy or ping",
            );
            None
        }
        None => None,
    };
    let is_ping = matches!(kind, Some(ChannelKind::Ping { .. }));
    let is_operator = !is_ping && table.switch("operator", false);
    let mut rooms = if is_ping {
        Vec::new()
    } else {
        // An alias is what a room says of itself, so it lets nobody in.
        table.list("rooms", parse_room_id)
    };
    if let Some(ChannelKind::Matrix { room_id }) = &kind
        && rooms.is_empty()
    {
        rooms.push(room_id.clone());
    }

    if kind.is_some() && !is_ping && !is_operator && rooms.is_empty() {
        table.fault(
            "operator",
            "it may hear of nothing yet. Write operator = true if it is yours, and may hear of all \
             rooms; or rooms = [\"!abcdefg:example.org\"], of which it may hear",
        );
    }

    let (per_minute, retry, give_up) = if is_ping {
        (PER_MINUTE, RETRY_SECONDS, GIVE_UP_HOURS)
    } else {
        (
            table.number("messages_per_minute", 1, 600, PER_MINUTE),
            table.number("retry_seconds", 1, 3600, RETRY_SECONDS),
            table.number("give_up_hours", 1, 720, GIVE_UP_HOURS),
        )
    };

    Some(ChannelSettings {
        scope: ChannelScope {
            name: table.name.clone(),
            is_operator,
            rooms,
        },
        kind: kind?,
        per_minute: u32::try_from(per_minute).unwrap_or(1),
        retry_ms: retry * SECOND_MS,
        give_up_ms: give_up * HOUR_MS,
    })
}

fn read_matrix(table: &mut TableReader) -> Option<ChannelKind> {
    let room_id = table.required_parsed("room", "!abcdefg:example.org", parse_room_id);

    room_id.map(|room_id| ChannelKind::Matrix { room_id })
}

fn read_webhook(table: &mut TableReader) -> Option<ChannelKind> {
    let url = table.required_parsed("url", "https://example.org/hook", parse_target);
    let secret = table.secret("secret");
    if let Some(Err(what)) = secret.as_ref().map(check_webhook_secret) {
        table.fault("secret", &what);
    }

    url.map(|url| ChannelKind::Webhook { url, secret })
}

fn read_ntfy(table: &mut TableReader) -> Option<ChannelKind> {
    let url = table.required_parsed("url", "https://ntfy.sh", parse_target);
    let topic = table.required_parsed("topic", "the name of a topic", parse_topic);
    let token = table.secret("token");

    Some(ChannelKind::Ntfy {
        url: url?,
        topic: topic?,
        token,
    })
}

fn parse_kind(text: &str) -> Result<AlertKind, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is nothing that alerts are about. Write {}",
            quote_for_display(text),
            AlertKind::WORDS.join(", ")
        )
    })
}

fn read_rule(table: &mut TableReader, channels: &[ChannelSettings]) -> AlertRule {
    let on: BTreeSet<AlertKind> = table.list("on", parse_kind).into_iter().collect();
    if on.is_empty() && !table.has_faults() {
        table.fault("on", "it is missing. Write [\"split\", \"ghost\"]");
    }

    let severity = table.parsed("severity", "grave, warning or minor", |text| {
        text.parse::<Severity>()
            .map_err(|_| "it is no severity".to_owned())
    });
    let quiet = table.parsed("quiet", "22:00-07:00 Europe/Berlin", |text| {
        QuietHours::parse(text).map_err(|fault| fault.to_string())
    });
    let known = names_for_alerts(channels);
    let all = known.join(", ");
    let mut named = table.list("channels", |text| {
        let is_known = known.iter().any(|name| name == text);
        is_known.then(|| text.to_owned()).ok_or_else(|| {
            format!(
                "{} is no [[channel]] that takes alerts. Write one of: {all}",
                quote_for_display(text)
            )
        })
    });
    if known.is_empty() {
        table.fault(
            "channels",
            "there is no [[channel]] yet to which it could go. Add one; the sample file shows how",
        );
    } else if named.is_empty() {
        named.clone_from(&known);
    }

    let rooms = table.list("rooms", parse_room_name);
    let servers = table.list("servers", check::parse_server_name);
    let for_minutes = table.number("for", 0, 10_080, 0);
    let repeat = table.optional_number("repeat", 1, 10_080);

    AlertRule {
        name: table.name.clone(),
        on,
        rooms,
        servers,
        severity: severity.unwrap_or(Severity::Minor),
        for_ms: for_minutes * MINUTE_MS,
        repeat_ms: repeat.map(|minutes| minutes * MINUTE_MS),
        tells_end: table.switch("resolved", true),
        quiet,
        channels: named,
    }
}
