//! The rules for Prometheus and the dashboard for Grafana: whole, and about metrics that there are (M4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::anomalies::{builder, guess, metrics};
use crate::support::{Upstream, eventually_asked, required};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file)
}

fn promtool(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(required("PORTCULLIS_TEST_PROMTOOL"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn assert_good(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(deploy("grafana/portcullis.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every query of the dashboard, as Grafana would ask it.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| {
            let text = target["expr"].as_str().unwrap();
            text.replace("$__rate_interval", "5m")
                .replace("$instance", ".*")
        })
        .collect()
}

/// Our metrics that a text names, each with the labels that it is chosen by.
fn named(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_name = |byte: char| byte.is_ascii_lowercase() || byte == '_';
    let mut all = Vec::new();
    for (start, _) in text.match_indices("portcullis_") {
        let rest = &text[start..];
        let end = rest.find(|byte| !is_name(byte)).unwrap_or(rest.len());
        let mut labels = BTreeSet::new();
        if let Some(chosen) = rest[end..].strip_prefix('{') {
            let chosen = chosen.split('}').next().unwrap();
            for part in chosen.split(',') {
                let label = part.split(['=', '!']).next().unwrap().trim();
                labels.insert(label.to_owned());
            }
        }
        all.push((rest[..end].to_owned(), labels));
    }
    all
}

/// What a scrape says: the type of each metric, and the labels of its samples.
struct Scrape {
    types: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Scrape {
    fn of(text: &str) -> Self {
        let (mut types, mut labels) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<_>>::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                types.insert(name.to_owned(), kind.to_owned());
            } else if let Some((name, rest)) = line.split_once('{') {
                let pairs = rest.split('}').next().unwrap().split(',');
                let names = pairs
                    .filter_map(|pair| pair.split_once("=\""))
                    .map(|pair| pair.0.to_owned());
                labels.entry(name.to_owned()).or_default().extend(names);
            }
        }
        Scrape { types, labels }
    }

    fn assert_has(&self, name: &str, labels: &BTreeSet<String>) {
        let (base, kind) = if let Some(base) = name.strip_suffix("_total") {
            (base, "counter")
        } else if let Some(base) = name.strip_suffix("_bucket") {
            (base, "histogram")
        } else {
            (name, "gauge")
        };
        let found = self.types.get(base).map(String::as_str);
        assert_eq!(found, Some(kind), "`{name}` is no metric of a running gate");
        if let Some(known) = self.labels.get(name) {
            for label in labels {
                // Prometheus adds this one.
                let is_there = label == "instance" || known.contains(label);
                assert!(is_there, "`{name}` has no label `{label}`: {known:?}");
            }
        }
    }
}

#[test]
fn promtool_takes_the_rules_and_each_holds_where_it_should_and_nowhere_else() {
    let folder = deploy("prometheus");
    assert_good(&promtool(
        &folder,
        &["check", "rules", "portcullis.rules.yml"],
    ));
    assert_good(&promtool(
        &folder,
        &["test", "rules", "portcullis.rules.test.yml"],
    ));
    // Each rule is in a test, and in the documentation.
    let rules = std::fs::read_to_string(folder.join("portcullis.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(folder.join("portcullis.rules.test.yml")).unwrap();
    let page = std::fs::read_to_string(deploy("../docs/monitoring.md")).unwrap();
    let names: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name} has no test"
        );
        assert!(
            page.contains(&format!("| `{name}` |")),
            "{name} is not in docs/monitoring.md"
        );
    }
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_metrics_that_a_running_gate_shows() {
    let upstream = Upstream::start().await;
    let proof = "\n[[scan]]\nname = \"prove\"\ncovers = \"proof\"\n";
    let gateway = builder(&upstream).await.more(proof).start().await;
    eventually_asked("the score of a proof that never came", async || {
        let page = metrics(&gateway).await;
        page.contains("portcullis_compliance_score 0")
    })
    .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/admin").send().await.status, 403);
    assert_eq!(ana.get("/x").send().await.status, 200);
    guess(&[&gateway], "bob@corp.test", 1).await;
    let scrape = Scrape::of(&metrics(&gateway).await);
    let rules = std::fs::read_to_string(deploy("prometheus/portcullis.rules.yml")).unwrap();
    let asked = rules.lines().filter(|line| !line.contains("summary:"));
    let mut asked = named(&asked.collect::<Vec<_>>().join("\n"));
    asked.retain(|(name, _)| name != "portcullis_rules_yml");
    let of_rules = asked.len();
    for query in queries(&dashboard()) {
        asked.extend(named(&query));
    }
    assert!(of_rules > 10 && asked.len() > of_rules + 20, "{asked:?}");
    for (name, labels) in &asked {
        scrape.assert_has(name, labels);
    }
}

#[test]
fn the_dashboard_is_whole_and_promtool_takes_its_queries() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(dashboard["uid"].is_string() && dashboard["title"].is_string());
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: Vec<&str> = variables
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "instance"]);
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is there twice"
        );
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(
            side("x") + side("w") <= 24,
            "{title} is wider than the grid"
        );
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(places.insert((x, y)), "{title} lies on another panel");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title}");
    }
    // As rules that record, for promtool knows no dashboards.
    let queries = queries(&dashboard).into_iter().enumerate();
    let rules: Vec<Value> = queries
        .map(|(number, query)| json!({ "record": format!("panel:query:{number}"), "expr": query }))
        .collect();
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let folder = tempfile::tempdir().unwrap();
    // YAML takes JSON.
    std::fs::write(folder.path().join("rules.yml"), groups.to_string()).unwrap();
    assert_good(&promtool(folder.path(), &["check", "rules", "rules.yml"]));
}
