//! Tokens of other issuers (I6, I7, I8, J3, J7), over sockets.

use serde_json::{Value, json};

use crate::support::issuer::{Issuer, hs256};
use crate::support::signer::{now, read};
use crate::support::{Answer, Client, ForeignKey, Gateway, GatewayBuilder, Upstream, eventually};

const SECRET: &str = "a-project-secret-of-supabase-that-is-long-9f3a71";
const SUPABASE: &str = "https://abcdefgh.supabase.co/auth/v1";
const LIMITS: &str =
    "\n[limits.auth]\nrate = \"10000/minute\"\n\n[limits.default]\nrate = \"100000/minute\"\n";

async fn builder(upstream: &Upstream, issuers: &str) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .more(LIMITS)
        .more(issuers)
}

async fn supabase(upstream: &Upstream, more: &str) -> Gateway {
    let table = format!(
        "\n[issuer.supabase]\nprofile = \"supabase\"\nissuer = \"{SUPABASE}\"\nsecret = {{ file = \"jwt\" }}\njwks = \"\"\n{more}\n"
    );
    let builder = builder(upstream, &table).await.file("jwt", SECRET);
    builder.user("ana@corp.test", &["user"]).start().await
}

fn oidc(issuer: &Issuer, more: &str) -> String {
    format!(
        "\n[issuer.company]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n{more}\n",
        issuer.url
    )
}

async fn get_at(client: &Client, target: &str, token: &str) -> Answer {
    let request = client.get(target);
    let request = request.header("authorization", &format!("Bearer {token}"));
    request.send().await
}

async fn get(client: &Client, token: &str) -> Answer {
    get_at(client, "/anything", token).await
}

/// What the product was told of the last caller.
fn told(upstream: &Upstream) -> Value {
    read(upstream.last().header("x-portcullis-assertion").unwrap()).1
}

fn supabase_claims(subject: &str, more: &Value) -> Value {
    let mut claims = json!({
        "iss": SUPABASE, "aud": "authenticated", "role": "authenticated", "sub": subject,
        "email": "ana@corp.test", "iat": now(), "exp": now() + 3600, "is_anonymous": false,
        "user_metadata": { "email_verified": true, "full_name": "Ana" },
        "app_metadata": { "provider": "email" }, "session_id": "s", "aal": "aal1",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn users(gateway: &Gateway) -> Vec<Value> {
    let output = gateway.cli(&["--output", "json", "users", "list"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    list.as_array()
        .or_else(|| list["users"].as_array())
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_supabase_user_is_provisioned_once_and_is_no_local_account_of_that_address() {
    let upstream = Upstream::start().await;
    let gateway = supabase(&upstream, "").await;
    let token = hs256(SECRET, &supabase_claims("5f0c", &json!({})));
    let calls: Vec<_> = (0..16)
        .map(|_| {
            let (client, token) = (gateway.client(), token.clone());
            tokio::spawn(async move { get(&client, &token).await.status })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let seen: Vec<Value> = upstream
        .received()
        .iter()
        .map(|request| read(request.header("x-portcullis-assertion").unwrap()).1["sub"].clone())
        .collect();
    assert!(seen.iter().all(|subject| *subject == seen[0]));
    assert_eq!(users(&gateway).len(), 2, "the local account and this one");
    let local = gateway.signed_in("ana@corp.test").await;
    let me = local.get("/.portcullis/auth/me").send().await.json();
    assert_ne!(me["id"], seen[0], "an address is not who somebody is");
    // The issuer's token is the product's own business, too.
    let bearer = format!("Bearer {token}");
    assert_eq!(
        upstream.received()[0].header("authorization"),
        Some(bearer.as_str())
    );
}

#[tokio::test]
async fn of_supabase_only_people_who_signed_in_count() {
    let upstream = Upstream::start().await;
    let gateway = supabase(&upstream, "administrators = [\"ana@corp.test\"]").await;
    let client = gateway.client();
    for (what, claims) in [
        (
            "the anon key",
            json!({ "role": "anon", "sub": null, "exp": now() + 3600 }),
        ),
        ("the service key", json!({ "role": "service_role" })),
        ("an anonymous sign-in", json!({ "is_anonymous": true })),
        ("no role", json!({ "role": null })),
        ("another audience", json!({ "aud": "anon" })),
        ("ten years", json!({ "exp": now() + 315_360_000 })),
    ] {
        let token = hs256(SECRET, &supabase_claims("u", &claims));
        assert_eq!(
            get(&client, &token).await.problem(),
            "invalid-token",
            "{what}"
        );
    }
    let forged = hs256(
        "another-secret-that-is-long-enough-for-hs256",
        &supabase_claims("u", &json!({})),
    );
    assert_eq!(get(&client, &forged).await.problem(), "invalid-token");
    assert_eq!(upstream.requests(), 0);
    // What people write into their own metadata makes nobody an administrator.
    let token = hs256(SECRET, &supabase_claims("u", &json!({})));
    assert_eq!(get_at(&client, "/admin", &token).await.status, 403);
    assert_eq!(get(&client, &token).await.status, 200);
}

#[tokio::test]
async fn local_deactivation_and_sign_out_hold_for_foreign_tokens() {
    let upstream = Upstream::start().await;
    let gateway = supabase(&upstream, "").await;
    let twin = gateway.twin().await;
    let client = gateway.client();
    let old = hs256(SECRET, &supabase_claims("u", &json!({ "iat": now() - 60 })));
    assert_eq!(get(&client, &old).await.status, 200);
    assert_eq!(get(&twin.client(), &old).await.status, 200);
    let logout = client.post("/.portcullis/auth/logout");
    let logout = logout.header("authorization", &format!("Bearer {old}"));
    assert_eq!(logout.send().await.status, 204);
    assert_eq!(get(&client, &old).await.problem(), "invalid-token");
    let began = std::time::Instant::now();
    while get(&twin.client(), &old).await.status != 401 {
        assert!(
            began.elapsed().as_secs() < 2,
            "the other node did not hear of it"
        );
    }
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let new = hs256(SECRET, &supabase_claims("u", &json!({})));
    assert_eq!(
        get(&client, &new).await.status,
        200,
        "the issuer let them in again"
    );
    let id = told(&upstream)["sub"].as_str().unwrap().to_owned();
    assert!(gateway.cli(&["users", "deactivate", &id]).status.success());
    for node in [&client, &twin.client()] {
        let began = std::time::Instant::now();
        while get(node, &new).await.status != 401 {
            assert!(began.elapsed().as_secs() < 2);
        }
    }
    let newer = hs256(SECRET, &supabase_claims("u", &json!({ "jti": "2" })));
    assert_eq!(get(&client, &newer).await.problem(), "invalid-token");
}

#[tokio::test]
async fn the_tenant_is_the_one_that_the_token_names_and_no_input() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(3).await;
    let table = format!(
        "\n[issuer.clerk]\nprofile = \"clerk\"\nissuer = \"{}\"\nauthorized-parties = [\"https://app.corp.test\"]\nloopback = true\n",
        issuer.url
    );
    let gateway = builder(&upstream, &table).await.start().await;
    let client = gateway.client();
    let claims = |more: Value| {
        let mut all = json!({ "aud": null, "azp": "https://app.corp.test" });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        issuer.token("user_2x", &all)
    };
    let mut tenants = Vec::new();
    for organization in [
        json!({ "orgId": "org_1" }),
        json!({ "o": { "id": "org_1", "rol": "admin" } }),
        json!({ "orgId": "org_2" }),
        json!({}),
    ] {
        let token = claims(organization);
        let request = client
            .get("/anything?orgId=org_3&tenant=org_3")
            .header("authorization", &format!("Bearer {token}"))
            .header("x-tenant-id", "org_3");
        assert_eq!(request.send().await.status, 200);
        tenants.push(told(&upstream)["tenant"].clone());
    }
    assert!(tenants[0].is_string());
    assert_eq!(tenants[0], tenants[1], "both claims of the profile");
    assert_ne!(
        tenants[0], tenants[2],
        "another organization of the same person"
    );
    assert_eq!(tenants[3], Value::Null);
    for party in [
        json!(null),
        json!("https://evil.test"),
        json!(["https://app.corp.test"]),
    ] {
        let token = issuer.token("user_2x", &json!({ "aud": null, "azp": party }));
        assert_eq!(
            get(&client, &token).await.problem(),
            "invalid-token",
            "{party}"
        );
    }
}

/// Clerk signs with RS256; the profile's other default is ES256. The keys come over a socket, and each
/// counts for its own algorithm alone.
#[tokio::test]
async fn tokens_under_the_algorithms_of_clerk_are_verified_by_the_keys_that_it_publishes() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(10).await;
    let (rsa, ec) = (ForeignKey::rs256("ins_rsa"), ForeignKey::es256("ins_ec"));
    *issuer.published().lock().unwrap() = vec![rsa.jwk(), ec.jwk()];
    let table = |name: &str, more: &str| {
        format!(
            "\n[issuer.{name}]\nprofile = \"clerk\"\nissuer = \"{}\"\nauthorized-parties = [\"https://app.corp.test\"]\nloopback = true\n{more}",
            issuer.url
        )
    };
    let gateway = builder(&upstream, &table("clerk", "")).await.start().await;
    let client = gateway.client();
    let claims = |more: Value| {
        let mut all =
            json!({ "aud": null, "azp": "https://app.corp.test", "o": { "id": "org_1" } });
        for (name, value) in more.as_object().unwrap() {
            all[name] = value.clone();
        }
        issuer.claims("user_2x", &all)
    };
    let mut people = Vec::new();
    for key in [&rsa, &ec] {
        let token = key.token(&key.header(), &claims(json!({})));
        let answer = get(&client, &token).await;
        assert_eq!(answer.status, 200, "{}: {}", key.alg(), answer.text());
        people.push((
            told(&upstream)["sub"].clone(),
            told(&upstream)["tenant"].clone(),
        ));
    }
    assert_eq!(people[0], people[1], "whatever it was signed with");
    assert!(people[0].1.is_string());
    let reached = upstream.requests();
    let (stranger, other) = (ForeignKey::rs256("ins_rsa"), ForeignKey::es256("ins_ec"));
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "typ": "JWT", "kid": kid });
    let good = claims(json!({}));
    let expired = claims(json!({ "iat": now() - 900, "exp": now() - 300 }));
    let elsewhere = claims(json!({ "azp": "https://evil.test" }));
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    for (what, token) in [
        ("another RSA key", stranger.token(&stranger.header(), &good)),
        ("another curve key", other.token(&other.header(), &good)),
        (
            "the other key's name",
            rsa.token(&header("RS256", "ins_ec"), &good),
        ),
        (
            "the other key's name and algorithm",
            rsa.token(&ec.header(), &good),
        ),
        (
            "an algorithm that nobody pinned",
            rsa.token(&header("RS512", "ins_rsa"), &good),
        ),
        (
            "another algorithm than signed",
            rsa.token(&header("PS256", "ins_rsa"), &good),
        ),
        ("the public key as a secret", hs256(&modulus, &good)),
        ("expired", rsa.token(&rsa.header(), &expired)),
        ("another party", ec.token(&ec.header(), &elsewhere)),
    ] {
        let answer = get(&client, &token).await;
        assert_eq!(answer.problem(), "invalid-token", "{what}");
    }
    assert_eq!(upstream.requests(), reached);
    // One algorithm pinned: the other key of the very same issuer opens nothing.
    let pinned = table("clerk", "algorithms = [\"RS256\"]\n");
    let pinned = builder(&upstream, &pinned).await.start().await;
    let client = pinned.client();
    let by = |key: &ForeignKey| key.token(&key.header(), &claims(json!({})));
    assert_eq!(get(&client, &by(&rsa)).await.status, 200);
    assert_eq!(get(&client, &by(&ec)).await.problem(), "invalid-token");
}

/// An address counts as verified where the operator says that the project confirms addresses, and not
/// by what people write themselves.
#[tokio::test]
async fn supabase_signs_with_keys_that_it_publishes_and_its_addresses_count_where_they_are_confirmed()
 {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(11).await;
    let key = ForeignKey::es256("project");
    *issuer.published().lock().unwrap() = vec![key.jwk()];
    let table = |more: &str| {
        format!(
            "\n[issuer.project]\nprofile = \"supabase\"\nissuer = \"{}\"\nloopback = true\nadministrators = [\"ops@corp.test\"]\n{more}",
            issuer.url
        )
    };
    let doubting = builder(&upstream, &table("")).await.start().await;
    let trusting = table("emails-are-verified = true\n");
    let trusting = builder(&upstream, &trusting).await.start().await;
    let token = |subject: &str, email: &str| {
        let more = json!({
            "aud": "authenticated", "role": "authenticated", "is_anonymous": false, "email": email,
            "user_metadata": { "email_verified": true },
        });
        key.token(&key.header(), &issuer.claims(subject, &more))
    };
    let stranger = ForeignKey::es256("project");
    let ops = token("1", "ops@corp.test");
    let ana = token("2", "ana@corp.test");
    for (gateway, of_ops) in [(&doubting, 403), (&trusting, 200)] {
        let client = gateway.client();
        assert_eq!(get(&client, &ana).await.status, 200);
        assert_eq!(get_at(&client, "/admin", &ops).await.status, of_ops);
        assert_eq!(get_at(&client, "/admin", &ana).await.status, 403);
        let forged = stranger.token(&stranger.header(), &issuer.claims("1", &json!({})));
        assert_eq!(get(&client, &forged).await.problem(), "invalid-token");
    }
}

#[tokio::test]
async fn administrators_are_named_by_an_address_that_the_issuer_verified() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(4).await;
    let table = oidc(&issuer, "administrators = [\"ops@corp.test\"]");
    let gateway = builder(&upstream, &table).await.start().await;
    let client = gateway.client();
    for (verified, status) in [
        (json!(true), 200),
        (json!("true"), 403),
        (json!(1), 403),
        (json!(false), 403),
        (json!(null), 403),
    ] {
        let token = issuer.token(
            "ops",
            &json!({ "email": "Ops@corp.test", "email_verified": verified }),
        );
        assert_eq!(
            get_at(&client, "/admin", &token).await.status,
            status,
            "{verified}"
        );
        assert_eq!(get(&client, &token).await.status, 200);
    }
    for address in [
        "ops@corp.test.evil.test",
        "ops@corp.test@evil.test",
        "x+ops@corp.test",
    ] {
        let token = issuer.token("x", &json!({ "email": address, "email_verified": true }));
        assert_eq!(
            get_at(&client, "/admin", &token).await.status,
            403,
            "{address}"
        );
    }
}

#[tokio::test]
async fn whatever_keys_tokens_name_the_issuer_is_asked_once_in_thirty_seconds() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(5).await;
    let gateway = builder(&upstream, &oidc(&issuer, "")).await.start().await;
    let client = gateway.client();
    eventually("the keys are read at the start", || {
        issuer.server.requests() >= 2
    })
    .await;
    assert_eq!(
        get(&client, &issuer.token("u", &json!({}))).await.status,
        200
    );
    let flood: Vec<_> = (0..200)
        .map(|number| {
            let mut header = issuer.header();
            header["kid"] = json!(format!("unknown-{number}"));
            let token = issuer.signed(&header, &issuer.claims("u", &json!({})));
            let client = gateway.client();
            tokio::spawn(async move { get(&client, &token).await.status })
        })
        .collect();
    for call in flood {
        assert_eq!(call.await.unwrap(), 401);
    }
    // The discovery document and the keys at the start, and perhaps the keys once more.
    assert!(
        issuer.server.requests() <= 3,
        "{}",
        issuer.server.requests()
    );
}

#[tokio::test]
async fn an_issuer_that_is_away_closes_its_own_door_and_no_other() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(6).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let away = format!(
        "\n[issuer.away]\nprofile = \"oidc\"\nissuer = \"http://{address}\"\naudience = [\"product\"]\nloopback = true\n"
    );
    let gateway = builder(&upstream, &format!("{}{away}", oidc(&issuer, "")))
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let client = gateway.client();
    let theirs = issuer.token("u", &json!({ "iss": format!("http://{address}") }));
    let answer = get(&client, &theirs).await;
    assert_eq!(answer.problem(), "temporarily-unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(upstream.requests(), 0);
    assert_eq!(
        get(&client, &issuer.token("u", &json!({}))).await.status,
        200
    );
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/anything").send().await.status, 200);
}

#[tokio::test]
async fn a_token_of_nobody_that_is_configured_is_the_products_business() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(7).await;
    let gateway = builder(&upstream, &oidc(&issuer, "")).await.start().await;
    let other = hs256(
        SECRET,
        &json!({ "iss": "https://other.example", "sub": "x" }),
    );
    assert_eq!(
        get_at(&gateway.client(), "/public", &other).await.status,
        200
    );
    let bearer = format!("Bearer {other}");
    assert_eq!(
        upstream.last().header("authorization"),
        Some(bearer.as_str())
    );
    assert_eq!(told(&upstream)["sub"], "anonymous");
    assert_eq!(get(&gateway.client(), &other).await.status, 401);
}

/// A cached verdict is of the whole token: what counts under one issuer or audience says nothing of
/// another (CVE-2026-33496), and two tokens that differ in one letter are two.
#[tokio::test]
async fn what_is_remembered_of_one_token_does_not_count_for_another() {
    let upstream = Upstream::start().await;
    let (one, two) = (Issuer::start(8).await, Issuer::start(9).await);
    let second = oidc(&two, "").replace("issuer.company", "issuer.second");
    let tables = format!("{}{second}", oidc(&one, ""));
    let gateway = builder(&upstream, &tables).await.start().await;
    let client = gateway.client();
    let good = one.token("u", &json!({}));
    assert_eq!(get(&client, &good).await.status, 200);
    let first = told(&upstream)["sub"].clone();
    assert_eq!(get(&client, &two.token("u", &json!({}))).await.status, 200);
    assert_ne!(
        told(&upstream)["sub"],
        first,
        "the same subject of another issuer"
    );
    // The second issuer's key under the first one's name.
    let crossed = two.signed(&two.header(), &one.claims("u", &json!({})));
    assert_eq!(get(&client, &crossed).await.problem(), "invalid-token");
    let crossed = two.signed(&one.header(), &one.claims("u", &json!({})));
    assert_eq!(get(&client, &crossed).await.problem(), "invalid-token");
    let other = one.token("u", &json!({ "aud": "another-product" }));
    assert_eq!(get(&client, &other).await.problem(), "invalid-token");
    let (start, end) = good.split_at(good.len() - 10);
    let changed = format!(
        "{start}{}{}",
        if end.starts_with('A') { 'B' } else { 'A' },
        &end[1..]
    );
    assert_eq!(get(&client, &changed).await.problem(), "invalid-token");
    assert_eq!(get(&client, &good).await.status, 200);
}
