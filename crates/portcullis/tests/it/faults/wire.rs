//! Clients and products that write what they want, byte by byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::Upstream;

/// A product that does with each connection what it is told. The request's head has been read.
#[derive(Clone)]
pub(super) struct Product {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Product {
    pub(super) async fn doing<F>(
        act: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let act = Arc::new(act);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (act, count) = (Arc::clone(&act), Arc::clone(&count));
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    if !head.is_empty() {
                        count.fetch_add(1, Ordering::SeqCst);
                        act(stream, head).await;
                    }
                });
            }
        });
        Product { address, asked }
    }

    /// Says these bytes to everybody, and closes.
    pub(super) async fn saying(bytes: &'static [u8]) -> Self {
        Product::doing(move |mut stream, _| async move {
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        })
        .await
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The head of a message, as text; empty where none came.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads until nothing more comes, or the connection breaks.
pub(super) async fn read_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        rest.extend_from_slice(&buffer[..count]);
    }
    rest
}

/// A connection to the gate on which this was said.
pub(super) async fn say(to: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The other side may have closed already.
    let _ = stream.write_all(text.as_bytes()).await;
    stream
}

/// A request without a body, for whoever listens at `to`.
pub(super) fn request(to: SocketAddr, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// The status in the first line of an answer.
pub(super) fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("this is no answer: {answer:?}"))
}

/// Stands where the usual product would; for tests whose product is another one.
pub(super) async fn nobody() -> Upstream {
    Upstream::start().await
}
