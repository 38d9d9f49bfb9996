//! A real SMTP server on loopback that puts every letter into a folder.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::{GatewayBuilder, Program, eventually, required};

/// A server that was started, and what it received. Ends with the test.
pub(crate) struct Mailbox {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    _server: Program,
}

/// A letter as it came.
#[derive(Debug, Clone)]
pub(crate) struct Letter(pub(crate) String);

impl Mailbox {
    pub(crate) async fn start() -> Self {
        Mailbox::start_with(None, &[]).await
    }

    /// At this very address, or with more arguments.
    pub(crate) async fn start_with(at: Option<SocketAddr>, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = |address: SocketAddr| {
            let mut command = Command::new(required("PORTCULLIS_TEST_PYTHON"));
            command
                .args(["-m", "aiosmtpd", "--nosetuid", "--listen"])
                .arg(address.to_string())
                .args(arguments)
                .args(["--class", "aiosmtpd.handlers.Mailbox"])
                .arg(folder.path().join("mail"));
            command
        };
        let server = match at {
            None => Program::start(make).await,
            Some(address) => Program::start_at(address, make).await,
        };
        Mailbox {
            address: server.address,
            folder,
            _server: server,
        }
    }

    /// Every letter so far, in the order of their coming.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        let mut files: Vec<_> = std::fs::read_dir(self.folder.path().join("mail/new"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        files.sort_by_key(|path: &std::path::PathBuf| path.metadata().unwrap().modified().unwrap());
        let read = |path: &std::path::PathBuf| Letter(std::fs::read_to_string(path).unwrap());
        files.iter().map(read).collect()
    }

    /// Waits for so many letters, and returns the last.
    pub(crate) async fn wait_for(&self, count: usize) -> Letter {
        eventually(&format!("{count} letters came"), || {
            self.letters().len() >= count
        })
        .await;
        let letters = self.letters();
        assert_eq!(letters.len(), count, "{letters:#?}");
        letters.last().unwrap().clone()
    }
}

impl Letter {
    /// The body, put together again where it was encoded.
    pub(crate) fn text(&self) -> String {
        let (head, body) = self.0.split_once("\n\n").unwrap();
        if head.contains("quoted-printable") {
            body.replace("=\n", "").replace("=3D", "=")
        } else {
            body.to_owned()
        }
    }

    /// The one link in it.
    pub(crate) fn link(&self) -> String {
        let text = self.text();
        let links: Vec<&str> = text
            .split_whitespace()
            .filter(|word| word.contains("?token="))
            .collect();
        assert_eq!(links.len(), 1, "{text}");
        links[0].to_owned()
    }

    pub(crate) fn token(&self) -> String {
        self.link().split_once("?token=").unwrap().1.to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let start = format!("{name}: ");
        let found = self.0.lines().find_map(|line| line.strip_prefix(&start));
        found.unwrap_or_default().trim().to_owned()
    }
}

/// Where links lead, whatever a request says.
pub(crate) const ORIGIN: &str = "https://shop.example";

impl GatewayBuilder {
    /// Letters go to `mailbox`.
    pub(crate) fn mailing(self, mailbox: SocketAddr) -> Self {
        self.with_origin(ORIGIN).more(&format!(
            "\n[mail]\nserver = \"smtp://{mailbox}\"\nfrom = \"Shop <no-reply@shop.example>\"\n"
        ))
    }

    /// The same, and whoever receives a letter opens an account.
    pub(crate) fn registering_by(self, mailbox: SocketAddr) -> Self {
        self.more(&format!(
            "\n[accounts]\norigin = \"{ORIGIN}\"\nregistration = \"confirmed\"\nregistration-roles = [\"user\"]\n\
             \n[mail]\nserver = \"smtp://{mailbox}\"\nfrom = \"Shop <no-reply@shop.example>\"\n"
        ))
    }

    /// People reach the gate here.
    pub(crate) fn with_origin(self, origin: &str) -> Self {
        self.more(&format!("\n[accounts]\norigin = \"{origin}\"\n"))
    }
}

/// Nobody has this port now.
pub(crate) fn nobody() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

/// All files below `folder` that hold `text`.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        {
            found.push(path);
        }
    }
    found
}
