//! What ends, or follows another, while it is in use: the last session, a loan, a signing key, a
//! secret, a key of another issuer, an account (S2, S5, T3, J2, J3, J6), over sockets.

use http::Method;
use serde_json::{Value, json};

use crate::support::issuer::Issuer;
use crate::support::signer::read;
use crate::support::{
    Answer, Browser, Client, ForeignKey, Gateway, GatewayBuilder, Upstream, database, eventually,
    eventually_asked, tokens,
};

const ANA: &str = "ana@corp.test";
const LIMITS: &str =
    "\n[limits.auth]\nrate = \"10000/minute\"\n\n[limits.default]\nrate = \"100000/minute\"\n";

async fn builder(upstream: &Upstream, more: &str) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .more(LIMITS)
        .more(more)
        .user(ANA, &["user"])
        .user("root@corp.test", &["admin"])
}

async fn with(client: &Client, token: &str) -> Answer {
    tokens::get(client, "/anything", token).await
}

/// The one session that a user may have is in use all the time, and another sign-in takes its place:
/// from the moment that this is answered no request of the old one gets through, and none is a fault.
#[tokio::test]
async fn the_last_session_is_evicted_while_it_is_used() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, "\n[sessions]\nmax-per-user = 1\n").await;
    let gateway = gateway.start().await;
    for _ in 0..3 {
        let old = std::sync::Arc::new(gateway.signed_in(ANA).await);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (old, stopped) = (std::sync::Arc::clone(&old), stopped.clone());
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while !*stopped.borrow() {
                        seen.push(old.get("/anything").send().await.status.as_u16());
                    }
                    seen
                })
            })
            .collect();
        // Four sign-ins at once: one of them is left, and it is none of the three others.
        let logins = (0..4).map(|_| gateway.signed_in(ANA));
        let new: Vec<Browser> = futures_util::future::join_all(logins).await;
        assert_eq!(
            old.get("/anything").send().await.status,
            401,
            "the next request"
        );
        stop.send(true).unwrap();
        for worker in workers {
            let seen = worker.await.unwrap();
            assert!(
                seen.iter().all(|status| matches!(status, 200 | 401)),
                "{seen:?}"
            );
            let first = seen.iter().position(|status| *status == 401);
            let later = first.map_or(&[][..], |at| &seen[at..]);
            assert!(
                later.iter().all(|status| *status == 401),
                "it came back: {seen:?}"
            );
        }
        let mut living = 0;
        for browser in &new {
            living += usize::from(browser.get("/anything").send().await.status == 200);
        }
        assert_eq!(living, 1);
    }
}

const OFFICE: &str = "\n[[route]]\npath = \"/office\"\nallow = { permission = \"manage:users\" }\ntenant = \"any\"\n";

/// The end of a loan counts by itself, for sessions and tokens that were let in by it a moment ago.
#[tokio::test]
async fn a_loan_ends_by_itself_while_it_is_used() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &format!("{OFFICE}\n[tokens]\n")).await;
    let gateway = gateway.start().await;
    for arguments in [
        vec!["tenants", "create", "acme"],
        vec!["tenants", "set-roles", "acme", "root@corp.test", "admin"],
        vec!["tenants", "set-roles", "acme", ANA, "user"],
    ] {
        let output = gateway.cli(&arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let (root, ana) = (
        gateway.signed_in("root@corp.test").await,
        gateway.signed_in(ANA).await,
    );
    let (access, _) = tokens::sign_in(&gateway.client(), ANA).await;
    let office = async || {
        let by_session = ana.get("/office").send().await.status.as_u16();
        let by_token = tokens::get(&gateway.client(), "/office", &access).await;
        [by_session, by_token.status.as_u16()]
    };
    assert_eq!(office().await, [403, 403]);
    let me = ana.get("/.portcullis/auth/me").send().await.json();
    let loan = json!({ "user_id": me["id"], "permission": "manage:users", "expires_in": "1m" });
    let request = root.send(Method::POST, "/.portcullis/admin/v1/tenants/acme/grants");
    let answer = request.json(&loan).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    // A minute is not waited for: its end is moved, before anybody has read it, to three seconds from now.
    database::execute(
        &gateway.folder,
        "UPDATE delegation SET expires_at = created_at + 3000000",
    )
    .await;
    assert_eq!(office().await, [200, 200]);
    eventually_asked("the loan ended", async || office().await == [403, 403]).await;
}

fn kid_of(token: &str) -> String {
    read(token).0["kid"].as_str().unwrap().to_owned()
}

async fn published(client: &Client) -> Vec<String> {
    let set = client.get("/.portcullis/jwks.json").send().await.json();
    let kids = set["keys"].as_array().unwrap().iter();
    kids.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// No command: a key that is old enough is followed by another, published first, signing later, and
/// what the old one signed counts on.
#[tokio::test]
async fn an_old_signing_key_is_replaced_by_itself() {
    let upstream = Upstream::start().await;
    let more = "\n[tokens]\nrotate-signing-keys-every = \"30d\"\n";
    let gateway = builder(&upstream, more).await.start().await;
    let (before, _) = tokens::sign_in(&gateway.client(), ANA).await;
    let old = kid_of(&before);
    // 29 days: nothing happens. 31: the next one is there.
    let aged = |days: i64| {
        format!(
            "UPDATE signing_key SET created_at = created_at - {}",
            days * 86_400_000_000
        )
    };
    let folder = gateway.folder.clone();
    let stopped = gateway.end().await;
    database::execute(&folder, &aged(29)).await;
    let gateway = stopped.start().await;
    let client = gateway.client();
    assert_eq!(with(&client, &before).await.status, 200);
    assert_eq!(published(&client).await, [old.as_str()]);
    let stopped = gateway.end().await;
    database::execute(&folder, &aged(2)).await;
    let gateway = stopped.start().await;
    let client = gateway.client();
    eventually_asked("the next key is published", async || {
        published(&client).await.len() == 2
    })
    .await;
    let new = published(&client).await.into_iter().find(|kid| *kid != old);
    let new = new.unwrap();
    assert_eq!(
        kid_of(&tokens::sign_in(&client, ANA).await.0),
        old,
        "it does not sign yet"
    );
    let trail = gateway.cli(&[
        "audit",
        "list",
        "--action",
        "signing-key.rotated",
        "--output",
        "json",
    ]);
    let trail: Value = serde_json::from_slice(&trail.stdout).unwrap();
    assert_eq!(trail[0]["actor"], "system");
    // Ten minutes later.
    let stopped = gateway.end().await;
    let later = format!("UPDATE signing_key SET active_at = created_at WHERE kid = '{new}'");
    database::execute(&folder, &later).await;
    let gateway = stopped.start().await;
    let client = gateway.client();
    let (after, _) = tokens::sign_in(&client, ANA).await;
    assert_eq!(kid_of(&after), new);
    for token in [&before, &after] {
        assert_eq!(with(&client, token).await.status, 200);
    }
}

/// A secret of HS256 is followed by another: what the old one signed counts while it is named.
#[tokio::test]
async fn a_secret_of_hs256_is_replaced_with_an_overlap() {
    const OLD: &str = "the-first-secret-of-the-product-is-long-9f3a";
    const NEW: &str = "another-secret-of-the-product-is-longer-41cc";
    let upstream = Upstream::start().await;
    let tables = |secret: &str, previous: &str| {
        format!(
            "algorithm = \"HS256\"\nsecret = {{ file = \"{secret}\" }}\nprevious-secrets = [{previous}]"
        )
    };
    let first = tables("old", "");
    let gateway = builder(&upstream, &format!("\n[tokens]\n{first}\n")).await;
    let gateway = gateway.file("old", OLD).file("new", NEW).start().await;
    let (before, refresh) = tokens::sign_in(&gateway.client(), ANA).await;
    assert_eq!(with(&gateway.client(), &before).await.status, 200);
    let second = tables("new", "{ file = \"old\" }");
    let gateway = gateway.end().await.replace(&first, &second).start().await;
    let client = gateway.client();
    assert_eq!(
        with(&client, &before).await.status,
        200,
        "the old one is named"
    );
    let (after, _) = tokens::sign_in(&client, ANA).await;
    let signed_by = |token: &str, secret: &str| {
        let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        rules.set_audience(&["product"]);
        let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok()
    };
    assert!(signed_by(&after, NEW) && !signed_by(&after, OLD));
    let third = tables("new", "");
    let gateway = gateway.end().await.replace(&second, &third).start().await;
    let client = gateway.client();
    assert_eq!(with(&client, &before).await.problem(), "invalid-token");
    assert_eq!(with(&client, &after).await.status, 200);
    // Whoever was signed in goes on: the refresh token is none of the secret's.
    let next = tokens::refresh(&client, &refresh).await;
    assert_eq!(next.status, 200, "{}", next.text());
}

fn issuer_table(issuer: &Issuer) -> String {
    format!(
        "\n[issuer.company]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    )
}

/// A token of the issuer that gets through: its keys were read.
async fn met(client: &Client, issuer: &Issuer) -> String {
    let token = issuer.token("u", &json!({}));
    eventually_asked("the issuer's keys are read", async || {
        with(client, &token).await.status == 200
    })
    .await;
    token
}

/// A key that the issuer adds later is found by the token that names it, half a minute after the
/// issuer was asked last; and one that it takes away while it is there is of no use any more.
#[tokio::test]
async fn a_key_that_an_issuer_adds_later_is_found_by_its_first_token() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(51).await;
    let gateway = builder(&upstream, &issuer_table(&issuer)).await;
    let gateway = gateway.start().await;
    let client = gateway.client();
    let first = met(&client, &issuer).await;
    let added = ForeignKey::es256("added-later");
    let token = added.token(&added.header(), &issuer.claims("u", &json!({})));
    assert_eq!(with(&client, &token).await.problem(), "invalid-token");
    issuer.published().lock().unwrap().push(added.jwk());
    // Asked no more often than every 30 seconds: this waits for that, and for nothing longer.
    let mut status = 401;
    for _ in 0..400 {
        status = with(&client, &token).await.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(status, 200, "the added key");
    assert_eq!(
        with(&client, &first).await.status,
        200,
        "the first one counts on"
    );
}

/// Its last good answer counts while it is away: people go on, with new tokens as well, also after
/// it was asked in vain.
#[tokio::test]
async fn an_issuer_that_goes_away_after_it_answered_takes_nobody_along() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(52).await;
    let gateway = builder(&upstream, &issuer_table(&issuer)).await;
    let gateway = gateway.start().await;
    let client = gateway.client();
    let old = met(&client, &issuer).await;
    issuer.fall_silent();
    let asked = issuer.server.requests();
    for subject in ["u", "v", "w"] {
        let new = issuer.token(subject, &json!({ "jti": subject }));
        assert_eq!(with(&client, &new).await.status, 200, "{subject}");
    }
    assert_eq!(issuer.server.requests(), asked, "nobody asked it");
    // What names no key of that answer is refused, and no fault of ours.
    let stranger = ForeignKey::es256("unknown");
    let token = stranger.token(&stranger.header(), &issuer.claims("u", &json!({})));
    // It is a reason to ask, as soon as half a minute has passed since the issuer was asked last.
    for _ in 0..400 {
        assert_eq!(with(&client, &token).await.problem(), "invalid-token");
        if issuer.server.requests() > asked {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(issuer.server.requests() > asked, "it was asked");
    let new = issuer.token("x", &json!({ "jti": "x" }));
    assert_eq!(with(&client, &new).await.status, 200);
    let asked = issuer.server.requests();
    // A gate that never had an answer does not know, and says so.
    let fresh = gateway.end().await.start().await;
    let client = fresh.client();
    assert_eq!(
        with(&client, &old).await.problem(),
        "temporarily-unavailable"
    );
    issuer.answer_again();
    eventually("it is asked again", || issuer.server.requests() > asked).await;
}

/// A ban holds on the very next request, whatever the person comes with.
#[tokio::test]
async fn a_ban_holds_on_the_next_request_for_tokens_and_keys_as_well() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(53).await;
    let routes = "\n[[route]]\npath = \"/programs\"\nallow = { permission = \"read:own\" }\ncallers = [\"user\", \"api-key\"]\n";
    let more = format!("{routes}\n[tokens]\n{}", issuer_table(&issuer));
    let gateway = builder(&upstream, &more).await.start().await;
    let client = gateway.client();
    let root = gateway.signed_in("root@corp.test").await;
    let ana = gateway.signed_in(ANA).await;
    let me = ana.get("/.portcullis/auth/me").send().await.json();
    let (access, refresh) = tokens::sign_in(&client, ANA).await;
    let made = gateway.cli(&[
        "keys",
        "create",
        "--output",
        "json",
        "--name",
        "k",
        "--user",
        ANA,
        "--permission",
        "read:own",
    ]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    let program = async || {
        let answer = tokens::get(&client, "/programs", &key).await;
        answer.status.as_u16()
    };
    let foreign = met(&client, &issuer).await;
    let assertion = upstream
        .last()
        .header("x-portcullis-assertion")
        .unwrap()
        .to_owned();
    let them = read(&assertion).1["sub"].as_str().unwrap().to_owned();
    assert_eq!(with(&client, &access).await.status, 200);
    assert_eq!(program().await, 200);
    let reached = upstream.requests();
    let ban = async |user: &str| {
        let path = format!("/.portcullis/admin/v1/users/{user}/deactivate");
        let answer = root.send(Method::POST, &path).send().await;
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    ban(me["id"].as_str().unwrap()).await;
    assert_eq!(with(&client, &access).await.problem(), "invalid-token");
    assert_eq!(program().await, 401);
    let next = tokens::refresh(&client, &refresh).await;
    assert_eq!(next.problem(), "invalid-token");
    assert_eq!(with(&client, &foreign).await.status, 200, "somebody else");
    ban(&them).await;
    assert_eq!(with(&client, &foreign).await.problem(), "invalid-token");
    let newer = issuer.token("u", &json!({ "jti": "2" }));
    assert_eq!(with(&client, &newer).await.problem(), "invalid-token");
    assert_eq!(
        upstream.requests(),
        reached + 1,
        "the product saw somebody else alone"
    );
}
