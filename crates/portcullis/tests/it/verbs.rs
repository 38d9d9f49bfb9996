//! The other verbs of the command line: `doctor`, `explain`, `routes`, `users`, `audit`.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::sockets::Certificate;
use crate::support::{Gateway, GatewayBuilder, PASSWORD, Upstream};

const ID: &str = "0191d3a0-0000-7000-8000-000000000007";
const OTHER: &str = "0191d3a0-0000-7000-8000-000000000008";

const ROUTES: &str = r#"
[[route]]
path = "/public"
allow = "public"

[[route]]
path = "/closed"
allow = "closed"

[[route]]
path = "/reports/{id}"
allow = { permission = "delete:reported" }
limits = ["auth"]

[[route]]
path = "/users/{user_id}"
allow = { action = "read", owner = "user_id" }

[[route]]
path = "/{*rest}"
methods = ["GET", "POST"]
allow = "user"
"#;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", out(output), err(output)))
}

/// Wrong usage: exit code 2, and a message that names what to change.
fn refused(output: &Output, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(2), "{}", err(output));
    for part in parts {
        assert!(err(output).contains(part), "{part}: {}", err(output));
    }
}

#[tokio::test]
async fn explain_tells_the_decision_its_reason_and_its_line() {
    let upstream = Upstream::start().await;
    let gate = Gateway::builder(&upstream, ROUTES).await;
    gate.write();
    let file = std::fs::read_to_string(gate.folder().join("portcullis.toml")).unwrap();
    for (arguments, allowed, problem, route) in [
        (vec!["GET", "/public"], true, None, "/public"),
        (
            vec!["GET", "/closed", "--as", "admin"],
            false,
            Some("route-closed"),
            "/closed",
        ),
        (
            vec!["GET", "/any/thing"],
            false,
            Some("authentication-required"),
            "/{*rest}",
        ),
        (
            vec!["GET", "/any/thing?x=1", "--as", "user"],
            true,
            None,
            "/{*rest}",
        ),
        (
            vec!["DELETE", "/reports/1", "--as", "user"],
            false,
            Some("not-permitted"),
            "/reports/{id}",
        ),
        (
            vec!["DELETE", "/reports/1", "--as", "moderator"],
            true,
            None,
            "/reports/{id}",
        ),
        (
            vec!["DELETE", "/reports/1", "--as", "premium,moderator"],
            true,
            None,
            "/reports/{id}",
        ),
        (
            vec!["DELETE", "/reports/1", "--as", "admin"],
            true,
            None,
            "/reports/{id}",
        ),
        (
            vec!["GET", const_path(ID), "--as", "user", "--user-id", ID],
            true,
            None,
            "/users/{user_id}",
        ),
        (
            vec!["GET", const_path(OTHER), "--as", "user", "--user-id", ID],
            false,
            Some("not-found"),
            "/users/{user_id}",
        ),
        (
            vec![
                "GET",
                const_path(OTHER),
                "--as",
                "moderator",
                "--user-id",
                ID,
            ],
            true,
            None,
            "/users/{user_id}",
        ),
    ] {
        let mut all = vec!["--output", "json", "explain"];
        all.extend(&arguments);
        let output = gate.cli(&all);
        let told = json_of(&output);
        assert_eq!(output.status.code(), Some(i32::from(!allowed)), "{told:#}");
        assert_eq!(told["allowed"], allowed, "{told:#}");
        assert_eq!(told["problem"].as_str(), problem, "{told:#}");
        assert!(!told["reason"].as_str().unwrap().is_empty());
        let line = usize::try_from(told["line"].as_u64().unwrap()).unwrap();
        assert_eq!(file.lines().nth(line - 1), Some("[[route]]"), "{told:#}");
        assert_eq!(
            file.lines().nth(line),
            Some(format!("path = \"{route}\"").as_str()),
            "{told:#}"
        );
    }
    let text = out(&gate.cli(&["explain", "delete", "/reports/1", "--as", "user"]));
    for part in [
        "DELETE /reports/1 as user: refused",
        "because",
        "403 not-permitted",
        "(line ",
        "limits    auth",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn explain_tells_what_no_route_names_and_refuses_what_has_no_meaning() {
    let upstream = Upstream::start().await;
    let gate = Gateway::builder(&upstream, ROUTES).await;
    assert_eq!(
        json_of(&gate.cli(&["--output", "json", "explain", "PUT", "/x", "--as", "admin"]))["problem"],
        "method-not-allowed"
    );
    assert_eq!(
        json_of(&gate.cli(&["--output", "json", "explain", "GET", "/a/%2e%2e/b"]))["problem"],
        "ambiguous-path"
    );
    refused(
        &gate.cli(&["explain", "GET", "/x", "--as", "amdin"]),
        &["no role `amdin`", "admin, moderator, premium, user"],
    );
    refused(
        &gate.cli(&["explain", "GET", "x"]),
        &["`x` is no path", "begins with `/`"],
    );
    refused(
        &gate.cli(&["explain", "G T", "/x"]),
        &["`G T` is no method"],
    );
    refused(
        &gate.cli(&["explain", "GET", "/x", "--user-id", "7"]),
        &["--user-id"],
    );
}

fn const_path(id: &str) -> &'static str {
    if id == ID {
        "/users/0191d3a0-0000-7000-8000-000000000007"
    } else {
        "/users/0191d3a0-0000-7000-8000-000000000008"
    }
}

#[tokio::test]
async fn routes_are_listed_with_their_decisions() {
    let upstream = Upstream::start().await;
    let gate = Gateway::builder(&upstream, ROUTES).await;
    let rows = json_of(&gate.cli(&["--output", "json", "routes", "list"]));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[1]["allow"], "\"closed\"");
    assert!(
        rows.iter()
            .all(|row| row["line"].is_u64() && row["upstream"] == "app")
    );
    let text = out(&gate.cli(&["routes", "list"]));
    assert!(
        text.contains("/reports/{id}") && text.contains("delete:reported"),
        "{text}"
    );
}

#[test]
fn a_diff_that_opens_something_ends_with_one() {
    let gate = GatewayBuilder::empty();
    let document = |paths: &Value| {
        json!({ "openapi": "3.0.3", "info": { "title": "t", "version": "1" }, "components": { "securitySchemes": { "s": { "type": "http", "scheme": "bearer" } } }, "paths": paths }).to_string()
    };
    let secured = json!({ "get": { "security": [{ "s": [] }], "responses": {} } });
    let open = json!({ "get": { "responses": {} } });
    for (name, paths) in [
        ("old.json", json!({ "/a": secured, "/gone": secured })),
        ("same.json", json!({ "/gone": secured, "/a": secured })),
        ("tight.json", json!({ "/a": secured, "/b": secured })),
        ("open.json", json!({ "/a": open, "/gone": secured })),
        (
            "new-open.json",
            json!({ "/a": secured, "/gone": secured, "/c": open }),
        ),
    ] {
        std::fs::write(gate.folder().join(name), document(&paths)).unwrap();
    }
    std::fs::write(gate.folder().join("broken.json"), "{").unwrap();
    for (new, code, parts) in [
        ("same.json", 0, vec!["Nothing changed."]),
        (
            "tight.json",
            0,
            vec!["New:\n  GET /b", "Gone:\n  GET /gone"],
        ),
        ("open.json", 1, vec!["Became public:\n  GET /a"]),
        ("new-open.json", 1, vec!["New and public:\n  GET /c"]),
    ] {
        let output = gate.run(&["routes", "diff", "old.json", new]);
        assert_eq!(output.status.code(), Some(code), "{new}: {}", out(&output));
        for part in parts {
            assert!(out(&output).contains(part), "{part}: {}", out(&output));
        }
    }
    let told = json_of(&gate.run(&[
        "--output",
        "json",
        "routes",
        "diff",
        "old.json",
        "open.json",
    ]));
    assert_eq!(told["became-public"], json!(["GET /a"]));
    refused(
        &gate.run(&["routes", "diff", "old.json", "nowhere.json"]),
        &["`nowhere.json` cannot be read"],
    );
    refused(
        &gate.run(&["routes", "diff", "broken.json", "old.json"]),
        &["`broken.json`"],
    );
}

#[test]
fn init_says_what_it_cannot_take_and_writes_nothing() {
    let gate = GatewayBuilder::empty();
    std::fs::write(gate.folder().join("api.yaml"), "openapi: 3.0.0\n").unwrap();
    for (arguments, part) in [
        (
            &["--upstream", "127.0.0.1:8000"][..],
            "http://127.0.0.1:8000",
        ),
        (&["--upstream", "localhost:8000"], "http://127.0.0.1:8000"),
        (
            &["--upstream", "http://127.0.0.1:8000/api"],
            "more than scheme, host and port",
        ),
        (&["--upstream", "http://a:hunter2@b"], "no credentials"),
        (
            &["--upstream", "http://b", "--openapi", "nowhere.json"],
            "nowhere.json",
        ),
        (
            &["--upstream", "http://b", "--openapi", "api.yaml"],
            "as JSON",
        ),
        (
            &["--upstream", "http://b", "--preset", "nothing"],
            "session-app",
        ),
        (&["--openapi", "api.yaml"], "--upstream"),
    ] {
        let mut all = vec!["init"];
        all.extend(arguments);
        let output = gate.run(&all);
        refused(&output, &[part]);
        assert!(!err(&output).contains("hunter2"), "{}", err(&output));
    }
    assert!(!gate.folder().join("portcullis.toml").exists());
    let elsewhere = gate.run(&[
        "--config",
        "gate.toml",
        "init",
        "--upstream",
        "http://127.0.0.1:8000",
    ]);
    assert!(elsewhere.status.success() && gate.folder().join("gate.toml").exists());
    refused(
        &gate.run(&[
            "--config",
            "gate.toml",
            "init",
            "--upstream",
            "http://127.0.0.1:9000",
        ]),
        &["gate.toml", "--force"],
    );
}

#[tokio::test]
async fn doctor_says_what_answers_and_what_does_not() {
    let upstream = Upstream::start().await;
    let well = Gateway::builder(&upstream, ROUTES).await;
    let output = well.cli(&["doctor"]);
    let told = out(&output);
    assert_eq!(output.status.code(), Some(0), "{told}{}", err(&output));
    for part in [
        "ok    configuration",
        "ok    upstream `app`",
        "ok    database",
        "ok    clock",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        !well.folder().join("portcullis.db").exists(),
        "it only looks"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = taken.local_addr().unwrap();
    drop(taken);
    let ill = Gateway::builder(&upstream, ROUTES)
        .await
        .replace(&upstream.url(), &format!("http://{free}"))
        .file("database", "postgres://nobody@127.0.0.1:1/none")
        .replace(
            "[state]\n",
            "[hosts]\nallow = [\"no-such-host.invalid\"]\n\n[state]\n",
        );
    let output = ill.cli(&["--output", "json", "doctor"]);
    assert_eq!(output.status.code(), Some(1));
    let diagnosis = json_of(&output);
    let failed: Vec<&str> = diagnosis["trials"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|trial| trial["ok"] == false)
        .map(|trial| trial["what"].as_str().unwrap())
        .collect();
    assert_eq!(
        failed,
        [
            format!("upstream `app` (http://{free})").as_str(),
            "database",
            "name `no-such-host.invalid`"
        ]
    );
    for part in ["upstream.app.url", "state.database", "hosts.allow"] {
        assert!(out(&output).contains(part), "{part}: {}", out(&output));
    }
    assert!(!out(&output).contains("nobody@"), "{}", out(&output));
    let wrong = ill.replace("[hosts]", "[hostz]");
    let told = out(&wrong.cli(&["doctor"]));
    assert!(
        told.contains("FAIL  configuration: has errors; `portcullis check`"),
        "{told}"
    );
}

/// What `doctor` says of a certificate with this validity (years) for this name: `ok`, `warn` or `FAIL`
/// of its validity, and the names that it does not cover.
async fn seen_by_doctor(name: &str, years: [i32; 2]) -> (String, Vec<String>) {
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    [parameters.not_before, parameters.not_after] =
        years.map(|year| rcgen::date_time_ymd(year, 6, 1));
    certificate_seen(parameters, "gate.test").await
}

async fn certificate_seen(
    parameters: rcgen::CertificateParams,
    host: &str,
) -> (String, Vec<String>) {
    let upstream = Upstream::start().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let made = Certificate {
        cert: parameters.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    };
    let gate = Gateway::builder(&upstream, ROUTES).await.over_tls(&made);
    let gate = gate.replace("allow = [\"gate.test\"]", &format!("allow = [\"{host}\"]"));
    let told = out(&gate.cli(&["doctor"]));
    assert!(
        told.contains("ok    certificate: certificate and key"),
        "{told}"
    );
    let line = |what: &str| {
        let found = told
            .lines()
            .filter(|line| line.get(6..).is_some_and(|rest| rest.starts_with(what)));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let validity = line("validity of the certificate: `");
    assert_eq!(validity.len(), 1, "{told}");
    assert!(validity[0].contains("cert.pem"), "{told}");
    (validity[0].clone(), line("certificate for `"))
}

#[tokio::test]
async fn doctor_tells_when_a_certificate_ends_and_whom_it_is_for() {
    let (good, strangers) = seen_by_doctor("gate.test", [2020, 4000]).await;
    assert!(good.starts_with("ok    "), "{good}");
    assert!(good.contains("valid until 4000-06-01T00:00:00Z"), "{good}");
    assert_eq!(strangers, Vec::<String>::new());
    let (past, _) = seen_by_doctor("gate.test", [2020, 2021]).await;
    assert!(past.starts_with("FAIL  "), "{past}");
    assert!(past.contains("expired at 2021-06-01T00:00:00Z"), "{past}");
    let (future, _) = seen_by_doctor("gate.test", [3999, 4000]).await;
    assert!(future.starts_with("FAIL  "), "{future}");
    assert!(future.contains("not valid before 3999-06-01"), "{future}");
    let (_, strangers) = seen_by_doctor("other.test", [2020, 4000]).await;
    assert_eq!(strangers.len(), 1);
    assert!(strangers[0].starts_with("warn  certificate for `gate.test`"));
    let of_a_wildcard = rcgen::CertificateParams::new(["*.corp.test".to_owned()]).unwrap();
    let (_, strangers) = certificate_seen(of_a_wildcard, "*.corp.test").await;
    assert_eq!(strangers, Vec::<String>::new());
}

#[tokio::test]
async fn doctor_warns_three_weeks_before_a_certificate_ends() {
    for (days, word) in [(20, "warn  "), (25, "ok    ")] {
        let mut parameters = rcgen::CertificateParams::new(["gate.test".to_owned()]).unwrap();
        let left = std::time::Duration::from_hours(24 * days);
        parameters.not_after = (std::time::SystemTime::now() + left).into();
        let (validity, _) = certificate_seen(parameters, "gate.test").await;
        assert!(validity.starts_with(word), "{days}: {validity}");
    }
}

#[tokio::test]
async fn accounts_are_made_changed_and_switched_off_from_the_command_line() {
    let upstream = Upstream::start().await;
    let running = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = running.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/admin").send().await.problem(), "not-permitted");

    // Roles act on the next request, as soon as the gate has heard.
    assert!(
        running
            .cli(&["users", "set-roles", "ana@corp.test", "admin"])
            .status
            .success()
    );
    eventually(async || ana.get("/admin").send().await.status == 200).await;

    // A new password: printed once, the old one and its sessions are gone.
    let output = running.cli(&["--output", "json", "users", "set-password", "Ana@Corp.test"]);
    assert!(output.status.success(), "{}", err(&output));
    let password = json_of(&output)["password"].as_str().unwrap().to_owned();
    eventually(async || ana.get("/anything").send().await.status == 401).await;
    let sign_in = async |password: &str| {
        let body = json!({ "email": "ana@corp.test", "password": password });
        running
            .browser()
            .post("/.portcullis/auth/login")
            .json(&body)
            .send()
            .await
            .status
            .as_u16()
    };
    assert_eq!(sign_in(PASSWORD).await, 401);
    assert_eq!(sign_in(&password).await, 200);

    let id = json_of(&running.cli(&["--output", "json", "users", "list"]))[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = out(&running.cli(&["users", "list"]));
    assert!(
        text.contains(&id) && text.contains("active") && text.contains("[admin]"),
        "{text}"
    );
    assert!(running.cli(&["users", "deactivate", &id]).status.success());
    assert_eq!(sign_in(&password).await, 401);

    // What was done is in the trail, and so is that it failed.
    let trail = json_of(&running.cli(&["--output", "json", "audit", "list", "--limit", "100"]));
    let actions: Vec<&str> = trail
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    for action in [
        "user.created",
        "user.updated",
        "password.changed",
        "login.succeeded",
        "login.failed",
        "user.deactivated",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    assert!(!trail.to_string().contains(&password));
    let failed = out(&running.cli(&["audit", "list", "--action", "login.failed"]));
    assert!(
        failed.lines().count() >= 1 && failed.lines().all(|line| line.contains("login.failed")),
        "{failed}"
    );
}

#[tokio::test]
async fn wrong_input_about_accounts_names_what_to_change() {
    let upstream = Upstream::start().await;
    let gate = Gateway::builder_usual(&upstream).await;
    refused(
        &gate.cli(&[
            "users",
            "create",
            "--email",
            "a@corp.test",
            "--role",
            "amdin",
        ]),
        &["no role `amdin`", "admin, moderator, premium, user"],
    );
    refused(
        &gate.cli_with_input(
            &[
                "users",
                "create",
                "--email",
                "a@corp.test",
                "--password-stdin",
            ],
            "\n",
        ),
        &["no password came"],
    );
    let weak = gate.cli_with_input(
        &[
            "users",
            "create",
            "--email",
            "a@corp.test",
            "--password-stdin",
        ],
        "short\n",
    );
    assert_eq!(weak.status.code(), Some(1));
    assert!(
        err(&weak).contains("a@corp.test") && err(&weak).contains("15"),
        "{}",
        err(&weak)
    );
    assert!(!err(&weak).contains("short\n"));
    let odd = gate.cli(&["users", "create", "--email", "not an address"]);
    assert_eq!(odd.status.code(), Some(1));
    assert!(err(&odd).contains("e-mail address"), "{}", err(&odd));
    for verb in ["set-roles", "set-password", "deactivate"] {
        refused(
            &gate.cli(&["users", verb, "nobody@corp.test"]),
            &["no account `nobody@corp.test`", "users list"],
        );
        refused(&gate.cli(&["users", verb, ID]), &["no account"]);
        refused(
            &gate.cli(&["users", verb, "bob"]),
            &["neither an e-mail address nor the id"],
        );
    }
    refused(
        &gate.cli(&["audit", "list", "--action", "login.faild"]),
        &["no action `login.faild`", "login.failed"],
    );
    let twice = [
        "users",
        "create",
        "--email",
        "a@corp.test",
        "--password-stdin",
    ];
    assert!(gate.cli_with_input(&twice, PASSWORD).status.success());
    let again = gate.cli_with_input(&twice, PASSWORD);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        err(&again).contains("There is an account"),
        "{}",
        err(&again)
    );
}

async fn eventually(happened: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if happened().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("ten seconds passed and not yet");
}
