//! What is written down bears no secret (A4, A5), and `portcullis scrub` for the logs of others.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::sockets::NAME;
use crate::support::{Browser, Client, Gateway, GatewayBuilder, Upstream, database, eventually};

/// Put together here, so that no scanner takes this file for a leak.
fn planted() -> Vec<(&'static str, String)> {
    let jwt = format!(
        "{}.{}",
        "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
    );
    vec![
        (
            "a key of a provider",
            format!("{}_live_{}", "sk", "canary7Qw3Er5Ty"),
        ),
        ("another", format!("{}-ant-{}", "sk", "canary8Zx4Cv6Bn")),
        (
            "a key of ours",
            format!("{}_{}", "pck", "canary9".repeat(7)),
        ),
        ("a key of the product", "acme_live_canary5501".to_owned()),
        ("a token", jwt),
        ("an address", "alice.canary@corp.test".to_owned()),
        ("a card", "4111111111111111".to_owned()),
        (
            "an opaque token",
            "c4n4ryA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6".to_owned(),
        ),
    ]
}

async fn production(upstream: &Upstream) -> Gateway {
    let routes = "\n[[route]]\npath = \"/public/{*rest}\"\nallow = \"public\"\n\n[[route]]\npath = \"/{*rest}\"\nallow = \"user\"\n";
    Gateway::builder(upstream, routes)
        .await
        .more("\n[limits.auth]\nrate = \"1000/minute\"\n\n[log]\nlevel = \"trace\"\n\n[redaction]\nfields = [\"iban\"]\nprefixes = [\"acme_live_\"]\n")
        .in_production()
        .start()
        .await
}

#[tokio::test]
async fn a_request_full_of_secrets_leaves_none_in_any_output_in_production() {
    let upstream = Upstream::start().await;
    let gateway = production(&upstream).await;
    let browser = Browser::behind_proxy(gateway.address, NAME);
    let mut answers = String::new();
    for (_, secret) in planted() {
        // Admitted, refused, without a route, and a path that is refused as malformed.
        for path in ["/public/a", "/private/a", "/.portcullis/nothing"] {
            let target = format!("{path}/{secret}?token={secret}&q={secret}");
            let answer = browser
                .get(&target)
                .header("user-agent", &format!("Mozilla/5.0 ({secret})"))
                .header("referer", &format!("https://{NAME}/?code={secret}"))
                .header("authorization", &format!("Bearer {secret}"))
                .header("x-api-key", &secret)
                .header("cookie", &format!("session={secret}; other={secret}"))
                .header("x-note", &secret)
                .header("from", &secret)
                .send()
                .await;
            answers.push_str(&answer.text());
        }
        for body in [
            json!({ "email": secret, "password": secret }),
            json!({ "email": "nobody@corp.test", "password": secret }),
            json!({ "email": "nobody@corp.test", "password": "x", "unknown": { "iban": secret } }),
            json!([secret]),
        ] {
            let request = browser.post("/.portcullis/auth/login");
            let answer = request
                .header("user-agent", &secret)
                .json(&body)
                .send()
                .await;
            answers.push_str(&answer.text());
        }
        // What an operator writes goes into the trail as well.
        let name = format!("for {secret}");
        let output = gateway.cli(&[
            "keys",
            "create",
            "--name",
            &name,
            "--permission",
            "read:all",
        ]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metrics = Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    let all = planted().len();
    eventually("every request is in the log", || {
        gateway.printed().matches("/.portcullis/nothing").count() >= all
    })
    .await;
    let folder = gateway.folder.clone();
    let sql = "SELECT COUNT(*) || '' FROM audit_event WHERE action = 'api-key.created'";
    assert_eq!(database::text(&folder, sql).await, all.to_string());
    let trail = database::trail(&folder).await;
    let printed = gateway.printed();
    assert!(
        printed.contains("/public/a/[redacted]") && trail.contains("for [redacted]"),
        "{printed}\n{trail}"
    );
    assert!(trail.contains("login.failed"), "{trail}");
    for (what, secret) in planted() {
        for (place, text) in [
            ("the log", &printed),
            ("the trail", &trail),
            ("the metrics", &metrics),
        ] {
            assert!(!text.contains(&secret), "{what} is in {place}");
        }
        if !secret.contains('@') {
            assert!(!answers.contains(&secret), "{what} is in an answer");
        }
    }
    assert!(!printed.contains("alice.canary") && !trail.contains("alice.canary"));
}

fn scrub(arguments: &[&str], input: &str) -> (String, String, Option<i32>) {
    let mut all = vec!["scrub"];
    all.extend(arguments);
    let output = GatewayBuilder::empty().cli_with_input(&all, input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn scrub_takes_secrets_out_of_any_log_and_says_how_many() {
    let input =
        "{\"user\":\"bo\",\"password\":\"x\"}\ncard 4111 1111 1111 1111 of a.b@corp.test\nplain\n";
    let clean =
        "{\"user\":\"bo\",\"password\":\"[redacted]\"}\ncard [redacted] of a***@corp.test\nplain\n";
    let (out, err, code) = scrub(&["--stats"], input);
    assert_eq!((out.as_str(), code), (clean, Some(0)));
    assert!(err.contains("3 redacted in 3 lines"), "{err}");
    let (out, err, _) = scrub(&["--stats", "--output", "json"], input);
    assert_eq!(out, clean);
    let summary: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(summary["redacted"], 3);
    assert_eq!(
        summary["kinds"],
        json!({ "fields": 1, "emails": 1, "cards": 1 })
    );
    assert_eq!(
        scrub(&[], clean),
        (clean.to_owned(), String::new(), Some(0))
    );
}

#[test]
fn scrub_finds_what_needs_no_telling_name() {
    let (begin, end) = ("-----BEGIN PRIVATE ", "-----END PRIVATE ");
    let input = format!(
        "open postgres://app:canary1@db.internal/x\ncat /home/alice/notes.txt C:\\Users\\bob\\x\n{begin}KEY-----\ncanary2MIIEvQIBADANBgkqhkiG\n{end}KEY-----\nafter\n"
    );
    let (out, err, code) = scrub(&["--stats", "--output", "json"], &input);
    let clean = "open postgres://[redacted]@db.internal/x\ncat /home/[redacted]/notes.txt C:\\Users\\[redacted]\\x\n[redacted]\n[redacted]\n[redacted]\nafter\n";
    assert_eq!((out.as_str(), code), (clean, Some(0)));
    let summary: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(
        summary["kinds"],
        json!({ "private-keys": 1, "urls": 1, "paths": 2 })
    );
}

#[test]
fn scrub_looks_for_what_it_is_told_to() {
    let input = "token=a iban=b acme_12345678 a.b@corp.test\n";
    let (out, ..) = scrub(&["--keep", "emails,fields"], input);
    assert_eq!(out, input);
    let (out, ..) = scrub(&["--only", "emails"], input);
    assert_eq!(out, "token=a iban=b acme_12345678 a***@corp.test\n");
    let (out, ..) = scrub(&["--field", "iban", "--prefix", "acme_"], input);
    assert_eq!(
        out,
        "token=[redacted] iban=[redacted] [redacted] a***@corp.test\n"
    );
    for wrong in [
        &["--only", "mails"][..],
        &["--prefix", "x"],
        &["--field", ""],
    ] {
        let (out, err, code) = scrub(wrong, input);
        assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
    }
}

#[test]
fn scrub_checks_without_writing() {
    assert_eq!(
        scrub(&["--check"], "all is well\n"),
        (String::new(), String::new(), Some(0))
    );
    let (out, _, code) = scrub(&["--check"], "token=abc\n");
    assert_eq!((out.as_str(), code), ("", Some(1)));
}

#[test]
fn scrub_passes_lines_on_as_they_come_and_ends_quietly_when_nobody_reads() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("scrub")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        input.write_all(b"token=").unwrap();
        input.flush().unwrap();
        input.write_all(b"abc x=1\n").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "token=[redacted] x=1\n");
    }
    drop(output);
    // It ends when it finds out; what is written after that finds nobody.
    while input.write_all(b"more and more\n").is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
