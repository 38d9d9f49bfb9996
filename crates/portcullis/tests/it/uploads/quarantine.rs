//! Quarantine: what is kept there is served to nobody, and leaves it by the scanner's word alone.

use http::Method;
use serde_json::{Value, json};

use super::audited;
use super::file;
use super::journey::receipt;
use super::stored::{MAY, asked, builder, content, id_of, keep, permit, stored, with_form};
use crate::support::clamd::{Clamd, EICAR};
use crate::support::{Answer, Gateway, Upstream, clamd};
use crate::vault::key;

const ADMIN: &str = "/.portcullis/admin/v1/uploads";

async fn send(gateway: &Gateway, path: &str, content: &[u8]) -> Answer {
    let request = gateway.client().post(path);
    with_form(request, &[file("a.txt", "text/plain", content)])
        .send()
        .await
}

/// What the command line lists.
fn quarantined(gateway: &Gateway) -> Vec<Value> {
    let output = gateway.cli(&[
        "--output",
        "json",
        "uploads",
        "list",
        "--state",
        "quarantined",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Nobody gets it by any way.
async fn assert_shut(gateway: &Gateway, id: &str) {
    let key = key(gateway, &MAY, None);
    assert_eq!(content(gateway, &key, id).await.status, 404);
    assert_eq!(permit(gateway, &key, id, &json!({})).await.status, 404);
    let deleted = asked(gateway, &key, Method::DELETE, id).send().await;
    assert_eq!(deleted.status, 404, "the product takes no evidence away");
}

#[tokio::test]
async fn what_is_infected_is_refused_and_by_choice_kept_for_an_administrator() {
    let upstream = Upstream::start().await;
    let scanner = clamd::shared();
    // Unless somebody chose so, nothing is kept.
    let gateway = builder(&upstream, &scanner, "").await.start().await;
    assert_eq!(
        send(&gateway, "/files", EICAR).await.problem(),
        "upload-infected"
    );
    assert!(stored(&gateway).is_empty() && quarantined(&gateway).is_empty());

    let table = "infected = \"quarantine\"\nquarantine-files = 1";
    let gateway = builder(&upstream, &scanner, table).await.start().await;
    assert_eq!(
        send(&gateway, "/files", EICAR).await.problem(),
        "upload-infected"
    );
    let list = quarantined(&gateway);
    assert_eq!(list.len(), 1, "{list:?}");
    let id = list[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&list[0]["verdict"], &list[0]["owner"]),
        (&json!("infected"), &json!("anonymous"))
    );
    assert!(
        list[0]["found"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("eicar"),
        "{list:?}"
    );
    let on_disk = std::fs::read(&stored(&gateway)[0]).unwrap();
    assert!(!on_disk.windows(10).any(|part| part == &EICAR[..10]));
    assert_shut(&gateway, &id).await;
    // It is full now: refused as before, and not kept.
    assert_eq!(
        send(&gateway, "/files", EICAR).await.problem(),
        "upload-infected"
    );
    assert_eq!(quarantined(&gateway).len(), 1);

    // Signatures have not changed, so it stays, whoever asks.
    let released = gateway.cli(&["uploads", "release", &id]);
    assert_eq!(
        released.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&released.stderr)
    );
    let root = gateway.signed_in("root@corp.test").await;
    let one = format!("{ADMIN}/{id}");
    let release = format!("{one}/release");
    let answer = root
        .send(Method::POST, &release)
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(answer.problem(), "upload-infected");
    assert_shut(&gateway, &id).await;
    let shown = root.get(&one).send().await.json();
    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&json!("a.txt"), &json!("quarantined"))
    );
    let ana = gateway.signed_in("ana@corp.test").await;
    let answer = ana.send(Method::DELETE, &one).json(&json!({})).send().await;
    assert_eq!(answer.status, 403);
    let answer = root
        .send(Method::DELETE, &one)
        .json(&json!({}))
        .send()
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert!(stored(&gateway).is_empty() && quarantined(&gateway).is_empty());
    assert_eq!(upstream.requests(), 0);
    audited(&gateway, "upload.quarantined", 1).await;
    audited(&gateway, "upload.removed", 1).await;
}

#[tokio::test]
async fn what_the_scanner_missed_waits_unseen_until_it_is_back() {
    let upstream = Upstream::start().await;
    let scanner = Clamd::start("").await;
    let table = "unscanned = \"quarantine\"\nquarantine-files = 2";
    let gateway = builder(&upstream, &scanner.address(), table)
        .await
        .start()
        .await;
    let key = key(&gateway, &MAY, None);
    scanner.freeze();
    assert_eq!(send(&gateway, "/files", b"a clean text").await.status, 200);
    let received = upstream.last();
    let clean = id_of(&received);
    let told = receipt(&gateway, &received).await;
    assert_eq!(told["verdict"], "quarantined");
    assert!(told.get("scanner").is_none());
    assert!(!String::from_utf8_lossy(&received.body).contains("a clean text"));
    assert_eq!(send(&gateway, "/files", EICAR).await.status, 200);
    let infected = id_of(&upstream.last());
    // There is room for two.
    let full = send(&gateway, "/files", b"a third").await;
    assert_eq!(
        (full.status.as_u16(), full.problem().as_str()),
        (507, "quarantine-full")
    );
    assert_eq!(upstream.requests(), 2);
    for id in [&clean, &infected] {
        assert_shut(&gateway, id).await;
    }
    let root = gateway.signed_in("root@corp.test").await;
    let release = async |id: &str| {
        let target = format!("{ADMIN}/{id}/release");
        root.send(Method::POST, &target)
            .json(&json!({}))
            .send()
            .await
    };
    assert_eq!(release(&clean).await.status, 503);
    assert_shut(&gateway, &clean).await;

    scanner.thaw();
    let mut answer = release(&clean).await;
    for _ in 0..20 {
        if answer.status == 204 {
            break;
        }
        answer = release(&clean).await;
    }
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(
        &content(&gateway, &key, &clean).await.body[..],
        b"a clean text"
    );
    assert_eq!(release(&clean).await.problem(), "conflict");
    assert_eq!(release(&infected).await.problem(), "upload-infected");
    assert_shut(&gateway, &infected).await;
    assert_eq!(quarantined(&gateway)[0]["verdict"], "infected");
    audited(&gateway, "upload.released", 1).await;
    assert_eq!(keep(&gateway, &upstream, b"as ever").await.len(), 36);
}

#[tokio::test]
async fn what_goes_on_to_the_product_is_never_unscanned() {
    let upstream = Upstream::start().await;
    let mut scanner = Clamd::start("").await;
    let table = "unscanned = \"quarantine\"";
    let gateway = builder(&upstream, &scanner.address(), table)
        .await
        .more(
            "\n[[route]]\npath = \"/on\"\nmethods = [\"POST\"]\nallow = \"public\"\nupload = {}\n",
        )
        .start()
        .await;
    scanner.kill();
    let answer = send(&gateway, "/on", b"text").await;
    assert_eq!(answer.problem(), "temporarily-unavailable");
    assert_eq!(upstream.requests(), 0);
    assert!(quarantined(&gateway).is_empty());
}
