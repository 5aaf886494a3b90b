//! Probes with prepared answers, and the requests that a probe must never send.

use super::super::stub::{Reply, Stub, json_reply, reply_of_type, reply_with};
use super::*;
use serde_json::json;

fn towards(stub: &Stub) -> Prober {
    Prober::towards(stub.url.strip_prefix("http://").unwrap().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_an_answer_is_said() {
    for (answer, want) in [
        (reply_of_type(404, "text/html", "no"), ProbeAnswer::Missing),
        (
            reply_of_type(502, "text/html", "no"),
            ProbeAnswer::Failed("it answered 502 Bad Gateway".to_owned()),
        ),
        (
            reply_of_type(200, "text/html", "<h1>"),
            ProbeAnswer::Failed("its answer is no JSON".to_owned()),
        ),
        (
            json_reply(200, &json!([])),
            ProbeAnswer::Failed("its well-known document is no object".to_owned()),
        ),
        (
            reply_of_type(200, "application/json", &"x".repeat(BODY_MAX + 1)),
            ProbeAnswer::Failed("its answer is too large".to_owned()),
        ),
        (
            Reply::Endless,
            ProbeAnswer::Failed("its answer is too large".to_owned()),
        ),
        // A stranger's redirect may lead anywhere.
        (
            reply_with(302, "Location: http://127.0.0.1:1/\r\n", ""),
            ProbeAnswer::Failed("it answered 302 Found".to_owned()),
        ),
    ] {
        let stub = Stub::start(vec![answer]);
        let asked = towards(&stub)
            .get_json("https://a.example", ".well-known/matrix/client")
            .await;
        assert_eq!(asked.and_then(|json| read_published(&json)), want);
    }
}

#[tokio::test]
async fn an_sfu_is_well_when_it_says_so_or_its_door_is_there() {
    let ok = || reply_of_type(200, "text/plain", "");
    let none = || reply_of_type(404, "text/plain", "");
    for (answers, well, requests) in [
        (vec![ok()], true, vec!["GET /jwt/healthz "]),
        (
            vec![none(), ok()],
            true,
            vec!["GET /jwt/healthz ", "OPTIONS /jwt/sfu/get "],
        ),
    ] {
        let stub = Stub::start(answers);
        let sfu = towards(&stub).sfu("https://sfu.example/jwt/?x=1#y").await;
        assert_eq!(matches!(sfu.health, ProbeAnswer::Said(_)), well, "{sfu:?}");
        let asked = stub.requests();
        assert!(
            asked
                .iter()
                .zip(requests)
                .all(|(asked, want)| asked.starts_with(want)),
            "{asked:?}"
        );
    }

    let not_so = || reply_of_type(405, "text/plain", "");
    let stub = Stub::start(vec![none(), not_so(), none()]);
    assert_eq!(
        towards(&stub).sfu("https://sfu.example/jwt").await.health,
        ProbeAnswer::Missing
    );
    // A proxy that forbids everything but the endpoint for clients, which accepts only POST.
    let stub = Stub::start(vec![reply_of_type(403, "text/plain", ""), none(), not_so()]);
    let sfu = towards(&stub).sfu("https://sfu.example/jwt").await;
    assert!(matches!(sfu.health, ProbeAnswer::Said(_)), "{sfu:?}");
    assert!(stub.requests()[2].starts_with("GET /jwt/sfu/get "));
    let stub = Stub::start(vec![not_so(), none(), reply_of_type(500, "text/plain", "")]);
    let prober = towards(&stub);
    let mut delegates = Vec::new();
    for _ in 0..3 {
        delegates.push(prober.delegates("https://sfu.example/jwt").await);
    }

    assert_eq!(delegates, [Some(true), Some(false), None]);
    let stub = Stub::start(vec![reply_of_type(503, "text/plain", "")]);
    let health = towards(&stub).sfu("https://sfu.example").await.health;
    assert_eq!(
        health,
        ProbeAnswer::Failed("it answered 503 Service Unavailable".to_owned())
    );
}

#[test]
fn addresses_inside_are_not_asked_however_they_are_written() {
    let prober = Prober::new().unwrap();
    for base in [
        "https://127.0.0.1",
        "https://127.1/x",
        "https://2130706433",
        "https://0x7f000001",
        "https://0177.0.0.1",
        "https://0x7f.1",
        "https://127.0.0.1.",
        "https://１２７.0.0.1",
        "https://169.254.169.254/latest/meta-data",
        "https://10.1.2.3:8443/jwt",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://[::ffff:7f00:1]:8443",
        "https://[64:ff9b::7f00:1]",
        "https://[fe80::1]",
        "https://0",
        "https://100.64.0.1",
    ] {
        let Err(ProbeFault::Refused(why)) = prober.allowed_url(base, "healthz") else {
            panic!("{base} would be asked")
        };

        assert_eq!(why, "it leads to an address that is not public", "{base}");
    }

    for (base, why) in [
        ("http://sfu.example", "it is no https address"),
        ("ftp://sfu.example", "it is no https address"),
        ("javascript:alert(1)", "it is no https address"),
        ("sfu.example/jwt", "it is no web address"),
        ("https://user:secret@sfu.example", "it carries a user"),
        (
            "https://sfu.example:22",
            "its port is one of other services",
        ),
        ("https://[fe80::1%25eth0]", "it is no web address"),
    ] {
        let Err(ProbeFault::Refused(said)) = prober.allowed_url(base, "healthz") else {
            panic!("{base} would be asked")
        };

        assert_eq!(said, why, "{base}");
    }

    let url = prober
        .allowed_url("https://sfu.example:8443/jwt//?a=b", "healthz")
        .unwrap();
    assert_eq!(url.as_str(), "https://sfu.example:8443/jwt/healthz");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_and_not_connected_to() {
    let stub = Stub::start(vec![json_reply(200, &json!({}))]);
    let port = stub.url.rsplit_once(':').unwrap().1;
    let prober = Prober::new().unwrap();
    let sfu = prober.sfu(&format!("https://localhost:{port}/jwt")).await;
    assert_eq!(
        sfu.health,
        ProbeAnswer::Refused("it leads to an address that is not public".to_owned())
    );
    for base in ["https://localhost", "https://[::1]:8448"] {
        assert_eq!(
            prober.get_json(base, "x").await,
            ProbeAnswer::Refused("it leads to an address that is not public".to_owned())
        );
    }

    assert!(stub.requests().is_empty());
}
