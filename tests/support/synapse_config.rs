//! The settings of a Synapse for tests: everything that calls need is on, all limits are off.

use super::Homeserver;
use serde_json::{Value, json};
use std::path::Path;

/// `homeserver.yaml`.
pub fn homeserver(server: &Homeserver, root: &Path, client: u16, federation: u16) -> Value {
    let folder = &server.folder;
    let mut all = json!({
        "server_name": server.name,
        "public_baseurl": format!("{}/", server.url),
        "pid_file": folder.join("homeserver.pid"),
        "listeners": [
            {"port": client, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": false,
             "resources": [{"names": ["client", "openid"], "compress": false}]},
            {"port": federation, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": true,
             "resources": [{"names": ["federation"], "compress": false}]},
        ],
        "tls_certificate_path": root.join("tls.crt"),
        "tls_private_key_path": root.join("tls.key"),
        "federation_custom_ca_list": [root.join("authority.pem")],
        "database": {"name": "sqlite3", "args": {"database": folder.join("homeserver.db")}},
        "log_config": folder.join("log.yaml"),
        "media_store_path": folder.join("media"),
        "signing_key_path": folder.join("signing.key"),
        "registration_shared_secret": server.secret,
        "macaroon_secret_key": format!("{}-macaroon", server.secret),
        "password_config": {"enabled": server.passwords},
        "form_secret": format!("{}-form", server.secret),
        "bcrypt_rounds": 4,
        "report_stats": false,
        "url_preview_enabled": false,
        "push": {"enabled": false},
        "presence": {"enabled": false},
        "room_list_publication_rules": [{"action": "allow"}],
        "trusted_key_servers": [],
        "suppress_key_server_warning": true,
        "ip_range_blacklist": [],
    });
    for part in [calls(), limits(), patience()] {
        let Value::Object(part) = part else { continue };
        all.as_object_mut().unwrap().extend(part);
    }

    all
}

/// Delayed events (MSC4140), sticky events (MSC4354), `state_after` (MSC4222), transports
/// (MSC4143).
fn calls() -> Value {
    let transport =
        json!([{"type": "livekit", "livekit_service_url": "https://livekit.invalid/jwt"}]);

    json!({
        "max_event_delay_duration": "24h",
        "experimental_features": {
            "msc4354_enabled": true,
            "msc4143_enabled": true,
            "msc4222_enabled": true,
            "msc4075_enabled": true,
            "msc4140_max_delayed_events_per_user": 1000,
        },
        "matrix_rtc": {"transports": transport},
        "extra_well_known_client_content": {"org.matrix.msc4143.rtc_foci": transport},
    })
}

/// A server that was down is retried at once, not after minutes.
fn patience() -> Value {
    json!({"federation": {
        "destination_min_retry_interval": "1s",
        "destination_retry_multiplier": 1,
        "destination_max_retry_interval": "2s",
    }})
}

fn limits() -> Value {
    let off = json!({"per_second": 1_000_000, "burst_count": 1_000_000});
    json!({
        "rc_message": off,
        "rc_registration": off,
        "rc_login": {"address": off, "account": off, "failed_attempts": off},
        "rc_joins": {"local": off, "remote": off},
        "rc_joins_per_room": off,
        "rc_invites": {"per_room": off, "per_user": off, "per_issuer": off},
        "rc_room_creation": off,
        "rc_delayed_event_mgmt": off,
        "rc_presence": {"per_user": off},
        "rc_federation": {
            "window_size": 1000, "sleep_limit": 100_000, "sleep_delay": 1,
            "reject_limit": 100_000, "concurrent": 100,
        },
        "federation_rr_transactions_per_room_per_second": 1000,
    })
}

/// `log.yaml`.
pub fn log(folder: &Path) -> Value {
    json!({
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}},
        "handlers": {"file": {
            "class": "logging.FileHandler", "formatter": "line",
            "filename": folder.join("homeserver.log"),
        }},
        "root": {"level": "INFO", "handlers": ["file"]},
        "disable_existing_loggers": false,
    })
}
