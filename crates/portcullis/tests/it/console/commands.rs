//! The same acts on the command line, heard by the running gate within a second.

use serde_json::json;

use super::{ANA, ROOT, done, gate, json as cli};
use crate::support::{Browser, eventually_asked};

async fn is_out(browser: &Browser) -> bool {
    browser.get("/anything").send().await.status == 401
}

#[tokio::test]
async fn sessions_are_listed_and_ended_and_accounts_opened_again() {
    let gateway = gate().await;
    let (phone, desk) = (gateway.signed_in(ANA).await, gateway.signed_in(ANA).await);
    let sessions = cli(&gateway, &["users", "sessions", ANA]);
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    let newest = sessions[0]["id"].as_str().unwrap();
    assert!(done(&gateway, &["users", "sessions", ANA]).contains(newest));
    done(
        &gateway,
        &["users", "end-sessions", ANA, "--session", newest],
    );
    eventually_asked("the newest has ended", async || is_out(&desk).await).await;
    assert!(!is_out(&phone).await);
    let again = gateway.cli(&["users", "end-sessions", ANA, "--session", newest]);
    assert_eq!(again.status.code(), Some(1));
    done(&gateway, &["users", "end-sessions", ANA]);
    eventually_asked("all have ended", async || is_out(&phone).await).await;
    assert_eq!(cli(&gateway, &["users", "sessions", ANA]), json!([]));
    done(&gateway, &["users", "deactivate", ANA]);
    done(&gateway, &["users", "activate", ANA]);
    gateway.signed_in(ANA).await;
    // There is no mail here, and so no letter.
    assert_eq!(
        gateway.cli(&["users", "send-reset", ANA]).status.code(),
        Some(1)
    );
}

#[tokio::test]
async fn invitations_are_listed_and_revoked() {
    let gateway = gate().await;
    done(&gateway, &["tenants", "create", "acme"]);
    let written = cli(
        &gateway,
        &["tenants", "invite", "acme", ROOT, "--role", "user"],
    );
    let open = cli(&gateway, &["tenants", "invitations", "acme"]);
    assert_eq!(open[0]["email"], ROOT);
    assert!(open[0].get("token").is_none());
    let id = open[0]["id"].as_str().unwrap();
    done(&gateway, &["tenants", "uninvite", "acme", id]);
    assert_eq!(
        cli(&gateway, &["tenants", "invitations", "acme"]),
        json!([])
    );
    let root = gateway.signed_in(ROOT).await;
    let redeem = root.post("/.portcullis/auth/invitation");
    let redeem = redeem
        .json(&json!({ "token": written["token"] }))
        .send()
        .await;
    assert_eq!(redeem.problem(), "not-found");
}
