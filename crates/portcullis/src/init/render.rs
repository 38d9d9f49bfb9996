//! Routes as commented TOML.

use std::fmt::Write;

use portcullis_access::openapi::{Decision, Operation, Plan, Planned, Security};

const HEAD: &str = "# Portcullis. Every key stands where it belongs; one with `#` in front shows its default, or an example
# (e.g.). Unknown keys are errors. The variable beside a key overrides it; any value can come from a variable:
# { from-env = \"NAME\", default = .. }. `portcullis check` says what is wrong, and
# `portcullis explain METHOD PATH` why a request would be refused.
# Before anybody else uses it: mode = \"production\", and do what `check` then says.
";

const KEYS: &str = "# Routes. A request that matches none is refused. The most specific path decides, alone.
#   path     \"/literal\", {name} for one segment, {*name} as the last for all that is left
#   methods  default: every method; GET includes HEAD
#   allow    \"public\" (everybody), \"user\" (signed in), \"closed\" (nobody), { role = [\"admin\"] },
#            { permission = \"manage:users\" }, { action = \"read\", owner = \"user_id\" }
#   upstream, host, limits = [\"auth\"], framing = \"deny\" | \"same-origin\", max-body = \"10MiB\",
#   schema = true (requests must be as the document of [openapi] describes them),
#   timeout = \"30s\", cors = false (own origin only), csrf = false (risk: other sites can then act in
#   the name of whoever is signed in)
";

/// The widest summary that a comment repeats, in characters.
const MAX_COMMENT: usize = 88;

pub(super) fn file(settings: &str, routes: &str) -> String {
    format!("{HEAD}\n{settings}\n\n{KEYS}\n{routes}")
}

/// The routes where there is no document.
pub(super) fn catch_all() -> String {
    "# Whatever has no route of its own needs a user.
[[route]]
path = \"/\"
allow = \"user\"

[[route]]
path = \"/{*path}\"
allow = \"user\"

# Whoever watches over the product asks without signing in.
[[route]]
path = \"/health\"
methods = [\"GET\"]
allow = \"public\"

# What a page needs before anybody is signed in, open one by one:
# [[route]]
# path = \"/assets/{*file}\"
# methods = [\"GET\"]
# allow = \"public\"
"
    .to_owned()
}

/// The routes of a document.
pub(super) fn planned(title: &str, plan: &Plan) -> String {
    let mut text = String::new();
    let title = comment(title);
    if !title.is_empty() {
        let _ = writeln!(text, "# From the OpenAPI document of: {title}");
    }
    text.push_str(
        "# What the document does not describe (pages, assets) is refused until it has a route.\n\n",
    );
    for route in &plan.routes {
        push_route(&mut text, route);
    }
    text
}

fn push_route(text: &mut String, route: &Planned) {
    for operation in &route.operations {
        let _ = writeln!(text, "# {}", describe(operation));
    }
    match route.decision {
        Decision::User => {
            if route
                .operations
                .iter()
                .any(|operation| operation.security == Security::Open)
            {
                text.push_str(
                    "# The document leaves one of them open; the gate cannot tell them apart.\n",
                );
            }
        }
        Decision::ClosedAsOpen => {
            let hint = if checks_credentials(&route.path) {
                "`allow = \"public\"` opens it to everybody; give it `limits = [\"auth\"]` as well."
            } else {
                "`allow = \"public\"` opens it to everybody."
            };
            let _ = writeln!(text, "# The document leaves this open. {hint}");
        }
        Decision::ClosedAsWidened => text.push_str(
            "# The path matches more than the document says. `allow = \"user\"` accepts that.\n",
        ),
    }
    let methods: Vec<String> = route
        .methods
        .iter()
        .map(|method| format!("\"{method}\""))
        .collect();
    let allow = match route.decision {
        Decision::User => "user",
        Decision::ClosedAsOpen | Decision::ClosedAsWidened => "closed",
    };
    let path = toml::Value::String(route.path.clone());
    let _ = writeln!(
        text,
        "[[route]]\npath = {path}\nmethods = [{}]\nallow = \"{allow}\"\n",
        methods.join(", ")
    );
}

fn describe(operation: &Operation) -> String {
    let what = operation
        .summary
        .as_deref()
        .or(operation.id.as_deref())
        .map(comment)
        .unwrap_or_default();
    if what.is_empty() {
        comment(&operation.to_string())
    } else {
        format!("{}: {what}", operation.method)
    }
}

fn checks_credentials(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    [
        "login", "signin", "sign-in", "register", "signup", "sign-up", "password", "token",
        "refresh",
    ]
    .iter()
    .any(|word| path.contains(word))
}

/// One line that is safe in a TOML comment: a document's text must not become a key of this file.
fn comment(text: &str) -> String {
    let one_line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'))
        .collect();
    let words: Vec<&str> = one_line.split_whitespace().collect();
    words.join(" ").chars().take(MAX_COMMENT).collect()
}
