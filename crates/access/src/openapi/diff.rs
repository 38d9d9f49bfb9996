//! What changed between two documents of one API, with an eye on what became public.

use std::fmt;

use serde::Serialize;

use super::template::to_pattern;
use super::{Api, Operation, Parameter, Security};

/// The changes, each list ordered by path and method.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diff {
    /// Was there, needed a credential, and needs none now.
    pub became_public: Vec<String>,
    /// Is new, and needs no credential.
    pub came_public: Vec<String>,
    /// Is new, and needs a credential.
    pub came: Vec<String>,
    /// Is there no more.
    pub went: Vec<String>,
    /// Needed no credential, and needs one now.
    pub became_secured: Vec<String>,
    pub parameters: Vec<ParameterChange>,
}

/// The parameters that one operation has, lost or has with another meaning.
#[derive(Debug, Clone, Serialize)]
pub struct ParameterChange {
    pub operation: String,
    pub came: Vec<Parameter>,
    pub went: Vec<Parameter>,
}

impl Diff {
    /// What changed from `old` to `new`. An operation is the same one where method and path are,
    /// or else where the gate cannot tell the paths apart.
    pub fn between(old: &Api, new: &Api) -> Diff {
        let mut diff = Diff::default();
        let mut left: Vec<&Operation> = old.operations.iter().collect();
        let mut pairs: Vec<(&Operation, Option<&Operation>)> = Vec::new();
        for operation in &new.operations {
            let known = take(&mut left, |old| {
                old.method == operation.method && old.path == operation.path
            });
            pairs.push((operation, known));
        }
        for (operation, known) in pairs.iter_mut().filter(|(_, known)| known.is_none()) {
            let shape = shape(operation);
            *known = take(&mut left, |old| {
                old.method == operation.method && self::shape(old) == shape
            });
        }
        for (operation, known) in pairs {
            diff.compare(operation, known);
        }
        diff.went = left.iter().map(ToString::to_string).collect();
        diff
    }

    fn compare(&mut self, new: &Operation, old: Option<&Operation>) {
        let name = new.to_string();
        let Some(old) = old else {
            match new.security {
                Security::Open => self.came_public.push(name),
                Security::Secured => self.came.push(name),
            }
            return;
        };
        let missing = |from: &Operation, of: &Operation| -> Vec<Parameter> {
            from.parameters
                .iter()
                .filter(|parameter| !of.parameters.contains(parameter))
                .cloned()
                .collect()
        };
        let change = ParameterChange {
            operation: name.clone(),
            came: missing(new, old),
            went: missing(old, new),
        };
        if !change.came.is_empty() || !change.went.is_empty() {
            self.parameters.push(change);
        }
        match (old.security, new.security) {
            (Security::Secured, Security::Open) => self.became_public.push(name),
            (Security::Open, Security::Secured) => self.became_secured.push(name),
            (Security::Open, Security::Open) | (Security::Secured, Security::Secured) => {}
        }
    }

    /// Whether something needs no credential that needed one, or was not there: a finding.
    pub fn opens_something(&self) -> bool {
        !self.became_public.is_empty() || !self.came_public.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        !self.opens_something()
            && self.came.is_empty()
            && self.went.is_empty()
            && self.became_secured.is_empty()
            && self.parameters.is_empty()
    }
}

fn take<'a>(
    left: &mut Vec<&'a Operation>,
    mut is: impl FnMut(&Operation) -> bool,
) -> Option<&'a Operation> {
    let position = left.iter().position(|operation| is(operation))?;
    Some(left.remove(position))
}

fn shape(operation: &Operation) -> String {
    to_pattern(&operation.path)
        .map_or_else(|_| operation.path.clone(), |mapped| mapped.pattern.shape())
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "Nothing changed.");
        }
        let lists = [
            ("Became public:", &self.became_public),
            ("New and public:", &self.came_public),
            ("New:", &self.came),
            ("Gone:", &self.went),
            ("Became secured:", &self.became_secured),
        ];
        for (title, operations) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            writeln!(f, "{title}")?;
            for operation in *operations {
                writeln!(f, "  {operation}")?;
            }
        }
        if !self.parameters.is_empty() {
            writeln!(f, "Parameters changed:")?;
        }
        for change in &self.parameters {
            writeln!(f, "  {}", change.operation)?;
            for parameter in &change.came {
                writeln!(f, "    + {parameter}")?;
            }
            for parameter in &change.went {
                writeln!(f, "    - {parameter}")?;
            }
        }
        Ok(())
    }
}
