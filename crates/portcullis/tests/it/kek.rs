//! The key above all data keys, in an OpenBao server and in what moto plays of AWS KMS: it seals and
//! opens, binds each data key to its owner, and is replaced while the gate runs (E5).

use serde_json::{Value, json};

use crate::support::kms::{Bao, Kms};
use crate::support::sockets::Certificate;
use crate::support::{Gateway, GatewayBuilder, Upstream, database, eventually_asked, signal};
use crate::vault::{EMAIL, builder, call, key, opened, place, sealed, tenant, with};

const MAY: [&str; 2] = ["seal:vault", "open:vault"];

fn status(gateway: &Gateway) -> Vec<Value> {
    let told = gateway.cli(&["--output", "json", "vault", "status"]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{said}");
    serde_json::from_slice(&told.stdout).unwrap()
}

async fn opens(gateway: &Gateway, key: &str, row: &str, sealed: &str) {
    let answer = opened(gateway, key, row, sealed).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
}

// The line to a service runs beside what the command line waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_openbao_a_field_opens_and_the_keys_version_is_told_and_renewed() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let gateway = bao.under(builder(&upstream).await, "").await.start().await;
    let both = key(&gateway, &MAY, None);
    let sealed = sealed(&gateway, &both, "42").await;
    opens(&gateway, &both, "42", &sealed).await;
    let told = status(&gateway);
    assert_eq!(told[0]["kek"], "transit", "{told:?}");
    assert_eq!(told[0]["kek_version"], 1);
    // What is stored is the server's own text, and no key.
    let stored = database::everything(&gateway.folder).await;
    let stored = String::from_utf8_lossy(&stored);
    let hex = hex::encode("vault:v1:");
    assert!(stored.contains("vault:v1:") || stored.contains(&hex));
    let rotate = format!("{}/keys/portcullis/rotate", bao.mount);
    bao.ask(&rotate, &json!({})).await;
    let done = gateway.cli(&["--output", "json", "vault", "rewrap", "--all"]);
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    // The audit trail may have made a key of its own by now.
    assert_eq!((&done["failed"], &done["left"]), (&json!(0), &json!(0)));
    assert!(done["rewrapped"].as_u64() >= Some(1), "{done}");
    assert_eq!(status(&gateway)[0]["kek_version"], 2);
    let gateway = gateway.end().await.start().await;
    opens(&gateway, &both, "42", &sealed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transit_key_that_was_deleted_seals_the_vault_and_is_named_in_the_log() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let gateway = bao.under(builder(&upstream).await, "").await.start().await;
    let both = key(&gateway, &MAY, None);
    let sealed = sealed(&gateway, &both, "42").await;
    let ended = gateway.end().await;
    bao.delete_key().await;
    let gateway = ended.start().await;
    let answer = opened(&gateway, &both, "42", &sealed).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    // The trial that asks whether it is back cannot make a new one either.
    eventually_asked("its opening says which key", async || {
        opened(&gateway, &both, "42", &sealed).await.status == 503
            && gateway.printed().contains("there is no key `portcullis`")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_openbao_the_gate_signs_in_with_a_role_and_takes_a_new_token_from_its_file() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let (role_id, secret_id) = bao.role().await;
    let table = bao.table("[kek]").replace(
        "token = { file = \"bao-token\" }",
        &format!("role-id = \"{role_id}\"\nsecret-id = {{ file = \"bao-secret-id\" }}"),
    );
    let by_role = builder(&upstream).await.file("bao-secret-id", &secret_id);
    let gateway = by_role.more(&table).start().await;
    let both = key(&gateway, &MAY, None);
    let by_role = sealed(&gateway, &both, "42").await;
    opens(&gateway, &both, "42", &by_role).await;
    // The same with a token: one that was taken away, and then another in its place.
    let token = bao.token().await;
    let revoke = json!({ "token": token });
    bao.ask("auth/token/revoke", &revoke).await;
    let table_now = bao.table("[kek]");
    let gateway = gateway.end().await.replace(&table, &table_now);
    let gateway = gateway.file("bao-token", &token).start().await;
    assert_eq!(opened(&gateway, &both, "42", &by_role).await.status, 503);
    std::fs::write(gateway.folder.join("bao-token"), bao.token().await).unwrap();
    eventually_asked("the new token is taken", async || {
        opened(&gateway, &both, "42", &by_role).await.status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_openbao_with_a_certificate_of_its_own_is_believed_by_that_alone() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let certificate = Certificate::new("localhost");
    let (acceptor, there) = (certificate.server(&["http/1.1"]), bao.relay.address);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut there = tokio::net::TcpStream::connect(there).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    });
    let ca = "ca = \"bao-ca.pem\"\n";
    let gateway = bao
        .under(builder(&upstream).await, ca)
        .await
        .replace(
            &format!("http://{there}"),
            &format!("https://localhost:{port}"),
        )
        .file("bao-ca.pem", &certificate.cert)
        .start()
        .await;
    let both = key(&gateway, &MAY, None);
    let sealed = sealed(&gateway, &both, "42").await;
    opens(&gateway, &both, "42", &sealed).await;
    let gateway = gateway.end().await.replace(ca, "").start().await;
    assert_eq!(opened(&gateway, &both, "42", &sealed).await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_aws_kms_a_field_opens_also_with_the_credentials_of_a_container() {
    let upstream = Upstream::start().await;
    let kms = Kms::start().await;
    let gateway = kms.under(builder(&upstream).await, "").start().await;
    let both = key(&gateway, &MAY, None);
    let sealed = sealed(&gateway, &both, "42").await;
    opens(&gateway, &both, "42", &sealed).await;
    assert_eq!(status(&gateway)[0]["kek"], "aws-kms");
    let host = Upstream::answering(|request| {
        assert_eq!(request.header("authorization"), Some("of the pod"));
        let handed = json!({
            "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "test", "Token": "of a session",
            "Expiration": "2099-01-01T00:00:00Z",
        });
        axum::http::Response::new(axum::body::Body::from(handed.to_string()))
    })
    .await;
    let gateway = gateway
        .end()
        .await
        .replace("credentials-file = \"aws-credentials\"\n", "")
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &host.url())
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of the pod")
        .start()
        .await;
    opens(&gateway, &both, "42", &sealed).await;
    assert!(host.requests() > 0);
}

/// Somebody who can write to the database gives one tenant's data key to another.
async fn moved_data_key_opens_nothing(gateway: &Gateway) {
    let (acme, globex) = (tenant(gateway, "acme"), tenant(gateway, "globex"));
    let ours = key(gateway, &MAY, Some(&acme));
    let theirs = key(gateway, &MAY, Some(&globex));
    let text = sealed(gateway, &ours, "42").await;
    let sql = format!("UPDATE data_key SET tenant = '{globex}' WHERE tenant = '{acme}'");
    database::execute(&gateway.folder, &sql).await;
    // A node that has no key in memory.
    let twin = gateway.twin().await;
    for stranger in [&theirs, &ours] {
        let answer = opened(&twin, stranger, "42", &text).await;
        assert!(!answer.text().contains(EMAIL), "{}", answer.text());
        let is_refused =
            answer.status == 500 || answer.json()["items"][0]["error"] == "does-not-open";
        assert!(is_refused, "{} {}", answer.status, answer.text());
    }
    // Values are bound to their tenant by themselves: that its KEK refuses the key shows where the
    // other tenant would seal under it.
    let item = with(place("43"), "value", EMAIL);
    let answer = call(&twin, &theirs, "seal", &json!({ "items": [item] })).await;
    assert_eq!(answer.status, 500, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openbao_refuses_a_data_key_in_another_context() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let gateway = bao.under(builder(&upstream).await, "").await.start().await;
    moved_data_key_opens_nothing(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aws_kms_refuses_a_data_key_in_another_context() {
    let upstream = Upstream::start().await;
    let kms = Kms::start().await;
    let gateway = kms.under(builder(&upstream).await, "").start().await;
    moved_data_key_opens_nothing(&gateway).await;
}

async fn all_under(gateway: &Gateway, kek: &str) {
    eventually_asked(&format!("every data key is under {kek}"), async || {
        let keys = status(gateway);
        !keys.is_empty()
            && keys
                .iter()
                .all(|key| key["kek"] == kek && key["is_under_current_kek"] == true)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_keys_move_from_one_kek_to_the_next_while_fields_open_all_the_way() {
    let upstream = Upstream::start().await;
    let (bao, kms) = (Bao::start().await, Kms::start().await);
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &MAY, None);
    let first = sealed(&gateway, &both, "42").await;
    all_under(&gateway, "master").await;
    let gateway = bao.under(gateway.end().await, "").await.start().await;
    opens(&gateway, &both, "42", &first).await;
    all_under(&gateway, "transit").await;
    let second = sealed(&gateway, &both, "43").await;
    // The old KEK is named until nothing is left under it.
    let (was, is) = (bao.table("[kek]"), kms.table("[kek]"));
    let previous = bao.table("[[previous-kek]]");
    let ended = Kms::credentials(gateway.end().await);
    let gateway = ended
        .replace(&was, &format!("{is}{previous}"))
        .start()
        .await;
    opens(&gateway, &both, "42", &first).await;
    all_under(&gateway, "aws-kms").await;
    let gateway = gateway.end().await.replace(&previous, "").start().await;
    opens(&gateway, &both, "43", &second).await;
    // And home again.
    let previous = kms.table("[[previous-kek]]");
    let gateway = gateway.end().await.replace(&is, &previous).start().await;
    all_under(&gateway, "master").await;
    let mut gateway = gateway.end().await.replace(&previous, "").start().await;
    for (row, sealed) in [("42", &first), ("43", &second)] {
        opens(&gateway, &both, row, sealed).await;
    }
    // A KEK of its own, of which the master secret knows nothing.
    let own = "\n[kek]\nkind = \"secret\"\nsecret = { file = \"kek\" }\n";
    let secret = "a secret of the vault alone, 0123456789";
    gateway = gateway
        .end()
        .await
        .file("kek", secret)
        .more(own)
        .start()
        .await;
    all_under(&gateway, "secret").await;
    opens(&gateway, &both, "42", &first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_in_the_middle_loses_nothing_and_goes_on() {
    const SUBJECTS: usize = 150;
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &MAY, None);
    let items: Vec<Value> = (0..SUBJECTS)
        .map(|number| {
            let item = with(place(&number.to_string()), "value", EMAIL);
            with(item, "subject", &format!("subject-{number}"))
        })
        .collect();
    let answer = call(&gateway, &both, "seal", &json!({ "items": items })).await;
    let values: Vec<String> = answer.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["sealed"].as_str().unwrap().to_owned())
        .collect();
    let builder: GatewayBuilder = bao.under(gateway.end().await, "").await;
    builder.write();
    let counted = || {
        let told = builder.run(&["--output", "json", "vault", "status"]);
        let keys: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
        // Not those that the audit trail makes for itself.
        let of_ours = |key: &&Value| {
            let subject = key["subject"].as_str();
            subject.is_some_and(|subject| subject.starts_with("subject-"))
        };
        keys.iter()
            .filter(of_ours)
            .filter(|key| key["is_under_current_kek"] == true)
            .count()
    };
    let mut was = 0;
    for _ in 0..3 {
        let mut moving = builder.spawn(&["vault", "rewrap"]);
        eventually_asked("some more are moved", async || counted() > was).await;
        signal(moving.id(), "KILL");
        moving.wait().unwrap();
        was = counted();
    }
    assert!(was > 0, "nothing was moved: the loop showed nothing");
    let done = builder.run(&["--output", "json", "vault", "rewrap"]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&told["failed"], &told["left"]), (&json!(0), &json!(0)));
    assert_eq!(counted(), SUBJECTS);
    // The master secret is needed no more for any of them.
    let gateway = builder.start().await;
    let items: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(number, sealed)| with(place(&number.to_string()), "sealed", sealed))
        .collect();
    let answer = call(&gateway, &both, "open", &json!({ "items": items })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for item in answer.json()["items"].as_array().unwrap() {
        assert_eq!(item["value"], EMAIL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn destroyed_keys_are_forgotten_by_every_node_and_written_down() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &MAY, None);
    let of_ana = with(with(place("42"), "value", EMAIL), "subject", "ana");
    let answer = call(&gateway, &both, "seal", &json!({ "items": [of_ana] })).await;
    let anas = answer.json()["items"][0]["sealed"]
        .as_str()
        .unwrap()
        .to_owned();
    let others = sealed(&gateway, &both, "43").await;
    let twin = gateway.twin().await;
    for node in [&gateway, &twin] {
        opens(node, &both, "42", &anas).await;
    }
    // Not by accident.
    for arguments in [
        &["vault", "destroy", "--yes"][..],
        &["vault", "destroy", "--subject", "ana"],
    ] {
        assert_eq!(gateway.cli(arguments).status.code(), Some(2));
    }
    opens(&gateway, &both, "42", &anas).await;
    let done = gateway.cli(&[
        "--output",
        "json",
        "vault",
        "destroy",
        "--subject",
        "ana",
        "--yes",
    ]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told, json!({ "destroyed": 1 }));
    for node in [&gateway, &twin] {
        eventually_asked("the key is forgotten", async || {
            let answer = opened(node, &both, "42", &anas).await;
            answer.json()["items"][0]["error"] == "does-not-open"
        })
        .await;
        opens(node, &both, "43", &others).await;
    }
    // Whose they were is a personal part of the record: sealed, and told to whoever may read the trail.
    let action = "data-keys.destroyed";
    let told = gateway.cli(&["--output", "json", "audit", "list", "--action", action]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told[0]["metadata"]["subject"], "ana", "{told}");
    let trail = database::trail(&gateway.folder).await;
    assert!(trail.contains(action) && !trail.contains("ana"), "{trail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_down_is_not_destroyed() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &MAY, None);
    let text = sealed(&gateway, &both, "42").await;
    let acme = tenant(&gateway, "acme");
    let ours = key(&gateway, &MAY, Some(&acme));
    let theirs = sealed(&gateway, &ours, "42").await;
    let away = "ALTER TABLE audit_event RENAME TO audit_event_away";
    database::execute(&gateway.folder, away).await;
    let done = gateway.cli(&["vault", "destroy", "--tenant", &acme, "--yes"]);
    assert!(!done.status.success());
    let back = "ALTER TABLE audit_event_away RENAME TO audit_event";
    database::execute(&gateway.folder, back).await;
    for (key, text) in [(&both, &text), (&ours, &theirs)] {
        eventually_asked("it opens", async || {
            opened(&gateway, key, "42", text).await.status == 200
        })
        .await;
        opens(&gateway, key, "42", text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_wraps_and_unwraps_and_check_names_what_is_wrong() {
    let upstream = Upstream::start().await;
    let bao = Bao::start().await;
    let gateway = bao.under(builder(&upstream).await, "").await.start().await;
    let trial = |gateway: &Gateway| {
        let told = gateway.cli(&["--output", "json", "doctor"]);
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let trials = told["trials"].as_array().unwrap().clone();
        trials
            .into_iter()
            .find(|trial| trial["what"] == "KEK `transit`")
            .expect("it was tried")
    };
    assert_eq!(trial(&gateway)["ok"], true, "{}", trial(&gateway));
    std::fs::write(gateway.folder.join("bao-token"), "of somebody else").unwrap();
    let failed = trial(&gateway);
    assert_eq!(failed["ok"], false, "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("[kek]"));
    let wrong = "\n[[previous-kek]]\nkind = \"transit\"\naddress = \"ftp://x\"\nregion = \"x\"\n";
    let ended = gateway.end().await.more(wrong);
    ended.write();
    let checked = ended.run(&["--output", "json", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    for key in ["address", "key", "token"] {
        assert!(
            checked.contains(&format!("previous-kek.0.{key}")),
            "{checked}"
        );
    }
}
