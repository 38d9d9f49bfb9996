//! What a stolen database shows: whatever was planted, in whichever table, is not in it in the clear
//! (E3, E4, K3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::authenticator::{enrol, prove, sign_in};
use crate::support::{PASSWORD, Upstream, database};
use crate::vault::{EMAIL, builder, call, key, place, sealed, with};

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
    let own = keys.iter().filter(|key| key["tenant"] == "portcullis");
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
