//! AWS as far as tests need it (KMS, Secrets Manager), played by moto.

use std::path::Path;

use anyhow::Result;

use super::Listening;
use crate::process::tethered;

/// Starts the server that is installed beside `python`.
pub(crate) fn start(python: &Path, folder: &Path) -> Result<Listening> {
    let server = python.with_file_name("moto_server");
    super::start("moto", folder, |port| {
        let mut command = tethered(&server, None)?;
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(folder);
        Ok(command)
    })
}
