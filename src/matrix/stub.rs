//! For tests of the client: a server on loopback that answers the n-th request with the n-th
//! prepared reply.

use super::{Client, Secret, Settings};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The token of the client of [`Stub::client`].
pub(super) const TOKEN: &str = "syt_stub_token";

/// How a request is answered.
pub(super) enum Reply {
    /// These bytes, head and body; then the connection is closed.
    Bytes(Vec<u8>),
    /// No answer at all.
    Hang,
    /// A body without end.
    Endless,
    /// An endless body, one byte at each interval.
    Drip(Duration),
}

/// A reply with a body of any type.
pub(super) fn reply_of_type(status: u16, content_type: &str, body: &str) -> Reply {
    reply_with(status, &format!("Content-Type: {content_type}\r\n"), body)
}

/// A reply with a JSON body.
pub(super) fn json_reply(status: u16, body: &Value) -> Reply {
    reply_of_type(status, "application/json", &body.to_string())
}

/// A reply with headers of its own, each ended by CRLF.
pub(super) fn reply_with(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );

    Reply::Bytes(format!("{head}{body}").into_bytes())
}

/// The server; its thread ends with its last reply.
pub(super) struct Stub {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicUsize>,
}

impl Stub {
    /// A server that gives these replies, one for each request, in order.
    pub(super) fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stub = Self {
            url,
            asked: Arc::default(),
            sent: Arc::default(),
        };

        let (asked, sent) = (Arc::clone(&stub.asked), Arc::clone(&stub.sent));
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for reply in replies {
                let (mut stream, _) = listener.accept().unwrap();
                asked.lock().unwrap().push(read_request(&mut stream));
                send_reply(&mut stream, reply, &sent);
                held.push(stream);
            }

            // Hanging connections hang until the test's process ends.
            std::thread::sleep(Duration::from_mins(1));
        });

        stub
    }

    /// A client of this server, with a token.
    pub(super) fn client(&self) -> Client {
        self.client_with(|_| ())
    }

    /// A client of this server, with a token and settings that `change` has changed.
    pub(super) fn client_with(&self, change: impl FnOnce(&mut Settings)) -> Client {
        let mut settings = Settings::new(self.url.parse().unwrap());
        change(&mut settings);

        Client::new(settings)
            .unwrap()
            .with_token(Secret::new(TOKEN))
    }

    /// The requests so far: head and body as text.
    pub(super) fn requests(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Bytes of endless bodies that were sent so far.
    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

/// The head and the body of one request, as text.
fn read_request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        reader.read_line(&mut head).unwrap();
        let line = head[start..].to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }

        if line.trim().is_empty() {
            break;
        }
    }

    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();

    head + &String::from_utf8(body).unwrap()
}

/// Sends a reply. `sent` counts the bytes of endless ones, which end after 300 MiB or when the
/// client hangs up.
fn send_reply(stream: &mut TcpStream, reply: Reply, sent: &AtomicUsize) {
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        Reply::Hang => {}
        Reply::Drip(pause) => {
            let head =
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[";
            let _ = stream.write_all(head);
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(pause);
            }
        }
        Reply::Endless => {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n[\"";
            let _ = stream.write_all(head.as_bytes());
            let piece = vec![b'x'; 64 * 1024];
            while sent.load(Ordering::SeqCst) < 300 * 1024 * 1024
                && stream.write_all(&piece).is_ok()
            {
                sent.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    }
}
