//! Strangers who try to keep the others waiting: slow connections, floods and long questions.

use crate::app::bed::{Bed, Running};
use callscope::web::http::connections::raise_open_files_limit;
use reqwest::StatusCode;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ALICE: &str = "@alice:sim.example";
/// Connections that send their request slowly. Both ends are in this process, which may open 20,000
/// files on most systems.
const SLOW: usize = 8000;
/// How long somebody else waits at most. Less than the time after which slow connections are closed;
/// the time that it took is printed.
const PATIENCE: Duration = Duration::from_secs(4);

/// The host and port of the running app.
fn place_of(app: &Running) -> &str {
    app.http.base.strip_prefix("http://").unwrap()
}

/// Asks for the overview as somebody else, and prints how long that took.
async fn ask_as_somebody_else(app: &Running, beside: &str) {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let begun = Instant::now();
    let ask = client
        .get(format!("{}/", app.http.base))
        .header("accept", "text/html")
        .header("x-forwarded-for", "198.51.100.7");
    let answer = ask.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "beside {beside}");
    println!("beside {beside}: {} ms", begun.elapsed().as_millis());
}

#[tokio::test]
async fn slow_connections_keep_nobody_waiting() {
    raise_open_files_limit();
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;

    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut connection = TcpStream::connect(place_of(&app)).await.unwrap();
        connection
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: ")
            .await
            .unwrap();
        slow.push(connection);
    }

    ask_as_somebody_else(&app, "slow connections").await;
    for connection in slow.iter_mut().step_by(10) {
        let _ = connection.write_all(b"a").await;
    }

    ask_as_somebody_else(&app, "slow connections that go on").await;

    // A request that does not become whole is given up.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE * 15, slow[0].read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the connection is closed");
    drop(slow);
    app.app.stop().await;
}

#[tokio::test]
async fn a_flood_from_one_address_is_refused_and_the_others_are_answered() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start_with(&[("REQUESTS_PER_SECOND", "2")]).await;
    app.ready().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut refused = 0;
    for number in 0..100 {
        let ask = client
            .get(format!(
                "{}/api/v1/calls?limit={}",
                app.http.base,
                number + 1
            ))
            .header("x-forwarded-for", format!("203.0.113.{number}, 192.0.2.1"));
        let answer = ask.send().await.unwrap();
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
        }
    }

    assert!(refused > 0, "whatever the client itself adds before");
    ask_as_somebody_else(&app, "a flood").await;
    let metrics = app.page("/metrics").await;
    let counted = format!("callscope_limited_requests_total {refused}\n");
    assert!(metrics.contains(&counted), "{refused}: {metrics}");
    app.app.stop().await;
}

#[tokio::test]
async fn long_questions_are_refused() {
    let bed = Bed::new().await;
    bed.room(&[ALICE]);
    let app = bed.start().await;
    app.ready().await;
    let long = "a".repeat(1_000_000);
    for _ in 0..50 {
        let mut connection = TcpStream::connect(place_of(&app)).await.unwrap();
        let question = format!("GET /calls?q={long} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        // It may be refused before it was sent whole.
        let _ = connection.write_all(question.as_bytes()).await;
        let mut answer = Vec::new();
        let read = connection.read_to_end(&mut answer);
        let end = tokio::time::timeout(PATIENCE, read).await;
        assert!(end.is_ok(), "an answer comes, or the end");
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }

    ask_as_somebody_else(&app, "long questions").await;
    app.app.stop().await;
}
