//! Anybody may ask whether the gate is ready, as often as they like: that must not become as many questions to
//! its database.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};

use super::in_time;
use super::service::Postgres;
use crate::support::{Client, Gateway, Upstream};

/// What the gate asks, to see whether its database answers.
const QUESTION: &[u8] = b"SELECT 1 AS one";

/// So many ask, one after the other.
const STRANGERS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_whether_the_gate_is_ready_are_few_to_its_database() {
    let postgres = Postgres::start().await;
    let (between, asked) = counting_road(postgres.port).await;
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .stores(&Postgres::url_at(between.port()), None)
        .start()
        .await;
    for client in [gateway.client(), Client::to(gateway.admin)] {
        let before = asked.load(Ordering::SeqCst);
        for _ in 0..STRANGERS {
            let answer = in_time("/readyz", client.get("/readyz").send()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["database"], "up");
        }
        let asked = asked.load(Ordering::SeqCst) - before;
        // How few depends on how fast this machine is; without anything in between it is each of them.
        assert!(asked < STRANGERS / 2, "{asked} of {STRANGERS}");
    }
    assert_ne!(asked.load(Ordering::SeqCst), 0, "the question is known");
}

/// A way to PostgreSQL on which it is counted how often [`QUESTION`] is asked.
async fn counting_road(to: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(counting(near, to, Arc::clone(&count)));
        }
    });
    (address, asked)
}

async fn counting(near: TcpStream, to: u16, asked: Arc<AtomicUsize>) {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
    // Messages are passed on one by one: none waits for the one before to be acknowledged.
    far.set_nodelay(true).unwrap();
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let there = async {
        // Before the session begins, messages have no kind: they ask for TLS, or say who it is.
        let mut has_begun = false;
        let mut prepared = HashSet::new();
        while let Some((kind, message)) = message(&mut near_read, has_begun).await {
            let mut texts = message[4..].split(|byte| *byte == 0);
            match kind {
                None => has_begun = message[4..].starts_with(&[0, 3, 0, 0]),
                // Parse: a name, and what it stands for from now on.
                Some(b'P') => {
                    let name = texts.next().unwrap();
                    if texts.next() == Some(QUESTION) {
                        prepared.insert(name.to_vec());
                    }
                }
                // Bind: where the answer goes to, and what is asked, by its name.
                Some(b'B') if prepared.contains(texts.nth(1).unwrap()) => {
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                Some(_) => {}
            }
            let bytes = [kind.as_slice(), &message].concat();
            if far_write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut far_read, &mut near_write);
    tokio::select! { () = there => {}, _ = back => {} }
}

/// One message of the PostgreSQL protocol, version 3: its kind, and the rest, which begins with its length.
async fn message(from: &mut OwnedReadHalf, has_kind: bool) -> Option<(Option<u8>, Vec<u8>)> {
    let kind = if has_kind {
        Some(from.read_u8().await.ok()?)
    } else {
        None
    };
    let length = from.read_u32().await.ok()?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(usize::try_from(length).ok()?.max(4), 0);
    from.read_exact(&mut message[4..]).await.ok()?;
    Some((kind, message))
}
