//! The tests of alerts that an operator sends: by the command, and by the button of the page.

use crate::app::alone::settings;
use crate::app::bed::Bed;
use crate::support::app::{App, Settings};
use crate::support::eventually;
use crate::support::receiver::{Receiver, Reply};
use crate::support::visitor::Visitor;

/// What stands before the operator's token in the log.
const SHOWN: &str = "The operator's token, shown only now: ";

/// The settings of a program with one rule, whose channel leads to the receiver.
fn settings_with_rule(bed: &Bed, receiver: &Receiver) -> Settings {
    let file = bed.folder.path().join("callscope.toml");
    let text = format!(
        "[[channel]]\nname = \"ops\"\ntype = \"webhook\"\nurl = \"{}/hook\"\nsecret = \
         \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\noperator = true\n\n[[alert]]\nname = \
         \"calls\"\non = [\"call_began\"]\n",
        receiver.url
    );
    std::fs::write(&file, text).unwrap();

    settings(bed)
        .with("CALLSCOPE_CONFIG", file.to_str().unwrap())
        .with("CALLSCOPE_OPERATOR_TOKEN", "true")
}

/// Runs a command; returns its exit code and what it said.
async fn run(settings: &Settings, arguments: &'static [&'static str]) -> (Option<i32>, String) {
    let settings = settings.clone();
    let output = tokio::task::spawn_blocking(move || settings.run(arguments));
    let output = output.await.unwrap();
    let said = [output.stdout, output.stderr].concat();

    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn the_command_sends_a_test_and_says_what_came_back() {
    let bed = Bed::new().await;
    let receiver = Receiver::start();
    let told = settings_with_rule(&bed, &receiver);

    let (code, said) = run(&told, &["alert", "test", "calls"]).await;
    assert!(
        code == Some(0) && said.contains("ops (webhook): sent"),
        "{said}"
    );
    let taken = receiver.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].alert()["type"], "test");

    receiver.reply_with([Reply::Refused(500, String::new())]);
    let (code, said) = run(&told, &["alert", "test", "calls"]).await;
    assert!(
        code == Some(1) && said.contains("ops (webhook): not sent: it answered 500"),
        "{said}"
    );

    let (code, said) = run(&told, &["alert", "test", "meals"]).await;
    assert!(
        code == Some(1) && said.contains("there are: calls"),
        "{said}"
    );
    let (code, said) = run(&told, &["alert", "list"]).await;
    assert!(
        code == Some(0) && said.contains("calls: call_began; to ops"),
        "{said}"
    );
}

#[tokio::test]
async fn the_button_sends_a_test_for_operators_only() {
    let bed = Bed::new().await;
    let receiver = Receiver::start();
    let app = App::ready(&settings_with_rule(&bed, &receiver)).await;
    let log = app.log();
    let (_, rest) = log.split_once(SHOWN).expect("the token is shown");
    let token = rest.split_whitespace().next().unwrap().to_owned();

    let rule = [("rule", "calls")];
    let mut stranger = Visitor::at(&app);
    let refused = stranger.post_fields("/admin/alerts/test", &rule).await;
    assert_eq!(refused.status().as_u16(), 404);

    let mut operator = Visitor::at(&app);
    let password = [("password", &*token)];
    let signed_in = operator.post("/sign-in", "/sign-in", &password).await;
    assert_eq!(signed_in.status().as_u16(), 303);
    let forged = operator.post_fields("/admin/alerts/test", &rule).await;
    assert_eq!(forged.status().as_u16(), 403);
    assert!(receiver.all().is_empty());

    let sent = operator.post("/admin/alerts", "/admin/alerts/test", &rule);
    assert_eq!(sent.await.status().as_u16(), 303);
    let came = eventually("the test came", 30, async || {
        Some(receiver.taken()).filter(|all| !all.is_empty())
    })
    .await;
    assert_eq!(came[0].alert()["type"], "test");

    let mut page = String::new();
    for _ in 0..100 {
        page = operator.get("/admin/alerts").await;
        if page.contains(">sent</span>") {
            break;
        }

        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    assert!(
        page.contains("<b>a test</b>") && page.contains(">sent</span>"),
        "{page}"
    );
    app.kill();
}
