//! Files that the gate keeps (U2): the product gets ids, what stands on the disk is of no use, and content
//! leaves by permit alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::journey::{read_form, receipt, sha256};
use super::{BOUNDARY, PDF, Part, audited, field, file, form};
use crate::support::{
    Answer, Browser, Gateway, GatewayBuilder, Received, RequestBuilder, Upstream, clamd, database,
    eventually, eventually_asked,
};
use crate::vault::{key, tenant};

/// A route that everybody may call, and one for people of a tenant.
pub(crate) const ROUTES: &str = r#"
[roles.user]
permissions = ["read:own"]

[roles.admin]
inherits = ["user"]
permissions = ["manage:users", "manage:keys", "manage:system", "manage:uploads"]

[roles.service]
permissions = ["open:uploads", "delete:uploads", "read:all"]

[[route]]
path = "/files"
methods = ["POST"]
allow = "public"
upload = { store = true, max-files = 3 }

[[route]]
path = "/ours"
methods = ["POST"]
allow = "user"
upload = { store = true }

[[route]]
path = "/{*rest}"
allow = "public"

[limits.default]
rate = "100000/minute"

[limits.uploads]
rate = "100000/minute"
"#;

pub(crate) const MAY: [&str; 2] = ["open:uploads", "delete:uploads"];

/// A gate that keeps files, with this beside its `[upload-store]`.
pub(crate) async fn builder(upstream: &Upstream, scanner: &str, store: &str) -> GatewayBuilder {
    let tables = format!(
        "{ROUTES}\n[uploads]\nscanner = \"{scanner}\"\nscan-timeout = \"2s\"\n\n[upload-store]\n{store}\n"
    );
    Gateway::builder(upstream, &tables)
        .await
        .user("root@corp.test", &["admin"])
        .user("ana@corp.test", &["user"])
        .user("eve@corp.test", &["user"])
}

async fn gateway(upstream: &Upstream) -> Gateway {
    let builder = builder(upstream, &clamd::shared(), "").await;
    builder.start().await
}

pub(crate) fn with_form(request: RequestBuilder, parts: &[Part]) -> RequestBuilder {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    request.header("content-type", &kind).body(form(parts))
}

/// Sends one file, and says under which id it is kept.
pub(crate) async fn keep(gateway: &Gateway, upstream: &Upstream, content: &[u8]) -> String {
    let request = gateway.client().post("/files");
    let answer = with_form(request, &[file("a.txt", "text/plain", content)]);
    let answer = answer.send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    id_of(&upstream.last())
}

/// The first description in a form.
pub(crate) fn told(received: &Received) -> Value {
    let form = read_form(received);
    let file = form
        .iter()
        .find(|(head, _)| head.contains("portcullis.upload+json"));
    serde_json::from_slice(&file.expect("a description").1).unwrap()
}

/// The id in it.
pub(crate) fn id_of(received: &Received) -> String {
    told(received)["upload"].as_str().unwrap().to_owned()
}

/// What a program gets.
pub(crate) async fn content(gateway: &Gateway, key: &str, id: &str) -> Answer {
    asked(gateway, key, Method::GET, &format!("{id}/content"))
        .send()
        .await
}

pub(crate) fn asked(gateway: &Gateway, key: &str, method: Method, what: &str) -> RequestBuilder {
    let bearer = format!("Bearer {key}");
    let target = format!("/.portcullis/uploads/{what}");
    let request = gateway.client().request(method, &target);
    request.header("authorization", &bearer)
}

pub(crate) async fn permit(gateway: &Gateway, key: &str, id: &str, body: &Value) -> Answer {
    asked(gateway, key, Method::POST, &format!("{id}/permits"))
        .json(body)
        .send()
        .await
}

/// Where a permit is used.
async fn path(gateway: &Gateway, key: &str, id: &str, body: &Value) -> String {
    let answer = permit(gateway, key, id, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()["path"].as_str().unwrap().to_owned()
}

/// Every file of the store.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

pub(crate) fn stored(gateway: &Gateway) -> Vec<PathBuf> {
    files(&gateway.folder.join("uploads"))
}

fn assert_not_there(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 404, "{what}: {}", answer.text());
    assert_eq!(answer.problem(), "not-found", "{what}");
}

#[tokio::test]
async fn the_product_gets_ids_in_place_of_bytes_and_reads_them_back() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let key = key(&gateway, &MAY, None);
    let parts = [
        field("title", "a title"),
        file("Diagnosis Ana.pdf", "application/pdf", PDF),
        file("b.txt", "text/plain", b"the second of them"),
    ];
    let answer = with_form(gateway.client().post("/files"), &parts)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    let length: usize = received.header("content-length").unwrap().parse().unwrap();
    assert_eq!(length, received.body.len());
    let form = read_form(&received);
    assert_eq!(form.len(), 3);
    assert_eq!(form[0].1, b"a title");
    assert_eq!(
        form[1].0,
        "Content-Disposition: form-data; name=\"file\"; filename=\"Diagnosis Ana.pdf\"\r\nContent-Type: application/vnd.portcullis.upload+json"
    );
    let told: Value = serde_json::from_slice(&form[1].1).unwrap();
    let id = told["upload"].as_str().unwrap();
    assert_eq!(
        told,
        json!({
            "upload": id, "name": "Diagnosis Ana.pdf", "type": "pdf", "media_type": "application/pdf",
            "size": PDF.len(), "sha256": sha256(PDF), "verdict": "clean",
        })
    );
    let second: Value = serde_json::from_slice(&form[2].1).unwrap();
    let claims = receipt(&gateway, &received).await;
    assert_eq!(claims["files"][0]["upload"], id);
    assert_eq!(claims["files"][1]["upload"], second["upload"]);
    assert_eq!(claims["verdict"], "clean");

    let answer = content(&gateway, &key, id).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(&answer.body[..], PDF);
    let second = second["upload"].as_str().unwrap();
    let answer = content(&gateway, &key, second).await;
    assert_eq!(&answer.body[..], b"the second of them");
    // One file as the whole body.
    let answer = gateway
        .client()
        .post("/files")
        .header("content-type", "application/pdf");
    let answer = answer.header("content-disposition", "attachment; filename=\"a.pdf\"");
    let answer = answer
        .header("digest", "sha-256=of-what-came")
        .body(PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    let kind = received.header("content-type");
    assert_eq!(kind, Some("application/vnd.portcullis.upload+json"));
    assert!(received.header("content-disposition").is_none());
    assert!(received.header("digest").is_none());
    let told: Value = serde_json::from_slice(&received.body).unwrap();
    let answer = content(&gateway, &key, told["upload"].as_str().unwrap()).await;
    assert_eq!(&answer.body[..], PDF);
    audited(&gateway, "upload.stored", 3).await;
    audited(&gateway, "upload.opened", 3).await;
}

#[tokio::test]
async fn nobody_can_send_what_looks_like_an_id_of_the_gates() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let forged = format!("{{\"upload\":\"{}\"}}", uuid::Uuid::now_v7());
    let kind = "application/vnd.portcullis.upload+json";
    for name in ["a.json", "a.pdf", "a.txt"] {
        let parts = [file(name, kind, forged.as_bytes())];
        let answer = with_form(gateway.client().post("/files"), &parts)
            .send()
            .await;
        assert_eq!(answer.status, 415, "{name}: {}", answer.text());
    }
    let parts = [super::part(
        "form-data; name=\"file\"",
        Some(kind),
        forged.as_bytes(),
    )];
    let answer = with_form(gateway.client().post("/files"), &parts)
        .send()
        .await;
    assert_eq!(answer.status, 415, "{}", answer.text());
    let raw = gateway.client().post("/files").header("content-type", kind);
    assert_eq!(raw.body(forged).send().await.status, 415);
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_stands_on_the_disk_and_in_the_database_is_of_no_use() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let planted = b"quartz canary of the patient 7f3a";
    let text = [&planted[..], &b" and more"[..]].concat();
    let parts = [file("Ana-Muster-Diagnosis.txt", "text/plain", &text)];
    let answer = with_form(gateway.client().post("/files"), &parts)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = id_of(&upstream.last());
    let all = stored(&gateway);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].ends_with(&id) && !all[0].to_string_lossy().contains("incoming"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&all[0]), 0o600);
    for folder in all[0].ancestors().skip(1).take(2) {
        assert_eq!(mode(folder), 0o700, "{folder:?}");
    }
    let mut seen = std::fs::read(&all[0]).unwrap();
    assert_eq!(seen.len(), text.len() + 16);
    seen.extend(database::everything(&gateway.folder).await);
    for secret in [&planted[..], b"Ana-Muster", b"Diagnosis"] {
        let hex = hex::encode(secret).into_bytes();
        for shape in [secret.to_vec(), hex] {
            let is_there = seen.windows(shape.len()).any(|part| part == shape);
            assert!(!is_there, "{}", String::from_utf8_lossy(&shape));
        }
    }
    // The same file again is another one.
    keep(&gateway, &upstream, &text).await;
    let both: Vec<Vec<u8>> = stored(&gateway)
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert_ne!(both[0], both[1]);
}

#[tokio::test]
async fn a_permit_serves_one_upload_with_headers_that_run_nothing() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let key = key(&gateway, &MAY, None);
    let large = "line of a text\n".repeat(20_000);
    let parts = [file("Größe (1).txt", "text/plain", large.as_bytes())];
    let answer = with_form(gateway.client().post("/files"), &parts)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = id_of(&upstream.last());
    let path = path(&gateway, &key, &id, &json!({})).await;
    // A part is not served: it would be handed out before the whole was looked at.
    let answer = gateway
        .client()
        .get(&path)
        .header("range", "bytes=0-9")
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(&answer.body[..], large.as_bytes());
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        (
            "content-disposition",
            "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%281%29%2Etxt",
        ),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("accept-ranges", "none"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(
        answer.header("content-length"),
        Some(&*large.len().to_string())
    );
    let printed = gateway.printed();
    let token = path.split_once("permit=").unwrap().1;
    assert!(!printed.contains(token), "a permit stands in the log");
    audited(&gateway, "upload.permitted", 1).await;
    let event = &audited(&gateway, "upload.opened", 1).await[0];
    assert_eq!(event["target"], format!("upload:{id}"));
}

/// A person of a tenant.
async fn member(gateway: &Gateway, slug: &str, email: &str) -> (Browser, String) {
    let join = ["tenants", "set-roles", slug, email, "user"];
    assert!(gateway.cli(&join).status.success());
    let browser = gateway.signed_in(email).await;
    let me = browser.get("/.portcullis/auth/me").send().await.json();
    (browser, me["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn what_is_wrong_with_a_permit_has_one_answer() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let acme = tenant(&gateway, "acme");
    tenant(&gateway, "globex");
    let (ana, ana_id) = member(&gateway, "acme", "ana@corp.test").await;
    let (eve, _) = member(&gateway, "globex", "eve@corp.test").await;
    let key = key(&gateway, &MAY, None);
    let sent = with_form(ana.post("/ours"), &[file("a.txt", "text/plain", b"of ana")]);
    let sent = sent.send().await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let received = upstream.last();
    let id = id_of(&received);
    let other = keep(&gateway, &upstream, b"of nobody").await;
    let for_ana = json!({ "tenant": acme, "subject": ana_id });
    let hers = path(&gateway, &key, &id, &for_ana).await;
    let everybodys = path(&gateway, &key, &id, &json!({ "tenant": acme })).await;
    let of_other = path(&gateway, &key, &other, &json!({})).await;
    let token = |path: &str| path.split_once("permit=").unwrap().1.to_owned();
    let with = |id: &str, permit: &str| format!("/.portcullis/uploads/{id}?permit={permit}");
    let mut changed = token(&hers);
    changed.replace_range(40..41, if &changed[40..41] == "A" { "B" } else { "A" });
    let receipt = received.header("x-portcullis-upload").unwrap();
    let assertion = received.header("x-portcullis-assertion");
    let bare = format!("/.portcullis/uploads/{id}");
    for (what, target) in [
        ("none", bare.clone()),
        ("an empty one", with(&id, "")),
        ("no token", with(&id, "abc")),
        ("of another upload", with(&id, &token(&of_other))),
        ("used for another upload", with(&other, &token(&everybodys))),
        ("changed", with(&id, &changed)),
        ("a receipt", with(&id, receipt)),
        ("an assertion", with(&id, assertion.unwrap_or("none"))),
        (
            "twice",
            format!("{everybodys}&permit={}", token(&everybodys)),
        ),
        (
            "of an upload that is not there",
            with(&uuid::Uuid::now_v7().to_string(), &token(&everybodys)),
        ),
        ("for ana, by nobody", hers.clone()),
    ] {
        assert_not_there(&gateway.client().get(&target).send().await, what);
    }
    // Somebody else's browser, and one of another tenant.
    assert_not_there(&eve.get(&hers).send().await, "for ana, by eve");
    assert_not_there(&eve.get(&everybodys).send().await, "by another tenant");
    for target in [&hers, &everybodys] {
        let answer = ana.get(target).send().await;
        assert_eq!(&answer.body[..], b"of ana", "{}", answer.status);
    }
    // It is over by itself, and no longer than five minutes are given.
    let soon = json!({ "tenant": acme, "lifetime": "1s" });
    let short = path(&gateway, &key, &id, &soon).await;
    eventually_asked("the permit is over", async || {
        let answer = gateway.client().get(&short).send().await;
        answer.status == 404
    })
    .await;
    let long = json!({ "tenant": acme, "lifetime": "6m" });
    assert_eq!(permit(&gateway, &key, &id, &long).await.status, 422);
    // And with the upload itself.
    let gone = asked(
        &gateway,
        &key,
        Method::DELETE,
        &format!("{id}?tenant={acme}"),
    );
    assert_eq!(gone.send().await.status, 204);
    assert_not_there(&ana.get(&hers).send().await, "of a deleted one");
    let files = stored(&gateway);
    assert!(files.iter().all(|path| !path.ends_with(&id)), "{files:?}");
    audited(&gateway, "upload.removed", 1).await;
}

#[tokio::test]
async fn programs_reach_uploads_with_the_scope_and_of_their_own_tenant_alone() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let (acme, globex) = (tenant(&gateway, "acme"), tenant(&gateway, "globex"));
    let (ana, _) = member(&gateway, "acme", "ana@corp.test").await;
    let sent = with_form(ana.post("/ours"), &[file("a.txt", "text/plain", b"of ana")]);
    assert_eq!(sent.send().await.status, 200);
    let id = id_of(&upstream.last());
    let none = keep(&gateway, &upstream, b"of no tenant").await;
    let all = key(&gateway, &MAY, None);
    let of_acme = key(&gateway, &MAY, Some(&acme));
    let of_globex = key(&gateway, &MAY, Some(&globex));
    let reader = key(&gateway, &["read:all"], None);
    let deleter = key(&gateway, &["delete:uploads"], None);
    let get = async |key: &str, what: &str| asked(&gateway, key, Method::GET, what).send().await;
    let one = format!("{id}/content");
    let in_acme = format!("{one}?tenant={acme}");
    assert_eq!(&get(&all, &in_acme).await.body[..], b"of ana");
    assert_eq!(&get(&of_acme, &one).await.body[..], b"of ana");
    assert_eq!(&get(&of_acme, &in_acme).await.body[..], b"of ana");
    assert_not_there(&get(&all, &one).await, "without the tenant");
    assert_not_there(
        &get(&all, &format!("{one}?tenant={globex}")).await,
        "of another",
    );
    assert_not_there(&get(&of_globex, &one).await, "with another tenant's key");
    assert_not_there(
        &get(&of_acme, &format!("{none}/content")).await,
        "of no tenant",
    );
    assert_eq!(get(&of_globex, &in_acme).await.problem(), "not-permitted");
    for (what, key) in [("read:all", &reader), ("delete:uploads", &deleter)] {
        assert_eq!(
            get(key, &in_acme).await.problem(),
            "not-permitted",
            "{what}"
        );
        let asked = permit(&gateway, key, &id, &json!({ "tenant": acme })).await;
        assert_eq!(asked.problem(), "not-permitted", "{what}");
    }
    for (what, key, body) in [
        ("another tenant's key", &of_globex, json!({})),
        ("another tenant", &all, json!({ "tenant": globex })),
        ("no tenant", &all, json!({})),
    ] {
        assert_not_there(&permit(&gateway, key, &id, &body).await, what);
    }
    let asked_for = permit(&gateway, &of_globex, &id, &json!({ "tenant": acme })).await;
    assert_eq!(asked_for.problem(), "not-permitted");
    let delete = asked(&gateway, &of_globex, Method::DELETE, &id)
        .send()
        .await;
    assert_not_there(&delete, "deleting with another tenant's key");
    // People are no programs, whatever they hold.
    let as_ana = ana
        .get(&format!("/.portcullis/uploads/{in_acme}"))
        .send()
        .await;
    assert_eq!(as_ana.status, 403, "{}", as_ana.text());
    let anonymous = gateway.client().get(&format!("/.portcullis/uploads/{one}"));
    assert_eq!(anonymous.send().await.status, 401);
    assert_eq!(&get(&of_acme, &one).await.body[..], b"of ana");
}

#[tokio::test]
async fn what_the_product_refuses_is_not_kept() {
    let upstream = Upstream::answering(|received| {
        let status: u16 = received.header("x-answer").unwrap().parse().unwrap();
        let answer = axum::http::Response::builder().status(status);
        answer.header("location", "/done").body("".into()).unwrap()
    })
    .await;
    let gateway = gateway(&upstream).await;
    let rows = async || {
        let sql = "SELECT CAST(count(*) AS TEXT) FROM stored_upload";
        database::text(&gateway.folder, sql).await
    };
    let mut kept = 0;
    for (status, is_taken) in [
        (200, true),
        (201, true),
        (303, true),
        (302, true),
        (307, false),
        (401, false),
        (422, false),
        (500, false),
    ] {
        let request = gateway
            .client()
            .post("/files")
            .header("x-answer", &status.to_string());
        let answer = with_form(request, &[file("a.txt", "text/plain", b"text")]);
        assert_eq!(answer.send().await.status, status);
        kept += usize::from(is_taken);
        assert_eq!(stored(&gateway).len(), kept, "{status}");
        assert_eq!(rows().await, kept.to_string(), "{status}");
    }
    let untaken = "SELECT CAST(count(*) AS TEXT) FROM stored_upload WHERE taken_at IS NULL";
    assert_eq!(database::text(&gateway.folder, untaken).await, "0");
}

#[tokio::test]
async fn what_a_crash_leaves_behind_is_put_in_order_by_the_rows() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let key = key(&gateway, &MAY, None);
    let kept = keep(&gateway, &upstream, b"kept").await;
    let untaken = keep(&gateway, &upstream, b"nobody took it").await;
    // Killed between row and place, between file and row, and long after the product was asked.
    let folder = gateway.folder.join("uploads");
    let builder = gateway.kill();
    let of = |id: &str| {
        files(&folder)
            .into_iter()
            .find(|path| path.ends_with(id))
            .unwrap()
    };
    let incoming = folder.join("incoming");
    let moved = incoming.join(&kept);
    std::fs::rename(of(&kept), &moved).unwrap();
    let orphan = incoming.join(uuid::Uuid::now_v7().to_string());
    let fresh = incoming.join(uuid::Uuid::now_v7().to_string());
    std::fs::write(&orphan, b"half of a file").unwrap();
    std::fs::write(&fresh, b"being written").unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    for path in [&moved, &orphan] {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let two_days = 2 * 86_400_i64 * 1_000_000;
    let older = format!(
        "UPDATE stored_upload SET taken_at = NULL, created_at = created_at - {two_days} WHERE size = 14"
    );
    database::execute(builder.folder(), &older).await;
    let gateway = builder.start().await;
    eventually("the store is in order", || {
        let names = files(&folder);
        !orphan.exists() && !moved.exists() && names.len() == 2 && fresh.exists()
    })
    .await;
    let answer = content(&gateway, &key, &kept).await;
    assert_eq!(&answer.body[..], b"kept", "{}", answer.status);
    assert_not_there(&content(&gateway, &key, &untaken).await, "what nobody took");
}

#[tokio::test]
async fn whoever_uses_an_upload_has_taken_it() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let key = key(&gateway, &MAY, None);
    for (size, body) in [(3, &b"one"[..]), (4, b"four")] {
        let id = keep(&gateway, &upstream, body).await;
        let untake = format!("UPDATE stored_upload SET taken_at = NULL WHERE size = {size}");
        database::execute(&gateway.folder, &untake).await;
        let answer = if size == 3 {
            content(&gateway, &key, &id).await
        } else {
            permit(&gateway, &key, &id, &json!({})).await
        };
        assert!(answer.status.is_success(), "{}", answer.text());
        let sql = format!(
            "SELECT CASE WHEN taken_at IS NULL THEN 'no' ELSE 'yes' END FROM stored_upload WHERE size = {size}"
        );
        assert_eq!(database::text(&gateway.folder, &sql).await, "yes");
    }
}

#[tokio::test]
async fn where_the_keys_of_a_person_are_destroyed_their_files_are_lost() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let acme = tenant(&gateway, "acme");
    let (ana, ana_id) = member(&gateway, "acme", "ana@corp.test").await;
    let sent = with_form(ana.post("/ours"), &[file("a.txt", "text/plain", b"of ana")]);
    assert_eq!(sent.send().await.status, 200);
    let id = id_of(&upstream.last());
    let key = key(&gateway, &MAY, Some(&acme));
    assert_eq!(content(&gateway, &key, &id).await.status, 200);
    let done = gateway.cli(&[
        "vault",
        "destroy",
        "--tenant",
        &acme,
        "--subject",
        &ana_id,
        "--yes",
    ]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    eventually_asked("the file is lost", async || {
        content(&gateway, &key, &id).await.status == 404
    })
    .await;
    // It can still be deleted.
    let gone = asked(&gateway, &key, Method::DELETE, &id).send().await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert!(stored(&gateway).is_empty());
}

#[tokio::test]
async fn a_route_that_stores_needs_a_store() {
    let upstream = Upstream::start().await;
    let tables = format!("{ROUTES}\n[uploads]\nscanner = \"none\"\n");
    let builder = Gateway::builder(&upstream, &tables).await;
    let told = builder.cli(&["check"]);
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(!told.status.success());
    assert!(
        said.contains("route.0.upload.store") && said.contains("[upload-store]"),
        "{said}"
    );
}
