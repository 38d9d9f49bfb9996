//! Installing Debian packages, after saying so. The work as root is one short script: `xtask/services/install.sh`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::tools::{Tool, search_path};
use crate::{process, say, workspace};

/// Installs the packages of `missing`, as root or through sudo, and leaves none of their services running.
pub(crate) fn packages(missing: &[Tool]) -> Result<()> {
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages())
        .copied()
        .collect();
    let Some(_) = search_path("apt-get") else {
        bail!(
            "there is no apt-get here; please install by hand: {}",
            packages.join(" ")
        );
    };
    let script = workspace::service_files().join("install.sh");

    say::title(format!(
        "installing from Debian's packages: {}",
        packages.join(" ")
    ));
    say::line(
        "   apt-get update, then apt-get install; none of their services is started, now or at boot",
    );
    process::must("apt-get", as_root(&script)?.args(&packages))
}

fn as_root(script: &Path) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(process::command(Path::new("/bin/sh"), [script]));
    }
    let Some(sudo) = search_path("sudo") else {
        bail!(
            "installing needs root, and there is no sudo: run `sh {} PACKAGE...` as root",
            script.display()
        );
    };
    say::line(format!("   as root: sudo sh {}", script.display()));
    let mut command = process::command(&sudo, ["sh"]);
    command.arg(script);
    Ok(command)
}
