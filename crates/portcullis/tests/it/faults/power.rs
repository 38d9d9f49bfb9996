//! A power cut under SQLite. `kill -9` does not show one: what a process wrote is in the kernel's
//! memory and survives it. So the gate's writes and synchronisations are written down while it
//! acknowledges, and the disk is built again as a cut could have left it:
//!
//! - what was written to a file before its last completed `fsync` is there;
//! - of what was written later any part may be there: each write whole, not at all, or torn at
//!   sectors of 512 bytes, one independently of the other.
//!
//! The real binary opens what is left. Not covered: names of new files (the database is there
//! before; SQLite's log is made and synchronised at start), disks that lie about `fsync`, and
//! PostgreSQL, whose own matter this is.

use std::collections::BTreeMap;
use std::path::Path;

use super::tracer::Tracer;
use super::{Dice, GENEROUS, LOGIN, LOGOUT, ME, in_time, rounds};
use crate::support::{Gateway, PASSWORD, Upstream, signal};

const SECTOR: usize = 512;
const ANA: &str = "ana@corp.test";

/// One thing that the gate did to a file, or said to a client.
#[derive(Debug)]
enum Step {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        to: usize,
    },
    /// Completed. Everything that stands before `began` in the trace is on the disk.
    Synchronised {
        file: String,
        began: usize,
    },
    /// Bytes on their way to a client.
    Said(Vec<u8>),
}

/// Reads what `strace -f -xx -y` wrote. A call that other threads interrupt is in two lines.
fn read(trace: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open_calls: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    for line in trace.lines() {
        let Some((pid, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        let (call, since) = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            // Bytes may be on their way from here on.
            if is_said(start) {
                steps.extend(step(start, steps.len()));
            }
            open_calls.insert(pid, (start.to_owned(), steps.len()));
            continue;
        } else if rest.starts_with("<... ") {
            let Some((start, since)) = open_calls.remove(pid) else {
                continue;
            };
            if is_said(&start) {
                continue;
            }
            let end = rest.split_once(" resumed>").map_or("", |(_, end)| end);
            (format!("{start}{end}"), since)
        } else {
            (rest.to_owned(), steps.len())
        };
        if call.contains(" = -1 ") {
            continue;
        }
        steps.extend(step(&call, since));
    }
    steps
}

fn is_said(call: &str) -> bool {
    ["sendto(", "writev(", "write(", "sendmsg("]
        .iter()
        .any(|name| call.starts_with(name))
}

fn step(call: &str, began: usize) -> Option<Step> {
    let (name, arguments) = call.split_once('(')?;
    if is_said(call) {
        return Some(Step::Said(strings(arguments)));
    }
    let path = arguments.split_once('<')?.1.split_once('>')?.0;
    let path = String::from_utf8(unescape(path)).ok()?;
    let file = Path::new(&path).file_name()?.to_str()?.to_owned();
    if !["portcullis.db", "portcullis.db-wal"].contains(&&*file) {
        return None;
    }
    // `.., 4096, 8192) = 4096`: the numbers behind the bytes.
    let (front, _) = arguments.rsplit_once(')')?;
    let last = || front.rsplit_once(", ")?.1.trim().parse::<usize>().ok();
    match name {
        "pwrite64" => Some(Step::Write {
            file,
            at: last()?,
            bytes: strings(arguments),
        }),
        "ftruncate" => Some(Step::Truncate { file, to: last()? }),
        "fsync" | "fdatasync" => Some(Step::Synchronised { file, began }),
        other => panic!("{other} changes a file, and this test does not know how"),
    }
}

/// Everything between quotation marks, one behind the other.
fn strings(arguments: &str) -> Vec<u8> {
    let quoted = arguments.split('"').skip(1).step_by(2);
    quoted.flat_map(unescape).collect()
}

/// `\x41\x42`, and whatever strace left as it is.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

type Disk = BTreeMap<String, Vec<u8>>;

/// The disk after a cut before step `cut`.
fn after_cut(base: &Disk, steps: &[Step], cut: usize, dice: &mut Dice) -> Disk {
    let mut safe: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &steps[..cut] {
        if let Step::Synchronised { file, began } = step {
            let safe = safe.entry(file).or_default();
            *safe = (*safe).max(*began);
        }
    }
    let mut disk = base.clone();
    // A disk that happens to have taken nothing, everything, or any part of it.
    let luck = dice.below(4);
    for (position, step) in steps[..cut].iter().enumerate() {
        let is_safe = |file: &str| position < safe.get(file).copied().unwrap_or(0);
        match step {
            Step::Write { file, at, bytes } => {
                let content = disk.entry(file.clone()).or_default();
                if is_safe(file) || luck == 1 {
                    put(content, *at, bytes);
                } else if luck > 1 {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if dice.chance(2) {
                            put(content, at + number * SECTOR, sector);
                        }
                    }
                }
            }
            Step::Truncate { file, to } => {
                if is_safe(file) || luck == 1 || (luck > 1 && dice.chance(2)) {
                    disk.entry(file.clone()).or_default().resize(*to, 0);
                }
            }
            Step::Synchronised { .. } | Step::Said(_) => {}
        }
    }
    disk
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

/// The step at which a client could first have known this.
fn said(steps: &[Step], text: &str, from: usize) -> usize {
    let found = steps.iter().enumerate().skip(from).find(|(_, step)| {
        matches!(step, Step::Said(bytes) if bytes.windows(text.len()).any(|part| part == text.as_bytes()))
    });
    found.unwrap_or_else(|| panic!("`{text}` was never said")).0
}

fn files(folder: &Path) -> Disk {
    ["portcullis.db", "portcullis.db-wal"]
        .into_iter()
        .map(|name| (name.to_owned(), std::fs::read(folder.join(name)).unwrap()))
        .collect()
}

/// The model itself: with every write taken, the disk is the one that is there.
fn assert_complete(base: &Disk, steps: &[Step], folder: &Path) {
    let writes = steps
        .iter()
        .filter(|step| matches!(step, Step::Write { .. }));
    assert!(writes.count() >= 12, "the trace is not of the acts");
    let mut disk = base.clone();
    for step in steps {
        match step {
            Step::Write { file, at, bytes } => put(disk.get_mut(file).unwrap(), *at, bytes),
            Step::Truncate { file, to } => disk.get_mut(file).unwrap().resize(*to, 0),
            Step::Synchronised { .. } | Step::Said(_) => {}
        }
    }
    assert!(disk == files(folder), "the trace misses a write");
}

/// A tracer that writes down what reaches files and clients, and the disk as it was at its start.
fn record(gateway: &Gateway, trace: &Path) -> (Tracer, Disk) {
    const CALLS: &str =
        "trace=pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,sendto,writev,sendmsg";
    // The picture and the beginning of the trace belong to one moment.
    signal(gateway.pid(), "STOP");
    let trace = trace.to_str().unwrap();
    let arguments = ["-xx", "-y", "-s", "1000000", "-e", CALLS, "-o", trace];
    let tracer = Tracer::attach(gateway, &arguments);
    let base = files(&gateway.folder);
    signal(gateway.pid(), "CONT");
    (tracer, base)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_acts_survive_a_power_cut() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream)
        .await
        .on_sqlite()
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"]);
    let gateway = builder.start().await;
    // Warm, so that what follows is nothing but the acts.
    gateway.signed_in(ANA).await;

    let trace = gateway.folder.join("trace");
    let (tracer, base) = record(&gateway, &trace);

    let mut sessions = Vec::new();
    for number in 0..6 {
        let browser = gateway.browser();
        let body = serde_json::json!({ "email": ANA, "password": PASSWORD });
        let answer = in_time("a sign-in", browser.post(LOGIN).json(&body).send()).await;
        assert_eq!(answer.status, 200);
        let token = browser.cookie("session").unwrap();
        let mut ended = None;
        if number % 2 == 1 {
            let answer = in_time("a sign-out", browser.post(LOGOUT).send()).await;
            assert_eq!(answer.status, 204);
            ended = answer.header("x-request-id").map(str::to_owned);
            assert!(ended.is_some());
        }
        sessions.push((token, ended));
    }
    tracer.detach();
    let steps = read(&std::fs::read_to_string(&trace).unwrap());
    assert_complete(&base, &steps, &gateway.folder);

    // When each act became known to its client.
    let known: Vec<(String, usize, Option<usize>)> = sessions
        .iter()
        .map(|(token, ended)| {
            let begun = said(&steps, &format!("session={token}"), 0);
            let ended = ended.as_ref().map(|id| said(&steps, id, begun));
            (token.clone(), begun, ended)
        })
        .collect();
    let mut dice = Dice::seeded();
    let mut builder = gateway.kill();
    for _ in 0..rounds("PORTCULLIS_CUT_ROUNDS", 6) {
        // Just behind an acknowledgement is where a promise is youngest; anywhere is anywhere.
        let cut = if dice.chance(3) {
            usize::try_from(dice.below(steps.len() as u64)).unwrap() + 1
        } else {
            let (_, begun, ended) = &known[usize::try_from(dice.below(6)).unwrap()];
            ended.unwrap_or(*begun) + 1
        };
        let disk = after_cut(&base, &steps, cut, &mut dice);
        for (name, content) in &disk {
            std::fs::write(builder.folder().join(name), content).unwrap();
        }
        let _ = std::fs::remove_file(builder.folder().join("portcullis.db-shm"));
        let gateway = in_time("the start", builder.start()).await;
        for (number, (token, begun, ended)) in known.iter().enumerate() {
            let request = gateway.client().get(ME);
            let cookie = format!("session={token}");
            let status = in_time("a request", request.header("cookie", &cookie).send())
                .await
                .status
                .as_u16();
            // Between the question and its answer either may hold.
            let expected: &[u16] = match ended {
                Some(ended) if *ended < cut => &[401],
                None if *begun < cut => &[200],
                Some(_) | None => &[200, 401],
            };
            assert!(
                expected.contains(&status),
                "session {number} answers {status} after a cut at step {cut} of {}; signed in at {begun}, out at {ended:?}",
                steps.len()
            );
        }
        builder = gateway.kill();
    }
}
