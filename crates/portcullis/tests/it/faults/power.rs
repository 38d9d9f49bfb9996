//! A power cut under SQLite. `kill -9` does not show one: what a process wrote is in the kernel's
//! memory and survives it. So the gate's writes and synchronisations are written down while it
//! acknowledges, and the disk is built again as a cut could have left it:
//!
//! - what was written to a file before its last completed `fsync` is there;
//! - of what was written later any part may be there: each write whole, not at all, or torn at
//!   sectors of 512 bytes, one independently of the other.
//!
//! The real binary opens what is left, and is asked for sessions, revocations and events. Not covered:
//! names of new files (the database is there before; SQLite's log is made and synchronised at start) and
//! disks that lie about `fsync`. PostgreSQL writes in processes of its own, whose disk no test of the gate
//! builds again; `pg_ctl stop -m immediate` would be a crash. What the gate owes there is to ask for
//! COMMITs that wait for the disk: `postgres_that_may_forget_acknowledged_acts_is_not_let`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tracer::Tracer;
use super::{Dice, GENEROUS, LOGIN, LOGOUT, ME, in_time, rounds};
use crate::support::{Answer, Browser, Gateway, PASSWORD, Upstream, signal};

const SECTOR: usize = 512;
const SESSIONS: &str = "/.portcullis/auth/sessions";
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

/// An act as the client knows it: the trail's name of it, and the request that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Act {
    name: &'static str,
    request: String,
}

impl Act {
    fn answered(name: &'static str, answer: &Answer, status: u16) -> Self {
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let request = answer.header("x-request-id").unwrap().to_owned();
        Act { name, request }
    }
}

/// A session, by the acts that began and ended it.
struct Session {
    token: String,
    begun: Act,
    ended: Option<Act>,
}

/// Sessions that begin, some of which end by themselves or from elsewhere, and refused sign-ins.
async fn acts(gateway: &Gateway, elsewhere: &Browser) -> (Vec<Session>, Vec<Act>) {
    let (mut sessions, mut refused) = (Vec::new(), Vec::new());
    let login = async |browser: &Browser, password: &str| {
        let body = serde_json::json!({ "email": ANA, "password": password });
        in_time("a sign-in", browser.post(LOGIN).json(&body).send()).await
    };
    for number in 0..6 {
        let browser = gateway.browser();
        if number % 2 == 0 {
            let answer = login(&browser, "not the password at all").await;
            refused.push(Act::answered("login.failed", &answer, 401));
        }
        let begun = Act::answered("login.succeeded", &login(&browser, PASSWORD).await, 200);
        let token = browser.cookie("session").unwrap();
        let ended = match number % 3 {
            0 => None,
            1 => {
                let answer = in_time("a sign-out", browser.post(LOGOUT).send()).await;
                Some(Act::answered("logout", &answer, 204))
            }
            _ => {
                let list = in_time("a list", browser.get(SESSIONS).send()).await.json();
                let list = list.as_array().unwrap();
                let mine = list.iter().find(|one| one["current"] == true).unwrap();
                let target = format!("{SESSIONS}/{}", mine["id"].as_str().unwrap());
                let end = elsewhere.send(http::Method::DELETE, &target);
                let answer = in_time("a revocation", end.send()).await;
                Some(Act::answered("session.revoked", &answer, 204))
            }
        };
        sessions.push(Session {
            token,
            begun,
            ended,
        });
    }
    (sessions, refused)
}

/// Every event of the trail, by its name and request.
fn trail(gateway: &Gateway) -> BTreeSet<(String, String)> {
    let output = gateway.cli(&["--output", "json", "audit", "list", "--limit", "1000"]);
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let events = json.as_array().or_else(|| json["events"].as_array());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let events = events.unwrap().iter();
    events
        .map(|event| (text(&event["action"]), text(&event["request_id"])))
        .collect()
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
    let elsewhere = gateway.signed_in(ANA).await;

    let trace = gateway.folder.join("trace");
    let (tracer, base) = record(&gateway, &trace);
    let (sessions, refused) = acts(&gateway, &elsewhere).await;
    tracer.detach();
    let steps = read(&std::fs::read_to_string(&trace).unwrap());
    assert_complete(&base, &steps, &gateway.folder);

    // When each act became known to its client.
    let ended = sessions.iter().filter_map(|session| session.ended.as_ref());
    let begun = sessions.iter().map(|session| &session.begun);
    let known: BTreeMap<&Act, usize> = begun
        .chain(ended)
        .chain(&refused)
        .map(|act| (act, said(&steps, &act.request, 0)))
        .collect();
    let moments: Vec<usize> = known.values().copied().collect();
    let mut dice = Dice::seeded();
    let mut builder = gateway.kill();
    for _ in 0..rounds("PORTCULLIS_CUT_ROUNDS", 6) {
        // Just behind an acknowledgement is where a promise is youngest; anywhere is anywhere.
        let pick =
            |limit: usize, dice: &mut Dice| usize::try_from(dice.below(limit as u64)).unwrap();
        let cut = if dice.chance(3) {
            pick(steps.len(), &mut dice) + 1
        } else {
            moments[pick(moments.len(), &mut dice)] + 1
        };
        let disk = after_cut(&base, &steps, cut, &mut dice);
        for (name, content) in &disk {
            std::fs::write(builder.folder().join(name), content).unwrap();
        }
        let _ = std::fs::remove_file(builder.folder().join("portcullis.db-shm"));
        let gateway = in_time("the start", builder.start()).await;
        assert_kept(&gateway, &sessions, &known, cut).await;
        builder = gateway.kill();
    }
}

/// What was known before the cut is there; of what was not yet, an act and its event are there together
/// or not at all.
async fn assert_kept(
    gateway: &Gateway,
    sessions: &[Session],
    known: &BTreeMap<&Act, usize>,
    cut: usize,
) {
    let trail = trail(gateway);
    let is_recorded = |act: &Act| trail.contains(&(act.name.to_owned(), act.request.clone()));
    for (act, at) in known {
        assert!(
            *at >= cut || is_recorded(act),
            "{act:?}, known at step {at}, has no event after a cut at {cut}"
        );
    }
    for (number, session) in sessions.iter().enumerate() {
        let request = gateway.client().get(ME);
        let cookie = format!("session={}", session.token);
        let answer = in_time("a request", request.header("cookie", &cookie).send()).await;
        let is_over = session.ended.as_ref().is_some_and(is_recorded);
        let expected = if is_recorded(&session.begun) && !is_over {
            200
        } else {
            401
        };
        assert_eq!(
            answer.status, expected,
            "session {number} after a cut at step {cut}"
        );
    }
}
