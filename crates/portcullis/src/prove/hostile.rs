//! Hostile configurations: this program's own `check` is asked, and has to refuse each by the right key.

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::probe::{Short, must};
use super::rehearsal::{Folder, program};

/// A refusal is no matter of time: whoever is not refused by then serves.
const ENDS_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// A configuration for production in which nothing is wrong.
const SOUND: &str = r#"mode = "production"

[listen]
address = "127.0.0.1:8443"
trusted-proxies = ["127.0.0.1/32"]

[secrets]
master = { file = "master" }

[hosts]
allow = ["app.prove.test"]

[upstream.app]
url = "http://127.0.0.1:8000"

[[route]]
path = "/"
allow = "public"
"#;

/// What `check` said.
pub(crate) struct Said {
    code: i32,
    report: Value,
}

impl Said {
    /// Every error's key and message, those of this key alone.
    fn findings<'s>(&'s self, severity: &'s str) -> impl Iterator<Item = (&'s str, &'s str)> {
        let all = self.report.get("findings").and_then(Value::as_array);
        let field = |finding: &'s Value, name: &str| {
            finding
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        all.into_iter()
            .flatten()
            .filter(move |finding| field(finding, "severity") == severity)
            .map(move |finding| (field(finding, "key"), field(finding, "message")))
    }

    fn names(&self, severity: &str, key: &str) -> Option<String> {
        let mut all = self.findings(severity);
        all.find(|(of, _)| of.starts_with(key))
            .map(|(of, message)| format!("`{of}`: {message}"))
    }
}

/// A configuration being made hostile.
#[must_use]
pub(crate) struct Hostile {
    text: String,
    master: String,
    files: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    in_git: bool,
}

impl Hostile {
    /// One in which nothing is wrong yet.
    pub(crate) fn sound() -> anyhow::Result<Self> {
        let master = portcullis_vault::tokens::random::<32>()?;
        Ok(Hostile {
            text: SOUND.to_owned(),
            master: hex::encode(master),
            files: Vec::new(),
            variables: Vec::new(),
            arguments: Vec::new(),
            in_git: false,
        })
    }

    pub(crate) fn master(mut self, master: &str) -> Self {
        master.clone_into(&mut self.master);
        self
    }

    /// Beside another configuration, with the same master secret.
    pub(crate) fn beside_its_twin(self) -> Self {
        let twin = self.text.replace("app.prove.test", "staging.prove.test");
        let master = self.master.clone();
        self.file(
            "staging.toml",
            &twin.replace("\"master\"", "\"staging-master\""),
        )
        .file("staging-master", &master)
        .argument("--beside")
        .argument("staging.toml")
    }

    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.text.push_str(tables);
        self
    }

    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        self.text = self.text.replace(from, to);
        self
    }

    pub(crate) fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn argument(mut self, text: &str) -> Self {
        self.arguments.push(text.to_owned());
        self
    }

    /// With everything in its folder under the eyes of git.
    pub(crate) fn in_git(mut self) -> Self {
        self.in_git = true;
        self
    }

    fn written(&self) -> anyhow::Result<Folder> {
        let folder = Folder::new()?;
        folder.write("portcullis.toml", &self.text)?;
        folder.write("master", &self.master)?;
        for (name, content) in &self.files {
            folder.write(name, content)?;
        }
        Ok(folder)
    }

    async fn check(&self) -> anyhow::Result<Said> {
        let folder = self.written()?;
        if self.in_git {
            for arguments in [&["init", "--quiet"][..], &["add", "--force", "."]] {
                let git = tokio::process::Command::new("git")
                    .args(arguments)
                    .current_dir(folder.path())
                    .output()
                    .await
                    .context("there is no `git` here to try it with")?;
                if !git.status.success() {
                    bail!("git: {}", String::from_utf8_lossy(&git.stderr));
                }
            }
        }
        let mut command = program(&folder.path().join("portcullis.toml"))?;
        command
            .args(["check", "--format", "json"])
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder.path());
        let output = command.output().await.context("`check` did not run")?;
        let report = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            report,
        })
    }

    /// That `serve` itself ends before it listens anywhere, and names the key.
    pub(crate) async fn is_not_served_for(&self, key: &str) -> Result<(), Short> {
        let folder = self.written()?;
        let mut command = program(&folder.path().join("portcullis.toml"))?;
        command.arg("serve").current_dir(folder.path());
        let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await;
        let output = output.map_err(|_| {
            Short::failed(
                format!("`serve` runs on with a configuration that it has to refuse for `{key}`"),
                "this program does not refuse what it has to: take another build",
            )
        })?;
        let output = output?;
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        must(
            output.status.code() == Some(1) && said.contains(key) && !said.contains("listening"),
            || {
                format!(
                    "`serve` ends with {:?}, and does not name `{key}`",
                    output.status.code()
                )
            },
            "this program does not refuse what it has to: take another build",
        )
    }

    /// That the gate would not start, for this key. The message.
    pub(crate) async fn is_refused_for(&self, key: &str) -> Result<String, Short> {
        let said = self.check().await?;
        let named = said.names("error", key);
        must(
            said.code == 1 && named.is_some(),
            || {
                let others: Vec<&str> = said.findings("error").map(|(key, _)| key).collect();
                format!(
                    "`check` ends with {} and errors for [{}], none for `{key}`",
                    said.code,
                    others.join(", ")
                )
            },
            "this program does not refuse what it has to: take another build",
        )?;
        Ok(named.unwrap_or_default())
    }

    /// That the check speaks of this key, at least as a warning.
    pub(crate) async fn is_told_of(&self, key: &str) -> Result<String, Short> {
        let said = self.check().await?;
        let named = ["error", "warning", "note"]
            .iter()
            .find_map(|severity| said.names(severity, key));
        named.ok_or_else(|| {
            Short::failed(
                format!("`check` says nothing of `{key}`"),
                "this program does not report what it has to: take another build",
            )
        })
    }

    /// That nothing is wrong: without it a refusal would prove nothing.
    pub(crate) async fn is_taken(&self) -> Result<(), Short> {
        let said = self.check().await?;
        must(
            said.code == 0,
            || {
                let errors: Vec<String> = said
                    .findings("error")
                    .map(|(key, message)| format!("{key}: {message}"))
                    .collect();
                format!("a sound configuration is refused: {}", errors.join("; "))
            },
            "this program refuses everything: take another build",
        )
    }
}
