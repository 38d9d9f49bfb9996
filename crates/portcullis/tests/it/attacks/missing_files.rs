//! A secret, key or certificate is missing, empty or unreadable, and the gate starts, or goes on,
//! without the control that needed it (CVE-2026-54762, CVE-2026-27586).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::gate;
use crate::support::{Gateway, GatewayBuilder, Upstream};

/// Runs `serve`, which has to refuse; gives what it printed.
async fn refusal(builder: &GatewayBuilder, environment: &[(&str, &str)]) -> String {
    builder.write();
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(builder.folder())
        .arg("serve")
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output())
        .await
        .expect("the gate refuses to start")
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    printed
}

const MASTER: &str = "master = { file = \"master\" }";

#[tokio::test]
async fn no_gate_starts_without_its_master_secret() {
    let upstream = Upstream::start().await;
    for (reference, environment) in [
        ("master = { file = \"nowhere\" }", &[][..]),
        ("master = { file = \"empty\" }", &[]),
        ("master = { file = \"blank\" }", &[]),
        ("master = { file = \".\" }", &[]),
        ("master = { file = \"binary\" }", &[]),
        ("master = { env = \"NOT_SET\" }", &[]),
        ("master = { env = \"EMPTY\" }", &[("EMPTY", "")]),
        ("", &[]),
    ] {
        let builder = gate(&upstream)
            .await
            .replace(MASTER, reference)
            .file("empty", "")
            .file("blank", "\n");
        std::fs::write(builder.folder().join("binary"), [0xff, 0xfe, 0x00]).unwrap();
        let printed = refusal(&builder, environment).await;
        assert!(printed.contains("secrets.master"), "{reference}: {printed}");
        assert!(!printed.contains("listening"), "{reference}: {printed}");
    }
}

#[tokio::test]
async fn no_gate_starts_with_a_database_or_certificate_that_is_not_there() {
    let upstream = Upstream::start().await;
    let builder = gate(&upstream).await;
    std::fs::remove_file(builder.folder().join("database")).unwrap();
    assert!(refusal(&builder, &[]).await.contains("state.database"));

    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let (cert, key) = (key.cert.pem(), key.signing_key.serialize_pem());
    for (cert, key) in [
        (None, Some(&*key)),
        (Some(&*cert), None),
        (Some(""), Some(&*key)),
        (Some(&*cert), Some("")),
        (Some("-----BEGIN CERTIFICATE-----\n"), Some(&*key)),
        (Some(&*cert), Some("not a key")),
        (Some(&*cert), Some(&*other)),
    ] {
        let builder = gate(&upstream).await.replace(
            "[listen]",
            "[listen]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }",
        );
        for (name, content) in [("cert.pem", cert), ("key.pem", key)] {
            if let Some(content) = content {
                std::fs::write(builder.folder().join(name), content).unwrap();
            }
        }
        let printed = refusal(&builder, &[]).await;
        assert!(printed.contains("listen.tls"), "{printed}");
    }
}

#[tokio::test]
async fn a_reload_that_misses_a_file_changes_nothing() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    for (name, content) in [("master", ""), ("master", "\n")] {
        reload_with(&gateway, &gateway.folder.join(name), content).await;
        assert_eq!(
            gateway.client().get("/admin").send().await.problem(),
            "authentication-required"
        );
        assert_eq!(
            gateway.client().get("/closed").send().await.problem(),
            "route-closed"
        );
        assert_eq!(ana.get("/anything").send().await.status, 200);
        let without = ana.post("/anything").without("x-csrf-token").send().await;
        assert_eq!(without.problem(), "csrf-token-missing");
    }
}

/// A file becomes unusable, and the configuration changes to open what was closed.
async fn reload_with(gateway: &Gateway, file: &Path, content: &str) {
    let before = gateway.printed().matches("was not taken").count();
    std::fs::write(file, content).unwrap();
    let config = std::fs::read_to_string(gateway.config_path()).unwrap();
    let opened = config
        .replace("allow = \"closed\"", "allow = \"public\"")
        .replace("allow = { role = [\"admin\"] }", "allow = \"public\"");
    std::fs::write(gateway.config_path(), format!("{opened}\n# {before}\n")).unwrap();
    crate::support::eventually("the change is refused", || {
        gateway.printed().matches("was not taken").count() > before
    })
    .await;
}
