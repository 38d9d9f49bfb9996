//! q. Incidents and disclosure.

use portcullis_core::{Span, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{b_sessions, c_signing_keys, d_api_keys, j_secrets};
use crate::incident::Duty;
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::Folder;
use crate::verbs::now;

const ALWAYS: &str = "no key turns this off: this program is not the one that was released";
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
            ALWAYS,
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
        ALWAYS,
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
        ALWAYS,
    )?;
    let note = ["incident", "note", id, "--phase", "triage", "looked at"];
    duty.run(&note).await?;
    let noted = late().await?;
    must(
        noted == (Some(0), json!([])),
        || format!("it stays late when it was triaged: {}", noted.1),
        ALWAYS,
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

/// N3. Each step is probed; `portcullis incident open --contain` does them together.
pub(super) async fn by_command(scene: &Scene) -> Probed {
    b_sessions::revoked(scene).await?;
    d_api_keys::revoked(scene).await?;
    c_signing_keys::replaced(scene).await?;
    let secrets = match j_secrets::procedure(scene).await {
        Ok(_) => "a named secret was rotated",
        Err(Short::NotConfigured { .. }) => "there are no named secrets",
        Err(short) => return Err(short),
    };
    Ok(Held::at(
        Place::Gate,
        format!(
            "once more: sessions ended, a key revoked, signing keys replaced and taken out, {secrets}; to notify people is theirs to do"
        ),
    ))
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
