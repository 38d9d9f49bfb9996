//! k. Webhooks: whose they are (B1), and how old (B2).

use portcullis_events::Action;

use super::m_audit::recorded;
use super::senders::{self, Headers, Message, Sender, replaced};
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::world::World;
use crate::verbs::now;

/// Longer than this no captured message should count.
const LONGEST_TOLERANCE: i64 = 900;
/// As near to the edge of the tolerance as a slow machine lets a probe come, in seconds.
const EDGE: i64 = 30;
const KEPT: &str =
    "SELECT count(*) AS n FROM webhook_delivery WHERE endpoint = $1 AND (event = $2 OR event = $3)";

/// How many rows of a message there are.
pub(super) async fn rows(w: &World, sender: &Sender<'_>, message: &Message) -> Result<i64, Short> {
    let [id, digest] = Sender::event_ids(message);
    let args = [(&sender.config.name).into(), (&id).into(), (&digest).into()];
    let row = w.stores.db.fetch_optional(KEPT, &args).await?;
    Ok(row.map_or(Ok(0), |row| row.int("n"))?)
}

/// Everything that is not quite a right signature, each with what it is.
fn hostile(
    sender: &Sender<'_>,
    message: &Message,
) -> Result<Vec<(&'static str, Headers, String)>, Short> {
    let at = now().as_seconds();
    let whole = || message.body.clone();
    let good = sender.signs(at, message);
    let mut all = vec![
        ("no signature", Headers::new(), whole()),
        (
            "a signature under another secret",
            sender.stranger_signs(at, message)?,
            whole(),
        ),
    ];
    if !sender.plays() {
        all.push(("a signature by the key that is public", good, whole()));
        return Ok(all);
    }
    all.push((
        "a signature of another body",
        good.clone(),
        message.changed(),
    ));
    if let Some(other) = sender.relabelled(&good) {
        all.push(("a signature by a way of old", other, whole()));
    }
    if sender.knows_age() {
        // Captured, and dated anew.
        let then = at.saturating_sub(3600);
        let old = sender.signs(then, message);
        let dated = replaced(&old, &then.to_string(), &at.to_string());
        all.push(("a signature of another time", dated, whole()));
    }
    Ok(all)
}

/// Sends all of it. What was tried.
async fn refuses(
    w: &World,
    sender: &Sender<'_>,
    message: &Message,
) -> Result<Vec<&'static str>, Short> {
    let mut tried = Vec::new();
    for (what, headers, body) in hostile(sender, message)? {
        let reply = sender.post(w, &headers, &body).await?;
        must(
            reply.status == 401 && reply.problem() == "webhook-signature-invalid",
            || {
                let place = w.place.as_str();
                format!(
                    "{place} a message to `{}` with {what} is answered {}",
                    sender.config.path,
                    reply.said()
                )
            },
            &sender.remedy("scheme, secrets"),
        )?;
        tried.push(what);
    }
    Ok(tried)
}

/// B1
pub(super) async fn signatures(scene: &Scene) -> Probed {
    let w = &scene.live;
    let mut told = Vec::new();
    for sender in senders::all(w)? {
        let tried = refuses(w, &sender, &Message::new()).await?;
        told.push(format!("`{}`: {}", sender.config.path, tried.join(", ")));
    }
    recorded(w, Action::WebhookRefused).await?;
    // What comes of it, and the control, where no real product hears of it.
    let copy = scene.rehearsal()?;
    let mut unheard = Vec::new();
    for sender in senders::all(copy)? {
        let message = Message::new();
        refuses(copy, &sender, &message).await?;
        must(
            rows(copy, &sender, &message).await? == 0 && sender.told(copy, &message)? == 0,
            || {
                format!(
                    "a message to `{}` that was refused is kept or delivered",
                    sender.config.path
                )
            },
            &sender.remedy("scheme, secrets"),
        )?;
        if !sender.plays() {
            unheard.push(sender.config.name.as_str());
            continue;
        }
        let headers = sender.signs(now().as_seconds(), &message);
        let control = sender.post(copy, &headers, &message.body).await?;
        let came = copy.until(async || Ok(sender.told(copy, &message).unwrap_or(0) == 1));
        must(
            control.passed() && came.await?,
            || {
                format!(
                    "in rehearsal a right signature is answered {}, and the product does not get what was signed",
                    control.said()
                )
            },
            &sender.remedy("scheme, secrets"),
        )?;
    }
    let control = if unheard.is_empty() {
        "a right one comes to the product".to_owned()
    } else {
        format!(
            "a right one comes to the product, but for {}, whose sender alone can sign",
            unheard.join(", ")
        )
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "{}: 401 each, and on record; in rehearsal nothing of it is kept or delivered, and {control}",
            told.join("; ")
        ),
    ))
}

/// B2
pub(super) async fn tolerance(scene: &Scene) -> Probed {
    let w = &scene.live;
    let (mut told, mut ageless) = (Vec::new(), Vec::new());
    for sender in senders::all(w)? {
        let (name, remedy) = (&sender.config.name, sender.remedy("tolerance = \"5m\""));
        if !sender.knows_age() || !sender.plays() {
            ageless.push(format!("`{name}`"));
            continue;
        }
        let tolerance = i64::try_from(sender.config.tolerance.as_seconds()).unwrap_or(i64::MAX);
        must(
            tolerance <= LONGEST_TOLERANCE,
            || format!("a captured message counts for {}", sender.config.tolerance),
            &remedy,
        )?;
        outside(w, &sender, tolerance).await?;
        told.push(format!("`{name}` {tolerance} s"));
    }
    if told.is_empty() {
        return Err(Short::not_proven(format!(
            "no signature that a probe can make bears its time: {}",
            ageless.join(", ")
        )));
    }
    let copy = scene.rehearsal()?;
    for sender in senders::all(copy)? {
        if sender.knows_age() && sender.plays() {
            inside(copy, &sender).await?;
        }
    }
    let short = Hostile::sound()?
        .with("\n[[webhook]]\nname = \"hook\"\npath = \"/hook\"\nscheme = \"stripe\"\nsecrets = [{ file = \"hook\" }]\nretention = \"1h\"\n")
        .file("hook", "whsec_0f1e2d3c4b5a69788796a5b4c3d2e1f0")
        .is_refused_for("webhook.0.retention")
        .await?;
    let others = if ageless.is_empty() {
        String::new()
    } else {
        format!(
            "; not of {}, whose signatures bear no time or are not ours to make",
            ageless.join(", ")
        )
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "rightly signed, and {} before or after its time: webhook-timestamp-outside; in rehearsal one within it comes to the product once, however often it is sent again, and is remembered for longer than it counts ({short}){others}",
            told.join(", ")
        ),
    ))
}

/// Rightly signed, and out of time either way.
async fn outside(w: &World, sender: &Sender<'_>, tolerance: i64) -> Result<(), Short> {
    let at = now().as_seconds();
    for (what, at) in [
        ("too old", at.saturating_sub(tolerance).saturating_sub(5)),
        (
            "of the future",
            at.saturating_add(tolerance).saturating_add(EDGE),
        ),
    ] {
        let message = Message::new();
        let headers = sender.signs(at, &message);
        let reply = sender.post(w, &headers, &message.body).await?;
        must(
            reply.problem() == "webhook-timestamp-outside",
            || {
                format!(
                    "a rightly signed message that is {what} is answered {}",
                    reply.said()
                )
            },
            &sender.remedy("tolerance"),
        )?;
    }
    Ok(())
}

/// Just within the tolerance it counts, and once: whoever captured it in time gains nothing by it.
async fn inside(w: &World, sender: &Sender<'_>) -> Result<(), Short> {
    const KNOWN: &str = "SELECT received_at, keep_until FROM webhook_delivery WHERE endpoint = $1 AND (event = $2 OR event = $3) AND keep_until IS NOT NULL";
    let tolerance = i64::try_from(sender.config.tolerance.as_seconds()).unwrap_or(i64::MAX);
    let remedy = sender.remedy("tolerance, retention");
    let message = Message::new();
    let at = now()
        .as_seconds()
        .saturating_sub(tolerance.saturating_sub(EDGE).max(0));
    let headers = sender.signs(at, &message);
    let first = sender.post(w, &headers, &message.body).await?;
    must(
        first.passed(),
        || format!("a message within its time is answered {}", first.said()),
        &remedy,
    )?;
    let [id, digest] = Sender::event_ids(&message);
    let args = [(&sender.config.name).into(), (&id).into(), (&digest).into()];
    let mut known = None;
    w.until(async || {
        known = w.stores.db.fetch_optional(KNOWN, &args).await?;
        Ok(known.is_some())
    })
    .await?;
    let known = known.ok_or_else(|| {
        Short::failed(
            "a message that was taken never comes to the product",
            &remedy,
        )
    })?;
    let until = known.timestamp("keep_until")?;
    must(
        until
            >= known.timestamp("received_at")? + sender.config.tolerance + sender.config.tolerance,
        || format!("a message is forgotten at {until}, while its signature still counts"),
        &remedy,
    )?;
    for _ in 0..2 {
        let again = sender.post(w, &headers, &message.body).await?;
        must(
            Sender::is_known(&again),
            || format!("a captured message is answered {}", again.said()),
            &remedy,
        )?;
    }
    let times = sender.told(w, &message)?;
    must(
        times == 1,
        || format!("sent three times, a message reaches the product {times} times"),
        &remedy,
    )
}
