//! The audit trail and the counters (A1, A2, A5, L9), as an operator reads them.

use serde_json::{Value, json};

use crate::support::{Browser, Client, Gateway, GatewayBuilder, PASSWORD, Upstream, signal};

const ADDRESS: &str = "203.0.113.77";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            "[listen]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]",
        )
        .user("ana@corp.test", &["user"])
        .more("\n[accounts]\nregistration = \"open\"\nregistration-roles = [\"user\"]\n[limits.auth]\nrate = \"20/minute\"\n")
}

fn events(gateway: &Gateway, action: &str) -> Vec<Value> {
    let arguments = [
        "audit", "list", "--output", "json", "--limit", "500", "--action", action,
    ];
    let output = gateway.cli(&arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits for an event that a writer of its own records.
async fn noted(gateway: &Gateway, action: &str) -> Vec<Value> {
    for _ in 0..100 {
        let events = events(gateway, action);
        if !events.is_empty() {
            return events;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no event `{action}`");
}

async fn post(browser: &Browser, path: &str, body: &Value) -> crate::support::Answer {
    browser
        .post(path)
        .header("x-forwarded-for", ADDRESS)
        .json(body)
        .send()
        .await
}

/// A counter of the metrics page.
async fn counter(gateway: &Gateway, name: &str) -> u64 {
    let text = Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    text.lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

#[tokio::test]
async fn every_sign_in_refusal_and_change_leaves_its_event() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.browser();
    let login = |password: &str| json!({ "email": "ana@corp.test", "password": password });
    let mut ids = Vec::new();
    let id = |answer: &crate::support::Answer| answer.header("x-request-id").unwrap().to_owned();

    let answer = post(
        &ana,
        "/.portcullis/auth/login",
        &login("wrong-wrong-1881-x"),
    )
    .await;
    ids.push(("login.failed", id(&answer)));
    let answer = post(&ana, "/.portcullis/auth/login", &login(PASSWORD)).await;
    assert_eq!(answer.status, 200);
    ids.push(("login.succeeded", id(&answer)));
    let body = json!({ "email": "eve@corp.test", "password": PASSWORD });
    let answer = post(&ana, "/.portcullis/auth/register", &body).await;
    assert_eq!(answer.status, 201);
    ids.push(("user.registered", id(&answer)));
    let body = json!({ "old_password": PASSWORD, "new_password": "walnut-comet-8126-harbour" });
    let answer = post(&ana, "/.portcullis/auth/change-password", &body).await;
    assert_eq!(answer.status, 200);
    ids.push(("password.changed", id(&answer)));
    let forged = ana.post("/anything").header("x-forwarded-for", ADDRESS);
    let answer = forged.replace("x-csrf-token", "forged").send().await;
    assert_eq!(answer.status, 403);
    ids.push(("csrf.refused", id(&answer)));
    let denied = ana.get("/admin").header("x-forwarded-for", ADDRESS);
    let answer = denied.send().await;
    assert_eq!(answer.status, 403);
    ids.push(("access.denied", id(&answer)));
    let answer = post(&ana, "/.portcullis/auth/logout", &json!({})).await;
    assert_eq!(answer.status, 204);
    ids.push(("logout", id(&answer)));
    // A burst over the limit of the address; none of it is a sign-in.
    let mut limited = None;
    for _ in 0..40 {
        let request = gateway.browser().post("/.portcullis/auth/login");
        let answer = request.header("x-forwarded-for", ADDRESS).send().await;
        if answer.status == 429 {
            limited = Some(id(&answer));
            break;
        }
    }
    ids.push(("limit.exceeded", limited.expect("the limit of the address")));
    for (action, id) in &ids {
        let found = noted(&gateway, action).await;
        let event = found
            .iter()
            .find(|event| event["request_id"] == **id)
            .unwrap_or_else(|| panic!("{action} of {id}: {found:?}"));
        assert_eq!(event["client_address"], ADDRESS, "{event}");
        let expected = match *action {
            "login.failed" | "csrf.refused" | "access.denied" | "limit.exceeded" => "denied",
            _ => "allowed",
        };
        assert_eq!(event["outcome"], expected, "{event}");
    }
    let denied = &noted(&gateway, "access.denied").await[0];
    assert_eq!(denied["metadata"]["problem"], "not-permitted", "{denied}");
    assert_eq!(denied["metadata"]["method"], "GET");
    assert!(
        denied["target"].as_str().unwrap().contains("/admin"),
        "{denied}"
    );
    assert!(denied["actor_id"].is_string());

    assert_eq!(counter(&gateway, "portcullis_failed_logins_total").await, 1);
    assert!(counter(&gateway, "portcullis_rate_limit_violations_total").await >= 1);
    assert_eq!(
        counter(&gateway, "portcullis_suspicious_activities_total").await,
        1
    );
    assert!(
        counter(
            &gateway,
            "portcullis_audit_events_total{action=\"login.succeeded\""
        )
        .await
            >= 1
    );
}

#[tokio::test]
async fn what_the_operator_does_is_in_the_trail_with_what_it_gave() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let created = &events(&gateway, "user.created")[0];
    assert_eq!(created["actor"], "operator");
    assert_eq!(created["metadata"]["roles"], "user", "{created}");
    let user = created["target"]
        .as_str()
        .unwrap()
        .rsplit([':', '/'])
        .next()
        .unwrap();
    let set = ["users", "set-roles", user, "admin", "premium"];
    assert!(gateway.cli(&set).status.success());
    let updated = &events(&gateway, "user.updated")[0];
    assert_eq!(updated["metadata"]["roles"], "admin premium", "{updated}");
    assert!(gateway.cli(&["users", "deactivate", user]).status.success());
    assert_eq!(events(&gateway, "user.deactivated").len(), 1);

    // What was not done leaves no event: the act and its record are one transaction.
    let before = events(&gateway, "user.created").len();
    let twice = ["users", "create", "--email", "ana@corp.test"];
    assert!(!gateway.cli(&twice).status.success());
    assert_eq!(events(&gateway, "user.created").len(), before);

    // A reload that is taken, and one that is not.
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), format!("{text}\n# looked at\n")).unwrap();
    signal(gateway.pid(), "HUP");
    let reloaded = noted(&gateway, "policy.reloaded").await;
    assert_eq!(reloaded[0]["outcome"], "allowed");
    std::fs::write(gateway.config_path(), format!("{text}\n[nonsense]\n")).unwrap();
    signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("was not taken").await;
    std::fs::write(gateway.config_path(), &text).unwrap();
    let rejected = noted(&gateway, "policy.rejected").await;
    assert_eq!(rejected[0]["outcome"], "failed");
    assert!(
        rejected[0]["metadata"]["findings"]
            .as_str()
            .unwrap()
            .contains("nonsense")
    );
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
    let text = gateway.cli(&["audit", "list"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("user.created") && text.contains("operator"),
        "{text}"
    );
}
