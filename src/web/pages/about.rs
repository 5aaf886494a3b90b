//! `/about`: what is collected, how calls are computed, and who may see it, in plain words, as this
//! installation is configured.

use crate::rtc::time::DAY_MS;
use crate::store::sign_in::audit_log;
use crate::web::Web;
use crate::web::http::assets;
use crate::web::http::error::Error;
use crate::web::http::response::{self, Page, PageAnswer, PageRequest, Section, Shell};
use crate::web::sign_in::access::Audience;
use crate::web::view::format as f;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use utoipa::ToSchema;

/// The page.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub struct About {
    pub version: &'static str,
    /// `everybody` and `this_machine`: whoever reaches the pages sees everything. `by_rights`: each
    /// sees what is theirs.
    pub shown_to: Audience,
    /// Can an operator sign in with a password, and people through a proxy?
    pub has_password: bool,
    pub has_proxies: bool,
    /// Can people sign in with a code that the account sends them by Matrix?
    pub has_codes: bool,
    /// The provider at which people sign in by OpenID Connect; `null` if there is none.
    pub provider: Option<String>,
    /// Are rooms public that everybody may join, beside those whose history everybody may read?
    pub open_rooms_are_public: bool,
    /// Are servers shown where people are shown by pseudonyms?
    pub servers_are_public: bool,
    /// How long raw events are kept, days; `null` = for ever.
    pub events_kept_days: Option<u32>,
    /// How long calls are kept, days; `null` = for ever.
    pub calls_kept_days: Option<u32>,
    /// Is read what happened in a room before the account came?
    pub reads_history: bool,
    /// How far back that is read, days; `null` = to the beginning.
    pub history_days: Option<u32>,
    /// Is whoever writes "opt out" to the account forgotten?
    pub hears_opt_outs: bool,
    /// Are other servers and SFUs asked whether they are ready for calls?
    pub probes_servers: bool,
}

/// `GET /about`: the page about this Callscope.
pub async fn get_about(req: HttpRequest, web: Web) -> HttpResponse {
    let ask = PageRequest::of_request(&req, &web);
    let answer: Result<_, Error> = ask
        .read_query(&[])
        .map(|_| PageAnswer::from(describe_site(&web)));

    response::send_page(&web, &ask, answer).await
}

/// What is collected and shown here, by the configuration.
fn describe_site(web: &Web) -> About {
    let (kept, visibility) = (web.options.kept, web.options.visibility);

    About {
        version: Shell::VERSION,
        shown_to: web.access.audience(),
        has_password: web.access.has_password(),
        has_proxies: web.access.has_proxies(),
        has_codes: web.access.offers_codes(),
        provider: web.access.provider_name().map(ToOwned::to_owned),
        open_rooms_are_public: visibility.open_rooms_are_public,
        servers_are_public: visibility.servers_are_public,
        events_kept_days: kept.events_days,
        calls_kept_days: kept.calls_days,
        reads_history: kept.reads_history,
        history_days: kept.history_days,
        hears_opt_outs: web.options.hears_opt_outs,
        probes_servers: web.options.probing,
    }
}

impl About {
    /// A site that nobody configured.
    #[cfg(test)]
    pub fn unconfigured() -> Self {
        Self {
            version: Shell::VERSION,
            shown_to: Audience::ByRights,
            has_password: false,
            has_proxies: false,
            has_codes: false,
            provider: None,
            open_rooms_are_public: false,
            servers_are_public: false,
            events_kept_days: None,
            calls_kept_days: None,
            reads_history: false,
            history_days: None,
            hears_opt_outs: false,
            probes_servers: false,
        }
    }

    /// How long calls and the events behind them are kept, in words.
    fn kept_words(&self) -> String {
        let days = |days: u32| f::count_with_noun(i64::from(days), "day", "days");
        match (self.events_kept_days, self.calls_kept_days) {
            (None, None) => "Calls and the events behind them are kept for ever.".to_owned(),
            (Some(events), None) => format!(
                "Events are kept for {}, the calls that follow from them for ever.",
                days(events)
            ),
            (None, Some(calls)) => {
                format!("Calls and their events are kept for {}.", days(calls))
            }
            (Some(events), Some(calls)) => format!(
                "Events are kept for {}, the calls that follow from them for {}.",
                days(events.min(calls)),
                days(calls)
            ),
        }
    }

    /// How far back a room's history is read, in words.
    fn history_words(&self) -> String {
        match (self.reads_history, self.history_days) {
            (false, _) => "What happened in a room before the account came is not read.".to_owned(),
            (true, None) => "What happened in a room before the account came is read, too, as far \
                             as the room shows it to the account."
                .to_owned(),
            (true, Some(days)) => format!(
                "Of what happened in a room before the account came, the last {} are read, as far \
                 as the room shows them to the account.",
                f::count_with_noun(i64::from(days), "day", "days")
            ),
        }
    }

    /// By which ways somebody can sign in, in words; empty if by none.
    fn sign_in_words(&self) -> String {
        let mut ways = Vec::new();
        if self.has_password {
            ways.push("with the operator’s password".to_owned());
        }
        if let Some(provider) = &self.provider {
            ways.push(format!("at {provider}"));
        }
        if self.has_codes {
            let way = "with a code that the account sends by Matrix, in a room of their own that is \
                       not watched";
            ways.push(way.to_owned());
        }
        if self.has_proxies {
            ways.push("at the proxy before these pages".to_owned());
        }

        ways.join(", or ")
    }

    /// How long the log of sign-ins is kept, days.
    fn log_days() -> i64 {
        audit_log::KEPT_MS / DAY_MS
    }
}

#[derive(Template)]
#[template(path = "about.html")]
struct Html<'a> {
    page: &'a About,
    shell: &'a Shell,
}

impl Page for About {
    const SECTION: Section = Section::About;

    fn html(&self, shell: &Shell) -> askama::Result<String> {
        Html { page: self, shell }.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_things_are_kept_is_told_as_it_is_configured() {
        let mut about = About::unconfigured();
        assert!(about.kept_words().ends_with("for ever."));
        about.events_kept_days = Some(90);
        assert!(about.kept_words().contains("Events are kept for 90 days"));
        about.calls_kept_days = Some(1);
        assert!(about.kept_words().ends_with("for 1 day."));
        about.events_kept_days = None;
        assert_eq!(
            about.kept_words(),
            "Calls and their events are kept for 1 day."
        );
    }

    #[test]
    fn how_far_back_is_read_is_told_as_it_is_configured() {
        let mut about = About::unconfigured();
        assert!(about.history_words().ends_with("is not read."));
        about.reads_history = true;
        assert!(about.history_words().contains("is read, too"));
        about.history_days = Some(30);
        assert!(about.history_words().contains("the last 30 days are read"));
    }
}
