//! `portcullis demo`, as the README says it: what it prints is tried.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::support::Browser;

/// A demo under way. Ends with the test.
pub(crate) struct Demo {
    child: Child,
    printed: String,
}

impl Demo {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
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
        Command::new(env!("CARGO_BIN_EXE_portcullis"))
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
