//! A Redis server of our own that keeps nothing.

use std::path::Path;

use anyhow::Result;

use super::{Listening, start};
use crate::process::tethered;

/// A running server; stopped when dropped.
pub(crate) struct Redis(pub(crate) Listening);

impl Redis {
    /// Starts `server` with its folder under `folder`.
    pub(crate) fn start(server: &Path, folder: &Path) -> Result<Self> {
        start("redis", folder, |port| {
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
        })
        .map(Self)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.0.address())
    }
}
