//! Drafts of the notices: to the persons concerned, to an authority, to customers. What is known is filled in; what
//! only people know stands in brackets. They are drafts: nobody is written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use portcullis_core::Span;
use portcullis_events::incidents::{File, Phase};
use serde_json::{Value, json};

use crate::config::Loaded;

/// Regulation (EU) 2016/679, article 33(1): from when it became known.
const TO_AN_AUTHORITY_WITHIN: Span = Span::from_hours(72);

/// The three of them, by whom they are for.
pub(super) fn drafts(
    file: &File,
    subjects: &BTreeMap<&'static str, BTreeSet<String>>,
    loaded: &Loaded,
) -> Value {
    let contact = loaded.config.security_txt.as_ref();
    let contact = contact.and_then(|table| table.contact.first());
    let contact = contact.map_or("[an address]", String::as_str);
    let facts = Facts {
        file,
        subjects,
        contact,
    };
    json!({
        "persons": facts.to_persons(),
        "authority": facts.to_an_authority(),
        "customers": facts.to_customers(),
    })
}

struct Facts<'f> {
    file: &'f File,
    subjects: &'f BTreeMap<&'static str, BTreeSet<String>>,
    contact: &'f str,
}

impl Facts<'_> {
    fn count(&self, kind: &str) -> usize {
        self.subjects.get(kind).map_or(0, BTreeSet::len)
    }

    /// What was done, with its time.
    fn measures(&self) -> String {
        let mut text = String::new();
        let done = |phase: Phase| match phase {
            Phase::Contain | Phase::Eradicate | Phase::Recover => true,
            Phase::Triage | Phase::Postmortem => false,
        };
        for note in self.file.notes.iter().filter(|note| done(note.phase)) {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "- {}: {}", note.at, note.text);
        }
        if text.is_empty() {
            text.push_str("- [what was done]\n");
        }
        text
    }

    /// What was contained, in numbers.
    fn reach(&self) -> String {
        let mut text = String::new();
        for one in &self.file.contained {
            let _infallible = writeln!(
                text,
                "- {}: {} accounts, {} sessions, {} sign-ins with tokens, {} API keys, {} visits",
                one.scope, one.accounts, one.sessions, one.token_families, one.api_keys, one.visits
            );
        }
        if text.is_empty() {
            text.push_str("- nothing was contained\n");
        }
        text
    }

    fn cause(&self) -> &str {
        let cause = self.file.incident.root_cause.as_deref();
        cause.unwrap_or("[not known yet]")
    }

    fn to_persons(&self) -> String {
        let incident = &self.file.incident;
        format!(
            "Subject: Your account at [product]\n\nOn {} we found: {}.\n\nWhat of yours is concerned: [which data]\nWhat may come of it: [what to look out for]\n\nWhat we did:\n{}\nWhat you can do: sign in again; choose another password if you use it elsewhere; [more]\n\nQuestions: {}\n",
            incident.opened_at,
            incident.title,
            self.measures(),
            self.contact
        )
    }

    fn to_an_authority(&self) -> String {
        let incident = &self.file.incident;
        format!(
            "Notification of a personal data breach (article 33 of Regulation (EU) 2016/679)\nDue: {}\n\nNature of the breach: {} ({})\nKnown since: {}\nCause: {}\nPersons in the records of that time, at most: {} users, {} visitors, of {} tenants\nCategories of data, and how many records: [to be filled in]\nContained:\n{}\nMeasures:\n{}\nLikely consequences: [to be filled in]\nContact: {}\n",
            incident.opened_at + TO_AN_AUTHORITY_WITHIN,
            incident.title,
            incident.severity,
            incident.opened_at,
            self.cause(),
            self.count("user"),
            self.count("visitor"),
            self.count("tenant"),
            self.reach(),
            self.measures(),
            self.contact
        )
    }

    fn to_customers(&self) -> String {
        let incident = &self.file.incident;
        let state = match incident.closed_at {
            Some(at) => format!("It was closed on {at}."),
            None => "We are still at work on it.".to_owned(),
        };
        format!(
            "Subject: Security notice of {}\n\n{} {state}\nCause: {}\n\nWhat we did:\n{}\nWhat you should do: [rotate the keys that we named to you; look at your own records of that time]\n\nQuestions: {}\n",
            incident.opened_at,
            incident.title,
            self.cause(),
            self.measures(),
            self.contact
        )
    }
}
