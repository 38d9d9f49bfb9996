//! The frame of what the gate answers itself: pages (layout, components, forms) and APIs.
//!
//! No script, no font, no picture, nothing from elsewhere: one style sheet in the page, which the
//! content security policy admits by its nonce. Light and dark follow the system.

pub mod api;
pub mod chart;
pub mod desk;

use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The nonce of this answer's content security policy. The pipeline puts it into the request's
/// extensions.
#[derive(Debug, Clone)]
pub struct Nonce(pub Arc<str>);

/// A page: its title, and what admits its style sheet.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    pub title: &'a str,
    pub nonce: Option<&'a Nonce>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#767676;--accent:#0b57d0;--on-accent:#fff;--fault:#b3261e}\
@media(prefers-color-scheme:dark){:root{--line:#8e8e8e;--accent:#a8c7fa;--on-accent:#062e6f;--fault:#f2b8b5}}\
*{box-sizing:border-box}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1rem}\
main{max-width:26rem;margin:8vh auto 0}\
h1{font-size:1.5rem;margin:0 0 1.5rem}\
h2{font-size:1.15rem;margin:1.5rem 0 .5rem}\
a{color:var(--accent)}\
code{overflow-wrap:anywhere}\
label{display:block;font-weight:600;margin:1rem 0 .25rem}\
input{width:100%;font:inherit;padding:.6rem;border:1px solid var(--line);border-radius:.4rem}\
button{font:inherit;font-weight:600;margin-top:1.5rem;padding:.7rem 1.4rem;min-height:2.75rem;border:0;border-radius:.4rem;background:var(--accent);color:var(--on-accent);cursor:pointer}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}\
[role=alert]{border-left:.3rem solid var(--fault);padding:.1rem 1rem;margin-bottom:1rem}\
.away{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}\
.picture svg{width:100%;max-width:16rem;height:auto;background:#fff}\
.codes{list-style:none;padding:0;columns:12rem}\
li form button{margin-top:.25rem}\
li{overflow-wrap:anywhere;margin-bottom:.5rem}";

impl Page<'_> {
    /// The whole document around `body`.
    pub fn render(&self, body: &Markup) -> Markup {
        let main = html! { h1 { (self.title) } (body) };
        self.document(["", ""], &html! {}, &main)
    }

    /// A document with styles of its own behind ours, and something before `main`.
    pub(crate) fn document(&self, styles: [&str; 2], before: &Markup, main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    // SECURITY: addresses of these pages bear codes and tokens of links, and the next
                    // page is the product's. Not `no-referrer`: forms need their `Origin`.
                    meta name="referrer" content="strict-origin";
                    title { (self.title) }
                    style nonce=[self.nonce.map(|nonce| &*nonce.0)] { (PreEscaped(STYLE)) @for style in styles { (PreEscaped(style)) } }
                }
                body {
                    (before)
                    main { (main) }
                }
            }
        }
    }
}

/// How a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Good,
    Bad,
    Plain,
}

/// What is wrong, before the form; nothing when nothing is.
pub fn errors(faults: &[String]) -> Markup {
    html! {
        @if !faults.is_empty() {
            div role="alert" {
                @for fault in faults {
                    p { (fault) }
                }
            }
        }
    }
}

/// A required input with its label. `kind` and `autocomplete` are HTML's words.
pub fn field(name: &str, label: &str, kind: &str, autocomplete: &str, value: &str) -> Markup {
    html! {
        label for=(name) { (label) }
        input id=(name) name=(name) type=(kind) autocomplete=(autocomplete) value=(value) required;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let hostile = "\"><script>alert(1)</script>";
        let nonce = Nonce(hostile.into());
        let page = Page {
            title: hostile,
            nonce: Some(&nonce),
        };
        let body = html! {
            (errors(&[hostile.to_owned()]))
            (field("email", hostile, "email", "username", hostile))
        };
        let text = page.render(&body).into_string();
        assert!(!text.contains("<script"), "{text}");
        assert!(text.contains("&lt;script&gt;"));
    }

    #[test]
    fn each_input_has_its_label() {
        let text = field("email", "E-mail", "email", "username", "").into_string();
        assert!(text.contains("<label for=\"email\">") && text.contains("id=\"email\""));
    }
}
