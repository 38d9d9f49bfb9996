//! Uploads with the scanner away, hung, or something else; with no room; with the product away. Nothing that
//! was not read to its end by a scanner is forwarded.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::tracer::Tracer;
use super::{Dice, assert_unavailable, in_time, metric, rounds, until};
use crate::support::clamd::{Clamd, Says, impostor};
use crate::support::kms::Bao;
use crate::support::{Answer, Client, Gateway, Received, Upstream, clamd, eventually};
use crate::uploads::journey::sha256;
use crate::uploads::{PDF, builder, file, post_form, post_raw, stored};

async fn upload(gateway: &Gateway) -> Answer {
    let request = post_form(
        &gateway.client(),
        "/upload",
        &[file("a.pdf", "application/pdf", PDF)],
    );
    in_time("an upload", request.send()).await
}

#[tokio::test]
async fn a_scanner_that_is_stopped_or_hangs_lets_nothing_through() {
    let mut scanner = Clamd::start("").await;
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &scanner.address()).await.start().await;
    assert_eq!(upload(&gateway).await.status, 200);

    scanner.freeze();
    assert_unavailable(&upload(&gateway).await);
    assert_unavailable(
        &in_time(
            "a file",
            post_raw(&gateway.client(), None, "application/pdf", PDF).send(),
        )
        .await,
    );
    scanner.thaw();
    until("uploads are taken again", || async {
        upload(&gateway).await.status == 200
    })
    .await;
    let seen = upstream.requests();

    scanner.kill();
    assert_unavailable(&upload(&gateway).await);
    let series = "portcullis_dependency_up{dependency=\"scanner\"}";
    assert_eq!(metric(&gateway, series).await, Some(0.0));
    assert_eq!(upstream.requests(), seen);
    // What needs no scanner goes on, and what is wrong is told without one.
    assert_eq!(gateway.client().get("/elsewhere").send().await.status, 200);
    let wrong = file("a.exe", "application/pdf", PDF);
    let answer = post_form(&gateway.client(), "/upload", &[wrong])
        .send()
        .await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn what_is_no_scanner_lets_nothing_through() {
    const VERSION: &[u8] = b"ClamAV 1.4.3/27500/Mon Nov 24 09:01:02 2026\0";
    let upstream = Upstream::start().await;
    let noise: &'static [u8] = Vec::leak(vec![b'x'; 100_000]);
    let clean: &[u8] = b"stream: OK\0";
    for (version, says) in [
        (VERSION, Says::Nothing),
        (VERSION, Says::AtTheEnd(b"stream: OK \0")),
        (VERSION, Says::AtTheEnd(b"stream: okay\0")),
        (VERSION, Says::AtTheEnd(b"stream: OK")),
        (
            VERSION,
            Says::AtTheEnd(b"HTTP/1.1 200 OK\r\n\r\nstream: OK\0"),
        ),
        (VERSION, Says::AtTheEnd(b"\0")),
        (VERSION, Says::AtTheEnd(noise)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n\0", Says::AtTheEnd(clean)),
        (noise, Says::AtTheEnd(clean)),
        (b"", Says::AtTheEnd(clean)),
    ] {
        let scanner = impostor(version, says).await;
        let gateway = builder(&upstream, &scanner).await.start().await;
        assert_unavailable(&upload(&gateway).await);
    }
    // Clean, before it has read to the end.
    let scanner = impostor(VERSION, Says::AtOnce(clean)).await;
    let gateway = builder(&upstream, &scanner).await.start().await;
    let large = vec![b'a'; 9 * 1024 * 1024];
    let request = post_raw(&gateway.client(), None, "text/plain", &large);
    assert_unavailable(&in_time("a large file", request.send()).await);
    assert_eq!(upstream.requests(), 0);
    // The same with the right words is believed: it is they that were missing.
    let scanner = impostor(VERSION, Says::AtTheEnd(clean)).await;
    let gateway = builder(&upstream, &scanner).await.start().await;
    assert_eq!(upload(&gateway).await.status, 200);
}

#[tokio::test]
async fn what_the_scanner_does_not_read_to_its_end_is_not_clean() {
    let upstream = Upstream::start().await;
    let large = vec![b'a'; 3 * 1024 * 1024];
    // Its limit on what is sent to it, and its limit on what it looks into.
    for limit in ["StreamMaxLength 1M", "MaxFileSize 1M"] {
        let scanner = Clamd::start(limit).await;
        let gateway = builder(&upstream, &scanner.address()).await.start().await;
        let request = post_raw(&gateway.client(), None, "text/plain", &large);
        let answer = in_time("a large file", request.send()).await;
        // It may break off before its last word is heard.
        let is_refused = (answer.status == 422 && answer.problem() == "upload-not-scannable")
            || (limit.starts_with("Stream") && answer.status == 503);
        assert!(is_refused, "{limit}: {}", answer.text());
        assert_eq!(upload(&gateway).await.status, 200, "{limit}");
    }
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_full_quarantine_refuses_and_recovers() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared()).await.start().await;
    assert_eq!(upload(&gateway).await.status, 200);
    let tracer = Tracer::failing(&gateway, "openat", "ENOSPC");
    let answer = upload(&gateway).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (507, "quarantine-full")
    );
    tracer.detach();
    until("uploads are taken again", || async {
        upload(&gateway).await.status == 200
    })
    .await;
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn a_product_that_is_away_leaves_nothing_in_quarantine() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = Upstream::at(free.local_addr().unwrap());
    drop(free);
    let gateway = builder(&upstream, &clamd::shared()).await.start().await;
    let answer = upload(&gateway).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (502, "upstream-unreachable")
    );
    eventually("nothing is held", || crate::uploads::held(&gateway) == 0).await;
}

#[tokio::test]
async fn the_doctor_asks_the_scanner() {
    let upstream = Upstream::start().await;
    let mut scanner = Clamd::start("").await;
    let gateway = builder(&upstream, &scanner.address()).await.start().await;
    let (ok, detail) = doctors_trial(&gateway, "scanner");
    assert!(ok && detail.starts_with("ClamAV "), "{detail}");
    scanner.kill();
    let (ok, detail) = doctors_trial(&gateway, "scanner");
    assert!(!ok && detail.contains("uploads.scanner"), "{detail}");
}

/// What `doctor` says of one thing: whether it is well, and how it is.
fn doctors_trial(gateway: &Gateway, what: &str) -> (bool, String) {
    let output = gateway.cli(&["--output", "json", "doctor"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let trials = told["trials"].as_array().unwrap();
    let trial = trials.iter().find(|trial| trial["what"] == what).unwrap();
    let detail = trial["detail"].as_str().unwrap();
    (trial["ok"].as_bool().unwrap(), detail.to_owned())
}

fn assert_folder(gateway: &Gateway, is_well: bool, says: &str) {
    let (ok, detail) = doctors_trial(gateway, "uploads");
    assert!(ok == is_well && detail.contains(says), "{detail}");
}

async fn keep(gateway: &Gateway) -> Answer {
    let parts = [file("a.pdf", "application/pdf", PDF)];
    let request = stored::with_form(gateway.client().post("/files"), &parts);
    in_time("an upload to keep", request.send()).await
}

#[tokio::test]
async fn a_store_without_room_or_open_to_others_keeps_nothing_and_forwards_nothing() {
    let upstream = Upstream::start().await;
    let scanner = clamd::shared();
    let gateway = stored::builder(&upstream, &scanner, "").await.start().await;
    assert_folder(&gateway, true, "not there yet");
    assert_eq!(keep(&gateway).await.status, 200);
    assert_folder(&gateway, true, "the gate's alone");
    let folder = gateway.folder.join("uploads");
    let mode = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    mode(0o755).unwrap();
    assert_unavailable(&keep(&gateway).await);
    assert_folder(&gateway, false, "upload-store.folder");
    mode(0o700).unwrap();
    assert_eq!(keep(&gateway).await.status, 200);
    // What is on its way to the disk finds no room there.
    let tracer = Tracer::failing(&gateway, "fsync", "ENOSPC");
    let answer = keep(&gateway).await;
    tracer.detach();
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (507, "quarantine-full")
    );
    eventually("nothing is left of it", || {
        stored::stored(&gateway).len() == 2
    })
    .await;
    assert_eq!(keep(&gateway).await.status, 200);
    std::fs::rename(&folder, gateway.folder.join("elsewhere")).unwrap();
    std::fs::write(&folder, b"no folder").unwrap();
    assert_folder(&gateway, false, "upload-store.folder");
    assert_unavailable(&keep(&gateway).await);
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_kek_nothing_is_kept_and_nothing_is_served() {
    let upstream = Upstream::start().await;
    let mut bao = Bao::start().await;
    let builder = stored::builder(&upstream, &clamd::shared(), "").await;
    let builder = bao.under(builder, "timeout = \"1s\"\n").await;
    let gateway = builder.start().await;
    let key = crate::vault::key(&gateway, &stored::MAY, None);
    let id = stored::keep(&gateway, &upstream, b"kept").await;
    let builder = gateway.end().await;
    bao.relay.stop().await;
    let gateway = builder.start().await;
    assert_unavailable(&keep(&gateway).await);
    let answer = in_time("content", stored::content(&gateway, &key, &id)).await;
    assert_unavailable(&answer);
    assert_eq!(upstream.requests(), 1);
    assert_eq!(stored::stored(&gateway).len(), 1);
    bao.relay.start_again().await;
    until("it is served again", || async {
        stored::content(&gateway, &key, &id).await.status == 200
    })
    .await;
    assert_eq!(keep(&gateway).await.status, 200);
}

/// Keeps files one after the other until the gate is gone. The digests of those that were acknowledged.
async fn keep_on(address: SocketAddr, mut dice: Dice, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        // Of one chunk and of several, and no two alike.
        let mut content = format!("{:016x} ", dice.roll()).into_bytes();
        content.resize(17 + usize::try_from(dice.below(1 << 20)).unwrap(), b'.');
        let request = Client::to(address).post("/files");
        let request = stored::with_form(request, &[file("a.txt", "text/plain", &content)]);
        match request.try_send().await {
            None => return acknowledged,
            Some(answer) if answer.status == 200 => {
                acknowledged.push(sha256(&content));
                count.fetch_add(1, Ordering::SeqCst);
            }
            // Its time to end has come.
            Some(_) => {}
        }
    }
}

/// `kill -9` while files come in: what was acknowledged is there whole, and nothing is served that is
/// not what the product was told.
#[tokio::test]
async fn a_kill_in_the_middle_of_files_loses_none_that_was_acknowledged() {
    let upstream = Upstream::start().await;
    let mut builder = stored::builder(&upstream, &clamd::shared(), "").await;
    let mut dice = Dice::seeded();
    let mut acknowledged = BTreeSet::new();
    let mut key = None;
    for _ in 0..rounds("PORTCULLIS_KILL_ROUNDS", 4) {
        let gateway = builder.start().await;
        key.get_or_insert_with(|| crate::vault::key(&gateway, &stored::MAY, None));
        let count = Arc::new(AtomicUsize::new(0));
        let senders = [(); 3].map(|()| {
            let (dice, count) = (Dice(dice.roll()), Arc::clone(&count));
            tokio::spawn(keep_on(gateway.address, dice, count))
        });
        eventually("some are kept", || count.load(Ordering::SeqCst) >= 4).await;
        tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
        builder = gateway.kill();
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
    }
    let gateway = builder.start().await;
    let mut served = BTreeSet::new();
    // What the kill cut short on its way to the product is no request.
    let is_whole = |received: &Received| {
        let length = received.header("content-length").map(str::parse);
        length == Some(Ok(received.body.len()))
    };
    for received in upstream.received().into_iter().filter(is_whole) {
        let told = stored::told(&received);
        let id = told["upload"].as_str().unwrap();
        let answer = stored::content(&gateway, key.as_ref().unwrap(), id).await;
        match answer.status.as_u16() {
            200 => {
                assert_eq!(told["sha256"], sha256(&answer.body), "{told}");
                served.insert(sha256(&answer.body));
            }
            // Its answer never came back, so nobody took it.
            status => assert_eq!(status, 404, "{told}"),
        }
    }
    let lost: Vec<_> = acknowledged.difference(&served).collect();
    assert_eq!(lost, [] as [&String; 0]);
}
