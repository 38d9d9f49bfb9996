//! A pass of the suite that stands still is ended, and whatever did not end is named: a test that waits for ever
//! would otherwise take all the time that there is, and tell nobody which one it was.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::Process;
use crate::{interrupt, say};

/// How often an end or an interruption is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// The tests that libtest has called slow and whose end it has not told.
#[derive(Debug, Default)]
struct Slow(BTreeSet<String>);

impl Slow {
    fn hear(&mut self, line: &str) {
        let Some((name, what)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        if what.starts_with("has been running for over") {
            self.0.insert(name.to_owned());
        } else if what.starts_with("... ") {
            self.0.remove(name);
        }
    }

    fn names(&self) -> String {
        if self.0.is_empty() {
            return "no test was told to be slow".to_owned();
        }
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        format!("still running: {}", names.join(", "))
    }
}

/// Runs `cargo test` to its end with our own output. Ends it, with an error that names the tests that were still
/// running, where it prints nothing for `silence`.
pub(crate) fn run(command: &mut Command, silence: Duration) -> Result<ExitStatus> {
    let mut process = Process::spawn("cargo test", command.stdout(Stdio::piped()), None)?;
    let lines = lines(process.output());
    let mut slow = Slow::default();
    let mut heard = Instant::now();
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                heard = Instant::now();
                slow.hear(&line);
                say::line(line);
            }
            Err(RecvTimeoutError::Disconnected) => return process.finish(),
            // What a test left behind may hold the pipe open.
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = process.ended()? {
                    return Ok(status);
                }
                if heard.elapsed() > silence {
                    bail!(
                        "nothing was printed for {}; {}",
                        say::seconds(silence),
                        slow.names()
                    );
                }
            }
        }
        interrupt::check()?;
    }
}

fn lines(output: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(output) = output {
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
                if sender.send(text.into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::process::command;

    fn shell(script: &str) -> Command {
        command(Path::new("/bin/sh"), ["-c", script])
    }

    #[test]
    fn what_stands_still_is_ended_and_the_test_that_did_not_end_is_named() {
        let script = "echo 'test a::waits has been running for over 60 seconds'
            echo 'test a::slow has been running for over 60 seconds'
            echo 'test a::slow ... ok'
            sleep 600";
        let error = run(&mut shell(script), Duration::from_millis(200)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing was printed for 0.2 s; still running: a::waits"
        );
    }

    #[test]
    fn what_ends_has_its_own_status_also_where_something_holds_its_output() {
        let status = run(&mut shell("echo done; exit 3"), Duration::from_mins(1)).unwrap();
        assert_eq!(status.code(), Some(3));
        let status = run(&mut shell("sleep 600 & exit 4"), Duration::from_mins(1)).unwrap();
        assert_eq!(status.code(), Some(4));
    }
}
