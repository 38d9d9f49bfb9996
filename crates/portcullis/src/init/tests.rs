use std::path::Path;

use http::Method;
use portcullis_core::Span;
use portcullis_core::decision::Access;
use portcullis_core::finding::Severity;
use portcullis_guard::rate_limit::Per;

use crate::config::document::Environment;

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
        .map(|(route, _)| route.rule.access.clone())
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

/// Every preset, and none, each with a document and without one.
fn every_file() -> impl Iterator<Item = (Option<Preset>, String)> {
    Preset::ALL
        .map(Some)
        .into_iter()
        .chain([None])
        .flat_map(|preset| {
            [None, Some(SHOP)].map(|document| {
                let generated = generate(UPSTREAM, document, &BasePath::Servers, preset).unwrap();
                (preset, generated.text)
            })
        })
}

/// Errors and warnings by rule and key, as `check` and `serve` find them.
fn judged(text: &str, environment: &[(&str, &str)]) -> Vec<(Severity, &'static str, String)> {
    let environment = Environment::of(environment);
    let mut loaded = crate::config::parse(text, Path::new("."), environment);
    crate::check::judge(&mut loaded);
    let mut found: Vec<_> = loaded
        .findings
        .into_iter()
        .filter(|finding| finding.severity > Severity::Note)
        .map(|finding| (finding.severity, finding.rule, finding.key))
        .collect();
    found.sort();
    found.dedup();
    found
}

fn errors(text: &str, environment: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    judged(text, environment)
        .into_iter()
        .filter(|(severity, ..)| *severity == Severity::Error)
        .map(|(_, rule, key)| (rule, key))
        .collect()
}

const KEY: (&str, &str) = (
    "SECRET_KEY",
    "6f2c1d9e8b7a4053c1e2f3a4958677d8e9f0a1b2c3d4e5f60718293a4b5c6d7e",
);

#[test]
fn what_is_generated_lacks_nothing_but_the_master_secret() {
    for (preset, text) in every_file() {
        assert_eq!(errors(&text, &[KEY]), [], "{preset:?}");
        let expected = [("secret-missing", "secrets.master".to_owned())];
        assert_eq!(errors(&text, &[]), expected, "{preset:?}");
    }
}

#[test]
fn production_asks_for_a_host_name_and_tls_and_nothing_else() {
    for (preset, text) in every_file() {
        let text = text.replacen("mode = \"development\"", "mode = \"production\"", 1);
        let expected = [
            ("hosts-empty", "hosts.allow".to_owned()),
            ("no-tls", "listen.tls".to_owned()),
        ];
        assert_eq!(errors(&text, &[KEY]), expected, "{preset:?}");
    }
}

#[test]
fn the_sample_shows_the_real_defaults() {
    let mut text = presets::settings(None, UPSTREAM);
    // Some tables have keys without a default: they are there whole or not at all.
    for table in [
        "# [issuer.NAME]",
        "# [issuer.NAME.login]",
        "# [[webhook]]",
        "# [[alert]]",
        "# [audit.anchor-bucket]",
        "# [[audit.witness]]",
        "# [[data]]",
        "# [[purpose]]",
        "# [[scan]]",
    ] {
        let (before, issuer) = text.split_once(table).unwrap();
        let (_, after) = issuer.split_once("\n\n").unwrap();
        text = format!("{before}\n{after}");
    }
    let defaults = uncommented(&text, |line| {
        !line.contains(" # e.g.") && line != "# [listen.tls]"
    });
    let loaded = crate::config::parse(&defaults, Path::new("."), Environment::of(&[KEY]));
    let (written, default) = (loaded.config, crate::config::Config::default());
    macro_rules! same {
        ($($table:ident)*) => {$(
            assert_eq!(format!("{:?}", written.$table), format!("{:?}", default.$table));
        )*};
    }
    same!(forward_auth listen admin state assertion csrf cors headers body sessions accounts passwords log audit environment auth_api);
    assert!(
        loaded
            .findings
            .iter()
            .all(|finding| finding.key.starts_with("hosts")),
        "{:?}",
        loaded.findings
    );
}

#[test]
fn every_key_of_the_sample_can_be_uncommented() {
    for preset in Preset::ALL.map(Some).into_iter().chain([None]) {
        let text = uncommented(&presets::settings(preset, UPSTREAM), |_| true);
        // A limit has one rate or several; a preset's own table follows the sample's.
        let text = text.replacen("rates = [\"60/minute\", \"1000/hour\"]", "", 1);
        let text = text.replacen("[limits.uploads]", "[limits.sample]", 1);
        let loaded = crate::config::parse(&text, Path::new("."), Environment::of(&[KEY]));
        let misread: Vec<_> = loaded
            .findings
            .iter()
            .filter(|finding| matches!(finding.rule, "not-toml" | "not-understood" | "unknown-key"))
            .collect();
        assert!(misread.is_empty(), "{preset:?} {misread:?}");
    }
}

#[test]
fn every_key_says_which_variable_overrides_it() {
    let text = presets::settings(None, UPSTREAM);
    let mut table = Some(String::new());
    for line in uncommented(&text, |_| true).lines() {
        if line.starts_with("[[") {
            // What stands in a list has no variable.
            table = None;
        } else if let Some(name) = line.strip_prefix('[') {
            table = Some(name.trim_end_matches(']').replace('.', "__") + "__");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
            && let Some(table) = &table
        {
            let variable = format!("PORTCULLIS__{table}{key}")
                .replace('-', "_")
                .to_ascii_uppercase();
            assert!(line.ends_with(&variable), "{line}");
        }
    }
}

#[test]
fn a_preset_takes_its_limits_from_the_variables_of_its_products() {
    let client = |environment: &[(&str, &str)]| {
        let text = presets::settings(Some(Preset::SupabaseStripe), UPSTREAM);
        let loaded = crate::config::parse(&text, Path::new("."), Environment::of(environment));
        loaded.config.limits.0["client"].clone()
    };
    let slower = client(&[
        ("RATE_LIMIT_PER_MINUTE", "30"),
        ("RATE_LIMIT_PER_HOUR", "500"),
    ]);
    let rates: Vec<String> = slower.rates.iter().map(ToString::to_string).collect();
    assert_eq!(rates, ["30/minute", "500/hour"]);
    assert!(!client(&[("RATE_LIMIT_ENABLED", "true")]).off);
    assert!(client(&[("RATE_LIMIT_ENABLED", "false")]).off);
}

/// The figures of the presets, by the requirement that asks for them.
#[test]
fn presets_hold_the_figures_that_are_asked_for() {
    let config = |preset: Preset, environment: &[(&str, &str)]| {
        let text = presets::settings(Some(preset), UPSTREAM);
        crate::config::parse(&text, Path::new("."), Environment::of(environment)).config
    };
    let rates = |config: &crate::config::Config, name: &str| {
        let limit = &config.limits.0[name];
        let rates: Vec<String> = limit
            .rate
            .iter()
            .chain(&limit.rates)
            .map(ToString::to_string)
            .collect();
        (rates.join(", "), limit.per)
    };
    let is = |text: &str, per: Per| (text.to_owned(), per);

    let app = config(
        Preset::SessionApp,
        &[(
            "ALLOWED_ORIGINS",
            "https://a.corp.test, https://b.corp.test",
        )],
    );
    assert_eq!(app.sessions.cookie, "session"); // S1
    assert_eq!(app.sessions.lifetime, Span::from_days(7)); // S1
    assert_eq!(app.sessions.idle_timeout, Span::from_days(7)); // S1
    assert_eq!(app.auth_api.mounts, ["/api/v1/auth"]); // I1
    assert_eq!(rates(&app, "auth"), is("5/minute", Per::Address)); // L2
    assert_eq!(rates(&app, "default"), is("100/minute", Per::User)); // L2
    assert_eq!(rates(&app, "admin"), is("10/minute", Per::User)); // L2
    assert_eq!(
        (app.csrf.cookie.as_str(), app.csrf.header.as_str()),
        ("csrf_token", "X-CSRF-Token")
    ); // H5
    assert_eq!(
        app.cors.allow_origins,
        ["https://a.corp.test", "https://b.corp.test"]
    ); // H1
    assert!(app.headers.csp.contains("'nonce-{nonce}' 'strict-dynamic'")); // H6
    assert_eq!(app.headers.xss_protection, "1; mode=block"); // H8

    let chat = config(Preset::JwtChat, &[]);
    assert_eq!(
        rates(&chat, "default"),
        is("60/minute, 1000/hour", Per::User)
    ); // L3
    assert_eq!(rates(&chat, "auth").0, "5/minute"); // L3
    assert_eq!(rates(&chat, "uploads").0, "10/hour"); // L3
    assert!(chat.headers.hsts.preload && chat.headers.hsts.include_subdomains); // H9
    assert_eq!(chat.headers.hsts.max_age, Span::from_days(365)); // H9
    for source in [
        "'unsafe-eval'",
        "https://fonts.gstatic.com",
        "upgrade-insecure-requests",
    ] {
        assert!(chat.headers.csp.contains(source)); // H7
    }

    let stripe = config(
        Preset::SupabaseStripe,
        &[
            ("ALLOWED_HOSTS", "a.corp.test,b.corp.test"),
            ("CORS_ALLOW_CREDENTIALS", "true"),
            ("CORS_MAX_AGE", "300"),
        ],
    );
    assert_eq!(
        rates(&stripe, "client"),
        is("60/minute, 1000/hour", Per::Address)
    ); // L4
    assert!(stripe.limits.0["client"].everywhere); // L4
    assert_eq!(stripe.limits.0["client"].exempt, ["/health"]); // L4
    assert!(!stripe.limits.0["client"].off); // L4
    assert!(stripe.cors.allow_credentials); // H4
    assert_eq!(stripe.cors.max_age, Span::from_minutes(5)); // H4
    assert_eq!(stripe.hosts.allow, ["a.corp.test", "b.corp.test"]); // H10

    let hardened = config(Preset::HardenedApi, &[]);
    for (name, rate) in [
        ("auth", "5/minute"),
        ("register", "3/hour"),
        ("recovery", "5/hour"),
        ("reset", "3/hour"),
        ("refresh", "30/minute"),
        ("second-factor", "10/hour"),
    ] {
        assert_eq!(rates(&hardened, name).0, rate, "{name}");
        assert!(hardened.limits.0[name].auth, "{name}");
    }
    assert_eq!(hardened.csrf.header, "X-XSRF-TOKEN");

    let widget = config(Preset::Widget, &[]);
    assert_eq!(rates(&widget, "messages"), is("30/minute", Per::Session)); // L7
    assert_eq!(rates(&widget, "visits"), is("5/5m", Per::Address)); // L7
    assert_eq!(
        widget.visitors.as_ref().unwrap().lifetime,
        Span::from_hours(24)
    ); // W1
    assert_eq!(widget.headers.resource_policy, "same-origin");
}

#[test]
fn where_the_gate_signs_in_the_product_does_no_more_and_init_says_so() {
    let base = BasePath::Given("/api/v1/auth".to_owned());
    let generated = generate(UPSTREAM, Some(SHOP), &base, Some(Preset::SessionApp)).unwrap();
    let taken = &generated.report.taken_over;
    assert!(
        taken.contains(&"POST /api/v1/auth/login".to_owned()),
        "{taken:?}"
    );
    assert!(
        generated
            .report
            .open
            .iter()
            .all(|name| !taken.contains(name))
    );
    assert!(
        generated
            .report
            .to_string()
            .contains("  POST /api/v1/auth/login\n")
    );
    assert!(!generated.text.contains("path = \"/api/v1/auth/login\""));
    assert_eq!(errors(&generated.text, &[KEY]), []);
}

/// The file with those commented keys taken at their word that `which` says.
fn uncommented(text: &str, which: impl Fn(&str) -> bool) -> String {
    let is_key = |line: &str| {
        line.starts_with('[')
            || line.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    };
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(inner) if is_key(inner) && which(line) => inner,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
