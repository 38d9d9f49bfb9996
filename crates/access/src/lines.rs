//! On which line of a TOML file a key stands, so that a mistake can be shown where it was made.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike};

/// The lines of one file. Lines count from 1.
#[derive(Debug)]
pub struct Lines {
    document: Document<String>,
}

impl Lines {
    /// Nothing where the text is not TOML; whoever parses the configuration says why.
    pub fn of(source: &str) -> Option<Self> {
        Document::parse(source.to_owned())
            .ok()
            .map(|document| Lines { document })
    }

    /// The line of the key at `path`, or of the nearest table around it that is in the file. An
    /// element of an array is named by its position: `["route", "3", "allow"]`.
    pub fn find(&self, path: &[&str]) -> Option<usize> {
        let mut at = At::Table(self.document.as_table());
        let mut nearest = None;
        for part in path {
            let Some((span, next)) = at.step(part) else {
                break;
            };
            nearest = span.or(nearest);
            at = next;
        }
        nearest.map(|span| self.line(span.start))
    }

    /// The same for a path written with dots (`limits.auth.rate`).
    pub fn find_dotted(&self, path: &str) -> Option<usize> {
        self.find(&path.split('.').collect::<Vec<_>>())
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.document.raw().bytes().take(offset);
        before
            .filter(|byte| *byte == b'\n')
            .count()
            .saturating_add(1)
    }
}

enum At<'d> {
    Table(&'d dyn TableLike),
    Item(&'d Item),
    Value(&'d toml_edit::Value),
}

impl<'d> At<'d> {
    fn step(&self, part: &str) -> Option<(Option<Range<usize>>, At<'d>)> {
        let table = match self {
            At::Table(table) => Some(*table),
            At::Item(item) => item.as_table_like(),
            At::Value(value) => value.as_inline_table().map(|table| table as _),
        };
        if let Some(table) = table {
            let (key, item) = table.get_key_value(part)?;
            // A key that heads several tables (`[a.b]`, `[[route]]`) stands where its item does.
            let span = key.span().or_else(|| item.span());
            return Some((span, At::Item(item)));
        }
        let position: usize = part.parse().ok()?;
        match self {
            At::Table(_) => None,
            At::Item(Item::ArrayOfTables(tables)) => {
                let table = tables.get(position)?;
                Some((table.span(), At::Table(table)))
            }
            At::Item(item) => element(item.as_array()?, position),
            At::Value(value) => element(value.as_array()?, position),
        }
    }
}

fn element(array: &toml_edit::Array, position: usize) -> Option<(Option<Range<usize>>, At<'_>)> {
    let value = array.get(position)?;
    Some((value.span(), At::Value(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "mode = \"production\"\n\n[limits.auth]\nrate = \"5/minute\"\n\n[[route]]\npath = \"/\"\nallow = \"user\"\n\n[[route]]\npath = \"/a\"\nallow = { role = [\n  \"admin\",\n] }\n";

    #[test]
    fn keys_are_found_on_their_lines() {
        let lines = Lines::of(FILE).unwrap();
        for (path, line) in [
            ("mode", 1),
            ("limits.auth", 3),
            ("limits.auth.rate", 4),
            ("route.0", 6),
            ("route.0.allow", 8),
            ("route.1", 10),
            ("route.1.path", 11),
            ("route.1.allow.role.0", 13),
        ] {
            assert_eq!(lines.find_dotted(path), Some(line), "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_shown_at_the_table_around_it() {
        let lines = Lines::of(FILE).unwrap();
        assert_eq!(lines.find_dotted("route.0.methods"), Some(6));
        assert_eq!(lines.find_dotted("nothing"), None);
    }
}
