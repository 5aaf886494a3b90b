//! How the client handles answers that no good homeserver gives.

use super::super::stub::{Reply, Stub, TOKEN, json_reply, reply_of_type, reply_with};
use super::*;
use serde_json::json;

async fn error_of(stub_reply: Reply) -> Error {
    let stub = Stub::start(vec![stub_reply]);
    stub.client().joined_rooms().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_hangs_is_a_time_out() {
    let stub = Stub::start(vec![Reply::Hang]);
    let client = stub.client_with(|settings| settings.request_timeout = Duration::from_millis(200));
    let error = client.joined_rooms().await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { .. }) && error.is_transient(),
        "{error:?}"
    );
    let text = "GET /_matrix/client/v3/joined_rooms: the homeserver did not answer within 0.2 s";
    assert_eq!(error.to_string(), text);
    assert_eq!(client.requests(), 1);
}

#[tokio::test]
async fn a_body_that_hangs_is_a_time_out_too() {
    let stub = Stub::start(vec![Reply::Bytes(
        b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n{\"a".to_vec(),
    )]);
    let client = stub.client_with(|settings| settings.request_timeout = Duration::from_millis(200));
    assert!(client.joined_rooms().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn who_reads_piece_by_piece_may_take_their_time() {
    let body = json!({"next_batch": "s1", "padding": "x".repeat(200_000)});
    let stub = Stub::start(vec![json_reply(200, &body)]);
    let client = stub.client_with(|settings| settings.request_timeout = Duration::from_millis(300));
    let request = client.get(&["x"]);
    let mut body = request.open().await.unwrap();
    let mut read = 0;
    while let Some(piece) = body.next().await.unwrap() {
        if read == 0 {
            // Storing the piece takes time.
            tokio::time::sleep(Duration::from_millis(600)).await;
        }

        read += piece.len();
    }

    assert_eq!(read, body.read());
    assert!(read > 100_000);
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_when_the_time_is_over() {
    let stub = Stub::start(vec![Reply::Drip(Duration::from_millis(50))]);
    let client = stub.client_with(|settings| settings.request_timeout = Duration::from_millis(300));
    let mut body = client.get(&["x"]).open().await.unwrap();
    let error = loop {
        match body.next().await {
            Ok(piece) => assert!(piece.is_some(), "it has no end"),
            Err(error) => break error,
        }
    };

    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let stub = Stub::start(vec![Reply::Endless]);
    let client = stub.client_with(|settings| settings.max_body_bytes = 1024 * 1024);
    let error = client.joined_rooms().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                limit: 1_048_576,
                ..
            }
        ) && error.is_transient(),
        "{error:?}"
    );
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    assert!(
        stub.sent() < 100 * 1024 * 1024,
        "{} bytes were taken",
        stub.sent()
    );
}

#[tokio::test]
async fn an_announced_size_is_enough_to_refuse() {
    let head =
        b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 314572800\r\n\r\n"
            .to_vec();
    assert!(matches!(
        error_of(Reply::Bytes(head)).await,
        Error::TooLarge { .. }
    ));
}

#[tokio::test]
async fn a_compressed_body_counts_with_its_real_size() {
    // 1 MiB of zeros, compressed with gzip to 1 kB.
    let stub = Stub::start(vec![Reply::Bytes(bomb())]);
    let client = stub.client_with(|settings| settings.max_body_bytes = 64 * 1024);
    assert!(matches!(
        client.joined_rooms().await.unwrap_err(),
        Error::TooLarge { .. }
    ));
}

/// A gzip body made by hand: stored blocks do not compress, so this one repeats a deflate match of
/// 258 zeros.
fn bomb() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(1, 1); // last block
    bits.push(1, 2); // fixed Huffman codes
    bits.code(0b0011_0000, 8); // literal 0
    for _ in 0..4096 {
        bits.code(0b1100_0101, 8); // length 258
        bits.code(0, 5); // distance 1
    }

    bits.code(0, 7); // end of block
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    body.extend(bits.bytes);
    body.extend([0; 8]);
    let length = body.len();
    let head =
        format!("HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n");

    [head.into_bytes(), body].concat()
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn push(&mut self, value: u32, length: usize) {
        for bit in 0..length {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }

            *self.bytes.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (self.used % 8);
            self.used += 1;
        }
    }

    /// Huffman codes are written with their first bit first.
    fn code(&mut self, value: u32, length: usize) {
        for bit in (0..length).rev() {
            self.push(value >> bit & 1, 1);
        }
    }
}

async fn assert_not_matrix(stub_reply: Reply, words: &str) {
    let error = error_of(stub_reply).await;
    let is = matches!(error, Error::NotMatrix { .. }) && error.is_transient();
    assert!(
        is && error.to_string().contains(words),
        "{words}: {error:?}"
    );
}

#[tokio::test]
async fn what_is_not_matrix_is_said_and_transient() {
    let cut =
        b"HTTP/1.1 200 X\r\nContent-Length: 500\r\nConnection: close\r\n\r\n{\"joined_rooms\":[";
    let json = "application/json";
    let cases = [
        (Reply::Bytes(cut.to_vec()), "breaks off after 17 bytes"),
        (
            reply_of_type(200, "text/html", "<!doctype html><h1>hi</h1>"),
            "a web page (HTML)",
        ),
        (
            reply_of_type(200, json, "{\"joined_rooms\":[\"!a"),
            "JSON that breaks off after 20 bytes",
        ),
        (reply_of_type(200, json, "{]"), "broken JSON"),
        (reply_of_type(200, json, ""), "an empty answer"),
        (
            json_reply(200, &json!({})),
            "the list `joined_rooms` is missing",
        ),
        (
            json_reply(200, &json!("text")),
            "the list `joined_rooms` is missing",
        ),
        (
            reply_of_type(404, "text/html", "<h1>nginx</h1>"),
            "status 404 Not Found without a Matrix error code",
        ),
        (json_reply(418, &json!({})), "status 418"),
    ];

    for (stub_reply, words) in cases {
        assert_not_matrix(stub_reply, words).await;
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_not_matrix() {
    let to = |status, place: &str| reply_with(status, &format!("Location: {place}\r\n"), "");
    assert_not_matrix(to(302, "ftp://127.0.0.1/"), "status 302").await;
    assert_not_matrix(to(307, "http://localhost:9/"), "status 307").await;
    let stub = Stub::start((0..10).map(|_| to(302, "/again")).collect());
    let error = stub.client().joined_rooms().await.unwrap_err();
    assert_eq!(error.status(), Some(302), "{error:?}");
    assert_eq!(stub.requests().len(), 1 + super::super::REDIRECTS_MAX);
}

#[tokio::test]
async fn a_closed_port_and_a_dropped_connection_are_unreachable() {
    let error = error_of(Reply::Bytes(Vec::new())).await;
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        "{error:?}"
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let client = Client::new(super::super::Settings::new(
        format!("http://{free}").parse().unwrap(),
    ))
    .unwrap();
    let error = client.joined_rooms().await.unwrap_err();
    assert!(
        error
            .to_string()
            .to_lowercase()
            .contains("connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_429_carries_its_time() {
    let limited = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 1500});
    let plain = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "slow"}).to_string();
    let cases = [
        (json_reply(429, &limited), 1_500),
        (
            reply_with(429, "Retry-After: 7\r\n", &limited.to_string()),
            1_500,
        ),
        (reply_with(429, "Retry-After: 7\r\n", &plain), 7_000),
        (
            reply_with(429, "Retry-After: 7\r\n", "<h1>wait</h1>"),
            7_000,
        ),
        (
            reply_with(429, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", ""),
            5_000,
        ),
        (json_reply(429, &json!({"retry_after_ms": "soon"})), 5_000),
        (
            json_reply(429, &json!({"retry_after_ms": u64::MAX})),
            600_000,
        ),
        (reply_with(503, "Retry-After: 3\r\n", ""), 3_000),
    ];

    for (stub_reply, wait) in cases {
        let error = error_of(stub_reply).await;
        assert_eq!(
            error.retry_after(),
            Some(Duration::from_millis(wait)),
            "{error:?}"
        );
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn statuses_answer_the_questions_that_are_asked() {
    let refuse = |status, errcode| json_reply(status, &json!({"errcode": errcode, "error": "no"}));
    let error = error_of(reply_of_type(502, "text/html", "<h1>Bad Gateway</h1>")).await;
    assert!(error.is_transient() && error.retry_after().is_none() && error.status() == Some(502));
    assert!(error_of(refuse(403, "M_FORBIDDEN")).await.is_forbidden());
    assert!(error_of(refuse(404, "M_NOT_FOUND")).await.is_not_found());
    assert!(
        !error_of(reply_of_type(404, "text/html", "gone"))
            .await
            .is_not_found()
    );
    let soft = json!({"errcode": "M_UNKNOWN_TOKEN", "error": "x", "soft_logout": true});
    let error = error_of(json_reply(401, &soft)).await;
    assert!(error.is_revoked() && error.is_soft_logout() && !error.is_transient());
    let error = error_of(refuse(401, "M_MISSING_TOKEN")).await;
    assert!(error.is_revoked() && !error.is_soft_logout());
}

#[tokio::test]
async fn a_token_that_the_server_echoes_is_not_repeated() {
    let echo =
        json!({"errcode": TOKEN, "error": format!("bad \u{1b}[31m{}{TOKEN}", "x".repeat(280))});
    let error = error_of(json_reply(400, &echo)).await;
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(
            !text.contains("syt_") && text.contains("***") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    let client = Stub::start(Vec::new()).client();
    assert!(!format!("{client:?}").contains(TOKEN));
}

#[tokio::test]
async fn a_token_that_cannot_be_sent_is_a_fault_of_the_setup() {
    let client = Stub::start(Vec::new()).client();
    client.set_token(Some(Secret::new("line\nbreak")));
    let error = client.joined_rooms().await.unwrap_err();
    assert!(
        matches!(error, Error::Setup(_)) && !error.to_string().contains("break"),
        "{error:?}"
    );
}

#[tokio::test]
async fn nobody_but_the_homeserver_is_asked() {
    let other = Stub::start(vec![json_reply(200, &json!({"joined_rooms": []}))]);
    let first = Stub::start(vec![reply_with(
        302,
        &format!("Location: {}/x\r\n", other.url),
        "",
    )]);
    let error = first.client().joined_rooms().await.unwrap_err();
    assert!(first.requests()[0].contains(TOKEN));
    assert!(other.requests().is_empty());
    let text = error.to_string();
    assert!(
        text.contains(&other.url) && text.contains("CALLSCOPE_HOMESERVER_URL"),
        "{text}"
    );
}

#[tokio::test]
async fn a_base_path_is_kept_and_a_new_token_is_used_by_all_clones() {
    let answer = || json_reply(200, &json!({"joined_rooms": []}));
    let stub = Stub::start(vec![answer(), answer()]);
    let client = stub.client_with(|settings| settings.homeserver_url.set_path("/behind/proxy/"));
    let clone = client.clone();
    client.joined_rooms().await.unwrap();
    client.set_token(Some(Secret::new("second")));
    clone.joined_rooms().await.unwrap();
    let asked = stub.requests();
    assert!(
        asked[0].starts_with("GET /behind/proxy/_matrix/client/v3/joined_rooms HTTP"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains(&format!("Bearer {TOKEN}")) && asked[1].contains("Bearer second"));
    assert_eq!(client.requests(), 2);
}

#[tokio::test]
async fn a_date_of_an_answer_that_was_kept_tells_no_time() {
    let date = "Date: Tue, 14 Nov 2023 22:13:20 GMT";
    for (headers, told) in [
        (&[date][..], true),
        (&[date, "Age: 0"], true),
        (&[date, "Age: 40"], false),
        (&[date, "Age: long"], false),
    ] {
        let body = json!({"joined_rooms": []}).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n\r\n{body}",
            body.len(),
            headers.join("\r\n")
        );
        let stub = Stub::start(vec![Reply::Bytes(answer.into_bytes())]);
        let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let all = heard.clone();
        let client = stub.client().telling_time(move |time| {
            all.lock().unwrap().push(time.date_ms);
        });
        client.joined_rooms().await.unwrap();
        let heard = heard.lock().unwrap().clone();
        let expected = if told {
            vec![1_700_000_000_000]
        } else {
            vec![]
        };
        assert_eq!(heard, expected, "{headers:?}");
        assert_eq!(client.has_dates(), told);
    }
}
