//! The container image (D1), as far as it can be looked at without a container engine: what the file says, and
//! that its health check's command tells a gate that stands from one that does not.

use std::path::{Path, PathBuf};

use crate::support::{Gateway, Upstream};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Instructions with their continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, rest)| {
            (
                name.to_owned(),
                rest.split_whitespace().collect::<Vec<_>>().join(" "),
            )
        })
        .collect()
}

#[test]
fn the_image_is_not_root_looks_after_itself_and_holds_no_secret() {
    let all = instructions();
    let last_stage = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    let of = |wanted: &str| {
        let found = all
            .iter()
            .skip(last_stage)
            .filter(|(name, _)| name == wanted);
        found.map(|(_, rest)| rest.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of("USER"), ["10001:10001"]);
    assert_eq!(
        of("HEALTHCHECK"),
        [
            "--interval=30s --timeout=10s --start-period=40s --retries=3 CMD [\"/usr/local/bin/portcullis\", \"health\"]"
        ]
    );
    assert_eq!(of("ENTRYPOINT"), ["[\"/usr/local/bin/portcullis\"]"]);
    assert_eq!(of("CMD"), ["[\"serve\"]"]);
    assert!(
        of("RUN").iter().any(|run| run.contains("apt-get upgrade")),
        "security updates"
    );
    assert!(of("RUN").iter().all(|run| !run.contains("build-essential")));
    // Nothing but the binary is copied, and what is copied is what the first stage builds.
    assert_eq!(of("COPY").len(), 1);
    assert!(
        of("COPY")[0].contains("--from=build")
            && of("COPY")[0].contains("/src/target/release/portcullis")
    );
    assert!(
        all.iter()
            .all(|(name, _)| name != "ADD" && name != "ARG" && name != "ENV")
    );
    // The toolchain is the one that the workspace asks for.
    let cargo = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(cargo.contains("rust-version = \"1.95\"") && all[0].1.starts_with("rust:1.95-"));
}

#[test]
fn the_build_gets_the_sources_and_no_secrets() {
    let text = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules[0], "*", "everything is left out that is not named");
    for rule in &rules {
        if let Some(path) = rule.strip_prefix('!') {
            assert!(root().join(path).exists(), "{path}");
        }
    }
    for secret in ["**/.env", "**/*.pem", "**/*.db"] {
        assert!(rules.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn health_tells_a_gate_that_stands_from_one_that_does_not() {
    let upstream = Upstream::start().await;
    let running = Gateway::in_front_of(&upstream).await;
    let admin = running.admin.to_string();
    let builder = running.kill();
    let running = builder
        .environment("PORTCULLIS__ADMIN__ADDRESS", &admin)
        .start()
        .await;
    let output = running.cli_as_it_runs(&["health"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let stopped = running.kill();
    let output = stopped.cli(&["health"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(&admin) && told.contains("admin.address"),
        "{told}"
    );
}
