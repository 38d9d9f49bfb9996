//! p. Guardrails and checks.

use super::{g_nodes, i_encryption, m_audit};
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, must};

/// G1
pub(super) async fn refuses(_scene: &Scene) -> Probed {
    Hostile::sound()?.is_taken().await?;
    let default = Hostile::sound()?
        .master("your-secret-key-change-in-production")
        .is_refused_for("secrets.master")
        .await?;
    let short = Hostile::sound()?
        .master("0f1e2d3c4b5a69788796a5b4c3d2e1f")
        .is_refused_for("secrets.master")
        .await?;
    let open = Hostile::sound()?
        .with("\n[cors]\nallow-origins = [\"*\"]\n")
        .is_refused_for("cors.allow-origins")
        .await?;
    Ok(Held::at(
        Place::Start,
        format!(
            "a default secret: {default}; one of 31 characters: {short}; CORS: {open}; a sound configuration starts"
        ),
    ))
}

/// G2
pub(super) async fn shipped(scene: &Scene) -> Probed {
    let guards = refuses(scene).await?;
    let sealed = match i_encryption::integrations(scene).await {
        Ok(held) => held.evidence,
        Err(short) => return Err(short),
    };
    Ok(Held::at(
        Place::Start,
        format!("{}; {sealed}", guards.evidence),
    ))
}

/// G3. Of builds a running gate shows nothing.
pub(super) fn builds(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "how this program was built and scanned cannot be seen while it runs: see the build's own checks (`cargo deny`, the image's scan and signature)",
    ))
}

/// G4. The same.
pub(super) fn dependencies(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "advisories of the libraries in this program cannot be seen while it runs: run `cargo deny check advisories` on its Cargo.lock",
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

/// G6. That it is done again and again, and by people, no single run shows.
pub(super) fn regularly(scene: &Scene) -> Probed {
    let count = scene.so_far.borrow().len();
    Err(Short::not_proven(format!(
        "this run made {count} probes so far; that it is run regularly (put it into your build: exit code 1 is a finding), and that people try to get in, a program cannot see"
    )))
}

/// G7
pub(super) async fn urgent(scene: &Scene) -> Probed {
    refuses(scene).await?;
    i_encryption::integrations(scene).await?;
    m_audit::no_secrets(scene).await?;
    g_nodes::shared(scene).await?;
    Ok(Held::at(
        Place::Gate,
        "guardrails (G1), sealed credentials (E4), clean logs (A4) and shared limits (L6) held once more",
    ))
}
