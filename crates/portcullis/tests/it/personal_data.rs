//! The data map, and the rights of persons: what is held of them, its export and its erasure (P1, P2, P4).

use std::path::Path;
use std::process::Output;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Gateway, GatewayBuilder, Upstream, database, eventually_asked};

const ANA: &str = "ana.canary-4471@corp.test";
const BO: &str = "bo@corp.test";
const MAP: &str = "\n[[data]]\nfield = \"users.loyalty_card\"\nkind = \"personal\"\nlocation = \"PostgreSQL of the product\"\nseen-by = [\"admin\", \"manage:users\"]\nretention = \"until the account is erased\"\n";

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|part| part == needle.as_bytes())
}

/// What a gate wrote of a field that stands in a path, and of one in an act of the operator.
async fn written(more: &str) -> (String, String) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more(more)
        .start()
        .await;
    let answer = gateway
        .client()
        .get("/public/loyalty_card=plover77")
        .send()
        .await;
    let id = answer.header("x-request-id").unwrap().to_owned();
    gateway.wait_until_printed(&id).await;
    let title = "seen in a mail: loyalty_card=plover77";
    let opened = gateway.cli(&["incident", "open", "--title", title, "--severity", "low"]);
    assert!(opened.status.success(), "{}", said(&opened));
    let folder = gateway.config_path().parent().unwrap().to_owned();
    let trail = database::trail(&folder).await;
    assert!(trail.contains("incident.opened"), "{trail}");
    let rows = database::rows(&folder).await;
    (
        gateway.printed(),
        format!("{trail}\n{:?}", rows["incident"]),
    )
}

#[tokio::test]
async fn a_field_that_the_map_says_is_never_logged_is_redacted_and_only_for_that() {
    for (more, is_kept_out) in [
        (MAP.to_owned(), true),
        // The same field without its line, and with one that lets it be logged.
        (String::new(), false),
        (MAP.replace("retention", "logged = true\nretention"), false),
    ] {
        let (printed, stored) = written(&more).await;
        assert_eq!(
            !printed.contains("plover77"),
            is_kept_out,
            "{more}: {printed}"
        );
        assert_eq!(
            !stored.contains("plover77"),
            is_kept_out,
            "{more}: {stored}"
        );
    }
}

#[tokio::test]
async fn a_map_that_is_not_so_is_refused_by_its_key() {
    let upstream = Upstream::start().await;
    for (from, to, key) in [
        ("\"manage:users\"", "\"clerk\"", "data.0.seen-by.1"),
        ("users.loyalty_card", "users.id", "data.0.field"),
        ("retention =", "sealed = true\nretention =", "data.0.sealed"),
        (
            "\"until the account is erased\"",
            "\" \"",
            "data.0.retention",
        ),
        ("kind = \"personal\"", "kind = \"odd\"", "data.0"),
        ("location", "whereabouts", "data.0"),
    ] {
        let builder = Gateway::builder_usual(&upstream).await;
        let builder = builder.more(&MAP.replace(from, to));
        let output = builder.cli(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{to}: {}", said(&output));
        assert!(said(&output).contains(key), "{to}: {}", said(&output));
    }
    let builder = Gateway::builder_usual(&upstream).await.more(MAP);
    let output = builder.cli(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let map = parsed(&builder.cli(&["--output", "json", "privacy", "map"]));
    assert_eq!(map["product"][0]["field"], "users.loyalty_card");
    assert_eq!(map["product"][0]["logged"], false);
    let gate = map["gate"].as_array().unwrap();
    for (field, kind) in [
        ("users.email", "personal"),
        ("users.password_hash", "credential"),
        ("session.client_address", "personal"),
        ("refresh_token.token_hash", "credential"),
    ] {
        let found = gate.iter().find(|entry| entry["field"] == field).unwrap();
        assert_eq!(found["kind"], kind, "{found}");
    }
    let elsewhere = map["elsewhere"].to_string();
    for table in ["audit_event", "outbox", "stored_upload"] {
        assert!(elsewhere.contains(table), "{table}");
    }
    let text = said(&builder.cli(&["privacy", "map"]));
    assert!(
        text.contains("users.loyalty_card") && text.contains("never logged"),
        "{text}"
    );
}

/// A gate with somebody who left traces in many tables, and their id.
async fn with_traces(builder: GatewayBuilder) -> (Gateway, String) {
    let gateway = builder
        .user(ANA, &["user"])
        .user(BO, &["user"])
        .more("\n[vault]\n[tokens]\n[limits.auth]\nrate = \"1000/minute\"\n")
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    for (path, body) in [
        ("/.portcullis/auth/keys", json!({ "name": "ana's laptop" })),
        ("/.portcullis/auth/token", json!({})),
    ] {
        let answer = ana.post(path).json(&body).send().await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
    }
    // That session became tokens.
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/admin").send().await.status, 403);
    let wrong = json!({ "email": ANA, "password": "wrong-wrong-wrong-77" });
    let wrong = gateway
        .browser()
        .post("/.portcullis/auth/login")
        .json(&wrong)
        .send();
    assert_eq!(wrong.await.status, 401);
    gateway.signed_in(BO).await;
    let invite = [
        "tenants", "create", "acme", "--invite", ANA, "--role", "user",
    ];
    let invited = gateway.cli(&invite);
    assert!(invited.status.success(), "{}", said(&invited));
    let users = parsed(&gateway.cli(&["--output", "json", "users", "list"]));
    let ana = users
        .as_array()
        .unwrap()
        .iter()
        .find(|user| user["email"] == ANA);
    let id = ana.unwrap()["id"].as_str().unwrap().to_owned();
    (gateway, id)
}

fn folder(gateway: &Gateway) -> std::path::PathBuf {
    gateway.config_path().parent().unwrap().to_owned()
}

async fn count(folder: &Path, rest: &str) -> u64 {
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {rest}");
    database::text(folder, &sql).await.parse().unwrap()
}

#[tokio::test]
async fn an_export_has_what_is_held_but_no_secret_and_one_changed_byte_is_found() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream)
        .await
        .sealing_addresses(true);
    let (gateway, id) = with_traces(builder).await;
    let file = folder(&gateway).join("ana.jsonl");
    let name = file.to_str().unwrap();
    let exported = gateway.cli(&["privacy", "export", ANA, "--to", name]);
    assert!(exported.status.success(), "{}", said(&exported));
    let bytes = std::fs::read(&file).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["subject"], *id);
    let of = |table: &str| -> Vec<&Value> {
        let rows = lines.iter().filter(|line| line["table"] == table);
        rows.map(|line| &line["row"]).collect()
    };
    assert_eq!(of("users")[0]["email"], ANA, "what was sealed is opened");
    assert_eq!(of("invitation")[0]["email"], ANA);
    for table in [
        "session",
        "api_key",
        "token_family",
        "refresh_token",
        "login_backoff",
        "user_role",
    ] {
        assert!(!of(table).is_empty(), "no {table}: {text}");
    }
    let events = of("audit_event");
    let login = events
        .iter()
        .find(|event| event["action"] == "login.succeeded")
        .unwrap();
    assert_eq!(login["client_address"], "127.0.0.1", "{login}");
    assert!(!text.contains(BO) && !text.contains("argon2"), "{text}");
    for column in [
        "password_hash",
        "token_hash",
        "\"hash\"",
        "\"salt\"",
        "wrapped",
    ] {
        let rows = text
            .lines()
            .skip(1)
            .any(|line| line.contains(&format!("\"{}\":", column.trim_matches('"'))));
        assert!(!rows, "{column} is exported");
        assert!(
            text.lines()
                .next()
                .unwrap()
                .contains(column.trim_matches('"')),
            "{column} is not said to be withheld"
        );
    }
    let exported = parsed(&gateway.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "personal-data.exported",
    ]));
    assert_eq!(exported[0]["target"], format!("user:{id}"));

    // By whoever has the key and nothing else.
    let keys = said(&gateway.cli(&["privacy", "key"]));
    let nowhere = GatewayBuilder::empty();
    let sound = nowhere.run(&["privacy", "verify", name, "--key", keys.trim()]);
    assert_eq!(sound.status.code(), Some(0), "{}", said(&sound));
    for at in [1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 40] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        std::fs::write(&file, &other).unwrap();
        let refused = nowhere.run(&["privacy", "verify", name, "--key", keys.trim()]);
        assert_eq!(refused.status.code(), Some(1), "{at}: {}", said(&refused));
    }
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(
        gateway.cli(&["privacy", "verify", name]).status.code(),
        Some(0)
    );
    // It is not written over, and of nobody there is none.
    assert_eq!(
        gateway
            .cli(&["privacy", "export", ANA, "--to", name])
            .status
            .code(),
        Some(2)
    );
    let nobody = gateway.cli(&["privacy", "export", "nobody@corp.test", "--to", "n.jsonl"]);
    assert_eq!(nobody.status.code(), Some(2));
}

async fn call(gateway: &Gateway, key: &str, name: &str, item: &Value) -> Value {
    let request = gateway.client().post(&format!("/.portcullis/vault/{name}"));
    let request = request.header("authorization", &format!("Bearer {key}"));
    let answer = request.json(&json!({ "items": [item] })).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"][0].clone()
}

async fn seal(gateway: &Gateway, key: &str, subject: Value) -> String {
    let item = json!({ "table": "profiles", "field": "iban", "row": "7", "subject": subject, "value": "an iban" });
    let sealed = call(gateway, key, "seal", &item).await;
    sealed["sealed"].as_str().unwrap().to_owned()
}

async fn open(gateway: &Gateway, key: &str, sealed: &str) -> Value {
    let item = json!({ "table": "profiles", "field": "iban", "row": "7", "sealed": sealed });
    call(gateway, key, "open", &item).await
}

/// After the erasure nothing in the database is the person's, and the log still verifies.
async fn assert_erased(gateway: &Gateway, id: &str) {
    let folder = folder(gateway);
    for (name, rows) in database::rows(&folder).await {
        let rows = rows.join("\n");
        assert!(!rows.contains("canary-4471"), "{name}: {rows}");
    }
    for table in [
        "session",
        "api_key",
        "token_family",
        "user_role",
        "foreign_identity",
    ] {
        assert_eq!(
            count(
                &folder,
                &format!("{table} WHERE user_id NOT IN (SELECT id FROM users)")
            )
            .await,
            0
        );
    }
    assert_eq!(count(&folder, "users").await, 1, "the other one stays");
    let audit = format!("data_key WHERE subject LIKE '%{}%'", id.replace('-', ""));
    assert_eq!(count(&folder, &audit).await, 0);
    let verified = gateway.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
    let list = [
        "--output", "json", "audit", "list", "--actor", id, "--limit", "100",
    ];
    let events = parsed(&gateway.cli(&list));
    let events = events.as_array().unwrap();
    assert!(events.len() > 2, "the events stay");
    for event in events {
        assert_eq!(event["client_address"], Value::Null, "{event}");
    }
}

#[tokio::test]
async fn an_erased_person_is_found_nowhere_and_the_proofs_stay_whole() {
    let upstream = Upstream::start().await;
    let roles = "\n[roles.user]\npermissions = [\"read:own\"]\n[roles.admin]\n[roles.program]\npermissions = [\"seal:vault\", \"open:vault\"]\n";
    let builder = Gateway::builder_usual(&upstream).await.more(roles);
    let (gateway, id) = with_traces(builder).await;
    let (ana, bo) = (gateway.signed_in(ANA).await, gateway.signed_in(BO).await);
    let folder = folder(&gateway);
    assert!(contains(
        &database::everything(&folder).await,
        "canary-4471"
    ));
    // What the product sealed under the person's key, and under nobody's.
    let program = parsed(&gateway.cli(&[
        "--output",
        "json",
        "keys",
        "create",
        "--name",
        "app",
        "--permission",
        "seal:vault",
        "--permission",
        "open:vault",
    ]));
    let program = program["key"].as_str().unwrap().to_owned();
    let theirs = seal(&gateway, &program, json!(id)).await;
    let of_nobody = seal(&gateway, &program, Value::Null).await;
    assert_eq!(open(&gateway, &program, &theirs).await["value"], "an iban");
    let wrong = json!({ "email": ANA, "password": "wrong-wrong-wrong-77" });
    let wrong = gateway
        .browser()
        .post("/.portcullis/auth/login")
        .json(&wrong);
    assert_eq!(wrong.send().await.status, 401);
    assert_eq!(
        gateway.cli(&["privacy", "erase", ANA]).status.code(),
        Some(2)
    );
    let before = database::rows(&folder).await;
    let plan = parsed(&gateway.cli(&["--output", "json", "privacy", "erase", ANA, "--dry-run"]));
    assert_eq!(plan["rows"]["users"], 1, "{plan}");
    assert!(plan["events"].as_u64().unwrap() > 2, "{plan}");
    assert_eq!(database::rows(&folder).await["users"], before["users"]);

    let erased = gateway.cli(&["--output", "json", "privacy", "erase", ANA, "--yes"]);
    assert_eq!(erased.status.code(), Some(0), "{}", said(&erased));
    let erased = parsed(&erased);
    assert_eq!(erased["left"], json!([]));
    for table in [
        "users",
        "session",
        "api_key",
        "token_family",
        "invitation",
        "login_backoff",
    ] {
        assert!(
            erased["rows"][table].as_u64().is_some_and(|rows| rows > 0),
            "{table}: {erased}"
        );
    }
    assert!(!erased["keys"].as_array().unwrap().is_empty(), "{erased}");
    // Nobody is signed in any more, anywhere, and the other one still is.
    eventually_asked("the session has ended", async || {
        ana.get("/anything").send().await.status == 401
    })
    .await;
    assert_eq!(bo.get("/anything").send().await.status, 200);
    assert_erased(&gateway, &id).await;
    eventually_asked("every node has forgotten the key", async || {
        open(&gateway, &program, &theirs).await["error"] == "does-not-open"
    })
    .await;
    let other = open(&gateway, &program, &of_nobody).await;
    assert_eq!(other["value"], "an iban");
    // Not even in what was deleted, where the engine lets us say so.
    if erased["purged"] == true {
        assert!(!contains(
            &database::everything(&folder).await,
            "canary-4471"
        ));
    }
    // The certificate is in the log, under its digest, and names nobody.
    let list = [
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "personal-data.erased",
    ];
    let event = parsed(&gateway.cli(&list))[0].clone();
    assert_eq!(
        event["metadata"]["certificate"], erased["digest"],
        "{event}"
    );
    assert_eq!(
        event["metadata"]["keys_destroyed"],
        erased["keys"].as_array().unwrap().len()
    );
    assert_eq!(event["metadata"]["key_ids"], erased["keys"]);
    // Once more: the same certificate. By the address nobody is found.
    let again = parsed(&gateway.cli(&["--output", "json", "privacy", "erase", &id, "--yes"]));
    assert_eq!(again["digest"], erased["digest"]);
    assert_eq!(parsed(&gateway.cli(&list)).as_array().unwrap().len(), 1);
    assert_eq!(
        gateway
            .cli(&["privacy", "erase", ANA, "--yes"])
            .status
            .code(),
        Some(2)
    );
    // The address is free: whoever comes is somebody else.
    let create = ["--output", "json", "users", "create", "--email", ANA];
    assert_ne!(parsed(&gateway.cli(&create))["id"], *id);
}

#[tokio::test]
async fn an_erasure_that_was_killed_is_taken_up_by_the_gate() {
    let upstream = Upstream::start().await;
    let (gateway, id) = with_traces(Gateway::builder_usual(&upstream).await).await;
    let folder = folder(&gateway);
    // As a kill after the first step leaves it: begun, an account that is shut, and everything still there.
    assert!(gateway.cli(&["users", "deactivate", ANA]).status.success());
    let builder = gateway.end().await;
    database::execute(
        &folder,
        &format!("INSERT INTO erasure (subject, begun_at) VALUES ('{id}', 0)"),
    )
    .await;
    let gateway = builder.without_users().start().await;
    eventually_asked("the erasure is finished", async || {
        count(&folder, "erasure WHERE finished_at IS NOT NULL").await == 1
    })
    .await;
    assert_erased(&gateway, &id).await;
}

/// An event of a moment ago was being sealed while its person was erased: its key came too late to be destroyed.
#[tokio::test]
async fn a_key_that_comes_after_an_erasure_goes_as_well() {
    let upstream = Upstream::start().await;
    let (gateway, id) = with_traces(Gateway::builder_usual(&upstream).await).await;
    let folder = folder(&gateway);
    let erase = ["--output", "json", "privacy", "erase", &id, "--yes"];
    let erased = parsed(&gateway.cli(&erase));
    assert_eq!(erased["left"], json!([]));
    // They acted by themselves, and by an API key.
    let by = [&id, erased["api_keys"][0].as_str().unwrap()];
    let names = by.map(|actor| format!("audit:{}", actor.replace('-', "")));
    let come_late = async || {
        for name in &names {
            let add = |id: &str, wrapped: &str| {
                format!(
                    "INSERT INTO data_key (id, tenant, subject, purpose, version, wrapped, created_at) VALUES ({id}, '', '{name}', 'seal', 1, {wrapped}, 0)"
                )
            };
            let sqlite = add("randomblob(16)", "x'00'");
            let postgres = add("gen_random_uuid()", "'\\x00'::bytea");
            database::execute_either(&folder, &sqlite, &postgres).await;
        }
    };
    let [own, of_key] = &names;
    let late = format!("data_key WHERE subject IN ('{own}', '{of_key}')");
    // Whoever asks once more is told that nothing is left, and nothing is.
    come_late().await;
    assert_eq!(count(&folder, &late).await, 2);
    assert_eq!(parsed(&gateway.cli(&erase))["left"], json!([]));
    assert_eq!(count(&folder, &late).await, 0);
    // And where nobody asks, the gate looks after it.
    come_late().await;
    let _gateway = gateway.end().await.without_users().start().await;
    eventually_asked("the keys have gone", async || {
        count(&folder, &late).await == 0
    })
    .await;
}

#[tokio::test]
async fn the_admin_api_exports_and_erases_for_whoever_may_and_for_nobody_else() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream)
        .await
        .user("root@corp.test", &["admin", "user", "privacy-officer"])
        .user("eve@corp.test", &["admin"])
        .more("\n[roles.user]\npermissions = [\"read:own\"]\n[roles.admin]\npermissions = [\"manage:users\"]\n[roles.privacy-officer]\npermissions = [\"export:users\", \"erase:users\"]\n");
    let (gateway, id) = with_traces(builder).await;
    let path = format!("/.portcullis/admin/v1/users/{id}/personal-data");
    assert_eq!(gateway.client().get(&path).send().await.status, 401);
    for (email, status) in [("eve@corp.test", 403), (BO, 403), ("root@corp.test", 200)] {
        let browser = gateway.signed_in(email).await;
        let answer = browser.get(&path).send().await;
        assert_eq!(answer.status, status, "{email}: {}", answer.text());
        if status == 200 {
            assert!(answer.text().contains(ANA));
            continue;
        }
        let refused = browser.send(Method::DELETE, &path).send().await;
        assert_eq!(refused.status, status, "{email}");
    }
    let root = gateway.signed_in("root@corp.test").await;
    let erased = root.send(Method::DELETE, &path).send().await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(erased.json()["left"], json!([]), "{}", erased.text());
    assert_eq!(root.get(&path).send().await.status, 404);
}

#[tokio::test]
async fn whoever_signed_in_just_now_gets_what_is_held_of_themselves() {
    let upstream = Upstream::start().await;
    let (gateway, id) = with_traces(Gateway::builder_usual(&upstream).await).await;
    let path = "/.portcullis/auth/personal-data";
    assert_eq!(gateway.client().get(path).send().await.status, 401);
    let ana = gateway.signed_in(ANA).await;
    let answer = ana.get(path).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert!(text.contains(&id) && text.contains(ANA) && !text.contains(BO));
    let disposition = answer.header("content-disposition").unwrap();
    assert!(disposition.contains("attachment"), "{disposition}");
    // A session that is older than that has to prove again who it is.
    database::execute(
        &folder(&gateway),
        "UPDATE session SET authenticated_at = authenticated_at - 3600000000",
    )
    .await;
    let gateway = gateway.end().await.without_users().start().await;
    let mut old = gateway.browser();
    for name in ["session", "csrf_token"] {
        old.set_cookie(name, &ana.cookie(name).unwrap());
    }
    let _ = &mut old;
    let answer = old.get(path).send().await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.problem(), "reauthentication-required");
}

#[tokio::test]
async fn rows_of_what_is_over_go_when_their_time_has_come() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await.more(
        "\n[retention]\napi-keys = \"1d\"\ninvitations = \"2d\"\nswitched-off-accounts = \"3d\"\n",
    );
    let (gateway, _) = with_traces(builder).await;
    let folder = folder(&gateway);
    let day = 86_400_000_000_i64;
    assert!(gateway.cli(&["users", "deactivate", BO]).status.success());
    let builder = gateway.end().await;
    database::execute(
        &folder,
        &format!("UPDATE api_key SET expires_at = created_at - {}", day * 2),
    )
    .await;
    database::execute(
        &folder,
        &format!("UPDATE invitation SET expires_at = created_at - {day}"),
    )
    .await;
    database::execute(&folder, &format!("UPDATE users SET deactivated_at = deactivated_at - {} WHERE deactivated_at IS NOT NULL", day * 4)).await;
    let gateway = builder.without_users().start().await;
    eventually_asked("what is past its time is gone", async || {
        count(&folder, "api_key").await == 0 && count(&folder, "users").await == 1
    })
    .await;
    // A day past its end, of two: it stays.
    assert_eq!(count(&folder, "invitation").await, 1);
    let erased = gateway.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "personal-data.erased",
    ]);
    assert_eq!(parsed(&erased)[0]["actor"], "system");
    for (key, value) in [("anomalies", "1h"), ("switched-off-accounts", "3s")] {
        let builder = Gateway::builder_usual(&upstream).await;
        let output = builder
            .more(&format!("\n[retention]\n{key} = \"{value}\"\n"))
            .cli(&["check"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said(&output).contains(&format!("retention.{key}")),
            "{}",
            said(&output)
        );
    }
}
