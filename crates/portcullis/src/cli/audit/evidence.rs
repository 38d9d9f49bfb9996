//! `portcullis audit verify FILE`: a bundle of evidence, sealed for a recipient or not.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use portcullis_events::audit::evidence::{Evidence, LONGEST_FILE};
use portcullis_vault::note::Verifier;
use serde_json::json;

use super::{Wanted, by_witnesses};
use crate::backup;
use crate::cli::Usage;
use crate::cli::output::{self, Format};

/// What an age file begins with.
const AGE: &[u8] = b"age-encryption.org/";

pub(super) fn verify(
    format: Format,
    file: &Path,
    identity: Option<&Path>,
    keys: &[Verifier],
    wanted: &Wanted,
) -> anyhow::Result<bool> {
    let text = match read(file, identity)? {
        Ok(text) => text,
        Err(why) => return Ok(refused(file, &why)),
    };
    match Evidence::verify(&text, keys) {
        Ok(evidence) => match wanted.signed(&evidence.checkpoint) {
            Ok(witnesses) => {
                proved(format, file, &evidence, &witnesses);
                Ok(true)
            }
            Err(why) => Ok(refused(file, &why)),
        },
        Err(why) => Ok(refused(file, &why.to_string())),
    }
}

fn refused(file: &Path, why: &str) -> bool {
    output::aside(format_args!("{}: NOT VERIFIED: {why}", file.display()));
    false
}

/// The text, or why it cannot be had of this file.
fn read(file: &Path, identity: Option<&Path>) -> anyhow::Result<Result<String, String>> {
    let unreadable = |error: std::io::Error| {
        Usage::error(format!("`{}` cannot be read: {error}", file.display()))
    };
    let mut opened = File::open(file).map_err(unreadable)?;
    let mut start = Vec::new();
    let length = u64::try_from(AGE.len()).unwrap_or(u64::MAX);
    opened
        .by_ref()
        .take(length)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    let bytes = match (start == AGE, identity) {
        (true, None) => {
            return Err(Usage::error(format!(
                "`{}` was written for a recipient: give --identity-file",
                file.display()
            )));
        }
        (true, Some(identity)) => {
            let again = File::open(file).map_err(unreadable)?;
            match backup::open_with(identity, again, LONGEST_FILE) {
                Ok(bytes) => bytes,
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
        }
        (false, _) => {
            let mut bytes = start;
            let mut rest = opened.take(LONGEST_FILE);
            rest.read_to_end(&mut bytes).context("the bundle")?;
            bytes
        }
    };
    Ok(String::from_utf8(bytes).map_err(|_| "it is no text".to_owned()))
}

fn proved(format: Format, file: &Path, evidence: &Evidence, witnesses: &[String]) {
    let said = |pointer: &str| {
        let found = evidence.facts.pointer(pointer);
        found
            .and_then(|value| value.as_str())
            .unwrap_or("-")
            .to_owned()
    };
    match format {
        Format::Json => output::json(&json!({
            "holds": true,
            "log": evidence.log,
            "events": evidence.events,
            "from": evidence.from,
            "to": evidence.to,
            "witnesses": witnesses,
            "facts": evidence.facts,
        })),
        Format::Text => output::line(format_args!(
            "{}: holds. Incident {} ({}), {} events, leaves {} to {} of {}, none left out, {}",
            file.display(),
            said("/incident/id"),
            said("/incident/title"),
            evidence.events,
            evidence.from,
            evidence.to,
            evidence.log,
            by_witnesses(witnesses)
        )),
    }
}
