//! Where the test set-up says that Redis and PostgreSQL are.

/// The variable, or a failed test that says what is missing: a test that was skipped in silence
/// would prove nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "the test set-up hands its servers over in variables"
)]
pub(crate) fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}
