//! A Redis server of our own that keeps nothing.

use std::path::Path;

use anyhow::Result;

use super::start;
use crate::process::{Process, tethered};

/// A running server; stopped when dropped.
pub(crate) struct Redis {
    _process: Process,
    pub(crate) port: u16,
}

impl Redis {
    /// Starts `server` with its folder under `folder`.
    pub(crate) fn start(server: &Path, folder: &Path) -> Result<Self> {
        let (process, port) = start("redis", folder, |port| {
            let mut command = tethered(server, None)?;
            command.args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ]);
            command.arg("--dir").arg(folder);
            Ok(command)
        })?;
        Ok(Self {
            _process: process,
            port,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}
