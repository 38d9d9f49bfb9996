//! o. Privacy.

use portcullis_core::Span;
use portcullis_core::problem::CONSENT_REQUIRED;
use portcullis_events::{Action, By as EventBy, Event};
use portcullis_identity::accounts::By;
use portcullis_identity::consents::Subject;
use portcullis_identity::privacy::archive;
use portcullis_identity::privacy::config::never_logged;
use portcullis_identity::privacy::holdings::{ELSEWHERE, HOLDINGS};
use portcullis_identity::privacy::subjects::Named;
use portcullis_store::dump::Schema;
use portcullis_vault::fields;
use serde_json::{Value, json};

use super::{e_visitors, m_audit};
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, Verdict, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::requirement::{Group, Id};
use crate::prove::wire::Browser;
use crate::prove::world::{self, Account, World, auth};
use crate::verbs::{now, told};

/// P1
pub(super) async fn map(scene: &Scene) -> Probed {
    const FIELD: &str = "\n[[data]]\nfield = \"users.full_name\"\nkind = \"personal\"\nlocation = \"database\"\nseen-by = [\"admin\"]\nretention = \"a year\"\n";
    let data = &scene.live.config().data;
    if data.is_empty() {
        return Err(Short::not_configured("[[data]]"));
    }
    // The gate's own part: nothing in its schema that the map does not know.
    let schema = Schema::newest().await;
    let schema = schema.map_err(|error| Short::not_proven(error.to_string()))?;
    for table in &schema.tables {
        let held = HOLDINGS.iter().find(|held| held.table == table.name);
        let is_known = match held {
            Some(held) => (table.columns.iter())
                .all(|column| held.columns.iter().any(|known| known.name == column.name)),
            None => ELSEWHERE.iter().any(|other| other.table == table.name),
        };
        must(
            is_known,
            || format!("`{}` holds what the map does not name", table.name),
            "this program does not know its own tables: take another build",
        )?;
    }
    Hostile::sound()?.with(FIELD).is_taken().await?;
    let unknown = FIELD.replace("\"admin\"", "\"a-role-of-nobody\"");
    let said = Hostile::sound()?
        .with(&unknown)
        .is_refused_for("data.0.seen-by")
        .await?;
    let kept_out = kept_out(scene).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{} fields of the product and {} tables of the gate are classified; {kept_out}; who is named has to be in the policy ({said})",
            data.len(),
            schema.tables.len()
        ),
    ))
}

/// That what the map says is never logged is in no log, and that something beside it would have been.
async fn kept_out(scene: &Scene) -> Result<String, Short> {
    let w = scene.rehearsal()?;
    let never = never_logged(&w.config().data);
    let mut replies = Vec::new();
    for (position, name) in never.iter().enumerate() {
        let path = format!("{BENCH}/public/{name}=plover{position}x");
        replies.push(w.target.get(&path).send().await?);
    }
    let control = format!("{BENCH}/public/day=heron0x");
    replies.push(w.target.get(&control).send().await?);
    let printed = w.logged(&replies).await?;
    must(
        printed.contains("heron0x"),
        || "the log has no paths in which anything could be redacted".to_owned(),
        "[log] access = true",
    )?;
    for (position, name) in never.iter().enumerate() {
        must(
            !printed.contains(&format!("plover{position}x")),
            || format!("the value of `{name}` stands in the log"),
            "[[data]] logged = false",
        )?;
    }
    Ok(format!("none of {} is in the log", never.join(", ")))
}

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
    consents(&browser, &purpose.name).await?;
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
    let of_product = subjects(w).await?;
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
            "a consent to `{}` is written down and taken back, and a route that asks for it follows; an export of {events} lines verifies, and one changed byte does not; an erasure destroyed {rows} rows and {} keys, and read back that nothing is left; that of somebody whom the product alone knows destroyed {of_product} in one tenant, and none in another; the audit log still verifies",
            purpose.name,
            erased.certificate.keys.len()
        ),
    ))
}

const ERASES: &str = "this program does not erase: take another build";

/// That a consent is given and taken back over the wire, and both are remembered.
async fn consents(browser: &Browser, purpose: &str) -> Result<(), Short> {
    for state in ["given", "withdrawn"] {
        let body = json!({ "purpose": purpose, "state": state });
        let written = browser.change("POST", &auth("consents")).json(&body);
        let written = written.send().await?;
        must(
            written.status == 200,
            || format!("a consent cannot be written down: {}", written.said()),
            "[[purpose]]",
        )?;
        let told = browser.get(&auth("consents")).send().await?.json();
        let of = |one: &&Value| one.get("purpose").and_then(Value::as_str) == Some(purpose);
        let all = told.get("consents").and_then(Value::as_array);
        let standing = all.into_iter().flatten().find(of);
        let standing = standing.and_then(|one| one.get("standing"));
        must(
            standing.and_then(Value::as_str) == Some(state),
            || format!("a consent that was {state} is not told as such: {told}"),
            "[[purpose]]",
        )?;
        // A route that asks for it is open while it stands, from the next request on.
        let reply = browser.get(&format!("{BENCH}/agreed")).send().await?;
        let is_asked = reply.problem() == CONSENT_REQUIRED.slug;
        must(
            is_asked == (state == "withdrawn"),
            || {
                format!(
                    "a route that asks for a consent that was {state} says {}",
                    reply.said()
                )
            },
            ERASES,
        )?;
    }
    Ok(())
}

/// That a person whom the product alone knows is exported and erased by name, in one tenant alone. Of the certificate,
/// how many keys.
async fn subjects(w: &World) -> Result<usize, Short> {
    const NAME: &str = "prove-customer-4471";
    let (privacy, fields) = (&w.stores.identity.privacy, &w.stores.identity.vault.fields);
    let place = |tenant| fields::Place {
        tenant: Some(tenant),
        table: "prove",
        field: "iban",
        row: "1",
    };
    let mut sealed = Vec::new();
    for tenant in [w.a.id, w.b.id] {
        let text = fields.seal(&place(tenant), Some(NAME), b"an iban").await;
        let text = text.map_err(|error| Short::not_proven(error.to_string()))?;
        sealed.push((tenant, text));
    }
    let subject = Subject::new(Some(w.a.id), NAME);
    let subject = subject.map_err(|error| Short::not_proven(told(error)))?;
    let named = Named::new(subject, Vec::new());
    let named = named.map_err(|error| Short::not_proven(told(error)))?;
    let export = privacy.export_subject(&named, &EventBy::OPERATOR).await;
    let export = export.map_err(|error| Short::not_proven(told(error)))?;
    let keys = privacy.verifiers();
    let keys = keys.map_err(|error| Short::not_proven(told(error)))?;
    must(
        archive::verify(&export.archive, &keys).is_ok(),
        || "an export of whom the product alone knows does not verify".to_owned(),
        ERASES,
    )?;
    let erased = privacy.erase_subject(&named, &EventBy::OPERATOR).await;
    let erased = erased.map_err(|error| Short::not_proven(told(error)))?;
    must(
        erased.left.is_empty() && erased.certificate.keys.len() == 1,
        || {
            format!(
                "the erasure of whom the product alone knows left {:?}",
                erased.left
            )
        },
        ERASES,
    )?;
    for (tenant, text) in &sealed {
        let opens = fields.open(&place(*tenant), text).await.is_ok();
        must(
            opens == (*tenant == w.b.id),
            || "an erasure reaches another tenant, or not its own".to_owned(),
            ERASES,
        )?;
    }
    Ok(erased.certificate.keys.len())
}

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

/// P3
pub(super) fn mapped(scene: &Scene) -> Probed {
    for id in Id::ALL {
        must(
            !id.asvs().is_empty() && !id.shapes().is_empty(),
            || format!("{id} is mapped to nothing"),
            "prove/requirement.rs",
        )?;
    }
    // A mapping is worth what was probed under it.
    let so_far = scene.so_far.borrow();
    let of = |verdict| {
        so_far
            .iter()
            .filter(|found| found.verdict == verdict)
            .count()
    };
    let missing: Vec<&str> = Group::ALL
        .iter()
        .filter(|group| **group < Group::Privacy)
        .filter(|group| !so_far.iter().any(|found| found.id.group() == **group))
        .map(|group| group.title())
        .collect();
    if !missing.is_empty() {
        return Err(Short::not_proven(format!(
            "this run left out: {}",
            missing.join(", ")
        )));
    }
    let failed: Vec<&str> = so_far
        .iter()
        .filter(|found| found.verdict == Verdict::Failed)
        .map(|found| found.id.as_str())
        .collect();
    must(
        failed.is_empty(),
        || format!("mapped and failed: {}", failed.join(" ")),
        "mend those",
    )?;
    let mut sections: Vec<&str> = Id::ALL.iter().flat_map(|id| id.asvs()).copied().collect();
    sections.sort_unstable();
    sections.dedup();
    Ok(Held::at(
        Place::State,
        format!(
            "{} requirements on {} sections of OWASP ASVS 5.0; so far {} held, {} not proven; a certificate (ISO 27001, SOC 2) is for people to give",
            Id::ALL.len(),
            sections.len(),
            of(Verdict::Held),
            of(Verdict::NotProven)
        ),
    ))
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
    Ok(Held::at(
        Place::Rehearsal,
        format!("{visitor}; {}; kept are {kept}; {retention}", logs.evidence),
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
