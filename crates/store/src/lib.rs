//! The only crate that knows a database or Redis driver: queries, migrations, shared counters, the revocation feed.
