//! Secrets that are files, as Docker mounts them (X2).

use serde_json::json;

use super::{CANARY, PUT_STRIPE, ROOT, SECOND, builder, read, reader, rotate, write};
use crate::support::{Client, Gateway, GatewayBuilder, Upstream, eventually_asked};

async fn with_files(upstream: &Upstream) -> GatewayBuilder {
    let builder = builder(upstream)
        .await
        .replace("[secret-store]\n", "[secret-store]\nfiles = \"mounted\"\n");
    let folder = builder.folder().join("mounted");
    // What Kubernetes has beside the files.
    std::fs::create_dir_all(folder.join("..data")).unwrap();
    std::fs::write(folder.join("openai_api_key"), format!("{CANARY}\n")).unwrap();
    builder
}

async fn version(gateway: &Gateway, key: &str) -> serde_json::Value {
    let answer = read(gateway, key, "openai_api_key").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    json!([answer["version"], answer["value"]])
}

#[tokio::test]
async fn a_file_is_a_secret_and_a_changed_file_is_a_new_version() {
    let upstream = Upstream::start().await;
    let gateway = with_files(&upstream).await.start().await;
    let file = gateway.folder.join("mounted/openai_api_key");
    let key = reader(&gateway, None);
    assert_eq!(version(&gateway, &key).await, json!([1, CANARY]));
    std::fs::write(&file, SECOND).unwrap();
    eventually_asked("the changed file is taken", async || {
        version(&gateway, &key).await == json!([2, SECOND])
    })
    .await;
    let before = read(&gateway, &key, "openai_api_key?version=previous").await;
    assert_eq!(before.json()["value"], CANARY);
    let heard = crate::webhooks::delivered(&upstream, 1).await.remove(0);
    assert_eq!(heard.target, "/internal/secret-rotated");
    // Its file alone changes it.
    let admin = gateway.signed_in(ROOT).await;
    let body = json!({ "value": "another value for it" });
    for answer in [
        write(&admin, "openai_api_key", &body).await,
        rotate(&admin, "openai_api_key/rotate", &body).await,
    ] {
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    let described = write(&admin, "openai_api_key", &json!({ "owner": "models" })).await;
    assert_eq!(described.json()["owner"], "models");
    let pretends = json!({ "value": "some value", "owner": "a", "purpose": "b", "made": "file" });
    assert_eq!(write(&admin, "other", &pretends).await.status, 422);
    // A start alone makes no version.
    let gateway = gateway.end().await.start().await;
    assert_eq!(version(&gateway, &key).await, json!([2, SECOND]));
    assert!(!gateway.printed().contains(SECOND) && !gateway.printed().contains(CANARY));
}

#[tokio::test]
async fn a_file_that_is_gone_or_empty_changes_nothing_and_is_told() {
    let upstream = Upstream::start().await;
    let gateway = with_files(&upstream).await.start().await;
    let file = gateway.folder.join("mounted/openai_api_key");
    let key = reader(&gateway, None);
    let age = async || {
        let admin = Client::to(gateway.admin);
        let text = admin.get("/metrics").send().await.text();
        let name = "portcullis_secret_files_age_seconds ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<i64>().unwrap()
    };
    assert_eq!(age().await, 0);
    std::fs::write(&file, "\n").unwrap();
    gateway
        .wait_until_printed("the file `openai_api_key` is empty")
        .await;
    eventually_asked("its age is told", async || age().await > 0).await;
    std::fs::remove_file(&file).unwrap();
    gateway
        .wait_until_printed("the file `openai_api_key` is gone")
        .await;
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    gateway
        .wait_until_printed("the file `openai_api_key` cannot be read")
        .await;
    assert_eq!(version(&gateway, &key).await, json!([1, CANARY]));
    std::fs::write(&file, SECOND).unwrap();
    eventually_asked("it is right again", async || age().await == 0).await;
    assert_eq!(version(&gateway, &key).await, json!([2, SECOND]));
}

#[tokio::test]
async fn with_files_that_are_wrong_the_gate_does_not_start() {
    let upstream = Upstream::start().await;
    let gate = with_files(&upstream).await;
    let folder = gate.folder().join("mounted");
    let fails = |gate: &GatewayBuilder, said: &str| {
        for verb in ["check", "serve"] {
            let output = gate.cli(&[verb]);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(output.status.code(), Some(1), "{verb}: {text}");
            assert!(text.contains(said), "{verb}: {text}");
        }
    };
    std::fs::write(folder.join("openai_api_key"), "").unwrap();
    fails(&gate, "the file `openai_api_key` is empty");
    std::fs::write(folder.join("openai_api_key"), "x".repeat(32_769)).unwrap();
    fails(&gate, "has more than 32768 bytes");
    std::fs::remove_dir_all(&folder).unwrap();
    fails(&gate, "cannot be read");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("stripe"), CANARY).unwrap();
    // A name that somebody else has.
    assert!(gate.cli_with_input(&PUT_STRIPE, SECOND).status.success());
    let output = gate.cli(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("that is not of a file"), "{said}");
    let shown = gate.cli(&["--output", "json", "secrets", "show", "stripe"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["version"], 1);
}
