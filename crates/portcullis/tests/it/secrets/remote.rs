//! Secrets that are carried to the store of somebody else: an OpenBao server, and what moto plays of AWS (X2, X3).

use serde_json::{Value, json};

use super::{
    CANARY, PUT_STRIPE, ROOT, SECOND, builder, new, read, reader, rotate, tenant, told, write,
};
use crate::support::kms::Line;
use crate::support::managers::{Kind, Manager};
use crate::support::{Gateway, Upstream, database, eventually_asked};

const STRIPE: &str = "product/stripe";
const OFTEN: &str = "check-every = \"1s\"\n";

async fn start(kind: Kind, upstream: &Upstream) -> (Manager, Gateway) {
    let manager = Manager::start(kind).await;
    let gateway = manager.under(builder(upstream).await, OFTEN).await;
    (manager, gateway.start().await)
}

/// What `secrets list` says of where it is.
pub(crate) fn remote(gateway: &Gateway, name: &str) -> Value {
    told(gateway, &["secrets", "show", name])["remote"].clone()
}

pub(crate) async fn is(gateway: &Gateway, name: &str, state: &str) {
    eventually_asked(&format!("{name} is {state}"), async || {
        remote(gateway, name)["state"] == state
    })
    .await;
}

fn events(gateway: &Gateway, action: &str) -> Vec<Value> {
    let events = told(gateway, &["audit", "list", "--action", action]);
    events.as_array().unwrap().clone()
}

async fn every_version_arrives(kind: Kind) {
    let upstream = Upstream::start().await;
    let (manager, gateway) = start(kind, &upstream).await;
    let admin = gateway.signed_in(ROOT).await;
    let made = write(&admin, "stripe", &new(CANARY)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    is(&gateway, "stripe", "written").await;
    assert_eq!(manager.value(STRIPE).await.as_deref(), Some(CANARY));
    let acme = tenant(&gateway, "acme");
    let what = format!("stripe?tenant={acme}");
    assert_eq!(
        write(&admin, &what, &new("value of acme itself"))
            .await
            .status,
        201
    );
    let of_acme = format!("tenants/{acme}/stripe");
    eventually_asked("the tenant's is there", async || {
        manager.value(&of_acme).await.as_deref() == Some("value of acme itself")
    })
    .await;
    let rotated = rotate(&admin, "stripe/rotate", &json!({ "value": SECOND })).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    eventually_asked("the new value is there", async || {
        manager.value(STRIPE).await.as_deref() == Some(SECOND)
    })
    .await;
    is(&gateway, "stripe", "written").await;
    assert_eq!(remote(&gateway, "stripe")["version"], 2);
    assert_eq!(manager.versions(STRIPE).await, 2);
    // A word about it is no new version there.
    let described = write(&admin, "stripe", &json!({ "owner": "billing" })).await;
    assert_eq!(described.status, 200);
    let carried = events(&gateway, "secret.carried");
    assert_eq!(carried.len(), 3, "{carried:?}");
    assert!(carried.iter().all(|event| event["actor"] == "system"));
    let listed = gateway.cli(&["secrets", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("written"), "{listed}");
    // Whoever manages secrets, and whoever reads the log or the database, sees none of them.
    let seen = [made.text(), rotated.text(), listed, gateway.printed()];
    let stored = database::everything(&gateway.folder).await;
    for canary in [CANARY, SECOND] {
        assert!(!seen.iter().any(|text| text.contains(canary)));
        assert!(!super::shows(&stored, canary));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_arrives_in_openbao() {
    every_version_arrives(Kind::Bao).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_arrives_in_aws() {
    every_version_arrives(Kind::Aws).await;
}

async fn changes_of_others_are_left_alone(kind: Kind) {
    let upstream = Upstream::start().await;
    let (manager, gateway) = start(kind, &upstream).await;
    let admin = gateway.signed_in(ROOT).await;
    let key = reader(&gateway, None);
    assert_eq!(write(&admin, "stripe", &new(CANARY)).await.status, 201);
    is(&gateway, "stripe", "written").await;
    // It was there before us.
    manager.change("product/other", "of somebody else").await;
    assert_eq!(write(&admin, "other", &new(SECOND)).await.status, 201);
    is(&gateway, "other", "drifted").await;
    assert_eq!(
        manager.value("product/other").await.as_deref(),
        Some("of somebody else")
    );
    // It was changed.
    manager.change(STRIPE, "of somebody else").await;
    is(&gateway, "stripe", "drifted").await;
    let rotated = rotate(&admin, "stripe/rotate", &json!({ "value": SECOND })).await;
    assert_eq!(rotated.status, 200);
    is(&gateway, "stripe", "drifted").await;
    assert_eq!(read(&gateway, &key, "stripe").await.json()["value"], SECOND);
    // Some passes later as well.
    let _twin = gateway.twin().await;
    assert_eq!(
        write(&admin, "third", &new("a third value of all"))
            .await
            .status,
        201
    );
    is(&gateway, "third", "written").await;
    assert_eq!(
        manager.value(STRIPE).await.as_deref(),
        Some("of somebody else")
    );
    let drifted = events(&gateway, "secret.drifted");
    assert_eq!(drifted.len(), 2, "{drifted:?}");
    assert!(!gateway.printed().contains("of somebody else"));
    // A person says so.
    for name in ["stripe", "other"] {
        let pushed = gateway.cli(&["secrets", "push", name]);
        assert!(
            pushed.status.success(),
            "{}",
            String::from_utf8_lossy(&pushed.stderr)
        );
        is(&gateway, name, "written").await;
        let there = manager.value(&format!("product/{name}")).await;
        assert_eq!(there.as_deref(), Some(SECOND), "{name}");
    }
    assert_eq!(events(&gateway, "secret.pushed").len(), 2);
    // What we wrote ourselves is no change of others.
    let rotated = rotate(&admin, "stripe/rotate", &json!({ "value": CANARY })).await;
    assert_eq!(rotated.status, 200);
    eventually_asked("the next one arrives", async || {
        manager.value(STRIPE).await.as_deref() == Some(CANARY)
    })
    .await;
    // It was deleted.
    is(&gateway, "stripe", "written").await;
    manager.delete("product/third").await;
    is(&gateway, "third", "drifted").await;
    assert_eq!(
        read(&gateway, &key, "third").await.json()["value"],
        "a third value of all"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_changed_in_openbao_is_told_and_left_alone_until_it_is_pushed() {
    changes_of_others_are_left_alone(Kind::Bao).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_changed_in_aws_is_told_and_left_alone_until_it_is_pushed() {
    changes_of_others_are_left_alone(Kind::Aws).await;
}

/// Written there, and nobody heard of it: then killed, and written again.
async fn nothing_is_lost_or_doubled(kind: Kind) {
    let upstream = Upstream::start().await;
    let manager = Manager::start(kind).await;
    let quick = "timeout = \"500ms\"\n";
    let gateway = manager
        .under(builder(&upstream).await, quick)
        .await
        .start()
        .await;
    manager.relay.is(Line::Mutes(Manager::WRITES));
    assert!(gateway.cli_with_input(&PUT_STRIPE, CANARY).status.success());
    is(&gateway, "stripe", "failing").await;
    // The gate gives up after half a second; the store may take longer than that to write.
    eventually_asked("it is written, unheard", async || {
        manager.value(STRIPE).await.is_some()
    })
    .await;
    assert_eq!(manager.value(STRIPE).await.as_deref(), Some(CANARY));
    let ended = gateway.kill();
    manager.relay.is(Line::Open);
    let gateway = ended.start().await;
    is(&gateway, "stripe", "written").await;
    assert_eq!(manager.versions(STRIPE).await, 1);
    // Two versions while nobody hears of anything: the last one is there in the end.
    manager.relay.is(Line::Mutes(Manager::WRITES));
    assert!(gateway.cli_with_input(&PUT_STRIPE, SECOND).status.success());
    is(&gateway, "stripe", "failing").await;
    assert!(
        gateway
            .cli_with_input(&PUT_STRIPE, "a third value of it")
            .status
            .success()
    );
    let ended = gateway.kill();
    manager.relay.is(Line::Open);
    let gateway = ended.start().await;
    is(&gateway, "stripe", "written").await;
    assert_eq!(
        manager.value(STRIPE).await.as_deref(),
        Some("a third value of it")
    );
    assert_eq!(remote(&gateway, "stripe")["version"], 3);
    // Of two nodes one writes.
    let _twin = gateway.twin().await;
    let before = manager.versions(STRIPE).await;
    for value in ["the fourth value", "the fifth value of it"] {
        assert!(gateway.cli_with_input(&PUT_STRIPE, value).status.success());
        eventually_asked("it is there", async || {
            manager.value(STRIPE).await.as_deref() == Some(value)
        })
        .await;
    }
    is(&gateway, "stripe", "written").await;
    assert_eq!(manager.versions(STRIPE).await, before + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_openbao_whose_answer_was_lost_is_not_lost_and_not_doubled() {
    nothing_is_lost_or_doubled(Kind::Bao).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_to_aws_whose_answer_was_lost_is_not_lost_and_not_doubled() {
    nothing_is_lost_or_doubled(Kind::Aws).await;
}

fn doctor(gateway: &Gateway) -> (bool, String) {
    let output = gateway.cli(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("store of secrets"));
    let line = line.unwrap_or_else(|| panic!("{text}")).to_owned();
    (line.starts_with("ok"), line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_whether_the_store_answers_and_lets_the_gate_write() {
    let upstream = Upstream::start().await;
    for kind in [Kind::Bao, Kind::Aws] {
        let (mut manager, gateway) = start(kind, &upstream).await;
        let (ok, said) = doctor(&gateway);
        assert!(ok, "{said}");
        if kind == Kind::Bao {
            for too_few in [&["create", "update"][..], &["read"]] {
                manager.allow(too_few).await;
                let (ok, said) = doctor(&gateway);
                assert!(!ok && said.contains("403"), "{said}");
                // What is refused for one secret is told of it, and tried again.
            }
            assert!(gateway.cli_with_input(&PUT_STRIPE, CANARY).status.success());
            is(&gateway, "stripe", "failing").await;
            let fault = remote(&gateway, "stripe")["fault"].clone();
            assert!(fault.as_str().unwrap().contains("403"), "{fault}");
            assert_eq!(events(&gateway, "secret.carry-failed").len(), 1);
            manager.allow(&["create", "update", "read"]).await;
            is(&gateway, "stripe", "written").await;
        } else {
            let body = r#"{"__type": "AccessDeniedException"}"#;
            let head = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            manager
                .relay
                .is(Line::Answers([head.as_bytes(), body.as_bytes()].concat()));
            let (ok, said) = doctor(&gateway);
            assert!(!ok && said.contains("AccessDeniedException"), "{said}");
        }
        manager.relay.stop().await;
        let (ok, said) = doctor(&gateway);
        assert!(!ok && said.contains("cannot be reached"), "{said}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_table_is_said_and_the_gate_does_not_start() {
    let upstream = Upstream::start().await;
    let gate = builder(&upstream)
        .await
        .more("\n[secret-store.remote]\nkind = \"openbao-kv\"\n");
    for verb in ["check", "serve"] {
        let output = gate.cli(&[verb]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{verb}: {text}");
        if verb == "check" {
            assert!(text.contains("secret-store.remote.address"), "{text}");
            assert!(text.contains("secret-store.remote.token"), "{text}");
        }
    }
}
