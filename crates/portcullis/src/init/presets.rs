//! The settings of a generated file: a base of commented keys, and figures for shapes of products.
//!
//! A fragment is cut into blocks at lines `#@ name`; a preset's block replaces the base's.

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

const BASE: &str = include_str!("presets/base.toml");

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
    let own: Vec<(&str, &str)> = preset.map_or_else(Vec::new, |preset| blocks(preset.fragment()));
    let base = blocks(BASE);
    let chosen = base.iter().map(|(name, text)| {
        own.iter()
            .find(|(known, _)| known == name)
            .map_or(*text, |(_, text)| *text)
    });
    let extra = own
        .iter()
        .filter(|(name, _)| !base.iter().any(|(known, _)| known == name))
        .map(|(_, text)| *text);
    let text: Vec<&str> = chosen.chain(extra).collect();
    text.join("\n\n").replace("@UPSTREAM@", upstream)
}

fn blocks(fragment: &'static str) -> Vec<(&'static str, &'static str)> {
    fragment
        .split("#@ ")
        .filter_map(|block| block.split_once('\n'))
        .map(|(name, text)| (name.trim(), text.trim()))
        .collect()
}
