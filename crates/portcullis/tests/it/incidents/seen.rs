//! While an incident is open: what is counted, what is logged, and what administrators see.

use serde_json::{Value, json};

use super::{audited, open, told};
use crate::anomalies::metrics;
use crate::support::issuer::Issuer;
use crate::support::{Gateway, Upstream, eventually_asked, tokens};

const API: &str = "/.portcullis/admin/v1/incidents";

pub(super) async fn is_counted(gateway: &Gateway, severity: &str, open: u32) {
    let line = format!("portcullis_security_incidents{{severity=\"{severity}\"}} {open}");
    eventually_asked(&line, async || {
        metrics(gateway).await.lines().any(|one| one == line)
    })
    .await;
}

#[tokio::test]
async fn a_grave_incident_is_counted_and_raises_the_log_on_every_node_until_it_is_closed() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(9).await;
    let table = format!(
        "\n[issuer.company]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    );
    let one = Gateway::builder_usual(&upstream)
        .await
        .more(&table)
        .start()
        .await;
    let other = one.twin().await;
    let refused = async |node: &Gateway, subject: &str| {
        let token = issuer.token(subject, &json!({ "aud": "another" }));
        let answer = tokens::get(&node.client(), "/anything", &token).await;
        assert_eq!(answer.status, 401);
    };
    let is_told = |node: &Gateway| node.printed().contains("a token was refused");
    is_counted(&one, "critical", 0).await;
    refused(&one, "a").await;
    let low = open(&one, "low", &[]);
    is_counted(&one, "low", 1).await;
    refused(&one, "b").await;
    assert!(!is_told(&one), "the log is as configured");

    let id = open(&one, "critical", &[])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for node in [&one, &other] {
        is_counted(node, "critical", 1).await;
        node.wait_until_printed("messages of level debug are written")
            .await;
        refused(node, "c").await;
        node.wait_until_printed("a token was refused").await;
    }
    for phase in ["triage", "contain", "eradicate", "recover", "postmortem"] {
        told(&one, &["note", &id, "--phase", phase, "x"]);
    }
    told(&one, &["close", &id, "--cause", "x"]);
    for node in [&one, &other] {
        is_counted(node, "critical", 0).await;
        node.wait_until_printed("messages are written as configured")
            .await;
        let before = node.printed().matches("a token was refused").count();
        refused(node, "d").await;
        refused(node, "e").await;
        let after = node.printed().matches("a token was refused").count();
        assert_eq!(after, before);
    }
    assert_eq!(low["severity"], "low");
}

#[tokio::test]
async fn administrators_see_and_note_incidents_and_nobody_else_does() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("root@corp.test", &["admin", "user"])
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let file = open(&gateway, "critical", &[]);
    let id = file["id"].as_str().unwrap().to_owned();
    let (root, ana) = (
        gateway.signed_in("root@corp.test").await,
        gateway.signed_in("ana@corp.test").await,
    );
    let one = format!("{API}/{id}");
    let note = json!({ "phase": "triage", "text": "password=hunter2hunter2 was on a note" });
    let acknowledge = format!("{one}/acknowledge");
    let notes = format!("{one}/notes");
    for (what, status) in [
        (ana.get(API).send().await, 403),
        (ana.get(&one).send().await, 403),
        (ana.post(&acknowledge).send().await, 403),
        (ana.post(&notes).json(&note).send().await, 403),
        (gateway.client().get(API).send().await, 401),
    ] {
        assert_eq!(what.status, status, "{}", what.text());
    }
    let list: Vec<Value> = serde_json::from_slice(&root.get(API).send().await.body).unwrap();
    assert_eq!((list.len(), list[0]["id"].as_str()), (1, Some(id.as_str())));
    assert_eq!(root.post(&acknowledge).send().await.status, 204);
    let answer = root.post(&notes).json(&note).send().await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let seen = root.get(&one).send().await.json();
    assert!(
        seen["acknowledged_at"].is_string() && seen["triaged_at"].is_string(),
        "{seen}"
    );
    assert_eq!(seen["notes"][0]["phase"], "triage");
    assert!(!seen.to_string().contains("hunter2"), "{seen}");
    assert_eq!(seen["left"][0], "`contain` has no note");
    assert_eq!(audited(&gateway, "incident.noted")[0]["actor"], "user");
    let odd = json!({ "phase": "later", "text": "x" });
    assert_eq!(root.post(&notes).json(&odd).send().await.status, 422);
    let nobody = format!("{API}/{}", uuid::Uuid::nil());
    assert_eq!(root.get(&nobody).send().await.status, 404);
}
