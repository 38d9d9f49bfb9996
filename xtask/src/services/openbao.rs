//! An OpenBao server in development mode: it keeps everything in memory, and is unsealed from the start.

use std::path::Path;

use anyhow::Result;

use super::start;
use crate::process::{Process, tethered};

/// The token that may do everything, on this server alone.
pub(crate) const TOKEN: &str = "root-token-of-the-test-set-up";

/// A running server; stopped when dropped.
pub(crate) struct OpenBao {
    _process: Process,
    pub(crate) port: u16,
}

impl OpenBao {
    /// Starts the server that is installed beside `python`.
    pub(crate) fn start(python: &Path, folder: &Path) -> Result<Self> {
        let bao = python.with_file_name("bao");
        let (process, port) = start("openbao", folder, |port| {
            let mut command = tethered(&bao, None)?;
            command
                .args(["server", "-dev", "-dev-no-store-token"])
                .arg(format!("-dev-root-token-id={TOKEN}"))
                .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
                .env("HOME", folder)
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
