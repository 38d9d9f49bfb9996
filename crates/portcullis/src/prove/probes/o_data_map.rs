//! o. What is personal, where it lies and who sees it (P1).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_events::Action;
use portcullis_identity::privacy::archive;
use portcullis_identity::privacy::config::never_logged;
use portcullis_identity::privacy::holdings::{Class, ELSEWHERE, Elsewhere, HOLDINGS, How};
use portcullis_store::dump::Schema;
use serde_json::{Value, json};

use super::m_audit::recorded;
use super::o_subjects;
use super::stored::Stored;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, RELEASED, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::{AGENT, Reply};
use crate::prove::world::{self, World, auth, base};
use crate::verbs::told;

/// Who may see what is held of others.
const EXPORT: &str = "export:users";

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
    let w = scene.rehearsal()?;
    let people = accounts(w).await?;
    let others = if w.config().purposes.is_empty() {
        String::new()
    } else {
        format!("; {}", o_subjects::exported(w).await?)
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{} fields of the product and {} tables of the gate are classified; {kept_out}; {people}{others}; who is named has to be in the policy ({said})",
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

/// That a person is told every row of the map that is theirs, with every column that the map shows and none that it
/// withholds; and that of others nobody is told but who may.
async fn accounts(w: &World) -> Result<String, Short> {
    let roles: Vec<String> = w.plain_role.iter().cloned().collect();
    let person = world::account(&w.stores, "mapped", &roles).await?;
    let browser = w.signed_in(&person).await?;
    let mut expected = BTreeSet::from(["users", "session", "totp", "audit_event"]);
    if !roles.is_empty() {
        expected.insert("user_role");
    }
    if let Some(purpose) = w.config().purposes.first() {
        let given = json!({ "purpose": purpose.name, "state": "given" });
        let ask = browser.change("POST", &auth("consents")).json(&given);
        ask.send().await?;
        expected.insert("consent");
    }
    let app = browser.change("POST", &auth("factors/totp")).send().await?;
    let app = app.json();
    let app = app.get("secret").and_then(Value::as_str);
    let session = browser.cookie(&w.session_cookie()).unwrap_or_default();
    let withheld = [
        ("the password", person.password.expose().as_str()),
        ("the session", session.as_str()),
        ("the secret of an app", app.unwrap_or_default()),
    ];
    let own = browser.get(&auth("personal-data")).send().await?;
    let tables = as_mapped(w, &own, &expected)?;
    must(
        withheld.iter().all(|(_, secret)| !secret.is_empty()),
        || "a session or an authenticator app has no secret".to_owned(),
        RELEASED,
    )?;
    let found = Stored::said(own.text()).holds(&withheld, &[person.email.as_bytes()])?;
    must(
        found.is_none(),
        || found.clone().unwrap_or_default(),
        RELEASED,
    )?;
    let all = own.text();
    must(
        all.contains(&person.email) && all.contains(AGENT),
        || "an export has neither the address nor the browser of the person".to_owned(),
        RELEASED,
    )?;
    recorded(w, Action::PersonalDataExported).await?;
    let may = by_others(
        w,
        &format!("/admin/v1/users/{}/personal-data", person.id),
        &expected,
    )
    .await?;
    Ok(format!(
        "a person is told rows of {tables} tables by themselves, with the columns that the map shows and none that it withholds{may}"
    ))
}

/// The tables of an export that is signed, has what is expected, and nothing that the map does not show.
fn as_mapped(w: &World, reply: &Reply, expected: &BTreeSet<&str>) -> Result<usize, Short> {
    must(
        reply.status == 200,
        || {
            format!(
                "asking for what is held of oneself is answered {}",
                reply.said()
            )
        },
        RELEASED,
    )?;
    let text = reply.text();
    let keys = w.stores.identity.privacy.verifiers();
    let keys = keys.map_err(|error| Short::not_proven(told(error)))?;
    must(
        archive::verify(text.as_bytes(), &keys).is_ok(),
        || "an export does not verify".to_owned(),
        RELEASED,
    )?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).map_err(anyhow::Error::from)?;
        let Some(table) = line.get("table").and_then(Value::as_str) else {
            continue;
        };
        let columns = line.get("row").and_then(Value::as_object);
        let columns = columns.into_iter().flat_map(|row| row.keys().cloned());
        found.entry(table.to_owned()).or_default().extend(columns);
    }
    let missing: Vec<&&str> = expected
        .iter()
        .filter(|table| !found.contains_key(**table))
        .collect();
    must(
        missing.is_empty(),
        || format!("an export leaves out {missing:?}"),
        RELEASED,
    )?;
    for (table, columns) in &found {
        let shown = Shown::of(table).ok_or_else(|| {
            let what = format!("an export has `{table}`, which the map does not have");
            Short::failed(what, RELEASED)
        })?;
        let odd = columns.iter().find(|name| !shown.has(name));
        must(
            odd.is_none(),
            || {
                format!(
                    "an export has `{table}.{}`",
                    odd.cloned().unwrap_or_default()
                )
            },
            RELEASED,
        )?;
    }
    Ok(found.len())
}

/// What the map shows of a table.
enum Shown {
    Columns(BTreeSet<&'static str>),
    /// Its slice says which.
    BySlice,
}

impl Shown {
    /// Nothing where the map does not have it.
    fn of(table: &str) -> Option<Self> {
        if let Some(held) = HOLDINGS.iter().find(|held| held.table == table) {
            let columns = held.columns.iter();
            let shown = columns.filter(|column| column.class != Class::Credential);
            return Some(Shown::Columns(shown.map(|column| column.name).collect()));
        }
        let is_it = |other: &&Elsewhere| other.table == table && other.how == How::BySlice;
        ELSEWHERE.iter().find(is_it).map(|_| Shown::BySlice)
    }

    fn has(&self, column: &str) -> bool {
        match self {
            Shown::Columns(columns) => columns.contains(column),
            Shown::BySlice => true,
        }
    }
}

/// What others are told of the person.
async fn by_others(w: &World, path: &str, expected: &BTreeSet<&str>) -> Result<String, Short> {
    let path = base(path);
    let mut refused = vec![w.target.get(&path).send().await?];
    refused.push(
        w.signed_in(&w.people.other)
            .await?
            .get(&path)
            .send()
            .await?,
    );
    let given = w.permissions();
    if let Some(another) = given.iter().find(|name| *name != EXPORT) {
        let key = w.key(&[another], None).await?;
        let ask = w.target.get(&path).bearer(key.text.expose());
        refused.push(ask.send().await?);
    }
    for reply in &refused {
        must(
            matches!(reply.status, 401 | 403 | 404),
            || format!("somebody who may not see it is answered {}", reply.said()),
            RELEASED,
        )?;
    }
    if !w.gives(EXPORT) {
        return Ok(format!(
            "; no role gives `{EXPORT}`, and nobody else is told"
        ));
    }
    let key = w.key(&[EXPORT], None).await?;
    let reply = w.target.get(&path).bearer(key.text.expose()).send();
    as_mapped(w, &reply.await?, expected)?;
    Ok(format!(
        "; `{EXPORT}` is told the same, and {} others are refused",
        refused.len()
    ))
}
