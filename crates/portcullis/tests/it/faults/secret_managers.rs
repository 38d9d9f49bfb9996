//! The store that secrets are carried to is stopped, hangs, or answers what nobody can read: nobody who reads
//! here notices, what is to be carried waits, and it arrives by itself.

use serde_json::json;

use super::kms::garbage;
use super::{in_time, metric, until};
use crate::secrets::remote::{is, remote};
use crate::secrets::{CANARY, builder, read, reader};
use crate::support::kms::Line;
use crate::support::managers::{Kind, Manager};
use crate::support::{Gateway, Upstream};

const UP: &str = "portcullis_dependency_up{dependency=\"secret-manager\"}";

/// What looks like an answer, and is none to what was asked.
fn nearly() -> Vec<Line> {
    let body = json!({
        "data": { "version": 7, "current_version": 7, "metadata": { "version": 7 },
            "data": { "value": "poison of a stranger" } },
        "VersionId": "7", "SecretString": "poison of a stranger",
        "VersionIdsToStages": {},
    });
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    vec![Line::Answers(head.into_bytes())]
}

fn put(gateway: &Gateway, name: &str, value: &str) {
    #[rustfmt::skip]
    let arguments =
        ["secrets", "put", name, "--value-from", "-", "--owner", "a", "--purpose", "b"];
    assert!(gateway.cli_with_input(&arguments, value).status.success());
}

async fn is_lost_and_comes_back(kind: Kind) {
    let upstream = Upstream::start().await;
    let mut manager = Manager::start(kind).await;
    let quick = "timeout = \"500ms\"\ncheck-every = \"1s\"\n";
    let gateway = manager
        .under(builder(&upstream).await, quick)
        .await
        .start()
        .await;
    let key = reader(&gateway, None);
    put(&gateway, "stripe", CANARY);
    is(&gateway, "stripe", "written").await;
    let still_reads = async || {
        let answer = in_time("a read", read(&gateway, &key, "stripe")).await;
        assert_eq!(answer.json()["value"], CANARY, "{}", answer.text());
        assert_eq!(answer.json()["version"], 1);
    };
    manager.relay.stop().await;
    put(&gateway, "first", "value of the first");
    is(&gateway, "first", "failing").await;
    let told = remote(&gateway, "first");
    assert!(
        told["since"].is_string() && told["fault"].is_string(),
        "{told}"
    );
    until("it is told", || async {
        metric(&gateway, UP).await == Some(0.0)
    })
    .await;
    still_reads().await;
    manager.relay.start_again().await;
    is(&gateway, "first", "written").await;
    until("it is told", || async {
        metric(&gateway, UP).await == Some(1.0)
    })
    .await;
    for (position, line) in garbage()
        .into_iter()
        .chain([Line::Hung])
        .chain(nearly())
        .enumerate()
    {
        manager.relay.is(line);
        let (name, value) = (format!("of-{position}"), format!("value of {position}"));
        put(&gateway, &name, &value);
        until("it was tried", || async {
            remote(&gateway, &name)["state"] != "pending"
        })
        .await;
        let told = remote(&gateway, &name);
        assert_ne!(told["state"], "written", "{told}");
        assert_eq!(told["version"], 0);
        still_reads().await;
        manager.relay.is(Line::Open);
        if told["state"] == "drifted" {
            // It was said, in good form, that somebody else's stands there.
            assert!(gateway.cli(&["secrets", "push", &name]).status.success());
        }
        is(&gateway, &name, "written").await;
        let there = manager.value(&format!("product/{name}")).await;
        assert_eq!(there.as_deref(), Some(value.as_str()));
    }
    still_reads().await;
    assert!(!gateway.printed().contains("poison of a stranger"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_openbao_that_is_stopped_hangs_or_talks_nonsense_gets_its_secrets_when_it_is_back() {
    is_lost_and_comes_back(Kind::Bao).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aws_that_is_stopped_hangs_or_talks_nonsense_gets_its_secrets_when_it_is_back() {
    is_lost_and_comes_back(Kind::Aws).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_starts_without_that_store_serves_every_secret() {
    let upstream = Upstream::start().await;
    let mut manager = Manager::start(Kind::Bao).await;
    let gateway = manager
        .under(builder(&upstream).await, "")
        .await
        .start()
        .await;
    put(&gateway, "stripe", CANARY);
    let key = reader(&gateway, None);
    let ended = gateway.end().await;
    manager.relay.stop().await;
    let gateway = in_time("the start", ended.start()).await;
    let answer = in_time("a read", read(&gateway, &key, "stripe")).await;
    assert_eq!(answer.json()["value"], CANARY, "{}", answer.text());
    manager.relay.start_again().await;
    is(&gateway, "stripe", "written").await;
}
