//! What the gate keeps in Redis is read as well: a session there is named.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::header;

use super::fronts::Front;
use super::{findings, like, verdict};
use crate::demo::Demo;
use crate::support::required;

/// Says one thing to the Redis of the set-up.
fn tell(line: &str) {
    let url = required("PORTCULLIS_TEST_REDIS");
    let address = url
        .trim_start_matches("redis://")
        .split('/')
        .next()
        .unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line}\r\n").unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).unwrap();
    assert_ne!(&answer, b"-", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_stands_in_redis_is_named() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let name = uuid::Uuid::new_v4().simple().to_string();
    let redis = required("PORTCULLIS_TEST_REDIS");
    let builder = like(&demo).more(&format!(
        "\n[state]\nredis = {{ file = \"redis\" }}\nredis-namespace = \"{name}\"\n"
    ));
    let gateway = builder.file("redis", &redis).start().await;
    // Something between the gate and the browser that puts each session where it must not be.
    let copies = |key: String| {
        Front::headers(move |headers| {
            for cookie in headers.get_all(header::SET_COOKIE) {
                let cookie = cookie.to_str().unwrap();
                if let Some((_, rest)) = cookie.split_once("session=")
                    && let Some(token) = rest.split(';').next()
                    && !token.is_empty()
                {
                    tell(&format!("HSET {key} {token} 1"));
                }
            }
        })
    };
    for (key, expected) in [
        (format!("other-{name}"), "held"),
        (format!("{{{name}}}:sessions"), "failed"),
    ] {
        let front = copies(key.clone()).stand_before(gateway.address).await;
        let gate = format!("http://{front}");
        let run = || {
            gateway.cli(&[
                "prove", "--gate", &gate, "--only", "S4,E8", "--format", "json",
            ])
        };
        let found = findings(&tokio::task::block_in_place(run));
        for id in ["S4", "E8"] {
            let (verdict, said) = verdict(&found, id);
            assert_eq!(verdict, expected, "{id}: {said}");
            let word = match expected {
                "held" => "keys in Redis",
                _ => "holds a session",
            };
            assert!(said.contains(word), "{id}: {said}");
        }
        tell(&format!("DEL {key}"));
    }
}
