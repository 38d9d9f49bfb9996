//! The second factor, and the type, of tokens of other issuers (I5, I6, J3), over sockets.

use serde_json::{Value, json};

use crate::support::authenticator::ROUTES;
use crate::support::issuer::{Issuer, hs256};
use crate::support::signer::now;
use crate::support::sockets::NAME;
use crate::support::{Answer, Browser, Client, Gateway, GatewayBuilder, Upstream};

const OPS: &str = "ops@corp.test";

async fn builder(
    upstream: &Upstream,
    issuer: &Issuer,
    profile: &str,
    more: &str,
) -> GatewayBuilder {
    let table = format!(
        "\n[limits.auth]\nrate = \"10000/minute\"\n\n[issuer.them]\nprofile = \"{profile}\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\nadministrators = [\"{OPS}\"]\n{more}\n",
        issuer.url
    );
    let routes = ROUTES.replace("max-age = \"4s\"", "max-age = \"10m\"");
    let strict =
        "\n[[route]]\npath = \"/strict\"\nallow = \"user\"\nmfa = true\nmax-age = \"10m\"\n";
    let builder = Gateway::builder(upstream, &format!("{strict}{routes}")).await;
    builder.more(&table)
}

async fn get(client: &Client, path: &str, token: &str) -> Answer {
    let request = client.get(path);
    let request = request.header("authorization", &format!("Bearer {token}"));
    request.send().await
}

/// Of an administrator, who also has what Supabase asks of people.
fn token(issuer: &Issuer, more: &Value) -> String {
    let mut claims = json!({ "email": OPS, "email_verified": true, "role": "authenticated" });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    issuer.token("ops", &claims)
}

const MISSING: &str = "second-factor-required";
const OLD: &str = "reauthentication-required";

/// What `/payouts` (a second factor), `/strict` (a recent one) and `/recent` (a recent sign-in) say.
async fn say(gateway: &Gateway, token: &str) -> [String; 3] {
    let client = gateway.client();
    let mut said = Vec::new();
    for path in ["/payouts", "/strict", "/recent"] {
        let answer = get(&client, path, token).await;
        said.push(match answer.status.as_u16() {
            200 => "200".to_owned(),
            401 => answer.problem(),
            other => panic!("{path}: {other} {}", answer.text()),
        });
    }
    said.try_into().unwrap()
}

#[tokio::test]
async fn minutes_since_each_factor_open_what_they_are_recent_enough_for() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(31).await;
    let deaf = builder(&upstream, &issuer, "clerk", "").await.start().await;
    let reading = builder(&upstream, &issuer, "clerk", "second-factor-claim = \"fva\"");
    let reading = reading.await.start().await;
    let both = token(&issuer, &json!({ "fva": [1, 1] }));
    assert_eq!(
        say(&deaf, &both).await,
        [MISSING, MISSING, OLD],
        "nobody asked for it"
    );
    for (fva, expected) in [
        (json!([1, 1]), ["200", "200", "200"]),
        (json!([1, -1]), [MISSING, MISSING, "200"]),
        (json!([-1, -1]), [MISSING, MISSING, OLD]),
        // A factor of this morning is one, and not a recent one.
        (json!([1, 300]), ["200", OLD, "200"]),
        (json!([300, 1]), ["200", OLD, OLD]),
        (json!([1, "1"]), [MISSING, MISSING, OLD]),
        (json!([1]), [MISSING, MISSING, OLD]),
        (json!("1,1"), [MISSING, MISSING, OLD]),
        (Value::Null, [MISSING, MISSING, OLD]),
    ] {
        let token = token(&issuer, &json!({ "fva": fva, "jti": fva.to_string() }));
        assert_eq!(say(&reading, &token).await, expected, "{fva}");
    }
    // Another claim says nothing here.
    let other = token(
        &issuer,
        &json!({ "aal": "aal2", "amr": ["mfa"], "auth_time": now() }),
    );
    assert_eq!(say(&reading, &other).await, [MISSING, MISSING, "200"]);
}

#[tokio::test]
async fn a_level_opens_what_asks_for_it_and_its_ways_tell_how_recent_it_is() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(32).await;
    let reading = builder(
        &upstream,
        &issuer,
        "supabase",
        "second-factor-claim = \"aal\"",
    );
    let reading = reading.await.start().await;
    let ways = |password: i64, totp: i64| {
        json!([{ "method": "totp", "timestamp": now() - totp },
            { "method": "token_refresh", "timestamp": now() },
            { "method": "password", "timestamp": now() - password }])
    };
    for (aal, amr, expected) in [
        ("aal2", ways(60, 30), ["200", "200", "200"]),
        ("aal1", ways(60, 30), [MISSING, MISSING, "200"]),
        ("AAL2", ways(60, 30), [MISSING, MISSING, "200"]),
        ("aal2", ways(60, 3600), ["200", OLD, "200"]),
        ("aal2", ways(3600, 30), ["200", OLD, OLD]),
        // Without the ways it is a factor of nobody knows when.
        ("aal2", Value::Null, ["200", OLD, OLD]),
    ] {
        let token = token(&issuer, &json!({ "aal": aal, "amr": amr }));
        assert_eq!(say(&reading, &token).await, expected, "{aal} {amr}");
    }
    // What people write themselves is no claim of the issuer.
    let own = token(&issuer, &json!({ "user_metadata": { "aal": "aal2" } }));
    assert_eq!(say(&reading, &own).await[0], MISSING);
}

#[tokio::test]
async fn any_other_claim_counts_by_the_values_that_are_named() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(33).await;
    let more = "second-factor-claim = \"amr\"\nsecond-factor-values = [\"mfa\", \"otp\"]";
    let gateway = builder(&upstream, &issuer, "oidc", more)
        .await
        .start()
        .await;
    for (amr, expected) in [
        (json!(["pwd", "otp"]), "200"),
        (json!("mfa"), "200"),
        (json!(["pwd"]), MISSING),
        (json!(["otp", 1]), MISSING),
        (json!({ "mfa": true }), MISSING),
        (Value::Null, MISSING),
    ] {
        let token = token(&issuer, &json!({ "amr": amr, "auth_time": now() - 5 }));
        assert_eq!(say(&gateway, &token).await[0], expected, "{amr}");
    }
}

/// The reason for all of this: in production administrators need a second factor everywhere.
#[tokio::test]
async fn an_administrator_of_another_issuer_gets_in_in_production() {
    const SECRET: &str = "a-project-secret-of-supabase-that-is-long-9f3a71";
    const ISSUER: &str = "https://abcdefgh.supabase.co/auth/v1";
    let upstream = Upstream::start().await;
    let table = |more: &str| {
        format!(
            "\n[limits.auth]\nrate = \"10000/minute\"\n\n[issuer.project]\nprofile = \"supabase\"\nissuer = \"{ISSUER}\"\nsecret = {{ file = \"jwt\" }}\njwks = \"\"\nadministrators = [\"{OPS}\"]\nemails-are-verified = true\n{more}\n"
        )
    };
    let start = async |more: &str| {
        let builder = Gateway::builder(&upstream, ROUTES).await.more(&table(more));
        builder.file("jwt", SECRET).in_production().start().await
    };
    let deaf = start("").await;
    let reading = start("second-factor-claim = \"aal\"").await;
    let token = |aal: &str| {
        let claims = json!({
            "iss": ISSUER, "aud": "authenticated", "role": "authenticated", "sub": "ops",
            "email": OPS, "is_anonymous": false, "iat": now(), "exp": now() + 3600, "aal": aal,
            "amr": [{ "method": "totp", "timestamp": now() - 60 }],
        });
        hs256(SECRET, &claims)
    };
    for (gateway, aal, status) in [
        (&reading, "aal2", 200),
        (&reading, "aal1", 401),
        (&deaf, "aal2", 401),
    ] {
        let client = Browser::behind_proxy(gateway.address, NAME);
        for path in ["/admin", "/anything", "/.portcullis/admin/v1/users"] {
            let bearer = format!("Bearer {}", token(aal));
            let request = client.get(path).header("authorization", &bearer);
            let answer = request.send().await;
            assert_eq!(answer.status, status, "{aal} {path} {}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_type_of_tokens_can_be_pinned() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(35).await;
    let any = builder(&upstream, &issuer, "oidc", "").await.start().await;
    let access = builder(&upstream, &issuer, "oidc", "token-type = \"at+jwt\"");
    let access = access.await.start().await;
    let jwt = builder(&upstream, &issuer, "oidc", "token-type = \"JWT\"");
    let jwt = jwt.await.start().await;
    for (typ, expected) in [
        (json!("at+jwt"), [200, 200, 401]),
        (json!("application/at+jwt"), [200, 200, 401]),
        (json!("JWT"), [200, 401, 200]),
        (Value::Null, [200, 401, 401]),
        (json!("logout+jwt"), [401, 401, 401]),
        (json!("dpop+jwt"), [401, 401, 401]),
        (json!("xat+jwt"), [401, 401, 401]),
    ] {
        let mut header = issuer.header();
        match &typ {
            Value::Null => drop(header.as_object_mut().unwrap().remove("typ")),
            typ => header["typ"] = typ.clone(),
        }
        let token = issuer.signed(&header, &issuer.claims("u", &json!({})));
        for (gateway, status) in [&any, &access, &jwt].into_iter().zip(expected) {
            let answer = get(&gateway.client(), "/anything", &token).await;
            assert_eq!(answer.status, status, "{typ}");
        }
    }
}

#[tokio::test]
async fn what_could_never_count_is_refused_at_the_start() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(36).await;
    for (more, key) in [
        ("second-factor-claim = \"amr\"", "second-factor-values"),
        ("second-factor-values = [\"mfa\"]", "second-factor-claim"),
        (
            "second-factor-claim = \"amr\"\nsecond-factor-values = [\"pwd\"]",
            "second-factor-values",
        ),
        (
            "second-factor-claim = \"fva\"\nsecond-factor-values = [\"1\"]",
            "second-factor-values",
        ),
        (
            "second-factor-claim = \"user_metadata\"\nsecond-factor-values = [\"mfa\"]",
            "second-factor-claim",
        ),
        ("token-type = \"jwt\"", "token-type"),
    ] {
        let builder = builder(&upstream, &issuer, "oidc", more).await;
        let output = builder.cli(&["check"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && told.contains(key),
            "{more}: {told}"
        );
    }
}
