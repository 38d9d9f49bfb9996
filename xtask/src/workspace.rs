//! Where things are in this repository.

use std::path::{Path, PathBuf};

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Programs and pin files that accompany this crate: `xtask/services`.
pub(crate) fn service_files() -> PathBuf {
    root().join("xtask/services")
}

/// Where packages of other languages are installed: `target/services`, which nobody commits.
pub(crate) fn installed() -> PathBuf {
    root().join("target/services")
}
