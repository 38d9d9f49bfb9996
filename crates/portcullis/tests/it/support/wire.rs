//! Bytes on a wire: a product that records and answers bytes, and a client that sends them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, Upstream};

/// How long a test waits for bytes that have to come. Nothing is asserted about the time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A product that takes every byte down and answers with bytes.
#[derive(Clone)]
pub(crate) struct WireUpstream {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// When a request counts as complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Complete {
    WithBody,
    AtHead,
}

type Answers = Arc<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

impl WireUpstream {
    /// Answers each whole request with these bytes; with none it closes the connection.
    pub(crate) async fn answering(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Complete::WithBody, Arc::new(answer)).await
    }

    /// Answers as soon as a head is there, without its body.
    pub(crate) async fn answering_heads(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Complete::AtHead, Arc::new(answer)).await
    }

    /// Answers `200` with the body `ok`.
    pub(crate) async fn ok() -> Self {
        Self::answering(|_| ok("ok")).await
    }

    async fn start(complete: Complete, answer: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(Vec::new());
                    log.len() - 1
                };
                tokio::spawn(serve(
                    stream,
                    number,
                    Arc::clone(&log),
                    complete,
                    Arc::clone(&answer),
                ));
            }
        });
        WireUpstream {
            address,
            connections,
        }
    }

    /// For what wants an upstream to stand before.
    pub(crate) fn as_upstream(&self) -> Upstream {
        Upstream::at(self.address)
    }

    /// Everything that came, over all connections.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.connections.lock().unwrap().concat()).into_owned()
    }

    /// What came, by connection.
    pub(crate) fn by_connection(&self) -> Vec<String> {
        let connections = self.connections.lock().unwrap();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        connections.iter().map(text).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// How many request lines came.
    pub(crate) fn requests(&self) -> usize {
        self.text().matches(" HTTP/1.1\r\n").count()
    }
}

/// A `200` with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn serve(
    mut stream: TcpStream,
    number: usize,
    log: Arc<Mutex<Vec<Vec<u8>>>>,
    complete: Complete,
    answer: Answers,
) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Some(length) = whole(&buffer, complete) {
            let request: Vec<u8> = buffer.drain(..length).collect();
            let bytes = answer(&String::from_utf8_lossy(&request));
            if bytes.is_empty() || stream.write_all(&bytes).await.is_err() {
                return;
            }
            let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
            if text.contains("connection: close") {
                let _ = stream.shutdown().await;
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                buffer.extend_from_slice(&chunk[..count]);
                log.lock().unwrap()[number].extend_from_slice(&chunk[..count]);
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn whole(buffer: &[u8], complete: Complete) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    if complete == Complete::AtHead {
        return Some(head);
    }
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    if text.contains("transfer-encoding: chunked") {
        let body = &buffer[head..];
        if body.starts_with(b"0\r\n\r\n") {
            return Some(head + 5);
        }
        return find(body, b"\r\n0\r\n\r\n").map(|at| head + at + 7);
    }
    let length: usize = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next())
        .map_or(0, |digits| digits.parse().unwrap());
    (buffer.len() >= head + length).then_some(head + length)
}

/// A connection to the gate, byte by byte.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Wire {
            stream: TcpStream::connect(address).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    /// False where the other side has closed already.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next whole answer to a `GET` or `POST`; none where the connection ends before.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                return Some(answer);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Waits until the other side closes; gives what came and was not read as an answer.
    pub(crate) async fn end(mut self) -> Vec<u8> {
        while self.more().await {}
        self.buffer
    }

    async fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut chunk))
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "the gate neither answers nor closes; so far: {}",
                    String::from_utf8_lossy(&self.buffer)
                )
            });
        match read {
            Ok(count) if count > 0 => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

/// Every answer in `bytes`, in order. Fails where something stands behind the last one.
pub(crate) fn answers(bytes: &[u8]) -> Vec<Answer> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (answer, length) =
            parse(rest).unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(rest)));
        all.push(answer);
        rest = &rest[length..];
    }
    all
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap();
    let status = StatusCode::from_bytes(&status_line.as_bytes()[9..12]).unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value.trim()).unwrap(),
        );
    }
    let rest = &bytes[end + 4..];
    let (body, length) = if headers.contains_key("transfer-encoding") {
        chunks(rest)?
    } else {
        let length = headers
            .get("content-length")
            .map_or(0, |value| value.to_str().unwrap().parse().unwrap());
        (rest.get(..length)?.to_vec(), length)
    };
    let answer = Answer {
        status,
        headers,
        body: Bytes::from(body),
    };
    Some((answer, end + 4 + length))
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = find(bytes.get(at..)?, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).unwrap(), 16);
        let size = size.unwrap();
        let data = at + line + 2;
        body.extend_from_slice(bytes.get(data..data + size)?);
        at = data + size + 2;
        if bytes.len() < at {
            return None;
        }
        if size == 0 {
            return Some((body, at));
        }
    }
}
