//! o. Privacy.

use portcullis_core::Span;
use portcullis_events::{Action, By as EventBy, Event};
use portcullis_identity::accounts::By;
use portcullis_identity::privacy::archive;
use serde_json::Value;

use super::senders::{self, Message, Sender};
use super::{e_visitors, m_audit, o_consents, o_subjects};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::world::{self, Account, World, auth};
use crate::verbs::{now, told};

/// P2
pub(super) async fn rights(scene: &Scene) -> Probed {
    const NAMED: &str = "SELECT count(*) AS n FROM users WHERE email LIKE $1";
    let w = scene.rehearsal()?;
    let Some(purpose) = w.config().purposes.first() else {
        return Err(Short::not_configured("[[purpose]]"));
    };
    let roles: Vec<String> = w.plain_role.iter().cloned().collect();
    let person = world::account(&w.stores, "erased", &roles).await?;
    let browser = w.signed_in(&person).await?;
    o_consents::remembered(&browser, &purpose.name).await?;
    let events = exported(w, &person).await?;
    let privacy = &w.stores.identity.privacy;
    let erased = privacy.erase(person.id, &By::operator()).await;
    let erased = erased.map_err(|error| Short::not_proven(told(error)))?;
    must(
        erased.left.is_empty(),
        || format!("after an erasure there is still {}", erased.left.join(", ")),
        ERASES,
    )?;
    let gone = w
        .until(async || Ok(browser.get(&auth("me")).send().await?.status == 401))
        .await?;
    must(
        gone,
        || "whoever was erased is still signed in".to_owned(),
        ERASES,
    )?;
    let like = format!("%{}%", person.email);
    let row = w.stores.db.fetch_optional(NAMED, &[(&like).into()]).await?;
    must(
        row.map_or(Ok(0), |row| row.int("n"))? == 0,
        || "the address of whoever was erased is still there".to_owned(),
        ERASES,
    )?;
    let of_product = o_subjects::erased(w).await?;
    let certified = w.events(Action::PersonalDataErased).await?;
    let digest = erased.digest.to_string();
    let is_of_it = |event: &Event| {
        let certificate = event.metadata.get("certificate");
        certificate.and_then(Value::as_str) == Some(&digest)
    };
    must(
        certified.iter().any(is_of_it),
        || "an erasure leaves no certificate in the trail".to_owned(),
        ERASES,
    )?;
    let report = w.stores.identity.audit_log.verify(None).await;
    let report = report.map_err(|error| Short::not_proven(error.to_string()))?;
    must(
        report.holds(),
        || "the audit log does not verify after an erasure".to_owned(),
        ERASES,
    )?;
    let rows: u64 = erased.certificate.rows.values().sum();
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a consent to `{}` is written down and taken back; an export of {events} lines verifies, and one changed byte does not; an erasure destroyed {rows} rows and {} keys, and read back that nothing is left; {of_product}; the audit log still verifies",
            purpose.name,
            erased.certificate.keys.len()
        ),
    ))
}

const ERASES: &str = "this program does not erase: take another build";

/// That an export has the person's address and both consents, and that one changed byte is found. Its lines.
async fn exported(w: &World, person: &Account) -> Result<u64, Short> {
    let privacy = &w.stores.identity.privacy;
    let export = privacy.export(person.id, &EventBy::OPERATOR).await;
    let mut export = export.map_err(|error| Short::not_proven(told(error)))?;
    let keys = privacy.verifiers();
    let keys = keys.map_err(|error| Short::not_proven(told(error)))?;
    let text = String::from_utf8_lossy(&export.archive).into_owned();
    let consents = text.matches("\"table\":\"consent\"").count();
    must(
        text.contains(&person.email) && consents == 2,
        || "an export does not hold what is kept".to_owned(),
        ERASES,
    )?;
    let sound = archive::verify(&export.archive, &keys);
    must(
        sound.is_ok(),
        || format!("an export does not verify: {sound:?}"),
        ERASES,
    )?;
    let middle = export.archive.len() / 2;
    if let Some(byte) = export.archive.get_mut(middle) {
        *byte ^= 1;
    }
    must(
        archive::verify(&export.archive, &keys).is_err(),
        || "an export with a changed byte verifies".to_owned(),
        ERASES,
    )?;
    Ok(export.lines)
}

/// P4
pub(super) async fn minimal(scene: &Scene) -> Probed {
    let visitor = match e_visitors::metadata(scene).await {
        Ok(held) => held.evidence,
        Err(Short::NotConfigured { .. }) => "there are no visitors".to_owned(),
        Err(short) => return Err(short),
    };
    let logs = m_audit::no_secrets(scene).await?;
    let config = scene.live.config();
    let retained: Vec<String> = config
        .webhooks
        .iter()
        .map(|webhook| format!("messages of `{}` for {}", webhook.name, webhook.retention))
        .collect();
    let visits = config
        .visitors
        .as_ref()
        .map(|visitors| format!("visits for at most {}", visitors.max_lifetime));
    let kept = retained
        .into_iter()
        .chain(visits)
        .collect::<Vec<_>>()
        .join(", ");
    let retention = retained_rows(scene).await?;
    let messages = retained_messages(scene).await?;
    let agreed = o_consents::asked_for(scene).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{visitor}; {}; {agreed}; kept are {kept}; {retention}{messages}",
            logs.evidence
        ),
    ))
}

/// That a message of a webhook goes when it has been kept for as long as its rule says, and not before.
async fn retained_messages(scene: &Scene) -> Result<String, Short> {
    const ENDED: &str = "SELECT id, ended_at, keep_until FROM webhook_delivery WHERE endpoint = $1 AND (event = $2 OR event = $3) AND ended_at IS NOT NULL";
    const AGE: &str = "UPDATE webhook_delivery SET keep_until = keep_until - $2 WHERE id = $1";
    const LEFT: &str = "SELECT count(*) AS n FROM webhook_delivery WHERE id = $1";
    let w = scene.rehearsal()?;
    let senders = senders::all(w).unwrap_or_default();
    let Some(sender) = senders.iter().find(|sender| sender.plays()) else {
        return Ok(String::new());
    };
    let remedy = sender.remedy("retention");
    let keep = sender.config.retention;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let message = Message::new();
        let headers = sender.signs(now().as_seconds(), &message);
        sender.post(w, &headers, &message.body).await?;
        let [id, digest] = Sender::event_ids(&message);
        let args = [(&sender.config.name).into(), (&id).into(), (&digest).into()];
        let mut ended = None;
        w.until(async || {
            ended = w.stores.db.fetch_optional(ENDED, &args).await?;
            Ok(ended.is_some())
        })
        .await?;
        let row = ended.ok_or_else(|| Short::not_proven("a message is not delivered"))?;
        let (at, until) = (row.timestamp("ended_at")?, row.timestamp("keep_until")?);
        must(
            until == at + keep,
            || format!("a message that ended at {at} is kept until {until}, and not for {keep}"),
            &remedy,
        )?;
        ids.push(row.uuid("id")?);
    }
    let minute = Span::from_minutes(1).as_micros();
    let ages =
        [1, -1].map(|side: i64| keep.as_micros().saturating_add(side.saturating_mul(minute)));
    let mut tx = w.stores.db.begin().await?;
    for (id, age) in ids.iter().zip(ages) {
        tx.execute(AGE, &[(*id).into(), age.into()]).await?;
    }
    tx.commit().await?;
    let kept = w.stores.identity.webhooks.keep_house().await;
    kept.map_err(|error| Short::not_proven(error.to_string()))?;
    for (id, expected) in ids.iter().zip([0, 1]) {
        let row = w.stores.db.fetch_optional(LEFT, &[(*id).into()]).await?;
        must(
            row.map_or(Ok(0), |row| row.int("n"))? == expected,
            || format!("of messages that ended around {keep} ago the wrong one is kept"),
            &remedy,
        )?;
    }
    Ok(format!(
        ", and a message of `{}` {keep} after it was delivered",
        sender.config.name
    ))
}

/// That a row goes when its time has come, and one whose time has not come stays.
async fn retained_rows(scene: &Scene) -> Result<String, Short> {
    const AGE: &str = "UPDATE api_key SET expires_at = $2 WHERE id = $1";
    const LEFT: &str = "SELECT count(*) AS n FROM api_key WHERE id = $1";
    let w = scene.rehearsal()?;
    let keep = w.config().retention.api_keys;
    let (old, young) = (w.key(&[], None).await?, w.key(&[], None).await?);
    let hour = Span::from_hours(1);
    let mut tx = w.stores.db.begin().await?;
    for (key, ended) in [(&old, now() - keep - hour), (&young, now() - keep + hour)] {
        tx.execute(AGE, &[key.info.id.into(), ended.into()]).await?;
    }
    tx.commit().await?;
    let kept = w.stores.identity.privacy.keep_house().await;
    kept.map_err(|error| Short::not_proven(told(error)))?;
    for (key, expected) in [(&old, 0), (&young, 1)] {
        let row = w
            .stores
            .db
            .fetch_optional(LEFT, &[key.info.id.into()])
            .await?;
        must(
            row.map_or(Ok(0), |row| row.int("n"))? == expected,
            || format!("of API keys that ended around {keep} ago the wrong one is kept"),
            "[retention] api-keys",
        )?;
    }
    Ok(format!(
        "an API key is gone {keep} after its end, and not before"
    ))
}
