//! What others wrote of somebody: messages of webhooks, files of incidents; and exports that are too large for HTTP.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{ERASE, EXPORT, POLICY, ask, count, folder, key, of, parsed, said};
use crate::support::{Gateway, Upstream, database, eventually_asked};
use crate::webhooks::{self, assert_received, assert_seen, delivered, list, post, stripe};

const ANA: &str = "ana.canary-4471@corp.test";
const PATH: &str = "/webhooks/stripe";

fn about(id: &str, email: &str) -> crate::webhooks::Message {
    let object = json!({ "id": format!("of-{id}"), "email": email });
    stripe(&json!({ "id": id, "type": "invoice.paid", "data": { "object": object } }).to_string())
}

async fn gate(upstream: &Upstream) -> Gateway {
    let builder = webhooks::builder(upstream).await;
    builder
        .replace("attempts = 3", "attempts = 100")
        .replace("[limits.default]\nrate = \"100000/minute\"\n", "")
        .user(ANA, &["user"])
        .user("bo@corp.test", &["user"])
        .more(POLICY)
        .start()
        .await
}

/// The state of a message, by the sender's id of it.
fn state(gateway: &Gateway, event: &str) -> Value {
    let all = list(gateway, &["list", "--limit", "1000"]);
    let found = all.iter().find(|row| row["event"] == event);
    found.unwrap_or_else(|| panic!("{all:?}")).clone()
}

fn shown(gateway: &Gateway, event: &str) -> String {
    let id = state(gateway, event)["id"].as_str().unwrap().to_owned();
    said(&gateway.cli(&["webhooks", "show", &id, "--payload"]))
}

#[tokio::test]
async fn messages_that_name_an_erased_person_are_emptied_and_still_known() {
    let (upstream, status) = webhooks::product().await;
    let gateway = gate(&upstream).await;
    assert_received(&post(&gateway, PATH, &about("evt_had", ANA)).await);
    assert_received(&post(&gateway, PATH, &about("evt_other", "bo@corp.test")).await);
    delivered(&upstream, 2).await;
    eventually_asked("both are delivered", async || {
        state(&gateway, "evt_had")["state"] == "delivered"
            && state(&gateway, "evt_other")["state"] == "delivered"
    })
    .await;
    status.store(500, Ordering::SeqCst);
    assert_received(&post(&gateway, PATH, &about("evt_waits", ANA)).await);
    assert!(shown(&gateway, "evt_had").contains(ANA));

    let file = folder(&gateway).join("ana.jsonl");
    let export = ["privacy", "export", ANA, "--to", file.to_str().unwrap()];
    parsed(&gateway, &export);
    let text = std::fs::read_to_string(&file).unwrap();
    let messages = of(&text, "webhook_delivery");
    let events: Vec<&Value> = messages.iter().map(|row| &row["event"]).collect();
    assert_eq!(events, ["evt_had", "evt_waits"], "{text}");
    assert!(messages[0]["body"].as_str().unwrap().contains(ANA));
    assert!(!text.contains("bo@corp.test"));

    let erased = parsed(&gateway, &["privacy", "erase", ANA, "--yes"]);
    assert_eq!(erased["left"], json!([]), "{erased}");
    assert_eq!(erased["rows"]["webhook_delivery"], 1, "{erased}");
    assert_eq!(erased["kept"], json!({ "webhook_delivery": 1 }), "{erased}");
    let events = parsed(
        &gateway,
        &["audit", "list", "--action", "personal-data.erased"],
    );
    assert_eq!(events[0]["metadata"]["kept"], 1, "{events}");
    assert!(!shown(&gateway, "evt_had").contains(ANA));
    assert!(shown(&gateway, "evt_other").contains("bo@corp.test"));
    // A second one of the same event is refused as before, and what is empty is not sent again.
    assert_seen(&post(&gateway, PATH, &about("evt_had", ANA)).await);
    let id = state(&gateway, "evt_had")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(!gateway.cli(&["webhooks", "replay", &id]).status.success());

    // What the product has not had comes to it, and is emptied behind that.
    status.store(200, Ordering::SeqCst);
    eventually_asked("what waited is delivered", async || {
        state(&gateway, "evt_waits")["state"] == "delivered"
    })
    .await;
    assert!(String::from_utf8_lossy(&upstream.last().body).contains(ANA));
    let gateway = gateway.end().await.without_users().start().await;
    eventually_asked("it is emptied", async || {
        count(&gateway, "webhook_delivery WHERE erased_at IS NOT NULL").await == 2
    })
    .await;
    assert!(!shown(&gateway, "evt_waits").contains(ANA));
    assert!(shown(&gateway, "evt_other").contains("bo@corp.test"));
}

#[tokio::test]
async fn files_of_incidents_keep_what_was_done_and_lose_the_name() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let incident = |arguments: &[&str]| parsed(&gateway, &[&["incident"], arguments].concat());
    let opened = incident(&[
        "open",
        "--title",
        "customer-4471 called",
        "--severity",
        "low",
    ]);
    let id = opened["id"].as_str().unwrap();
    let note = "customer-4471 saw an invoice of customer-44710";
    incident(&["note", id, "--phase", "triage", note]);
    let stored = stripe(r#"{"id":"evt_1","customer":"customer-4471"}"#);
    assert_received(&post(&gateway, PATH, &stored).await);
    let by_mail = stripe(r#"{"id":"evt_2","mail":"carl@shop.test"}"#);
    assert_received(&post(&gateway, PATH, &by_mail).await);
    eventually_asked("both are delivered", async || {
        let all = list(&gateway, &["list"]);
        all.iter().all(|row| row["state"] == "delivered")
    })
    .await;
    let everywhere = key(&gateway, None);
    let who = json!({ "subject": "customer-4471", "also": ["carl@shop.test"] });
    let exported = ask(&gateway, &everywhere, EXPORT, &who).await;
    assert_eq!(exported.status, 200, "{}", exported.text());
    let text = exported.text();
    assert_eq!(of(&text, "webhook_delivery").len(), 2, "{text}");
    assert_eq!(of(&text, "incident")[0]["text"], "customer-4471 called");
    assert_eq!(of(&text, "incident_note")[0]["text"], note);
    // What is too short to be told from anything else is not looked for.
    let short = json!({ "subject": "customer-4471", "also": ["carl"] });
    assert_eq!(ask(&gateway, &everywhere, ERASE, &short).await.status, 422);

    let erased = ask(&gateway, &everywhere, ERASE, &who).await.json();
    assert_eq!(erased["left"], json!([]), "{erased}");
    let rows = json!({ "incident": 1, "incident_note": 1, "webhook_delivery": 2 });
    assert_eq!(erased["rows"], rows, "{erased}");
    let file = incident(&["show", id]).to_string();
    assert!(file.contains("[erased] called"), "{file}");
    assert!(
        file.contains("[erased] saw an invoice of customer-44710"),
        "{file}"
    );
}

#[tokio::test]
async fn an_export_too_large_for_http_says_so_and_the_command_line_writes_it() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let users = parsed(&gateway, &["users", "list"]);
    let all = users.as_array().unwrap();
    let ana = all.iter().find(|user| user["email"] == ANA).unwrap();
    let id = ana["id"].as_str().unwrap();
    // Entries of a megabyte each.
    let row = |id_of: &str, text: &str, from: &str| {
        format!(
            "INSERT INTO consent (id, tenant, subject, purpose, version, state, at, source) {from} SELECT {id_of}, '', '{id}', 'marketing', '1', 'given', n, {text} FROM numbers"
        )
    };
    let enter = async |count: u32| {
        let sqlite = format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
        );
        let postgres = format!("WITH numbers(n) AS (SELECT generate_series(1, {count}))");
        let sqlite = row("randomblob(16)", "hex(zeroblob(524288))", &sqlite);
        let postgres = row("gen_random_uuid()", "repeat('0', 1048576)", &postgres);
        database::execute_either(&folder(&gateway), &sqlite, &postgres).await;
    };
    let browser = gateway.signed_in(ANA).await;
    enter(24).await;
    let answer = browser.get("/.portcullis/auth/personal-data").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let file = folder(&gateway).join("by-http.jsonl");
    std::fs::write(&file, &answer.body).unwrap();
    let verified = gateway.cli(&["privacy", "verify", file.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));
    enter(12).await;
    let answer = browser.get("/.portcullis/auth/personal-data").send().await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(answer.problem(), "conflict");
    let text = answer.text();
    assert!(
        text.contains("32MiB") && text.contains("privacy export"),
        "{text}"
    );
    let file = folder(&gateway).join("ana.jsonl");
    let name = file.to_str().unwrap();
    parsed(&gateway, &["privacy", "export", ANA, "--to", name]);
    assert!(std::fs::metadata(&file).unwrap().len() > 36 << 20);
    let verified = gateway.cli(&["privacy", "verify", name]);
    assert!(verified.status.success(), "{}", said(&verified));
}
