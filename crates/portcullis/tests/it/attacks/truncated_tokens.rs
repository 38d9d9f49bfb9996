//! A part of a token, or a token with one character changed, is accepted for the whole
//! (CVE-2026-27840).

use super::gate;
use crate::support::Upstream;

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Every proper prefix, longer ones, and for each character one that differs in its lowest bit.
fn maimed(token: &str) -> Vec<String> {
    let mut all: Vec<String> = (0..token.len())
        .map(|end| token[..end].to_owned())
        .collect();
    for suffix in ["A", "=", "==", ".", "%00", "%20", "AAAA"] {
        all.push(format!("{token}{suffix}"));
    }
    all.push(format!("\"{token}\""));
    all.push(token[1..].to_owned());
    all.push(token.to_uppercase());
    for (at, letter) in token.char_indices() {
        let Some(place) = ALPHABET.find(letter) else {
            continue;
        };
        let other = ALPHABET.as_bytes()[place ^ 1] as char;
        all.push(format!("{}{other}{}", &token[..at], &token[at + 1..]));
    }
    // The standard alphabet instead of the one for URLs.
    let standard = token.replace('-', "+").replace('_', "/");
    if standard != token {
        all.push(standard);
    }
    all
}

#[tokio::test]
async fn only_the_whole_session_token_opens_anything() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let token = gateway
        .signed_in("ana@corp.test")
        .await
        .cookie("session")
        .unwrap();
    for session in maimed(&token) {
        let answer = gateway
            .client()
            .get("/anything")
            .header("cookie", &format!("session={session}"))
            .send()
            .await;
        assert_eq!(answer.problem(), "authentication-required", "{session}");
    }
    assert_eq!(upstream.requests(), 0);
    let whole = gateway
        .client()
        .get("/anything")
        .header("cookie", &format!("session={token}"));
    assert_eq!(whole.send().await.status, 200);
}

#[tokio::test]
async fn only_the_whole_csrf_token_is_one() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let token = ana.cookie("csrf_token").unwrap();
    for maimed in maimed(&token)
        .into_iter()
        .filter(|token| !token.starts_with('"'))
    {
        // Cookie and header agree: only the signature is wrong.
        ana.jar
            .lock()
            .unwrap()
            .insert("csrf_token".to_owned(), maimed.clone());
        let answer = ana.post("/anything").send().await;
        let slug = answer.problem();
        assert!(slug.starts_with("csrf-token-"), "{maimed}: {slug}");
    }
    assert_eq!(upstream.requests(), 0);
    ana.jar
        .lock()
        .unwrap()
        .insert("csrf_token".to_owned(), token);
    assert_eq!(ana.post("/anything").send().await.status, 200);
}
