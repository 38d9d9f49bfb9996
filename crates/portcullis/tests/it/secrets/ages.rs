//! How old values get, and what becomes of it (X4, X6).

use serde_json::{Value, json};

use super::{read, reader, told, with_stripe, write};
use crate::support::{Client, Gateway, Upstream, database, eventually_asked};

async fn metric(gateway: &Gateway, name: &str) -> i64 {
    let admin = Client::to(gateway.admin);
    let text = admin.get("/metrics").send().await.text();
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

async fn grow_older(gateway: &Gateway, column: &str, days: i64) {
    let micros = days * 86_400_000_000;
    let sql = format!("UPDATE stored_secret SET {column} = {column} - {micros}");
    database::execute(&gateway.folder, &sql).await;
}

fn events(gateway: &Gateway, action: &str) -> Vec<Value> {
    let listed = told(gateway, &["audit", "list", "--action", action]);
    listed.as_array().unwrap().clone()
}

#[tokio::test]
async fn an_old_value_is_told_once_a_day_and_seen_everywhere() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let overdue = ["--output", "json", "secrets", "list", "--overdue"];
    assert!(gateway.cli(&overdue).status.success());
    grow_older(&gateway, "rotated_at", 89).await;
    let first = gateway.twin().await;
    eventually_asked("its age is known", async || {
        metric(&first, "portcullis_secret_oldest_age_seconds").await >= 89 * 86_400
    })
    .await;
    assert_eq!(metric(&first, "portcullis_secrets_overdue").await, 0);
    assert_eq!(events(&gateway, "secret.overdue").len(), 0);
    grow_older(&gateway, "rotated_at", 1).await;
    // However many nodes look at it.
    let (second, third) = (gateway.twin().await, gateway.twin().await);
    for node in [&second, &third] {
        eventually_asked("it is seen", async || {
            metric(node, "portcullis_secrets_overdue").await == 1
        })
        .await;
    }
    let told_ = events(&gateway, "secret.overdue");
    assert_eq!(told_.len(), 1, "{told_:?}");
    assert_eq!(told_[0]["target"], "secret:stripe");
    assert_eq!(told_[0]["metadata"]["days"], 90);
    let printed = [&second, &third].map(|node| node.printed().contains("a secret is too old"));
    assert_eq!(printed.iter().filter(|is| **is).count(), 1);
    // The next day again.
    grow_older(&gateway, "told_at", 1).await;
    let _fourth = gateway.twin().await;
    eventually_asked("it is told again", async || {
        events(&gateway, "secret.overdue").len() == 2
    })
    .await;
    let listed = told(&gateway, &["secrets", "list"]);
    assert_eq!(
        (&listed[0]["age_days"], &listed[0]["overdue"]),
        (&json!(90), &json!(true))
    );
    let output = gateway.cli(&overdue);
    assert_eq!(output.status.code(), Some(1));
    let output = gateway.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("FAIL  secrets: 1 should have been replaced"),
        "{said}"
    );
    // A new value ends it.
    let answer = write(&admin, "stripe", &json!({ "value": "a new value at last" })).await;
    assert_eq!(answer.json()["overdue"], false, "{}", answer.text());
    assert!(gateway.cli(&overdue).status.success());
    let said = gateway.cli(&["doctor"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("ok    secrets: none is overdue"), "{said}");
}

#[tokio::test]
async fn what_is_made_here_is_replaced_by_itself_when_it_is_due() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    let random = json!({ "owner": "web", "purpose": "signs cookies", "made": "base64url:32", "rotate_every": "30d" });
    assert_eq!(write(&admin, "cookies", &random).await.status, 201);
    // A provider's is only known to be due.
    let body = json!({ "rotate_every": "30d" });
    assert_eq!(write(&admin, "stripe", &body).await.status, 200);
    let old = read(&gateway, &key, "cookies").await.json()["value"].clone();
    grow_older(&gateway, "rotated_at", 31).await;
    let twins = [gateway.twin().await, gateway.twin().await];
    eventually_asked("it has a new value", async || {
        read(&gateway, &key, "cookies").await.json()["version"] == 2
    })
    .await;
    for node in &twins {
        eventually_asked("each has looked", async || {
            metric(node, "portcullis_secrets_overdue").await == 1
        })
        .await;
    }
    let now = read(&gateway, &key, "cookies").await.json();
    assert_eq!(now["version"], 2, "one node made one version");
    assert_ne!(now["value"], old);
    let before = read(&gateway, &key, "cookies?version=previous").await;
    assert_eq!(before.json()["value"], old);
    let rotated = events(&gateway, "secret.rotated");
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    assert_eq!(rotated[0]["actor"], "system");
    assert_eq!(read(&gateway, &key, "stripe").await.json()["version"], 1);
    let overdue = events(&gateway, "secret.overdue");
    assert_eq!(overdue[0]["target"], "secret:stripe");
}
