//! Prometheus reads what is for it: the metrics in both formats, the scrape job, the rules and the
//! dashboard.

use crate::pages::browser::by_password;
use crate::pages::site::{NOW, Site};
use crate::programs::{both_outputs, find_program, run_program};
use crate::support::{eventually, project};
use callscope::store::sign_in::api_keys::KeyScope;
use callscope::web::sign_in::new_key::{KeyWish, make_key};
use reqwest::Client;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

fn contrib(file: &str) -> String {
    project().join("contrib").join(file).display().to_string()
}

#[tokio::test]
#[ignore = "needs Prometheus: `scripts/test contrib`"]
async fn the_text_format_has_no_faults() {
    let Some(promtool) = find_program("promtool") else {
        return;
    };

    let site = Site::guarded_there(|_| by_password()).await;
    let scraped = scrape(&site, None).await;
    assert!(
        scraped.contains("callscope_refused_keys_total"),
        "{scraped}"
    );
    let checked = check_metrics(&promtool, &scraped);
    assert_eq!(checked, "", "{scraped}");

    // It can find faults.
    let openmetrics = scrape(&site, Some("application/openmetrics-text")).await;
    assert!(check_metrics(&promtool, &openmetrics).contains("info"));
}

/// What `promtool check metrics` finds.
fn check_metrics(promtool: &str, metrics: &str) -> String {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = both_outputs(&output);
    assert_eq!(output.status.success(), said.is_empty(), "{said}");

    said
}

/// The site's metrics, for this `Accept`.
async fn scrape(site: &Site, accept: Option<&str>) -> String {
    let request = site.client.get(format!("{}/metrics", site.base));
    let request = request.header(
        "authorization",
        format!("Bearer {}", metrics_key(site).await),
    );
    let request = match accept {
        Some(kind) => request.header("accept", kind),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);

    answer.text().await.unwrap()
}

/// A new key that opens the metrics alone.
async fn metrics_key(site: &Site) -> String {
    let wish = KeyWish {
        name: "Prometheus",
        scope: KeyScope::Metrics,
        days: None,
    };

    make_key(&site.store.sign_ins(), &wish, NOW, None)
        .await
        .unwrap()
        .secret
}

#[test]
#[ignore = "needs Prometheus: `scripts/test contrib`"]
fn the_rules_say_what_is_wrong_and_when() {
    let Some(promtool) = find_program("promtool") else {
        return;
    };

    run_program(&promtool, &["check", "rules", &contrib("alerts.yml")]);
    run_program(&promtool, &["test", "rules", &contrib("alerts.test.yml")]);
    // Each rule is tried.
    let rules = fs::read_to_string(contrib("alerts.yml")).unwrap();
    let tests = fs::read_to_string(contrib("alerts.test.yml")).unwrap();
    for name in rules
        .lines()
        .filter_map(|line| line.split("- alert: ").nth(1))
    {
        assert!(tests.contains(&format!("alertname: {name}")), "{name}");
    }
}

#[test]
#[ignore = "needs Prometheus: `scripts/test contrib`"]
fn prometheus_understands_what_the_dashboard_asks() {
    let Some(promtool) = find_program("promtool") else {
        return;
    };

    let dashboard = fs::read_to_string(contrib("grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let questions: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(questions.len() >= 11, "{questions:?}");

    // As rules, because promtool checks no questions alone.
    let rules: Vec<String> = questions
        .iter()
        .enumerate()
        .map(|(at, question)| {
            let question = Value::from(*question);
            format!("      - record: dashboard:question:{at}\n        expr: {question}")
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dashboard.yml");
    let whole = format!(
        "groups:\n  - name: dashboard\n    rules:\n{}\n",
        rules.join("\n")
    );
    fs::write(&path, whole).unwrap();
    let said = run_program(&promtool, &["check", "rules", &path.display().to_string()]);
    assert!(
        said.contains(&format!("{} rules", questions.len())),
        "{said}"
    );
}

/// A running Prometheus. Dropped, it ends.
struct Prometheus {
    child: Child,
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.folder.path().join("output"));
            eprintln!("Prometheus said: {}", said.unwrap_or_default());
        }
    }
}

#[tokio::test]
#[ignore = "needs Prometheus: `scripts/test contrib`"]
async fn prometheus_comes_in_by_its_key_and_evaluates_the_rules() {
    let Some(program) = find_program("prometheus") else {
        return;
    };

    let site = Site::guarded_there(|_| by_password()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("callscope.key"), metrics_key(&site).await + "\n").unwrap();
    let shown = fs::read_to_string(contrib("prometheus.yml")).unwrap();
    let config = shown
        .replace("/etc/prometheus/callscope.key", &path("callscope.key"))
        .replace("127.0.0.1:8080", site.base.strip_prefix("http://").unwrap())
        .replace("scrape_interval: 30s", "scrape_interval: 1s");
    fs::write(path("prometheus.yml"), config).unwrap();
    let rules = fs::read_to_string(contrib("alerts.yml")).unwrap();
    fs::write(path("alerts.yml"), rules).unwrap();

    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let output = File::create(path("output")).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}", path("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", path("data")))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let _prometheus = Prometheus { child, folder };

    let client = Client::builder().no_proxy().build().unwrap();
    let ask = async |path: &str| -> Option<Value> {
        let answer = client.get(format!("http://{address}/api/v1/{path}"));
        answer.send().await.ok()?.json().await.ok()
    };
    eventually("Prometheus reads the metrics", 30, async || {
        let targets = ask("targets").await?;
        let target = &targets["data"]["activeTargets"][0];
        assert_eq!(target["lastError"].as_str().unwrap_or_default(), "");
        (target["health"] == "up").then_some(())
    })
    .await;
    let value = eventually("it has a number", 30, async || {
        let answer = ask("query?query=callscope_events_stored_total").await?;
        Some(answer["data"]["result"][0]["value"][1].as_str()?.to_owned())
    })
    .await;
    assert_eq!(value, "12");
    let rules = ask("rules").await.unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 7, "{rules:?}");
}
