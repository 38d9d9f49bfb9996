//! What a stolen database shows: whatever was planted, in whichever table, is not in it in the clear
//! (E3, E4, K3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::authenticator::{enrol, prove, sign_in};
use crate::support::mailbox::nobody;
use crate::support::{PASSWORD, Upstream, database, eventually_asked};
use crate::vault::{EMAIL, builder, call, key, place, sealed, with};
use crate::webhooks::{STRIPE_SECRET, assert_received, post, stripe};

/// Every way in which some bytes could stand in a database.
fn shapes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex = hex::encode(bytes);
    vec![
        bytes.to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        STANDARD.encode(bytes).into_bytes(),
    ]
}

#[tokio::test]
async fn nothing_that_was_planted_stands_in_the_database_in_the_clear() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    sealed(&gateway, &both, "42").await;
    let of_subject = with(
        with(place("43"), "value", "planted-of-ana-0815"),
        "subject",
        "ana",
    );
    let answer = call(
        &gateway,
        &both,
        "seal",
        &serde_json::json!({ "items": [of_subject] }),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let root = gateway.signed_in("root@corp.test").await;
    let (app, codes) = enrol(&root).await;
    let mut planted = vec![
        EMAIL.as_bytes().to_vec(),
        b"planted-of-ana-0815".to_vec(),
        app.secret(),
        app.base32().into_bytes(),
        // Nor its hash without the server's key, by which whoever has the database alone could try keys.
        portcullis_vault::tokens::sha256(both.as_bytes()).to_vec(),
        both.into_bytes(),
    ];
    planted.extend(codes.into_iter().map(String::into_bytes));
    let everything = database::everything(&gateway.folder).await;
    for secret in &planted {
        for shape in shapes(secret) {
            let is_there = everything.windows(shape.len()).any(|part| part == shape);
            assert!(!is_there, "{}", String::from_utf8_lossy(&shape));
        }
    }
    // The seed of the authenticator is the vault's, under a key of its user's own.
    let told = gateway.cli(&["--output", "json", "vault", "status"]);
    let keys: Vec<serde_json::Value> = serde_json::from_slice(&told.stdout).unwrap();
    // So are addresses in the audit trail, under others.
    let of_trail = |key: &serde_json::Value| {
        let subject = key["subject"].as_str();
        subject.is_some_and(|subject| subject.starts_with("audit:"))
    };
    let own = keys
        .iter()
        .filter(|key| key["tenant"] == "portcullis" && !of_trail(key));
    assert_eq!(own.count(), 1, "{keys:?}");
}

fn assert_not_in(everything: &[u8], planted: &str) {
    for shape in shapes(planted.as_bytes()) {
        let is_there = everything.windows(shape.len()).any(|part| part == shape);
        assert!(!is_there, "{}", String::from_utf8_lossy(&shape));
    }
}

#[tokio::test]
async fn messages_of_webhooks_and_letters_are_the_vaults() {
    const BODY: &str = "planted body of a webhook 4711";
    let (upstream, status) = crate::webhooks::product().await;
    // What waits stays.
    status.store(503, std::sync::atomic::Ordering::SeqCst);
    let gateway = crate::webhooks::builder(&upstream)
        .await
        .registering_by(nobody())
        .start()
        .await;
    let message = stripe(&format!(r#"{{"id":"evt_1","note":"{BODY}"}}"#));
    assert_received(&post(&gateway, "/webhooks/stripe", &message).await);
    let asked = gateway.browser();
    let asked = asked.post("/.portcullis/auth/request-registration");
    let asked = asked.json(&serde_json::json!({ "email": "stranger@elsewhere.test" }));
    let asked = asked.send().await;
    assert!(asked.status.is_success(), "{}", asked.text());
    let everything = database::everything(&gateway.folder).await;
    for planted in [BODY, STRIPE_SECRET] {
        assert_not_in(&everything, planted);
    }
    let count = "SELECT CAST((SELECT count(*) FROM outbox) + (SELECT count(*) FROM webhook_delivery) AS TEXT)";
    assert_eq!(database::text(&gateway.folder, count).await, "2");
    let left = async |table| database::not_of_vault(&gateway.folder, table).await;
    assert_eq!(left("webhook_delivery").await, "0");
    // A letter of the first moment may have had to wait for its key.
    eventually_asked("the vault has the letter", async || {
        left("outbox").await == "0"
    })
    .await;
    // Their keys are covered by what moves keys.
    let told = gateway.cli(&["--output", "json", "vault", "status"]);
    let keys: Vec<serde_json::Value> = serde_json::from_slice(&told.stdout).unwrap();
    // So are addresses in the audit trail, under others.
    let of_trail = |key: &serde_json::Value| {
        let subject = key["subject"].as_str();
        subject.is_some_and(|subject| subject.starts_with("audit:"))
    };
    let own = keys
        .iter()
        .filter(|key| key["tenant"] == "portcullis" && !of_trail(key));
    assert_eq!(own.count(), 1, "{keys:?}");
}

#[tokio::test]
async fn a_second_factor_is_proved_after_the_master_secret_was_replaced() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let root = gateway.signed_in("root@corp.test").await;
    let (app, _) = enrol(&root).await;
    let gateway = gateway.end().await.with_another_master().start().await;
    gateway.has_rewrapped().await;
    let gateway = gateway.end().await.without_old_master().start().await;
    let browser = gateway.browser();
    sign_in(&browser, "root@corp.test", PASSWORD).await;
    let answer = prove(&browser, &app.code(1)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
