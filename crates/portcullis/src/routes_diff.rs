//! `portcullis routes diff`: what changed between two OpenAPI documents of one product.

use std::fs;
use std::path::Path;

use portcullis_access::openapi::diff::Diff;
use portcullis_access::openapi::{Api, BasePath, read};

use crate::cli::Usage;

/// The changes from `old` to `new`. [`Diff::opens_something`] is a finding: exit code 1.
pub(crate) fn run(old: &Path, new: &Path) -> anyhow::Result<Diff> {
    Ok(Diff::between(&api(old)?, &api(new)?))
}

fn api(path: &Path) -> anyhow::Result<Api> {
    let text = fs::read_to_string(path)
        .map_err(|error| Usage::error(format!("`{}` cannot be read: {error}", path.display())))?;
    read(&text, &BasePath::Servers)
        .map_err(|error| Usage::error(format!("`{}`: {error}", path.display())))
}
