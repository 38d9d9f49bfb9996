//! Tokens that libraries have taken and must not (CVE-2022-21449, CVE-2024-5798, CVE-2026-27840,
//! CVE-2026-39999, CVE-2026-55669; RFC 8725): the corpus in `fixtures/hostile_tokens.json`, each
//! wrong in one thing alone and signed, where that is not the thing, by the true key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::{Algorithm, EncodingKey};
use portcullis_vault::SigningKey;
use serde_json::{Value, json};

use super::gate;
use crate::support::issuer::Issuer;
use crate::support::signer::{decode, ed25519, encode, now, read, seed_of, sign};
use crate::support::{Gateway, Upstream, tokens};

const CORPUS: &str = include_str!("../../fixtures/hostile_tokens.json");

/// A server that nothing may ever call; how often it was.
async fn trap() -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&calls);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, calls)
}

/// What a good token is made of, and the key that makes it.
struct Forge {
    header: Value,
    claims: Value,
    seed: [u8; 32],
    trap: String,
}

impl Forge {
    fn make(&self, case: &Value) -> String {
        let header = self.part(&self.header, case, "header");
        let claims = self.part(&self.claims, case, "claims");
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(case["signature"].as_str().unwrap_or("right"), &message);
        shaped(
            case["shape"].as_str().unwrap_or("plain"),
            &message,
            &signature,
        )
    }

    /// The good object with some members replaced, others taken out, and whatever is to stand twice.
    fn part(&self, good: &Value, case: &Value, name: &str) -> String {
        if let Some(text) = case[format!("{name}_text")].as_str() {
            return text.replace("DEEP", &"{\"a\":".repeat(1000));
        }
        let mut object = good.as_object().unwrap().clone();
        for (member, value) in case[name].as_object().into_iter().flatten() {
            if value.is_null() {
                object.remove(member);
            } else {
                object.insert(member.clone(), value.clone());
            }
        }
        // Seconds from now: times that are wrong in nothing but being over, or yet to come.
        for (member, seconds) in case[format!("{name}_from_now")]
            .as_object()
            .into_iter()
            .flatten()
        {
            let at = now() + seconds.as_i64().unwrap();
            object.insert(member.clone(), json!(at));
        }
        if case["shape"] == "huge" {
            object.insert("padding".to_owned(), json!("x".repeat(9000)));
        }
        let mut text = Value::Object(object).to_string();
        if let Some(more) = case[format!("{name}_append")].as_str() {
            text.insert_str(text.len() - 1, more);
        }
        let stranger = SigningKey::from_seed(&[1; 32]).unwrap();
        text.replace("TRAP", &self.trap)
            .replace("STRANGER", stranger.x())
            .replace("ISSUER", good["iss"].as_str().unwrap_or("ISSUER"))
    }

    fn signature(&self, kind: &str, message: &str) -> String {
        let own = ed25519(&self.seed);
        let right = || sign(message, &own, Algorithm::EdDSA);
        let key = SigningKey::from_seed(&self.seed).unwrap();
        let hmac =
            |secret: &[u8]| sign(message, &EncodingKey::from_secret(secret), Algorithm::HS256);
        match kind {
            "right" => right(),
            "none" => String::new(),
            "zeros" => encode([0; 64]),
            "half" => encode(&decode(&right())[..32]),
            "twice" => format!("{0}{0}", right()),
            "stranger" => sign(message, &ed25519(&[1; 32]), Algorithm::EdDSA),
            "hmac-of-public-text" => hmac(key.x().as_bytes()),
            "hmac-of-public-bytes" => hmac(&decode(key.x())),
            "hmac-of-nothing" => hmac(b""),
            other => panic!("{other}"),
        }
    }
}

fn shaped(shape: &str, message: &str, signature: &str) -> String {
    let good = format!("{message}.{signature}");
    match shape {
        "plain" | "huge" => good,
        "padded" => format!("{good}=="),
        "padded-header" => good.replacen('.', "=.", 1),
        "trailing-bits" => {
            // Of the last character two bits count; the others must be zero.
            let last = match good.chars().last().unwrap() {
                'A' => 'B',
                'Q' => 'R',
                'g' => 'h',
                'w' => 'x',
                other => panic!("{other}"),
            };
            format!("{}{last}", &good[..good.len() - 1])
        }
        // Where the text has none of the letters that differ, one is put where it would count.
        "standard-alphabet" => match good.replace('-', "+").replace('_', "/") {
            standard if standard != good => standard,
            _ => format!("+{}", &good[1..]),
        },
        "four-parts" => format!("{good}.{signature}"),
        "five-parts" => format!("{good}.a.b"),
        "two-parts" => message.to_owned(),
        "empty-part" => good.replacen('.', "..", 1),
        "quoted" => format!("\"{good}\""),
        "two" => format!("{good}, {good}"),
        other => panic!("{other}"),
    }
}

async fn gate_with_tokens(upstream: &Upstream) -> Gateway {
    gate(upstream)
        .await
        .more("\n[tokens]\n")
        .user("ana@corp.test", &["user"])
        .start()
        .await
}

async fn access_token(gateway: &Gateway) -> String {
    tokens::sign_in(&gateway.client(), "ana@corp.test").await.0
}

async fn status_of(gateway: &Gateway, token: &str) -> u16 {
    let answer = tokens::get(&gateway.client(), "/anything", token).await;
    answer.status.as_u16()
}

#[tokio::test]
async fn no_hostile_token_opens_anything_or_makes_the_gate_call_anybody() {
    let upstream = Upstream::start().await;
    let gateway = gate_with_tokens(&upstream).await;
    let good = access_token(&gateway).await;
    let (header, claims) = read(&good);
    let (trap, calls) = trap().await;
    let forge = Forge {
        header,
        claims,
        seed: seed_of(&gateway.folder).await,
        trap,
    };
    assert_all_refused(&gateway, &upstream, &forge, |_| true).await;
    assert_eq!(
        calls.load(Ordering::SeqCst),
        0,
        "a token made the gate call"
    );
    // The forge can make what counts: each of the others was refused for its own fault.
    let control = forge.make(&json!({}));
    assert_eq!(status_of(&gateway, &control).await, 200);
    assert_eq!(status_of(&gateway, &good).await, 200);
}

/// The same corpus at a gate that believes another issuer. There a token needs no key id and no type.
#[tokio::test]
async fn no_hostile_token_of_another_issuer_opens_anything_or_makes_the_gate_call_anybody() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(11).await;
    let table = format!(
        "\n[issuer.other]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    );
    let gateway = gate(&upstream).await.more(&table).start().await;
    let (trap, calls) = trap().await;
    let forge = Forge {
        header: issuer.header(),
        claims: issuer.claims("u", &json!({})),
        seed: issuer.seed,
        trap,
    };
    assert_all_refused(&gateway, &upstream, &forge, |case| case["only"] != "own").await;
    assert_eq!(
        calls.load(Ordering::SeqCst),
        0,
        "a token made the gate call"
    );
    assert_eq!(status_of(&gateway, &forge.make(&json!({}))).await, 200);
}

async fn assert_all_refused(
    gateway: &Gateway,
    upstream: &Upstream,
    forge: &Forge,
    applies: impl Fn(&Value) -> bool,
) {
    let corpus: Vec<Value> = serde_json::from_str(CORPUS).unwrap();
    assert!(corpus.len() > 90);
    for case in corpus.iter().filter(|case| applies(case)) {
        let token = forge.make(case);
        let status = status_of(gateway, &token).await;
        assert_eq!(status, 401, "{}: {token}", case["name"]);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn only_the_whole_access_token_opens_anything() {
    let upstream = Upstream::start().await;
    let gateway = gate_with_tokens(&upstream).await;
    let good = access_token(&gateway).await;
    let step = good.len() / 60;
    for end in (0..good.len()).step_by(step.max(1)) {
        assert_eq!(status_of(&gateway, &good[..end]).await, 401, "{end}");
        let mut changed = good.clone().into_bytes();
        changed[end] = if changed[end] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        if changed != good {
            assert_eq!(status_of(&gateway, &changed).await, 401, "{changed}");
        }
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(status_of(&gateway, &good).await, 200);
}
