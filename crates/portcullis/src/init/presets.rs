//! The settings of a generated file: the annotated sample, and figures for shapes of products.
//!
//! The sample (`examples/portcullis.full.toml`, generated) is cut at its empty lines into tables. A preset's
//! key takes the place of the same key there; a table that the sample only shows is added.

use clap::ValueEnum;

/// A shape of product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// Pages with a session cookie and an API beside them.
    SessionApp,
    /// A widget that other sites embed, for visitors who never sign in.
    Widget,
    /// An API with strict limits on everything about accounts.
    HardenedApi,
    /// A chat with uploads, called with tokens.
    JwtChat,
    /// An API whose tokens come from a hosted identity provider and its events from a payment one.
    SupabaseStripe,
}

const SAMPLE: &str = include_str!("../../../../examples/portcullis.full.toml");

impl Preset {
    #[cfg(test)]
    pub(crate) const ALL: [Preset; 5] = [
        Preset::SessionApp,
        Preset::Widget,
        Preset::HardenedApi,
        Preset::JwtChat,
        Preset::SupabaseStripe,
    ];

    const fn fragment(self) -> &'static str {
        match self {
            Preset::SessionApp => include_str!("presets/session-app.toml"),
            Preset::Widget => include_str!("presets/widget.toml"),
            Preset::HardenedApi => include_str!("presets/hardened-api.toml"),
            Preset::JwtChat => include_str!("presets/jwt-chat.toml"),
            Preset::SupabaseStripe => include_str!("presets/supabase-stripe.toml"),
        }
    }
}

/// Everything but the routes.
pub(super) fn settings(preset: Option<Preset>, upstream: &str) -> String {
    // The first paragraph introduces the sample; its route gives way to those of the product.
    let mut tables: Vec<String> = SAMPLE
        .trim_end()
        .split("\n\n")
        .skip(1)
        .filter(|table| header(table) != Some("[[route]]"))
        .map(str::to_owned)
        .collect();
    merge(
        &mut tables,
        &format!("mode = \"development\"\n[upstream.app]\nurl = \"{upstream}\""),
    );
    // The sample's host is an example: without one, development answers to loopback names.
    if let Some(hosts) = tables
        .iter_mut()
        .find(|table| header(table) == Some("[hosts]"))
    {
        *hosts = hosts.replacen("\nallow = ", "\n# allow = ", 1);
    }
    if let Some(preset) = preset {
        merge(&mut tables, preset.fragment());
    }
    tables.join("\n\n")
}

/// Puts the keys of `fragment` where they belong.
fn merge(tables: &mut Vec<String>, fragment: &str) {
    let mut opened = None;
    let mut comment: Vec<&str> = Vec::new();
    for line in fragment.lines() {
        if line.starts_with('[') {
            open(tables, line);
            opened = Some(line);
            comment.clear();
        } else if line.starts_with('#') {
            comment.push(line);
        } else if let Some((key, _)) = line.split_once(" = ") {
            let table = tables.iter_mut().find(|table| header(table) == opened);
            if let Some(table) = table {
                set(table, key, &comment, line);
            }
            comment.clear();
        }
    }
}

/// Makes the table with this header live: one that the sample only shows, or another one.
fn open(tables: &mut Vec<String>, line: &str) {
    if tables.iter().any(|table| header(table) == Some(line)) {
        return;
    }
    let shown = format!("# {line}");
    let is_shown = |table: &&mut String| table.lines().any(|old| old == shown);
    match tables.iter_mut().find(is_shown) {
        Some(table) => *table = table.replacen(&shown, line, 1),
        None => tables.push(line.to_owned()),
    }
}

/// Writes `line` over that of the same key, live or commented, or below all others. The documentation
/// of the key stays; what the preset says of it follows.
fn set(table: &mut String, key: &str, comment: &[&str], line: &str) {
    let is_the_key = |old: &str| {
        let old = old.strip_prefix("# ").unwrap_or(old);
        old.split_once(" = ").is_some_and(|(known, _)| known == key)
    };
    let mut lines: Vec<&str> = table.lines().collect();
    let at = lines.iter().position(|old| is_the_key(old));
    let at = at.unwrap_or(lines.len());
    let note = lines
        .get(at)
        .and_then(|old| old.rsplit_once(" # "))
        .map(|(_, note)| note.trim_start_matches("e.g. "));
    let line = note.map_or_else(|| line.to_owned(), |note| format!("{line:<70} # {note}"));
    let written = comment.iter().copied().chain([line.as_str()]);
    lines.splice(at..(at + 1).min(lines.len()), written);
    *table = lines.join("\n");
}

/// The line that opens a table, where it is live.
fn header(table: &str) -> Option<&str> {
    table.lines().find(|line| line.starts_with('['))
}
