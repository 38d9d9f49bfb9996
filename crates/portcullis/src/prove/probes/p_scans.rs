//! p. Scans: what is built is looked at, and as often as the policy says (G3, G4, G6).

use portcullis_core::Secret;
use portcullis_events::Action;
use portcullis_events::scans::manage::View;
use portcullis_events::scans::{Covers, Scan, Standing};
use serde_json::{Value, json};

use crate::components::Components;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::program;
use crate::prove::wire::Reply;
use crate::prove::world::{World, base};

const RECORD: &str = "record:scans";

/// A report with one finding of this level, or with none.
fn report(tool: &str, level: Option<&str>) -> Value {
    let found = level.map(|level| json!({ "ruleId": "planted-by-prove", "level": level, "message": { "text": "planted" } }));
    json!({ "version": "2.1.0", "runs": [{
        "tool": { "driver": { "name": tool } },
        "results": found.into_iter().collect::<Vec<_>>(),
    }] })
}

/// How the wanted scans that cover one of these stand at the gate itself: all of them have to be clean.
async fn at_the_gate(scene: &Scene, covers: &[Covers]) -> Result<Option<String>, Short> {
    let standings = scene.live.stores.identity.scans.standings().await;
    let standings = standings.map_err(|error| Short::not_proven(error.to_string()))?;
    let wanted: Vec<&Standing> = standings
        .iter()
        .filter(|one| covers.contains(&one.scan.covers))
        .collect();
    for standing in &wanted {
        must(
            standing.verdict.is_clean(),
            || {
                format!(
                    "the scan `{}` is {}: {standing}",
                    standing.scan.name,
                    standing.verdict.as_str()
                )
            },
            "portcullis scan list",
        )?;
    }
    let said = wanted
        .iter()
        .map(|one| format!("`{}`: {one}", one.scan.name));
    Ok((!wanted.is_empty()).then(|| said.collect::<Vec<_>>().join("; ")))
}

/// A scan that the policy wants, on a rehearsal, over the wire.
struct Desk<'w> {
    w: &'w World,
    scan: &'w Scan,
}

impl<'w> Desk<'w> {
    fn of(w: &'w World, covers: Covers) -> Result<Self, Short> {
        let scan = w.stores.identity.scans.covering(covers);
        let scan = scan.ok_or_else(|| {
            Short::not_configured(format!("[[scan]] covers = \"{}\"", covers.as_str()))
        })?;
        let roles = w.config().access.roles();
        let mut given = roles.values().flat_map(|role| &role.permissions);
        must(
            given.any(|one| one == RECORD),
            || {
                format!(
                    "no role of the policy gives `{RECORD}`, so that no build can hand a report in"
                )
            },
            "[roles.NAME] permissions",
        )?;
        Ok(Desk { w, scan })
    }

    fn tool(&self) -> &str {
        match &*self.scan.tool {
            "" => "prove",
            tool => tool,
        }
    }

    async fn hand_in(&self, key: &Secret, report: &Value) -> anyhow::Result<Reply> {
        let path = base(&format!("/admin/v1/scans/{}", self.scan.name));
        let ask = self.w.target.ask("POST", &path);
        let bearer = format!("Bearer {}", key.expose());
        ask.header("authorization", &bearer)
            .json(report)
            .send()
            .await
    }

    /// What `scan check` says of a release.
    async fn may_release(&self) -> Result<bool, Short> {
        let copy = self.w.copy.as_ref();
        let copy = copy.ok_or_else(|| Short::not_proven("there is no copy"))?;
        let mut check = program(&copy.config())?;
        let output = check
            .args(["scan", "check", &self.scan.name])
            .output()
            .await?;
        match output.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(Short::not_proven("`scan check` does not say")),
        }
    }
}

fn verdict_of(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(&reply.text()).unwrap_or_default();
    let verdict = body.get("verdict").and_then(Value::as_str);
    verdict.unwrap_or_default().to_owned()
}

/// A release is stopped by what a scanner found, and by a scan that is too old.
async fn stops(w: &World, covers: Covers) -> Result<String, Short> {
    const SQL: &str = "UPDATE scan_report SET recorded_at = recorded_at - $1 WHERE name = $2";
    let desk = Desk::of(w, covers)?;
    let (name, fail_on) = (&desk.scan.name, desk.scan.fail_on);
    let roles = w.config().access.roles();
    let mut given = roles.values().flat_map(|role| &role.permissions);
    if let Some(other) = given.find(|one| *one != RECORD) {
        let without = w.key(&[other], None).await?;
        let refused = desk
            .hand_in(&without.text, &report(desk.tool(), None))
            .await?;
        must(
            refused.status == 403,
            || {
                format!(
                    "a key without `{RECORD}` hands a report in: {}",
                    refused.said()
                )
            },
            ALWAYS,
        )?;
    }
    let key = w.key(&[RECORD], None).await?;
    let planted = report(desk.tool(), Some(fail_on.as_str()));
    let failing = desk.hand_in(&key.text, &planted).await?;
    must(
        failing.status == 200 && verdict_of(&failing) == "failing",
        || {
            format!(
                "a report with a finding at `{fail_on}` is answered {}",
                failing.said()
            )
        },
        "[[scan]] fail-on",
    )?;
    must(
        !desk.may_release().await?,
        || "`scan check` lets a release with a finding pass".to_owned(),
        ALWAYS,
    )?;
    let clean = desk.hand_in(&key.text, &report(desk.tool(), None)).await?;
    must(
        verdict_of(&clean) == "clean" && desk.may_release().await?,
        || format!("a clean report is answered {}", clean.said()),
        ALWAYS,
    )?;
    // As long ago as the policy lets a report be, and a second.
    let late = desk.scan.every.as_micros().saturating_add(1_000_000);
    let mut tx = w.stores.db.begin().await?;
    tx.execute(SQL, &[late.into(), name.into()]).await?;
    tx.commit().await?;
    must(
        !desk.may_release().await?,
        || "`scan check` lets a release pass that nobody scanned in time".to_owned(),
        "[[scan]] every",
    )?;
    Ok(format!(
        "in rehearsal a finding of `{name}` stops a release, and so does a report older than {}",
        desk.scan.every
    ))
}

/// The score of M1 follows the proof that was handed in last; nothing where the policy wants none.
pub(super) async fn score(w: &World) -> Result<Option<String>, Short> {
    const METRIC: &str = "portcullis_compliance_score";
    if w.stores.identity.scans.covering(Covers::Proof).is_none() {
        return Ok(None);
    }
    let desk = Desk::of(w, Covers::Proof)?;
    let key = w.key(&[RECORD], None).await?;
    let mut half = report(desk.tool(), Some("error"));
    let results = half
        .pointer_mut("/runs/0/results")
        .and_then(Value::as_array_mut);
    if let Some(results) = results {
        results.push(json!({ "ruleId": "held", "kind": "pass", "level": "none", "message": { "text": "held" } }));
    }
    desk.hand_in(&key.text, &half).await?;
    let seen = w.metric(METRIC).await?;
    must(
        (seen - 50.0).abs() < f64::EPSILON,
        || format!("of two checks of a proof one held, and `{METRIC}` is {seen}"),
        ALWAYS,
    )?;
    Ok(Some(format!(
        "`{METRIC}` is 50 (in rehearsal) where one of two checks held"
    )))
}

/// G3. That an image bears a signature is seen where it is deployed, and not from inside of it.
pub(super) async fn builds(scene: &Scene) -> Probed {
    const ALL: [Covers; 3] = [Covers::Code, Covers::Image, Covers::Secrets];
    let wanted = &scene.live.stores.identity.scans;
    let Some(covers) = ALL
        .into_iter()
        .find(|covers| wanted.covering(*covers).is_some())
    else {
        return Err(Short::not_configured("[[scan]] covers = \"code\""));
    };
    let stops = stops(scene.rehearsal()?, covers).await?;
    let standing = at_the_gate(scene, &ALL).await?.unwrap_or_default();
    Ok(Held::at(Place::Gate, format!("{standing}; {stops}")))
}

/// G4
pub(super) async fn dependencies(scene: &Scene) -> Probed {
    let components = Components::own()?;
    let unpinned = components.unpinned();
    must(
        unpinned.is_empty(),
        || {
            format!(
                "{} components of this program are not pinned, such as {}",
                unpinned.len(),
                unpinned.first().map_or("", |one| &one.name)
            )
        },
        "Cargo.lock",
    )?;
    let Some(standing) = at_the_gate(scene, &[Covers::Dependencies]).await? else {
        return Err(Short::not_configured("[[scan]] covers = \"dependencies\""));
    };
    let stops = stops(scene.rehearsal()?, Covers::Dependencies).await?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} components of the gate, each pinned by its hash; {standing}; {stops}",
            components.foreign()
        ),
    ))
}

/// G6. The schedule is the control: each whole run is on record, and one that is late is told.
pub(super) async fn regularly(scene: &Scene) -> Probed {
    let live = &scene.live.stores.identity.scans;
    let Some(scan) = live.covering(Covers::Proof) else {
        return Err(Short::not_configured("[[scan]] covers = \"proof\""));
    };
    let w = scene.rehearsal()?;
    let stops = stops(w, Covers::Proof).await?;
    let name = &scan.name;
    let target = format!("scan:{name}");
    let events = w.events(Action::ScanRecorded).await?;
    must(
        events.iter().any(|event| {
            let of_it = event.target.as_ref();
            of_it.is_some_and(|one| one.as_str() == target)
        }),
        || "a proof is handed in, and the trail has no event of it".to_owned(),
        "[audit] enabled",
    )?;
    let standings = live
        .standings()
        .await
        .map_err(|error| Short::not_proven(error.to_string()))?;
    let last = standings
        .iter()
        .find(|one| &one.scan.name == name)
        .map(View::of);
    let last = last.and_then(|view| view.recorded_at);
    let last = last.map_or_else(
        || "this is the first run, and goes on record when it ends".to_owned(),
        |at| format!("the last whole run on record is of {at}"),
    );
    Ok(Held::at(
        Place::Rehearsal,
        format!("a proof is wanted every {}; {last}; {stops}", scan.every),
    ))
}
