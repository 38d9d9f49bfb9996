//! e. Visitors, widgets, and what they can reach.

use portcullis_core::Span;
use portcullis_events::secret_store::{Change, Label, Name, Public};
use portcullis_identity::accounts::By;
use portcullis_vault::tokens::sha256;
use serde_json::{Value, json};

use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::Reply;
use crate::prove::world::{PAGE_A, PAGE_B, World, base};
use crate::verbs::now;

fn configured(w: &World) -> Result<(), Short> {
    match w.config().visitors {
        Some(_) => Ok(()),
        None => Err(Short::not_configured("[visitors]")),
    }
}

async fn begin(
    w: &World,
    tenant: &str,
    origin: Option<&str>,
    metadata: &Value,
) -> anyhow::Result<Reply> {
    let ask = w.target.ask("POST", &base(&format!("/visitors/{tenant}")));
    let ask = match origin {
        None => ask,
        Some(origin) => ask
            .header("origin", origin)
            .header("sec-fetch-site", "cross-site"),
    };
    ask.json(&json!({ "metadata": metadata })).send().await
}

/// A visit in tenant A: id and token.
pub(super) async fn visit(w: &World, metadata: &Value) -> Result<(String, String), Short> {
    configured(w)?;
    let reply = begin(w, &w.a.slug, Some(PAGE_A), metadata).await?;
    must(
        reply.status == 201,
        || {
            format!(
                "a visit on a page of the tenant's begins with {}",
                reply.said()
            )
        },
        "portcullis visitors set-origins",
    )?;
    let body = reply.json();
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok((text("id"), text("token")))
}

async fn own(w: &World, token: &str) -> anyhow::Result<Reply> {
    w.target
        .get(&base("/visitor"))
        .bearer(token)
        .header("origin", PAGE_A)
        .send()
        .await
}

/// W1
pub(super) async fn expires(scene: &Scene) -> Probed {
    const AGE: &str = "UPDATE visitor SET expires_at = $2 WHERE id = $1";
    let w = &scene.live;
    let (_, token) = visit(w, &json!({})).await?;
    let there = own(w, &token).await?;
    must(
        there.status == 200,
        || format!("a fresh visit is answered {}", there.said()),
        ALWAYS,
    )?;
    let without = w.target.get(&base("/visitor")).send().await?;
    must(
        without.status == 401,
        || format!("no visit is answered {}", without.said()),
        ALWAYS,
    )?;
    let mut unknown = token.clone();
    let last = unknown.pop().unwrap_or('A');
    unknown.push(if last == 'A' { 'Q' } else { 'A' });
    let unknown = own(w, &unknown).await?;
    must(
        unknown.status == 401,
        || format!("an unknown visit is answered {}", unknown.said()),
        ALWAYS,
    )?;
    // Past its end, in a copy: the row is made older before the gate meets it.
    let copy = scene.rehearsal()?;
    let (id, old) = visit(copy, &json!({})).await?;
    let id: uuid::Uuid = id
        .parse()
        .map_err(|_| Short::not_proven("the visit has no id"))?;
    let past = now() - Span::from_seconds(1);
    let mut tx = copy.stores.db.begin().await?;
    tx.execute(AGE, &[id.into(), past.into()]).await?;
    portcullis_store::revocations::publish(
        &mut tx,
        portcullis_store::revocations::Revocation::Everything,
        now(),
    )
    .await?;
    tx.commit().await?;
    let refused = copy
        .until(async || Ok(own(copy, &old).await?.status == 401))
        .await?;
    must(
        refused,
        || "a visit past its end is still answered".to_owned(),
        "[visitors] lifetime",
    )?;
    let bench = copy
        .target
        .get(&format!("{BENCH}/callers"))
        .bearer(&old)
        .header("origin", PAGE_A)
        .send()
        .await?;
    must(
        bench.status == 401,
        || {
            format!(
                "a route for visitors answers a visit past its end with {}",
                bench.said()
            )
        },
        "[visitors] lifetime",
    )?;
    Ok(Held::at(
        Place::Gate,
        "a visit opens its own routes; none, an unknown one and (in rehearsal) one past its end: 401",
    ))
}

/// W2
pub(super) async fn metadata(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT metadata FROM visitor WHERE id = $1";
    let w = &scene.live;
    let sent = json!({
        "language": "de-DE", "platform": "Linux", "email": "visitor@prove.invalid",
        "name": "Ada Prove", "referrer": "https://prove.invalid/?q=secret", "url": "https://prove.invalid/account/7",
    });
    let (id, _) = visit(w, &sent).await?;
    let id: uuid::Uuid = id
        .parse()
        .map_err(|_| Short::not_proven("the visit has no id"))?;
    let row = w.stores.db.fetch_optional(SQL, &[id.into()]).await?;
    let row = row.ok_or_else(|| Short::not_proven("the visit has no row"))?;
    let kept = row.text("metadata")?;
    let leak = ["visitor@", "Ada Prove", "referrer", "/account/7"]
        .into_iter()
        .find(|part| kept.contains(part));
    must(
        leak.is_none(),
        || format!("`{}` was kept", leak.unwrap_or_default()),
        ALWAYS,
    )?;
    must(
        kept.contains("de-DE"),
        || format!("what is known of browsers was not kept: {kept}"),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::State,
        "of language, platform, address, name and where somebody came from, the row holds the first two",
    ))
}

/// W3
pub(super) async fn origins(scene: &Scene) -> Probed {
    let w = &scene.live;
    configured(w)?;
    visit(w, &json!({})).await?;
    let remedy = "portcullis visitors set-origins";
    let near = format!("{PAGE_A}.evil.test");
    for (what, origin) in [
        ("a stranger's page", Some("https://evil.test")),
        ("another tenant's page", Some(PAGE_B)),
        ("a name that only begins alike", Some(near.as_str())),
        ("`null`", Some("null")),
        ("no origin", None),
    ] {
        let reply = begin(w, &w.a.slug, origin, &json!({})).await?;
        must(
            reply.status == 403,
            || format!("a visit from {what} begins with {}", reply.said()),
            remedy,
        )?;
        let allowed = reply.header("access-control-allow-origin").is_some();
        must(
            !allowed || origin.is_none(),
            || format!("{what} may read the answer"),
            remedy,
        )?;
    }
    let script = w.target.get(&base("/widget.js")).send().await?;
    let text = script.text();
    must(
        script.status == 200
            && text.contains(".origin")
            && !text.contains("postMessage(message, \"*\")")
            && !text.contains(", \"*\")"),
        || {
            format!(
                "the widget's script ({}) does not look at the origin of messages, or sends to any",
                script.status
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        "a visit begins on the tenant's own page alone: five others 403; the script compares the origin of messages and names their target",
    ))
}

/// W4
pub(super) async fn private_parts(scene: &Scene) -> Probed {
    // A real client could read a real name: what is planted is planted in the copy.
    let w = scene.rehearsal()?;
    if w.config().secret_store.is_none() {
        return Err(Short::not_configured("[secret-store]"));
    }
    let value = hex::encode(sha256(w.people.plain.password.expose().as_bytes()));
    put(w, "prove_w4", &value, Some("pk_prove_public")).await?;
    let browser = w.signed_in(&w.people.plain).await?;
    let public = base("/secrets/prove_w4/public");
    let private = base("/secrets/prove_w4");
    let mut asked = 0_u32;
    let mut told = Vec::new();
    let mut replies = vec![
        ("a user", browser.get(&public).send().await?),
        ("a user", browser.get(&private).send().await?),
        ("nobody", w.target.get(&private).send().await?),
    ];
    if w.config().visitors.is_some() {
        let (_, token) = visit(w, &json!({})).await?;
        let as_visitor = async |path: &str| {
            w.target
                .get(path)
                .bearer(&token)
                .header("origin", PAGE_A)
                .send()
                .await
        };
        replies.push(("a visitor", as_visitor(&public).await?));
        replies.push(("a visitor", as_visitor(&private).await?));
    }
    for (who, reply) in &replies {
        asked = asked.saturating_add(1);
        if reply.text().contains(&value) {
            told.push(*who);
        }
    }
    must(
        told.is_empty(),
        || format!("{} can read the private part", told.join(", ")),
        ALWAYS,
    )?;
    let first = replies
        .first()
        .map(|(_, reply)| reply.text())
        .unwrap_or_default();
    must(
        first.contains("pk_prove_public"),
        || "the public part is not served either".to_owned(),
        "[secret-store]",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!("{asked} calls of clients: the public part is answered, the private one never"),
    ))
}

/// A secret of the product, in a copy.
pub(super) async fn put(
    w: &World,
    name: &str,
    value: &str,
    public: Option<&str>,
) -> Result<Label, Short> {
    let said = |error: portcullis_events::secret_store::Error| Short::not_proven(error.to_string());
    let name: Name = name.parse().map_err(said)?;
    let label = Label { tenant: None, name };
    let public = match public {
        None => None,
        Some(key) => {
            let json = json!({ "publicApiKey": key });
            let object = json.as_object().cloned().unwrap_or_default();
            Some(Public::new(object).map_err(said)?)
        }
    };
    let change = Change {
        value: Some(portcullis_core::Secret::new(value.to_owned())),
        public,
        owner: Some("prove".to_owned()),
        purpose: Some("a rehearsal".to_owned()),
        ..Change::default()
    };
    let by = portcullis_events::By {
        actor: By::operator().actor,
        client: None,
        request: None,
    };
    w.stores
        .identity
        .secret_store
        .put(&label, &change, &by)
        .await
        .map_err(said)?;
    Ok(label)
}
