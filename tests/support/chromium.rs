//! A real browser: Debian's Chromium, headless.

use super::lines::Lines;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A running browser. Dropped, it is closed.
#[derive(Debug)]
pub struct Browser {
    lines: Lines,
}

impl Browser {
    pub async fn start() -> Self {
        let mut lines = Lines::start("browser.mjs").await;
        let executable = json!({"executable": executable()});
        lines.call("start", executable).await;
        Self { lines }
    }

    /// Opens an address in a page, with a profile, of its own. Options: `js`, `width`, `height`,
    /// `scheme`, `zone`, `locale`.
    pub async fn open(&mut self, page: &str, url: &str, mut options: Value) -> Value {
        options["page"] = json!(page);
        options["url"] = json!(url);
        self.lines.call("open", options).await
    }

    /// Goes to another address in an open page.
    pub async fn go(&mut self, page: &str, url: &str) -> Value {
        self.ask("go", page, json!({"url": url})).await
    }

    /// The text a person sees.
    pub async fn text(&mut self, page: &str, selector: &str) -> String {
        let text = self.ask("text", page, json!({"selector": selector})).await;
        text.as_str().unwrap().to_owned()
    }

    /// The text that a person sees in the first frame of the page.
    pub async fn frame_text(&mut self, page: &str) -> String {
        let text = self.ask("frame_text", page, json!({})).await;
        text.as_str().unwrap().to_owned()
    }

    /// The targets of the links that `selector` finds.
    pub async fn links(&mut self, page: &str, selector: &str) -> Vec<String> {
        let links = self.ask("links", page, json!({"selector": selector})).await;
        serde_json::from_value(links).unwrap()
    }

    /// Clicks the first link whose visible name fits this pattern, and returns where it leads.
    pub async fn click_name(&mut self, page: &str, name: &str) -> String {
        let url = self.ask("click", page, json!({"name": name})).await;
        url.as_str().unwrap().to_owned()
    }

    /// Clicks the first link that `selector` finds, and returns where it leads.
    pub async fn click(&mut self, page: &str, selector: &str) -> String {
        let url = self.ask("click", page, json!({"selector": selector})).await;
        url.as_str().unwrap().to_owned()
    }

    /// Fills in the first field that `selector` finds, or ticks a box.
    pub async fn fill(&mut self, page: &str, selector: &str, value: &str) {
        let field = json!({"selector": selector, "value": value});
        self.ask("fill", page, field).await;
    }

    pub async fn count(&mut self, page: &str, selector: &str) -> u64 {
        let count = self.ask("count", page, json!({"selector": selector})).await;
        count.as_u64().unwrap()
    }

    /// Runs a script in the page (it must have JavaScript) and returns its value.
    pub async fn eval(&mut self, page: &str, script: &str) -> Value {
        self.ask("eval", page, json!({"script": script})).await
    }

    /// Waits until `selector` matches in the page; also in a page that a click leads to.
    pub async fn wait(&mut self, page: &str, selector: &str) {
        self.ask("wait", page, json!({"selector": selector})).await;
    }

    /// The errors of the page so far: console errors, exceptions, failed requests, error statuses.
    pub async fn faults(&mut self, page: &str) -> Vec<String> {
        let faults = self.ask("faults", page, json!({})).await;
        serde_json::from_value(faults).unwrap()
    }

    /// All addresses that the page has requested so far.
    pub async fn asked(&mut self, page: &str) -> Vec<String> {
        let asked = self.ask("asked", page, json!({})).await;
        serde_json::from_value(asked).unwrap()
    }

    /// The findings of axe-core in the page (it must have JavaScript), worst first: `impact`,
    /// `rule`, `help`, `at`.
    pub async fn audit(&mut self, page: &str) -> Vec<Value> {
        let violations = self.ask("audit", page, json!({})).await;
        serde_json::from_value(violations).unwrap()
    }

    pub async fn screenshot(&mut self, page: &str, path: &Path, full: bool) {
        let picture = json!({"path": path, "full": full});
        self.ask("screenshot", page, picture).await;
    }

    /// Lays out the open page again, in a window of this size or, with the medium `print`, on
    /// paper.
    pub async fn resize(&mut self, page: &str, width: u64, media: &str) {
        self.ask(
            "resize",
            page,
            json!({"width": width, "height": 700, "media": media}),
        )
        .await;
    }

    pub async fn close(&mut self, page: &str) {
        self.ask("close", page, json!({})).await;
    }

    async fn ask(&mut self, what: &str, page: &str, mut arguments: Value) -> Value {
        arguments["page"] = json!(page);
        self.lines.call(what, arguments).await
    }
}

/// Debian's Chromium; `CALLSCOPE_TEST_CHROMIUM` names another.
pub fn executable() -> PathBuf {
    std::env::var_os("CALLSCOPE_TEST_CHROMIUM")
        .map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from)
}
