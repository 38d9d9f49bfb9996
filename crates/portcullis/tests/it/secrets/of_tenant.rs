//! A tenant's own administrators manage the secrets of their tenant, and nothing beside them.

use http::Method;
use serde_json::{Value, json};

use super::{CANARY, ROOT, SECOND, builder, new, read, reader, tenant, told, write};
use crate::api_keys::make;
use crate::support::{Answer, Browser, Gateway, Upstream};

const ADMIN: &str = "/.portcullis/admin/v1";

/// Ana administers acme, Eve administers globex and is a mere member of acme.
async fn gate(upstream: &Upstream) -> (Gateway, [String; 2]) {
    let gateway = builder(upstream).await.start().await;
    let ids = [tenant(&gateway, "acme"), tenant(&gateway, "globex")];
    for (slug, email, role) in [
        ("globex", "eve@corp.test", "admin"),
        ("acme", "ana@corp.test", "admin"),
    ] {
        let arguments = ["tenants", "set-roles", slug, email, role];
        assert!(gateway.cli(&arguments).status.success());
    }
    (gateway, ids)
}

async fn act(browser: &Browser, method: Method, path: &str, body: &Value) -> Answer {
    let path = format!("{ADMIN}{path}");
    browser.send(method, &path).json(body).send().await
}

/// The first secret of acme.
async fn make_stripe(ana: &Browser) -> Answer {
    let path = "/tenants/acme/secrets/stripe";
    let made = act(ana, Method::PUT, path, &new(CANARY)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made
}

/// Every operation on a tenant's secrets.
fn every(tenant: &str) -> Vec<(Method, String, Value)> {
    let at = |rest: &str| format!("/tenants/{tenant}/secrets{rest}");
    vec![
        (Method::GET, at(""), json!({})),
        (Method::GET, at("/stripe"), json!({})),
        (Method::PUT, at("/stripe"), new("a value of an intruder")),
        (
            Method::POST,
            at("/stripe/rotate"),
            json!({ "value": "a value of an intruder" }),
        ),
        (Method::POST, at("/stripe/end-previous"), json!({})),
        (Method::DELETE, at("/stripe"), json!({})),
    ]
}

#[tokio::test]
async fn a_tenants_administrator_manages_its_secrets_from_the_first_to_the_last() {
    let upstream = Upstream::start().await;
    let (gateway, [acme, _]) = gate(&upstream).await;
    let root = gateway.signed_in(ROOT).await;
    assert_eq!(
        write(&root, "stripe", &new("of the product itself"))
            .await
            .status,
        201
    );
    assert_eq!(
        write(&root, "only", &new("of the product itself"))
            .await
            .status,
        201
    );
    let ana = gateway.signed_in("ana@corp.test").await;
    let made = make_stripe(&ana).await;
    assert_eq!(made.json()["tenant"], acme);
    // Its id names the tenant as well.
    let path = format!("/tenants/{acme}/secrets/stripe");
    let same = act(&ana, Method::PUT, &path, &new(CANARY)).await;
    assert_eq!(
        (same.status.as_u16(), &same.json()["version"]),
        (200, &json!(1))
    );
    let body = json!({ "value": SECOND });
    let rotated = act(
        &ana,
        Method::POST,
        "/tenants/acme/secrets/stripe/rotate",
        &body,
    )
    .await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let listed = act(&ana, Method::GET, "/tenants/acme/secrets", &json!({})).await;
    let shown = act(
        &ana,
        Method::GET,
        "/tenants/acme/secrets/stripe",
        &json!({}),
    )
    .await;
    assert_eq!(
        listed.json().as_array().unwrap().len(),
        1,
        "{}",
        listed.text()
    );
    assert_eq!(shown.json()["versions"].as_array().unwrap().len(), 2);
    // Of the product's own she sees nothing.
    let other = act(&ana, Method::GET, "/tenants/acme/secrets/only", &json!({})).await;
    assert_eq!(other.status, 404);
    for answer in [&made, &rotated, &listed, &shown] {
        assert!(!answer.text().contains(CANARY) && !answer.text().contains(SECOND));
    }
    // Programs of the tenant read what she wrote, and the product's own is as it was.
    let (ours, anybodys) = (reader(&gateway, Some(&acme)), reader(&gateway, None));
    assert_eq!(
        read(&gateway, &ours, "stripe").await.json()["value"],
        SECOND
    );
    let of_product = read(&gateway, &anybodys, "stripe").await;
    assert_eq!(of_product.json()["value"], "of the product itself");
    // It is written down whose it was, and who did it.
    let events = told(&gateway, &["audit", "list", "--action", "secret.rotated"]);
    assert_eq!(events[0]["tenant_id"], acme, "{events}");
    assert_eq!(events[0]["actor"], "user");
    let ended = act(
        &ana,
        Method::POST,
        "/tenants/acme/secrets/stripe/end-previous",
        &json!({}),
    )
    .await;
    assert_eq!(ended.json()["ended"], 1, "{}", ended.text());
    let gone = act(
        &ana,
        Method::DELETE,
        "/tenants/acme/secrets/stripe",
        &json!({}),
    )
    .await;
    assert_eq!(gone.status, 204);
    assert_eq!(read(&gateway, &ours, "stripe").await.status, 404);
    assert_eq!(read(&gateway, &anybodys, "stripe").await.status, 200);
}

#[tokio::test]
async fn nobody_manages_the_secrets_of_another_tenant_or_of_the_product() {
    let upstream = Upstream::start().await;
    let (gateway, [acme, globex]) = gate(&upstream).await;
    let ana = gateway.signed_in("ana@corp.test").await;
    make_stripe(&ana).await;
    let eve = gateway.signed_in("eve@corp.test").await;
    let upper = acme.to_uppercase();
    for spelling in [
        "acme",
        "ACME",
        &acme,
        &upper,
        "acme%20",
        "globex%2f..%2facme",
        "%61cme",
    ] {
        for (method, path, body) in every(spelling) {
            let answer = act(&eve, method.clone(), &path, &body).await;
            assert!(
                answer.status.is_client_error(),
                "{method} {path}: {}",
                answer.text()
            );
            assert!(
                !answer.text().contains("payments"),
                "{method} {path}: {}",
                answer.text()
            );
        }
    }
    // Whatever the request says beside the path.
    for query in [
        format!("?tenant={acme}"),
        "?tenant=none".to_owned(),
        "?x=1".to_owned(),
    ] {
        for (method, path, body) in every("globex") {
            let answer = act(&eve, method.clone(), &format!("{path}{query}"), &body).await;
            assert!(
                answer.status.is_client_error(),
                "{method} {path}{query}: {}",
                answer.text()
            );
        }
    }
    // Nor is a tenant's administrator one of the gate.
    for query in [
        String::new(),
        format!("?tenant={globex}"),
        format!("?tenant={acme}"),
    ] {
        for (method, path, body) in every("x") {
            let path = path.replace("/tenants/x", "");
            let answer = act(&eve, method.clone(), &format!("{path}{query}"), &body).await;
            assert_eq!(
                answer.status,
                403,
                "{method} {path}{query}: {}",
                answer.text()
            );
        }
    }
    // What was there is as it was.
    let shown = act(
        &ana,
        Method::GET,
        "/tenants/acme/secrets/stripe",
        &json!({}),
    )
    .await;
    assert_eq!(shown.json()["version"], 1, "{}", shown.text());
    let listed = act(&eve, Method::GET, "/tenants/globex/secrets", &json!({})).await;
    assert_eq!((listed.status.as_u16(), listed.json()), (200, json!([])));
}

#[tokio::test]
async fn keys_of_others_and_keys_that_do_not_manage_reach_no_secret_of_a_tenant() {
    let upstream = Upstream::start().await;
    let (gateway, [acme, globex]) = gate(&upstream).await;
    let manages = ["--permission", "manage:secrets"];
    let of = |tenant: &str| make(&gateway, &[&manages[..], &["--tenant", tenant]].concat()).1;
    let call = async |key: &str, (method, path, body): &(Method, String, Value)| {
        let request = gateway
            .client()
            .request(method.clone(), &format!("{ADMIN}{path}"));
        let request = request.header("authorization", &format!("Bearer {key}"));
        request.json(body).send().await
    };
    let opens = make(
        &gateway,
        &["--permission", "open:secrets", "--tenant", &acme],
    )
    .1;
    for key in [of(&globex), make(&gateway, &manages).1, opens] {
        for one in every("acme") {
            let answer = call(&key, &one).await;
            assert!(
                answer.status.is_client_error(),
                "{} {}: {}",
                one.0,
                one.1,
                answer.text()
            );
        }
    }
    // The tenant's own key may.
    let mine = of(&acme);
    let answer = call(&mine, &every("acme")[0]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn who_is_a_member_only_or_no_administrator_any_more_manages_nothing() {
    let upstream = Upstream::start().await;
    let (gateway, _) = gate(&upstream).await;
    let ana = gateway.signed_in("ana@corp.test").await;
    make_stripe(&ana).await;
    let demoted = ["tenants", "set-roles", "acme", "ana@corp.test", "user"];
    assert!(gateway.cli(&demoted).status.success());
    crate::support::eventually_asked("it counts", async || {
        let answer = act(&ana, Method::GET, "/tenants/acme/secrets", &json!({})).await;
        answer.status == 403
    })
    .await;
    for (method, path, body) in every("acme") {
        let answer = act(&ana, method.clone(), &path, &body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    // An administrator elsewhere, here as a member.
    let joined = ["tenants", "set-roles", "acme", "eve@corp.test", "user"];
    assert!(gateway.cli(&joined).status.success());
    let eve = gateway.signed_in("eve@corp.test").await;
    let switched = eve
        .post("/.portcullis/auth/tenant")
        .json(&json!({ "tenant": "acme" }));
    let switched = switched.send().await;
    assert!(switched.status.is_success(), "{}", switched.text());
    for (method, path, body) in every("acme") {
        let answer = act(&eve, method.clone(), &path, &body).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    for (method, path, body) in every("globex") {
        let answer = act(&eve, method.clone(), &path, &body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_secrets_and_no_more() {
    let upstream = Upstream::start().await;
    let (gateway, _) = gate(&upstream).await;
    let ana = gateway.signed_in("ana@corp.test").await;
    make_stripe(&ana).await;
    for number in 1..195 {
        let path = format!("/tenants/acme/secrets/filler-{number}");
        let made = act(&ana, Method::PUT, &path, &new(CANARY)).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    // Many at the same moment, through two nodes: five of them find room.
    let twin = gateway.twin().await;
    let elsewhere = twin.signed_in("ana@corp.test").await;
    let value = new(CANARY);
    let all = (0..24).map(|number| {
        let path = format!("/tenants/acme/secrets/late-{number}");
        let (ana, value) = (if number % 2 == 0 { &ana } else { &elsewhere }, &value);
        async move { act(ana, Method::PUT, &path, value).await.status.as_u16() }
    });
    let statuses = futures_util::future::join_all(all).await;
    let made = statuses.iter().filter(|status| **status == 201).count();
    let full = statuses.iter().filter(|status| **status == 422).count();
    assert_eq!((made, full), (5, 19), "{statuses:?}");
    let one_more = act(
        &ana,
        Method::PUT,
        "/tenants/acme/secrets/more",
        &new(CANARY),
    )
    .await;
    assert_eq!(one_more.status, 422, "{}", one_more.text());
    let known = act(
        &ana,
        Method::PUT,
        "/tenants/acme/secrets/stripe",
        &json!({ "value": SECOND }),
    )
    .await;
    assert_eq!(known.status, 200, "{}", known.text());
}
