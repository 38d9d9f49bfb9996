//! Routes that want a second factor or a recent sign-in, and roles that must have one (I5).

use http::Method;
use serde_json::json;

use crate::support::authenticator::{ROUTES, enrol, prove, sign_in};
use crate::support::sockets::NAME;
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream};

const AUTH: &str = "/.portcullis/auth";
const ROOT: &str = "root@corp.test";
const ANA: &str = "ana@corp.test";

async fn production(upstream: &Upstream, mfa: &str) -> Gateway {
    Gateway::builder(upstream, ROUTES)
        .await
        .user(ROOT, &["admin"])
        .user(ANA, &["user"])
        .more(&format!("\n[limits.auth]\nrate = \"1000/minute\"\n{mfa}"))
        .in_production()
        .start()
        .await
}

async fn signed_in(gateway: &Gateway, email: &str) -> Browser {
    let browser = Browser::behind_proxy(gateway.address, NAME);
    let answer = sign_in(&browser, email, PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    browser
}

fn assert_asks(answer: &Answer, slug: &str, word: &str) {
    assert_eq!(answer.status, 401);
    assert_eq!(answer.problem(), slug);
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("insufficient_user_authentication"),
        "{challenge}"
    );
    assert!(challenge.contains(word), "{challenge}");
}

#[tokio::test]
async fn a_route_that_wants_a_second_factor_gets_one_or_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .user(ANA, &["user"])
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let before = upstream.requests();
    let answer = ana.get("/payouts").send().await;
    assert_asks(&answer, "second-factor-required", "acr_values=\"mfa\"");
    // A browser gets a page with the way on, and is not sent anywhere.
    let page = ana
        .get("/payouts")
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(page.status, 401);
    assert!(
        page.text().contains("/second-factor?next=%2Fpayouts"),
        "{}",
        page.text()
    );
    let socket = ana
        .get("/payouts")
        .header("origin", &ana.origin())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .send()
        .await;
    assert_eq!(socket.status, 401);
    assert_eq!(upstream.requests(), before, "the product saw nothing");
    enrol(&ana).await;
    assert_eq!(ana.get("/payouts").send().await.status, 200);
    // Taken away again, it no longer counts.
    let removed = ana.send(Method::DELETE, &format!("{AUTH}/factors/totp"));
    assert_eq!(removed.send().await.status, 204);
    assert_eq!(ana.get("/payouts").send().await.status, 401);
}

#[tokio::test]
async fn a_route_that_wants_a_recent_sign_in_refuses_an_old_one() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .user(ANA, &["user"])
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/recent").send().await.status, 200);
    let mut answer = ana.get("/recent").send().await;
    for _ in 0..1000 {
        if answer.status != 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        answer = ana.get("/recent").send().await;
    }
    assert_asks(&answer, "reauthentication-required", "max_age=\"4\"");
    assert_eq!(
        ana.get("/anything").send().await.status,
        200,
        "the session is good"
    );
    let page = ana
        .get("/recent")
        .header("accept", "text/html")
        .send()
        .await;
    assert!(
        page.text().contains("/sign-in?next=%2Frecent"),
        "{}",
        page.text()
    );
}

#[tokio::test]
async fn in_production_an_administrator_without_a_second_factor_gets_the_way_to_one_and_nothing_else()
 {
    let upstream = Upstream::start().await;
    let gateway = production(&upstream, "").await;
    let root = signed_in(&gateway, ROOT).await;
    let before = upstream.requests();
    for path in [
        "/anything",
        "/admin",
        "/.portcullis/admin/v1/users",
        &format!("{AUTH}/sessions"),
        &format!("{AUTH}/account"),
        &format!("{AUTH}/password"),
    ] {
        let answer = root.get(path).send().await;
        assert_eq!(answer.problem(), "second-factor-required", "{path}");
    }
    assert_eq!(upstream.requests(), before);
    for path in [
        "/public",
        &format!("{AUTH}/me"),
        &format!("{AUTH}/security"),
        &format!("{AUTH}/second-factor"),
    ] {
        assert_eq!(root.get(path).send().await.status, 200, "{path}");
    }
    let ana = signed_in(&gateway, ANA).await;
    assert_eq!(
        ana.get("/anything").send().await.status,
        200,
        "others are not asked"
    );

    let (app, _) = enrol(&root).await;
    for path in ["/anything", "/admin", "/.portcullis/admin/v1/users"] {
        assert_eq!(root.get(path).send().await.status, 200, "{path}");
    }
    let again = Browser::behind_proxy(gateway.address, NAME);
    let half = sign_in(&again, ROOT, PASSWORD).await;
    assert_eq!(half.problem(), "second-factor-required");
    assert_eq!(prove(&again, &app.code(1)).await.status, 200);
    assert_eq!(again.get("/admin").send().await.status, 200);
}

#[tokio::test]
async fn every_route_of_the_admin_api_asks_for_a_second_factor_in_production() {
    let upstream = Upstream::start().await;
    // Whatever role it is that leads here: a list that names nobody changes nothing.
    let roles = crate::admin_api::ROLES;
    let gateway = production(&upstream, &format!("\n[mfa]\nrequired-for = []\n{roles}")).await;
    // Of a tenant too, for the routes that are about one.
    for arguments in [
        vec!["tenants", "create", "acme"],
        vec!["tenants", "set-roles", "acme", ROOT, "admin"],
    ] {
        let done = gateway.cli(&arguments);
        assert!(done.status.success(), "{done:?}");
    }
    let root = signed_in(&gateway, ROOT).await;
    assert_eq!(root.get("/admin").send().await.status, 200);
    let listed = gateway.cli(&["routes", "list", "--own", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut asked = 0;
    for row in listed.as_array().unwrap() {
        let route = row["route"].as_str().unwrap();
        let Some((method, path)) = route.split_once(' ') else {
            continue;
        };
        if !path.contains("/admin/v1/") {
            continue;
        }
        let parts = path.split('/').map(crate::admin_api::filled);
        let path = parts.collect::<Vec<_>>().join("/");
        let method: Method = method.parse().unwrap();
        let answer = root.send(method, &path).json(&json!({})).send().await;
        assert_eq!(answer.problem(), "second-factor-required", "{route}");
        asked += 1;
    }
    assert!(asked >= 6, "{listed}");
}

#[tokio::test]
async fn development_does_not_enforce_the_roles_and_says_so() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .user(ROOT, &["admin"])
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    assert_eq!(root.get("/admin").send().await.status, 200);
    gateway
        .wait_until_printed("no role has to have a second factor")
        .await;
}

#[tokio::test]
async fn tokens_carry_the_factors_of_their_sign_in_and_no_others() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder(&upstream, ROUTES)
        .await
        .user(ANA, &["user"])
        .more("\n[tokens]\n\n[limits.auth]\nrate = \"1000/minute\"\n")
        .start()
        .await;
    let client = gateway.client();
    let login = async |code: Option<&str>| {
        let mut body = json!({ "email": ANA, "password": PASSWORD, "grant": "tokens" });
        if let Some(code) = code {
            body["code"] = json!(code);
        }
        let login = client.post(&format!("{AUTH}/login"));
        login.json(&body).send().await
    };
    let token = |answer: &Answer, which: &str| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()[which].as_str().unwrap().to_owned()
    };
    let get = async |path: &str, access: &str| {
        let request = client.get(path);
        let bearer = format!("Bearer {access}");
        request.header("authorization", &bearer).send().await
    };
    let one_factor = token(&login(None).await, "access_token");
    let ana = gateway.signed_in(ANA).await;
    let (app, codes) = enrol(&ana).await;
    let answer = get("/payouts", &one_factor).await;
    assert_eq!(answer.status, 401, "a token of before has one factor");
    // The password alone gives no tokens now, nor does it with a wrong code.
    let halfway = login(None).await;
    assert_eq!(halfway.problem(), "second-factor-required");
    assert_eq!(login(Some("000000")).await.problem(), "invalid-input");
    let pair = login(Some(&app.code(1))).await;
    assert!(pair.cookies().is_empty(), "tokens or a session, not both");
    let access = token(&pair, "access_token");
    assert_eq!(get("/payouts", &access).await.status, 200);
    assert_eq!(claims(&access)["amr"], json!(["mfa"]));
    let refresh = json!({ "refresh_token": token(&pair, "refresh_token") });
    let refreshed = client.post(&format!("{AUTH}/refresh")).json(&refresh);
    let next = token(&refreshed.send().await, "access_token");
    assert_eq!(get("/payouts", &next).await.status, 200);
    // In two steps, as a client does that asks for the code when it is told to.
    let (name, value) = halfway.cookies().into_iter().next().unwrap();
    let last_step = client.post(&format!("{AUTH}/second-factor"));
    let last_step = last_step
        .header("cookie", &format!("{name}={value}"))
        .json(&json!({ "code": codes[0], "grant": "tokens" }));
    let access = token(&last_step.send().await, "access_token");
    assert_eq!(get("/payouts", &access).await.status, 200);
    // A new password takes nothing from the factor that was proved, and gives nothing either.
    let new = "vivid-gantry-58-lichen-orbit";
    let change = client
        .post(&format!("{AUTH}/change-password"))
        .header("authorization", &format!("Bearer {access}"))
        .json(&json!({ "old_password": PASSWORD, "new_password": new }));
    let access = token(&change.send().await, "access_token");
    assert_eq!(get("/payouts", &access).await.status, 200);
    // With the factor its proof is gone, also from tokens.
    let ana = gateway.browser();
    let body = json!({ "email": ANA, "password": new, "code": codes[1] });
    let login = ana.post(&format!("{AUTH}/login")).json(&body).send().await;
    assert_eq!(login.status, 200, "{}", login.text());
    let removed = ana.send(Method::DELETE, &format!("{AUTH}/factors/totp"));
    assert_eq!(removed.send().await.status, 204);
    let answer = get("/payouts", &access).await;
    assert_eq!(answer.problem(), "second-factor-required");
    assert_eq!(get("/anything", &access).await.status, 200);
}

fn claims(token: &str) -> serde_json::Value {
    crate::support::signer::read(token).1
}
