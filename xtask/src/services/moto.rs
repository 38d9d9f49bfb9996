//! AWS as far as tests need it (KMS, Secrets Manager), played by moto.

use std::path::Path;

use anyhow::Result;

use super::start;
use crate::process::{Process, tethered};

/// A running server; stopped when dropped.
pub(crate) struct Moto {
    _process: Process,
    pub(crate) port: u16,
}

impl Moto {
    /// Starts the server that is installed beside `python`.
    pub(crate) fn start(python: &Path, folder: &Path) -> Result<Self> {
        let server = python.with_file_name("moto_server");
        let (process, port) = start("moto", folder, |port| {
            let mut command = tethered(&server, None)?;
            command
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .current_dir(folder);
            Ok(command)
        })?;
        Ok(Self {
            _process: process,
            port,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
