//! The two scripts of a widget (W3): one for the pages that embed it, one for the page in the frame.
//!
//! - They come from the gate, so that neither has an address of the other to be set, or set wrong.
//! - Each message has one known shape, is taken from one window and one origin, and is sent to one
//!   origin by name. `*` and `null` stand nowhere.
//! - The token goes by message to the frame and from there in a header. It is in no address.

use super::{Config, Widget};

const EMBED: &str = include_str!("script/embed.js");
const FRAME: &str = include_str!("script/frame.js");

/// For the pages of the tenants' sites.
pub(super) fn embed(config: &Config) -> String {
    EMBED
        .replacen("\"PAGE\"", &literal(&config.page), 1)
        .replacen("\"FEATURES\"", &literal(&config.features.join("; ")), 1)
}

/// For the page in the frame, of one tenant.
pub(super) fn frame(tenant: &str, widget: &Widget) -> String {
    let origins: Vec<String> = widget.origins.iter().map(|text| literal(text)).collect();
    FRAME.replacen("\"TENANT\"", &literal(tenant), 1).replacen(
        "[\"ORIGINS\"]",
        &format!("[{}]", origins.join(", ")),
        1,
    )
}

/// A text as a script writes it. What comes here is an origin, a short name or a path; even so, nothing
/// can end the text or the script.
fn literal(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use portcullis_core::TenantId;

    use super::*;

    #[test]
    fn every_placeholder_is_filled_and_nothing_can_leave_its_text() {
        let embed = embed(&Config::default());
        assert!(embed.contains("\"/widget/{tenant}\""));
        let widget = Widget {
            tenant: TenantId::new(),
            ancestors: "".into(),
            origins: ["https://a.test".into(), "https://b.test".into()].into(),
        };
        let frame = frame("acme", &widget);
        assert!(frame.contains("[\"https://a.test\", \"https://b.test\"]"));
        for text in [embed, frame] {
            for left in ["\"PAGE\"", "\"FEATURES\"", "\"TENANT\"", "\"ORIGINS\""] {
                assert!(!text.contains(left), "{left}");
            }
            assert!(!text.contains("\"*\""));
        }
        assert_eq!(
            literal("\"; alert(1)</script>"),
            "\"\\\"; alert(1)\\u003c/script>\""
        );
    }
}
