//! The audit trail as a log that a third party can verify (A1, A7): proofs without the database, and every
//! kind of tampering with the database itself found and named.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::{Gateway, GatewayBuilder, PASSWORD, Upstream, database, eventually_asked};

const ADDRESS: &str = "203.0.113.78";

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A configuration whose log has a few signed events, and no gate that runs on it.
async fn log() -> GatewayBuilder {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    more_events(&builder, "a", 4);
    text(&builder.cli(&["audit", "checkpoint"]));
    builder
}

fn more_events(builder: &GatewayBuilder, name: &str, count: usize) {
    for number in 0..count {
        let email = format!("{name}{number}@corp.test");
        text(&builder.cli(&["users", "create", "--email", &email]));
    }
}

fn verify(builder: &GatewayBuilder, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["--output", "json", "audit", "verify"], more].concat();
    let output = builder.cli(&arguments);
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code(), report)
}

/// That it holds.
fn holds(builder: &GatewayBuilder) -> Value {
    let (code, report) = verify(builder, &[]);
    assert_eq!(code, Some(0), "{report}");
    report
}

/// That exactly these faults are found, and where.
fn finds(builder: &GatewayBuilder, more: &[&str], expected: &[(&str, Option<u64>)]) {
    let (code, report) = verify(builder, more);
    assert_eq!(code, Some(1), "{report}");
    let found: Vec<(&str, Option<u64>)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["fault"].as_str().unwrap(), finding["leaf"].as_u64()))
        .collect();
    assert_eq!(found, expected, "{report}");
}

/// What an owner of the database can do: the triggers are gone.
pub(crate) async fn without_triggers(folder: &Path) {
    for (name, postgres) in [
        ("update", "update"),
        ("delete", "delete"),
        ("replace", "truncate"),
    ] {
        let sqlite = format!("DROP TRIGGER audit_event_refuse_{name}");
        let postgres = format!("DROP TRIGGER audit_event_refuse_{postgres} ON audit_event");
        database::execute_either(folder, &sqlite, &postgres).await;
    }
}

#[tokio::test]
async fn a_changed_missing_moved_or_added_row_is_found_and_named() {
    let builder = log().await;
    let folder = builder.folder();
    assert!(holds(&builder)["held"].as_u64().unwrap() >= 4);
    let size = holds(&builder)["size"].as_u64().unwrap();
    without_triggers(folder).await;
    let sql = async |sql: &str| database::execute(folder, sql).await;

    sql("UPDATE audit_event SET outcome = 'denied' WHERE leaf = 2").await;
    finds(&builder, &[], &[("changed", Some(2))]);
    sql("UPDATE audit_event SET outcome = 'allowed' WHERE leaf = 2").await;
    sql("UPDATE audit_event SET at = at + 1 WHERE leaf = 1").await;
    finds(&builder, &[], &[("changed", Some(1))]);
    sql("UPDATE audit_event SET at = at - 1 WHERE leaf = 1").await;
    holds(&builder);

    sql("CREATE TABLE kept AS SELECT * FROM audit_event WHERE leaf = 2").await;
    sql("DELETE FROM audit_event WHERE leaf = 2").await;
    finds(&builder, &[], &[("missing", Some(2))]);
    sql("INSERT INTO audit_event SELECT * FROM kept").await;
    holds(&builder);

    sql("UPDATE audit_event SET leaf = -1 WHERE leaf = 2").await;
    sql("UPDATE audit_event SET leaf = 2 WHERE leaf = 3").await;
    sql("UPDATE audit_event SET leaf = 3 WHERE leaf = -1").await;
    finds(
        &builder,
        &[],
        &[("reordered", Some(2)), ("reordered", Some(3))],
    );
    sql("UPDATE audit_event SET leaf = -1 WHERE leaf = 2").await;
    sql("UPDATE audit_event SET leaf = 2 WHERE leaf = 3").await;
    sql("UPDATE audit_event SET leaf = 3 WHERE leaf = -1").await;
    holds(&builder);

    database::execute_either(
        folder,
        "UPDATE kept SET id = randomblob(16)",
        "UPDATE kept SET id = gen_random_uuid()",
    )
    .await;
    let place = format!("UPDATE kept SET leaf = {size}");
    sql(&place).await;
    sql("INSERT INTO audit_event SELECT * FROM kept").await;
    finds(&builder, &[], &[("inserted", Some(size))]);
    sql(&format!("DELETE FROM audit_event WHERE leaf = {size}")).await;
    holds(&builder);

    // The hashes that proofs are made of, and the signature.
    database::execute_either(
        folder,
        "UPDATE audit_tile SET hashes = zeroblob(length(hashes))",
        "UPDATE audit_tile SET hashes = decode(repeat('00', length(hashes)), 'hex')",
    )
    .await;
    let (code, report) = verify(&builder, &[]);
    assert_eq!((code, &report["findings"][0]["leaf"]), (Some(1), &0.into()));
    sql("UPDATE audit_log SET checkpoint = 'x'").await;
    let (code, report) = verify(&builder, &[]);
    let faults = report["findings"].as_array().unwrap();
    assert!(code == Some(1) && faults.iter().any(|finding| finding["fault"] == "head"));
}

#[tokio::test]
async fn nothing_is_signed_on_top_of_hashes_that_somebody_changed() {
    let builder = log().await;
    let doctor = || String::from_utf8(builder.cli(&["doctor"]).stdout).unwrap();
    let said = doctor();
    assert!(said.contains("the kept hashes lead to that head"), "{said}");
    database::execute_either(
        builder.folder(),
        "UPDATE audit_tile SET hashes = zeroblob(length(hashes))",
        "UPDATE audit_tile SET hashes = decode(repeat('00', length(hashes)), 'hex')",
    )
    .await;
    let said = doctor();
    assert!(
        said.contains("audit log: the log of the audit trail is damaged"),
        "{said}"
    );
    more_events(&builder, "b", 1);
    let output = builder.cli(&["audit", "checkpoint"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("damaged"),
        "{said}"
    );
}

#[tokio::test]
async fn an_older_copy_and_a_second_history_are_found_by_a_checkpoint_that_was_kept() {
    let builder = log().await;
    let folder = builder.folder().to_owned();
    let sql = async |sql: &str| database::execute(&folder, sql).await;
    for table in ["audit_event", "audit_log", "audit_tile"] {
        sql(&format!(
            "CREATE TABLE old_{table} AS SELECT * FROM {table}"
        ))
        .await;
    }
    more_events(&builder, "b", 3);
    let kept = text(&builder.cli(&["audit", "checkpoint"]));
    let file = folder.join("kept.txt");
    std::fs::write(&file, &kept).unwrap();
    let kept = ["--checkpoint", file.to_str().unwrap()];
    assert_eq!(verify(&builder, &kept).0, Some(0));

    without_triggers(&folder).await;
    for table in ["audit_event", "audit_log", "audit_tile"] {
        sql(&format!("DELETE FROM {table}")).await;
        sql(&format!("INSERT INTO {table} SELECT * FROM old_{table}")).await;
    }
    // By itself it is a good log. Whoever kept a checkpoint knows better.
    holds(&builder);
    finds(&builder, &kept, &[("rolled-back", None)]);
    more_events(&builder, "c", 6);
    text(&builder.cli(&["audit", "checkpoint"]));
    holds(&builder);
    finds(&builder, &kept, &[("forked", None)]);

    // Somebody else's checkpoint is none.
    std::fs::write(&file, kept_by_nobody()).unwrap();
    let arguments = ["audit", "verify", "--checkpoint", file.to_str().unwrap()];
    assert!(!builder.cli(&arguments).status.success());
}

fn kept_by_nobody() -> String {
    let root = "A".repeat(43);
    format!("portcullis.audit/x\n1\n{root}=\n\n\u{2014} portcullis.audit/x AAAAAAAA\n")
}

#[tokio::test]
async fn a_proof_verifies_without_the_database_and_one_that_was_changed_does_not() {
    let builder = log().await;
    let folder = builder.folder();
    let listed = text(&builder.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "user.created",
    ]));
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    let key = text(&builder.cli(&["audit", "key"]));
    let key = key.lines().next().unwrap();
    let file = folder.join("event.tlog-proof");
    let path = file.to_str().unwrap();
    text(&builder.cli(&["audit", "prove", id, "--to", path]));
    // Nothing of the gate is there: no configuration, no database.
    let offline = [
        "--config",
        "nowhere.toml",
        "audit",
        "verify",
        "--proof",
        path,
        "--key",
        key,
    ];
    let said = text(&builder.cli(&offline));
    assert!(said.contains(id) && said.contains("user.created"), "{said}");

    let proof = std::fs::read_to_string(&file).unwrap();
    for (number, line) in proof.lines().enumerate() {
        // Every line of it counts.
        let changed = line.replacen(|letter: char| letter.is_ascii_alphanumeric(), "7", 1);
        if changed == line {
            continue;
        }
        std::fs::write(&file, proof.replacen(line, &changed, 1)).unwrap();
        let output = builder.cli(&offline);
        assert!(!output.status.success(), "line {number}: {changed}");
    }
    // And so does the key.
    let other = log().await;
    let key = text(&other.cli(&["audit", "key"]));
    std::fs::write(&file, &proof).unwrap();
    let offline = ["audit", "verify", "--proof", path, "--key", key.trim()];
    assert_eq!(builder.cli(&offline).status.code(), Some(1));
}

#[tokio::test]
async fn an_export_has_what_was_asked_for_and_each_line_proves_itself() {
    let builder = log().await;
    let file = builder.folder().join("trail.jsonl");
    let path = file.to_str().unwrap();
    let created = ["audit", "export", "--action", "user.created", "--to", path];
    text(&builder.cli(&created));
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 4);
    let key = text(&builder.cli(&["audit", "key"]));
    let proof = builder.folder().join("line.tlog-proof");
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        std::fs::write(&proof, line["proof"].as_str().unwrap()).unwrap();
        let arguments = [
            "--output",
            "json",
            "audit",
            "verify",
            "--proof",
            proof.to_str().unwrap(),
            "--key",
            key.lines().next().unwrap(),
        ];
        let said: Value = serde_json::from_str(&text(&builder.cli(&arguments))).unwrap();
        assert_eq!(said["leaf"], line["leaf"]);
        let leaf: Value = serde_json::from_str(line["leaf"].as_str().unwrap()).unwrap();
        assert_eq!(leaf["id"], line["event"]["id"]);
        assert_eq!(line["event"]["action"], "user.created");
    }
    // An answer is never written over another.
    assert!(!builder.cli(&created).status.success());
    let count = |more: &[&str]| {
        let arguments = [&["audit", "export"], more].concat();
        text(&builder.cli(&arguments)).lines().count()
    };
    let all = count(&[]);
    assert!(all >= 4);
    assert_eq!(count(&["--outcome", "denied"]), 0);
    assert_eq!(count(&["--outcome", "allowed"]), all);
    assert_eq!(count(&["--until", "2020-01-01T00:00:00Z"]), 0);
    assert_eq!(count(&["--since", "2020-01-01T00:00:00Z"]), all);
    let nobody = "00000000-0000-4000-8000-000000000001";
    assert_eq!(count(&["--actor", nobody]), 0);
    assert_eq!(count(&["--tenant", nobody]), 0);
    let wrong = builder.cli(&["audit", "list", "--since", "yesterday"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn a_running_gate_signs_what_it_records_and_two_who_sign_at_once_make_one_log() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    for _ in 0..8 {
        let refused = gateway.browser().post("/.portcullis/auth/login");
        refused
            .json(&serde_json::json!({ "email": "ana@corp.test", "password": "wrong-1881-wrong" }))
            .send()
            .await;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| text(&gateway.cli(&["audit", "checkpoint"])));
            }
        });
    }
    eventually_asked("everything is in a signed head", async || {
        let output = gateway.cli(&["--output", "json", "audit", "verify"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{report}");
        report["waiting"] == 0 && report["held"].as_u64() >= Some(8)
    })
    .await;
    // Without anybody who asks for it.
    gateway.browser().get("/admin").send().await;
    eventually_asked("the gate signs by itself", async || {
        let waiting = "SELECT CAST(count(*) AS TEXT) FROM audit_event WHERE leaf IS NULL";
        let placed = "SELECT CAST(count(*) AS TEXT) FROM audit_event WHERE leaf IS NOT NULL";
        database::text(&gateway.folder, waiting).await == "0"
            && database::text(&gateway.folder, placed)
                .await
                .parse::<u64>()
                .unwrap()
                >= 8
    })
    .await;
}

#[tokio::test]
async fn an_erased_person_leaves_every_proof_whole() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            "[listen]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]",
        )
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let body = serde_json::json!({ "email": "ana@corp.test", "password": PASSWORD });
    let login = gateway.browser().post("/.portcullis/auth/login");
    let answer = login
        .header("x-forwarded-for", ADDRESS)
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let logins = || -> Value {
        let arguments = [
            "--output",
            "json",
            "audit",
            "list",
            "--action",
            "login.succeeded",
        ];
        serde_json::from_str(&text(&gateway.cli(&arguments))).unwrap()
    };
    let event = logins()[0].clone();
    let (id, ana) = (
        event["id"].as_str().unwrap(),
        event["actor_id"].as_str().unwrap(),
    );
    eventually_asked("the address is sealed", async || {
        let plain = "SELECT CAST(count(*) AS TEXT) FROM audit_event WHERE personal IS NOT NULL OR client_address IS NOT NULL";
        database::text(&gateway.folder, plain).await == "0"
    })
    .await;
    assert_eq!(logins()[0]["client_address"], ADDRESS);
    let prove = || text(&gateway.cli(&["audit", "prove", id]));
    let before = prove();
    assert!(!before.contains(ADDRESS));
    let erased = |report: &Value| report["erased"].as_u64().unwrap();
    let report = || -> Value {
        let output = gateway.cli(&["--output", "json", "audit", "verify"]);
        assert_eq!(output.status.code(), Some(0));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let already = erased(&report());

    assert_eq!(gateway.cli(&["audit", "erase", ana]).status.code(), Some(2));
    text(&gateway.cli(&["audit", "erase", ana, "--yes"]));
    let after = logins()[0].clone();
    assert_eq!(after["client_address"], Value::Null);
    assert_eq!(after["personal"], "erased", "{after}");
    assert!(erased(&report()) > already);
    let key = text(&gateway.cli(&["audit", "key"]));
    let file = gateway.folder.join("p");
    for proof in [before, prove()] {
        std::fs::write(&file, proof).unwrap();
        let key = key.lines().next().unwrap();
        let arguments = [
            "audit",
            "verify",
            "--proof",
            file.to_str().unwrap(),
            "--key",
            key,
        ];
        assert!(text(&gateway.cli(&arguments)).contains(id));
    }
    let told = text(&gateway.cli(&["audit", "list", "--action", "audit.erased"]));
    assert!(told.contains(ana), "{told}");
}

const API: &str = "/.portcullis/admin/v1";

#[tokio::test]
async fn a_tenant_reads_and_proves_its_own_events_and_no_others() {
    let upstream = Upstream::start().await;
    let builder = crate::secrets::builder(&upstream).await;
    let gateway = builder
        .replace("\"manage:secrets\"", "\"manage:secrets\", \"manage:audit\"")
        .start()
        .await;
    for slug in ["acme", "globex"] {
        text(&gateway.cli(&["tenants", "create", slug]));
    }
    for (slug, email) in [("acme", "ana@corp.test"), ("globex", "eve@corp.test")] {
        text(&gateway.cli(&["tenants", "set-roles", slug, email, "admin"]));
    }
    let (ana, eve) = (
        gateway.signed_in("ana@corp.test").await,
        gateway.signed_in("eve@corp.test").await,
    );
    let path = |slug: &str, rest: &str| format!("{API}/tenants/{slug}/audit/{rest}");
    let mine = ana.get(&path("acme", "events?limit=500")).send().await;
    assert_eq!(mine.status, 200, "{}", mine.text());
    let mine = mine.json();
    let mine = mine["events"].as_array().unwrap();
    assert!(
        mine.iter()
            .any(|event| event["action"] == "member.added" || event["action"] == "member.updated")
    );
    let tenants: std::collections::BTreeSet<&str> = mine
        .iter()
        .map(|event| event["tenant_id"].as_str().unwrap())
        .collect();
    assert_eq!(tenants.len(), 1, "{mine:?}");
    let id = mine[0]["id"].as_str().unwrap();
    let proof = path("acme", &format!("events/{id}/proof"));
    eventually_asked("the event is in a signed head", async || {
        ana.get(&proof).send().await.status == 200
    })
    .await;
    let told = ana.get(&proof).send().await.text();
    let key = text(&gateway.cli(&["audit", "key"]));
    let file = gateway.folder.join("p");
    std::fs::write(&file, told).unwrap();
    let arguments = [
        "audit",
        "verify",
        "--proof",
        file.to_str().unwrap(),
        "--key",
        key.trim(),
    ];
    assert!(text(&gateway.cli(&arguments)).contains(id));

    // Nobody else's: by another tenant's path, under one's own, and everywhere.
    let strange = path("globex", &format!("events/{id}/proof"));
    assert_eq!(eve.get(&strange).send().await.status, 404);
    for (who, path) in [
        (&eve, proof.clone()),
        (&eve, path("acme", "events")),
        (&eve, path("acme", "checkpoint")),
        (&eve, format!("{API}/audit/events")),
        (&eve, format!("{API}/audit/events/{id}/proof")),
        (&eve, format!("{API}/audit/consistency?old=1")),
        (&eve, format!("{API}/audit/checkpoint")),
    ] {
        let answer = who.get(&path).send().await;
        assert!(
            [403, 404].contains(&answer.status.as_u16()),
            "{path}: {}",
            answer.text()
        );
        assert_eq!(
            gateway.client().get(&path).send().await.status,
            401,
            "{path}"
        );
    }
    let checkpoint = eve.get(&path("globex", "checkpoint")).send().await;
    assert!(checkpoint.text().starts_with("portcullis.audit/"));

    let root = gateway.signed_in(crate::secrets::ROOT).await;
    let denied = root
        .get(&format!(
            "{API}/audit/events?action=tenant.created&outcome=allowed"
        ))
        .send()
        .await;
    assert_eq!(denied.json()["events"].as_array().unwrap().len(), 2);
    let grown = root
        .get(&format!("{API}/audit/consistency?old=1"))
        .send()
        .await
        .json();
    assert!(!grown["proof"].as_array().unwrap().is_empty());
    for odd in [
        "events?action=x",
        "events?since=x",
        "events?limit=0",
        "consistency?old=x",
        "consistency?old=99999999",
    ] {
        let answer = root.get(&format!("{API}/audit/{odd}")).send().await;
        assert_eq!(answer.status, 422, "{odd}: {}", answer.text());
    }
}
