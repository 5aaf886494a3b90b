//! A Node.js process that takes commands as JSON lines and answers with JSON lines.

use super::{eventually, project};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A running script of `tests/support/node`. Dropped, it is killed.
#[derive(Debug)]
pub struct Lines {
    script: String,
    child: Child,
    input: ChildStdin,
    next: u64,
    waiting: Waiting,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Lines {
    /// Starts `script` and waits until it says that it is up.
    pub async fn start(script: &str) -> Self {
        let folder = project().join("tests/support/node");
        assert!(
            folder.join("node_modules").is_dir(),
            "the Node.js packages are missing: `scripts/test` installs them"
        );
        let mut child = Command::new("node")
            .arg(folder.join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js starts");
        let input = child.stdin.take().unwrap();
        let output = child.stdout.take().unwrap();
        let waiting = Waiting::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let (to, unasked) = (Arc::clone(&waiting), Arc::clone(&told));
        std::thread::spawn(move || read(output, &to, &unasked));
        let lines = Self {
            script: script.to_owned(),
            child,
            input,
            next: 0,
            waiting,
            told,
        };

        eventually(script, 60, async || {
            (!lines.told().is_empty()).then_some(())
        })
        .await;

        lines
    }

    /// Runs one command and returns its result.
    pub async fn call(&mut self, name: &str, mut arguments: Value) -> Value {
        self.next += 1;
        arguments["id"] = json!(self.next);
        arguments["do"] = json!(name);
        let (to, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(self.next, to);
        writeln!(self.input, "{arguments}").expect("the script takes commands");
        let answer = tokio::time::timeout(Duration::from_mins(3), answer)
            .await
            .unwrap_or_else(|_| panic!("{} {name}: no answer", self.script))
            .unwrap_or_else(|_| panic!("{} {name}: the process ended", self.script));
        assert_eq!(answer["ok"], true, "{} {name}: {answer}", self.script);

        answer["result"].clone()
    }

    /// All messages of the script that are not answers, oldest first.
    pub fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap().clone()
    }

    /// Ends the process at once (SIGKILL): it says no goodbye.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(output: ChildStdout, waiting: &Waiting, told: &Mutex<Vec<Value>>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            continue;
        };

        let asked = said["id"]
            .as_u64()
            .and_then(|id| waiting.lock().unwrap().remove(&id));
        match asked {
            Some(to) => drop(to.send(said)),
            None => told.lock().unwrap().push(said),
        }
    }

    // Dropping the senders tells waiting callers that the process has ended.
    waiting.lock().unwrap().clear();
}
