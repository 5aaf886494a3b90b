//! The widget in a real browser, in the frame of a client made with the real widget API.

use crate::site::{ROOM, Site};
use crate::support::chromium::Browser;
use crate::support::{eventually, project};
use actix_web::{App, HttpResponse, HttpServer, web};
use callscope::web::sign_in::access::AccessSettings;
use callscope::web::sign_in::widget::{TokenAnswer, TokenChecker, WidgetToken};
use serde_json::json;

/// A client that shows the widget at this address, and says who it is where it is asked.
fn page_of_client(widget: &str, state: &str) -> String {
    format!(
        r#"<!doctype html><title>A client</title><iframe id="widget"></iframe>
<script src="/api.js"></script>
<script>
  const frame = document.getElementById("widget");
  const url = "{widget}&widgetId=w1&parentUrl=" + encodeURIComponent(location.href);
  const widget = new mxwidgets.Widget({{ id: "w1", creatorUserId: "@a:example.org", type: "m.custom", url }});
  class Driver extends mxwidgets.WidgetDriver {{
    async validateCapabilities(asked) {{ return asked; }}
    askOpenID(observer) {{
      observer.update({{ state: "{state}", token: {{ access_token: "of-alice-" + Math.random(),
        token_type: "Bearer", matrix_server_name: "example.org", expires_in: 3600 }} }});
    }}
  }}
  window.api = new mxwidgets.ClientWidgetApi(widget, frame, new Driver());
  frame.src = url;
</script>"#
    )
}

#[tokio::test]
#[ignore = "needs Chromium and Node.js: `scripts/test browser`"]
async fn a_client_shows_the_calls_of_its_room_to_whom_it_names() {
    let checker = TokenChecker::new(|token: WidgetToken| async move {
        let is_good = token.token.starts_with("of-alice-");
        if is_good {
            TokenAnswer::User(format!("@alice:{}", token.server))
        } else {
            TokenAnswer::Refused("no".into())
        }
    });
    let settings = AccessSettings {
        widgets: Some(checker),
        ..AccessSettings::default()
    };
    let site = Site::guarded("widget", settings).await;
    let room: String = url::form_urlencoded::byte_serialize(ROOM.as_bytes()).collect();
    let widget = format!("{}/widget?room={room}", site.base);
    let script = project().join("tests/support/node/node_modules/matrix-widget-api/dist/api.js");
    let script = std::fs::read_to_string(script).unwrap();
    let client = HttpServer::new(move || {
        let (widget, script) = (widget.clone(), script.clone());
        let html = |state: &str| page_of_client(&widget, state);
        let (allowed, blocked) = (html("allowed"), html("blocked"));
        let answer = |kind: &'static str, text: String| {
            web::get().to(move || {
                let text = text.clone();
                async move { HttpResponse::Ok().content_type(kind).body(text) }
            })
        };
        App::new()
            .route("/allowed", answer("text/html", allowed))
            .route("/blocked", answer("text/html", blocked))
            .route("/favicon.ico", web::get().to(HttpResponse::NoContent))
            .route("/api.js", answer("text/javascript", script))
    });
    let client = client
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
    let place = format!("http://{}", client.addrs()[0]);
    tokio::spawn(client.run());

    let mut browser = Browser::start().await;
    for (state, shown) in [("allowed", "War "), ("blocked", "did not say who you are")] {
        let url = format!("{place}/{state}");
        browser.open(state, &url, json!({})).await;
        eventually("the widget shows it", 30, async || {
            let text = browser.frame_text(state).await;
            text.contains(shown).then_some(())
        })
        .await;
        let faults = browser.faults(state).await;
        assert!(faults.is_empty(), "{faults:?}");
    }

    let asked = browser.asked("blocked").await;
    assert!(
        !asked.iter().any(|url| url.contains("/widget/session")),
        "{asked:?}"
    );
}
