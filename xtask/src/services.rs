//! Private instances of the real services, on free loopback ports, with their files in one temporary folder.

pub(crate) mod clamd;
pub(crate) mod moto;
pub(crate) mod openbao;
pub(crate) mod postgres;
pub(crate) mod redis;

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::Process;
use crate::{interrupt, say};

/// How long a service may take until it accepts connections.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How many ports to try: another program may take a free port before the service does.
const ATTEMPTS: u32 = 3;

/// A folder for the files of services, gone with the value. Services that run as another user may pass through it.
pub(crate) fn folder() -> Result<TempDir> {
    // Not TMPDIR: where that is private to us, an unprivileged server could not reach its own files.
    let folder = tempfile::Builder::new()
        .prefix("portcullis-")
        .tempdir_in("/tmp")
        .context("cannot use /tmp")?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711))?;
    Ok(folder)
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// A running service; stopped when dropped.
pub(crate) struct Listening {
    pub(crate) process: Process,
    /// Of 127.0.0.1.
    pub(crate) port: u16,
}

impl Listening {
    /// Host and port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The address of one that speaks HTTP.
    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address())
    }
}

/// Starts a service on a free port and waits until it accepts connections there.
pub(crate) fn start(
    name: &str,
    folder: &Path,
    mut command: impl FnMut(u16) -> Result<Command>,
) -> Result<Listening> {
    let mut attempt = 1;
    loop {
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = Process::service(
            name,
            &mut command(port)?,
            folder.join(format!("{name}.log")),
        )?;
        match process.wait_until_ready(READY_WITHIN, || TcpStream::connect(address).is_ok()) {
            Ok(()) => return Ok(Listening { process, port }),
            Err(error) => {
                interrupt::check()?;
                if attempt == ATTEMPTS {
                    bail!(error);
                }
                attempt += 1;
                say::fact(name, "did not start, trying another port");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_never_listens_is_given_up_with_its_log() {
        let folder = folder().unwrap();
        let started = start("mute", folder.path(), |port| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", &format!("echo cannot bind {port}; exit 1")]);
            Ok(command)
        });
        let error = started.err().unwrap().to_string();
        assert!(
            error.contains("mute ended at start") && error.contains("| cannot bind"),
            "{error}"
        );
    }
}
