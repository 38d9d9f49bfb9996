//! The product's own SECURITY.md: each sentence of the policy with its probe and what became of it, signed by the
//! gate and dated.
//!
//! The signature is a JWS by the gate's signing key (Ed25519) over the SHA-256 of everything above it, in a
//! comment at the end. Whoever has the key set of the gate (`/.portcullis/jwks.json`) or its master secret can
//! tell whether a letter was changed.

use std::fmt::Write as _;

use portcullis_vault::KeyRing;
use portcullis_vault::jws::Unverified;
use portcullis_vault::tokens::sha256;
use serde_json::{Value, json};

use super::Report;
use crate::prove::probe::{Finding, Place, Verdict};
use crate::prove::requirement::{Group, Shape};
use crate::verbs::now;

/// `typ` of the signature: it passes for no token.
const TYPE: &str = "portcullis-proof+jwt";
const BEGIN: &str = "<!-- portcullis-proof: ";
const END: &str = " -->";

/// The document without its signature.
pub(super) fn document(report: &Report) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _always_ok = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "# Security\n")?;
    writeln!(
        out,
        "Written by `portcullis prove` on {} from the policy of {} ({} mode) and from what the gate answered. Each sentence was tried; none is copied from anywhere.\n",
        report.at, report.gate, report.mode
    )?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| held | {} |", report.held)?;
    writeln!(
        out,
        "| **failed** | **{}** {} |",
        report.failed,
        ids(report, Verdict::Failed)
    )?;
    writeln!(
        out,
        "| **not proven** | **{}** {} |",
        report.not_proven,
        ids(report, Verdict::NotProven)
    )?;
    writeln!(
        out,
        "| not configured | {} {} |",
        report.not_configured,
        ids(report, Verdict::NotConfigured)
    )?;
    for group in Group::ALL {
        let of_it: Vec<&Finding> = report
            .findings
            .iter()
            .filter(|found| found.id.group() == group)
            .collect();
        if of_it.is_empty() {
            continue;
        }
        writeln!(out, "\n## {}\n", group.title())?;
        for found in of_it {
            sentence(out, found)?;
        }
    }
    writeln!(out, "\n## Where this is asked for\n")?;
    writeln!(
        out,
        "Numbers are those of OWASP ASVS 5.0, all or a part of which each answers (`--format asvs` has the standard by number); the right column names the kinds of products (the presets of `portcullis init`) whose documents ask for it.\n"
    )?;
    writeln!(
        out,
        "| | result | ASVS 5.0 | asked for by |\n|---|---|---|---|"
    )?;
    for found in &report.findings {
        let shapes: Vec<&str> = Shape::ALL
            .into_iter()
            .filter(|shape| found.id.shapes().contains(shape))
            .map(Shape::as_str)
            .collect();
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            found.id,
            found.verdict.as_str(),
            found.id.asvs().join(", "),
            shapes.join(", ")
        )?;
    }
    writeln!(out, "\n## Reporting a vulnerability\n")?;
    writeln!(
        out,
        "Report it in private, with component and version, steps, impact, what you expected and what happened. The address is in `/.well-known/security.txt` of the product, where it has one."
    )
}

fn sentence(out: &mut String, found: &Finding) -> std::fmt::Result {
    let (id, sentence, said) = (found.id, found.id.sentence(), in_line(&found.said));
    match found.verdict {
        Verdict::Held => {
            let place = found.place.map(Place::as_str).unwrap_or_default();
            writeln!(out, "- {sentence} `{id}`\n  *Held, seen {place}:* {said}")
        }
        Verdict::Failed => {
            let remedy = found.remedy.as_deref().map(in_line).unwrap_or_default();
            writeln!(
                out,
                "- ~~{sentence}~~ `{id}`\n  **FAILED:** {said}. To mend: {remedy}"
            )
        }
        Verdict::NotProven => writeln!(out, "- {sentence} `{id}`\n  **NOT PROVEN:** {said}"),
        Verdict::NotConfigured => writeln!(out, "- ({sentence}) `{id}`\n  *Not promised: {said}.*"),
    }
}

/// What was seen may hold what the document would take for its own marks.
fn in_line(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    line.replace('<', "&lt;")
        .replace("-->", "--&gt;")
        .replace('|', "\\|")
}

fn ids(report: &Report, verdict: Verdict) -> String {
    let of_it = report
        .findings
        .iter()
        .filter(|found| found.verdict == verdict);
    of_it
        .map(|found| format!("`{}`", found.id))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A document of this run with its signature below.
pub(super) fn signed(text: &str, report: &Report, ring: &KeyRing) -> anyhow::Result<String> {
    let claims = json!({
        "iss": report.gate, "iat": now().as_seconds(), "sha256": hex::encode(sha256(text.as_bytes())),
        "held": report.held, "failed": report.failed, "not_proven": report.not_proven, "not_configured": report.not_configured,
    });
    let token = ring.sign(TYPE, &claims, now())?;
    Ok(format!("{text}\n{BEGIN}{token}{END}\n"))
}

/// The key that a document says it is signed by.
pub(crate) fn signer(text: &str) -> Option<String> {
    let (_, rest) = text.rsplit_once(BEGIN)?;
    let token = rest.split_whitespace().next()?;
    Unverified::read(token).ok()?.header().kid.clone()
}

/// What a signature says, where it is right. Else what is wrong.
pub(crate) fn verify(text: &str, ring: &KeyRing) -> Result<String, String> {
    let (document, rest) = text
        .rsplit_once(&format!("\n{BEGIN}"))
        .ok_or("there is no signature in it")?;
    let token = rest
        .trim_end()
        .strip_suffix(END.trim_start())
        .ok_or("something stands behind its signature")?
        .trim_end();
    let unverified = Unverified::read(token).map_err(|error| error.to_string())?;
    let header = unverified.header().clone();
    if header.typ.as_deref() != Some(TYPE) {
        return Err("its signature is one of something else".to_owned());
    }
    let kid = header.kid.unwrap_or_default();
    let key = ring
        .verifying(&kid, now())
        .ok_or_else(|| format!("this gate has no key `{kid}`, or it does not count any more"))?;
    let claims = unverified
        .verify([&key])
        .map_err(|error| error.to_string())?;
    let text_of = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| claims.get(name).and_then(Value::as_u64).unwrap_or_default();
    if text_of("sha256") != hex::encode(sha256(document.as_bytes())) {
        return Err("it was changed after it was signed".to_owned());
    }
    let at = claims
        .get("iat")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    Ok(format!(
        "signed by {} at {}: {} held, {} failed, {} not proven, {} not configured",
        text_of("iss"),
        portcullis_core::Timestamp::from_seconds(at),
        number("held"),
        number("failed"),
        number("not_proven"),
        number("not_configured"),
    ))
}
