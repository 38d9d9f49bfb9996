//! What a probe finds. Never a bare yes: each answer says what was seen, and where.

use std::fmt;

use serde::Serialize;

use super::requirement::Id;

/// What to change where a control that is always on did not act on the wire.
pub(crate) const ALWAYS: &str =
    "no key turns this off: is something between the probe and the gate?";
/// The same where nothing stands between.
pub(crate) const RELEASED: &str =
    "no key turns this off: this program is not the one that was released";

/// Where something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// On the wire of the running gate.
    Gate,
    /// In the state of the running gate: rows, files, its configuration.
    State,
    /// On the wire of a gate of the probe's own: this program with the same policy, in production mode, with
    /// stores and a product of its own, so that nothing of the real one is disturbed.
    Rehearsal,
    /// In what this program said of a hostile configuration.
    Start,
}

impl Place {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Place::Gate => "at the gate",
            Place::State => "in its state",
            Place::Rehearsal => "in rehearsal",
            Place::Start => "at the start",
        }
    }
}

/// Something that was seen to hold.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) place: Place,
    pub(crate) evidence: String,
}

impl Held {
    pub(crate) fn at(place: Place, evidence: impl Into<String>) -> Self {
        Held {
            place,
            evidence: evidence.into(),
        }
    }
}

/// Why something was not seen to hold.
#[derive(Debug, Clone)]
pub(crate) enum Short {
    /// The probe got through: what it saw, and what to change.
    Failed { what: String, remedy: String },
    /// Nobody knows: the probe could not be made, or there is nothing to probe yet.
    NotProven { why: String },
    /// The policy does not promise it.
    NotConfigured { key: String },
}

/// What every probe returns.
pub(crate) type Probed = Result<Held, Short>;

impl Short {
    pub(crate) fn failed(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Short::Failed {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn not_proven(why: impl Into<String>) -> Self {
        Short::NotProven { why: why.into() }
    }

    pub(crate) fn not_configured(key: impl Into<String>) -> Self {
        Short::NotConfigured { key: key.into() }
    }
}

// An error on the way is no finding, and no proof either.
impl From<anyhow::Error> for Short {
    fn from(error: anyhow::Error) -> Self {
        Short::not_proven(format!("the probe could not be made: {error:#}"))
    }
}

impl From<portcullis_store::Error> for Short {
    fn from(error: portcullis_store::Error) -> Self {
        Short::not_proven(format!("the database could not be asked: {error}"))
    }
}

impl From<std::io::Error> for Short {
    fn from(error: std::io::Error) -> Self {
        Short::not_proven(format!("the probe could not be made: {error}"))
    }
}

/// Refuses where `seen` does not hold.
pub(crate) fn must(seen: bool, what: impl FnOnce() -> String, remedy: &str) -> Result<(), Short> {
    if seen {
        Ok(())
    } else {
        Err(Short::failed(what(), remedy))
    }
}

/// The four words of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Failed,
    NotProven,
    NotConfigured,
    Held,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Verdict::Failed => "FAILED",
            Verdict::NotProven => "NOT PROVEN",
            Verdict::NotConfigured => "not configured",
            Verdict::Held => "held",
        }
    }
}

/// One requirement with what became of its probe.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    #[serde(serialize_with = "as_text")]
    pub(crate) id: Id,
    /// See [`Id::asvs`].
    pub(crate) asvs: &'static [&'static str],
    pub(crate) verdict: Verdict,
    /// What was seen, what got through, why nobody knows, or the key that is not there.
    pub(crate) said: String,
    /// What to change, where the probe got through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Place>,
    pub(crate) milliseconds: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_text<S: serde::Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl Finding {
    pub(crate) fn of(id: Id, probed: Probed, milliseconds: u64) -> Self {
        let (verdict, said, remedy, place) = match probed {
            Ok(Held { place, evidence }) => (Verdict::Held, evidence, None, Some(place)),
            Err(Short::Failed { what, remedy }) => (Verdict::Failed, what, Some(remedy), None),
            Err(Short::NotProven { why }) => (Verdict::NotProven, why, None, None),
            Err(Short::NotConfigured { key }) => (
                Verdict::NotConfigured,
                format!("the policy has no `{key}`"),
                None,
                None,
            ),
        };
        Finding {
            id,
            asvs: id.asvs(),
            verdict,
            said,
            remedy,
            place,
            milliseconds,
        }
    }
}

/// One line for people.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            id, verdict, said, ..
        } = self;
        write!(f, "{id:<4} {:<14} {}", verdict.as_str(), id.sentence())?;
        let place = self
            .place
            .map(|place| format!("{}: ", place.as_str()))
            .unwrap_or_default();
        write!(f, "\n                    {place}{said}")?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n                    mend it: {remedy}"),
            None => Ok(()),
        }
    }
}
