//! `deploy/compose`: who can reach whom, who gets which secret, and that the gate takes its configuration.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{answer, list, read, root, run, said, with_fault, yaml};
use crate::support::{GatewayBuilder, required};

/// What compose makes of the file: merged, with its variables, or what it refuses.
fn config(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(required("PORTCULLIS_TEST_COMPOSE"));
    command.args(["--file", file.to_str().unwrap(), "config"]);
    command.env("PRODUCT_IMAGE", "registry.corp.test/product:1");
    command.env("GATE_HOST", "app.corp.test");
    run(&mut command, "")
}

fn merged() -> Value {
    let output = config(&read("deploy/compose/compose.yaml"));
    assert!(output.status.success(), "{}", said(&output));
    yaml(&String::from_utf8(output.stdout).unwrap()).remove(0)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let keys = value.as_object().unwrap().keys();
    keys.map(String::as_str).collect()
}

/// The services of which something is true.
fn services(all: &Value, is: impl Fn(&Value) -> bool) -> Vec<&str> {
    let services = all["services"].as_object().unwrap();
    let named = services.iter().filter(|(_, service)| is(service));
    named.map(|(name, _)| name.as_str()).collect()
}

#[test]
fn compose_takes_the_file_and_refuses_one_with_a_fault() {
    let text = read("deploy/compose/compose.yaml");
    let output = config(&text);
    assert!(output.status.success(), "{}", said(&output));
    for (from, to) in [
        ("read_only: true", "readonly: true"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("internal: true", "internal: perhaps"),
        ("GATE_HOST: ${GATE_HOST:?", "GATE_HOST: ${GATE_NAME:?"),
    ] {
        let output = config(&with_fault(&text, from, to));
        assert!(!output.status.success(), "{to}: {}", said(&output));
    }
}

#[test]
fn database_and_cache_are_where_nobody_else_is_and_nothing_leads_out() {
    let all = merged();
    let networks = &all["networks"];
    let internal: Vec<&str> = keys(networks)
        .into_iter()
        .filter(|name| networks[name]["internal"] == true)
        .collect();
    assert_eq!(internal, ["data", "product", "scan"]);
    assert_eq!(
        networks["front"]["ipam"]["config"],
        json!([{ "subnet": "172.20.0.0/16" }])
    );
    let on = |network: &str| services(&all, |service| keys(&service["networks"]).contains(network));
    assert_eq!(on("data"), ["cache", "database", "gate", "migrate"]);
    assert_eq!(on("product"), ["gate", "product"]);
    assert_eq!(on("scan"), ["gate", "scanner"]);
    assert_eq!(on("front"), ["gate"]);
    assert_eq!(on("updates"), ["scanner"]);
    for name in ["database", "cache", "migrate"] {
        assert_eq!(keys(&all["services"][name]["networks"]).len(), 1, "{name}");
    }
    // One door.
    let published = services(&all, |service| !service["ports"].is_null());
    assert_eq!(published, ["gate"]);
    assert!(services(&all, |service| !service["network_mode"].is_null()).is_empty());
}

/// This version of compose notices only when it starts them.
#[test]
fn what_a_service_names_is_there() {
    let all = merged();
    for name in services(&all, |_| true) {
        let service = &all["services"][name];
        for network in keys(&service["networks"]) {
            assert!(!all["networks"][network].is_null(), "{name}: {network}");
        }
        let secrets = service["secrets"].as_array();
        for secret in secrets.map(Vec::as_slice).unwrap_or_default() {
            let source = secret["source"].as_str().unwrap();
            assert!(!all["secrets"][source].is_null(), "{name}: {source}");
        }
    }
}

#[test]
fn every_container_may_as_little_as_it_can() {
    let all = merged();
    for name in services(&all, |_| true) {
        let service = &all["services"][name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(list(&service["cap_drop"]), ["ALL"], "{name}");
        assert!(service["cap_add"].is_null() && service["privileged"].is_null());
        assert_eq!(
            list(&service["security_opt"]),
            ["no-new-privileges:true"],
            "{name}"
        );
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(
            limits["memory"].is_string() && limits["cpus"].is_number(),
            "{name}"
        );
        assert!(service["pids_limit"].is_u64(), "{name}");
        assert!(!service["tmpfs"].is_null(), "{name}: somewhere to write");
        // Whose image is not known here says itself who it runs as.
        let user = service["user"].as_str().unwrap_or_default();
        assert!(name == "product" || !user.is_empty(), "{name}");
        assert!(
            !user.starts_with("0:") && !user.starts_with("root"),
            "{name}"
        );
    }
    for name in ["gate", "database", "cache"] {
        let check = &all["services"][name]["healthcheck"];
        let figures = ["interval", "timeout", "start_period"].map(|key| check[key].as_str());
        assert_eq!(figures, [Some("30s"), Some("10s"), Some("40s")], "{name}");
        assert_eq!(check["retries"], 3, "{name}");
    }
    assert_eq!(
        list(&all["services"]["gate"]["healthcheck"]["test"]),
        ["CMD", "/usr/local/bin/portcullis", "health"]
    );
}

#[test]
fn secrets_are_files_and_each_is_where_it_is_needed() {
    let all = merged();
    let with = |secret: &str| {
        services(&all, |service| {
            let secrets = service["secrets"].as_array();
            let mut secrets = secrets.map(Vec::as_slice).unwrap_or_default().iter();
            secrets.any(|given| given["source"] == secret)
        })
    };
    assert_eq!(with("database_owner_url"), ["migrate"]);
    assert_eq!(with("database_owner_password"), ["database"]);
    assert_eq!(with("database_url"), ["gate"]);
    assert_eq!(with("redis_password"), ["cache"]);
    assert_eq!(with("redis_url"), ["gate", "migrate"]);
    assert_eq!(with("master"), ["gate", "migrate"]);
    for (name, secret) in all["secrets"].as_object().unwrap() {
        assert_eq!(keys(secret), BTreeSet::from(["file"]), "{name}");
    }
    for name in services(&all, |service| !service["environment"].is_null()) {
        for (variable, value) in all["services"][name]["environment"].as_object().unwrap() {
            let is_named_so = ["PASSWORD", "SECRET", "TOKEN", "KEY"]
                .iter()
                .any(|word| variable.contains(word));
            let is_path = value
                .as_str()
                .is_some_and(|value| value.starts_with("/run/secrets/"));
            assert!(!is_named_so || is_path, "{name}: {variable}");
        }
    }
    assert!(read("deploy/compose/.gitignore").contains("secrets/"));
}

/// The configuration beside the file, with the secrets that the script makes.
fn gate() -> (GatewayBuilder, String) {
    let gate = GatewayBuilder::with(&read("deploy/compose/portcullis.toml"))
        .environment("GATE_HOST", "app.corp.test");
    let folder = gate.folder().join("secrets");
    let path = folder.to_str().unwrap().to_owned();
    let script = root().join("deploy/compose/make-secrets.sh");
    let make = || answer(Command::new("sh").arg(&script).arg(&path), "");
    make();
    let content = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let before = ["master", "database_password", "redis_password"].map(content);
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(before.iter().all(|secret| secret.len() == 64));
    assert!(content("database_url").contains(&before[1]));
    make();
    assert_eq!(
        ["master", "database_password", "redis_password"].map(content),
        before,
        "made once"
    );
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let pair = rcgen::generate_simple_self_signed(["app.corp.test".to_owned()]).unwrap();
    std::fs::write(folder.join("tls_cert"), pair.cert.pem()).unwrap();
    std::fs::write(folder.join("tls_key"), pair.signing_key.serialize_pem()).unwrap();
    (gate.replace("/run/secrets", &path), path)
}

#[test]
fn the_gate_takes_its_configuration_with_the_secrets_that_the_script_makes() {
    let (gate, secrets) = gate();
    let output = gate.cli(&["check"]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::remove_file(format!("{secrets}/redis_url")).unwrap();
    let output = gate.cli(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("state.redis"), "{}", said(&output));
}
