//! `deploy/helm` and what Helm renders from it: taken by Kubernetes' own schemas, nothing that a pod does not need,
//! secrets by reference, and a configuration that the gate takes.

use std::process::Output;

use serde_json::Value;

use super::{linter, list, read, root, run, said, with_fault, yaml};
use crate::support::GatewayBuilder;

const RENDERED: &str = "deploy/kubernetes/portcullis.yaml";
const MASTER: &str = "6f2c1d9e8b7a4053c1e2f3a4958677d8e9f0a1b2c3d4e5f60718293a4b5c6d7e";

fn helm(arguments: &[&str], values: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let mut command = linter("helm");
    command.current_dir(root()).args(arguments).arg("--values");
    // Nothing of whoever runs this: no plugins, no repositories.
    command.arg(&file).env("HOME", home.path());
    for name in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    run(&mut command, "")
}

fn template(values: &str) -> Output {
    let arguments = ["template", "portcullis", "deploy/helm/portcullis"];
    helm(
        &[&arguments[..], &["--namespace", "portcullis"]].concat(),
        values,
    )
}

fn values() -> String {
    read("deploy/kubernetes/values.yaml")
}

#[test]
fn helm_renders_the_chart_into_the_file_that_is_shipped() {
    let output = helm(&["lint", "--strict", "deploy/helm/portcullis"], &values());
    assert!(output.status.success(), "{}", said(&output));
    let output = template(&values());
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout) == read(RENDERED),
        "{RENDERED} is stale: `helm template portcullis deploy/helm/portcullis --namespace portcullis --values deploy/kubernetes/values.yaml`"
    );
}

#[test]
fn values_without_which_a_gate_would_be_open_or_none_are_refused() {
    let values = values();
    for (from, to, told) in [
        ("hosts: [app.corp.test]", "hosts: []", "hosts"),
        ("  egress:", "  egress: []\n  from:", "egress"),
        (
            "  repository: registry.corp.test/portcullis",
            "  tag: \"1\"",
            "repository",
        ),
        ("productUrl: http:", "productUrl: file:", "productUrl"),
        ("image:", "password: hunter2\nimage:", "password"),
        ("image:", "image:\n  tag: latest", "tag"),
    ] {
        let output = template(&with_fault(&values, from, to));
        assert!(!output.status.success(), "{to}");
        assert!(said(&output).contains(told), "{to}: {}", said(&output));
    }
    // A digest counts more than a name that somebody can move.
    let digest = format!("sha256:{}", "0a".repeat(32));
    let output = template(&with_fault(
        &values,
        "image:\n",
        &format!("image:\n  digest: {digest}\n"),
    ));
    assert!(said(&output).contains(&format!(
        "image: \"registry.corp.test/portcullis@{digest}\""
    )));
}

fn validate(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, text).unwrap();
    let arguments = ["--strict", "--kubernetes-version", "1.37"];
    run(linter("kubernetes-validate").args(arguments).arg(file), "")
}

#[test]
fn kubernetes_knows_every_field_of_every_object() {
    let text = read(RENDERED);
    let output = validate(&text);
    assert!(output.status.success(), "{}", said(&output));
    for (from, to) in [
        ("replicas: 2", "replicas: two"),
        ("readOnlyRootFilesystem", "readOnlyRootFileSystem"),
        ("policyTypes: [Ingress, Egress]", "policyTypes: Ingress"),
    ] {
        assert!(
            !validate(&with_fault(&text, from, to)).status.success(),
            "{to}"
        );
    }
}

fn objects() -> Vec<Value> {
    yaml(&read(RENDERED))
}

fn of<'o>(objects: &'o [Value], kind: &str) -> &'o Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("{kind}"))
}

#[test]
fn pods_may_as_good_as_nothing_and_get_secrets_by_reference_alone() {
    let objects = objects();
    assert!(objects.iter().all(|object| object["kind"] != "Secret"));
    for kind in ["Deployment", "Job"] {
        let pod = &of(&objects, kind)["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 10001);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[host].is_null(), "{host}");
        }
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        let security = &containers[0]["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(list(&security["capabilities"]["drop"]), ["ALL"]);
        assert!(security["capabilities"]["add"].is_null());
        assert!(containers[0]["resources"]["limits"]["memory"].is_string());
    }
    // The owner's address is the job's alone.
    let text = |kind: &str| of(&objects, kind).to_string();
    assert!(text("Job").contains("portcullis-owner"));
    assert!(!text("Deployment").contains("portcullis-owner"));
    let job = &of(&objects, "Job")["spec"]["template"]["spec"]["containers"][0];
    let from_secret = job["env"].as_array().unwrap();
    let from_secret = from_secret
        .iter()
        .filter(|entry| !entry["valueFrom"].is_null());
    let names: Vec<&str> = from_secret
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(names, ["OWNER_DATABASE_URL"]);
    assert_eq!(
        list(&job["args"]),
        [
            "migrate",
            "--owner-env",
            "OWNER_DATABASE_URL",
            "--grant-to",
            "portcullis"
        ]
    );
}

#[test]
fn the_gate_is_asked_how_it_is_and_the_network_lets_in_and_out_what_is_named() {
    let objects = objects();
    let gate = &of(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(gate[probe]["httpGet"]["path"], path);
        assert_eq!(gate[probe]["httpGet"]["port"], "admin");
    }
    assert_eq!(gate["livenessProbe"]["periodSeconds"], 30);
    assert_eq!(gate["livenessProbe"]["timeoutSeconds"], 10);
    assert_eq!(gate["livenessProbe"]["failureThreshold"], 3);
    let budget = &of(&objects, "PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);

    let policy = &of(&objects, "NetworkPolicy")["spec"];
    assert_eq!(list(&policy["policyTypes"]), ["Ingress", "Egress"]);
    let rules = policy["ingress"].as_array().unwrap();
    let for_port = |port: u64| {
        let mut found = rules.iter().filter(|rule| rule["ports"][0]["port"] == port);
        found.next().unwrap()
    };
    assert!(
        for_port(9090)["from"].is_array(),
        "metrics are not for everybody"
    );
    assert_eq!(for_port(8443)["from"], Value::Null);
    let out = policy["egress"].as_array().unwrap();
    assert_eq!(out.len(), 3);
    assert!(
        out.iter()
            .all(|rule| rule["to"].is_array() && rule["ports"].is_array())
    );
    // Nobody reaches the admin listener by the service.
    let ports = of(&objects, "Service")["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(ports[0]["targetPort"], "https");
}

#[test]
fn the_gate_takes_the_configuration_of_the_chart() {
    let objects = objects();
    let config = of(&objects, "ConfigMap")["data"]["portcullis.toml"].clone();
    let gate = &of(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let mut builder = GatewayBuilder::with(config.as_str().unwrap());
    for entry in gate["env"].as_array().unwrap() {
        let (name, value) = (entry["name"].as_str(), entry["value"].as_str());
        builder = builder.environment(name.unwrap(), value.unwrap());
    }
    let folder = builder.folder().to_str().unwrap().to_owned();
    let pair = rcgen::generate_simple_self_signed(["app.corp.test".to_owned()]).unwrap();
    let builder = builder
        .file("master", MASTER)
        .file(
            "database-url",
            "postgres://portcullis:tundra-4417-quartz@db.corp.test/app",
        )
        .file("redis-url", "rediss://:plum-9140-anvil@redis.corp.test")
        .file("tls.crt", &pair.cert.pem())
        .file("tls.key", &pair.signing_key.serialize_pem())
        .replace("/run/secrets/portcullis", &folder)
        .replace("/run/secrets/tls", &folder);
    let output = builder.cli(&["check"]);
    assert!(output.status.success(), "{}", said(&output));
    // What it warns of is what the network policy is for.
    assert!(said(&output).contains("admin.address"), "{}", said(&output));
    std::fs::remove_file(builder.folder().join("master")).unwrap();
    assert_eq!(builder.cli(&["check"]).status.code(), Some(1));
}
