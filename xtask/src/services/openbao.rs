//! An OpenBao server in development mode: it keeps everything in memory, and is unsealed from the start.

use std::path::Path;

use anyhow::Result;

use super::Listening;
use crate::process::tethered;

/// The token that may do everything, on this server alone.
pub(crate) const TOKEN: &str = "root-token-of-the-test-set-up";

/// Starts the server that is installed beside `python`.
pub(crate) fn start(python: &Path, folder: &Path) -> Result<Listening> {
    let bao = python.with_file_name("bao");
    super::start("openbao", folder, |port| {
        let mut command = tethered(&bao, None)?;
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .env("HOME", folder)
            .current_dir(folder);
        Ok(command)
    })
}
