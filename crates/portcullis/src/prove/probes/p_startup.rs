//! p. Guardrails and checks.

use super::i_encryption;
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Verdict, must};
use crate::prove::requirement::Id;

/// G1
pub(super) async fn refuses(_scene: &Scene) -> Probed {
    let free = || -> anyhow::Result<Hostile> {
        // Where it is not refused it shall be able to serve.
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = format!("address = \"{}\"", listener.local_addr()?);
        Ok(Hostile::sound()?
            .replace("address = \"127.0.0.1:8443\"", &address)
            .with("\n[admin]\naddress = \"127.0.0.1:0\"\n"))
    };
    free()?.is_taken().await?;
    let default = free()?.master("your-secret-key-change-in-production");
    let short = free()?.master("0f1e2d3c4b5a69788796a5b4c3d2e1f");
    let open = free()?.with("\n[cors]\nallow-origins = [\"*\"]\n");
    let mut told = Vec::new();
    for (what, hostile, key) in [
        ("a default secret", default, "secrets.master"),
        ("one of 31 characters", short, "secrets.master"),
        ("CORS", open, "cors.allow-origins"),
    ] {
        let said = hostile.is_refused_for(key).await?;
        hostile.is_not_served_for(key).await?;
        told.push(format!("{what}: {said}"));
    }
    Ok(Held::at(
        Place::Start,
        format!(
            "{}; `check` says so, and `serve` ends with it before it listens; a sound configuration starts",
            told.join("; ")
        ),
    ))
}

/// G2
pub(super) async fn shipped(scene: &Scene) -> Probed {
    const UNSEALED: &str = "\n[[data]]\nfield = \"user_integrations.config\"\nkind = \"credential\"\nlocation = \"database\"\nseen-by = []\nsealed = true\nretention = \"a year\"\n";
    let guards = refuses(scene).await?;
    // Sealed by whom? What says that it is, without anything that seals, is refused by the same check.
    Hostile::sound()?
        .with(UNSEALED)
        .with("\n[vault]\n")
        .is_taken()
        .await?;
    let unsealed = Hostile::sound()?
        .with(UNSEALED)
        .is_refused_for("data.0.sealed")
        .await?;
    let sealed = i_encryption::integrations(scene).await?;
    Ok(Held::at(
        Place::Start,
        format!(
            "{}; credentials that are said to be sealed with nothing that seals: {unsealed}; {}",
            guards.evidence, sealed.evidence
        ),
    ))
}

/// G5
pub(super) fn checklist(scene: &Scene) -> Probed {
    let report = crate::check::run(scene.file(), &[], &Environment::of_process())?;
    let of = |severity| {
        let found = report
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        found.map(|finding| finding.key.clone()).collect::<Vec<_>>()
    };
    let errors = of(portcullis_core::finding::Severity::Error);
    must(
        errors.is_empty(),
        || format!("`check` finds errors: {}", errors.join(", ")),
        "portcullis check",
    )?;
    let warnings = of(portcullis_core::finding::Severity::Warning);
    let rest = if warnings.is_empty() {
        "nothing to look at".to_owned()
    } else {
        format!("{} to look at: {}", warnings.len(), warnings.join(", "))
    };
    Ok(Held::at(
        Place::State,
        format!("`check` runs as before every start: no error, {rest}"),
    ))
}

/// G7. What this run has probed already is not probed twice.
pub(super) async fn urgent(scene: &Scene) -> Probed {
    const MOST_URGENT: [Id; 5] = [Id::G1, Id::E4, Id::E8, Id::A4, Id::L6];
    for id in MOST_URGENT {
        let held = scene.so_far.borrow().iter().any(|found| {
            let is_it = found.id == id;
            is_it && found.verdict == Verdict::Held
        });
        if !held {
            Box::pin(super::probe(id, scene)).await?;
        }
    }
    Ok(Held::at(
        Place::Gate,
        "guardrails (G1), sealed credentials (E4), nothing of them in the stored bytes (E8), clean logs (A4) and shared limits (L6) held in this run",
    ))
}
