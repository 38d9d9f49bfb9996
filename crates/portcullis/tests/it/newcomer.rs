//! From nothing to a standing gate, as a newcomer does it, in front of an application that somebody
//! else wrote: datasette, with a small SQLite file.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Browser, GatewayBuilder, State, required};

const OPENAPI: &str = include_str!("../fixtures/openapi/datasette.json");
/// Not a secret of anything: the gates of this test end with it.
const SECRET_KEY: &str = "6f2c1d9e8b7a4053c1e2f3a4958677d8e9f0a1b2c3d4e5f60718293a4b5c6d7e";

/// A running datasette. Ends with the test.
struct Datasette {
    child: Child,
    url: String,
}

impl Datasette {
    fn start(folder: &Path) -> Self {
        let python = required("PORTCULLIS_TEST_PYTHON");
        let database = folder.join("data.db");
        let made = Command::new(&python)
            .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)'); c.execute(\"INSERT INTO notes (text) VALUES ('first')\"); c.commit()"])
            .arg(&database)
            .status()
            .unwrap();
        assert!(made.success());
        let metadata = folder.join("metadata.json");
        let queries = json!({ "add_note": { "sql": "INSERT INTO notes (text) VALUES (:text)", "write": true } });
        let content = json!({ "databases": { "data": { "queries": queries } } });
        std::fs::write(&metadata, content.to_string()).unwrap();
        let mut child = Command::new(&python)
            .args(["-m", "datasette", "serve"])
            .arg(&database)
            .arg("--metadata")
            .arg(&metadata)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("datasette starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("http://127.0.0.1:")?;
                let port = rest.split(|c: char| !c.is_ascii_digit()).next()?;
                Some(format!("http://127.0.0.1:{port}"))
            })
            .expect("datasette says where it listens");
        // A pipe that nobody reads would stop it when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        Datasette { child, url }
    }
}

impl Drop for Datasette {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn notes(browser: &Browser) -> Vec<String> {
    let answer = browser.get("/data/notes.json?_shape=array").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = answer.json();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row["text"].as_str().unwrap().to_owned())
        .collect()
}

async fn sign_in(browser: &Browser, password: &str) -> (u16, String) {
    let answer = browser
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": "you@corp.test", "password": password }))
        .send()
        .await;
    if answer.status == 200 {
        return (200, String::new());
    }
    (answer.status.as_u16(), answer.problem())
}

/// The file that `init` writes, and what a newcomer sets in the environment.
async fn initialised(datasette: &Datasette) -> GatewayBuilder {
    let gate = GatewayBuilder::empty();
    let state = State::fresh(gate.folder()).await;
    std::fs::write(gate.folder().join("openapi.json"), OPENAPI).unwrap();
    let made = gate.run(&[
        "init",
        "--upstream",
        &datasette.url,
        "--openapi",
        "openapi.json",
    ]);
    let told = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{told}");
    assert!(
        told.contains("The document leaves 2 operations open"),
        "{told}"
    );
    assert!(
        told.contains("\n  GET /\n") && told.contains("\n  GET /-/versions.json\n"),
        "{told}"
    );
    assert!(told.contains("portcullis check"), "{told}");
    let mut gate = gate
        .adopt()
        .environment("PORTCULLIS__LISTEN__ADDRESS", "127.0.0.1:0")
        .environment("PORTCULLIS__ADMIN__ADDRESS", "127.0.0.1:0");
    if let Some(redis) = state.redis {
        gate = gate
            .environment("PORTCULLIS__STATE__DATABASE", "{ env = \"DATABASE_URL\" }")
            .environment("DATABASE_URL", &state.database)
            .environment("PORTCULLIS__STATE__REDIS", "{ env = \"REDIS_URL\" }")
            .environment("REDIS_URL", &redis);
    }
    gate
}

/// `check` says the one thing that only a person can provide; with it, an account can be made.
fn with_secret_and_account(gate: GatewayBuilder) -> (GatewayBuilder, String) {
    let checked = gate.cli(&["--output", "json", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let errors: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect();
    assert_eq!(errors, ["secret-missing"], "{report:#}");
    let gate = gate.environment("SECRET_KEY", SECRET_KEY);
    assert_eq!(gate.cli(&["check"]).status.code(), Some(0));

    let created = gate.cli(&[
        "--output",
        "json",
        "users",
        "create",
        "--email",
        "you@corp.test",
        "--role",
        "admin",
    ]);
    let created: Value = serde_json::from_slice(&created.stdout).unwrap();
    let password = created["password"].as_str().unwrap().to_owned();
    (gate, password)
}

#[tokio::test]
async fn from_nothing_to_a_gate_in_front_of_a_real_application() {
    let folder = tempfile::tempdir().unwrap();
    let datasette = Datasette::start(folder.path());
    let gate = initialised(&datasette).await;

    let (gate, password) = with_secret_and_account(gate);
    let running = gate.start().await;
    let stranger = running.browser();
    assert_eq!(
        stranger.get("/data.json").send().await.problem(),
        "authentication-required"
    );
    let you = running.browser();
    assert_eq!(sign_in(&you, &password).await.0, 200);
    assert_eq!(notes(&you).await, ["first"]);
    let page = you.get("/data/notes").send().await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<h1"), "a page of the application");
    assert!(page.header("content-security-policy").is_some());

    // Forged: the token is missing, and nothing was written.
    let note = |text: &str| json!({ "text": text });
    let forged = you
        .post("/data/add_note")
        .without("x-csrf-token")
        .json(&note("forged"))
        .send()
        .await;
    assert_eq!(
        (forged.status.as_u16(), forged.problem().as_str()),
        (403, "csrf-token-missing")
    );
    let written = you
        .post("/data/add_note")
        .header("accept", "application/json")
        .json(&note("mine"))
        .send()
        .await;
    assert!(
        written.status.is_success() || written.status.is_redirection(),
        "{}",
        written.text()
    );
    assert_eq!(notes(&you).await, ["first", "mine"]);

    // Closed, and unknown.
    assert_eq!(you.get("/").send().await.problem(), "route-closed");
    assert_eq!(
        you.get("/-/versions.json").send().await.problem(),
        "route-closed"
    );
    assert_eq!(
        you.get("/-/metadata.json").send().await.problem(),
        "no-route"
    );

    // Limited: one sign-in is spent, four wrong ones are refused, the sixth is not even looked at.
    for _ in 0..4 {
        assert_eq!(
            sign_in(&stranger, "not the password at all").await.1,
            "credentials-refused"
        );
    }
    assert_eq!(
        sign_in(&stranger, &password).await,
        (429, "rate-limited".to_owned())
    );
    assert_eq!(
        notes(&you).await.len(),
        2,
        "a limit on sign-in is none on sessions"
    );

    // A person opens a route knowingly, while the gate runs.
    let file = running.config_path();
    let text = std::fs::read_to_string(&file).unwrap();
    let open = text.replace(
        "path = \"/\"\nmethods = [\"GET\"]\nallow = \"closed\"",
        "path = \"/\"\nmethods = [\"GET\"]\nallow = \"public\"",
    );
    assert_ne!(text, open);
    std::fs::write(&file, open).unwrap();
    running.wait_until_printed("policy reloaded").await;
    let front = stranger.get("/").send().await;
    assert_eq!(front.status, 200);
    assert!(front.text().to_lowercase().contains("datasette"));

    // Stopped and started again: the session is still one.
    let cookies = you.cookie("session").unwrap();
    let again = running.end().await.start().await;
    let answer = again
        .client()
        .get("/data.json")
        .header("cookie", &format!("session={cookies}"))
        .send()
        .await;
    assert_eq!(answer.status, 200);
}

/// A real document of 277 operations, where it lies beside the repository.
fn real_document() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .filter_map(|folder| std::fs::read_dir(folder.join("shared/data")).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with("-openapi.json"))
}

#[test]
fn a_large_document_becomes_a_policy_that_loads_and_says_what_it_leaves_open() {
    let Some(document) = real_document() else {
        return;
    };
    let gate = GatewayBuilder::empty();
    let made = gate.run(&[
        "--output",
        "json",
        "init",
        "--upstream",
        "http://127.0.0.1:8000",
        "--openapi",
        document.to_str().unwrap(),
    ]);
    let report: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(report["operations"], 277);
    let open: Vec<&str> = report["open"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(open.len(), 59);
    let told = gate.run(&[
        "init",
        "--force",
        "--upstream",
        "http://127.0.0.1:8000",
        "--openapi",
        document.to_str().unwrap(),
    ]);
    let told = String::from_utf8(told.stdout).unwrap();
    for operation in &open {
        assert!(told.contains(&format!("\n  {operation}\n")), "{operation}");
    }

    let gate = gate.adopt();
    let checked = gate.cli(&["--output", "json", "check"]);
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["errors"], 1, "the master secret alone: {checked:#}");
    let gate = gate.environment("SECRET_KEY", SECRET_KEY);
    assert_eq!(gate.cli(&["check"]).status.code(), Some(0));

    let (method, path) = open
        .iter()
        .find(|operation| !operation.contains('{'))
        .unwrap()
        .split_once(' ')
        .unwrap();
    let explained = gate.cli(&["--output", "json", "explain", method, path, "--as", "admin"]);
    assert_eq!(explained.status.code(), Some(1));
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["problem"], "route-closed");
    let line = usize::try_from(explained["line"].as_u64().unwrap()).unwrap();
    let file = std::fs::read_to_string(gate.folder().join("portcullis.toml")).unwrap();
    let table: Vec<&str> = file.lines().skip(line - 1).take(4).collect();
    assert!(
        table.contains(&format!("path = \"{path}\"").as_str()),
        "{table:?}"
    );
}
