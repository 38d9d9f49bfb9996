//! `portcullis check`: every guardrail, by the real binary; and that `serve` refuses the same.

use std::process::Output;

use serde_json::Value;

use crate::support::GatewayBuilder;

const GOOD: &str = r#"mode = "production"

[secrets]
master = { env = "SECRET_KEY" }

[listen]
address = "127.0.0.1:0"
trusted-proxies = ["127.0.0.1/32"]

[admin]
address = "127.0.0.1:0"

[hosts]
allow = ["app.corp.test"]

[state]
nodes = 1

[sessions]
idle-timeout = "30m"

[cors]
allow-origins = ["https://web.corp.test"]

[headers]
framing = "deny"

[upstream.app]
url = "http://127.0.0.1:8000"

[[route]]
path = "/{*rest}"
allow = "user"
"#;

const SECRET: &str = "6f2c1d9e8b7a4053c1e2f3a4958677d8e9f0a1b2c3d4e5f60718293a4b5c6d7e";

fn good() -> GatewayBuilder {
    GatewayBuilder::with(GOOD).environment("SECRET_KEY", SECRET)
}

fn report(gate: &GatewayBuilder) -> (Option<i32>, Value) {
    let output = gate.cli(&["--output", "json", "check"]);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    (output.status.code(), report)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn find<'r>(report: &'r Value, rule: &str, key: &str) -> Option<&'r Value> {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["rule"] == rule && finding["key"] == key)
}

/// The finding of this rule at this key: it has its place, a reason and a remedy.
fn expect<'r>(report: &'r Value, severity: &str, rule: &str, key: &str) -> &'r Value {
    let finding = find(report, rule, key).unwrap_or_else(|| panic!("{rule} at {key}: {report:#}"));
    assert_eq!(finding["severity"], severity, "{finding:#}");
    assert!(
        !finding["message"].as_str().unwrap().is_empty(),
        "{finding:#}"
    );
    assert!(
        !finding["remedy"].as_str().unwrap().is_empty(),
        "{finding:#}"
    );
    finding
}

#[test]
fn a_sound_configuration_has_nothing_to_mend() {
    let (code, report) = report(&good());
    assert_eq!(
        (code, &report["errors"], &report["warnings"]),
        (Some(0), &0.into(), &0.into()),
        "{report:#}"
    );
}

/// What is replaced by what, and the error that has to follow: rule, key.
const HOLES: &[(&str, &str, &str, &str)] = &[
    (
        "[\"https://web.corp.test\"]",
        "[\"*\"]",
        "cors-wildcard",
        "cors.allow-origins",
    ),
    (
        "[\"https://web.corp.test\"]",
        "[\"http://web.corp.test\"]",
        "cors-plain-http",
        "cors.allow-origins",
    ),
    (
        "[\"https://web.corp.test\"]",
        "[\"https://app.example.com\"]",
        "example-value",
        "cors.allow-origins.0",
    ),
    (
        "[\"app.corp.test\"]",
        "[\"www.example.com\"]",
        "example-value",
        "hosts.allow.0",
    ),
    ("[\"app.corp.test\"]", "[]", "hosts-empty", "hosts.allow"),
    (
        "\ntrusted-proxies = [\"127.0.0.1/32\"]",
        "",
        "no-tls",
        "listen.tls",
    ),
    (
        "[\"127.0.0.1/32\"]",
        "[\"0.0.0.0/0\"]",
        "wire",
        "listen.trusted-proxies",
    ),
    (
        "[\"127.0.0.1/32\"]",
        "[\"0.0.0.0/1\", \"128.0.0.0/1\"]",
        "wire",
        "listen.trusted-proxies",
    ),
    (
        "[\"127.0.0.1/32\"]",
        "[\"10.0.0.0/8\", \"::/0\"]",
        "wire",
        "listen.trusted-proxies",
    ),
    (
        "allow = \"user\"",
        "",
        "route-without-decision",
        "route.0.allow",
    ),
    (
        "allow = \"user\"",
        "allow = \"public\"",
        "everything-public",
        "route.0.allow",
    ),
    (
        "allow = \"user\"",
        "allow = { role = [\"amdin\"] }",
        "route-role",
        "route.0.allow.role",
    ),
    (
        "allow = \"user\"",
        "allow = \"user\"\nlimits = [\"imports\"]",
        "route-limits",
        "route.0.limits",
    ),
    ("nodes = 1", "nodes = 3", "limits-per-node", "state.redis"),
    (
        "nodes = 1",
        "nodes = 3",
        "sqlite-for-many",
        "state.database",
    ),
    (
        "nodes = 1",
        "database = \"sqlite://:memory:\"",
        "database-in-memory",
        "state.database",
    ),
    (
        "nodes = 1",
        "database = \"postgres://a:b@db/c\"",
        "state",
        "state.database",
    ),
    (
        "idle-timeout = \"30m\"",
        "idle-timeout = \"1s\"",
        "identity",
        "sessions.idle-timeout",
    ),
    (
        "idle-timeout = \"30m\"",
        "idle-timeot = \"1s\"",
        "unknown-key",
        "sessions.idle-timeot",
    ),
    (
        "idle-timeout = \"30m\"",
        "idle-timeout = 30",
        "not-understood",
        "sessions.idle-timeout",
    ),
    (
        "framing = \"deny\"",
        "hsts = { preload = true, max-age = \"1d\" }",
        "headers-hsts-preload",
        "headers.hsts.preload",
    ),
    ("[sessions]", "[sesions]", "unknown-key", "sesions"),
    (
        "{ env = \"SECRET_KEY\" }",
        "\"written-into-the-file\"",
        "not-understood",
        "secrets.master",
    ),
    (
        "{ env = \"SECRET_KEY\" }",
        "{ env = \"NOT_THERE\" }",
        "secret-missing",
        "secrets.master",
    ),
    (
        "{ env = \"SECRET_KEY\" }",
        "{ file = \"not-there\" }",
        "secret-missing",
        "secrets.master",
    ),
    (
        "{ env = \"SECRET_KEY\" }",
        "{ env = \"SECRET_KEY\" }\nprevious = [{ env = \"SECRET_KEY\" }]",
        "secret-used-twice",
        "secrets.previous.0",
    ),
    (
        "[upstream.app]\nurl = \"http://127.0.0.1:8000\"",
        "",
        "no-upstream",
        "upstream",
    ),
    (
        "[headers]",
        "[accounts]\nregistration-roles = [\"amdin\"]\n[headers]",
        "unknown-role",
        "accounts.registration-roles.0",
    ),
    (
        "[headers]",
        "[accounts]\nregistration = \"confirmed\"\n[headers]",
        "registration",
        "accounts.registration",
    ),
    (
        "[headers]",
        "[auth-api]\nmounts = [\"api/v1/auth\"]\n[headers]",
        "auth-api-mount",
        "auth-api.mounts.0",
    ),
    (
        "[headers]",
        "[audit]\nenabled = false\n[headers]",
        "audit",
        "audit.enabled",
    ),
    (
        "[[route]]",
        "[[route]]\npath = \"no slash\"\nallow = \"user\"\n[[route]]",
        "route-path",
        "route.0.path",
    ),
];

#[test]
fn every_hole_is_an_error_with_key_line_reason_and_remedy() {
    for (from, to, rule, key) in HOLES {
        let gate = good().replace(from, to);
        let (code, report) = report(&gate);
        assert_eq!(code, Some(1), "{rule}: {report:#}");
        let finding = expect(&report, "error", rule, key);
        // What is not in the file has no line; everything else has.
        if !matches!(*rule, "no-upstream" | "not-toml") {
            assert!(finding["line"].is_u64(), "{finding:#}");
        }
    }
}

#[test]
fn a_line_is_the_line_of_the_key() {
    let (_, report) = report(&good().replace("idle-timeout", "idle-timeot"));
    let line = GOOD
        .lines()
        .position(|line| line.starts_with("idle-timeout"))
        .unwrap()
        + 1;
    assert_eq!(
        expect(&report, "error", "unknown-key", "sessions.idle-timeot")["line"],
        line
    );
}

#[test]
fn weak_secrets_are_refused_and_never_shown() {
    let long = "x".repeat(64);
    for secret in [
        "your-secret-key-change-in-production",
        "3f9a1c",
        "changeme-changeme-changeme-changeme",
        &long,
        "0123456789012345678901234567890123456789",
        // Nothing is wrong with it but its length: one character is missing.
        "NqVwYS81VP7Hb1DX8pPd5khxE3pyIgK",
    ] {
        let gate = GatewayBuilder::with(GOOD).environment("SECRET_KEY", secret);
        let output = gate.cli(&["check"]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{secret}: {told}");
        assert!(
            told.contains("error[weak-secret] line 4 secrets.master"),
            "{told}"
        );
        assert!(!told.contains(secret), "{told}");
    }
    let gate = good().replace(
        "{ env = \"SECRET_KEY\" }",
        "\"written-into-the-file-by-hand\"",
    );
    let output = gate.cli(&["check"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("written-into-the-file-by-hand"));
    let reused = good()
        .replace("nodes = 1", "database = { env = \"DATABASE_URL\" }")
        .environment(
            "DATABASE_URL",
            &format!("postgres://app:{SECRET}@127.0.0.1/app"),
        );
    let (code, report) = report(&reused);
    assert_eq!(code, Some(1));
    expect(&report, "error", "secret-used-twice", "state.database");
    assert!(!report.to_string().contains(SECRET));
}

#[test]
fn what_weakens_and_does_not_break_is_a_warning() {
    for (from, to, rule, key) in [
        (
            "idle-timeout = \"30m\"",
            "cookie = \"sid\"",
            "cookie-without-prefix",
            "sessions.cookie",
        ),
        (
            "[headers]",
            "[accounts]\nregistration = \"open\"\n[headers]",
            "open-registration",
            "accounts.registration",
        ),
        (
            "framing = \"deny\"",
            "nonces = \"all\"",
            "headers-nonce-all",
            "headers.nonces",
        ),
        (
            "framing = \"deny\"",
            "hsts = { max-age = \"1d\" }",
            "headers-hsts-short",
            "headers.hsts.max-age",
        ),
        (
            "framing = \"deny\"",
            "csp = \"default-src 'self'; script-src 'self' 'unsafe-inline'\"",
            "headers-csp-lax",
            "headers.csp",
        ),
        (
            "http://127.0.0.1:8000",
            "http://app.corp.test:8000",
            "plain-upstream",
            "upstream.app.url",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:0\"",
            "[admin]\naddress = \"0.0.0.0:0\"",
            "admin-on-the-network",
            "admin.address",
        ),
    ] {
        let (code, report) = report(&good().replace(from, to));
        assert_eq!(code, Some(0), "{report:#}");
        expect(&report, "warning", rule, key);
    }
}

#[test]
fn everything_is_said_at_once_even_without_the_master_secret() {
    let gate = GatewayBuilder::with(GOOD)
        .replace("[\"https://web.corp.test\"]", "[\"*\"]")
        .replace("idle-timeout", "idle-timeot")
        .replace("framing = \"deny\"", "framing = \"deny\"\nplaceholder = \"short\"")
        .replace("nodes = 1", "nodes = \"many\"")
        .replace("allow = \"user\"", "alow = \"user\"")
        .replace("[[route]]", "[extra]\nkey = 1\n\n[limits.slow]\nrate = \"a few\"\n\n[[route]]\npath = \"/a\"\nallow = { role = [\"amdin\"] }\n\n[[route]]");
    let (code, report) = report(&gate);
    assert_eq!(code, Some(1));
    for (rule, key) in [
        ("secret-missing", "secrets.master"),
        ("cors-wildcard", "cors.allow-origins"),
        ("unknown-key", "sessions.idle-timeot"),
        ("headers-placeholder", "headers.placeholder"),
        ("not-understood", "state.nodes"),
        ("not-understood", "limits.slow.rate"),
        ("unknown-key", "route.1.alow"),
        ("route-role", "route.0.allow.role"),
        ("unknown-key", "extra"),
    ] {
        expect(&report, "error", rule, key);
    }
}

#[test]
fn serve_refuses_in_production_what_check_refuses_and_says_all_of_it() {
    let gate = good()
        .replace("[\"https://web.corp.test\"]", "[\"*\"]")
        .replace("[\"app.corp.test\"]", "[\"www.example.com\"]")
        .environment("SECRET_KEY", "your-secret-key-change-in-production");
    let (_, report) = report(&gate);
    let served = gate.cli(&["serve"]);
    assert_eq!(served.status.code(), Some(1));
    let told = stderr(&served);
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() >= 3);
    for finding in findings {
        let head = format!(
            "{}[{}]",
            finding["severity"].as_str().unwrap(),
            finding["rule"].as_str().unwrap()
        );
        assert!(told.contains(&head), "{head}: {told}");
        assert!(
            told.contains(finding["remedy"].as_str().unwrap()),
            "{finding:#}: {told}"
        );
    }
    assert!(!told.contains("your-secret-key"));
    assert!(
        !gate.folder().join("portcullis.db").exists(),
        "nothing was begun"
    );
}

/// Each guardrail alone keeps the gate from starting, also where everything else compiles. Its database
/// cannot be opened, so that a gate that starts all the same ends as well, with other words.
#[test]
fn a_guardrail_alone_is_enough_to_refuse() {
    let nowhere = "database = \"sqlite:///nowhere/at/all/portcullis.db\"";
    let gate = good().replace("nodes = 1", nowhere);
    assert_eq!(gate.cli(&["check"]).status.code(), Some(0));
    let began = stderr(&gate.cli(&["serve"]));
    assert!(began.contains("state.database"), "{began}");
    for (from, to, rule) in [
        ("\ntrusted-proxies = [\"127.0.0.1/32\"]", "", "no-tls"),
        (
            "allow = \"user\"",
            "allow = \"public\"",
            "everything-public",
        ),
        (
            "https://web.corp.test",
            "https://web.example.com",
            "example-value",
        ),
    ] {
        let refused = gate.clone().replace(from, to).cli(&["serve"]);
        assert_eq!(refused.status.code(), Some(1));
        let told = stderr(&refused);
        assert!(told.contains(&format!("error[{rule}]")), "{told}");
        assert!(
            !told.contains("state.database"),
            "nothing was begun: {told}"
        );
    }
}

#[test]
fn development_warns_but_never_listens_on_the_network() {
    let lax = good()
        .replace("mode = \"production\"", "mode = \"development\"")
        .replace("\ntrusted-proxies = [\"127.0.0.1/32\"]", "")
        .replace("[\"app.corp.test\"]", "[\"www.example.com\"]");
    let (code, found) = report(&lax);
    assert_eq!(code, Some(0), "{found:#}");
    expect(&found, "warning", "no-tls", "listen.tls");
    expect(&found, "warning", "example-value", "hosts.allow.0");
    expect(&found, "warning", "cookie-not-secure", "mode");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let open = GatewayBuilder::with(GOOD)
            .environment("SECRET_KEY", SECRET)
            .replace("mode = \"production\"", "mode = \"development\"")
            // A gate that starts all the same ends here, and not never.
            .replace(
                "nodes = 1",
                "database = \"sqlite:///nowhere/at/all/portcullis.db\"",
            )
            .environment("PORTCULLIS__LISTEN__ADDRESS", address);
        let (code, found) = report(&open);
        assert_eq!(code, Some(1));
        let finding = expect(
            &found,
            "error",
            "development-on-the-network",
            "listen.address",
        );
        assert!(
            finding["message"]
                .as_str()
                .unwrap()
                .contains("PORTCULLIS__LISTEN__ADDRESS"),
            "{finding:#}"
        );
        let served = open.cli(&["serve"]);
        assert!(stderr(&served).contains("error[development-on-the-network]"));
    }
}

#[test]
fn variables_set_for_nobody_and_read_but_not_set_are_named() {
    let gate = good()
        .replace(
            "[\"https://web.corp.test\"]",
            "{ from-env = \"CORS_ORIGINS\", split = \",\", default = [] }",
        )
        .replace(
            "[headers]",
            "[environment]\nread-by-the-product = [\"SENTRY_DSN\", \"SUPABASE_URL\"]\n\n[headers]",
        )
        .environment("REDIS_URL", "redis://127.0.0.1")
        .environment("ENVIRONMENT", "production")
        .environment("SUPABASE_URL", "https://x.supabase.co");
    let (code, found) = report(&gate);
    assert_eq!(code, Some(0), "{found:#}");
    let told = found.to_string();
    for part in [
        "`REDIS_URL` is set, and nothing",
        "`ENVIRONMENT` is set, and nothing",
        "`SENTRY_DSN` is not set here",
        "`CORS_ORIGINS` is read here and not set",
    ] {
        assert!(told.contains(part), "{part}: {found:#}");
    }
    assert!(!told.contains("`SUPABASE_URL`"), "{found:#}");
    let required = good().replace(
        "[\"https://web.corp.test\"]",
        "{ from-env = \"CORS_ORIGINS\", split = \",\" }",
    );
    let (code, found) = report(&required);
    assert_eq!(code, Some(1));
    expect(
        &found,
        "error",
        "environment-variable-missing",
        "cors.allow-origins",
    );
}

#[test]
fn variables_for_traces_that_nobody_exports_are_told_of() {
    let asked = || {
        good()
            .environment("OTEL_SERVICE_NAME", "gate")
            .environment("OTEL_EXPORTER_OTLP_HEADERS", "api-key=not-to-be-told")
    };
    let (code, found) = report(&asked());
    assert_eq!(code, Some(0), "{found:#}");
    expect(&found, "warning", "traces-not-exported", "environment");
    let told = found.to_string();
    assert!(told.contains("`OTEL_SERVICE_NAME`"), "{found:#}");
    assert!(!told.contains("not-to-be-told"), "{found:#}");

    let named = "[environment]\nread-by-the-product = [\"OTEL_SERVICE_NAME\", \"OTEL_EXPORTER_OTLP_HEADERS\"]\n\n[headers]";
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    let quiet = [
        asked().environment("OTEL_SDK_DISABLED", "True"),
        asked().replace("[headers]", named),
        asked().environment(endpoint.0, endpoint.1),
        good(),
    ];
    for gate in quiet {
        let (_, found) = report(&gate);
        assert!(
            !found.to_string().contains("traces-not-exported"),
            "{found:#}"
        );
    }
    let (_, found) = report(&asked().environment("OTEL_SDK_DISABLED", "1"));
    expect(&found, "warning", "traces-not-exported", "environment");
}

#[test]
fn a_variable_overrides_a_key_and_a_wrong_one_is_named() {
    for (name, value) in [
        ("PORTCULLIS__SESSIONS__IDLE_TIMEOUT", "10m"),
        ("PORTCULLIS__STATE__NODES", "1"),
        ("PORTCULLIS__HEADERS__XSS_PROTECTION", "0"),
        (
            "PORTCULLIS__HOSTS__ALLOW",
            "[\"a.corp.test\", \"b.corp.test\"]",
        ),
        ("PORTCULLIS__CSRF__REQUIRE_TOKEN", "true"),
        ("PORTCULLIS__LIMITS__UPLOADS__RATE", "10/hour"),
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
        ("PORTCULLIS_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
    ] {
        let (code, found) = report(&good().environment(name, value));
        assert_eq!(
            (code, &found["warnings"]),
            (Some(0), &0.into()),
            "{name}: {found:#}"
        );
    }
    for (name, value, rule, key) in [
        (
            "PORTCULLIS__SESSIONS__IDLE_TIMEOUT",
            "soon",
            "not-understood",
            "sessions.idle-timeout",
        ),
        (
            "PORTCULLIS__SESSIONS__IDLE_TIMEOT",
            "10m",
            "unknown-key",
            "sessions.idle-timeot",
        ),
        (
            "PORTCULLIS__SESIONS__IDLE_TIMEOUT",
            "10m",
            "unknown-key",
            "sesions",
        ),
        (
            "PORTCULLIS__STATE__NODES",
            "5",
            "limits-per-node",
            "state.redis",
        ),
        (
            "PORTCULLIS__HOSTS__ALLOW",
            "a.corp.test",
            "not-understood",
            "hosts.allow",
        ),
        (
            "PORTCULLIS_LISTEN_ADDRESS",
            "127.0.0.1:1",
            "variable-not-understood",
            "environment",
        ),
        (
            "PORTCULLIS__ROUTE__0__ALLOW",
            "public",
            "variable-not-understood",
            "environment",
        ),
    ] {
        let (code, found) = report(&good().environment(name, value));
        assert_eq!(code, Some(1), "{name}: {found:#}");
        let finding = expect(&found, "error", rule, key);
        if rule != "limits-per-node" {
            assert!(
                finding["message"].as_str().unwrap().contains(name),
                "{finding:#}"
            );
        }
    }
    let level = good().environment("LOG_LEVEL", "loud");
    let (code, found) = report(&level);
    assert_eq!(code, Some(1));
    expect(&found, "error", "log-level", "log.level");
}

#[test]
fn findings_come_as_text_json_and_sarif() {
    let gate = good()
        .replace("[\"https://web.corp.test\"]", "[\"*\"]")
        .replace("idle-timeout = \"30m\"", "cookie = \"sid\"");
    let text = String::from_utf8(gate.cli(&["check"]).stdout).unwrap();
    assert!(
        text.contains("error[cors-wildcard] line 23 cors.allow-origins: "),
        "{text}"
    );
    assert!(
        text.contains("warning[cookie-without-prefix] line 20 sessions.cookie: "),
        "{text}"
    );
    assert!(
        text.contains("portcullis.toml: 1 to mend before the gate starts, 1 to look at"),
        "{text}"
    );
    let output = gate.cli(&["check", "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(1));
    let sarif: Value = serde_json::from_slice(&output.stdout).unwrap();
    is_sarif(&sarif);
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results[0]["ruleId"], "cors-wildcard");
    assert_eq!(results[0]["level"], "error");
    assert_eq!(
        results[0]["locations"][0]["physicalLocation"]["region"]["startLine"],
        23
    );
    assert_eq!(results[1]["level"], "warning");
    let clean = good().cli(&["check", "--format", "sarif"]);
    assert_eq!(clean.status.code(), Some(0));
    let clean: Value = serde_json::from_slice(&clean.stdout).unwrap();
    is_sarif(&clean);
    assert_eq!(clean["runs"][0]["results"], serde_json::json!([]));
}

/// By the schema, and by what no schema says: a result names a rule of its run (3.27.5).
fn is_sarif(log: &Value) {
    let judged = crate::prove::schemas::of_sarif(&log.to_string());
    assert!(judged.status.success(), "{}", crate::deploy::said(&judged));
    for run in log["runs"].as_array().unwrap() {
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for result in run["results"].as_array().unwrap() {
            let is_named = |rule: &Value| rule["id"] == result["ruleId"];
            assert!(rules.iter().any(is_named), "{result}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_wrong_usage_and_one_that_is_not_toml_a_finding() {
    let gate = GatewayBuilder::empty();
    for verb in ["check", "serve", "doctor"] {
        let output = gate.run(&["--config", "nowhere.toml", verb]);
        assert_eq!(output.status.code(), Some(2), "{verb}");
        let told = stderr(&output);
        assert!(
            told.contains("`nowhere.toml` cannot be read") && told.contains("portcullis init"),
            "{told}"
        );
    }
    assert_eq!(
        gate.run(&["check", "--format", "xml"]).status.code(),
        Some(2)
    );
    let broken = GatewayBuilder::with("mode = \"production\"\n[listen\n");
    let (code, report) = report(&broken);
    assert_eq!(code, Some(1));
    assert_eq!(find(&report, "not-toml", "").unwrap()["line"], 2);
}

/// The index of a git work tree that keeps these files, as git writes it.
fn index(names: &[&str]) -> Vec<u8> {
    let count = u32::try_from(names.len()).unwrap();
    let mut index = [&b"DIRC\0\0\0\x02"[..], &count.to_be_bytes()].concat();
    for name in names {
        let mut entry = vec![0_u8; 62];
        entry.extend(name.as_bytes());
        entry.resize(entry.len() / 8 * 8 + 8, 0);
        index.extend(entry);
    }
    index
}

#[test]
fn a_secret_that_git_keeps_is_an_error() {
    let gate = good()
        .replace("{ env = \"SECRET_KEY\" }", "{ file = \"master\" }")
        .file("master", SECRET);
    std::fs::create_dir(gate.folder().join(".git")).unwrap();
    let index_file = gate.folder().join(".git/index");
    std::fs::write(&index_file, index(&["README.md", ".env.example"])).unwrap();
    assert_eq!(report(&gate).0, Some(0));
    std::fs::write(&index_file, index(&[".env.local", "README.md", "master"])).unwrap();
    let (code, told) = report(&gate);
    assert_eq!(code, Some(1));
    expect(&told, "error", "secret-in-git", "secrets.master");
    expect(&told, "warning", "env-file-in-git", "secrets");
    assert!(!told.to_string().contains(SECRET));
}

#[test]
fn a_secret_of_another_environment_is_an_error() {
    let gate = good();
    let other = |reference: &str| GOOD.replace("{ env = \"SECRET_KEY\" }", reference);
    let gate = gate
        .file("staging.toml", &other("{ file = \"staging\" }"))
        .file("staging", SECRET)
        .file("test.toml", GOOD);
    let run = |beside: &str| {
        let output = gate.cli(&["--output", "json", "check", "--beside", beside]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    let (code, told) = run("staging.toml");
    assert_eq!(code, Some(1));
    expect(
        &told,
        "error",
        "secret-of-another-environment",
        "secrets.master",
    );
    // A variable has another value there.
    assert_eq!(run("test.toml").0, Some(0));
    std::fs::write(
        gate.folder().join("staging"),
        "another one of its own, long enough",
    )
    .unwrap();
    assert_eq!(run("staging.toml").0, Some(0));
}

#[test]
fn uploads_want_a_scanner_in_production_and_rules_that_can_hold() {
    let with = |upload: &str, tables: &str| {
        let route = format!(
            "\n[[route]]\npath = \"/files\"\nmethods = [\"POST\"]\nallow = \"user\"\n{upload}\n{tables}\n"
        );
        report(&good().more(&route))
    };
    let (code, found) = with("upload = {}", "");
    expect(&found, "error", "upload-without-scanner", "uploads.scanner");
    assert_eq!(code, Some(1));
    let (code, found) = with("upload = {}", "\n[uploads]\nscanner = \"none\"");
    expect(
        &found,
        "warning",
        "upload-without-scanner",
        "uploads.scanner",
    );
    assert_eq!(code, Some(0));
    let scanner = "\n[uploads]\nscanner = \"127.0.0.1:3310\"";
    let (code, found) = with("upload = {}", scanner);
    assert!(find(&found, "upload-without-scanner", "uploads.scanner").is_none());
    assert_eq!(code, Some(0), "{found:#}");
    for (upload, rule, key) in [
        (
            "upload = { types = [] }",
            "upload-types",
            "route.1.upload.types",
        ),
        (
            "upload = { max-files = 0 }",
            "upload-files",
            "route.1.upload.max-files",
        ),
        (
            "upload = { max-files = 17 }",
            "upload-files",
            "route.1.upload.max-files",
        ),
        (
            "upload = { max-size = \"0B\" }",
            "upload-size",
            "route.1.upload.max-size",
        ),
        (
            "max-body = \"1MiB\"\nupload = {}",
            "upload-size",
            "route.1.max-body",
        ),
    ] {
        let (code, found) = with(upload, scanner);
        expect(&found, "error", rule, key);
        assert_eq!(code, Some(1), "{upload}");
    }
    for (table, rule, key) in [
        (
            "scanner = \"tcp://a\"",
            "uploads-scanner",
            "uploads.scanner",
        ),
        (
            "scanner = \"none\"\nscan-timeout = \"0s\"",
            "uploads-scan-timeout",
            "uploads.scan-timeout",
        ),
        (
            "scanner = \"none\"\nat-once = 0",
            "uploads-at-once",
            "uploads.at-once",
        ),
    ] {
        let (_, found) = with("upload = {}", &format!("\n[uploads]\n{table}"));
        expect(&found, "error", rule, key);
    }
    // Reading counts as uploading where the route does both.
    let route = "\n[[route]]\npath = \"/files\"\nallow = \"user\"\nupload = {}\n\n[uploads]\nscanner = \"127.0.0.1:3310\"\n";
    let (_, found) = report(&good().more(route));
    expect(&found, "warning", "upload-methods", "route.1.methods");
}

#[test]
fn variables_of_products_are_read_by_the_preset_and_told_where_nobody_reads_them() {
    let names = [
        ("CORS_ALLOW_CREDENTIALS", "True"),
        ("CORS_MAX_AGE", "600"),
        ("RATE_LIMIT_ENABLED", "true"),
        ("RATE_LIMIT_PER_MINUTE", "30"),
        ("RATE_LIMIT_PER_HOUR", "500"),
    ];
    let mut gate = good();
    for (name, value) in names {
        gate = gate.environment(name, value);
    }
    let told = report(&gate).1.to_string();
    for (name, _) in names {
        let part = format!("`{name}` is set, and nothing");
        assert!(told.contains(&part), "{part}: {told}");
    }
    let read = gate.replace(
        "[headers]",
        r#"[limits.client]
rates = [{ from-env = "RATE_LIMIT_PER_MINUTE", unit = "/minute", default = "60/minute" }, { from-env = "RATE_LIMIT_PER_HOUR", unit = "/hour", default = "1000/hour" }]
off = { from-env = "RATE_LIMIT_ENABLED", not = true, default = false }

[headers]"#,
    );
    let told = report(&read).1.to_string();
    for name in [
        "RATE_LIMIT_ENABLED",
        "RATE_LIMIT_PER_MINUTE",
        "RATE_LIMIT_PER_HOUR",
    ] {
        assert!(!told.contains(name), "{name}: {told}");
    }
    // What cannot be switched off: a word that says so is told, one that says otherwise is no matter.
    for name in [
        "ENABLE_AUDIT_LOGGING",
        "SECURITY_HEADERS_ENABLED",
        "FEATURE_RATE_LIMIT",
    ] {
        let told = |value| report(&good().environment(name, value)).1.to_string();
        assert!(told("false").contains("variable-without-effect"), "{name}");
        assert!(!told("true").contains(name), "{name}");
    }
}

/// Each network is no larger than an organization's; together they are nearly everybody.
#[test]
fn trusted_proxies_that_are_nearly_everybody_together_are_refused() {
    let list = |networks: &mut dyn Iterator<Item = String>| {
        let quoted: Vec<String> = networks.map(|net| format!("\"{net}\"")).collect();
        good().replace("[\"127.0.0.1/32\"]", &format!("[{}]", quoted.join(", ")))
    };
    let four = list(&mut (1..=223).map(|first| format!("{first}.0.0.0/8")));
    let six = list(&mut (0..8).map(|at| format!("{:x}::/8", 0x2000 + at * 0x200)));
    for gate in [four, six] {
        let (code, found) = report(&gate);
        assert_eq!(code, Some(1), "{found:#}");
        let finding = expect(&found, "error", "wire", "listen.trusted-proxies");
        assert!(finding["line"].as_u64().is_some_and(|line| line > 1));
        assert!(finding["message"].as_str().unwrap().contains("together"));
        let served = gate.cli(&["serve"]);
        assert!(stderr(&served).contains("listen.trusted-proxies"));
    }
    let few = list(&mut (1..=30).map(|first| format!("{first}.0.0.0/8")));
    assert_eq!(report(&few).0, Some(0));
}
