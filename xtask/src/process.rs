//! Child processes that never outlive their owner.
//!
//! Each gets a process group of its own: Ctrl-C reaches only this program, which then stops its children in order.
//! Should this program be killed without a chance to do so, the kernel stops them (`setpriv --pdeathsig`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::{interrupt, tools};

/// How long a child may take to stop by itself before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How many lines of a log are shown when its process failed.
const LOG_LINES: usize = 20;

/// The user that a child runs as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A command that the kernel ends when this program dies, run as `user` where one is given.
pub(crate) fn tethered(program: &Path, user: Option<User>) -> Result<Command> {
    let Some(setpriv) = tools::search_path("setpriv") else {
        match user {
            None => return Ok(Command::new(program)),
            Some(_) => bail!(
                "`setpriv` (Debian package util-linux) is needed to run {} as another user",
                program.display()
            ),
        }
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "INT"]);
    if let Some(User { uid, gid }) = user {
        command.args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// A running child with a name for people and, for services, a log file.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts a service: nothing to read, its output in `log`.
    pub(crate) fn service(name: &str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log file")?;
        command.stdout(output).stderr(errors);
        Self::spawn(name, command, Some(log))
    }

    pub(crate) fn spawn(name: &str, command: &mut Command, log: Option<PathBuf>) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("cannot start {name} ({})", command.get_program().display())
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it prints, where its standard output is a pipe.
    pub(crate) fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, where it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `ready` says yes. Fails early, with the end of the log, when the process ends before that.
    pub(crate) fn wait_until_ready(
        &mut self,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            interrupt::check()?;
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended at start ({status})\n{}",
                    self.name,
                    self.log_end()
                );
            }
            if start.elapsed() > within {
                bail!(
                    "{} was not ready within {} s\n{}",
                    self.name,
                    within.as_secs(),
                    self.log_end()
                );
            }
            pause(Duration::from_millis(1));
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let text = self
            .log
            .as_ref()
            .and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        let lines: Vec<String> = text.lines().map(|line| format!("   | {line}")).collect();
        let skipped = lines.len().saturating_sub(LOG_LINES);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits for the end, or stops the process when somebody asked this program to stop.
    pub(crate) fn finish(mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            interrupt::check()?;
            pause(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        // A process that is gone already is what we want.
        let _gone = rustix::process::kill_process_group(Pid::from_child(&self.child), signal);
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            pause(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // PostgreSQL reads SIGTERM as "when all clients have left": SIGINT means now to all of our services.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::INT);
            self.ended_within(STOP_WITHIN);
        }
        // Whatever the group still holds (a worker, a test that a dead cargo left behind) goes too.
        self.signal(Signal::KILL);
        let _status = self.child.wait();
    }
}

/// Runs a command to its end with our own output, stopping it when we are interrupted.
fn run(name: &str, command: &mut Command) -> Result<ExitStatus> {
    Process::spawn(name, command, None)?.finish()
}

/// Runs a command that has to succeed.
pub(crate) fn must(name: &str, command: &mut Command) -> Result<()> {
    let status = run(name, command)?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a quick command that has to succeed without showing its output, which is only told on failure.
pub(crate) fn quietly(name: &str, command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{name} failed ({})\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// A program with some arguments.
pub(crate) fn command<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "polling another program, which tells nobody when it is ready"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_ends_at_start_is_told_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = command(Path::new("/bin/sh"), ["-c", "echo no such port; exit 3"]);
        let mut process =
            Process::service("broken", &mut shell, folder.path().join("log")).unwrap();
        let error = process
            .wait_until_ready(Duration::from_secs(10), || false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("broken ended at start (exit status: 3)"),
            "{error}"
        );
        assert!(error.contains("| no such port"), "{error}");
    }

    #[test]
    fn dropping_a_process_ends_its_children_too() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!(
            "trap '' INT; sleep 600 & echo $! > {}; wait",
            pid_file.display()
        );
        let mut process = Process::service(
            "parent",
            &mut command(Path::new("/bin/sh"), ["-c", &script]),
            folder.path().join("log"),
        )
        .unwrap();
        let child = || {
            fs::read_to_string(&pid_file)
                .ok()
                .filter(|text| text.ends_with('\n'))
        };
        process
            .wait_until_ready(Duration::from_secs(10), || child().is_some())
            .unwrap();
        let state = PathBuf::from(format!("/proc/{}/stat", child().unwrap().trim()));
        process.signal(Signal::KILL);
        drop(process);
        // An orphan that nobody has reaped yet is a zombie: dead all the same.
        let start = Instant::now();
        while fs::read_to_string(&state).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the child outlived its parent"
            );
            pause(Duration::from_millis(1));
        }
    }
}
