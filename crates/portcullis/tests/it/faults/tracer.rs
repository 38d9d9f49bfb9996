//! `strace` on a running gate: makes system calls fail, and writes down what it does to its files.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{Gateway, required, signal};

/// A tracer that has hold of every thread of a gate. Lets go when it is dropped.
pub(super) struct Tracer(Child);

impl Tracer {
    /// Attaches with these arguments, and returns when it has hold of the gate.
    pub(super) fn attach(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut child = Command::new(required("PORTCULLIS_TEST_STRACE"))
            .args(["-f", "-p", &gateway.pid().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = said.next().and_then(Result::ok).unwrap_or_default();
        assert!(first.contains("attached"), "strace says: {first}");
        // It must not stand still for want of a reader.
        std::thread::spawn(move || said.for_each(drop));
        Tracer(child)
    }

    /// These system calls fail with this error, from now on.
    pub(super) fn failing(gateway: &Gateway, calls: &str, error: &str) -> Self {
        let trace = format!("trace={calls}");
        let inject = format!("inject={calls}:error={error}");
        Tracer::attach(gateway, &["-o", "/dev/null", "-e", &trace, "-e", &inject])
    }

    /// Lets go, and returns when everything is written down.
    pub(super) fn detach(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id(), "INT");
            let _ = self.0.wait();
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.end();
    }
}
