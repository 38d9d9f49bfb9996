//! The whole gate over real sockets: one binary, one file per feature.

mod journey;
mod support;
