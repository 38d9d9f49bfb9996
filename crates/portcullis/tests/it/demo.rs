//! `portcullis demo`, as the README says it: what it prints is tried.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::json;

use crate::support::{Browser, required};

/// A demo under way. Ends with the test.
pub(crate) struct Demo {
    child: Child,
    printed: String,
}

impl Demo {
    pub(crate) fn start() -> Self {
        let mut child = as_somebody()
            .args(["demo", "--listen", "127.0.0.1:0"])
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut printed = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref() {
            let line = line.unwrap();
            printed.push_str(&line);
            printed.push('\n');
            if line.contains("Ctrl-C") {
                break;
            }
        }
        // The log goes on: somebody has to take it.
        std::thread::spawn(move || lines.for_each(drop));
        Demo { child, printed }
    }

    /// Where its configuration lies, as it is printed.
    pub(crate) fn config(&self) -> PathBuf {
        PathBuf::from(self.word("portcullis --config"))
    }

    /// The command line with the demo's configuration.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        as_somebody()
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn prove(&self, arguments: &[&str]) -> Output {
        self.cli(&[&["prove"], arguments].concat())
    }

    /// The word behind `label` on its line.
    fn word(&self, label: &str) -> &str {
        let (_, after) = self.printed.split_once(label).unwrap();
        after.split_whitespace().next().unwrap()
    }
}

/// The program as it is meant to be started: not by root. Where the suite is root's, from a place that
/// others may read.
fn as_somebody() -> Command {
    const NOBODY: u32 = 65_534;
    static PLACE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = env!("CARGO_BIN_EXE_portcullis");
    let place = PLACE.get_or_init(|| {
        is_root().then(|| {
            let folder = PathBuf::from(required("PORTCULLIS_TEST_FOLDER"));
            let folder = folder.join(format!("program-{}", std::process::id()));
            std::fs::create_dir(&folder).unwrap();
            let copy = folder.join("portcullis");
            std::fs::copy(program, &copy).unwrap();
            copy
        })
    });
    let Some(place) = place else {
        return Command::new(program);
    };
    let mut command = Command::new(place);
    command.uid(NOBODY).gid(NOBODY).current_dir("/tmp");
    command
}

/// Whether the suite runs as root.
pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_demo_answers_as_it_says() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let address = demo.word("stands at http://").parse().unwrap();
    let browser = Browser::at(address);
    assert_eq!(browser.get("/").send().await.status, 200);
    let refused = browser.get("/api/internal/debug").send().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(refused.problem(), "route-closed");
    let forged = browser
        .post("/.portcullis/auth/login")
        .replace("origin", "https://evil.test")
        .json(&json!({}));
    assert_eq!(forged.send().await.status, 403);
    assert_ne!(browser.get("/board").send().await.status, 200);
    let (email, password) = (demo.word("sign in as"), demo.word("password"));
    let signed_in = browser
        .post("/.portcullis/auth/login")
        .json(&json!({ "email": email, "password": password }));
    assert_eq!(signed_in.send().await.status, 200);
    let board = browser.get("/board").send().await;
    assert_eq!(board.status, 200);
    let said = board.text();
    assert!(said.contains("Signed in as <code>"), "{said}");
}
