//! The product hears of new values: signed, once each, also when somebody was killed in between.

use serde_json::json;

use super::{CANARY, SECOND, read, reader, rotate, told, with_stripe};
use crate::support::{Upstream, eventually_asked};
use crate::webhooks::{delivered, list, product, verified};

#[tokio::test]
async fn the_product_hears_of_a_new_value_with_an_assertion_and_without_the_value() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let body = json!({ "value": SECOND });
    assert_eq!(rotate(&admin, "stripe/rotate", &body).await.status, 200);
    let heard = delivered(&upstream, 1).await.remove(0);
    assert_eq!(
        (heard.method.as_str(), heard.target.as_str()),
        ("POST", "/internal/secret-rotated")
    );
    let text = String::from_utf8(heard.body.to_vec()).unwrap();
    assert!(!text.contains(CANARY) && !text.contains(SECOND), "{text}");
    let message: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["type"], "secret.rotated");
    assert_eq!(
        (
            &message["name"],
            &message["version"],
            &message["previous_version"]
        ),
        (&json!("stripe"), &json!(2), &json!(1))
    );
    let claims = verified(&gateway, heard.header("x-portcullis-assertion").unwrap()).await;
    assert_eq!(claims["sub"], "webhook:portcullis.secrets");
    let digest = portcullis_vault::tokens::sha256(&heard.body);
    assert_eq!(claims["webhook"]["sha256"], hex::encode(digest));
    // Nobody else comes there, whatever they may; and nobody posts to the gate's own endpoint.
    let forged = admin
        .post("/internal/secret-rotated")
        .json(&message)
        .send()
        .await;
    assert_eq!(forged.problem(), "route-closed");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn a_message_waits_for_a_product_that_is_away_and_survives_a_kill() {
    let (upstream, status) = product().await;
    let (gateway, _admin) = with_stripe(&upstream).await;
    status.store(503, std::sync::atomic::Ordering::SeqCst);
    let rotated = gateway.cli_with_input(
        &["secrets", "rotate", "stripe", "--value-from", "-"],
        &format!("{SECOND}\n"),
    );
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    assert!(!String::from_utf8_lossy(&rotated.stdout).contains(SECOND));
    delivered(&upstream, 1).await;
    let ended = gateway.kill();
    // The command line works on the database; no gate is there to tell anybody.
    let again = ended.cli_with_input(
        &["secrets", "rotate", "stripe", "--value-from", "-"],
        "a third value of it",
    );
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    status.store(200, std::sync::atomic::Ordering::SeqCst);
    let gateway = ended.start().await;
    let key = reader(&gateway, None);
    assert_eq!(read(&gateway, &key, "stripe").await.json()["version"], 3);
    eventually_asked("both have arrived", async || {
        let rows = list(&gateway, &["list"]);
        rows.len() == 2 && rows.iter().all(|row| row["state"] == "delivered")
    })
    .await;
    let versions: Vec<i64> = upstream
        .received()
        .iter()
        .map(|one| serde_json::from_slice::<serde_json::Value>(&one.body).unwrap())
        .map(|message| message["version"].as_i64().unwrap())
        .collect();
    // In their order.
    assert!(versions.is_sorted(), "{versions:?}");
    assert_eq!(versions.last(), Some(&3));
    let shown = told(&gateway, &["secrets", "show", "stripe"]);
    assert_eq!(shown["versions"].as_array().unwrap().len(), 3);
}
