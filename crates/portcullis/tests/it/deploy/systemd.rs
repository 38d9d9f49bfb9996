//! `deploy/systemd`: what systemd itself says of the unit, and that the program lives with what the unit allows.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use super::{answer, read, run, said, with_fault};
use crate::demo::is_root;
use crate::support::{Gateway, Upstream, required};

/// In tenths: 10 is a program with every right.
const EXPOSURE: &str = "--threshold=16";

fn unit() -> String {
    let text = read("deploy/systemd/portcullis.service");
    with_fault(
        &text,
        "/usr/local/bin/portcullis",
        env!("CARGO_BIN_EXE_portcullis"),
    )
}

/// What `systemd-analyze` says of a unit.
fn analyze(arguments: &[&str], text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portcullis.service");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(required("PORTCULLIS_TEST_SYSTEMD_ANALYZE"));
    command.args(arguments).arg(file);
    run(command.env("SYSTEMD_COLORS", "0"), "")
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let verify = ["verify", "--man=no"];
    let output = analyze(&verify, &unit());
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{}",
        said(&output)
    );
    // Where the program is not, or a value is none, it says so.
    let output = analyze(&verify, &read("deploy/systemd/portcullis.service"));
    assert!(!output.status.success(), "{}", said(&output));
    let output = analyze(
        &verify,
        &with_fault(&unit(), "ProtectSystem=strict", "ProtectSystem=strikt"),
    );
    assert!(said(&output).contains("strikt"), "{}", said(&output));
    let output = analyze(&verify, &with_fault(&unit(), "PrivateTmp=", "PrivateTemp="));
    assert!(said(&output).contains("PrivateTemp"), "{}", said(&output));
}

#[test]
fn the_unit_leaves_as_little_open_as_a_server_can() {
    let security = ["security", "--offline=yes", "--no-pager", EXPOSURE];
    let output = analyze(&security, &unit());
    assert!(output.status.success(), "{}", said(&output));
    for (from, to) in [
        ("ProtectSystem=strict\n", ""),
        ("CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n", ""),
        ("SystemCallFilter=", "#"),
        ("User=portcullis\n", ""),
    ] {
        let output = analyze(&security, &with_fault(&unit(), from, to));
        assert!(!output.status.success(), "{from}: {}", said(&output));
    }
}

/// The system calls of a set, with those of the sets that it names.
fn calls(set: &str) -> BTreeSet<String> {
    let mut command = Command::new(required("PORTCULLIS_TEST_SYSTEMD_ANALYZE"));
    let text = answer(command.args(["syscall-filter", set]), "");
    let names = text.lines().skip(1).map(str::trim);
    let mut all = BTreeSet::new();
    for name in names.filter(|name| !name.is_empty() && !name.starts_with('#')) {
        if name.starts_with('@') {
            all.extend(calls(name));
        } else {
            all.insert(name.to_owned());
        }
    }
    all
}

/// Those that the unit lets through, by its own lines: the first says which, the second which of them not.
fn allowed(unit: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
        .collect();
    let [with, without] = lines[..] else {
        panic!("{lines:?}");
    };
    let all = |line: &str| line.split(' ').flat_map(calls).collect::<BTreeSet<_>>();
    let without = without.strip_prefix('~').unwrap();
    &all(with) - &all(without)
}

#[tokio::test]
async fn the_program_asks_for_nothing_that_the_unit_refuses() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ada@corp.test", &["user"]);
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("calls");
    let gateway = gateway.start().await;
    // From here on: requests, a sign-in with its hash on another thread, a reload, and the end.
    let mut tracer = Command::new(required("PORTCULLIS_TEST_STRACE"));
    tracer.args(["-f", "-c", "-U", "name", "-o"]).arg(&record);
    let mut tracer = tracer
        .args(["-p", &gateway.pid().to_string()])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut attached = String::new();
    // Open until its end: it writes a line for each thread that begins, and would die of one that nobody takes.
    let mut errors = std::io::BufReader::new(tracer.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut errors, &mut attached).unwrap();
    assert!(attached.contains("attached"), "{attached}");
    let browser = gateway.signed_in("ada@corp.test").await;
    assert_eq!(browser.get("/things").send().await.status, 200);
    crate::support::signal(gateway.pid(), "HUP");
    gateway.wait_until_printed("policy reloaded").await;
    assert!(gateway.stop().await.success());
    assert!(tracer.wait().unwrap().success());
    drop(errors);

    // And a start, with its files and sockets.
    let start = folder.path().join("start");
    let mut beginning = Command::new(required("PORTCULLIS_TEST_STRACE"));
    beginning.args(["-f", "-c", "-U", "name", "-o"]).arg(&start);
    beginning.args([env!("CARGO_BIN_EXE_portcullis"), "demo", "--help"]);
    answer(&mut beginning, "");

    let mut used: BTreeSet<String> = BTreeSet::new();
    for file in [record, start] {
        let text = std::fs::read_to_string(file).unwrap();
        used.extend(text.lines().map(|line| line.trim().to_owned()));
    }
    used.retain(|name| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    for none in ["syscall", "total"] {
        used.remove(none);
    }
    assert!(
        used.contains("recvfrom") || used.contains("read"),
        "{used:?}"
    );
    // As root, SQLite gives its files to the owner of the database. The unit's user is not root.
    if is_root() {
        used.remove("fchown");
    }
    let open = allowed(&unit());
    let refused: Vec<&String> = used.difference(&open).collect();
    assert!(refused.is_empty(), "{refused:?}");
    // The list is one: without the network's calls it would refuse.
    let narrow = with_fault(&unit(), "~@privileged", "~@network-io @privileged");
    assert!(used.difference(&allowed(&narrow)).next().is_some());
}
