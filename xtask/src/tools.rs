//! The programs of others that the suite and the benchmark run: where each is found, and the packages that bring it.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{install, say};

/// One program, or one folder of programs, that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Postgres,
    Redis,
    Nginx,
    Caddy,
    Haproxy,
    Node,
    Npm,
    Python,
    Strace,
    Chromium,
    Clamd,
    Compose,
    Promtool,
    Systemd,
    Wrk,
}

/// What `cargo xtask test` needs.
pub(crate) const SUITE: &[Tool] = &[
    Tool::Postgres,
    Tool::Redis,
    Tool::Nginx,
    Tool::Caddy,
    Tool::Haproxy,
    Tool::Node,
    Tool::Npm,
    Tool::Python,
    Tool::Strace,
    Tool::Chromium,
    Tool::Clamd,
    Tool::Compose,
    Tool::Promtool,
    Tool::Systemd,
];

/// What `cargo xtask bench` needs.
pub(crate) const BENCH: &[Tool] = &[Tool::Nginx, Tool::Caddy, Tool::Python, Tool::Wrk];

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Redis => "redis",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::Node => "node",
            Self::Npm => "npm",
            Self::Python => "python",
            Self::Strace => "strace",
            Self::Chromium => "chromium",
            Self::Clamd => "clamd",
            Self::Compose => "docker-compose",
            Self::Promtool => "promtool",
            Self::Systemd => "systemd-analyze",
            Self::Wrk => "wrk",
        }
    }

    /// The Debian packages that bring it.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgresql"],
            Self::Redis => &["redis-server"],
            Self::Nginx => &["nginx"],
            Self::Caddy => &["caddy"],
            Self::Haproxy => &["haproxy"],
            Self::Node => &["nodejs"],
            Self::Npm => &["npm"],
            Self::Python => &["python3", "python3-venv"],
            Self::Strace => &["strace"],
            Self::Chromium => &["chromium", "fonts-liberation"],
            // Without freshclam's database: the suite brings three signatures of its own.
            Self::Clamd => &["clamav-daemon"],
            Self::Compose => &["docker-compose"],
            // Only for its promtool: the server itself is not started.
            Self::Promtool => &["prometheus"],
            Self::Systemd => &["systemd"],
            Self::Wrk => &["wrk"],
        }
    }

    /// Where the program may be, best first.
    fn candidates(self) -> Vec<PathBuf> {
        match self {
            // What PATH calls `postgres` may be a wrapper: the server's own folder also holds the matching initdb.
            Self::Postgres => postgres_servers(Path::new("/usr/lib/postgresql")),
            Self::Redis => search_all(&["redis-server", "valkey-server"]),
            Self::Nginx => search_all(&["nginx"]),
            Self::Caddy => search_all(&["caddy"]),
            Self::Haproxy => search_all(&["haproxy"]),
            Self::Node => search_all(&["node", "nodejs"]),
            Self::Npm => search_all(&["npm"]),
            // Debian's own first: a version manager's shim depends on the folder that it is called from.
            Self::Python => [PathBuf::from("/usr/bin/python3")]
                .into_iter()
                .chain(search_all(&["python3"]))
                .collect(),
            Self::Strace => search_all(&["strace"]),
            Self::Chromium => search_all(&["chromium", "chromium-browser", "google-chrome"]),
            Self::Clamd => search_all(&["clamd"]),
            Self::Compose => search_all(&["docker-compose"]),
            Self::Promtool => search_all(&["promtool"]),
            Self::Systemd => search_all(&["systemd-analyze"]),
            Self::Wrk => search_all(&["wrk"]),
        }
    }

    /// Arguments that make the real program, and no namesake, print the given words.
    fn identity(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Postgres => (&["--version"], "postgres (PostgreSQL)"),
            Self::Redis => (&["--version"], " server v="),
            Self::Nginx => (&["-V"], "--with-http_auth_request_module"),
            Self::Caddy => (&["version"], "2."),
            Self::Haproxy => (&["-vv"], "USE_LUA=1"),
            Self::Node => (&["--print", "'node ' + process.version"], "node v"),
            Self::Npm => (&["--version"], "."),
            Self::Python => (
                &["-c", "import ensurepip, venv; print('can make', 'folders')"],
                "can make folders",
            ),
            Self::Strace => (&["-V"], "strace -- version"),
            Self::Chromium => (&["--version"], "Chrom"),
            Self::Clamd => (&["--version"], "ClamAV "),
            Self::Compose => (&["version"], "docker-compose version 1."),
            Self::Promtool => (&["--version"], "promtool, version "),
            Self::Systemd => (&["--version"], "systemd 2"),
            Self::Wrk => (&["-v"], "wrk "),
        }
    }

    /// The first candidate that is what it says it is.
    fn find(self) -> Option<PathBuf> {
        let (arguments, words) = self.identity();
        self.candidates()
            .into_iter()
            .filter(|path| path.is_file())
            .find(|path| {
                // `wrk -v` and `nginx -V` answer on standard error, the former with a failure.
                Command::new(path)
                    .args(arguments)
                    .output()
                    .is_ok_and(|output| {
                        String::from_utf8_lossy(&output.stdout).contains(words)
                            || String::from_utf8_lossy(&output.stderr).contains(words)
                    })
            })
    }
}

/// The tools of one command, each found.
#[derive(Debug)]
pub(crate) struct Toolbox(BTreeMap<Tool, PathBuf>);

impl Toolbox {
    /// Finds all of `needed`. With `install`, what is missing is installed first; without, it is an error that
    /// names everything missing and `remedy`, the command that would install it.
    pub(crate) fn gather(needed: &[Tool], install: bool, remedy: &str) -> Result<Self> {
        let missing = |found: &BTreeMap<Tool, PathBuf>| -> Vec<Tool> {
            needed
                .iter()
                .copied()
                .filter(|tool| !found.contains_key(tool))
                .collect()
        };
        let look = || {
            needed
                .iter()
                .filter_map(|tool| Some((*tool, tool.find()?)))
                .collect::<BTreeMap<_, _>>()
        };

        let mut found = look();
        if install && !missing(&found).is_empty() {
            install::packages(&missing(&found))?;
            found = look();
        }
        let missing = missing(&found);
        if !missing.is_empty() {
            for tool in &missing {
                say::line(format!(
                    "missing: {} (Debian: {})",
                    tool.name(),
                    tool.packages().join(" ")
                ));
            }
            let names: Vec<&str> = missing.iter().map(|tool| tool.name()).collect();
            bail!(
                "not installed: {}; `{remedy}` installs what is missing",
                names.join(", ")
            );
        }
        Ok(Self(found))
    }

    pub(crate) fn path(&self, tool: Tool) -> Result<&Path> {
        self.0
            .get(&tool)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} was not asked for", tool.name()))
    }
}

/// A program by name, on PATH or where system programs live, which an ordinary user's PATH leaves out.
pub(crate) fn search_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn search_all(names: &[&str]) -> Vec<PathBuf> {
    names.iter().filter_map(|name| search_path(name)).collect()
}

/// `<root>/<major>/bin/postgres`, newest first.
fn postgres_servers(root: &Path) -> Vec<PathBuf> {
    let mut majors: Vec<u32> = std::fs::read_dir(root)
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors
        .iter()
        .map(|major| root.join(major.to_string()).join("bin/postgres"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_postgres_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["9", "15", "16", "notes"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        let majors: Vec<PathBuf> = ["16", "15", "9"]
            .map(|major| root.path().join(major).join("bin/postgres"))
            .into();
        assert_eq!(postgres_servers(root.path()), majors);
    }

    #[test]
    fn a_missing_tool_is_named_with_the_way_to_get_it() {
        let error = Toolbox(BTreeMap::new()).path(Tool::Wrk).unwrap_err();
        assert_eq!(error.to_string(), "wrk was not asked for");
        assert_eq!(Tool::Postgres.packages(), ["postgresql"]);
    }
}
