//! d. API keys, and keys of others that the product keeps.

use portcullis_core::principal::CallerKind;
use portcullis_identity::accounts::By;
use serde_json::{Value, json};

use super::routes;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::Reply;
use crate::prove::world::{World, base};
use crate::vault_api::{OPEN, SEAL};

/// A route that admits keys and asks nothing more of them: of the policy where it has one.
fn for_keys(w: &World) -> Option<(String, Vec<&'static str>)> {
    let found = routes::of_policy(w).into_iter().find(|sample| {
        sample.takes("GET") && sample.is_for_any(CallerKind::ApiKey) && sample.route.host.is_none()
    });
    match found {
        Some(sample) => Some((sample.path, Vec::new())),
        None => w
            .product
            .as_ref()
            .map(|_| (format!("{BENCH}/callers"), Vec::new())),
    }
}

/// K1
pub(super) async fn at_rest(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT hash, hint, name FROM api_key WHERE id = $1";
    let w = &scene.live;
    let made = w.key(&[], None).await?;
    let text = made.text.expose();
    let row = w
        .stores
        .db
        .fetch_optional(SQL, &[made.info.id.into()])
        .await?;
    let row = row.ok_or_else(|| Short::not_proven("the key has no row"))?;
    let (hash, hint) = (row.bytes("hash")?, row.text("hint")?);
    let plain = portcullis_vault::tokens::sha256(text.as_bytes());
    must(
        hash.len() == 32 && hash != plain && !text.as_bytes().windows(32).any(|part| part == hash),
        || "what is stored of a key is the key, or a hash of it that anybody can make".to_owned(),
        ALWAYS,
    )?;
    must(
        hint.len() < 16,
        || format!("{} characters of the key are stored", hint.len()),
        ALWAYS,
    )?;
    must(
        text.len() >= 40,
        || format!("a key has {} characters", text.len()),
        ALWAYS,
    )?;
    let (path, w) = match for_keys(w) {
        Some((path, _)) => (path, w),
        None => (format!("{BENCH}/callers"), scene.rehearsal()?),
    };
    let made = w.key(&[], None).await?;
    let text = made.text.expose();
    let asked = async |key: &str| w.target.get(&path).bearer(key).send().await;
    let good = asked(text).await?;
    must(
        good.passed(),
        || format!("a fresh key is answered {}", good.said()),
        "callers = [\"api-key\"] on the route",
    )?;
    let mut wrong = text.clone();
    let last = wrong.pop().unwrap_or('a');
    wrong.push(if last == 'a' { 'b' } else { 'a' });
    for (what, key) in [
        ("another last letter", &wrong),
        ("one letter more", &format!("{text}a")),
    ] {
        let reply = asked(key).await?;
        must(
            reply.status == 401,
            || format!("a key with {what} is answered {}", reply.said()),
            ALWAYS,
        )?;
    }
    Ok(Held::at(
        w.place,
        format!(
            "{} characters of text, a keyed hash of 32 bytes in the database, `{hint}` to know it by; a letter more or another one: 401",
            text.len()
        ),
    ))
}

/// K2
pub(super) async fn revoked(scene: &Scene) -> Probed {
    let (w, path) = match for_keys(&scene.live) {
        Some((path, _)) => (&scene.live, path),
        None => (scene.rehearsal()?, format!("{BENCH}/callers")),
    };
    let made = w.key(&[], None).await?;
    let key = made.text.expose();
    let asked = async || w.target.get(&path).bearer(key).send().await;
    let before = asked().await?;
    must(
        before.passed(),
        || format!("a fresh key is answered {}", before.said()),
        "callers = [\"api-key\"] on the route",
    )?;
    let done = w
        .stores
        .identity
        .keys
        .revoke(made.info.id, None, &By::operator())
        .await;
    done.map_err(|error| Short::not_proven(error.to_string()))?;
    let began = tokio::time::Instant::now();
    let heard = w.until(async || Ok(asked().await?.status == 401)).await?;
    must(
        heard,
        || "a revoked key still opens the gate after ten seconds".to_owned(),
        ALWAYS,
    )?;
    let after = began.elapsed().as_millis();
    // Of the gate whose output can be read.
    let copy = scene.rehearsal()?;
    let other = copy.key(&[], None).await?;
    let text = other.text.expose();
    let in_query = copy.target.get(&format!("{BENCH}/callers?key={text}"));
    let in_path = copy
        .target
        .get(&format!("{BENCH}/{text}"))
        .header("x-api-key", text)
        .header("user-agent", text);
    let replies = [in_query.bearer(text).send().await?, in_path.send().await?];
    let printed = copy.logged(&replies).await?;
    must(
        !printed.contains(text.as_str()),
        || "a key stands in the log".to_owned(),
        "[redaction]",
    )?;
    Ok(Held::at(
        w.place,
        format!(
            "refused {after} ms after it was revoked; sent in a header, in the query, in the path and as user agent, it stands in no log line"
        ),
    ))
}

/// One call of the field API.
pub(super) async fn vault(w: &World, key: &str, call: &str, item: &Value) -> anyhow::Result<Reply> {
    let ask = w
        .target
        .ask("POST", &base(&format!("/vault/{call}")))
        .bearer(key);
    ask.json(&json!({ "items": [item] })).send().await
}

/// What the only item of an answer says.
pub(super) fn field(reply: &Reply, name: &str) -> String {
    let body = reply.json();
    let item = body.get("items").and_then(|items| items.get(0));
    item.and_then(|item| item.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// A key for the field API.
pub(super) async fn vault_key(w: &World) -> Result<String, Short> {
    if w.config().vault.is_none() {
        return Err(Short::not_configured("[vault]"));
    }
    if !w.gives(SEAL) || !w.gives(OPEN) {
        return Err(Short::not_configured(format!(
            "roles.NAME.permissions = [\"{SEAL}\", \"{OPEN}\"]"
        )));
    }
    let made = w.key(&[SEAL, OPEN], None).await?;
    Ok(made.text.expose().clone())
}

/// Seals, opens, and looks whether it opens anywhere else. The sealed text.
pub(super) async fn sealed(
    w: &World,
    table: &str,
    name: &str,
    value: &str,
) -> Result<String, Short> {
    let key = vault_key(w).await?;
    let at = |row: &str| json!({ "table": table, "field": name, "row": row });
    let with = |mut item: Value, name: &str, value: &str| {
        if let Some(item) = item.as_object_mut() {
            item.insert(name.to_owned(), json!(value));
        }
        item
    };
    let reply = vault(w, &key, "seal", &with(at("1"), "value", value)).await?;
    let text = field(&reply, "sealed");
    must(
        reply.status == 200 && text.len() > value.len(),
        || format!("sealing is answered {}", reply.said()),
        "[vault]",
    )?;
    let bytes = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        text.split_once('.').map_or(text.as_str(), |(_, rest)| rest),
    );
    let clear = text.contains(value)
        || bytes.is_ok_and(|bytes| {
            bytes
                .windows(value.len())
                .any(|part| part == value.as_bytes())
        });
    must(
        !clear,
        || "the sealed text holds the value".to_owned(),
        ALWAYS,
    )?;
    let opened = vault(w, &key, "open", &with(at("1"), "sealed", &text)).await?;
    must(
        field(&opened, "value") == value,
        || {
            format!(
                "what was sealed opens as something else ({})",
                opened.said()
            )
        },
        ALWAYS,
    )?;
    let moved = vault(w, &key, "open", &with(at("2"), "sealed", &text)).await?;
    must(
        field(&moved, "value").is_empty(),
        || "what was sealed for one row opens in another".to_owned(),
        ALWAYS,
    )?;
    let mut changed = text.clone();
    let last = changed.pop().unwrap_or('A');
    changed.push(if last == 'A' { 'B' } else { 'A' });
    let broken = vault(w, &key, "open", &with(at("1"), "sealed", &changed)).await?;
    must(
        field(&broken, "value").is_empty(),
        || "a changed text opens".to_owned(),
        ALWAYS,
    )?;
    let again = vault(w, &key, "seal", &with(at("1"), "value", value)).await?;
    must(
        field(&again, "sealed") != text,
        || "the same value seals to the same text".to_owned(),
        ALWAYS,
    )?;
    Ok(text)
}

/// K3
pub(super) async fn third_party(scene: &Scene) -> Probed {
    let text = sealed(
        &scene.live,
        "provider_keys",
        "openai",
        "sk-prove-0a1b2c3d4e5f6a7b8c9d",
    )
    .await?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "sealed to {} characters, opens in its own row alone, changed or moved it does not",
            text.len()
        ),
    ))
}

/// K4
pub(super) async fn column(scene: &Scene) -> Probed {
    let text = sealed(&scene.live, "users", "api_key", "usr_prove_8c1f00d2aa41").await?;
    let begins: String = text.chars().take(5).collect();
    Ok(Held::at(
        Place::Gate,
        format!(
            "the column would hold `{begins}..`, {} characters, each time others",
            text.len()
        ),
    ))
}
