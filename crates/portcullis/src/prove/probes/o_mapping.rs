//! o. The mapping to a standard, and what it says of what is not proven (P3).

use serde_json::Value;

use super::c_signing_keys::published;
use crate::prove::Scene;
use crate::prove::numbers;
use crate::prove::probe::{Finding, Held, Place, Probed, Short, Verdict, must};
use crate::prove::report::{Format, Report, markdown};
use crate::prove::requirement::{Group, Id};

const BUILD: &str = "this program is not the one that was released";

/// P3
pub(super) async fn mapped(scene: &Scene) -> Probed {
    for id in Id::ALL {
        must(
            id.asvs().iter().all(|text| numbers::find(text).is_some()),
            || format!("{id} is mapped to what the standard does not have"),
            "prove/requirement.rs",
        )?;
    }
    // A mapping is worth what was probed under it.
    let so_far: Vec<Finding> = scene.so_far.borrow().clone();
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
    let signed = documents(scene, &so_far).await?;
    let answered = numbers::ALL.iter();
    let answered = answered.filter(|number| number.ids().next().is_some());
    let beyond = Id::ALL.iter().filter(|id| id.asvs().is_empty());
    Ok(Held::at(
        Place::State,
        format!(
            "{} requirements, {} of them beyond OWASP ASVS 5.0, the others on {} of its {} numbers; so far {} held, {} not proven; {signed}; a certificate (ISO 27001, SOC 2) is for people to give",
            Id::ALL.len(),
            beyond.count(),
            answered.count(),
            numbers::ALL.len(),
            of(Verdict::Held),
            of(Verdict::NotProven)
        ),
    ))
}

/// The documents that a run writes, with one more that is not proven in them: each says so of it, in each all others
/// stand with their numbers, and the one that is signed verifies by a key that the gate publishes, as it is alone.
async fn documents(scene: &Scene, so_far: &[Finding]) -> Result<String, Short> {
    const PLANTED: &str = "planted by prove";
    let live = &scene.live;
    let mut findings = so_far.to_vec();
    findings.push(Finding::of(Id::P3, Err(Short::not_proven(PLANTED)), 0));
    let report = Report::about(&live.stores.loaded, &live.target).with(findings);
    let ring = &live.stores.identity.signing_keys.ring;
    let text = report.written(Format::Md, ring)?;
    for found in &report.findings {
        let row = format!(
            "| {} | {} | {} |",
            found.id,
            found.verdict.as_str(),
            found.id.asvs().join(", ")
        );
        must(
            text.contains(&row),
            || format!("the mapping has no `{row}`"),
            BUILD,
        )?;
    }
    let prettier = text.replace(&format!("**NOT PROVEN:** {PLANTED}"), "*Held:* it was seen");
    must(
        prettier != text
            && markdown::verify(&text, ring).is_ok()
            && markdown::verify(&prettier, ring).is_err(),
        || {
            "a mapping in which `not proven` was changed to `held` verifies, or none does"
                .to_owned()
        },
        BUILD,
    )?;
    let keys = published(&live.target).await?;
    let signer = markdown::signer(&text);
    must(
        signer.is_some_and(|kid| keys.contains(&kid)),
        || "the mapping is signed by a key that the gate does not publish".to_owned(),
        BUILD,
    )?;
    for (format, pointer, word) in [
        (Format::Sarif, "/runs/0/results", "open"),
        (
            Format::Oscal,
            "/assessment-results/results/0/findings",
            "not-satisfied",
        ),
    ] {
        let document: Value =
            serde_json::from_str(&report.written(format, ring)?).map_err(anyhow::Error::from)?;
        let results = document.pointer(pointer).and_then(Value::as_array);
        let results = results.map_or(&[][..], Vec::as_slice);
        let last = results.last().map(Value::to_string).unwrap_or_default();
        must(
            results.len() == report.findings.len() && last.contains(word),
            || format!("in {format:?} what is not proven is not `{word}`"),
            BUILD,
        )?;
    }
    Ok("each document that a run writes has all of it with its numbers and says what is not proven, and the signed one verifies by a key that the gate publishes, and not with one word changed".to_owned())
}
