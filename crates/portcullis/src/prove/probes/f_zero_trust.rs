//! f. Who is believed, and what administration asks for.

use portcullis_store::Engine;
use serde_json::Value;

use super::c_tokens::read;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::world::base;

/// T6
pub(super) async fn zero_trust(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let header = w.config().assertion.header.clone();
    let browser = w.signed_in(&w.people.plain).await?;
    let path = format!("{BENCH}/user");
    let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.";
    let reply = browser
        .get(&path)
        .header(&header, forged)
        .header("x-user-id", "root")
        .header("x-forwarded-user", "root")
        .send()
        .await?;
    must(
        reply.passed(),
        || format!("a signed-in user is answered {}", reply.said()),
        ALWAYS,
    )?;
    let seen = w.came_through(&path)?;
    let told = seen
        .header(&header.to_ascii_lowercase())
        .unwrap_or_default()
        .to_owned();
    let claims = read(&told);
    let unverified = portcullis_vault::jws::Unverified::read(&told).map_err(|error| {
        Short::failed(format!("the product gets no assertion: {error}"), ALWAYS)
    })?;
    let kid = unverified.header().kid.clone().unwrap_or_default();
    let ring = &w.stores.identity.signing_keys.ring;
    let key = ring.verifying(&kid, crate::verbs::now());
    let verified = key.is_some_and(|key| unverified.verify([&key]).is_ok());
    must(
        verified,
        || "the product gets an assertion that no published key verifies".to_owned(),
        ALWAYS,
    )?;
    let text = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    must(
        text("sub") == w.people.plain.id.to_string(),
        || format!("the product is told `{}`", text("sub")),
        ALWAYS,
    )?;
    let lives = claims
        .get("exp")
        .and_then(Value::as_i64)
        .unwrap_or_default()
        .saturating_sub(
            claims
                .get("iat")
                .and_then(Value::as_i64)
                .unwrap_or_default(),
        );
    must(
        lives <= 300 && !text("aud").is_empty(),
        || format!("the assertion lives {lives} s, for `{}`", text("aud")),
        "[assertion] lifetime",
    )?;
    let cookie = seen.header("cookie").unwrap_or_default();
    must(
        !cookie.contains(&w.session_cookie()),
        || "the product gets the session cookie".to_owned(),
        ALWAYS,
    )?;
    let claimed = ["x-user-id", "x-forwarded-user"]
        .into_iter()
        .find(|name| seen.header(name).is_some_and(|value| value == "root"));
    must(
        claimed.is_none(),
        || {
            format!(
                "the product gets the client's own `{}`",
                claimed.unwrap_or_default()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a forged assertion and two identity headers came in; the product got a signed one for `{}`, of {lives} s, verified with the published key, and neither cookie nor claim",
            text("aud")
        ),
    ))
}

/// T7
pub(super) async fn least_privilege(scene: &Scene) -> Probed {
    let w = &scene.live;
    let browser = w.signed_in(&w.people.plain).await?;
    let mut refused = 0_u32;
    for path in [
        "/admin/v1/users",
        "/admin/v1/keys",
        "/admin/v1/signing-keys",
        "/console/users",
    ] {
        for reply in [
            browser.get(&base(path)).send().await?,
            w.target.get(&base(path)).send().await?,
        ] {
            must(
                !reply.passed(),
                || {
                    format!(
                        "{path} is answered {} to somebody who is no administrator",
                        reply.said()
                    )
                },
                "roles.NAME.permissions",
            )?;
            refused = refused.saturating_add(1);
        }
    }
    must(
        w.admin.ip().is_loopback(),
        || format!("metrics are on {}", w.admin),
        "[admin] address = \"127.0.0.1:9090\"",
    )?;
    let database = match w.stores.db.engine() {
        Engine::Sqlite => {
            use std::os::unix::fs::PermissionsExt as _;
            let url = w.database().map(|url| url.expose().clone());
            let url = url.unwrap_or_default();
            let file = url
                .trim_start_matches("sqlite://")
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned();
            let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
            must(
                mode.trailing_zeros() >= 3,
                || format!("`{file}` is open to everybody on this machine (mode {mode:o})"),
                &format!("chmod 600 {file}"),
            )?;
            format!("the database file has mode {mode:o}")
        }
        Engine::Postgres => {
            let silent = || Short::not_proven("the database does not say who the gate is there");
            let url = w.database().ok_or_else(silent)?;
            let found = portcullis_store::privileges(&w.config().state, url).await?;
            let beyond = found.ok_or_else(silent)?.beyond;
            must(
                !beyond
                    .iter()
                    .any(|power| power == "SUPERUSER" || power == "CREATEROLE"),
                || "the gate is a superuser of its database, or may make roles".to_owned(),
                "state.database: give the gate a role of its own",
            )?;
            "the gate is no superuser of its database".to_owned()
        }
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "{refused} calls of the admin API and the console by others: refused; metrics on loopback; {database}"
        ),
    ))
}
