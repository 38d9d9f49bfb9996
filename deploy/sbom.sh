#!/bin/sh
# Writes portcullis.cdx.json: what the program with all its features is made of, from Cargo.lock, as CycloneDX.
# Needs cargo-cyclonedx: cargo install cargo-cyclonedx --version 0.5.9 --locked
# Usage, in the root of the sources: sh deploy/sbom.sh [FILE]
set -eu
file=${1:-portcullis.cdx.json}
# One file per package, beside its Cargo.toml; this one is wanted. Without build tools: they are no part of the program.
cargo cyclonedx --format json --spec-version 1.5 --manifest-path crates/portcullis/Cargo.toml \
    --all-features --no-build-deps --target x86_64-unknown-linux-gnu --override-filename sbom.cdx
# Where it was built is nobody's business, and would differ from build to build.
sed "s|file://$(pwd)|file:///portcullis|g" crates/portcullis/sbom.cdx.json >"$file"
rm -f crates/*/sbom.cdx.json xtask/sbom.cdx.json
