//! Programs of the one registry at pinned versions. Each is compiled once per machine and version, into a folder of its
//! own: what is installed there already is not touched.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{command, must};
use crate::say;

/// One program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compiled {
    /// Of the package, and of the program.
    name: &'static str,
    version: &'static str,
}

/// Licences, sources and bans of dependencies; with the network, advisories as well.
pub(crate) const DENY: Compiled = Compiled {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Bills of materials.
pub(crate) const CYCLONEDX: Compiled = Compiled {
    name: "cargo-cyclonedx",
    version: "0.5.9",
};

impl Compiled {
    /// The program; with `install` it is compiled first where it is missing, which takes a minute or two.
    pub(crate) fn find(self, install: bool, remedy: &str) -> Result<PathBuf> {
        let Self { name, version } = self;
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
            .context("neither CARGO_HOME nor HOME is set")?;
        let root = home.join("portcullis").join(format!("{name}-{version}"));
        let program = root.join("bin").join(name);
        if program.is_file() {
            return Ok(program);
        }
        if !install {
            bail!("not installed: {name} {version}; `{remedy}` compiles it");
        }
        say::title(format!(
            "compiling {name} {version} into {}",
            root.display()
        ));
        let target = tempfile::tempdir().context("no folder to compile in")?;
        let cargo = PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let arguments = ["install", name, "--version", version, "--locked", "--quiet"];
        must(
            "cargo install",
            command(&cargo, arguments)
                .arg("--root")
                .arg(&root)
                // Outside of this workspace, whose settings are not theirs.
                .current_dir(target.path())
                .env("CARGO_TARGET_DIR", target.path())
                // They run for seconds: what optimising them costs would never come back.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        )?;
        Ok(program)
    }
}
