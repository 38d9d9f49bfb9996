//! a. People whom another provider knows.

use portcullis_vault::signing::sign_hs256;
use serde_json::{Value, json};

use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::{ADMINISTRATOR, BENCH};
use crate::prove::world::World;
use crate::verbs::now;

/// What an issuer with a secret of its own is called, in a copy, and its secret.
pub(super) fn supabase(w: &World) -> Result<(String, Vec<u8>, String), Short> {
    let config = w.config();
    let secrets = &w.stores.loaded.secrets.issuers;
    let found = config.issuers.iter().find_map(|(name, issuer)| {
        let secret = secrets.get(name)?.secret.as_ref()?;
        let audience = issuer.audience.first().cloned();
        Some((
            issuer.issuer.clone(),
            secret.expose().as_bytes().to_vec(),
            audience.unwrap_or_else(|| "authenticated".to_owned()),
        ))
    });
    found.ok_or_else(|| Short::not_configured("issuer.NAME.secret"))
}

/// Claims that such an issuer would make.
pub(super) fn claims(issuer: &str, audience: &str, subject: &str, email: &str) -> Value {
    let at = now().as_seconds();
    json!({
        "iss": issuer, "aud": audience, "sub": subject, "role": "authenticated",
        "email": email, "email_verified": true,
        "user_metadata": { "email_verified": true },
        "iat": at, "exp": at.saturating_add(600),
    })
}

fn signed(claims: &Value, secret: &[u8]) -> Result<String, Short> {
    sign_hs256("JWT", claims, secret).map_err(|error| Short::not_proven(error.to_string()))
}

/// I7
pub(super) async fn provisioned(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT count(*) AS n FROM foreign_identity WHERE subject = $1";
    let w = scene.rehearsal()?;
    let (issuer, secret, audience) = supabase(w)?;
    let path = format!("{BENCH}/user");
    let none = w.target.get(&path).send().await?;
    must(
        none.status == 401,
        || format!("without a token a protected route answers {}", none.said()),
        "allow = \"user\" on the route",
    )?;
    let subject = format!("prove-{}", uuid::Uuid::new_v4().simple());
    let token = signed(
        &claims(&issuer, &audience, &subject, "first@prove.invalid"),
        &secret,
    )?;
    let first = w.target.get(&path).bearer(&token).send().await?;
    must(
        first.passed(),
        || format!("a good token is answered {}", first.said()),
        "[issuer.NAME]: secret, audience",
    )?;
    let known = async || {
        let row = w
            .stores
            .db
            .fetch_optional(SQL, &[(&subject).into()])
            .await?;
        Ok::<_, Short>(row.map_or(Ok(0), |row| row.int("n"))?)
    };
    must(
        known().await? == 1,
        || "the person has no account afterwards".to_owned(),
        "no key turns this off",
    )?;
    w.target.get(&path).bearer(&token).send().await?;
    must(
        known().await? == 1,
        || "the second request made a second account".to_owned(),
        "no key turns this off",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        "no token 401; the first good one makes one account, the second none",
    ))
}

/// I8
pub(super) async fn administrators(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let (issuer, secret, audience) = supabase(w)?;
    let permissions = w.permissions();
    let position = permissions
        .iter()
        .position(|name| name.starts_with("manage:"));
    let Some(position) = position else {
        return Err(Short::not_configured(
            "roles.NAME.permissions = [\"manage:..\"]",
        ));
    };
    let path = format!("{BENCH}/may/{position}");
    let asked = async |email: &str| {
        let token = signed(
            &claims(&issuer, &audience, &format!("sub-{email}"), email),
            &secret,
        )?;
        Ok::<_, Short>(w.target.get(&path).bearer(&token).send().await?)
    };
    let nobody = asked("somebody@prove.invalid").await?;
    must(
        nobody.problem() == "not-permitted",
        || format!("an address that nobody named is answered {}", nobody.said()),
        "issuer.NAME.roles gives too much",
    )?;
    let named = asked(ADMINISTRATOR).await?;
    // In production an administrator is asked for a second factor: by that they are known.
    let known = named.passed() || named.problem() == "second-factor-required";
    must(
        known,
        || format!("an administrator by address is answered {}", named.said()),
        "issuer.NAME.administrators, emails-are-verified",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a named address is an administrator ({}), another one is not (403)",
            named.said()
        ),
    ))
}
