//! Somebody is told, once, where they asked to be told (L9, M2).

use axum::http::Response;
use serde_json::{Value, json};

use crate::anomalies::{builder, counter, found, guess, told};
use crate::support::mailbox::{Mailbox, nobody};
use crate::support::{Client, Upstream, eventually, eventually_asked};
use crate::webhooks::senders::{STANDARD_SECRET, libraries};

fn email(more: &str) -> String {
    format!(
        "\n[[alert]]\nname = \"duty\"\nemail = [\"duty@corp.test\"]\nfirst-wait = \"1s\"\n{more}\n"
    )
}

fn slack(sink: &Upstream) -> (String, String) {
    let table = "\n[[alert]]\nname = \"room\"\nslack = { file = \"slack\" }\nfirst-wait = \"1s\"\n";
    (table.to_owned(), format!("{}/services/T0/B0/x", sink.url()))
}

fn signed(sink: &Upstream) -> String {
    format!(
        "\n[[alert]]\nname = \"desk\"\nwebhook = \"{}/alerts\"\nsecret = {{ file = \"alert-secret\" }}\nfirst-wait = \"1s\"\n",
        sink.url()
    )
}

fn body(request: &crate::support::Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[tokio::test]
async fn a_burst_is_told_once_by_letter_in_slack_and_by_a_signed_webhook_though_two_nodes_run() {
    let (upstream, room, desk) = (
        Upstream::start().await,
        Upstream::start().await,
        Upstream::start().await,
    );
    let mailbox = Mailbox::start().await;
    let (table, url) = slack(&room);
    let one = builder(&upstream)
        .await
        .mailing(mailbox.address)
        .file("slack", &url)
        .file("alert-secret", STANDARD_SECRET)
        .more(&(email("") + &table + &signed(&desk)))
        .start()
        .await;
    let other = one.twin().await;
    guess(&[&one, &other], "ana@corp.test", 4).await;
    let list = found(&one, "login-burst", 1).await;
    let subject = list[0]["subject"].as_str().unwrap();
    let letter = mailbox.wait_for(1).await;
    assert_eq!(letter.header("To"), "duty@corp.test");
    assert_eq!(letter.header("Subject"), "[medium] login-burst");
    assert!(letter.text().contains(subject), "{}", letter.text());
    eventually("Slack and the desk are told", || {
        room.requests() > 0 && desk.requests() > 0
    })
    .await;
    let told_room = room.last();
    assert_eq!(told_room.target, "/services/T0/B0/x");
    let text = body(&told_room)["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains(subject) && text.contains("login-burst"),
        "{text}"
    );

    // The desk verifies with the library of the standard.
    let told_desk = desk.last();
    let headers = json!({
        "webhook-id": told_desk.header("webhook-id"),
        "webhook-timestamp": told_desk.header("webhook-timestamp"),
        "webhook-signature": told_desk.header("webhook-signature"),
    });
    let text = String::from_utf8(told_desk.body.to_vec()).unwrap();
    let order = json!({ "do": "verify", "scheme": "standard", "secret": STANDARD_SECRET, "headers": headers, "body": text });
    assert_eq!(libraries(&[order]), [json!(true)]);
    let message = body(&told_desk);
    assert_eq!(message["type"], "alert.began");
    assert_eq!(message["data"]["source"], "login-burst");
    assert_eq!(message["data"]["subject"], subject);

    // A second account later: everybody has it, and of the first nobody was told twice.
    guess(&[&other, &one], "bob@corp.test", 4).await;
    found(&one, "login-burst", 2).await;
    eventually_asked("all six are sent", async || {
        told(&one, &["alerts", "list", "--state", "sent"]).len() == 6
    })
    .await;
    mailbox.wait_for(2).await;
    assert_eq!((room.requests(), desk.requests()), (2, 2));
    let line = "portcullis_alerts_total{outcome=\"sent\"}";
    assert_eq!(counter(&one, line).await + counter(&other, line).await, 6);
    for word in ["ana@", "bob@", "203.0.113"] {
        let all: Vec<String> = mailbox
            .letters()
            .into_iter()
            .map(|letter| letter.0)
            .collect();
        assert!(!all.join("").contains(word), "{word} in {all:#?}");
    }
}

#[tokio::test]
async fn a_mail_server_that_is_away_gets_it_when_it_is_back() {
    let upstream = Upstream::start().await;
    let address = nobody();
    let gateway = builder(&upstream)
        .await
        .mailing(address)
        .more(&email(""))
        .start()
        .await;
    guess(&[&gateway], "ana@corp.test", 4).await;
    eventually_asked("an attempt has failed", async || {
        let waiting = told(&gateway, &["alerts", "list", "--state", "waiting"]);
        waiting.iter().any(|alert| !alert["fault"].is_null())
    })
    .await;
    // It outlives the process, too.
    let gateway = gateway.kill().start().await;
    let mailbox = Mailbox::start_with(Some(address), &[]).await;
    mailbox.wait_for(1).await;
    eventually_asked("it is sent", async || {
        told(&gateway, &["alerts", "list", "--state", "sent"]).len() == 1
    })
    .await;
}

#[tokio::test]
async fn what_nobody_takes_is_a_dead_letter_that_is_seen() {
    let upstream = Upstream::start().await;
    let desk =
        Upstream::answering(|_| Response::builder().status(500).body("".into()).unwrap()).await;
    let gateway = builder(&upstream)
        .await
        .file("alert-secret", STANDARD_SECRET)
        .more(&(signed(&desk) + "attempts = 2\n"))
        .start()
        .await;
    guess(&[&gateway], "ana@corp.test", 4).await;
    eventually_asked("it is given up", async || {
        told(&gateway, &["alerts", "list", "--state", "dead"]).len() == 1
    })
    .await;
    assert_eq!(desk.requests(), 2);
    let dead = &told(&gateway, &["alerts", "list"])[0];
    assert_eq!(dead["attempts"], 2);
    assert!(dead["fault"].as_str().unwrap().contains("500"), "{dead}");
    assert_eq!(
        told(&gateway, &["audit", "list", "--action", "alert.given-up"]).len(),
        1
    );
    eventually_asked("the metrics say so", async || {
        counter(&gateway, "portcullis_alerts_dead").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_silenced_source_is_told_to_nobody_until_the_silence_is_lifted() {
    let upstream = Upstream::start().await;
    let room = Upstream::start().await;
    let (table, url) = slack(&room);
    let gateway = builder(&upstream)
        .await
        .file("slack", &url)
        .more(&table)
        .start()
        .await;
    let silence = [
        "alerts",
        "silence",
        "login-burst",
        "--for",
        "2h",
        "--because",
        "a test of the doors",
    ];
    assert!(gateway.cli(&silence).status.success());
    guess(&[&gateway], "ana@corp.test", 4).await;
    found(&gateway, "login-burst", 1).await;
    let silenced = told(&gateway, &["alerts", "list"]);
    assert_eq!(silenced.len(), 1, "{silenced:#?}");
    assert_eq!(silenced[0]["state"], "silenced");
    let standing = told(&gateway, &["alerts", "silences"]);
    assert_eq!(standing[0]["because"], "a test of the doors");
    let events = told(&gateway, &["audit", "list", "--action", "alert.silenced"]);
    assert_eq!(events[0]["actor"], "operator");
    assert_eq!(events[0]["metadata"]["because"], "a test of the doors");
    let lift = [
        "alerts",
        "lift-silence",
        standing[0]["id"].as_str().unwrap(),
    ];
    assert!(gateway.cli(&lift).status.success());
    assert_eq!(
        gateway.cli(&lift).status.code(),
        Some(2),
        "it is lifted already"
    );
    guess(&[&gateway], "bob@corp.test", 4).await;
    eventually("the room is told", || room.requests() > 0).await;
    let bursts = found(&gateway, "login-burst", 2).await;
    assert_eq!(room.requests(), 1);
    let text = body(&room.last())["text"].as_str().unwrap().to_owned();
    assert!(
        text.contains(bursts[0]["subject"].as_str().unwrap()),
        "{text}"
    );
    for wrong in [
        [
            "alerts",
            "silence",
            "nothing",
            "--for",
            "2h",
            "--because",
            "x",
        ],
        [
            "alerts",
            "silence",
            "login-burst",
            "--for",
            "31d",
            "--because",
            "x",
        ],
        [
            "alerts",
            "silence",
            "login-burst",
            "--for",
            "2h",
            "--because",
            " ",
        ],
    ] {
        assert_eq!(gateway.cli(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}

// The command line is waited for, and the room answers meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_alert_goes_out_at_once_and_never_into_the_own_network() {
    let upstream = Upstream::start().await;
    let room = Upstream::start().await;
    let (table, url) = slack(&room);
    let port = room.address().port();
    let inside = format!(
        "\n[[alert]]\nname = \"inside\"\nwebhook = \"https://localhost:{port}/\"\nsecret = {{ file = \"alert-secret\" }}\n"
    );
    let gateway = builder(&upstream)
        .await
        .file("slack", &url)
        .file("alert-secret", STANDARD_SECRET)
        .more(&(table + &inside))
        .start()
        .await;
    assert!(gateway.cli(&["alerts", "test", "room"]).status.success());
    assert!(
        body(&room.last())["text"]
            .as_str()
            .unwrap()
            .contains("[test]")
    );
    let refused = gateway.cli(&["alerts", "test", "inside"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("no address that may be called"), "{why}");
    assert_eq!(room.requests(), 1);
    assert_eq!(
        gateway.cli(&["alerts", "test", "nowhere"]).status.code(),
        Some(2)
    );
}

#[tokio::test]
async fn administrators_see_what_was_found_and_keep_it_silent_and_nobody_else_does() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    guess(&[&gateway], "ana@corp.test", 4).await;
    found(&gateway, "login-burst", 1).await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let api = "/.portcullis/admin/v1";
    let ana = gateway.signed_in("ana@corp.test").await;
    for path in ["anomalies", "anomalies/rules", "alerts", "alerts/silences"] {
        let refused = ana.get(&format!("{api}/{path}")).send().await;
        assert_eq!(refused.status, 403, "{path}");
    }
    let list = bob.get(&format!("{api}/anomalies?state=open")).send().await;
    assert_eq!(list.status, 200, "{}", list.text());
    let list: Vec<Value> = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list[0]["detector"], "login-burst");
    let new = json!({ "source": "login-burst", "seconds": 60, "because": "known" });
    let made = bob
        .post(&format!("{api}/alerts/silences"))
        .json(&new)
        .send()
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let events = told(&gateway, &["audit", "list", "--action", "alert.silenced"]);
    assert_eq!(events[0]["actor"], "user");
    let none = Client::to(gateway.address)
        .get(&format!("{api}/anomalies"))
        .send()
        .await;
    assert_eq!(none.status, 401);
}
