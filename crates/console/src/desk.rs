//! The frame of the administrators' pages: a bar with where one can go, and room for lists.
//!
//! Rows are lists and not tables, so that a phone shows them as they are. What cannot be undone
//! stands behind a disclosure, since there is no script that could ask back.

use maud::{Markup, html};

use crate::{Page, Status, chart};

const STYLE: &str = "\
:root{--soft:#dcdfe4;--quiet:#565b63;--sheet:#fff;--ground:#f4f5f7;--on-fault:#fff;--good:#146c2e}\
@media(prefers-color-scheme:dark){:root{--soft:#3b3f45;--quiet:#b5bac2;--sheet:#1d1f22;--ground:#131416;--on-fault:#601410;--good:#8fd6a0}}\
body{padding:0;background:var(--ground)}\
header{background:var(--sheet);border-bottom:1px solid var(--soft)}\
.bar{max-width:60rem;margin:0 auto;padding:.5rem 1rem;display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:center}\
.bar nav{display:flex;flex-wrap:wrap;gap:0 .1rem;flex:1 1 15rem;margin-left:-.45rem}\
.bar nav a{padding:.55rem .45rem;border-radius:.4rem;text-decoration:none;color:inherit}\
.bar nav a:hover{text-decoration:underline}\
.bar nav a[aria-current]{font-weight:600;box-shadow:inset 0 -.15rem var(--accent);border-radius:0}\
@media(max-width:40rem){.bar nav{flex-wrap:nowrap;overflow-x:auto}.bar nav a{white-space:nowrap;outline-offset:-3px}}\
.bar form{margin:0 -.6rem 0 0;align-self:start}\
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}\
h1{margin:.25rem 0 1rem;overflow-wrap:anywhere}\
h2{margin:0 0 .75rem}\
.up{margin:0}\
.sheet{background:var(--sheet);border:1px solid var(--soft);border-radius:.6rem;padding:1.1rem 1.25rem;margin:0 0 1.25rem}\
.sheet>p:first-child{margin-top:0}\
.sheet>p:last-child,.sheet>form:last-child{margin-bottom:0}\
.quiet,small{color:var(--quiet)}\
.rows{list-style:none;margin:0 0 1.25rem;padding:0;background:var(--sheet);border:1px solid var(--soft);border-radius:.6rem}\
.rows>li{padding:.8rem 1.25rem;margin:0;display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;justify-content:space-between}\
.rows>li+li{border-top:1px solid var(--soft)}\
.rows>li>div:first-child{flex:1 1 16rem;min-width:0}\
.rows p{margin:0}\
.rows form,.rows details{flex:0 1 auto}\
.facts{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.45rem 1.25rem;margin:0}\
.facts dt{color:var(--quiet)}\
.facts dd{margin:0;overflow-wrap:anywhere}\
.mark{display:inline-block;padding:0 .5rem;border:1px solid currentcolor;border-radius:1rem;font-size:.85rem;color:var(--quiet);white-space:nowrap}\
.mark.good{color:var(--good)}.mark.bad{color:var(--fault)}\
form.wide{max-width:34rem}\
label,legend{font-weight:600}\
legend{padding:0}\
.sheet>form>label:nth-child(2),.sheet>form>fieldset:nth-child(2){margin-top:0}\
textarea,select{width:100%;font:inherit;padding:.6rem;border:1px solid var(--line);border-radius:.4rem;background:transparent;color:inherit}\
select option{background:var(--sheet)}\
input{background:transparent;color:inherit}\
[aria-invalid=true]{border-color:var(--fault);border-width:2px}\
input:focus-within{outline:3px solid var(--accent);outline-offset:2px}\
.hint{margin:.25rem 0 0;color:var(--quiet);font-size:.92rem}\
fieldset{border:0;margin:1rem 0 0;padding:0;min-width:0}\
.picks{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.15rem 1rem;margin:.35rem 0 0}\
.pick{display:flex;gap:.6rem;align-items:center;font-weight:400;margin:0;padding:.35rem 0;overflow-wrap:anywhere}\
.pick input{width:1.15rem;height:1.15rem;flex:none;accent-color:var(--accent)}\
button{margin-top:1rem;padding:.55rem 1.2rem}\
.rows button,.search button,.bar button{margin-top:0}\
.bar button.plain{border-color:transparent;padding:.55rem .6rem}\
button.plain,a.button.plain{background:transparent;color:var(--accent);border:1px solid var(--line)}\
button.danger{background:var(--fault);color:var(--on-fault)}\
a.button{display:inline-block;font-weight:600;padding:.55rem 1.2rem;border-radius:.4rem;background:var(--accent);color:var(--on-accent);text-decoration:none}\
.search{display:flex;flex-wrap:wrap;gap:.6rem;align-items:end;margin:0 0 1rem}\
.search>div{flex:1 1 14rem}\
.search label{margin-top:0}\
.above{display:flex;flex-wrap:wrap;gap:.75rem;align-items:center;justify-content:space-between;margin:0 0 1rem}\
.above>*{margin:0}\
summary{cursor:pointer;padding:.55rem 0;font-weight:600;color:var(--accent)}\
details.sheet{padding:.35rem 1.25rem}\
details.sheet[open]{padding-bottom:1.1rem}\
details p{margin:.25rem 0 0}\
.shown{font-size:1.05rem;padding:.8rem 1rem;margin:.5rem 0;border:1px dashed var(--line);border-radius:.4rem;display:block;user-select:all}\
.told{border-left:.3rem solid var(--good);padding:.1rem 1rem;margin:0 0 1rem}\
.filter{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,13rem),1fr));gap:.25rem 1rem;align-items:end}\
.filter label{margin-top:.5rem}\
.filter button{margin-top:.75rem;justify-self:start}\
pre{overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0 0;font-size:.9rem}\
.turn{display:flex;gap:1rem;justify-content:space-between}\
[role=alert]{background:var(--sheet)}";

/// A place to go to.
#[derive(Debug, Clone)]
pub struct Place {
    pub href: String,
    pub label: String,
    /// HTML's word for where one is: this very page, or one below it.
    pub current: Option<&'static str>,
}

/// Everything around the page itself.
#[derive(Debug, Clone)]
pub struct Desk<'a> {
    pub page: Page<'a>,
    /// Where the caller can go.
    pub places: &'a [Place],
    /// The page above this one: where, and what it is called.
    pub up: Option<(&'a str, &'a str)>,
    /// The way out, at the end of the bar.
    pub leave: &'a Markup,
}

impl Desk<'_> {
    /// The whole document around `body`.
    pub fn render(&self, body: &Markup) -> Markup {
        let bar = html! {
            header {
                div.bar {
                    nav aria-label="Administration" {
                        @for place in self.places {
                            a href=(place.href) aria-current=[place.current] { (place.label) }
                        }
                    }
                    (self.leave)
                }
            }
        };
        let main = html! {
            @if let Some((href, label)) = self.up { p.up { a href=(href) { "← " (label) } } }
            h1 { (self.page.title) }
            (body)
        };
        self.page.document([STYLE, chart::STYLE], &bar, &main)
    }
}

/// A short word about the state of a thing.
pub fn mark(status: Status, word: &str) -> Markup {
    let class = match status {
        Status::Good => "mark good",
        Status::Bad => "mark bad",
        Status::Plain => "mark",
    };
    html! { span class=(class) { (word) } }
}

/// What is wrong with a form, before it: the inputs that are at fault point here.
pub fn faults(said: &[String]) -> Markup {
    html! {
        @if !said.is_empty() {
            div #faults role="alert" { @for fault in said { p { (fault) } } }
        }
    }
}

/// A way to the next part of a list, and back to its beginning.
pub fn turn(first: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.turn aria-label="Pages of this list" {
                @if let Some(first) = first { a href=(first) { "First page" } } @else { span {} }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
            }
        }
    }
}

/// A secret that is shown this once.
pub fn shown_once(label: &str, secret: &str) -> Markup {
    html! {
        div.sheet {
            p { strong { (label) } " is shown this once. Copy it now: nobody can look it up later." }
            code.shown { (secret) }
        }
    }
}
