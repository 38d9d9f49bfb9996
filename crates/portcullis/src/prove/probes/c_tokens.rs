//! c. Tokens of the gate's own, and those of others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_identity::tokens::TokenAlgorithm;
use portcullis_vault::signing::{ACCESS_TOKEN_TYPE, sign_hs256};
use serde_json::{Map, Value, json};

use super::a_issuers::{claims, supabase};
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{From, OTHER_AGENT};
use crate::prove::world::{Account, World, auth};
use crate::verbs::now;

/// What a client that holds tokens gets.
pub(super) struct Pair {
    access: String,
    refresh: String,
    expires_in: i64,
}

impl Pair {
    pub(super) fn access(&self) -> &str {
        &self.access
    }

    /// Both tokens.
    pub(super) fn texts(self) -> [String; 2] {
        [self.access, self.refresh]
    }
}

pub(super) async fn grant(w: &World, account: &Account, from: From) -> Result<Pair, Short> {
    if w.config().tokens.is_none() {
        return Err(Short::not_configured("[tokens]"));
    }
    let body =
        json!({ "email": account.email, "password": account.password.expose(), "grant": "tokens" });
    let ask = w.target.ask("POST", &auth("login")).from(from);
    let reply = ask
        .header("origin", &w.target.origin)
        .json(&body)
        .send()
        .await?;
    if reply.status != 200 {
        return Err(Short::not_proven(format!(
            "signing in for tokens is answered {}",
            reply.said()
        )));
    }
    let body = reply.json();
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(Pair {
        access: text("access_token"),
        refresh: text("refresh_token"),
        expires_in: body
            .get("expires_in")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
    })
}

/// The claims of a token that this gate has signed itself.
pub(super) fn read(token: &str) -> Map<String, Value> {
    let payload = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default()
}

/// Claims under the very key that signs access tokens.
fn sign_as_gate(w: &World, claims: &Map<String, Value>) -> Result<String, Short> {
    let said = |error: String| Short::not_proven(error);
    let config = w.config().tokens.clone().unwrap_or_default();
    match config.algorithm {
        TokenAlgorithm::EdDsa => {
            let ring = &w.stores.identity.signing_keys.ring;
            ring.sign(ACCESS_TOKEN_TYPE, claims, now())
                .map_err(|error| said(error.to_string()))
        }
        TokenAlgorithm::Hs256 => {
            let secret = w.stores.loaded.secrets.tokens.0.first();
            let secret = secret.ok_or_else(|| said("there is no secret".to_owned()))?;
            sign_hs256(ACCESS_TOKEN_TYPE, claims, secret.expose().as_bytes())
                .map_err(|error| said(error.to_string()))
        }
    }
}

/// J1
pub(super) async fn lifetimes(scene: &Scene) -> Probed {
    let w = &scene.live;
    let pair = grant(w, &w.people.plain, w.target.fresh()).await?;
    let config = w.config().tokens.clone().unwrap_or_default();
    let mut claims = read(&pair.access);
    let at = |claims: &Map<String, Value>, name: &str| {
        claims.get(name).and_then(Value::as_i64).unwrap_or_default()
    };
    let lives = at(&claims, "exp").saturating_sub(at(&claims, "iat"));
    let wanted = i64::try_from(config.access_lifetime.as_seconds()).unwrap_or(i64::MAX);
    must(
        lives == wanted && pair.expires_in <= wanted,
        || format!("an access token lives {lives} s, and not {wanted}"),
        "[tokens] access-lifetime",
    )?;
    let me = auth("me");
    let asked = async |token: &str| w.target.get(&me).bearer(token).send().await;
    let good = asked(&pair.access).await?;
    must(
        good.status == 200,
        || format!("a fresh access token is answered {}", good.said()),
        ALWAYS,
    )?;
    let again = asked(&sign_as_gate(w, &claims)?).await?;
    if again.status != 200 {
        return Err(Short::not_proven(format!(
            "a token that the probe signed with the gate's own key is answered {}: nothing can be said of an expired one",
            again.said()
        )));
    }
    let past = now().as_seconds().saturating_sub(120);
    claims.insert("exp".to_owned(), json!(past));
    claims.insert("iat".to_owned(), json!(past.saturating_sub(wanted)));
    let expired = asked(&sign_as_gate(w, &claims)?).await?;
    must(
        expired.status == 401,
        || {
            format!(
                "a rightly signed token that expired two minutes ago is answered {}",
                expired.said()
            )
        },
        ALWAYS,
    )?;
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#),
        pair.access.split('.').nth(1).unwrap_or_default()
    );
    let unsigned = asked(&none).await?;
    must(
        unsigned.status == 401,
        || {
            format!(
                "a token without a signature is answered {}",
                unsigned.said()
            )
        },
        ALWAYS,
    )?;
    let as_access = asked(&pair.refresh).await?;
    must(
        as_access.status == 401,
        || {
            format!(
                "a refresh token as access token is answered {}",
                as_access.said()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "access {lives} s, refresh {}; expired 401, `alg: none` 401, a refresh token as access token 401",
            config.refresh_lifetime
        ),
    ))
}

/// J2
pub(super) async fn rotation(scene: &Scene) -> Probed {
    let w = &scene.live;
    let from = w.target.fresh();
    let first = grant(w, &w.people.plain, from).await?;
    let refresh = async |token: &str, agent: Option<&str>| {
        let ask = w
            .target
            .ask("POST", &auth("refresh"))
            .from(from)
            .header("origin", &w.target.origin);
        let ask = match agent {
            None => ask,
            Some(agent) => ask.header("user-agent", agent),
        };
        ask.json(&json!({ "refresh_token": token })).send().await
    };
    let second = refresh(&first.refresh, None).await?;
    let body = second.json();
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (access, next) = (text("access_token"), text("refresh_token"));
    must(
        second.status == 200 && next != first.refresh,
        || {
            format!(
                "a refresh is answered {} without a new refresh token",
                second.said()
            )
        },
        ALWAYS,
    )?;
    let me = auth("me");
    let good = w.target.get(&me).bearer(&access).send().await?;
    must(
        good.status == 200,
        || format!("the new access token is answered {}", good.said()),
        ALWAYS,
    )?;
    let stolen = refresh(&first.refresh, Some(OTHER_AGENT)).await?;
    must(
        !stolen.passed(),
        || {
            format!(
                "a used refresh token, from elsewhere, is answered {}",
                stolen.said()
            )
        },
        ALWAYS,
    )?;
    let ended = w
        .until(async || Ok(w.target.get(&me).bearer(&access).send().await?.status == 401))
        .await?;
    must(
        ended,
        || "after a theft was noticed the access token still counts".to_owned(),
        ALWAYS,
    )?;
    let over = refresh(&next, None).await?;
    must(
        !over.passed(),
        || {
            format!(
                "after a theft was noticed the newest refresh token is answered {}",
                over.said()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        "each refresh gives a new token; a used one from elsewhere is refused, and ends access and refresh tokens of that sign-in",
    ))
}

/// J3
pub(super) async fn foreign(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let (issuer, secret, audience) = supabase(w)?;
    let path = format!("{BENCH}/user");
    let asked = async |claims: &Value, secret: &[u8]| {
        let token = sign_hs256("JWT", claims, secret)
            .map_err(|error| Short::not_proven(error.to_string()))?;
        Ok::<_, Short>(w.target.get(&path).bearer(&token).send().await?)
    };
    let good = claims(&issuer, &audience, "j3", "j3@prove.invalid");
    let reply = asked(&good, &secret).await?;
    must(
        reply.passed(),
        || format!("a good token is answered {}", reply.said()),
        "issuer.NAME.secret",
    )?;
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        if let Some(claims) = claims.as_object_mut() {
            claims.insert(name.to_owned(), value);
        }
        claims
    };
    let other: Vec<u8> = secret.iter().map(|byte| byte ^ 1).collect();
    let past = now().as_seconds().saturating_sub(600);
    let later = now().as_seconds().saturating_add(600);
    let hostile = [
        ("another secret", good.clone(), &other),
        ("another audience", changed("aud", json!("anon")), &secret),
        (
            "another issuer",
            changed("iss", json!("https://evil.test")),
            &secret,
        ),
        (
            "an end ten minutes ago",
            changed("exp", json!(past)),
            &secret,
        ),
        (
            "a beginning in ten minutes",
            changed("nbf", json!(later)),
            &secret,
        ),
    ];
    for (what, claims, secret) in &hostile {
        let reply = asked(claims, secret).await?;
        must(
            reply.status == 401,
            || format!("a token with {what} is answered {}", reply.said()),
            "issuer.NAME: secret, audience, issuer",
        )?;
    }
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(good.to_string())
    );
    let reply = w.target.get(&path).bearer(&unsigned).send().await?;
    must(
        reply.status == 401,
        || format!("a token without a signature is answered {}", reply.said()),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        "a good token passes; with another secret, audience or issuer, expired, not begun or without a signature: 401 each",
    ))
}

/// J4
pub(super) async fn short_secret(_scene: &Scene) -> Probed {
    let tables = "\n[tokens]\nalgorithm = \"HS256\"\nsecret = { file = \"jwt\" }\n";
    let hostile = |length: usize| -> anyhow::Result<Hostile> {
        let secret = hex::encode(portcullis_vault::tokens::random::<64>()?);
        let secret: String = secret.chars().take(length).collect();
        Ok(Hostile::sound()?.with(tables).file("jwt", &secret))
    };
    hostile(64)?.is_taken().await?;
    let said = hostile(31)?.is_refused_for("tokens.secret").await?;
    Ok(Held::at(
        Place::Start,
        format!("64 characters are taken, 31 are not: {said}"),
    ))
}

/// J5
pub(super) async fn default_secret(_scene: &Scene) -> Probed {
    // As they stand in documents, sample files and tutorials; some are long enough, and written anew.
    const EXAMPLES: [&str; 5] = [
        "your-secret-key-change-in-production",
        "your-super-secret-jwt-token-with-at-least-32-characters-long",
        "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
        "django-insecure-0f1e2d3c4b5a69788796a5b4c3d2e1f0a1b2",
        "dev-secret-key-please-do-not-use-in-production",
    ];
    const TOKENS: &str = "\n[tokens]\nalgorithm = \"HS256\"\nsecret = { file = \"jwt\" }\n";
    Hostile::sound()?.is_taken().await?;
    let mut said = String::new();
    for example in EXAMPLES {
        let master = Hostile::sound()?.master(example);
        said = master.is_refused_for("secrets.master").await?;
        let tokens = Hostile::sound()?.with(TOKENS).file("jwt", example);
        tokens.is_refused_for("tokens.secret").await?;
    }
    let [first, ..] = EXAMPLES;
    let hostile = Hostile::sound()?.master(first);
    hostile.is_not_served_for("secrets.master").await?;
    Ok(Held::at(
        Place::Start,
        format!(
            "{} secrets of documents and sample files, as master secret and as secret of tokens ({said}); `serve` ends with `{first}` before it listens",
            EXAMPLES.len()
        ),
    ))
}

/// J7
pub(super) async fn tenant_of_identity(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let browser = w.signed_in(&w.people.plain).await?;
    let path = format!("{BENCH}/user");
    let asked = browser
        .get(&format!("{path}?tenant={}", w.b.id))
        .header("x-tenant", &w.b.slug)
        .header("x-org-id", &w.b.id.to_string())
        .header("x-portcullis-tenant", &w.b.id.to_string())
        .send()
        .await?;
    must(
        asked.passed(),
        || format!("a member is answered {}", asked.said()),
        ALWAYS,
    )?;
    let seen = w.came_through(&path)?;
    let header = w.config().assertion.header.to_ascii_lowercase();
    let told = read(seen.header(&header).unwrap_or_default());
    let tenant = told
        .get("tenant")
        .and_then(Value::as_str)
        .unwrap_or_default();
    must(
        tenant == w.a.id.to_string(),
        || format!("the product is told the tenant `{tenant}`, and not the caller's"),
        ALWAYS,
    )?;
    must(
        seen.header("x-portcullis-tenant").is_none(),
        || "the product gets the tenant that the client claimed".to_owned(),
        ALWAYS,
    )?;
    let other = browser
        .get(&format!("{BENCH}/orgs/{}", w.b.slug))
        .send()
        .await?;
    must(
        !other.passed(),
        || format!("another tenant's path is answered {}", other.said()),
        "tenant = { path = .. } on the route",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "the request claims tenant B in query and headers; the product is told A; B's own path is answered {}",
            other.said()
        ),
    ))
}
