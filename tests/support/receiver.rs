//! A program that receives alerts over HTTP, and fails as it is told to.

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    Taken,
    /// A status, and headers, each ended by CRLF.
    Refused(u16, String),
    /// No answer for so long.
    Hang(Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    /// In small letters.
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// It was answered with a success.
    pub is_taken: bool,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The key of the message.
    pub fn key(&self) -> String {
        self.headers.get("webhook-id").cloned().unwrap_or_default()
    }

    /// The alert in the body of a webhook.
    pub fn alert(&self) -> Value {
        self.json()["data"]["message"].clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
}

/// Listens until the tests end.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

impl Receiver {
    /// A receiver that takes everything.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Shared::default()));
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = Arc::clone(&own);
                std::thread::spawn(move || answer(stream, &own));
            }
        });

        Self { url, shared }
    }

    /// The next requests are answered so, then all are taken.
    pub fn reply_with(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().unwrap().replies.extend(replies);
    }

    /// All requests so far.
    pub fn all(&self) -> Vec<Received> {
        self.shared.lock().unwrap().received.clone()
    }

    /// Those that were taken.
    pub fn taken(&self) -> Vec<Received> {
        let mut all = self.all();
        all.retain(|one| one.is_taken);
        all
    }
}

fn answer(stream: TcpStream, shared: &Mutex<Shared>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }

    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let reply = {
        let mut shared = shared.lock().unwrap();
        let reply = shared.replies.pop_front().unwrap_or(Reply::Taken);
        shared.received.push(Received {
            path,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            is_taken: matches!(reply, Reply::Taken),
        });
        reply
    };
    let (status, more) = match reply {
        Reply::Taken => (200, String::new()),
        Reply::Refused(status, more) => (status, more),
        Reply::Hang(time) => {
            std::thread::sleep(time);
            return None;
        }
    };
    let mut stream = stream;
    let text =
        format!("HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.write_all(text.as_bytes()).ok()
}
