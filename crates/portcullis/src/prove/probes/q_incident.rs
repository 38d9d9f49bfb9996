//! q. Incidents and disclosure.

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_events::By;
use portcullis_events::secret_store::{Change, Label, Made, Name, Which};
use serde_json::{Value, json};
use uuid::Uuid;

use super::e_visitors::{put, visit};
use super::{b_sessions, c_signing_keys, c_tokens, d_api_keys, j_secrets};
use crate::incident::Duty;
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, RELEASED, Short, must};
use crate::prove::rehearsal::{BENCH, Folder};
use crate::prove::wire::{Browser, Reply};
use crate::prove::world::{PAGE_A, World};
use crate::verbs::now;

const A_DAY: Span = Span::from_hours(25);
const OLDER: &str = "UPDATE incident SET opened_at = $2 WHERE id = $1";

/// N1
pub(super) async fn clock(scene: &Scene) -> Probed {
    // What is late at the gate itself is late, however well the clock runs.
    let own = scene.live.stores.incidents().list().await;
    let own = own.map_err(|error| Short::not_proven(format!("its incidents: {error}")))?;
    let mut open = 0_usize;
    for incident in own.iter().filter(|incident| incident.closed_at.is_none()) {
        open = open.saturating_add(1);
        let late = incident.overdue(now());
        must(
            late.is_empty(),
            || format!("incident {} is {}", incident.id, late.join(" and ")),
            "portcullis incident acknowledge, and a note of its triage",
        )?;
    }
    let w = scene.rehearsal()?;
    let duty = Duty::at(w, &|_| {})?;
    let opening = [
        "incident",
        "open",
        "--title",
        "a rehearsal of the clock",
        "--severity",
        "critical",
    ];
    let opened = duty.run(&opening).await?;
    let id = opened.json.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| {
        Short::failed(
            format!("an incident cannot be opened: {}", opened.error),
            RELEASED,
        )
    })?;
    let parsed: Uuid = id.parse().map_err(anyhow::Error::from)?;
    let late = async || {
        let said = duty.run(&["incident", "list"]).await?;
        let list = said.json.as_array().cloned().unwrap_or_default();
        let of_it = list
            .into_iter()
            .find(|one| one.get("id").and_then(Value::as_str) == Some(id));
        let late = of_it.and_then(|one| one.get("late").cloned());
        anyhow::Ok((said.code, late.unwrap_or_default()))
    };
    let fresh = late().await?;
    must(
        fresh == (Some(0), json!([])),
        || format!("an incident that was just opened is late: {}", fresh.1),
        RELEASED,
    )?;
    let mut tx = w.stores.db.begin().await?;
    let day = Timestamp::from_micros((now() - A_DAY).as_micros());
    tx.execute(OLDER, &[parsed.into(), day.into()]).await?;
    tx.commit().await?;
    let after = late().await?;
    must(
        after == (Some(1), json!(["not acknowledged", "not triaged"])),
        || {
            format!(
                "a day after its opening nobody is told that it is late: {}",
                after.1
            )
        },
        RELEASED,
    )?;
    let note = ["incident", "note", id, "--phase", "triage", "looked at"];
    duty.run(&note).await?;
    let noted = late().await?;
    must(
        noted == (Some(0), json!([])),
        || format!("it stays late when it was triaged: {}", noted.1),
        RELEASED,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a critical incident is late a day after its opening, by name and by exit code, until it is triaged; at the gate {open} are open and none is late; advisories are people's to write"
        ),
    ))
}

/// N2
pub(super) async fn procedure(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let folder = Folder::new()?;
    let bundle = folder.path().join("incident.evidence");
    let (steps, _) = Duty::at(w, &|_| {})?.walk(&bundle).await?;
    let told: Vec<&str> = steps.iter().map(|step| step.what.as_str()).collect();
    Ok(Held::at(Place::Rehearsal, told.join("; ")))
}

/// N3. Each step by itself, and then all of them together, as `--contain all` does them on the day.
pub(super) async fn by_command(scene: &Scene) -> Probed {
    b_sessions::revoked(scene).await?;
    d_api_keys::revoked(scene).await?;
    c_signing_keys::replaced(scene).await?;
    let secrets = match j_secrets::procedure(scene).await {
        Ok(_) => "a named secret was rotated",
        Err(Short::NotConfigured { .. }) => "there are no named secrets",
        Err(short) => return Err(short),
    };
    let together = on_the_day(scene.rehearsal()?).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{together}; and once more one by one: sessions ended, a key revoked, signing keys replaced and taken out, {secrets}; to notify people is theirs to do"
        ),
    ))
}

/// Everything that people, programs and visitors hold, before and after one command.
async fn on_the_day(w: &World) -> Result<String, Short> {
    let hands = Hands::full(w).await?;
    let before = c_signing_keys::published(&w.target).await?;
    let secrets = Planted::of(w).await?;
    let shut_out = hands.are(true).await?;
    must(
        shut_out.is_empty(),
        || {
            format!(
                "before anything is contained, {} opens nothing",
                shut_out.join(", ")
            )
        },
        RELEASED,
    )?;
    let opening = [
        "incident",
        "open",
        "--title",
        "a rehearsal of the day",
        "--severity",
        "critical",
        "--contain",
        "all",
        "--rotate-secrets",
    ];
    let opened = Duty::at(w, &|_| {})?.run(&opening).await?;
    must(
        opened.code == Some(0),
        || format!("`incident open --contain all`: {}", opened.error),
        RELEASED,
    )?;
    let mut left = Vec::new();
    w.until(async || {
        left = hands.are(false).await.unwrap_or_default();
        Ok(left.is_empty())
    })
    .await?;
    must(
        left.is_empty(),
        || {
            format!(
                "after everything was contained, {} goes on",
                left.join(", ")
            )
        },
        RELEASED,
    )?;
    let mut keys = Vec::new();
    w.until(async || {
        keys = c_signing_keys::published(&w.target).await?;
        Ok(before.iter().all(|kid| !keys.contains(kid)))
    })
    .await?;
    must(
        !keys.is_empty() && before.iter().all(|kid| !keys.contains(kid)),
        || "after everything was contained, signing keys of before are still published".to_owned(),
        RELEASED,
    )?;
    secrets.are_replaced(w, &opened.json).await?;
    let browser = w.signed_in(&w.people.plain).await?;
    let reply = browser.get(&hands.path).send().await?;
    must(
        reply.passed(),
        || format!("whoever signs in anew is answered {}", reply.said()),
        RELEASED,
    )?;
    Ok(format!(
        "in rehearsal one command ends {}, takes every signing key out, gives secrets that are made here a new value and makes the others tasks by name; whoever signs in anew is let in",
        hands.names().join(", ")
    ))
}

/// What is in people's hands: a browser, and bearers with the origin that they are sent from.
struct Hands<'w> {
    w: &'w World,
    path: String,
    browser: Browser,
    bearers: Vec<(&'static str, String, Option<&'static str>)>,
}

impl<'w> Hands<'w> {
    async fn full(w: &'w World) -> Result<Self, Short> {
        let browser = w.signed_in(&w.people.plain).await?;
        let key = w.key(&[], None).await?;
        let mut bearers = vec![("an API key", key.text.expose().clone(), None)];
        match c_tokens::grant(w, &w.people.plain, w.target.fresh()).await {
            Ok(pair) => bearers.push(("a token", pair.access().to_owned(), None)),
            Err(Short::NotConfigured { .. }) => {}
            Err(short) => return Err(short),
        }
        if w.config().visitors.is_some() {
            let (_, token) = visit(w, &json!({})).await?;
            bearers.push(("a visit", token, Some(PAGE_A)));
        }
        Ok(Hands {
            w,
            path: format!("{BENCH}/callers"),
            browser,
            bearers,
        })
    }

    fn names(&self) -> Vec<&'static str> {
        let bearers = self.bearers.iter().map(|(what, ..)| *what);
        std::iter::once("a session").chain(bearers).collect()
    }

    /// Those that are not let in, or not refused, as they should be.
    async fn are(&self, let_in: bool) -> anyhow::Result<Vec<&'static str>> {
        let is_right = |reply: &Reply| {
            if let_in {
                reply.passed()
            } else {
                reply.status == 401
            }
        };
        let mut odd = Vec::new();
        if !is_right(&self.browser.get(&self.path).send().await?) {
            odd.push("a session");
        }
        for (what, token, origin) in &self.bearers {
            let ask = self.w.target.get(&self.path).bearer(token);
            let ask = match origin {
                None => ask,
                Some(origin) => ask.header("origin", origin),
            };
            if !is_right(&ask.send().await?) {
                odd.push(*what);
            }
        }
        Ok(odd)
    }
}

/// A secret that is made here, and one that somebody else makes.
struct Planted {
    ours: Label,
    value: Secret,
}

const THEIRS: &str = "prove_n3_theirs";

impl Planted {
    async fn of(w: &World) -> Result<Self, Short> {
        let said =
            |error: portcullis_events::secret_store::Error| Short::not_proven(error.to_string());
        put(w, THEIRS, "a value of somebody else's", None).await?;
        let name: Name = "prove_n3_ours".parse().map_err(said)?;
        let ours = Label { tenant: None, name };
        let change = Change {
            made: Some(Made::Hex(32)),
            owner: Some("prove".to_owned()),
            purpose: Some("a rehearsal".to_owned()),
            ..Change::default()
        };
        let store = &w.stores.identity.secret_store;
        let written = store.put(&ours, &change, &By::OPERATOR).await;
        written.map_err(said)?;
        let value = store.read(&ours, Which::Current, &By::OPERATOR).await;
        let value = value.map_err(said)?.value;
        Ok(Planted { ours, value })
    }

    async fn are_replaced(&self, w: &World, incident: &Value) -> Result<(), Short> {
        let store = &w.stores.identity.secret_store;
        let now = store.read(&self.ours, Which::Current, &By::OPERATOR).await;
        let now = now.map_err(|error| Short::not_proven(error.to_string()))?;
        must(
            now.value.expose() != self.value.expose(),
            || "a secret that is made here keeps its value".to_owned(),
            RELEASED,
        )?;
        let old = store.read(&self.ours, Which::Previous, &By::OPERATOR).await;
        must(
            old.is_err(),
            || "the value of before is served on".to_owned(),
            RELEASED,
        )?;
        must(
            incident.to_string().contains(THEIRS),
            || "a secret that somebody else makes is no task of the incident".to_owned(),
            RELEASED,
        )
    }
}

/// N4
pub(super) async fn report_page(scene: &Scene) -> Probed {
    let reply = scene
        .live
        .target
        .get("/.well-known/security.txt")
        .send()
        .await?;
    let text = reply.text();
    if reply.status == 200 && text.contains("Contact:") && text.contains("Expires:") {
        return Ok(Held::at(
            Place::Gate,
            format!(
                "/.well-known/security.txt names {}",
                text.lines()
                    .find(|line| line.starts_with("Contact:"))
                    .unwrap_or_default()
            ),
        ));
    }
    Err(Short::not_proven(format!(
        "/.well-known/security.txt is answered {}: nobody is told how to report (RFC 9116)",
        reply.said()
    )))
}
