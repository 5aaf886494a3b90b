//! The two formats of `/metrics`: `OpenMetrics`, and the older text format for programs that do not
//! ask for it. They differ in the names of families, and in lines that only `OpenMetrics` has.

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header, Quality, q};
use std::collections::HashMap;

/// A format of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    OpenMetrics,
    Text,
}

impl MetricsFormat {
    /// The format that the request asks for: `OpenMetrics` only if `Accept` names it, and names the
    /// text format with no higher quality. Whoever takes anything gets what everybody can read.
    pub fn of_request(req: &HttpRequest) -> Self {
        let accepted = Accept::parse(req)
            .map(|accept| accept.0)
            .unwrap_or_default();
        let quality = |kind: &str| -> Quality {
            accepted
                .iter()
                .filter(|one| one.item.essence_str() == kind)
                .map(|one| one.quality)
                .max()
                .unwrap_or_else(|| q(0.0))
        };

        let openmetrics = quality("application/openmetrics-text");
        if openmetrics > q(0.0) && openmetrics >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The answer in this format, made of one in `OpenMetrics`.
    pub fn write(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Text => to_text_format(&openmetrics),
        }
    }
}

/// The same numbers in the text format. There a family has the name of its series, and the kinds
/// `info` and `unknown` are not known.
fn to_text_format(openmetrics: &str) -> String {
    let kinds: HashMap<&str, &str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();

    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            text += line;
            text += "\n";
            continue;
        };

        let mut words = comment.splitn(3, ' ');
        let (Some(keyword @ ("HELP" | "TYPE")), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };

        let (suffix, kind) = match kinds.get(name).copied().unwrap_or("unknown") {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            kind => ("", kind),
        };
        let rest = if keyword == "TYPE" { kind } else { rest };
        for part in ["# ", keyword, " ", name, suffix, " ", rest, "\n"] {
            text += part;
        }
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn who_asks_for_openmetrics_gets_it() {
        let format = |accept: &str| {
            let request = TestRequest::default().insert_header(("accept", accept));
            MetricsFormat::of_request(&request.to_http_request())
        };

        for openmetrics in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            // Prometheus 2 and 3
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
             escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        ] {
            assert_eq!(
                format(openmetrics),
                MetricsFormat::OpenMetrics,
                "{openmetrics}"
            );
        }

        for text in [
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;q=0.9,application/openmetrics-text;q=0.8",
            "application/openmetrics-text;q=0",
            "application/json",
            "no media type",
            "",
        ] {
            assert_eq!(format(text), MetricsFormat::Text, "{text}");
        }

        let silent = TestRequest::default().to_http_request();
        assert_eq!(MetricsFormat::of_request(&silent), MetricsFormat::Text);
    }

    #[test]
    fn a_family_has_the_name_of_its_series_in_the_text_format() {
        let openmetrics = "# HELP a_build The program.\n\
                           # TYPE a_build info\n\
                           a_build_info{version=\"# TYPE x\"} 1\n\
                           # HELP a_size_bytes The size.\n\
                           # TYPE a_size_bytes gauge\n\
                           # UNIT a_size_bytes bytes\n\
                           a_size_bytes 7\n\
                           # HELP a_errors Its errors.\n\
                           # TYPE a_errors counter\n\
                           a_errors_total{a=\"b\"} 2\n\
                           # HELP a_thing What it is.\n\
                           # TYPE a_thing unknown\n\
                           a_thing 3\n\
                           # EOF\n";
        let text = "# HELP a_build_info The program.\n\
                    # TYPE a_build_info gauge\n\
                    a_build_info{version=\"# TYPE x\"} 1\n\
                    # HELP a_size_bytes The size.\n\
                    # TYPE a_size_bytes gauge\n\
                    a_size_bytes 7\n\
                    # HELP a_errors_total Its errors.\n\
                    # TYPE a_errors_total counter\n\
                    a_errors_total{a=\"b\"} 2\n\
                    # HELP a_thing What it is.\n\
                    # TYPE a_thing untyped\n\
                    a_thing 3\n";

        assert_eq!(MetricsFormat::Text.write(openmetrics.into()), text);
        let same = MetricsFormat::OpenMetrics.write(openmetrics.into());
        assert_eq!(same, openmetrics);
    }
}
