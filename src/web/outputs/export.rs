//! `/api/v1/calls.csv` and `/api/v1/calls.ndjson`: all calls of a filter, streamed, of any size.
//! Only one page of calls is in memory at a time.

use crate::store::model::CallFilter;
use crate::store::read::call_order::{self, CallOrder, ListPlace};
use crate::web::Web;
use crate::web::http::error::Error;
use crate::web::http::fair_turns::{FairTurn, TurnOwner};
use crate::web::http::request::Query;
use crate::web::http::response::{self, PageRequest};
use crate::web::http::{host, sort};
use crate::web::pages::space::site_of_space;
use crate::web::pages::{calls, problems, read_calls_with_members};
use crate::web::view::format as f;
use crate::web::view::{CallFacts, ProblemFacts};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web as http};
use futures_util::Stream;
use std::fmt::Write;

/// The filter and the order of the list; an export has no pages.
pub const KNOWN: &[&str] = &[
    "q",
    "room",
    "space",
    "server",
    "user",
    "application",
    "status",
    "kind",
    "from",
    "to",
    "min_minutes",
    "min_people",
    "finding",
    "certainty",
    "intent",
    "sort",
];
/// Calls read per page.
const PAGE: i64 = 200;

/// `GET /api/v1/calls.csv`: the calls that match the filters of the request, as CSV.
pub async fn get_calls_csv(req: HttpRequest, web: Web) -> HttpResponse {
    send_calls(&req, web, FileFormat::Csv).await
}

/// `GET /api/v1/calls.ndjson`: the calls that match the filters of the request, one JSON object a
/// line.
pub async fn get_calls_ndjson(req: HttpRequest, web: Web) -> HttpResponse {
    send_calls(&req, web, FileFormat::Ndjson).await
}

/// `GET /api/v1/problems.csv`: the findings that match the filters of the request, as CSV.
pub async fn get_problems_csv(req: HttpRequest, web: Web) -> HttpResponse {
    send_problems(&req, web, FileFormat::Csv).await
}

/// `GET /api/v1/problems.ndjson`: the findings that match the filters of the request, one JSON
/// object a line.
pub async fn get_problems_ndjson(req: HttpRequest, web: Web) -> HttpResponse {
    send_problems(&req, web, FileFormat::Ndjson).await
}

/// Answers with the findings of a filter as a file, or with an error before anything of it is sent.
async fn send_problems(req: &HttpRequest, web: Web, form: FileFormat) -> HttpResponse {
    let ask = PageRequest::of_request(req, &web);
    let asked = async {
        let query = Query::read(&ask.query, problems::FILTER)?;
        let web = site_of_space(&web, &query).await?;
        let asked = problems::request_of_query(&web, &query).await?;
        let computed = problems::read_computed(&web, &ask).await?;

        Ok((web, asked, computed))
    };

    let (web, asked, computed) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return response::send_error(&ask, &error),
    };

    let owner = TurnOwner::of_request(req, &ask.viewer);
    let Some(turn) = web.memory.exports.take_turn(&owner) else {
        return response::send_error(&ask, &Error::Busy("too many files are being read at once"));
    };

    let base = host::public_base_url(web.public_url.as_deref(), req.headers());
    let stream = async_stream::try_stream! {
        let _turn = turn;
        if form == FileFormat::Csv {
            yield http::Bytes::from(PROBLEM_HEAD.join(",") + "\r\n");
        }

        let mut place = None;
        loop {
            let next = problems::next_problems(&web, &ask, &asked, &computed, place.take(), PROBLEMS);
            let found = next.await.inspect_err(|error| {
                tracing::error!(%error, "an export of findings broke off");
            })?;
            let Some(last) = found.last() else { break };
            place = Some(last.list_place());
            let mut text = String::new();
            for problem in &found {
                match form {
                    FileFormat::Csv => text.push_str(&csv_line_of_problem(&base, problem)),
                    FileFormat::Ndjson => {
                        text.push_str(&(serde_json::to_string(problem).map_err(Error::from)? + "\n"));
                    }
                }
            }

            yield http::Bytes::from(text);
        }
    };

    let stream: std::pin::Pin<Box<dyn Stream<Item = Result<http::Bytes, Error>>>> =
        Box::pin(stream);

    form.begin_file("problems").streaming(stream)
}

/// Findings read per page.
const PROBLEMS: usize = 100;

/// The columns, named as in the JSON.
const PROBLEM_HEAD: [&str; 22] = [
    "id",
    "kind",
    "severity",
    "sure",
    "open",
    "from_at",
    "from_ms",
    "until_at",
    "until_ms",
    "room_id",
    "room_name",
    "call_id",
    "users",
    "unheard",
    "device_id",
    "server",
    "service_url",
    "mender",
    "title",
    "what_to_do",
    "curl",
    "url",
];

/// A finding as a line of CSV, in the order of [`PROBLEM_HEAD`]. `base` is the beginning of our
/// addresses.
fn csv_line_of_problem(base: &str, problem: &ProblemFacts) -> String {
    let finding = &problem.finding;
    let text = |text: Option<&str>| csv_cell(text.unwrap_or_default());
    let cells: [String; PROBLEM_HEAD.len()] = [
        csv_cell(&finding.id),
        finding.kind.to_string(),
        finding.severity.to_string(),
        finding.sure.to_string(),
        problem.open.to_string(),
        f::rfc3339(finding.from_ms),
        finding.from_ms.to_string(),
        finding.until_ms.map(f::rfc3339).unwrap_or_default(),
        finding
            .until_ms
            .map(|ms| ms.to_string())
            .unwrap_or_default(),
        csv_cell(&problem.room.room_id),
        text(problem.room.name.as_deref()),
        csv_cell(&problem.call_id),
        csv_cell(&finding.users.join(" ")),
        csv_cell(&finding.unheard.join(" ")),
        text(finding.device_id.as_deref()),
        text(finding.server()),
        text(finding.service_url.as_deref()),
        finding.mender.to_string(),
        csv_cell(&problem.title),
        csv_cell(&problem.what_to_do),
        text(finding.clear.as_ref().map(|clear| clear.curl.as_str())),
        csv_cell(&format!("{base}{}", problem.href())),
    ];

    cells.join(",") + "\r\n"
}

/// What the file holds.
struct ExportRequest {
    filter: CallFilter,
    order: CallOrder,
    form: FileFormat,
    /// The base of our own addresses.
    base: String,
}

/// The file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileFormat {
    Csv,
    Ndjson,
}

impl FileFormat {
    /// Begins an answer that a browser saves as a file of this name.
    pub(super) fn begin_file(self, name: &str) -> HttpResponseBuilder {
        let (kind, end) = match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Ndjson => ("application/x-ndjson", "ndjson"),
        };

        let mut answer = HttpResponse::Ok();
        answer
            .insert_header((header::CONTENT_TYPE, kind))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((
                header::CONTENT_DISPOSITION,
                format!("attachment; filename=\"{name}.{end}\""),
            ));

        answer
    }
}

/// Answers with the calls of a filter as a file, or with an error before anything of it is sent.
async fn send_calls(req: &HttpRequest, web: Web, form: FileFormat) -> HttpResponse {
    let ask = PageRequest::of_request(req, &web);
    let asked = async {
        let query = Query::read(&ask.query, KNOWN)?;
        let web = site_of_space(&web, &query).await?;
        let asked = ExportRequest {
            order: sort::CALLS.read(&query)?.order(),
            filter: calls::filter_of_query(&web, &ask, &query).await?,
            form,
            base: host::public_base_url(web.public_url.as_deref(), req.headers()),
        };

        Ok((web, asked))
    };

    let (web, asked) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return response::send_error(&ask, &error),
    };

    let owner = TurnOwner::of_request(req, &ask.viewer);
    let Some(turn) = web.memory.exports.take_turn(&owner) else {
        return response::send_error(&ask, &Error::Busy("too many files are being read at once"));
    };

    form.begin_file("calls")
        .streaming(stream_calls(web, ask, asked, turn))
}

/// The file as a stream of parts. It holds `turn`, one of the exports allowed at once, until it
/// ends. If reading fails on the way, the stream breaks off.
fn stream_calls(
    web: Web,
    ask: PageRequest,
    asked: ExportRequest,
    turn: FairTurn,
) -> impl Stream<Item = Result<http::Bytes, Error>> {
    async_stream::try_stream! {
        let _turn = turn;
        if asked.form == FileFormat::Csv {
            yield http::Bytes::from(HEAD.join(",") + "\r\n");
        }

        let mut place = None;
        loop {
            let text = next_calls_text(&web, &ask, &asked, &mut place).await.inspect_err(|error| {
                // The answer has already begun. Cut the connection, so that nobody takes a part for
                // the whole.
                tracing::error!(%error, "an export broke off");
            })?;
            let Some(text) = text else { break };
            yield http::Bytes::from(text);
        }
    }
}

/// The next calls after `place` in the list as text, at most [`PAGE`], and moves `place` to the
/// last of them; the caller begins with `None`. Returns `None` after the last call. The text may be
/// empty, if all calls of the page are filtered out.
async fn next_calls_text(
    web: &Web,
    ask: &PageRequest,
    asked: &ExportRequest,
    place: &mut Option<ListPlace>,
) -> Result<Option<String>, Error> {
    // Use the order of an index for the complete export. Calls that ended before `from` are skipped
    // here: the list that begins with the latest ends would have to be sorted again for each page.
    let filter = &asked.filter;
    let keeps_from = asked.order != CallOrder::NEWEST || filter.active == Some(true);
    let ordered = CallFilter {
        from_ms: filter.from_ms.filter(|_| keeps_from),
        ..filter.clone()
    };

    let rows = call_order::list_ordered_calls(
        &web.store,
        &ordered,
        asked.order,
        place.as_ref(),
        PAGE,
        ask.now,
    )
    .await?;
    let Some((_, last)) = rows.last() else {
        return Ok(None);
    };

    *place = Some(last.clone());
    let mut rows: Vec<_> = rows.into_iter().map(|(call, _)| call).collect();
    rows.retain(|call| filter.from_ms.is_none_or(|from| call.until_ms >= from));
    let mut text = String::new();
    for call in read_calls_with_members(web, ask, rows).await? {
        match asked.form {
            FileFormat::Csv => text.push_str(&csv_line_of_call(&asked.base, &call)),
            FileFormat::Ndjson => text.push_str(&(serde_json::to_string(&call)? + "\n")),
        }
    }

    Ok(Some(text))
}

/// The columns, named as in the JSON.
const HEAD: [&str; 28] = [
    "id",
    "room_id",
    "room_name",
    "room_alias",
    "slot_id",
    "application",
    "started_at",
    "started_ms",
    "ended_at",
    "ended_ms",
    "active",
    "duration_ms",
    "people",
    "devices",
    "peak",
    "peak_users",
    "servers",
    "intent",
    "certainty",
    "error_ms",
    "gap_ms",
    "unknown_since_at",
    "url",
    "people_now",
    "devices_now",
    "ghosts_now",
    "state",
    "stuck_since_at",
];

/// A call as a line of CSV, in the order of [`HEAD`]. `base` is the beginning of our addresses.
fn csv_line_of_call(base: &str, call: &CallFacts) -> String {
    let text = |text: Option<&str>| csv_cell(text.unwrap_or_default());
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let stamp = |ms: Option<i64>| ms.map(f::rfc3339).unwrap_or_default();
    let cells: [String; HEAD.len()] = [
        csv_cell(&call.id),
        csv_cell(&call.room.room_id),
        text(call.room.name.as_deref()),
        text(call.room.alias.as_deref()),
        csv_cell(&call.slot_id),
        csv_cell(&call.application),
        stamp(Some(call.started_ms)),
        number(Some(call.started_ms)),
        stamp(call.ended_ms),
        number(call.ended_ms),
        call.active.to_string(),
        number(Some(call.duration_ms)),
        number(Some(call.people)),
        number(Some(call.devices)),
        number(Some(call.peak)),
        number(Some(call.peak_users)),
        csv_cell(&call.servers.join(" ")),
        text(call.intent.as_deref()),
        csv_cell(call.certainty.verdict.as_str()),
        number(Some(call.certainty.error_ms)),
        number(Some(call.certainty.gap_ms)),
        stamp(call.unknown_since_ms),
        csv_cell(&format!("{base}{}", call.href())),
        call.people_now.to_string(),
        call.devices_now.to_string(),
        call.ghosts_now.to_string(),
        call.state.to_string(),
        stamp(call.stuck_since_ms),
    ];
    let mut line = cells.join(",");
    line.push_str("\r\n");

    line
}

/// A text as a CSV cell (RFC 4180). A text that a spreadsheet would read as a formula gets a
/// leading `'`.
pub(in crate::web) fn csv_cell(text: &str) -> String {
    let is_formula = text.trim_start().starts_with([
        '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]) || text.starts_with(['\t', '\r', '\n']);
    let guard = if is_formula { "'" } else { "" };
    if !is_formula && !text.contains(['"', ',', '\n', '\r', ';', '\t']) {
        return text.to_owned();
    }

    let mut quoted = String::with_capacity(text.len() + 3);
    let _ = write!(quoted, "\"{guard}{}\"", text.replace('"', "\"\""));

    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, want) in [
            ("War room", "War room"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            (" =1+1", "\"' =1+1\""),
            ("\t=1", "\"'\t=1\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(csv_cell(text), want);
        }
    }
}
