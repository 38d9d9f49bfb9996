use portcullis_core::principal::Credential;
use portcullis_core::roles::RoleConfig;
use portcullis_core::{SessionId, Timestamp, UserId};

use portcullis_core::binding::Asked;

use super::*;
use crate::config::{Allow, RouteConfig};

fn config(text: &str) -> AccessConfig {
    let mut config: AccessConfig = toml::from_str(text).unwrap();
    config.locate(text);
    config
}

const NOW: Timestamp = Timestamp::EPOCH;

fn known() -> Known {
    Known {
        upstreams: vec!["default".to_owned(), "files".to_owned()],
        limits: vec!["api".to_owned(), "auth".to_owned()],
        hosts: Vec::new(),
        reserved: vec!["/.portcullis".to_owned()],
        second_factor_for: Vec::new(),
        purposes: Vec::new(),
    }
}

fn policy(text: &str) -> Policy {
    Policy::compile(&config(text), &known()).unwrap()
}

/// The mistakes of a text, as `line key`.
fn mistakes(text: &str) -> Vec<String> {
    let found = match Policy::compile(&config(text), &known()) {
        Ok(policy) => policy.warnings().to_vec(),
        Err(mistakes) => mistakes,
    };
    found
        .iter()
        .map(|mistake| format!("{} {}", mistake.line.unwrap_or(0), mistake.key))
        .collect()
}

fn found(policy: &Policy, host: &str, method: &str, path: &str) -> Result<String, Denied> {
    policy
        .find(host, &method.parse().unwrap(), path)
        .map(|(route, _)| route.name.clone())
}

fn user(role: &str) -> Principal {
    Principal::User(portcullis_core::principal::User {
        id: UserId::new(),
        credential: Credential::Session(SessionId::new()),
        tenant: None,
        standing: None,
        roles: Arc::from([Arc::from(role)]),
        authenticated_at: Timestamp::EPOCH,
        second_factor_at: None,
    })
}

#[test]
fn a_compiled_route_holds_what_was_written() {
    let policy = policy(
        "[[route]]\npath = \"/files/{id}\"\nmethods = [\"GET\", \"PUT\"]\nallow = \"public\"\nupstream = \"files\"\nlimits = [\"auth\", \"api\"]\ncsrf = false\ncors = false\nframing = \"same-origin\"\nmax-body = \"10MiB\"\ntimeout = \"5s\"\n",
    );
    let (route, params) = policy
        .find("any.example.com", &Method::PUT, "/files/7")
        .unwrap();
    assert_eq!(params.get("id"), Some("7"));
    assert_eq!(
        (route.id, route.upstream, route.line),
        (0, 1, Some(1)),
        "{route:?}"
    );
    assert_eq!(route.limits, [0, 1]);
    assert_eq!(route.name, "GET,PUT /files/{id}");
    assert_eq!((route.csrf, route.cors), (Csrf::Exempt, Cors::Never));
    assert_eq!(route.framing, Some(Framing::SameOrigin));
    assert_eq!(route.max_body, Some(ByteSize::mib(10)));
    assert_eq!(route.timeout, Some(Span::from_seconds(5)));
    assert!(policy.warnings().is_empty());
}

#[test]
fn whatever_no_route_names_is_refused() {
    let policy = policy("[[route]]\npath = \"/a\"\nmethods = [\"GET\"]\nallow = \"user\"\n");
    assert_eq!(found(&policy, "h", "GET", "/b"), Err(Denied::NoRoute));
    assert!(matches!(
        found(&policy, "h", "POST", "/a"),
        Err(Denied::WrongMethod { allow }) if allow == [Method::GET, Method::HEAD]
    ));
    let nothing = Policy::compile(&AccessConfig::default(), &known()).unwrap();
    assert_eq!(found(&nothing, "h", "GET", "/"), Err(Denied::NoRoute));
}

#[test]
fn the_decision_is_made_with_the_policy_s_own_roles() {
    let policy = policy(
        "[roles.clerk]\npermissions = [\"file:claims\"]\n\n[[route]]\npath = \"/claims\"\nallow = { permission = \"file:claims\" }\n",
    );
    let (route, params) = policy.find("h", &Method::GET, "/claims").unwrap();
    assert!(
        policy
            .decide(route, &user("clerk"), &Asked::path(&params, NOW))
            .is_ok()
    );
    assert!(
        policy
            .decide(route, &user("admin"), &Asked::path(&params, NOW))
            .is_err()
    );
    assert!(
        policy
            .decide(route, &Principal::Anonymous, &Asked::path(&params, NOW))
            .is_err()
    );
}

#[test]
fn every_mistake_is_told_at_once_with_its_key_and_line() {
    let text = r#"[[route]]
path = "a"
allow = "user"

[[route]]
path = "/b"

[[route]]
path = "/c"
allow = { role = ["admin", "boss"] }

[[route]]
path = "/d"
allow = { permission = "fly:high" }

[[route]]
path = "/e/{id}"
allow = { action = "read", owner = "user_id" }

[[route]]
path = "/f"
allow = { action = "fly", owner = "id" }

[[route]]
path = "/g"
allow = "user"
upstream = "nowhere"
limits = ["auth", "none"]
timeout = "0s"

[[route]]
path = "/h"
allow = "user"
methods = ["get", "TRACE", "CONNECT", "PO ST"]

[[route]]
path = "/i"
allow = "user"
methods = []

[[route]]
path = "/j"
allow = { role = [] }
host = "https://example.com"

[[route]]
path = "/k/{a}"
allow = "user"

[[route]]
path = "/K/{b}/"
methods = ["GET"]
allow = "public"
"#;
    assert_eq!(
        mistakes(text),
        [
            "1 route.0.path",
            "5 route.1.allow",
            "8 route.2.allow.role",
            "12 route.3.allow",
            "16 route.4.allow.owner",
            "20 route.5.allow.owner",
            "20 route.5.allow",
            "24 route.6.upstream",
            "24 route.6.limits",
            "24 route.6.timeout",
            "31 route.7.methods",
            "31 route.7.methods",
            "31 route.7.methods",
            "31 route.7.methods",
            "36 route.8.methods",
            "41 route.9.host",
            "41 route.9.allow.role",
            "50 route.11.path",
        ]
    );
}

#[test]
fn mistakes_in_roles_do_not_hide_those_of_routes() {
    let text = "[roles.a]\ninherits = [\"b\"]\npermissions = [\"Read\"]\n\n[[route]]\npath = \"x\"\nallow = { role = [\"zzz\"] }\n";
    assert_eq!(
        mistakes(text),
        [
            "0 roles.a.permissions",
            "0 roles.a.inherits",
            "5 route.0.path"
        ]
    );
}

#[test]
fn a_mistake_is_shown_on_the_line_of_its_key() {
    let text = "[[route]]\npath = \"/a\"\nallow = { role = [\"boss\"] }\nlimits = [\"none\"]\n";
    let lines = crate::lines::Lines::of(text).unwrap();
    let mut found = Policy::compile(&config(text), &known()).unwrap_err();
    for mistake in &mut found {
        mistake.locate(&lines);
    }
    assert_eq!(
        found.iter().map(|m| m.line).collect::<Vec<_>>(),
        [Some(3), Some(4)]
    );
    assert_eq!(
        found[1].to_string(),
        "line 4: route.0.limits: there is no [limits.none]; name one of api, auth"
    );
}

#[test]
fn a_single_upstream_needs_no_name_and_several_do() {
    let route = config("[[route]]\npath = \"/\"\nallow = \"user\"\n");
    let with = |names: &[&str]| {
        let known = Known {
            upstreams: names.iter().map(ToString::to_string).collect(),
            ..Known::default()
        };
        Policy::compile(&route, &known).map(|policy| policy.routes()[0].upstream)
    };
    assert_eq!(with(&["app"]).unwrap(), 0);
    assert_eq!(with(&["app", "default"]).unwrap(), 1);
    assert!(with(&["app", "files"]).is_err());
    assert!(with(&[]).is_err());
}

#[test]
fn head_has_no_decision_of_its_own_beside_get() {
    let text = "[[route]]\npath = \"/a\"\nmethods = [\"HEAD\"]\nallow = \"public\"\n\n[[route]]\npath = \"/a\"\nmethods = [\"GET\"]\nallow = \"closed\"\n";
    assert_eq!(mistakes(text), ["6 route.1.path"]);
}

#[test]
fn a_public_catch_all_is_warned_of() {
    assert_eq!(
        mistakes("[[route]]\npath = \"/{*path}\"\nallow = \"public\"\n"),
        ["1 route.0.allow"]
    );
    assert!(mistakes("[[route]]\npath = \"/{*path}\"\nallow = \"user\"\n").is_empty());
}

#[test]
fn an_exemption_from_csrf_is_warned_of_where_a_session_opens_the_route() {
    let with = |allow: &str| {
        mistakes(&format!(
            "[[route]]\npath = \"/a\"\ncsrf = false\nallow = \"{allow}\"\n"
        ))
    };
    assert_eq!(with("user"), ["1 route.0.csrf"]);
    assert!(with("public").is_empty());
}

#[test]
fn routes_that_the_gate_answers_itself_are_warned_of() {
    assert_eq!(
        mistakes("[[route]]\npath = \"/.Portcullis/auth/login\"\nallow = \"user\"\n"),
        ["1 route.0.path"]
    );
    assert!(mistakes("[[route]]\npath = \"/.portcullis-docs\"\nallow = \"user\"\n").is_empty());
}

#[test]
fn a_route_for_a_host_that_the_gate_does_not_answer_for_is_warned_of() {
    let warned = |host: &str| {
        let mut route = RouteConfig::new("/", Allow::User);
        route.host = Some(host.to_owned());
        let config = AccessConfig {
            roles: None,
            routes: vec![route],
        };
        let known = Known {
            hosts: vec!["App.example.com".to_owned(), "*.example.org".to_owned()],
            ..known()
        };
        !Policy::compile(&config, &known)
            .unwrap()
            .warnings()
            .is_empty()
    };
    assert!(!warned("app.example.com"));
    assert!(!warned("a.example.org"));
    assert!(warned("example.org"));
    assert!(warned("badexample.org"));
    assert!(warned("www.example.com"));
}

const HOSTS: &str = r#"
[[route]]
path = "/admin"
allow = { role = ["admin"] }

[[route]]
path = "/items"
methods = ["GET", "POST"]
allow = "user"

[[route]]
path = "/{*path}"
host = "www.example.com"
allow = "public"

[[route]]
path = "/Items"
methods = ["GET"]
host = "WWW.example.com"
allow = "public"
"#;

#[test]
fn a_host_s_catch_all_does_not_open_what_a_closer_route_guards() {
    let policy = policy(HOSTS);
    let access = |host: &str, method: Method, path: &'static str| {
        policy
            .find(host, &method, path)
            .map(|(route, _)| route.rule.access.clone())
    };
    assert_eq!(
        access("www.example.com", Method::GET, "/anything"),
        Ok(Access::Public)
    );
    assert!(matches!(
        access("www.example.com", Method::GET, "/admin"),
        Ok(Access::Role { .. })
    ));
    assert_eq!(
        access("other.example.com", Method::GET, "/anything"),
        Err(Denied::NoRoute)
    );
}

#[test]
fn on_the_same_path_the_host_s_own_route_wins() {
    let policy = policy(HOSTS);
    assert_eq!(
        found(&policy, "www.example.com", "GET", "/items").unwrap(),
        "GET /Items"
    );
    assert_eq!(
        found(&policy, "www.example.com", "POST", "/items").unwrap(),
        "GET,POST /items"
    );
    assert_eq!(
        found(&policy, "example.com", "GET", "/items").unwrap(),
        "GET,POST /items"
    );
}

#[test]
fn another_spelling_of_a_host_leads_to_the_same_table() {
    let policy = policy(
        "[[route]]\npath = \"/\"\nallow = \"closed\"\nhost = \"a.example.com\"\n\n[[route]]\npath = \"/\"\nallow = \"public\"\n",
    );
    for host in [
        "a.example.com",
        "A.Example.com",
        "a.example.com:8443",
        "a.example.com.",
        "a.example.com.:80",
        "a.example.com:",
    ] {
        let (route, _) = policy.find(host, &Method::GET, "/").unwrap();
        assert_eq!(route.rule.access, Access::Closed, "{host}");
    }
}

#[test]
fn a_general_route_for_every_method_beside_a_host_s_for_some_has_to_be_written_out() {
    let text = "[[route]]\npath = \"/a\"\nallow = \"user\"\n\n[[route]]\npath = \"/a\"\nmethods = [\"GET\"]\nhost = \"a.example.com\"\nallow = \"public\"\n";
    assert_eq!(mistakes(text), ["1 route.0.methods"]);
    assert!(mistakes(&text.replace("methods = [\"GET\"]\n", "")).is_empty());
}

#[test]
fn unnamed_roles_fall_back_to_the_default_ones_and_named_ones_replace_them() {
    let mut config = config("[[route]]\npath = \"/\"\nallow = { role = [\"moderator\"] }\n");
    assert!(Policy::compile(&config, &known()).is_ok());
    config.roles = Some([("clerk".to_owned(), RoleConfig::default())].into());
    assert!(Policy::compile(&config, &known()).is_err());
}
