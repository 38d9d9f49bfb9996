//! What is conspicuous is found once, whichever nodes it came through (M1, M2).

mod rules;

use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, GatewayBuilder, PASSWORD, Upstream, eventually_asked, required,
};

/// As little waiting as the configuration permits, and bursts that the limits let through.
pub(crate) const SOON: &str = "\n[anomalies]\ndelay = \"1s\"\n[anomalies.login-burst]\naccount-failures = 4\naddress-failures = 1000\n[anomalies.credential-stuffing]\naccounts = 500\n[limits.auth]\nrate = \"1000/minute\"\n";

/// Requests seem to come from the address that `X-Forwarded-For` names.
pub(crate) async fn proxied(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            "[listen]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]",
        )
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["admin"])
}

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    proxied(upstream).await.more(SOON)
}

pub(crate) async fn sign_in_from(gateway: &Gateway, address: &str, email: &str, password: &str) {
    let answer = gateway
        .browser()
        .post("/.portcullis/auth/login")
        .header("x-forwarded-for", address)
        .json(&json!({ "email": email, "password": password }))
        .send()
        .await;
    let expected = if password == PASSWORD { 200 } else { 401 };
    assert_eq!(answer.status, expected, "{}", answer.text());
}

/// So many wrong passwords for an account, over these nodes in turn and each from another address.
pub(crate) async fn guess(nodes: &[&Gateway], email: &str, times: u8) {
    for number in 0..times {
        let node = nodes[usize::from(number) % nodes.len()];
        let address = format!("203.0.113.{number}");
        sign_in_from(node, &address, email, "wrong-wrong-1881-x").await;
    }
}

pub(crate) fn told(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    let output = gateway.cli(&all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits for so many findings, and returns them.
pub(crate) async fn found(gateway: &Gateway, detector: &str, count: usize) -> Vec<Value> {
    let list = || told(gateway, &["anomalies", "list", "--detector", detector]);
    eventually_asked(&format!("{count} of {detector}"), async || {
        list().len() >= count
    })
    .await;
    let list = list();
    assert_eq!(list.len(), count, "{list:#?}");
    list
}

pub(crate) async fn metrics(gateway: &Gateway) -> String {
    let page = Client::to(gateway.admin).get("/metrics").send().await;
    page.text()
}

/// What a counter with these labels says on a node.
pub(crate) async fn counter(gateway: &Gateway, line: &str) -> u64 {
    let text = metrics(gateway).await;
    let value = text.lines().find_map(|one| one.strip_prefix(line));
    value.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_burst_over_two_nodes_is_found_once_and_one_below_the_figure_is_not() {
    let upstream = Upstream::start().await;
    let one = builder(&upstream).await.start().await;
    let other = one.twin().await;
    guess(&[&one, &other], "bob@corp.test", 3).await;
    guess(&[&one, &other], "ana@corp.test", 4).await;
    let list = found(&one, "login-burst", 1).await;
    assert_eq!(list[0]["severity"], "medium", "{list:#?}");
    assert!(list[0]["subject"].as_str().unwrap().starts_with("account:"));
    assert_eq!(list[0]["count"], 4);
    assert!(list[0]["ended_at"].is_null());
    // Neither is it found again, nor does the one below the figure come later: bob's were before it.
    let events = told(&one, &["audit", "list", "--action", "anomaly.found"]);
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["metadata"]["detector"], "login-burst");
    assert_eq!(events[0]["metadata"]["subject"], list[0]["subject"]);
    let line = "portcullis_suspicious_activities_total{detector=\"login-burst\"}";
    assert_eq!(counter(&one, line).await + counter(&other, line).await, 1);

    // The same of the recorded events, and with other figures the other account as well.
    let again = told(&one, &["anomalies", "replay", "--since", "1h"]);
    let burst: Vec<&Value> = again
        .iter()
        .filter(|row| row["detector"] == "login-burst")
        .collect();
    assert_eq!(burst.len(), 1, "{again:#?}");
    assert_eq!(burst[0]["subject"], list[0]["subject"]);
    assert_eq!(burst[0]["began_at"], list[0]["began_at"]);
    let stricter = [
        "anomalies",
        "replay",
        "--since",
        "1h",
        "--set",
        "login-burst.account-failures=3",
    ];
    let stricter = told(&one, &stricter);
    let bursts = stricter
        .iter()
        .filter(|row| row["detector"] == "login-burst");
    assert_eq!(bursts.count(), 2, "{stricter:#?}");
    let wrong = one.cli(&[
        "anomalies",
        "replay",
        "--since",
        "1h",
        "--set",
        "login-burst.nothing=1",
    ]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn what_began_before_a_crash_is_found_after_it_and_not_twice() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    guess(&[&gateway], "ana@corp.test", 4).await;
    found(&gateway, "login-burst", 1).await;
    // Two more, and it is gone: the last two come to the next one.
    guess(&[&gateway], "bob@corp.test", 2).await;
    let gateway = gateway.kill().start().await;
    guess(&[&gateway], "bob@corp.test", 2).await;
    let list = found(&gateway, "login-burst", 2).await;
    let subjects: std::collections::BTreeSet<&str> = list
        .iter()
        .map(|row| row["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects.len(), 2, "{list:#?}");
    let events = told(&gateway, &["audit", "list", "--action", "anomaly.found"]);
    assert_eq!(events.len(), 2, "{events:#?}");
}

#[tokio::test]
async fn a_sign_in_says_whether_its_device_is_new() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let again = ana
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": "ana@corp.test", "password": PASSWORD }));
    assert_eq!(again.send().await.status, 200);
    let logins = told(&gateway, &["audit", "list", "--action", "login.succeeded"]);
    let devices: Vec<&Value> = logins
        .iter()
        .map(|event| &event["metadata"]["device"])
        .collect();
    assert_eq!(devices, [&Value::Null, &json!("new")]);
}

#[tokio::test]
async fn usage_is_counted_by_the_pattern_of_the_route_whatever_the_path() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let bob = gateway.signed_in("bob@corp.test").await;
    for number in 0..3 {
        bob.get(&format!("/things/{number}?q={number}"))
            .send()
            .await;
        bob.get("/closed").send().await;
    }
    let text = metrics(&gateway).await;
    let line = |route: &str, status: &str| {
        format!("portcullis_route_requests_total{{route=\"{route}\",status=\"{status}\"}} 3\n")
    };
    assert!(text.contains(&line("/{*rest}", "2xx")), "{text}");
    assert!(text.contains(&line("/closed", "4xx")), "{text}");
    assert!(!text.contains("things"), "{text}");
}

#[tokio::test]
async fn figures_out_of_bounds_and_rules_without_a_reason_are_findings_of_check() {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await.without_users();
    for (tables, key) in [
        (
            "\n[anomalies.limit-attack]\nrefusals = 1\n",
            "anomalies.limit-attack.refusals",
        ),
        (
            "\n[anomalies.limit-attack]\nwindow = \"1s\"\n",
            "anomalies.limit-attack.window",
        ),
        (
            "\n[anomalies.limit-attack]\noff = \"\"\n",
            "anomalies.limit-attack.off",
        ),
        (
            "\n[anomalies.limit-attack]\nnothing = 1\n",
            "anomalies.limit-attack.nothing",
        ),
        ("\n[[alert]]\nname = \"a\"\n", "alert.0.name"),
        (
            "\n[[alert]]\nname = \"a\"\nemail = [\"a@corp.test\"]\n",
            "alert.0.email",
        ),
        (
            "\n[[alert]]\nname = \"a\"\nwebhook = \"ftp://x.test\"\n",
            "alert.0.webhook",
        ),
        (
            "\n[[alert]]\nname = \"a\"\nwebhook = \"https://x.test\"\n",
            "alert.0.secret",
        ),
        (
            "\n[[alert]]\nname = \"a\"\nslack = { env = \"NOT_THERE\" }\n",
            "alert.0.slack",
        ),
        (
            "\n[[alert]]\nname = \"a\"\nsources = [\"b\"]\nslack = { file = \"master\" }\n",
            "alert.0.sources",
        ),
    ] {
        let output = builder
            .clone()
            .more(tables)
            .cli(&["check", "--output", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys: Vec<&str> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["severity"] == "error")
            .map(|finding| finding["key"].as_str().unwrap())
            .collect();
        assert!(keys.contains(&key), "{tables}: {report:#}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// A database of places: 81.2.69.0/24 is in Berlin, 133.11.0.0/16 in Tokyo (and called Japan alone), 5.9.0.0/16 in
/// Potsdam (and called what no page should take for its own).
pub(crate) fn map(gateway: GatewayBuilder, kind: &str, made: &str) -> GatewayBuilder {
    const SCRIPT: &str = "import sys, mmdb_writer\nfrom mmdb_writer import MMDBWriter\nfrom netaddr import IPSet\nwriter = MMDBWriter(4, sys.argv[2], languages=['en'], description='t', int_type='u32', float_type='f64')\nif len(sys.argv) > 3: mmdb_writer.time.time = lambda: int(sys.argv[3])\nfor network, latitude, longitude, country, named in [('81.2.69.0/24', 52.52, 13.405, 'DE', {'city': {'names': {'en': 'Berlin', 'de': 'Berlin'}}, 'of': 'Germany'}), ('5.9.0.0/16', 52.4, 13.06, 'DE', {'city': {'names': {'en': '<b>Potsdam</b>'}}}), ('133.11.0.0/16', 35.676, 139.65, 'JP', {'of': 'Japan'})]:\n    of = named.pop('of', None)\n    writer.insert_network(IPSet([network]), {**named, 'country': {'iso_code': country, **({'names': {'en': of}} if of else {})}, 'location': {'latitude': latitude, 'longitude': longitude, 'accuracy_radius': 20}})\nwriter.to_db_file(sys.argv[1])\n";
    let file = gateway.folder().join("places.mmdb");
    let mut command = std::process::Command::new(required("PORTCULLIS_TEST_PYTHON"));
    command.args(["-c", SCRIPT]).arg(&file).arg(kind);
    command.args(Some(made).filter(|made| !made.is_empty()));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    gateway
}

pub(crate) const PLACES: &str =
    "\n[places]\ndatabase = \"places.mmdb\"\nknown = [\"133.11.9.0/24\"]\n";

#[tokio::test]
async fn an_account_in_two_places_that_nobody_gets_between_is_found() {
    let upstream = Upstream::start().await;
    let gateway = map(builder(&upstream).await, "City", "").more(PLACES);
    let gateway = gateway.start().await;
    // Bob: two networks of one region, one of a VPN, and one that nobody knows.
    for address in ["81.2.69.7", "5.9.1.1", "133.11.9.1", "203.0.113.1"] {
        sign_in_from(&gateway, address, "bob@corp.test", PASSWORD).await;
    }
    sign_in_from(&gateway, "81.2.69.7", "ana@corp.test", PASSWORD).await;
    sign_in_from(&gateway, "133.11.1.1", "ana@corp.test", PASSWORD).await;
    let list = found(&gateway, "impossible-travel", 1).await;
    assert_eq!(list[0]["severity"], "high", "{list:#?}");
    // Four sign-ins at known places, one at none, and the network of the VPN is not asked for.
    let line = |answer| format!("portcullis_sign_in_places_total{{answer=\"{answer}\"}}");
    assert_eq!(counter(&gateway, &line("known")).await, 4);
    assert_eq!(counter(&gateway, &line("unknown")).await, 1);
    let said = list[0]["told"].as_str().unwrap();
    assert!(
        said.contains("DE, then JP") && said.contains("88"),
        "{said}"
    );
    let again = told(&gateway, &["anomalies", "replay", "--since", "1h"]);
    let again = again
        .iter()
        .filter(|row| row["detector"] == "impossible-travel");
    assert_eq!(again.count(), 1);
    let rules = told(&gateway, &["anomalies", "rules"]);
    assert!(
        rules
            .iter()
            .any(|rule| rule["detector"] == "impossible-travel")
    );
}

#[tokio::test]
async fn a_database_of_places_that_is_none_is_refused_and_an_old_one_told_of() {
    let upstream = Upstream::start().await;
    let check = async |gateway: GatewayBuilder| {
        let gateway = gateway.more(PLACES);
        let output = gateway.cli(&["check"]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = check(builder(&upstream).await).await;
    assert!(
        code == Some(1) && said.contains("places.database"),
        "{said}"
    );
    let garbage = builder(&upstream).await.file("places.mmdb", "no database");
    let (code, said) = check(garbage).await;
    assert!(
        code == Some(1) && said.contains("places.database"),
        "{said}"
    );
    let (code, said) = check(map(builder(&upstream).await, "ASN", "")).await;
    assert!(code == Some(1) && said.contains("has no places"), "{said}");
    let (code, said) = check(map(builder(&upstream).await, "City", "1700000000")).await;
    assert!(code == Some(0) && said.contains("2023"), "{said}");
}
