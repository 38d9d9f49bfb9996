use std::path::Path;

use http::Method;
use portcullis_core::decision::Access;

use super::*;

const SHOP: &str = include_str!("../../tests/fixtures/openapi/shop.json");
const UPSTREAM: &str = "http://127.0.0.1:8000";

fn shop() -> (Policy, Generated) {
    let generated = generate(UPSTREAM, Some(SHOP), &BasePath::Servers, None).unwrap();
    (compile(&generated.text).unwrap(), generated)
}

fn access(policy: &Policy, method: &Method, path: &str) -> Option<Access> {
    policy
        .find("localhost", method, path)
        .ok()
        .map(|(route, _)| route.access.clone())
}

#[test]
fn secured_operations_need_a_user_and_open_ones_are_closed() {
    let (policy, generated) = shop();
    for (method, path, expected) in [
        (Method::GET, "/api/v1/items", Some(Access::Closed)),
        (Method::POST, "/api/v1/items", Some(Access::SignedIn)),
        (Method::GET, "/api/v1/items/7", Some(Access::Closed)),
        (Method::PUT, "/api/v1/items/7", Some(Access::SignedIn)),
        (Method::PUT, "/api/v1/ITEMS/7/", Some(Access::SignedIn)),
        (Method::GET, "/api/v1/basket", Some(Access::SignedIn)),
        (
            Method::GET,
            "/api/v1/pictures/cat.png",
            Some(Access::Closed),
        ),
        (
            Method::GET,
            "/api/v1/downloads/a/b/c",
            Some(Access::SignedIn),
        ),
        (Method::POST, "/api/v1/login", Some(Access::Closed)),
        (Method::GET, "/status", Some(Access::SignedIn)),
        (Method::DELETE, "/api/v1/items", None),
        (Method::GET, "/api/v1/orders", None),
        (Method::GET, "/items", None),
        (Method::GET, "/elsewhere", None),
    ] {
        assert_eq!(
            access(&policy, &method, path),
            expected,
            "{method} {path}\n{}",
            generated.text
        );
    }
}

#[test]
fn a_document_s_text_never_becomes_a_key() {
    let (policy, generated) = shop();
    assert!(
        generated
            .text
            .contains("# GET: List the items allow = \"public\"\n")
    );
    assert!(policy.routes().iter().all(|route| !route.is_public()));
}

#[test]
fn what_is_open_or_odd_is_said_by_name() {
    let (_, generated) = shop();
    assert_eq!(
        generated.report.open,
        [
            "PUT /api/v1/Items/{id}/",
            "GET /api/v1/items",
            "GET /api/v1/items/{item_id}",
            "POST /api/v1/login",
            "GET /status",
        ]
    );
    let told = generated.report.to_string();
    for part in [
        "GET /api/v1/items\n",
        "GET /api/v1/pictures/{name}.{ext}: written as `/api/v1/pictures/{name_ext}`",
        "/orders: left out",
        "TRACE /items/{item_id}: left out",
        "GET /api/v1/reports//daily: left out",
        "query /login: left out",
        "PUT /api/v1/Items/{id}/ and PUT /api/v1/items/{item_id}: one path",
        "GET /status and HEAD /status: one path",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    assert_eq!(generated.report.notes.len(), 7, "{told}");
}

#[test]
fn a_given_base_path_replaces_that_of_the_servers() {
    let with = |base: &str| {
        let base = BasePath::Given(base.to_owned());
        let generated = generate(UPSTREAM, Some(SHOP), &base, None).unwrap();
        compile(&generated.text).unwrap()
    };
    assert!(access(&with(""), &Method::POST, "/items").is_some());
    assert!(access(&with("/shop/"), &Method::POST, "/shop/items").is_some());
}

#[test]
fn without_a_document_everything_but_the_health_check_needs_a_user() {
    for preset in Preset::ALL.map(Some).into_iter().chain([None]) {
        let generated = generate(UPSTREAM, None, &BasePath::Servers, preset).unwrap();
        let policy = compile(&generated.text).unwrap();
        for (path, expected) in [
            ("/", Access::SignedIn),
            ("/any/thing", Access::SignedIn),
            ("/health", Access::Public),
            ("/health/deep", Access::SignedIn),
        ] {
            assert_eq!(
                access(&policy, &Method::GET, path),
                Some(expected),
                "{path}"
            );
        }
        assert!(policy.warnings().is_empty());
    }
}

#[test]
fn a_preset_replaces_the_tables_that_it_names_and_no_other() {
    let base: toml::Table = settings_of(None);
    for preset in Preset::ALL {
        let table = settings_of(Some(preset));
        assert_eq!(table["upstream"], base["upstream"], "{preset:?}");
        assert_eq!(table["mode"], base["mode"], "{preset:?}");
        assert!(
            table["limits"]
                .as_table()
                .is_some_and(|limits| !limits.is_empty())
        );
    }
    let chat = settings_of(Some(Preset::JwtChat));
    assert_eq!(chat["limits"]["uploads"]["rate"].as_str(), Some("10/hour"));
}

fn settings_of(preset: Option<Preset>) -> toml::Table {
    presets::settings(preset, UPSTREAM).parse().unwrap()
}

#[test]
fn an_upstream_is_an_origin() {
    assert_eq!(
        origin("http://127.0.0.1:8000/").unwrap(),
        "http://127.0.0.1:8000"
    );
    for text in [
        "127.0.0.1:8000",
        "ftp://a.example.com",
        "http://a.example.com/api",
        "http://user:pass@a.example.com",
        "http://a.example.com/?x",
        "http://a.example.com\"\nallow = 1",
    ] {
        assert!(origin(text).is_err(), "{text}");
    }
}

#[test]
fn an_existing_file_is_replaced_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = Args {
        upstream: UPSTREAM.to_owned(),
        openapi: None,
        base_path: None,
        preset: None,
        out: None,
        force: false,
    };
    let file = folder.path().join("portcullis.toml");
    fs::write(&file, "mine").unwrap();
    assert!(run(&args, &file).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    args.force = true;
    assert_eq!(run(&args, &file).unwrap().file, file);
    assert!(compile(&fs::read_to_string(&file).unwrap()).is_ok());
    let other = folder.path().join("other.toml");
    args.out = Some(other.clone());
    assert_eq!(run(&args, &file).unwrap().file, other);
}

/// A real document of 277 operations, 59 of them without any security, where it lies beside the
/// repository.
#[test]
fn a_real_document_becomes_a_policy_that_loads_and_names_what_it_leaves_open() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .filter_map(|folder| fs::read_dir(folder.join("shared/data")).ok())
        .flatten()
        .flatten()
        .find(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .ends_with("-openapi.json")
        });
    let Some(found) = found else {
        return;
    };
    let text = fs::read_to_string(found.path()).unwrap();
    let generated = generate(UPSTREAM, Some(&text), &BasePath::Servers, None).unwrap();
    let policy = compile(&generated.text).unwrap();
    assert_eq!(generated.report.operations, 277);
    assert_eq!(generated.report.open.len(), 59);
    let told = generated.report.to_string();
    for operation in &generated.report.open {
        assert!(told.contains(&format!("  {operation}\n")), "{operation}");
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace(['{', '}'], "");
        let access = access(&policy, &method.parse().unwrap(), &path);
        assert_eq!(access, Some(Access::Closed), "{operation}");
    }
    assert!(policy.routes().iter().all(|route| !route.is_public()));
}

/// `{ from-env = .., default = .. }` as it is read where the variable is not set.
fn without_environment(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::Table(mut table) if table.contains_key("from-env") => {
            table.remove("default").unwrap()
        }
        toml::Value::Table(table) => toml::Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, without_environment(value)))
                .collect(),
        ),
        other => other,
    }
}

/// The file with its commented keys taken at their word.
fn uncommented(text: &str) -> String {
    let is_key = |line: &str| {
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    };
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(inner) if is_key(inner) => inner,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_preset_is_read_by_the_protections_that_it_sets() {
    let presets = Preset::ALL.map(Some).into_iter().chain([None]);
    for (preset, comments) in presets.flat_map(|preset| [(preset, false), (preset, true)]) {
        let text = presets::settings(preset, UPSTREAM);
        let text = if comments { uncommented(&text) } else { text };
        let mut table: toml::Table = text.parse().unwrap();
        let mut take = |name: &str| {
            let section = table.remove(name);
            without_environment(section.unwrap_or_else(|| toml::Value::Table(toml::Table::new())))
        };
        let limits: portcullis_guard::rate_limit::Config = take("limits").try_into().unwrap();
        assert!(limits.compile().is_ok(), "{preset:?}");
        let headers: portcullis_guard::headers::Config = take("headers").try_into().unwrap();
        assert_eq!(headers.compile().err(), None, "{preset:?} {comments}");
        let cors: portcullis_guard::cors::Config = take("cors").try_into().unwrap();
        assert!(cors.compile(portcullis_core::Mode::Production).is_ok());
        let _: portcullis_guard::csrf::Config = take("csrf").try_into().unwrap();
        let _: portcullis_guard::hosts::Config = take("hosts").try_into().unwrap();
        let _: portcullis_guard::body::Config = take("body").try_into().unwrap();
        let mut left: Vec<&str> = table.keys().map(String::as_str).collect();
        let known = [
            "admin",
            "listen",
            "log",
            "mode",
            "passwords",
            "secrets",
            "sessions",
            "state",
            "upstream",
        ];
        left.retain(|name| !known.contains(name));
        assert!(left.is_empty(), "{preset:?} {left:?}");
    }
}
