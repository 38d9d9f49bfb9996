use std::io::{self, Write};
use std::sync::mpsc::channel;

use portcullis_core::{RequestId, Timestamp};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        held(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line(path: &str) -> Line<'_> {
    Line {
        at: Timestamp::from_micros(1_700_000_000_000_042),
        request: RequestId::new(),
        method: "GET",
        route: Some("/users/{id}"),
        path,
        status: 403,
        problem: Some("not-permitted"),
        principal: Some((
            portcullis_core::principal::CallerKind::User,
            portcullis_core::UserId::new().as_uuid(),
        )),
        client: "192.0.2.1".parse().unwrap(),
        duration: Duration::from_micros(1234),
        bytes: 99,
        upstream: Some("app"),
        trace: None,
    }
}

fn written(format: Format, paths: &[&str]) -> String {
    let output = Memory::default();
    let log = AccessLog::start(Box::new(output.clone()), format, Metrics::new()).unwrap();
    let lane = log.lane();
    for path in paths {
        lane.line(&line(path));
    }
    log.shutdown();
    let bytes = held(&output.0).clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_line_is_one_json_object_with_everything_in_it() {
    let out = written(Format::Json, &["/users/7"]);
    let fields: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(fields["time"], "2023-11-14T22:13:20.000042Z");
    assert_eq!(fields["http.route"], "/users/{id}");
    assert_eq!(fields["url.path"], "/users/7");
    assert_eq!(fields["http.response.status_code"], 403);
    assert_eq!(fields["problem.slug"], "not-permitted");
    assert_eq!(fields["duration_ms"], 1.234);
    assert_eq!(fields["client.address"], "192.0.2.1");
    assert_eq!(fields["upstream.name"], "app");
    assert_eq!(fields["http.response.body.size"], 99);
}

#[test]
fn queries_addresses_and_tokens_in_a_path_are_not_written() {
    let paths = [
        "/a?token=canary1",
        "/reset/canary2@example.com",
        "/t/eyJhbGciOiJub25lIn0.canary3canary3.x",
        "/k/sk_live_canary4canary4",
    ];
    for format in [Format::Json, Format::Text] {
        let out = written(format, &paths);
        assert_eq!(out.lines().count(), paths.len());
        assert!(!out.contains("canary"), "{out}");
    }
}

/// Refuses to move until it is told to.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Disconnected: the test is over, and everything may go.
        let _released = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_output_costs_lines_and_counts_them_and_never_waits() {
    let (release, stuck) = channel();
    let metrics = Metrics::new();
    let log = AccessLog::start(Box::new(Stuck(stuck)), Format::Json, metrics.clone()).unwrap();
    let lane = log.lane();
    let path = "/a".repeat(200);
    let enough = FULL * (WAITING + 8) / 400;
    for _ in 0..enough {
        lane.line(&line(&path));
    }
    let page = metrics.encode();
    assert!(!page.contains("portcullis_access_log_dropped_lines_total 0"));
    drop(release);
    log.shutdown();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_path_can_forge_a_line(path in any::<String>(), method in any::<String>()) {
        let mut forged = line(&path);
        forged.method = &method;
        for format in [Format::Json, Format::Text] {
            let mut buffer = line::Buffer::default();
            buffer.push(&forged, format);
            let (bytes, _) = buffer.take(Vec::new());
            let text = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1);
            if format == Format::Json {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            }
        }
    }
}
