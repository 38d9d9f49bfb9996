//! i. What stands on the disk (E8).

use portcullis_core::{ApiKeyId, Secret};
use portcullis_store::Engine;
use portcullis_vault::tokens::random;
use serde_json::{Value, json};

use super::c_tokens::grant;
use super::e_visitors::{put, visit};
use super::l_uploads;
use super::senders::{self, Message};
use super::stored::{Stored, nothing};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short};
use crate::prove::wire::Browser;
use crate::prove::world::{self, World, auth};
use crate::verbs::now;

/// What was planted: what it is, and its text.
type Planted = Vec<(&'static str, String)>;

/// E8
pub(super) async fn bytes(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let mut planted = given(w)?;
    let (browser, held) = held(w).await?;
    planted.extend(held);
    planted.extend(sent(w, &browser).await?);
    let (names, read) = absent(w, planted).await?;
    let live = of_gate(&scene.live).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{names}: in {read} bytes of its database and stored files none of them, neither as it is nor in hexadecimal or base64, where an API key's id is found; {live}; that the disks below are encrypted is their provider's to show",
        ),
    ))
}

/// What the gate was given, and derives from.
fn given(w: &World) -> Result<Planted, Short> {
    let secrets = &w.stores.loaded.secrets;
    let text = |secret: &Secret| secret.expose().clone();
    let mut all = Planted::new();
    all.extend(
        secrets
            .master
            .iter()
            .map(|one| ("the master secret", text(one))),
    );
    let webhooks = secrets.webhooks.iter().flatten();
    all.extend(webhooks.map(|one| ("secrets of webhooks", text(one))));
    let issuers = secrets
        .issuers
        .values()
        .filter_map(|one| one.secret.as_ref());
    all.extend(issuers.map(|one| ("secrets of issuers", text(one))));
    let tokens = secrets.tokens.0.iter();
    all.extend(tokens.map(|one| ("the secret of tokens", text(one))));
    if all.is_empty() {
        return Err(Short::not_proven("the rehearsal has no secret"));
    }
    Ok(all)
}

/// What a person, a program and a visitor hold.
async fn held(w: &World) -> Result<(Browser, Planted), Short> {
    let roles: Vec<String> = w.plain_role.iter().cloned().collect();
    let person = world::account(&w.stores, "kept", &roles).await?;
    let mut all = vec![("a password", person.password.expose().clone())];
    let browser = w.signed_in(&person).await?;
    let session = browser.cookie(&w.session_cookie());
    let session = session.ok_or_else(|| Short::not_proven("there is no session cookie"))?;
    all.push(("a session", session));
    match grant(w, &person, w.target.fresh()).await {
        Ok(pair) => all.extend(pair.texts().map(|text| ("tokens", text))),
        Err(Short::NotConfigured { .. }) => {}
        Err(short) => return Err(short),
    }
    let reply = browser.change("POST", &auth("factors/totp")).send().await?;
    let body = reply.json();
    let secret = body.get("secret").and_then(Value::as_str);
    let secret = secret.ok_or_else(|| {
        let why = format!("an authenticator app is answered {}", reply.said());
        Short::not_proven(why)
    })?;
    all.push(("an authenticator's secret", secret.to_owned()));
    if w.config().visitors.is_some() {
        all.push(("a visit", visit(w, &json!({})).await?.1));
    }
    Ok((browser, all))
}

/// What is handed over to be kept.
async fn sent(w: &World, browser: &Browser) -> Result<Planted, Short> {
    let mut all = Planted::new();
    if w.config().secret_store.is_some() {
        let value = random::<24>().map_err(|error| Short::not_proven(error.to_string()))?;
        let value = hex::encode(value);
        put(w, "prove_e8", &value, None).await?;
        all.push(("a named secret", value));
    }
    let senders = senders::all(w).unwrap_or_default();
    if let Some(sender) = senders.iter().find(|sender| sender.plays()) {
        let message = Message::new();
        let headers = sender.signs(now().as_seconds(), &message);
        sender.post(w, &headers, &message.body).await?;
        all.push(("a message of a webhook", message.note));
    }
    if let Some(text) = l_uploads::kept(w, browser).await? {
        all.push(("a stored file", text));
    }
    Ok(all)
}

/// That nothing of it is there. What was looked for, and in how many bytes.
async fn absent(w: &World, mut planted: Planted) -> Result<(String, usize), Short> {
    let key = w.key(&[], None).await?;
    planted.push(("an API key", key.text.expose().clone()));
    let stored = Stored::of(w)?;
    look(&stored, key.info.id, &planted)?;
    let mut names: Vec<&str> = planted.iter().map(|(what, _)| *what).collect();
    names.dedup();
    Ok((names.join(", "), stored.bytes()))
}

fn look(stored: &Stored, id: ApiKeyId, planted: &[(&str, String)]) -> Result<(), Short> {
    // As PostgreSQL and SQLite keep it, and as text.
    let (raw, text) = (*id.as_uuid().as_bytes(), id.to_string());
    nothing(stored.holds(planted, &[&raw, text.as_bytes()])?)
}

/// The gate's own database and Redis: what this run put in.
async fn of_gate(live: &World) -> Result<String, Short> {
    let browser = live.signed_in(&live.people.plain).await?;
    let session = browser.cookie(&live.session_cookie()).unwrap_or_default();
    let key = live.key(&[], None).await?;
    let mut planted = vec![
        ("a password", live.people.plain.password.expose().clone()),
        ("a session", session),
        ("an API key", key.text.expose().clone()),
    ];
    let master = live.stores.loaded.secrets.master.iter();
    planted.extend(master.map(|one| ("the master secret", one.expose().clone())));
    let form = match live.stores.db.engine() {
        Engine::Sqlite => "of its files",
        Engine::Postgres => "of its rows",
    };
    let database = match Stored::of_gate(live).await? {
        Ok(stored) => {
            look(&stored, key.info.id, &planted)?;
            format!(
                "at the gate itself a password, a session, an API key and the master secret are in none of {} bytes {form}",
                stored.bytes()
            )
        }
        Err(why) => format!("of the gate's own database nothing is read: {why}"),
    };
    let redis = match Stored::of_redis(live).await {
        None => String::new(),
        Some(Ok(stored)) => {
            nothing(stored.find(&planted)?)?;
            format!("; nor in {} keys in Redis", stored.parts())
        }
        Some(Err(why)) => format!("; {why}"),
    };
    Ok(format!("{database}{redis}"))
}
