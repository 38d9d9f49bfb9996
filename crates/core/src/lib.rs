//! The shared words and the one pure decision; no I/O.
