//! Inputs of the forms, and what is wrong with them in plain words.

use http::StatusCode;
use maud::{Markup, html};
use portcullis_console::api::Failure;
use portcullis_console::desk;
use portcullis_core::{Problem, problem};

/// What is wrong with a form: sentences, and the inputs they are about.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    said: Vec<String>,
    fields: Vec<String>,
}

impl Faults {
    /// Something that is wrong with one input.
    pub(crate) fn of(field: &str, sentence: impl Into<String>) -> Self {
        Faults {
            said: vec![sentence.into()],
            fields: vec![field.to_owned()],
        }
    }

    /// What the sender of a form can do something about. Every other problem goes out as it is.
    pub(crate) fn from(problem: impl Into<Problem>) -> Result<Self, Failure> {
        let problem = problem.into();
        let kinds = [
            &problem::INVALID_INPUT,
            &problem::CONFLICT,
            &problem::NOT_PERMITTED,
            &problem::RATE_LIMITED,
        ];
        if !kinds.contains(&problem.kind) {
            return Err(Failure(problem));
        }
        let mut faults = Faults::default();
        for fault in &problem.fields {
            faults
                .said
                .push(format!("{} {}.", label(&fault.field), fault.message));
            faults.fields.push(fault.field.to_string());
        }
        faults
            .said
            .extend(problem.detail.as_deref().map(str::to_owned));
        if let Some(wait) = problem.retry_after {
            let minutes = wait.as_seconds_ceil().div_ceil(60);
            faults
                .said
                .push(format!("It is possible again in {minutes} min."));
        }
        if faults.said.is_empty() {
            faults.said.push(format!("{}.", problem.kind.title));
        }
        Ok(faults)
    }

    /// What a page is answered with that shows them.
    pub(crate) const fn status(&self) -> StatusCode {
        if self.said.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }

    pub(crate) fn shown(&self) -> Markup {
        desk::faults(&self.said)
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field == name)
    }

    fn invalid(&self, name: &str) -> Option<&'static str> {
        self.has(name).then_some("true")
    }

    /// What describes an input: its hint, and what is wrong with it.
    fn described(&self, name: &str, hint: &str) -> Option<String> {
        let own = (!hint.is_empty()).then(|| format!("{name}-hint"));
        let faults = self.has(name).then(|| "faults".to_owned());
        let ids: Vec<String> = own.into_iter().chain(faults).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }
}

/// The words that the pages use for a field of the API.
fn label(field: &str) -> String {
    match field {
        "email" => "The e-mail address".to_owned(),
        "slug" => "The short name".to_owned(),
        "display_name" => "The name".to_owned(),
        "because" => "The reason".to_owned(),
        "expires_at" | "expires_in" | "for" => "The time".to_owned(),
        "user_id" => "The account".to_owned(),
        "tenant_id" => "The tenant".to_owned(),
        "roles" | "permissions" | "routes" => format!("What is chosen as {field}"),
        other => format!("The {}", other.replace('_', " ")),
    }
}

fn hint_of(name: &str, hint: &str) -> Markup {
    html! { @if !hint.is_empty() { p.hint id=(format!("{name}-hint")) { (hint) } } }
}

/// An input for a line. `kind` is HTML's word.
pub(crate) fn text(
    faults: &Faults,
    (name, label, kind): (&str, &str, &str),
    value: &str,
    hint: &str,
    required: bool,
) -> Markup {
    html! {
        label for=(name) { (label) }
        input id=(name) name=(name) type=(kind) value=(value) maxlength="300" autocomplete="off" autocapitalize="none" spellcheck="false" required[required] aria-invalid=[faults.invalid(name)] aria-describedby=[faults.described(name, hint)];
        (hint_of(name, hint))
    }
}

/// An input for a whole number.
pub(crate) fn number(
    faults: &Faults,
    (name, label): (&str, &str),
    value: &str,
    hint: &str,
    required: bool,
) -> Markup {
    html! {
        label for=(name) { (label) }
        input id=(name) name=(name) type="number" inputmode="numeric" min="1" step="1" value=(value) autocomplete="off" required[required] aria-invalid=[faults.invalid(name)] aria-describedby=[faults.described(name, hint)];
        (hint_of(name, hint))
    }
}

/// An input for several lines.
pub(crate) fn textarea(
    faults: &Faults,
    (name, label): (&str, &str),
    value: &str,
    hint: &str,
) -> Markup {
    html! {
        label for=(name) { (label) }
        textarea id=(name) name=(name) rows="3" spellcheck="false" aria-invalid=[faults.invalid(name)] aria-describedby=[faults.described(name, hint)] { (value) }
        (hint_of(name, hint))
    }
}

/// One of a few: each a value and its words.
pub(crate) fn select(
    faults: &Faults,
    (name, label): (&str, &str),
    chosen: &str,
    of: &[(String, String)],
) -> Markup {
    html! {
        label for=(name) { (label) }
        select id=(name) name=(name) aria-invalid=[faults.invalid(name)] aria-describedby=[faults.described(name, "")] {
            @for (value, words) in of {
                option value=(value) selected[value == chosen] { (words) }
            }
        }
    }
}

/// Boxes to tick. What is chosen and is not offered any more stays there to be taken away.
pub(crate) fn picks(
    faults: &Faults,
    (name, legend): (&str, &str),
    offered: &[String],
    chosen: &[String],
    hint: &str,
) -> Markup {
    let gone = chosen.iter().filter(|one| !offered.contains(one));
    html! {
        fieldset aria-describedby=[faults.described(name, hint)] {
            legend { (legend) }
            (hint_of(name, hint))
            div.picks {
                @for one in offered.iter().chain(gone) {
                    label.pick {
                        input type="checkbox" name=(name) value=(one) checked[chosen.contains(one)];
                        span { (one) }
                    }
                }
            }
        }
    }
}
