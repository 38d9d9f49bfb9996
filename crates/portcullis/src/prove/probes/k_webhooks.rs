//! k. Webhooks.

use portcullis_events::webhooks::Config;
use portcullis_events::webhooks::verify::Scheme;
use portcullis_vault::foreign::hmac_sha256;
use serde_json::json;

use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::wire::Reply;
use crate::prove::world::World;
use crate::verbs::now;

const ALWAYS: &str = "no key turns this off: is something between the probe and the gate?";

/// A webhook whose sender the probe can play, with its secret.
fn playable(w: &World) -> Result<(&Config, &portcullis_core::Secret), Short> {
    let all = &w.config().webhooks;
    if all.is_empty() {
        return Err(Short::not_configured("[[webhook]]"));
    }
    let secrets = &w.stores.loaded.secrets.webhooks;
    let found = all
        .iter()
        .zip(secrets)
        .find_map(|(config, secrets)| match config.scheme {
            Scheme::Stripe | Scheme::Slack => Some((config, secrets.first()?)),
            Scheme::Standard | Scheme::Github | Scheme::Hmac => None,
        });
    found.ok_or_else(|| Short::not_proven("the probe can only play senders that sign as Stripe or Slack do, and no [[webhook]] is of these"))
}

/// The header of a signature of this time.
fn signature(
    config: &Config,
    secret: &portcullis_core::Secret,
    at: i64,
    body: &str,
) -> Vec<(&'static str, String)> {
    let tag = |text: String| hex::encode(hmac_sha256(secret, text.as_bytes()));
    match config.scheme {
        Scheme::Slack => vec![
            (
                "x-slack-signature",
                format!("v0={}", tag(format!("v0:{at}:{body}"))),
            ),
            ("x-slack-request-timestamp", at.to_string()),
        ],
        Scheme::Stripe | Scheme::Standard | Scheme::Github | Scheme::Hmac => {
            vec![(
                "stripe-signature",
                format!("t={at},v1={}", tag(format!("{at}.{body}"))),
            )]
        }
    }
}

fn event(marker: &str) -> String {
    json!({ "id": format!("evt_{marker}"), "event_id": format!("evt_{marker}"), "type": "prove.rehearsal", "data": { "object": { "id": marker, "note": format!("note-{marker}") } } }).to_string()
}

async fn post(
    w: &World,
    config: &Config,
    headers: &[(&'static str, String)],
    body: &str,
) -> anyhow::Result<Reply> {
    let ask = w
        .target
        .ask("POST", &config.path)
        .body("application/json", body.to_owned());
    headers
        .iter()
        .fold(ask, |ask, (name, value)| ask.header(name, value))
        .send()
        .await
}

fn marker() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// B1
pub(super) async fn signatures(scene: &Scene) -> Probed {
    let w = &scene.live;
    let (config, secret) = playable(w)?;
    let (body, at) = (event(&marker()), now().as_seconds());
    let good = signature(config, secret, at, &body);
    let other = portcullis_core::Secret::new(format!("{}x", secret.expose()));
    let wrong = signature(config, &other, at, &body);
    let changed = body.replace("note-", "nota-");
    let remedy = format!("[[webhook]] {}: scheme, secrets", config.name);
    for (what, headers, body) in [
        ("no signature", &Vec::new(), &body),
        ("a signature under another secret", &wrong, &body),
        ("a signature of another body", &good, &changed),
    ] {
        let reply = post(w, config, headers, body).await?;
        must(
            reply.status == 401,
            || format!("a message with {what} is answered {}", reply.said()),
            &remedy,
        )?;
    }
    // The control, where no real product hears of it.
    let copy = scene.rehearsal()?;
    let (config, secret) = playable(copy)?;
    let control = post(copy, config, &signature(config, secret, at, &body), &body).await?;
    must(
        control.passed(),
        || {
            format!(
                "in rehearsal a right signature is answered {}",
                control.said()
            )
        },
        &remedy,
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "`{}`: none, a wrong one, one of another body: 401; a right one (in rehearsal) {}",
            config.path, control.status
        ),
    ))
}

/// B2
pub(super) async fn tolerance(scene: &Scene) -> Probed {
    let w = &scene.live;
    let (config, secret) = playable(w)?;
    let tolerance = i64::try_from(config.tolerance.as_seconds()).unwrap_or(i64::MAX);
    must(
        tolerance <= 900,
        || format!("a captured message counts for {}", config.tolerance),
        &format!("[[webhook]] {}: tolerance = \"5m\"", config.name),
    )?;
    for (what, at) in [
        (
            "too old",
            now()
                .as_seconds()
                .saturating_sub(tolerance)
                .saturating_sub(5),
        ),
        (
            "of the future",
            now()
                .as_seconds()
                .saturating_add(tolerance)
                .saturating_add(30),
        ),
    ] {
        let body = event(&marker());
        let reply = post(w, config, &signature(config, secret, at, &body), &body).await?;
        must(
            reply.problem() == "webhook-timestamp-outside",
            || {
                format!(
                    "a rightly signed message that is {what} is answered {}",
                    reply.said()
                )
            },
            &format!("[[webhook]] {}: tolerance", config.name),
        )?;
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "rightly signed, and {tolerance} s before or after its time: webhook-timestamp-outside"
        ),
    ))
}

/// B3
pub(super) async fn recorded(scene: &Scene) -> Probed {
    const SQL: &str = "SELECT event, state, sealed FROM webhook_delivery WHERE event LIKE $1";
    let w = scene.rehearsal()?;
    let (config, secret) = playable(w)?;
    let (marker, at) = (marker(), now().as_seconds());
    let body = event(&marker);
    let headers = signature(config, secret, at, &body);
    let first = post(w, config, &headers, &body).await?;
    must(
        first.passed(),
        || format!("a right message is answered {}", first.said()),
        ALWAYS,
    )?;
    let like = format!("%{marker}%");
    let rows = w.stores.db.fetch_all(SQL, &[(&like).into()]).await?;
    must(
        rows.len() == 1,
        || format!("{} rows were written", rows.len()),
        ALWAYS,
    )?;
    let sealed = rows
        .first()
        .map(|row| row.bytes("sealed"))
        .transpose()?
        .unwrap_or_default();
    let note = format!("note-{marker}");
    must(
        !sealed
            .windows(note.len())
            .any(|part| part == note.as_bytes()),
        || "the message is written in the clear".to_owned(),
        ALWAYS,
    )?;
    let again = post(w, config, &headers, &body).await?;
    must(
        again.passed(),
        || format!("the same message again is answered {}", again.said()),
        ALWAYS,
    )?;
    let target = config
        .upstream_path
        .clone()
        .unwrap_or_else(|| config.path.clone());
    let product = w.product()?;
    let delivered =
        |seen: &&crate::prove::product::Seen| seen.path == target && seen.body == body.as_bytes();
    let came = w
        .until(async || Ok(product.seen().iter().filter(delivered).count() > 0))
        .await?;
    must(came, || "the product never got it".to_owned(), ALWAYS)?;
    let rows = w.stores.db.fetch_all(SQL, &[(&like).into()]).await?;
    let times = product.seen().iter().filter(delivered).count();
    must(
        rows.len() == 1 && times == 1,
        || {
            format!(
                "sent twice, it is {} rows and reached the product {times} times",
                rows.len()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        "one sealed row before the answer; the same message again is answered and neither written nor delivered a second time",
    ))
}
