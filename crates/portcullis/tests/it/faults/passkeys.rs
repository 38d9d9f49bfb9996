//! Passkeys while the database cannot be written, or is away: 503, nobody is signed in, and all is
//! well again when it is back.

use http::Method;

use super::service::Postgres;
use super::tracer::Tracer;
use super::{GENEROUS, ME, assert_unavailable, audited, get, until};
use crate::support::mailbox::ORIGIN;
use crate::support::passkey::{Authenticator, ask, show};
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, Upstream};

const ANA: &str = "ana@corp.test";
const AUTH: &str = "/.portcullis/auth";

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .with_origin(ORIGIN)
        .user(ANA, &["user"])
}

async fn begin(browser: &Browser, path: &str) -> Answer {
    browser.post(&format!("{AUTH}/{path}/begin")).send().await
}

/// What each call says while the database is away, and that it was not done.
async fn assert_refused(gateway: &Gateway, ana: &Browser, key: &mut Authenticator, asked: &Asked) {
    let browser = gateway.browser();
    assert_unavailable(&begin(&browser, "passkeys").await);
    assert_unavailable(&begin(ana, "factors/passkeys").await);
    assert_unavailable(&begin(ana, "second-factor/passkey").await);
    let answer = show(&asked.browser, "passkeys/sign-in", &key.get(&asked.options)).await;
    assert_unavailable(&answer);
    assert!(asked.browser.cookie("session").is_none());
    let one = format!("{AUTH}/factors/passkeys/{}", asked.id);
    assert_unavailable(&ana.send(Method::DELETE, &one).send().await);
}

/// A question asked before the fault, and the id of the passkey that could answer it.
struct Asked {
    browser: Browser,
    options: serde_json::Value,
    id: String,
}

async fn prepare(gateway: &Gateway) -> (Browser, Authenticator, Asked) {
    let ana = gateway.signed_in(ANA).await;
    let mut key = Authenticator::at(ORIGIN);
    assert_eq!(key.register(&ana, "Phone").await.status, 201);
    let list = get(&ana, &format!("{AUTH}/factors/passkeys")).await.json();
    let browser = gateway.browser();
    let options = ask(&browser, "passkeys/begin").await;
    let id = list[0]["id"].as_str().unwrap().to_owned();
    (
        ana,
        key,
        Asked {
            browser,
            options,
            id,
        },
    )
}

#[tokio::test]
async fn a_disk_that_is_full_refuses_passkeys_and_recovers() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.on_sqlite().start().await;
    let (ana, mut key, asked) = prepare(&gateway).await;
    let tracer = Tracer::failing(&gateway, "pwrite64", "ENOSPC");
    assert_refused(&gateway, &ana, &mut key, &asked).await;
    tracer.detach();
    until("the gate writes again", || async {
        begin(&gateway.browser(), "passkeys").await.status == 200
    })
    .await;
    let browser = gateway.browser();
    assert_eq!(key.sign_in(&browser).await.status, 200);
    assert_eq!(get(&browser, ME).await.status, 200);
    assert_eq!(audited(&gateway, "factor.removed"), 0);
}

#[tokio::test]
async fn postgres_away_refuses_passkeys_and_recovers() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres
        .under(builder(&upstream).await)
        .replace("[state]", "[state]\nconnections = 4")
        .start()
        .await;
    let (ana, mut key, asked) = prepare(&gateway).await;
    postgres.stop_immediately();
    assert_refused(&gateway, &ana, &mut key, &asked).await;
    postgres.start_again().await;
    until("the database is back", || async {
        begin(&gateway.browser(), "passkeys").await.status == 200
    })
    .await;
    let browser = gateway.browser();
    assert_eq!(key.sign_in(&browser).await.status, 200);
    assert_eq!(get(&browser, ME).await.status, 200);
}
