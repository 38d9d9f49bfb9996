//! The wire, both ways: listeners, TLS, HTTP hygiene, client address, forwarding to upstreams.
