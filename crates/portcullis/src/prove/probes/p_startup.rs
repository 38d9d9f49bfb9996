//! p. Guardrails and checks.

use super::{g_nodes, i_encryption, m_audit};
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, must};

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
