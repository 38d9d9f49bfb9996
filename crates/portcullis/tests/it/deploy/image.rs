//! The container image (D1), as far as it can be looked at without a container engine: what the file says, what a
//! linter says of it, that the program runs in the root that the image gets, and that its health check's command
//! tells a gate that stands from one that does not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{answer, linter, read, root, run, said, with_fault};
use crate::support::{Gateway, Upstream, eventually};

/// Instructions with their continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = read("deploy/Dockerfile");
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
    // Where the libraries come from has its security updates.
    let updated = all
        .iter()
        .any(|(name, rest)| name == "RUN" && rest.contains("apt-get upgrade"));
    assert!(updated, "security updates");
    // What is shipped begins with nothing, runs nothing, and is what the first stage laid out.
    assert_eq!(all[last_stage].1, "scratch");
    assert!(of("RUN").is_empty());
    assert_eq!(
        of("COPY"),
        [
            "--from=build --chown=0:0 /image/ /",
            "--from=build --chown=10001:10001 /image/var/lib/portcullis /var/lib/portcullis"
        ]
    );
    assert!(
        all.iter()
            .all(|(name, _)| name != "ADD" && name != "ARG" && name != "ENV")
    );
    // The toolchain is the one that the workspace asks for.
    let cargo = read("Cargo.toml");
    assert!(cargo.contains("rust-version = \"1.95\"") && all[0].1.starts_with("rust:1.95-"));
}

#[test]
fn the_linter_finds_nothing_and_would_find_something() {
    let lint = |text: &str| run(linter("hadolint").arg("-"), text);
    let text = read("deploy/Dockerfile");
    let output = lint(&text);
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}",
        said(&output)
    );
    for (from, to, rule) in [
        ("USER 10001:10001", "USER root", "DL3002"),
        ("# hadolint ignore=DL3005,DL3008\n", "", "DL3008"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
        ("rust:1.95-slim-bookworm AS", "rust:latest AS", "DL3007"),
    ] {
        let output = lint(&with_fault(&text, from, to));
        assert!(!output.status.success(), "{rule}");
        assert!(said(&output).contains(rule), "{rule}: {}", said(&output));
    }
}

/// The root of the image with this program in it, as the container file makes it.
fn image(folder: &Path) -> PathBuf {
    let image = folder.join("image");
    let mut command = Command::new("sh");
    command.arg(root().join("deploy/image-root.sh"));
    command.args([env!("CARGO_BIN_EXE_portcullis"), image.to_str().unwrap()]);
    answer(command.arg(root().join("README.md")), "");
    image
}

/// The program inside of the image, as the image's user.
fn inside(image: &Path, arguments: &[&str]) -> Command {
    let is_root = answer(Command::new("id").arg("-u"), "").trim() == "0";
    let mut command = if is_root {
        let mut command = Command::new("chroot");
        command.arg("--userspec=10001:10001").arg(image);
        command
    } else {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--root"])
            .arg(image);
        command
    };
    command.arg("/usr/local/bin/portcullis").args(arguments);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

#[tokio::test]
async fn the_image_holds_the_program_and_what_it_needs_and_nothing_more() {
    let folder = tempfile::Builder::new()
        .prefix("portcullis-image-")
        .tempdir()
        .unwrap();
    // The image's user passes through here.
    answer(Command::new("chmod").arg("0755").arg(folder.path()), "");
    let image = image(folder.path());
    let files = answer(
        Command::new("find")
            .arg(&image)
            .args(["-type", "f", "-printf", "%P\n"]),
        "",
    );
    let files: BTreeSet<&str> = files.lines().collect();
    for expected in [
        "etc/group",
        "etc/nsswitch.conf",
        "etc/passwd",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/portcullis",
        "usr/share/doc/portcullis/README.md",
    ] {
        assert!(files.contains(expected), "{expected}: {files:?}");
    }
    let is_library =
        |file: &&&str| file.contains(".so") && file.split('/').any(|part| part.starts_with("lib"));
    assert_eq!(
        files.len(),
        6 + files.iter().filter(is_library).count(),
        "{files:?}"
    );
    let may_be_anybody = answer(
        Command::new("find").arg(&image).args(["-perm", "/6000"]),
        "",
    );
    assert_eq!(may_be_anybody, "");

    let version = answer(&mut inside(&image, &["--version"]), "");
    assert!(version.starts_with("portcullis "), "{version}");

    // It serves in there, from a configuration that is mounted and a volume that is its own.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap();
    drop(free);
    let config = format!(
        "mode = \"development\"\n[secrets]\nmaster = {{ file = \"/run/secrets/master\" }}\n[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{admin}\"\n[state]\ndatabase = \"sqlite:///var/lib/portcullis/portcullis.db\"\n[upstream.app]\nurl = \"http://127.0.0.1:9\"\n"
    );
    std::fs::write(image.join("etc/portcullis/portcullis.toml"), config).unwrap();
    std::fs::write(
        image.join("run/secrets/master"),
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0",
    )
    .unwrap();
    let state = image.join("var/lib/portcullis");
    // Where this is not root, the one user that there is has it already.
    let _ = Command::new("chown")
        .arg("10001:10001")
        .arg(&state)
        .stderr(Stdio::null())
        .status();
    let at = ["--config", "/etc/portcullis/portcullis.toml"];
    let asked = || run(&mut inside(&image, &[&at[..], &["health"]].concat()), "");
    assert_eq!(asked().status.code(), Some(1), "nothing stands there yet");
    let mut gate = inside(&image, &[&at[..], &["serve"]].concat())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the gate in the image stands", || asked().status.success()).await;
    assert!(state.join("portcullis.db").exists());
    gate.kill().unwrap();
    gate.wait().unwrap();
    assert_eq!(asked().status.code(), Some(1));
}

#[test]
fn the_build_gets_the_sources_and_no_secrets() {
    let text = read(".dockerignore");
    let rules: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules[0], "*", "everything is left out that is not named");
    for rule in &rules {
        if let Some(path) = rule.strip_prefix('!') {
            assert!(root().join(path).exists(), "{path}");
        }
    }
    for secret in ["**/.env", "**/*.pem", "**/*.key", "**/*.db"] {
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
