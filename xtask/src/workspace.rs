//! Where things are in this repository.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folder of the root `Cargo.toml`.
///
/// As `cargo run` says it now: what was compiled in is another checkout where `target` was copied.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        own.parent().map_or_else(|| own.clone(), Path::to_owned)
    });
    &ROOT
}

/// Programs and pin files that accompany this crate: `xtask/services`.
pub(crate) fn service_files() -> PathBuf {
    root().join("xtask/services")
}

/// Where packages of other languages are installed: `target/services`, which nobody commits.
pub(crate) fn installed() -> PathBuf {
    root().join("target/services")
}
