//! Access and refresh tokens of our own (J1, J2, J6), over sockets.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::support::signer::read;
use crate::support::{
    Answer, Client, Gateway, GatewayBuilder, PASSWORD, Upstream, eventually, eventually_asked,
    signal,
};

const ANA: &str = "ana@corp.test";
const LOGIN: &str = "/.portcullis/auth/login";
const REFRESH: &str = "/.portcullis/auth/refresh";
const LOGOUT: &str = "/.portcullis/auth/logout";
const OTHER_PASSWORD: &str = "vivid-gantry-58-lichen-orbit";

const GENEROUS: &str =
    "\n[limits.auth]\nrate = \"10000/minute\"\n\n[limits.default]\nrate = \"100000/minute\"\n";

async fn builder(upstream: &Upstream, tokens: &str) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .more(GENEROUS)
        .more(&format!("\n[tokens]\n{tokens}\n"))
        .user(ANA, &["user"])
}

async fn gate(upstream: &Upstream) -> Gateway {
    builder(upstream, "").await.start().await
}

/// What a client holds.
#[derive(Clone)]
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn of(answer: &Answer) -> Pair {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.cookies().is_empty());
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body.as_object().unwrap().len(), 4);
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        Pair {
            access: text("access_token"),
            refresh: text("refresh_token"),
        }
    }
}

async fn login(client: &Client) -> Pair {
    let body = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
    Pair::of(&client.post(LOGIN).json(&body).send().await)
}

async fn refresh_as(client: &Client, token: &str, agent: &str) -> Answer {
    client
        .post(REFRESH)
        .header("user-agent", agent)
        .json(&json!({ "refresh_token": token }))
        .send()
        .await
}

async fn refresh(client: &Client, token: &str) -> Answer {
    refresh_as(client, token, "app/1").await
}

async fn get(client: &Client, token: &str) -> Answer {
    client
        .get("/anything")
        .header("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.problem(), "invalid-token");
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

fn succeed(output: &std::process::Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    serde_json::from_str(&text).unwrap_or_default()
}

/// J5: what a token may is what its user may at present, not what was true when it was made.
#[tokio::test]
async fn a_token_has_the_roles_of_now_on_every_node_and_under_the_policy_of_now() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let pair = login(&gateway.client()).await;
    let admin = async |node: &Gateway| {
        let request = node.client().get("/admin");
        let request = request.header("authorization", &format!("Bearer {}", pair.access));
        request.send().await.status.as_u16()
    };
    let until = async |node: &Gateway, what: &str, status: u16| {
        eventually_asked(what, async || admin(node).await == status).await;
    };
    for node in [&gateway, &twin] {
        assert_eq!(admin(node).await, 403, "remembered as one who may not");
    }
    let set = |roles: &[&str]| {
        let arguments = [&["users", "set-roles", ANA], roles].concat();
        assert!(gateway.cli(&arguments).status.success());
    };
    set(&["user", "admin"]);
    for node in [&gateway, &twin] {
        until(node, "the same token has the new role", 200).await;
    }
    set(&["user"]);
    for node in [&gateway, &twin] {
        until(node, "the same token has lost it", 403).await;
        assert_eq!(get(&node.client(), &pair.access).await.status, 200);
    }
    // Another policy: the role that she has gives what it did not give.
    let reload = |node: &Gateway, from: &str, to: &str| {
        let old = std::fs::read_to_string(node.config_path()).unwrap();
        assert!(old.contains(from), "{old}");
        std::fs::write(node.config_path(), old.replace(from, to)).unwrap();
        for node in [&gateway, &twin] {
            signal(node.pid(), "HUP");
        }
    };
    let (before, after) = ("role = [\"admin\"]", "role = [\"user\"]");
    reload(&gateway, before, after);
    for node in [&gateway, &twin] {
        until(node, "the new policy counts for the old token", 200).await;
    }
    reload(&gateway, after, before);
    for node in [&gateway, &twin] {
        until(node, "and so does the one after", 403).await;
    }
}

/// A change by the very node that is asked counts on the next request, without a wait.
#[tokio::test]
async fn a_role_that_an_administrator_changes_counts_for_a_token_on_the_next_request() {
    const ROOT: &str = "root@corp.test";
    let upstream = Upstream::start().await;
    let builder = builder(&upstream, "").await.user(ROOT, &["admin"]);
    let gateway = builder.start().await;
    let root = gateway.signed_in(ROOT).await;
    let client = gateway.client();
    let pair = login(&client).await;
    let (_, claims) = read(&pair.access);
    let roles = format!(
        "/.portcullis/admin/v1/users/{}/roles",
        claims["sub"].as_str().unwrap()
    );
    let ask = async |status: u16| {
        let request = client.get("/admin");
        let request = request.header("authorization", &format!("Bearer {}", pair.access));
        assert_eq!(request.send().await.status, status);
    };
    for _ in 0..3 {
        ask(403).await;
        for (given, status) in [(json!(["user", "admin"]), 200), (json!(["user"]), 403)] {
            let body = json!({ "roles": given });
            let set = root.send(Method::PUT, &roles).json(&body).send().await;
            assert_eq!(set.status, 204, "{}", set.text());
            ask(status).await;
        }
    }
}

#[tokio::test]
async fn an_access_token_is_its_user_and_never_reaches_the_product() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let client = gateway.client();
    let pair = login(&client).await;
    for _ in 0..2 {
        assert_eq!(get(&client, &pair.access).await.status, 200);
    }
    let seen = upstream.last();
    assert_eq!(seen.header("authorization"), None);
    let (_, told) = read(seen.header("x-portcullis-assertion").unwrap());
    let (header, claims) = read(&pair.access);
    assert_eq!(told["sub"], claims["sub"]);
    assert_eq!(told["roles"], json!(["user"]));
    assert_eq!(
        (&header["alg"], &header["typ"]),
        (&json!("EdDSA"), &json!("at+jwt"))
    );
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(life, 30 * 60);
    // No cookie, so no other site can speak in its name: no CSRF token is asked for.
    let write = client
        .request(Method::POST, "/anything")
        .header("authorization", &format!("Bearer {}", pair.access));
    assert_eq!(write.send().await.status, 200);
    let me = client.get("/.portcullis/auth/me");
    let me = me.header("authorization", &format!("Bearer {}", pair.access));
    assert_eq!(me.send().await.json()["email"], ANA);
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_use_and_for_nothing_else() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let client = gateway.client();
    let pair = login(&client).await;
    assert_refused(&get(&client, &pair.refresh).await);
    assert_eq!(upstream.requests(), 0);
    let public = client.get("/public");
    let public = public.header("authorization", &format!("Bearer {}", pair.refresh));
    assert_refused(&public.send().await);
    assert_eq!(upstream.requests(), 0, "the product saw a refresh token");
    let next = Pair::of(&refresh(&client, &pair.refresh).await);
    assert_ne!(next.refresh, pair.refresh);
    assert_eq!(get(&client, &next.access).await.status, 200);
    assert_eq!(
        get(&client, &pair.access).await.status,
        200,
        "it has time left"
    );
    for garbage in ["", "x", "pcr_", &pair.access, &pair.refresh[4..]] {
        assert_refused(&refresh(&client, garbage).await);
    }
    assert_eq!(get(&client, &next.access).await.status, 200);
}

#[tokio::test]
async fn tabs_that_refresh_at_once_on_two_nodes_get_one_successor() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let mut pair = login(&gateway.client()).await;
    for _ in 0..5 {
        let tabs: Vec<_> = (0..12)
            .map(|tab| {
                let client = if tab % 2 == 0 {
                    gateway.client()
                } else {
                    twin.client()
                };
                let token = pair.refresh.clone();
                tokio::spawn(async move { Pair::of(&refresh(&client, &token).await) })
            })
            .collect();
        let mut all = Vec::new();
        for tab in tabs {
            all.push(tab.await.unwrap());
        }
        assert!(all.iter().all(|other| other.refresh == all[0].refresh));
        for other in &all {
            assert_eq!(get(&twin.client(), &other.access).await.status, 200);
        }
        pair = all.swap_remove(0);
    }
}

#[tokio::test]
async fn a_used_refresh_token_from_somebody_else_ends_the_family_and_is_recorded() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let client = gateway.client();
    let other = login(&client).await;
    let stolen = login(&client).await;
    let next = Pair::of(&refresh(&client, &stolen.refresh).await);
    assert_eq!(get(&client, &next.access).await.status, 200);
    assert_refused(&refresh_as(&client, &stolen.refresh, "curl/8").await);
    assert_refused(&get(&client, &next.access).await);
    assert_refused(&get(&client, &stolen.access).await);
    assert_refused(&refresh(&client, &next.refresh).await);
    assert_eq!(
        get(&client, &other.access).await.status,
        200,
        "another family"
    );
    let audit = gateway.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "refresh-token.reused",
    ]);
    let events = succeed(&audit);
    let events = events.as_array().or_else(|| events["events"].as_array());
    assert_eq!(events.unwrap().len(), 1);
}

/// Whatever ends a sign-in: the next request is refused here, and on another node within a second.
#[tokio::test]
async fn what_ends_a_sign_in_bites_on_the_next_request_and_everywhere_within_a_second() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let client = gateway.client();
    for act in [
        "logout",
        "logout by refresh token",
        "password",
        "deactivate",
    ] {
        let pair = login(&client).await;
        for node in [&client, &twin.client()] {
            assert_eq!(get(node, &pair.access).await.status, 200, "{act}");
        }
        let bearer = format!("Bearer {}", pair.access);
        match act {
            "logout" => {
                let answer = client
                    .post(LOGOUT)
                    .header("authorization", &bearer)
                    .send()
                    .await;
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
            "logout by refresh token" => {
                let body = json!({ "refresh_token": pair.refresh });
                assert_eq!(client.post(LOGOUT).json(&body).send().await.status, 204);
            }
            "password" => {
                let body = json!({ "old_password": PASSWORD, "new_password": OTHER_PASSWORD });
                let change = client.post("/.portcullis/auth/change-password");
                let change = change.header("authorization", &bearer).json(&body);
                assert_eq!(change.send().await.status, 200);
                // Back again, for the acts that follow.
                let set = ["users", "set-password", ANA, "--password-stdin"];
                let again = gateway.cli_with_input(&set, PASSWORD);
                assert!(again.status.success());
            }
            _ => assert!(gateway.cli(&["users", "deactivate", ANA]).status.success()),
        }
        let began = Instant::now();
        if act != "deactivate" {
            assert_refused(&get(&client, &pair.access).await);
        }
        loop {
            let here = get(&client, &pair.access).await.status;
            let there = get(&twin.client(), &pair.access).await.status;
            if (here, there)
                == (
                    http::StatusCode::UNAUTHORIZED,
                    http::StatusCode::UNAUTHORIZED,
                )
            {
                break;
            }
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{act}: {here} {there}"
            );
        }
        assert_refused(&refresh(&twin.client(), &pair.refresh).await);
    }
}

#[tokio::test]
async fn a_session_becomes_tokens_and_ends() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let browser = gateway.signed_in(ANA).await;
    let session = browser.cookie("session").unwrap();
    let forged = browser
        .post("/.portcullis/auth/token")
        .without("x-csrf-token");
    assert_eq!(forged.send().await.status, 403);
    let answer = browser.post("/.portcullis/auth/token").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let access = answer.json()["access_token"].as_str().unwrap().to_owned();
    let client = gateway.client();
    assert_eq!(get(&client, &access).await.status, 200);
    let old = client
        .get("/anything")
        .header("cookie", &format!("session={session}"));
    assert_eq!(old.send().await.status, 401);
    let again = client.post("/.portcullis/auth/token");
    let again = again.header("authorization", &format!("Bearer {access}"));
    assert_refused(&again.send().await);
}

#[tokio::test]
async fn without_the_table_nobody_gets_tokens_and_bearers_are_the_products_business() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user(ANA, &["user"])
        .start()
        .await;
    let client = gateway.client();
    let body = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
    assert_eq!(client.post(LOGIN).json(&body).send().await.status, 404);
    assert_eq!(refresh(&client, "pcr_x").await.status, 404);
    // A token that nobody gave out does not keep anybody from signing out.
    let ana = gateway.signed_in(ANA).await;
    let session = ana.cookie("session").unwrap();
    let out = ana.post("/.portcullis/auth/logout");
    let out = out.json(&json!({ "refresh_token": "pcr_x" })).send().await;
    assert_eq!(out.status, 204, "{}", out.text());
    let again = gateway.browser();
    again.set_cookie("session", &session);
    assert_eq!(again.get("/anything").send().await.status, 401);
    let theirs = client
        .get("/public")
        .header("authorization", "Bearer a.b.c");
    assert_eq!(theirs.send().await.status, 200);
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer a.b.c")
    );
}

#[tokio::test]
async fn signing_keys_are_replaced_with_an_overlap_and_taken_out_at_once() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let twin = gateway.twin().await;
    let client = gateway.client();
    let keys = || async {
        let set = client.get("/.portcullis/jwks.json").send().await.json();
        let kids = set["keys"].as_array().unwrap().iter();
        kids.map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let kid_of = |token: &str| read(token).0["kid"].as_str().unwrap().to_owned();
    let before = login(&client).await;
    let old = kid_of(&before.access);
    assert_eq!(keys().await, [old.as_str()]);

    succeed(&gateway.cli(&["--output", "json", "signing-keys", "rotate", "--now"]));
    eventually("both keys are published", || {
        let listed = gateway.cli(&["--output", "json", "signing-keys", "list"]);
        succeed(&listed)
            .as_array()
            .is_some_and(|list| list.len() == 2)
    })
    .await;
    let new = succeed(&gateway.cli(&["--output", "json", "signing-keys", "list"]))[0]["kid"]
        .as_str()
        .unwrap()
        .to_owned();
    // Refreshed and not signed in again: a user has so many at once, and the first one is still wanted.
    let mut other = login(&client).await;
    eventually_asked("the new key signs", async || {
        other = Pair::of(&refresh(&client, &other.refresh).await);
        kid_of(&other.access) == new
    })
    .await;
    assert_eq!(keys().await, [new.as_str(), old.as_str()]);
    let after = login(&client).await;
    for node in [&client, &twin.client()] {
        assert_eq!(
            get(node, &before.access).await.status,
            200,
            "the old key verifies"
        );
        assert_eq!(
            get(node, &after.access).await.status,
            200,
            "a node learns of the new key"
        );
    }

    succeed(&gateway.cli(&["--output", "json", "signing-keys", "revoke", &old]));
    let began = Instant::now();
    for node in [&client, &twin.client()] {
        while get(node, &before.access).await.status != 401 {
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "the old key still verifies"
            );
        }
        assert_eq!(get(node, &after.access).await.status, 200);
    }
    assert!(!keys().await.contains(&old));
}

#[tokio::test]
async fn a_product_that_verifies_by_itself_gets_hs256_and_the_token() {
    let upstream = Upstream::start().await;
    let secret = "a-secret-of-the-product-that-is-long-enough-9f3a";
    let tokens = "algorithm = \"HS256\"\nsecret = { file = \"jwt\" }\npass-on = true\naccess-lifetime = \"15m\"";
    let gateway = builder(&upstream, tokens)
        .await
        .file("jwt", secret)
        .start()
        .await;
    let client = gateway.client();
    let pair = login(&client).await;
    assert_eq!(get(&client, &pair.access).await.status, 200);
    assert_eq!(
        upstream.last().header("authorization"),
        Some(format!("Bearer {}", pair.access).as_str())
    );
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.set_audience(&["product"]);
    rules.set_issuer(&["portcullis"]);
    let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
    let data = jsonwebtoken::decode::<Value>(&pair.access, &key, &rules).unwrap();
    let life = data.claims["exp"].as_i64().unwrap() - data.claims["iat"].as_i64().unwrap();
    assert_eq!(life, 15 * 60);
}

#[tokio::test]
async fn an_authorization_header_beats_the_cookie() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream).await;
    let browser = gateway.signed_in(ANA).await;
    let both = browser
        .get("/anything")
        .header("authorization", "Bearer pcr_x");
    assert_refused(&both.send().await);
    assert_eq!(upstream.requests(), 0);
}
