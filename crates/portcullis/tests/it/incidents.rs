//! Incidents (N1, N2, N3): how far something reaches, its end on the next request, and what is left to do.

mod bundles;
mod frozen;
mod game_day;
mod seen;

use serde_json::Value;

use crate::support::issuer::Issuer;
use crate::support::signer::now;
use crate::support::{Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, tokens};
use crate::visitors::{self, SHOP};

const ROUTES: &str = r#"
[[route]]
path = "/for-keys"
allow = { permission = "read:own" }
callers = ["user", "api-key"]

[[route]]
path = "/{*rest}"
allow = "user"
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder(upstream, ROUTES)
        .await
        .more("\n[tokens]\n\n[limits.auth]\nrate = \"1000/minute\"\n")
        .user("ana@corp.test", &["user"])
        .user("ben@corp.test", &["user"])
}

/// What the command says, as JSON.
fn told(gateway: &Gateway, arguments: &[&str]) -> Value {
    let all = [&["--output", "json", "incident"], arguments].concat();
    let output = gateway.cli(&all);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What it is refused with: wrong usage.
fn refused(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.cli(&[&["incident"], arguments].concat());
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn open(gateway: &Gateway, severity: &str, more: &[&str]) -> Value {
    let arguments = [
        "open",
        "--title",
        "a laptop is gone",
        "--severity",
        severity,
    ];
    told(gateway, &[&arguments, more].concat())
}

async fn status(browser: &Browser) -> u16 {
    browser.get("/anything").send().await.status.as_u16()
}

async fn with_key(gateway: &Gateway, key: &str) -> u16 {
    let request = gateway.client().get("/for-keys").header("x-api-key", key);
    request.send().await.status.as_u16()
}

/// Another node, or this one, has heard of it.
async fn comes_to(what: &str, wanted: u16, mut ask: impl AsyncFnMut() -> u16) {
    for _ in 0..200 {
        if ask().await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{what} did not come to {wanted}");
}

fn audited(gateway: &Gateway, action: &str) -> Vec<Value> {
    let arguments = ["--output", "json", "audit", "list", "--action", action];
    let output = gateway.cli(&arguments);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_dry_run_shows_how_far_it_reaches_and_changes_nothing() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let _ben = gateway.signed_in("ben@corp.test").await;
    let _tokens = tokens::sign_in(&gateway.client(), "ana@corp.test").await;
    let arguments = ["--permission", "read:own", "--user", "ana@corp.test"];
    let (_, key) = crate::api_keys::make(&gateway, &arguments);

    let scope = [
        "--contain",
        "user:ana@corp.test",
        "--contain",
        "all",
        "--dry-run",
    ];
    let radii = open(&gateway, "high", &scope);
    let of = |at: usize, name: &str| radii[at][name].as_i64().unwrap();
    for (name, hers, all) in [
        ("accounts", 1, 2),
        ("sessions", 1, 2),
        ("token_families", 1, 1),
        ("api_keys", 1, 1),
    ] {
        assert_eq!((of(0, name), of(1, name)), (hers, all), "{name}: {radii}");
    }
    assert_eq!(told(&gateway, &["list"]), serde_json::json!([]));
    assert_eq!(status(&ana).await, 200);
    assert_eq!(with_key(&gateway, &key).await, 200);
    assert!(audited(&gateway, "incident.opened").is_empty());
}

#[tokio::test]
async fn a_contained_person_is_out_and_nobody_else() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let ben = gateway.signed_in("ben@corp.test").await;
    let (access, _) = tokens::sign_in(&gateway.client(), "ana@corp.test").await;
    let hers = ["--permission", "read:own", "--user", "ana@corp.test"];
    let (_, hers) = crate::api_keys::make(&gateway, &hers);
    let his = ["--permission", "read:own", "--user", "ben@corp.test"];
    let (_, his) = crate::api_keys::make(&gateway, &his);
    assert_eq!(
        (status(&ana).await, with_key(&gateway, &hers).await),
        (200, 200)
    );

    let file = open(&gateway, "high", &["--contain", "user:ana@corp.test"]);
    assert!(
        file["notes"][0]["text"]
            .as_str()
            .unwrap()
            .contains("1 sessions"),
        "{file}"
    );
    comes_to("her session", 401, async || status(&ana).await).await;
    comes_to("her key", 401, async || with_key(&gateway, &hers).await).await;
    comes_to("her token", 401, async || {
        let answer = tokens::get(&gateway.client(), "/anything", &access).await;
        answer.status.as_u16()
    })
    .await;
    let again = gateway.browser();
    let body = serde_json::json!({ "email": "ana@corp.test", "password": PASSWORD });
    let answer = again
        .post("/.portcullis/auth/login")
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        (status(&ben).await, with_key(&gateway, &his).await),
        (200, 200)
    );
    // Her key stays ended when she is let in again.
    assert!(
        gateway
            .cli(&["users", "activate", "ana@corp.test"])
            .status
            .success()
    );
    gateway.signed_in("ana@corp.test").await;
    assert_eq!(with_key(&gateway, &hers).await, 401);
    // The same again is no fault.
    let id = file["id"].as_str().unwrap();
    told(
        &gateway,
        &["contain", id, "--contain", "user:ana@corp.test"],
    );
    told(
        &gateway,
        &["contain", id, "--contain", "user:ana@corp.test"],
    );
}

#[tokio::test]
async fn everything_ends_everywhere_and_whoever_signs_in_again_is_let_in() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let (access, refresh) = tokens::sign_in(&gateway.client(), "ben@corp.test").await;
    let (_, key) = crate::api_keys::make(&gateway, &["--permission", "read:own"]);
    let keys = || {
        let output = gateway.cli(&["--output", "json", "signing-keys", "list"]);
        let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        list
    };
    let old = keys();
    let put = [
        "secrets",
        "put",
        "cookie-key",
        "--owner",
        "ops",
        "--purpose",
        "x",
        "--made",
        "hex:32",
    ];
    assert!(gateway.cli(&put).status.success());

    let file = open(
        &gateway,
        "critical",
        &["--contain", "all", "--rotate-secrets"],
    );
    assert!(file["triage_by"].is_string(), "{file}");
    comes_to("her session", 401, async || status(&ana).await).await;
    comes_to("the key", 401, async || with_key(&gateway, &key).await).await;
    comes_to("his token", 401, async || {
        let answer = tokens::get(&gateway.client(), "/anything", &access).await;
        answer.status.as_u16()
    })
    .await;
    let body = serde_json::json!({ "refresh_token": refresh });
    let request = gateway.client().post("/.portcullis/auth/refresh");
    assert_eq!(request.json(&body).send().await.status, 401);
    for key in &old {
        let now = keys();
        let same = now.iter().find(|other| other["kid"] == key["kid"]).unwrap();
        assert_eq!(same["state"], "revoked", "{now:?}");
    }
    assert!(keys().iter().any(|key| key["state"] == "signing"));
    let output = gateway.cli(&["--output", "json", "secrets", "show", "cookie-key"]);
    let secret: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(secret["version"], 2, "{secret}");
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(status(&ana).await, 200);
}

#[tokio::test]
async fn with_everything_visits_end_and_tokens_of_other_issuers_that_were_made_before() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(7).await;
    let table = format!(
        "\n[issuer.company]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    );
    let gateway = visitors::builder(&upstream).await.more(&table);
    let gateway = visitors::furnished(gateway.start().await);
    let visit = visitors::begin(&gateway, "acme", SHOP).await;
    let visits = async || visit.get(&gateway, "/chat").await.status.as_u16();
    let with = async |token: &str| {
        let answer = tokens::get(&gateway.client(), "/members", token).await;
        answer.status.as_u16()
    };
    // Of somebody who has been here, and of somebody who has not: both were made before.
    let before = now() - 60;
    let old = |subject: &str| issuer.token(subject, &serde_json::json!({ "iat": before }));
    let (known, stranger) = (old("known"), old("stranger"));
    assert_eq!((visits().await, with(&known).await), (200, 200));

    open(&gateway, "critical", &["--contain", "all"]);
    comes_to("the visit", 401, visits).await;
    comes_to("a token of before", 401, async || with(&known).await).await;
    let seen = upstream.requests();
    assert_eq!(with(&stranger).await, 401);
    // Not even an account is made of it, and no restart brings it back.
    assert_eq!(upstream.requests(), seen);
    assert!(audited(&gateway, "user.provisioned").len() == 1);
    let twin = gateway.twin().await;
    for token in [&known, &stranger] {
        let answer = tokens::get(&twin.client(), "/members", token).await;
        assert_eq!(answer.status, 401);
    }
    // Their issuer lets them in again.
    let later = now() + 20;
    let new = |subject: &str| issuer.token(subject, &serde_json::json!({ "iat": later }));
    for subject in ["known", "stranger"] {
        assert_eq!(with(&new(subject)).await, 200, "{subject}");
    }
}

#[tokio::test]
async fn an_incident_is_closed_when_nothing_is_left_and_each_act_is_recorded() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let file = open(&gateway, "critical", &[]);
    let id = file["id"].as_str().unwrap().to_owned();
    assert_eq!(file["acknowledged_at"], Value::Null);
    let file = told(&gateway, &["acknowledge", &id]);
    assert!(file["acknowledged_at"].is_string());
    assert!(refused(&gateway, &["close", &id, "--cause", "x"]).contains("`triage` has no note"));
    for phase in ["triage", "contain", "eradicate", "recover", "postmortem"] {
        told(
            &gateway,
            &[
                "note",
                &id,
                "--phase",
                phase,
                "password=hunter2hunter2 was on a note",
            ],
        );
    }
    let task = [
        "task",
        &id,
        "encrypt disks",
        "--owner",
        "ana",
        "--due",
        "2030-01-31T00:00:00Z",
    ];
    told(&gateway, &task);
    assert!(refused(&gateway, &["close", &id, "--cause", "x"]).contains("task 1 is not done"));
    refused(&gateway, &["done", &id, "2", "x"]);
    told(&gateway, &["done", &id, "1", "all of them"]);
    let file = told(
        &gateway,
        &["close", &id, "--cause", "disks were not encrypted"],
    );
    assert_eq!(file["state"], "closed");
    assert!(file["triaged_at"].is_string());
    assert!(!file.to_string().contains("hunter2"), "{file}");
    for more in [
        &["note", id.as_str(), "--phase", "triage", "x"][..],
        &["acknowledge", &id],
        &["task", &id, "x", "--owner", "ana"],
        &["done", &id, "1", "x"],
        &["close", &id, "--cause", "x"],
        &["contain", &id, "--contain", "all"],
    ] {
        assert!(refused(&gateway, more).contains("closed"), "{more:?}");
    }
    assert_eq!(audited(&gateway, "incident.opened").len(), 1);
    assert_eq!(audited(&gateway, "incident.noted").len(), 8);
    let closed = audited(&gateway, "incident.closed");
    assert_eq!(
        closed[0]["metadata"]["cause"], "disks were not encrypted",
        "{closed:?}"
    );
    assert_eq!(told(&gateway, &["list"])[0]["state"], "closed");
}

#[tokio::test]
async fn what_cannot_be_contained_is_told_and_opens_nothing() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    for scope in [
        "user:nobody@corp.test",
        "tenant:nobody",
        "key:1",
        "nothing",
        "role:admin",
    ] {
        let arguments = [
            "open",
            "--title",
            "x",
            "--severity",
            "low",
            "--contain",
            scope,
        ];
        refused(&gateway, &arguments);
    }
    let spare = ["open", "--title", "x", "--severity", "low", "--spare-keys"];
    assert!(refused(&gateway, &spare).contains("--contain all"));
    assert_eq!(told(&gateway, &["list"]), serde_json::json!([]));
}

#[tokio::test]
async fn a_contained_tenant_is_suspended_and_its_keys_and_visits_end() {
    let upstream = Upstream::start().await;
    let gateway = visitors::furnished(
        visitors::builder(&upstream)
            .await
            .more("\n[[route]]\npath = \"/for-keys\"\nallow = { permission = \"read:own\" }\ncallers = [\"api-key\"]\n\n[[route]]\npath = \"/at/{org}\"\nallow = \"user\"\ntenant = { path = \"org\" }\n")
            .user("bob@corp.test", &[])
            .start()
            .await,
    );
    for (tenant, user) in [("acme", "ada@corp.test"), ("globex", "bob@corp.test")] {
        let member = ["tenants", "set-roles", tenant, user, "user"];
        visitors::done(&gateway, &member);
    }
    let key = |tenant: &str| {
        let arguments = ["--permission", "read:own", "--tenant", tenant];
        crate::api_keys::make(&gateway, &arguments).1
    };
    let (theirs, others) = (key("acme"), key("globex"));
    let (ada, bob) = (
        gateway.signed_in("ada@corp.test").await,
        gateway.signed_in("bob@corp.test").await,
    );
    let visit = visitors::begin(&gateway, "acme", SHOP).await;
    let other = visitors::begin(&gateway, "globex", "https://www.globex.test").await;
    let at = async |browser: &Browser, tenant: &str| {
        let answer = browser.get(&format!("/at/{tenant}")).send().await;
        answer.status.as_u16()
    };
    let on = async |visit: &visitors::Visit| visit.get(&gateway, "/chat").await.status.as_u16();
    let all = async || {
        (
            with_key(&gateway, &theirs).await,
            at(&ada, "acme").await,
            on(&visit).await,
        )
    };
    assert_eq!(all().await, (200, 200, 200));

    open(&gateway, "high", &["--contain", "tenant:acme"]);
    comes_to("their key", 401, async || with_key(&gateway, &theirs).await).await;
    comes_to("their member", 403, async || at(&ada, "acme").await).await;
    comes_to("their visit", 401, async || on(&visit).await).await;
    let begun = visitors::beginning(&gateway, "acme", SHOP).send().await;
    assert_eq!(begun.status, 403, "no new visit, either");
    let untouched = (
        with_key(&gateway, &others).await,
        at(&bob, "globex").await,
        on(&other).await,
    );
    assert_eq!(untouched, (200, 200, 200));

    visitors::done(&gateway, &["tenants", "resume", "acme"]);
    comes_to("their member", 200, async || at(&ada, "acme").await).await;
    // What was in somebody's hands stays ended.
    assert_eq!(
        (with_key(&gateway, &theirs).await, on(&visit).await),
        (401, 401)
    );
    visitors::begin(&gateway, "acme", SHOP).await;
}
