//! `strace` on a running gate: makes system calls fail, and writes down what it does to its files.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        assert!(self.end(), "strace had to be killed: its trace has no end");
    }

    /// Whether it went by itself. Asked to let go of a gate that is just dying, strace may wait for ever: for the
    /// first thread, which the kernel keeps until strace has taken notice of the others.
    fn end(&mut self) -> bool {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id(), "INT");
        }
        for _ in 0..500 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        false
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.end();
    }
}
