//! What the product sealed with Fernet is taken over: tokens of Python's own library go in, sealed
//! values come out, and a bad token is one answer (E6, K3).

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, database, required};
use crate::vault::{builder, call, key, opened, place, with};

const MAY: [&str; 3] = ["seal:vault", "open:vault", "import:vault"];
const PLAIN: &str = "sk-ant-planted-0123456789";

/// A key as `openssl rand -base64 32` makes one, and tokens under it: of [`PLAIN`], the same an hour
/// old, and one under another key.
struct Old {
    key: String,
    token: String,
    aged: String,
    foreign: String,
}

fn old() -> Old {
    let script = r"
import base64, os, sys, time
from cryptography.fernet import Fernet
key = base64.b64encode(b'\xfb\xff' + os.urandom(30))
mine, other = Fernet(key.translate(bytes.maketrans(b'+/', b'-_'))), Fernet(Fernet.generate_key())
plain = sys.argv[1].encode()
print(key.decode())
print(mine.encrypt(plain).decode())
print(mine.encrypt_at_time(plain, int(time.time()) - 3600).decode())
print(other.encrypt(plain).decode())
";
    let output = Command::new(required("PORTCULLIS_TEST_PYTHON"))
        .args(["-c", script, PLAIN])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let mut next = || lines.next().unwrap();
    Old {
        key: next(),
        token: next(),
        aged: next(),
        foreign: next(),
    }
}

async fn gateway(upstream: &Upstream, old: &Old) -> Gateway {
    let builder = builder(upstream).await;
    builder
        .replace(
            "permissions = [\"seal:vault\", \"open:vault\"]",
            "permissions = [\"seal:vault\", \"open:vault\", \"import:vault\"]",
        )
        .replace(
            "[vault]\n",
            "[vault]\nfernet-keys = [{ file = \"fernet-key\" }]\n",
        )
        .file("fernet-key", &old.key)
        .start()
        .await
}

#[tokio::test]
async fn tokens_of_python_become_sealed_values_and_a_bad_one_is_one_answer() {
    let upstream = Upstream::start().await;
    let old = old();
    let gateway = gateway(&upstream, &old).await;
    let all = key(&gateway, &MAY, None);
    let item = |row: &str, token: &str| with(place(row), "token", token);
    let cut = old.token.get(..old.token.len() - 4).unwrap();
    let items = [
        item("1", &old.token),
        item("2", &old.foreign),
        item("3", cut),
        item("4", "%%%"),
        item("5", ""),
        item("6", &old.aged),
        with(item("7", &old.aged), "max_age", "30m"),
    ];
    let answer = call(&gateway, &all, "import-fernet", &json!({ "items": items })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.text().contains(PLAIN));
    let told = answer.json();
    let no = json!({ "error": "does-not-open" });
    for bad in [1, 2, 3, 4, 6] {
        assert_eq!(told["items"][bad], no, "{bad}");
    }
    for (at, row) in [(0, "1"), (5, "6")] {
        let sealed = told["items"][at]["sealed"].as_str().unwrap();
        let answer = opened(&gateway, &all, row, sealed).await;
        assert_eq!(answer.json()["items"][0]["value"], PLAIN);
    }
    let trail = database::trail(&gateway.folder).await;
    let event = trail
        .lines()
        .find(|line| line.starts_with("fields.imported"));
    let event = event.expect("it is written down");
    assert!(
        event.contains("\"imported\":2") && event.contains("\"asked\":7"),
        "{event}"
    );
}

#[tokio::test]
async fn whoever_seals_and_opens_may_not_bring_in_what_was_sealed_elsewhere() {
    let upstream = Upstream::start().await;
    let old = old();
    let gateway = gateway(&upstream, &old).await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let body = json!({ "items": [with(place("1"), "token", &old.token)] });
    let answer = call(&gateway, &both, "import-fernet", &body).await;
    assert_eq!(answer.problem(), "not-permitted");
    let away = "ALTER TABLE audit_event RENAME TO audit_event_away";
    let all = key(&gateway, &MAY, None);
    database::execute(&gateway.folder, away).await;
    let answer = call(&gateway, &all, "import-fernet", &body).await;
    assert_eq!(
        answer.status, 503,
        "nothing is handed out that is not written down"
    );
    assert!(!answer.text().contains("pcv1."));
}

#[tokio::test]
async fn a_file_is_taken_over_and_bad_lines_are_named() {
    let upstream = Upstream::start().await;
    let old = old();
    let gateway = gateway(&upstream, &old).await;
    let all = key(&gateway, &MAY, None);
    let csv = format!(
        "row,token,subject\n1,{},ana\n\"2,b\",{},\n3,{},bob\n",
        old.token, old.aged, old.foreign
    );
    let arguments = [
        "vault",
        "import-fernet",
        "--table",
        "users",
        "--field",
        "email",
    ];
    let done = gateway.cli_with_input(&arguments, &csv);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("line 4: the token does not open"), "{said}");
    assert!(
        !said.contains("line 2") && !said.contains("line 3"),
        "{said}"
    );
    let text = String::from_utf8(done.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("row,sealed", 3), "{text}");
    for (line, row) in [(lines[1], "1"), (lines[2], "2,b")] {
        let (_, sealed) = line.rsplit_once(',').unwrap();
        let answer = opened(&gateway, &all, row, sealed).await;
        assert_eq!(answer.json()["items"][0]["value"], PLAIN, "{row}");
    }
    assert!(lines[2].starts_with("\"2,b\","), "{text}");
    // The subject has a key of its own.
    let told = gateway.cli(&["--output", "json", "vault", "status"]);
    let keys: Vec<Value> = serde_json::from_slice(&told.stdout).unwrap();
    assert!(keys.iter().any(|key| key["subject"] == "ana"), "{keys:?}");
    assert!(keys.iter().all(|key| key["subject"] != "bob"), "{keys:?}");
    let strict = [&arguments[..], &["--max-age", "30m"]].concat();
    let done = gateway.cli_with_input(&strict, &format!("row,token\n1,{}\n", old.aged));
    assert_eq!(done.status.code(), Some(1));
}

#[tokio::test]
async fn a_key_that_is_none_is_found_before_the_start() {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await;
    let builder = builder
        .replace(
            "[vault]\n",
            "[vault]\nfernet-keys = [{ file = \"fernet-key\" }]\n",
        )
        .file("fernet-key", "not a key");
    builder.write();
    let checked = builder.run(&["check"]);
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        said.contains("vault.fernet-keys") && said.contains("openssl rand"),
        "{said}"
    );
}
