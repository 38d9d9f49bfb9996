//! The admin API against its own document: schemathesis makes requests of it, good ones and bad ones,
//! and looks whether the answers are what the document says.

use std::process::{Command, Output};

use crate::support::{Gateway, Upstream, required};

/// Not asked:
/// - `positive_data_acceptance`: that a role or a permission has to be defined is no matter of a schema.
/// - `ignored_auth`: it adds a bad cookie to a good key, and the key is what counts. Who is refused is
///   asked of every route in `admin_api.rs`.
const NOT_ASKED: &str = "positive_data_acceptance,ignored_auth";

fn ask(gateway: &Gateway, key: &str, more: &[&str]) -> Output {
    let document = format!(
        "http://{}/.portcullis/admin/v1/openapi.json",
        gateway.address
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(required("PORTCULLIS_TEST_PYTHON"));
    command
        .args(["-m", "schemathesis.cli", "run", &document])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "10",
        ])
        .args(["--exclude-checks", NOT_ASKED, "--warnings", "off"])
        .args(["--seed", "1", "--continue-on-failure", "--no-color"])
        .args(more)
        // It keeps what it found in the working directory.
        .current_dir(folder.path());
    command.output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_api_is_what_its_document_says() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .more("\n[limits.default]\nrate = \"100000/minute\"\n\n[limits.auth]\nrate = \"100000/minute\"\n")
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    for tenant in ["acme", "globex"] {
        assert!(gateway.cli(&["tenants", "create", tenant]).status.success());
    }
    let mut arguments = vec!["keys", "create", "--name", "walker", "--output", "json"];
    for permission in [
        "manage:users",
        "manage:keys",
        "manage:system",
        "manage:secrets",
        "manage:uploads",
        "manage:audit",
    ] {
        arguments.extend(["--permission", permission]);
    }
    let made = gateway.cli(&arguments);
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    let before = upstream.requests();
    let output = tokio::task::block_in_place(|| ask(&gateway, &key, &[]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    // It found the routes, and got through to what they do.
    let number = |before: &str| -> u32 {
        let (_, rest) = said.split_once(before).unwrap_or_else(|| panic!("{said}"));
        let digits: String = rest
            .trim_start()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap_or_else(|_| panic!("{said}"))
    };
    assert!(number("Tested:") >= 26, "{said}");
    assert_eq!(upstream.requests(), before, "the product saw none of it");
}
