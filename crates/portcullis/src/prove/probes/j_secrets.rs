//! j. Secrets: where they come from, who sees them, how they are replaced.

use portcullis_core::{Secret, Span};
use portcullis_events::secret_store::{Rotation, Which};
use portcullis_events::{Action, By};
use portcullis_vault::tokens::random;
use serde_json::json;

use super::e_visitors::put;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::program;
use crate::prove::world::{World, base};

const MANAGE: &str = "manage:secrets";
const OPEN: &str = "open:secrets";

fn value() -> Result<String, Short> {
    Ok(hex::encode(
        random::<24>().map_err(|error| Short::not_proven(error.to_string()))?,
    ))
}

fn configured(w: &World) -> Result<(), Short> {
    match w.config().secret_store {
        Some(_) => Ok(()),
        None => Err(Short::not_configured("[secret-store]")),
    }
}

fn said(error: impl std::fmt::Display) -> Short {
    Short::not_proven(error.to_string())
}

/// X1
pub(super) async fn in_git(_scene: &Scene) -> Probed {
    Hostile::sound()?.is_taken().await?;
    let tracked = Hostile::sound()?
        .in_git()
        .is_refused_for("secrets.master")
        .await?;
    let env = Hostile::sound()?
        .file(".env", "SECRET_KEY=x\n")
        .in_git()
        .is_told_of("secrets")
        .await?;
    Ok(Held::at(Place::Start, format!("{tracked}; {env}")))
}

/// X2
pub(super) async fn by_reference(scene: &Scene) -> Probed {
    let plain = Hostile::sound()?
        .replace(
            "master = { file = \"master\" }",
            "master = \"8d1f0c5e7a9b3d2f6e4c1a0b9d8e7f6a\"",
        )
        .is_refused_for("secrets")
        .await?;
    let gone = Hostile::sound()?
        .replace(
            "master = { file = \"master\" }",
            "master = { file = \"not-there\" }",
        )
        .is_refused_for("secrets.master")
        .await?;
    let read = scene.live.stores.loaded.read.len();
    Ok(Held::at(
        Place::Start,
        format!(
            "a secret in the file: {plain}; one that is not there: {gone}; this gate reads {read} by reference"
        ),
    ))
}

/// X3
pub(super) async fn never_answered(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    configured(w)?;
    if !w.gives(MANAGE) {
        return Err(Short::not_configured(format!(
            "roles.NAME.permissions = [\"{MANAGE}\"]"
        )));
    }
    let key = w.key(&[MANAGE], None).await?;
    let key = key.text.expose();
    let value = value()?;
    let one = base("/admin/v1/secrets/prove_x3");
    let body = json!({ "value": value, "owner": "prove", "purpose": "a rehearsal" });
    let written = w
        .target
        .ask("PUT", &one)
        .bearer(key)
        .json(&body)
        .send()
        .await?;
    must(
        (200..300).contains(&written.status),
        || format!("writing a secret is answered {}", written.said()),
        "[secret-store]",
    )?;
    let listed = w
        .target
        .get(&base("/admin/v1/secrets"))
        .bearer(key)
        .send()
        .await?;
    let shown = w.target.get(&one).bearer(key).send().await?;
    let served = w
        .target
        .get(&base("/secrets/prove_x3"))
        .bearer(key)
        .send()
        .await?;
    for (what, reply) in [
        ("writing", &written),
        ("the list", &listed),
        ("the secret's own page", &shown),
        ("the call of programs, by an administrator", &served),
    ] {
        must(
            !reply.text().contains(&value),
            || format!("{what} answers with the value"),
            ALWAYS,
        )?;
    }
    must(
        shown.text().contains("prove_x3"),
        || format!("the secret's own page is answered {}", shown.said()),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        "written by API, listed, shown, asked for without the permission of programs: four answers, the value in none",
    ))
}

/// Makes a secret older than it may be.
async fn aged(w: &World, name: &str) -> Result<(), Short> {
    const SQL: &str = "UPDATE stored_secret SET rotated_at = $2 WHERE name = $1";
    put(w, name, &value()?, None).await?;
    let long_ago = crate::verbs::now() - Span::from_days(4000);
    let mut tx = w.stores.db.begin().await?;
    tx.execute(SQL, &[name.into(), long_ago.into()]).await?;
    tx.commit().await?;
    Ok(())
}

/// X4
pub(super) async fn overdue(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    configured(w)?;
    put(w, "prove_x4_young", &value()?, None).await?;
    aged(w, "prove_x4_old").await?;
    let copy = w
        .copy
        .as_ref()
        .ok_or_else(|| Short::not_proven("there is no copy"))?;
    let output = program(&copy.config())?
        .args(["secrets", "list", "--overdue"])
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    must(
        text.contains("prove_x4_old") && !text.contains("prove_x4_young"),
        || format!("`secrets list --overdue` says: {}", text.trim()),
        "[secret-store] alert-after",
    )?;
    let live = &scene.live;
    let after = live
        .config()
        .secret_store
        .clone()
        .unwrap_or_default()
        .alert_after;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a value that was made too old is named by `secrets list --overdue`, a young one is not; the limit is {after}"
        ),
    ))
}

/// X5
pub(super) async fn procedure(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    configured(w)?;
    if !w.gives(OPEN) {
        return Err(Short::not_configured(format!(
            "roles.NAME.permissions = [\"{OPEN}\"]"
        )));
    }
    let (old, new) = (value()?, value()?);
    let label = put(w, "prove_x5", &old, None).await?;
    let key = w.key(&[OPEN], None).await?;
    let key = key.text.expose();
    let path = base("/secrets/prove_x5");
    let read = async |query: &str| {
        w.target
            .get(&format!("{path}{query}"))
            .bearer(key)
            .send()
            .await
    };
    let store = &w.stores.identity.secret_store;
    let rotation = Rotation {
        value: Some(Secret::new(new.clone())),
        ..Rotation::default()
    };
    store
        .rotate(&label, &rotation, &By::OPERATOR)
        .await
        .map_err(said)?;
    let current = read("").await?;
    must(
        current.text().contains(&new),
        || {
            format!(
                "after a rotation the new value is not served ({})",
                current.said()
            )
        },
        ALWAYS,
    )?;
    let previous = read("?version=previous").await?;
    must(
        previous.text().contains(&old),
        || {
            format!(
                "within the overlap the old value is not served ({})",
                previous.said()
            )
        },
        "[secret-store] overlap",
    )?;
    store
        .end_previous(&label, &By::OPERATOR)
        .await
        .map_err(said)?;
    let ended = read("?version=previous").await?;
    must(
        !ended.text().contains(&old),
        || "the old value is served after it was ended".to_owned(),
        ALWAYS,
    )?;
    let mut steps = 0_usize;
    for action in [
        Action::SecretWritten,
        Action::SecretRotated,
        Action::SecretRead,
        Action::SecretPreviousEnded,
    ] {
        let events = w.events(action).await?;
        must(
            !events.is_empty(),
            || format!("the trail has no `{action}`"),
            "[audit] enabled",
        )?;
        steps = steps.saturating_add(1);
    }
    let inside = store
        .read(&label, Which::Current, &By::OPERATOR)
        .await
        .map_err(said)?;
    must(
        inside.value.expose() == &new,
        || "the store holds another value".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "new value served at once, the old one for the overlap and not after it was ended; {steps} kinds of steps in the trail"
        ),
    ))
}

/// X6
pub(super) async fn by_administrators(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    configured(w)?;
    if !w.gives(MANAGE) {
        return Err(Short::not_configured(format!(
            "roles.NAME.permissions = [\"{MANAGE}\"]"
        )));
    }
    put(w, "prove_x6", &value()?, None).await?;
    let path = base("/admin/v1/secrets/prove_x6/rotate");
    let body = json!({ "value": value()? });
    let browser = w.signed_in(&w.people.plain).await?;
    let user = browser.change("POST", &path).json(&body).send().await?;
    must(
        !user.passed(),
        || {
            format!(
                "somebody who is no administrator is answered {}",
                user.said()
            )
        },
        ALWAYS,
    )?;
    let other = w.key(&[], None).await?;
    let powerless = w
        .target
        .ask("POST", &path)
        .bearer(other.text.expose())
        .json(&body)
        .send()
        .await?;
    must(
        !powerless.passed(),
        || format!("a key without `{MANAGE}` is answered {}", powerless.said()),
        ALWAYS,
    )?;
    let key = w.key(&[MANAGE], None).await?;
    let done = w
        .target
        .ask("POST", &path)
        .bearer(key.text.expose())
        .json(&body)
        .send()
        .await?;
    must(
        done.passed(),
        || format!("a key with `{MANAGE}` is answered {}", done.said()),
        "[secret-store]",
    )?;
    aged(w, "prove_x6_old").await?;
    w.stores
        .identity
        .secret_store
        .keep_house()
        .await
        .map_err(said)?;
    w.stores.trail.flush().await.map_err(said)?;
    let told = w.events(Action::SecretOverdue).await?;
    let named = told
        .iter()
        .any(|event| event.to_json().to_string().contains("prove_x6_old"));
    must(
        named,
        || "nobody is told of a secret that is too old".to_owned(),
        "[secret-store] alert-after",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a user {}, a key without the permission {}, one with it {}; a value past its time is told (`secret.overdue`)",
            user.said(),
            powerless.said(),
            done.said()
        ),
    ))
}

/// X7
pub(super) async fn environments(_scene: &Scene) -> Probed {
    let shared = Hostile::sound()?
        .beside_its_twin()
        .is_refused_for("secrets.master")
        .await?;
    let master = hex::encode(random::<32>().map_err(said)?);
    let twice = Hostile::sound()?
        .master(&master)
        .with("\n[tokens]\nalgorithm = \"HS256\"\nsecret = { file = \"jwt\" }\n")
        .file("jwt", &master)
        .is_refused_for("tokens.secret")
        .await?;
    Ok(Held::at(
        Place::Start,
        format!("beside another environment: {shared}; twice in one: {twice}"),
    ))
}

/// X8
pub(super) async fn variables(_scene: &Scene) -> Probed {
    let missing = Hostile::sound()?
        .replace("{ file = \"master\" }", "{ env = \"SECRET_KEY\" }")
        .is_refused_for("secrets.master")
        .await?;
    let unused = Hostile::sound()?
        .variable("SUPABASE_SERVICE_ROLE_KEY", "x")
        .is_told_of("environment")
        .await?;
    let placeholder = Hostile::sound()?
        .master("changeme-changeme-changeme-changeme")
        .is_refused_for("secrets.master")
        .await?;
    Ok(Held::at(
        Place::Start,
        format!("missing: {missing}; unused: {unused}; left from an example: {placeholder}"),
    ))
}
