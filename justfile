# The menu: `just` lists it. What is longer than a line lives in xtask.

_list:
    @just --list --unsorted

# Try it: a gate, a small application behind it, and three things to do.
demo *arguments:
    cargo run -- demo {{ arguments }}

# Everything that CI checks.
ci:
    .ci/run

# Formatting, lints and house rules, in a minute.
check: fmt lint tidy

# Write all code in the one format.
fmt:
    cargo fmt --all

# Clippy, with warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# Crate arrows, file sizes, migrations in pairs, documented problems.
tidy:
    cargo xtask tidy

# The whole suite on the real services, or the tests whose name contains the filter.
test *filter:
    cargo xtask test --install -- {{ filter }}

# The integration tests on SQLite and memory.
test-local *filter:
    cargo xtask test --install --only local -- --test it {{ filter }}

# The integration tests on PostgreSQL and Redis.
test-shared *filter:
    cargo xtask test --install --only shared -- {{ filter }}

# The gate beside nginx, Caddy and a FastAPI middleware, in one run.
bench *arguments:
    cargo xtask bench --install {{ arguments }}

# Advisories, licences, banned crates and sources of every dependency (needs cargo-deny).
deny:
    cargo deny check
