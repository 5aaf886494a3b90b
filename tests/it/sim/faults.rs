//! Each fault of the simulated homeserver has the described effect on a real client.

use std::time::Duration;

use callscope::sim::{Fault, FaultKind, Homeserver};
use reqwest::Response;
use serde_json::{Value, json};

async fn ask(hs: &Homeserver) -> reqwest::Result<Response> {
    reqwest::get(format!("{}/_matrix/client/versions", hs.url())).await
}

async fn broken(kind: FaultKind) -> (Homeserver, reqwest::Result<Response>) {
    let hs = Homeserver::start(0).await.unwrap();
    hs.inject(Fault::once("/versions", kind));
    let answer = ask(&hs).await;
    (hs, answer)
}

async fn body_of(kind: FaultKind) -> Result<Value, String> {
    let (hs, answer) = broken(kind).await;
    let read = answer.unwrap().error_for_status().unwrap().json().await;
    let healthy: Value = ask(&hs).await.unwrap().json().await.unwrap();
    assert!(healthy["versions"].is_array(), "it strikes once");
    hs.stop().await;

    read.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn status_and_rate_limit_and_unknown_position() {
    let (_hs, answer) = broken(FaultKind::Status(503, json!({"errcode": "M_X"}))).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json::<Value>().await.unwrap()["errcode"], "M_X");
    let limited = |header| FaultKind::RateLimited {
        retry_after_ms: 1500,
        header,
    };

    let (_hs, answer) = broken(limited(true)).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"2".parse().unwrap())
    );
    assert_eq!(
        answer.json::<Value>().await.unwrap()["retry_after_ms"],
        1500
    );
    let (_hs, answer) = broken(limited(false)).await;
    assert_eq!(answer.unwrap().headers().get("retry-after"), None);
    let (_hs, answer) = broken(FaultKind::UnknownPos).await;
    let body: Value = answer.unwrap().json().await.unwrap();
    assert_eq!(body["error"], "Invalid stream token");
}

#[tokio::test]
async fn bodies_that_are_wrong() {
    assert_eq!(body_of(FaultKind::EmptyObject).await, Ok(json!({})));
    assert!(
        body_of(FaultKind::BadJson)
            .await
            .unwrap_err()
            .contains("EOF")
    );
    assert!(
        body_of(FaultKind::Html)
            .await
            .unwrap_err()
            .contains("expected value")
    );
    assert!(
        body_of(FaultKind::WrongLength)
            .await
            .unwrap_err()
            .contains("EOF")
    );
    let cut = body_of(FaultKind::Truncated).await.unwrap_err();
    assert!(
        !cut.contains("EOF while parsing"),
        "the transport fails, not the parser: {cut}"
    );
}

#[tokio::test]
async fn connections_that_die() {
    let (_hs, answer) = broken(FaultKind::Drop).await;
    assert!(answer.unwrap_err().is_request());
    let (hs, answer) = broken(FaultKind::Hang(Duration::from_millis(20))).await;
    assert!(answer.unwrap_err().is_request(), "closed after a while");
    hs.inject(Fault::once("", FaultKind::Hang(Duration::from_hours(1))));
    let patient = reqwest::Client::builder().timeout(Duration::from_millis(100));
    let asked = patient.build().unwrap().get(hs.url()).send().await;
    assert!(
        asked.unwrap_err().is_timeout(),
        "neither answered nor closed"
    );
    assert_eq!(ask(&hs).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_huge_body_is_json_of_that_size() {
    let (_hs, answer) = broken(FaultKind::Huge(3_000_000)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.headers().get("content-length"), None);
    let body = answer.text().await.unwrap();
    assert!(
        (2_900_000..3_100_000).contains(&body.len()),
        "{}",
        body.len()
    );
    assert!(serde_json::from_str::<Value>(&body).unwrap()["padding"].is_array());
}

#[tokio::test]
async fn faults_match_paths_last_and_are_cleared_and_requests_are_logged() {
    let hs = Homeserver::start(0).await.unwrap();
    hs.inject(Fault::lasting("/sync", FaultKind::EmptyObject));
    assert!(ask(&hs).await.unwrap().json::<Value>().await.unwrap()["versions"].is_array());
    hs.inject(Fault::times(
        "/versions",
        2,
        FaultKind::Status(500, json!({})),
    ));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(ask(&hs).await.unwrap().status().as_u16());
    }

    assert_eq!(seen, [500, 500, 200]);
    hs.inject(Fault::lasting("", FaultKind::Drop));
    assert!(ask(&hs).await.is_err());
    hs.clear_faults();
    assert_eq!(ask(&hs).await.unwrap().status(), 200);
    assert!(hs.count("/versions") >= 6);
    assert_eq!(
        hs.requests()[0],
        ("GET".into(), "/_matrix/client/versions".into())
    );
    hs.stop().await;
    assert!(ask(&hs).await.is_err());
}
