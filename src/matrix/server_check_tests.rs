//! A server check with prepared answers: what is asked, and what is read from the answers.

use super::super::stub::{Stub, json_reply, reply_with};
use super::*;

const CORS: &str = "Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n";
const NOW: i64 = 1_700_000_000_000;

fn towards(stub: &Stub) -> Prober {
    Prober::towards(stub.url.strip_prefix("http://").unwrap().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_stranger_is_asked_only_what_everybody_may_ask() {
    let document = json!({"m.homeserver": {"base_url": "https://matrix.a.example"},
        "m.rtc_foci": [{"type": "livekit", "livekit_service_url": "https://rtc.a.example/jwt"}]});
    let versions =
        json!({"versions": ["v1.11"], "unstable_features": {"org.matrix.msc4140": true}});
    let date = format!("{CORS}Date: Tue, 14 Nov 2023 22:13:30 GMT\r\n");
    let stub = Stub::start(vec![
        json_reply(200, &json!({"m.server": "matrix.a.example:443"})),
        json_reply(
            200,
            &json!({"server": {"name": "Synapse", "version": "1.2"}}),
        ),
        json_reply(200, &json!({"server_name": "b.example"})),
        reply_with(200, CORS, &document.to_string()),
        reply_with(200, &date, &versions.to_string()),
        json_reply(200, &json!({})),
        reply_with(405, "", ""),
        reply_with(204, CORS, ""),
        reply_with(405, "", ""),
    ]);
    let answers = towards(&stub)
        .ask_server("a.example", None, None, &mut BTreeMap::new(), &|| NOW)
        .await;

    assert_eq!(
        answers.federation.url,
        "https://matrix.a.example:443/_matrix/federation/v1/version"
    );
    assert_eq!(
        answers.federation.answer,
        ProbeAnswer::Said("Synapse 1.2".to_owned())
    );
    assert_eq!(
        answers.signing_name,
        ProbeAnswer::Said("b.example".to_owned())
    );
    assert_eq!(
        (answers.published.cors, answers.versions.cors),
        (Some(true), Some(true))
    );
    assert_eq!(answers.clock_ahead_ms, Some(10_500));
    assert!(matches!(answers.transports, ProbeAnswer::Refused(_)));
    let [sfu] = &answers.sfus[..] else {
        panic!("{:?}", answers.sfus)
    };
    assert_eq!((sfu.cors, sfu.delegates_leave), (Some(true), Some(true)));
    assert!(matches!(sfu.token, ProbeAnswer::Refused(_)));

    let asked = stub.requests();
    let lines: Vec<&str> = asked
        .iter()
        .filter_map(|text| text.lines().next())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /.well-known/matrix/server HTTP/1.1",
            "GET /_matrix/federation/v1/version HTTP/1.1",
            "GET /_matrix/key/v2/server HTTP/1.1",
            "GET /.well-known/matrix/client HTTP/1.1",
            "GET /_matrix/client/versions HTTP/1.1",
            "GET /jwt/healthz HTTP/1.1",
            "OPTIONS /jwt/sfu/get HTTP/1.1",
            "OPTIONS /jwt/get_token HTTP/1.1",
            "GET /jwt/delegate_delayed_leave HTTP/1.1",
        ]
    );
    assert!(!asked.concat().to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn a_token_of_our_own_sfu_leads_to_a_handshake() {
    let openid = json!({"access_token": "openid-secret", "matrix_server_name": "a.example"});
    let stub = Stub::start(vec![
        json_reply(200, &openid),
        json_reply(404, &json!({})),
        json_reply(
            200,
            &json!({"url": "wss://sfu.a.example/livekit/", "jwt": "jwt-secret"}),
        ),
        reply_with(401, "", "no permissions"),
    ]);
    let client = stub.client();
    let own = OwnAccount {
        client: &client,
        user_id: "@scope:a.example",
    };
    let prober = towards(&stub);
    let token = prober
        .ask_token("https://rtc.a.example", "a.example", own)
        .await;
    let url = "wss://sfu.a.example/livekit/".to_owned();
    assert_eq!(token, ProbeAnswer::Said(url.clone()));
    let status = prober.ask_socket(&url, &mut Seen::default(), &|| NOW).await;
    assert_eq!(status, ProbeAnswer::Said(401));

    let asked = stub.requests();
    assert!(
        asked[1].contains("!callscope-check:a.example"),
        "{}",
        asked[1]
    );
    assert!(asked[2].starts_with("POST /get_token"), "{}", asked[2]);
    let handshake = asked[3].to_lowercase();
    assert!(
        handshake.starts_with("get /livekit/rtc http/1.1"),
        "{handshake}"
    );
    assert!(handshake.contains("upgrade: websocket"), "{handshake}");
    assert!(!handshake.contains("secret"), "{handshake}");
}

#[test]
fn the_end_of_a_certificate_is_read() {
    let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2023, 11, 20);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    assert_eq!(days_left(certificate.der(), NOW), Some(5));
    assert_eq!(days_left(certificate.der(), NOW + 6 * 86_400_000), Some(-1));
    assert_eq!(days_left(b"no certificate", NOW), None);
}

#[tokio::test]
async fn a_private_homeserver_makes_private_addresses_allowed_and_no_other_does() {
    let private = "http://127.0.0.1:8008".parse().unwrap();
    let prober = Prober::for_own_server(&private).await.unwrap();
    assert!(prober.request(Method::GET, "http://10.0.0.1", "x").is_ok());
    let public = "https://1.1.1.1".parse().unwrap();
    let prober = Prober::for_own_server(&public).await.unwrap();
    for refused in ["http://1.1.1.1", "https://10.0.0.1", "https://[::1]"] {
        let request = prober.request(Method::GET, refused, "x");
        assert!(matches!(request, Err(ProbeFault::Refused(_))), "{refused}");
    }
}
