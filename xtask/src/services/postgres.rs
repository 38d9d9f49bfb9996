//! A PostgreSQL server of our own: a fresh cluster that trusts every connection from this machine.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Listening, start};
use crate::process::{User, quietly, tethered};

/// Fast and forgetful: no test of ours pulls the plug on this server.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

/// A running server; stopped when dropped.
pub(crate) struct Postgres(pub(crate) Listening);

impl Postgres {
    /// Makes a cluster under `folder` and starts `server` on it.
    pub(crate) fn start(server: &Path, folder: &Path) -> Result<Self> {
        let user = unprivileged()?;
        let data = folder.join("postgres");
        fs::create_dir(&data).context("cannot make the folder of the cluster")?;
        if let Some(User { uid, gid }) = user {
            chown(&data, Some(uid), Some(gid)).context("cannot hand the cluster to its user")?;
        }

        let mut initdb = tethered(&server.with_file_name("initdb"), user)?;
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        quietly(
            "initdb",
            initdb.arg("--pgdata").arg(&data).current_dir(folder),
        )?;

        start("postgres", folder, |port| {
            let mut command = tethered(server, user)?;
            command
                .arg("-D")
                .arg(&data)
                .args(["-p", &port.to_string()])
                .current_dir(folder);
            command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
            Ok(command)
        })
        .map(Self)
    }

    /// The URL of the superuser, in the database that always exists.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.0.address())
    }
}

/// PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody` where there is no such user.
fn unprivileged() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let user = user_of(&passwd, "postgres").or_else(|| user_of(&passwd, "nobody"));
    user.map(Some)
        .context("neither `postgres` nor `nobody` is a user of this machine")
}

fn user_of(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { uid, gid })
    })
}

/// The folder of the client and server programs, for tests that start a server of their own.
pub(crate) fn programs(server: &Path) -> &Path {
    server.parent().unwrap_or(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let user = user_of(PASSWD, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(user_of(PASSWD, "post").is_none());
    }
}
