//! What is to become of a secret, and what cannot.

use portcullis_core::{Secret, Span};
use portcullis_vault::{ct_eq, fields};

use super::Error;
use super::config::LONGEST_OVERLAP;
use super::label::{Made, Public};
use super::rows::Stored;

/// Largest private part, in bytes.
pub(super) const LARGEST_VALUE: usize = 32 * 1024;
const LONGEST_WORDS: usize = 200;

/// What is to be written. What is not given stays as it is.
#[derive(Debug, Default)]
pub struct Change {
    pub value: Option<Secret<String>>,
    pub public: Option<Public>,
    pub owner: Option<String>,
    pub purpose: Option<String>,
    pub made: Option<Made>,
    /// Nothing at all for never.
    pub rotate_every: Option<Span>,
    /// How long the value before is served from now on, in this change and by default in later ones.
    pub overlap: Option<Span>,
    /// By what a repeated call is known: a digest.
    pub request: Option<[u8; 32]>,
}

/// A rotation: a new value, whatever the old one is.
#[derive(Debug, Default)]
pub struct Rotation {
    /// Nothing: it is made at random, as the secret's `made` says.
    pub value: Option<Secret<String>>,
    pub public: Option<Public>,
    /// For this time alone.
    pub overlap: Option<Span>,
    pub request: Option<[u8; 32]>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Created,
    NewVersion,
    /// What it is about was changed, not its content.
    Described,
    /// It was so already.
    Unchanged,
}

/// What a change comes to.
pub(super) enum Next {
    Content(Secret<String>, Public),
    Same,
}

pub(super) fn described(old: &Stored, change: &Change) -> Stored {
    Stored {
        owner: change.owner.clone().unwrap_or_else(|| old.owner.clone()),
        purpose: change
            .purpose
            .clone()
            .unwrap_or_else(|| old.purpose.clone()),
        made: change.made.unwrap_or(old.made),
        rotate_every: match change.rotate_every {
            None => old.rotate_every,
            Some(span) => Some(span).filter(|span| !span.is_zero()),
        },
        overlap: change.overlap.unwrap_or(old.overlap),
        ..old.clone()
    }
}

/// What it is to be, by what it is; nothing of a value that does not open.
pub(super) fn next_content(
    value: Option<&Secret<String>>,
    public: &Public,
    change: &Change,
) -> Result<Next, Error> {
    let (value, same_value) = match (&change.value, value) {
        (None, Some(value)) => (value, true),
        (Some(new), Some(old)) => (new, ct_eq(new.expose().as_bytes(), old.expose().as_bytes())),
        // A new value mends one that was damaged.
        (Some(new), None) => (new, false),
        (None, None) => return Err(fields::Error::DoesNotOpen.into()),
    };
    let same_public = change.public.as_ref().is_none_or(|new| new == public);
    if same_value && same_public {
        return Ok(Next::Same);
    }
    let public = change.public.as_ref().unwrap_or(public);
    Ok(Next::Content(value.clone(), public.clone()))
}

pub(super) fn check_change(change: &Change) -> Result<(), Error> {
    check_value(change.value.as_ref())?;
    check_overlap(change.overlap)?;
    for (field, words) in [("owner", &change.owner), ("purpose", &change.purpose)] {
        let Some(words) = words else { continue };
        let fits = !words.trim().is_empty() && words.len() <= LONGEST_WORDS;
        if !fits || words.chars().any(char::is_control) {
            let said = "must have 1 to 200 bytes and no control characters";
            return Err(Error::Invalid(field, said));
        }
    }
    let sensible = Span::from_days(1)..=Span::from_days(3650);
    match change.rotate_every {
        Some(span) if !span.is_zero() && !sensible.contains(&span) => {
            let said = "must be from 1d to 3650d, or 0s for never";
            Err(Error::Invalid("rotate_every", said))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_value(value: Option<&Secret<String>>) -> Result<(), Error> {
    match value.map(|value| value.expose().len()) {
        None | Some(1..=LARGEST_VALUE) => Ok(()),
        Some(_) => Err(Error::Invalid("value", "must have 1 to 32768 bytes")),
    }
}

pub(super) fn check_overlap(overlap: Option<Span>) -> Result<(), Error> {
    match overlap {
        Some(overlap) if overlap > LONGEST_OVERLAP => {
            Err(Error::Invalid("overlap", "must be at most 90d"))
        }
        Some(_) | None => Ok(()),
    }
}

/// SECURITY: every client may read the public part. A private one that was put there by mistake is
/// refused, and not published.
pub(super) fn check_public(value: &Secret<String>, public: &Public) -> Result<(), Error> {
    if public.shows(value) {
        return Err(Error::Invalid("public", "must not hold the private value"));
    }
    Ok(())
}
