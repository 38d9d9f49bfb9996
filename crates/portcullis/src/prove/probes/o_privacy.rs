//! o. Privacy.

use super::{e_visitors, m_audit};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, Verdict, must};
use crate::prove::requirement::{Group, Id};

/// P1. The map of personal data is not in this program yet: the probe is to be filled in here.
pub(super) fn map(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "the policy has no list of personal data; what the gate keeps out of logs is A4, what it seals E3",
    ))
}

/// P2. Consent, export and erasure are not in this program yet: the probe is to be filled in here.
pub(super) fn rights(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "this program keeps no consents and exports nothing; `vault destroy --subject` makes sealed fields unreadable, without a certificate",
    ))
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
    Ok(Held::at(
        Place::Rehearsal,
        format!("{visitor}; {}; kept are {kept}", logs.evidence),
    ))
}
