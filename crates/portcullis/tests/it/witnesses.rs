//! Witnesses of the audit log (A1, A7): one that is written here from c2sp.org/tlog-witness and
//! c2sp.org/tlog-cosignature, holds its own last size and root, and signs only what goes on from there.

mod evidence;
mod proof;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::Notify;

use crate::audit_log::without_triggers;
use crate::faults::metric;
use crate::support::{Gateway, GatewayBuilder, Upstream, database, eventually_asked};
use crate::tiles::{Hash, node, sha256};

const NAME: &str = "witness.test/w1";

/// What it does when it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    /// Signs with a key that nobody was told of.
    OtherKey,
    /// Signs in its own name, with another key: its id and name are right.
    Forger,
    /// Signs another checkpoint.
    OtherText,
    /// Signs for a time to come.
    TooEarly,
    /// Signs as of two hours ago.
    LongAgo,
    Says(u16, &'static str),
    /// Takes the question, and answers once it is told to.
    Holds,
}

struct Seen {
    mood: Mood,
    /// The log's verifier key.
    log: Option<String>,
    size: u64,
    root: Hash,
    asked: usize,
    faults: Vec<&'static str>,
}

struct Witness {
    address: SocketAddr,
    key: Ed25519KeyPair,
    seen: Mutex<Seen>,
    held: Notify,
    release: Notify,
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(pair: &Ed25519KeyPair) -> Vec<u8> {
    pair.public_key().as_ref().to_vec()
}

/// The first four bytes of SHA-256(name || "\n" || type || key).
fn key_id(name: &str, kind: u8, key: &[u8]) -> Vec<u8> {
    sha256(&[name.as_bytes(), b"\n", &[kind], key])[..4].to_vec()
}

fn vkey(name: &str, key: &[u8]) -> String {
    let id = hex::encode(key_id(name, 4, key));
    format!("{name}+{id}+{}", STANDARD.encode([&[4], key].concat()))
}

/// RFC 9162 section 2.1.4.2.
fn goes_on(first: u64, second: u64, old: &Hash, new: &Hash, proof: &[Hash]) -> bool {
    if first == second || first == 0 {
        return proof.is_empty() && (first == 0 || old == new);
    }
    let mut path = proof.to_vec();
    if first.is_power_of_two() {
        path.insert(0, old.clone());
    }
    let Some((start, rest)) = path.split_first() else {
        return false;
    };
    let (mut low, mut high) = (first - 1, second - 1);
    while low & 1 == 1 {
        (low, high) = (low >> 1, high >> 1);
    }
    let (mut of_old, mut of_new) = (start.clone(), start.clone());
    for hash in rest {
        if high == 0 {
            return false;
        }
        if low & 1 == 1 || low == high {
            (of_old, of_new) = (node(hash, &of_old), node(hash, &of_new));
            while low & 1 == 0 && low != 0 {
                (low, high) = (low >> 1, high >> 1);
            }
        } else {
            of_new = node(&of_new, hash);
        }
        (low, high) = (low >> 1, high >> 1);
    }
    high == 0 && of_old == *old && of_new == *new
}

/// Name, key id and bytes of a signature line.
fn signature(line: &str) -> (&str, Vec<u8>, Vec<u8>) {
    let (name, blob) = line.strip_prefix("— ").unwrap().split_once(' ').unwrap();
    let blob = STANDARD.decode(blob).unwrap();
    (name, blob[..4].to_vec(), blob[4..].to_vec())
}

impl Witness {
    async fn start() -> Arc<Self> {
        Witness::with_seed(7).await
    }

    async fn with_seed(seed: u8) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let witness = Arc::new(Witness {
            address: listener.local_addr().unwrap(),
            key: pair(seed),
            seen: Mutex::new(Seen {
                mood: Mood::Honest,
                log: None,
                size: 0,
                root: Vec::new(),
                asked: 0,
                faults: Vec::new(),
            }),
            held: Notify::new(),
            release: Notify::new(),
        });
        let app = axum::Router::new()
            .route("/w/add-checkpoint", post(asked))
            .with_state(Arc::clone(&witness));
        tokio::spawn(async move { axum::serve(listener, app).await });
        witness
    }

    fn vkey(&self) -> String {
        vkey(NAME, &public(&self.key))
    }

    fn table(&self, name: &str) -> String {
        let (address, key) = (self.address, self.vkey());
        format!(
            "\n[[audit.witness]]\nname = \"{name}\"\nurl = \"http://{address}/w\"\nkey = \"{key}\"\n"
        )
    }

    fn is(&self, mood: Mood) {
        self.seen.lock().unwrap().mood = mood;
    }

    fn size(&self) -> u64 {
        self.seen.lock().unwrap().size
    }

    fn asked(&self) -> usize {
        self.seen.lock().unwrap().asked
    }

    /// What an operator tells it: whose log it is to watch.
    fn watches(&self, builder: &GatewayBuilder) {
        let key = text(&builder.cli(&["audit", "key"]));
        self.seen.lock().unwrap().log = Some(key.lines().next().unwrap().to_owned());
    }

    fn line(&self, text: &str, name: &str, signs: &Ed25519KeyPair, seconds: u64) -> String {
        let message = format!("cosignature/v1\ntime {seconds}\n{text}");
        let signed = signs.sign(message.as_bytes());
        let id = key_id(name, 4, &public(&self.key));
        let blob = [&id[..], &seconds.to_be_bytes(), signed.as_ref()].concat();
        format!("— {name} {}\n", STANDARD.encode(blob))
    }

    /// The status and the body that the specification asks for.
    fn answer(&self, body: &str) -> (u16, String) {
        let mut seen = self.seen.lock().unwrap();
        seen.asked += 1;
        let (proof, checkpoint) = body.split_once("\n\n").unwrap();
        let mut lines = proof.lines();
        let old: u64 = lines
            .next()
            .unwrap()
            .strip_prefix("old ")
            .unwrap()
            .parse()
            .unwrap();
        let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap()).collect();
        let (note, signatures) = checkpoint.split_once("\n\n").unwrap();
        let note = format!("{note}\n");
        let said: Vec<&str> = note.lines().collect();
        let (size, root): (u64, Hash) =
            (said[1].parse().unwrap(), STANDARD.decode(said[2]).unwrap());
        let Some(log) = &seen.log else {
            return (404, String::new());
        };
        let parts: Vec<&str> = log.splitn(3, '+').collect();
        if parts[0] != said[0] {
            return (404, String::new());
        }
        let key = STANDARD.decode(parts[2]).unwrap()[1..].to_vec();
        let is_the_logs = signatures.lines().any(|line| {
            let (name, id, bytes) = signature(line);
            name == parts[0]
                && id == key_id(name, 1, &key)
                && UnparsedPublicKey::new(&ED25519, &key)
                    .verify(note.as_bytes(), &bytes)
                    .is_ok()
        });
        if !is_the_logs {
            return (403, String::new());
        }
        if old > size {
            seen.faults.push("an old size above the new one");
            return (400, String::new());
        }
        if old != seen.size || (old == size && seen.root != root && old != 0) {
            return (409, format!("{}\n", seen.size));
        }
        if !goes_on(old, size, &seen.root, &root, &proof) {
            return (422, String::new());
        }
        (seen.size, seen.root) = (size, root);
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // A key that nobody knows signs as well, as a witness may have several.
        let other = self.line(&note, "witness.test/other", &pair(99), now);
        let line = match seen.mood {
            Mood::OtherKey => String::new(),
            Mood::Forger => self.line(&note, NAME, &pair(98), now),
            Mood::OtherText => self.line(&note.replace(said[1], "1"), NAME, &self.key, now),
            Mood::TooEarly => self.line(&note, NAME, &self.key, now + 86_400),
            Mood::LongAgo => self.line(&note, NAME, &self.key, now - 7_200),
            Mood::Honest | Mood::Says(..) | Mood::Holds => self.line(&note, NAME, &self.key, now),
        };
        (200, format!("{other}{line}"))
    }
}

async fn asked(State(witness): State<Arc<Witness>>, body: String) -> (StatusCode, String) {
    let mood = witness.seen.lock().unwrap().mood;
    if mood == Mood::Holds {
        witness.held.notify_one();
        witness.release.notified().await;
    }
    let (status, body) = match mood {
        Mood::Says(status, body) => {
            witness.seen.lock().unwrap().asked += 1;
            (status, body.to_owned())
        }
        _ => witness.answer(&body),
    };
    (StatusCode::from_u16(status).unwrap(), body)
}

fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    said
}

/// Exit code, and what it said.
fn told(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn more_events(builder: &GatewayBuilder, name: &str, count: usize) {
    for number in 0..count {
        let email = format!("{name}{number}@corp.test");
        text(&builder.cli(&["users", "create", "--email", &email]));
    }
}

/// A configuration with a log of a few events that one witness watches, of which one has to sign.
async fn log(more: &str) -> (GatewayBuilder, Arc<Witness>) {
    let upstream = Upstream::start().await;
    let witness = Witness::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    let table = witness.table("one");
    let builder = builder.more(&format!("\n[audit]\nwitnesses-wanted = 1\n{more}{table}"));
    more_events(&builder, "a", 4);
    witness.watches(&builder);
    (builder, witness)
}

fn verified(builder: &GatewayBuilder) -> (Option<i32>, Value, Vec<String>) {
    let output = builder.cli(&["--output", "json", "audit", "verify"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let faults = findings.map(|one| one["fault"].as_str().unwrap().to_owned());
    let faults = faults.collect();
    (output.status.code(), report, faults)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_signs_what_goes_on_and_its_word_goes_with_proofs() {
    let (builder, witness) = log("").await;
    let (code, _, faults) = verified(&builder);
    assert_eq!((code, faults), (Some(1), vec!["unwitnessed".to_owned()]));
    for round in ["b", "c"] {
        let before = witness.size();
        assert!(text(&builder.cli(&["audit", "witness"])).contains("one: signed"));
        assert!(witness.size() > before);
        more_events(&builder, round, 5);
    }
    // It is where it was: nobody else has asked it, so it was asked from there at once.
    assert_eq!(witness.asked(), 2);
    let (code, report, faults) = verified(&builder);
    assert_eq!((code, faults.len()), (Some(0), 0), "{report}");
    let standing = &report["standing"];
    assert_eq!(standing["covered"], witness.size());
    assert_eq!(standing["signed"][0]["witness"], "one");

    // What it signed, verified by hand.
    let checkpoint = text(&builder.cli(&["audit", "checkpoint", "--witnessed"]));
    let (note, lines) = checkpoint.split_once("\n\n").unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines.len(),
        2,
        "the log's, and the one that was asked for: {checkpoint}"
    );
    let (name, id, bytes) = signature(lines[1]);
    assert_eq!((name, id), (NAME, key_id(NAME, 4, &public(&witness.key))));
    let (seconds, signed) = bytes.split_first_chunk::<8>().unwrap();
    let message = format!(
        "cosignature/v1\ntime {}\n{note}\n",
        u64::from_be_bytes(*seconds)
    );
    let key = UnparsedPublicKey::new(&ED25519, public(&witness.key));
    key.verify(message.as_bytes(), signed).unwrap();

    let list = text(&builder.cli(&["--output", "json", "audit", "list", "--limit", "100"]));
    let list: Value = serde_json::from_str(&list).unwrap();
    let oldest = list.as_array().unwrap().last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let newest = list[0]["id"].as_str().unwrap().to_owned();
    let log = text(&builder.cli(&["audit", "key"]));
    let log = log.trim();
    let file = builder.folder().join("p").to_str().unwrap().to_owned();
    let prove = |id: &str| {
        let _ = std::fs::remove_file(&file);
        text(&builder.cli(&["audit", "prove", id, "--to", &file]));
    };
    let holds = |witness: &str| {
        let base = [
            "audit",
            "verify",
            "--proof",
            &file,
            "--key",
            log,
            "--witness",
            witness,
        ];
        told(&builder.cli(&base))
    };
    prove(&oldest);
    let (code, said) = holds(&witness.vkey());
    assert!(code == Some(0) && said.contains(NAME), "{said}");
    let (code, said) = holds(&vkey(NAME, &public(&pair(8))));
    assert!(
        code == Some(1) && said.contains("0 witnesses signed it, and 1 are wanted"),
        "{said}"
    );
    // A word that was changed spoils the proof.
    let whole = std::fs::read_to_string(&file).unwrap();
    let at = whole
        .rfind(|letter: char| letter.is_ascii_alphanumeric())
        .unwrap()
        - 20;
    let other = if whole.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    std::fs::write(&file, [&whole[..at], other, &whole[at + 1..]].concat()).unwrap();
    assert_eq!(holds(&witness.vkey()).0, Some(1));
    // What nobody has signed yet is proved by the log alone.
    prove(&newest);
    assert_eq!(holds(&witness.vkey()).0, Some(1));
    assert!(witness.seen.lock().unwrap().faults.is_empty());
}

const TABLES: [&str; 5] = [
    "audit_event",
    "audit_log",
    "audit_tile",
    "audit_witness",
    "audit_cosignature",
];

/// Copies of the tables beside themselves.
async fn copy(folder: &Path) {
    for table in TABLES {
        let sql = format!("CREATE TABLE old_{table} AS SELECT * FROM {table}");
        database::execute(folder, &sql).await;
    }
}

/// As an owner of the database puts them back.
async fn put_back(folder: &Path, tables: &[&str]) {
    for table in tables {
        database::execute(folder, &format!("DELETE FROM {table}")).await;
        let sql = format!("INSERT INTO {table} SELECT * FROM old_{table}");
        database::execute(folder, &sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_tells_of_an_older_copy() {
    let (builder, witness) = log("").await;
    let folder = builder.folder().to_owned();
    text(&builder.cli(&["audit", "witness"]));
    copy(&folder).await;
    more_events(&builder, "b", 3);
    text(&builder.cli(&["audit", "witness"]));
    let signed = witness.size();

    without_triggers(&folder).await;
    let (log, of_witnesses) = TABLES.split_at(3);
    put_back(&folder, log).await;
    // What the witness signed before tells, without another question.
    let (code, report, faults) = verified(&builder);
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(faults, ["contradicted", "unwitnessed"]);
    put_back(&folder, of_witnesses).await;
    // By itself it is a good log, and its witness has signed it.
    assert_eq!(verified(&builder).0, Some(0));
    let longer = format!("it signed {signed} leaves of this log");
    let doctor = told(&builder.cli(&["doctor"])).1;
    assert!(doctor.contains(&longer), "{doctor}");
    let (code, said) = told(&builder.cli(&["audit", "witness"]));
    assert!(code == Some(1) && said.contains("CONTRADICTS"), "{said}");
    let (code, report, faults) = verified(&builder);
    assert_eq!(
        (code, faults),
        (Some(1), vec!["contradicted".to_owned()]),
        "{report}"
    );
    // Recorded once, not each time that it says so.
    assert_eq!(builder.cli(&["audit", "witness"]).status.code(), Some(1));
    let events = [
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "audit.contradicted",
    ];
    let events: Value = serde_json::from_str(&text(&builder.cli(&events))).unwrap();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!(events[0]["target"], "witness:one");
    assert_eq!(witness.size(), signed);
}

/// A log that was put back to before what its witness signed last, and went on otherwise: by as many events as it
/// had lost, and so many more.
async fn rewritten(more: usize) -> (GatewayBuilder, Arc<Witness>, String, u64) {
    let (builder, witness) = log("").await;
    let folder = builder.folder().to_owned();
    text(&builder.cli(&["audit", "witness"]));
    copy(&folder).await;
    more_events(&builder, "b", 3);
    text(&builder.cli(&["audit", "witness"]));
    let signed = witness.size();
    without_triggers(&folder).await;
    put_back(&folder, &TABLES).await;
    more_events(&builder, "c", 3 + more);
    let (code, said) = told(&builder.cli(&["audit", "witness"]));
    assert_eq!(code, Some(1), "{said}");
    (builder, witness, said, signed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_tells_of_another_history_that_is_as_long() {
    let (builder, witness, said, signed) = rewritten(0).await;
    assert!(said.contains("there are two histories"), "{said}");
    let (code, report, faults) = verified(&builder);
    assert_eq!(
        (code, faults),
        (Some(1), vec!["contradicted".to_owned()]),
        "{report}"
    );
    // It was asked from what is remembered, and then from what it said.
    assert_eq!((witness.asked(), witness.size()), (4, signed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_tells_of_another_history_that_is_longer() {
    let (builder, witness, said, signed) = rewritten(5).await;
    assert!(said.contains("they were rewritten"), "{said}");
    let (code, report, faults) = verified(&builder);
    assert_eq!(
        (code, faults),
        (Some(1), vec!["contradicted".to_owned()]),
        "{report}"
    );
    let doctor = told(&builder.cli(&["doctor"])).1;
    assert!(doctor.contains("they were rewritten"), "{doctor}");
    assert_eq!(witness.size(), signed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_witness_did_not_sign_is_not_kept() {
    let (builder, witness) = log("").await;
    for (mood, expected) in [
        (Mood::OtherKey, "no key that was given has signed it"),
        (Mood::Forger, "does not verify"),
        (Mood::OtherText, "does not verify"),
        (Mood::TooEarly, "cosignature is refused"),
        (Mood::Says(200, ""), "cosignature is refused"),
        (Mood::Says(200, "hello\n"), "cosignature is refused"),
        (
            Mood::Says(200, "— witness.test/w1 AAAA\n"),
            "cosignature is refused",
        ),
        (Mood::Says(409, ""), "409 without a size"),
        (Mood::Says(409, "0"), "409 without a size"),
        (Mood::Says(409, "-1\n"), "409 without a size"),
        (Mood::Says(403, ""), "403"),
        (Mood::Says(404, ""), "404"),
        (Mood::Says(500, "9\n"), "500"),
        (Mood::Says(302, ""), "302"),
    ] {
        witness.is(mood);
        let (code, said) = told(&builder.cli(&["audit", "witness"]));
        assert!(
            code == Some(1) && said.contains(expected),
            "{expected}: {said}"
        );
        let (code, said) = told(&builder.cli(&["audit", "checkpoint", "--witnessed"]));
        assert!(code != Some(0), "{expected}: {said}");
        assert_eq!(verified(&builder).2, ["unwitnessed"], "{expected}");
    }
    // A conflict is taken up once, and not again and again.
    let before = witness.asked();
    witness.is(Mood::Says(409, "1\n"));
    assert_eq!(builder.cli(&["audit", "witness"]).status.code(), Some(1));
    assert_eq!(witness.asked(), before + 2);
    // It signs again, from wherever it is.
    witness.is(Mood::Honest);
    text(&builder.cli(&["audit", "witness"]));
    assert_eq!(verified(&builder).0, Some(0));
    // What is put into its place in the database is no word of its.
    database::execute(
        builder.folder(),
        "UPDATE audit_cosignature SET line = '— witness.test/w1 AAAAAAA='",
    )
    .await;
    assert_eq!(verified(&builder).2, ["unwitnessed", "unwitnessed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_is_asked_by_one_node_at_a_time() {
    let (builder, witness) = log("").await;
    witness.is(Mood::Holds);
    let first = builder.clone();
    let first = tokio::task::spawn_blocking(move || first.cli(&["audit", "witness"]));
    witness.held.notified().await;
    let (code, said) = told(&builder.cli(&["audit", "witness"]));
    assert!(
        code == Some(1) && said.contains("another node asks it"),
        "{said}"
    );
    witness.release.notify_one();
    text(&first.await.unwrap());
    assert_eq!(witness.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_is_away_holds_up_nobody_and_is_asked_again() {
    const LATE: &str = "portcullis_audit_witnesses_late";
    const FAILED: &str = "portcullis_audit_witness_failures_total";
    let upstream = Upstream::start().await;
    let witness = Witness::start().await;
    witness.is(Mood::Says(503, ""));
    let builder = Gateway::builder_usual(&upstream).await;
    let more = "\n[audit]\nwitness-every = \"10s\"\nwitness-alert-after = \"1h\"\n";
    let builder = builder.more(&format!("{more}{}", witness.table("one")));
    more_events(&builder, "a", 1);
    witness.watches(&builder);
    let gateway = builder.start().await;
    eventually_asked("it is counted", async || {
        metric(&gateway, FAILED).await > Some(0.0)
    })
    .await;
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
    assert_eq!(metric(&gateway, LATE).await, Some(0.0));
    // It has been so for a day.
    let folder = gateway.folder.clone();
    database::execute(&folder, "UPDATE audit_witness SET since = 0").await;
    eventually_asked("somebody is told", async || {
        let list = text(&gateway.cli(&["audit", "list", "--action", "audit.unwitnessed"]));
        metric(&gateway, LATE).await == Some(1.0) && list.lines().count() == 1
    })
    .await;
    witness.is(Mood::Honest);
    // Its turn has come.
    database::execute(&folder, "UPDATE audit_witness SET next_at = 0").await;
    eventually_asked("it has signed", async || {
        metric(&gateway, LATE).await == Some(0.0)
    })
    .await;
    assert!(witness.size() > 0);
    assert!(metric(&gateway, "portcullis_audit_cosignatures_total").await > Some(0.0));
    let doctor = told(&gateway.cli(&["doctor"])).1;
    assert!(
        doctor.contains("witness `one`: answers, and has signed"),
        "{doctor}"
    );
}

#[tokio::test]
async fn a_witness_that_cannot_be_one_is_named_before_the_start() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    let key = vkey(NAME, &public(&pair(7)));
    let same = vkey("witness.test/w2", &public(&pair(7)));
    let one = |name: &str, url: &str, key: &str| {
        format!("[[audit.witness]]\nname = \"{name}\"\nurl = \"{url}\"\nkey = \"{key}\"\n")
    };
    let url = "https://witness.example.com";
    for (tables, expected) in [
        (one("One", url, &key), "audit.witness.0.name"),
        (
            one("one", "ftp://witness.example.com", &key),
            "audit.witness.0.url",
        ),
        (
            one("one", "https://w.example.com/?a=b", &key),
            "audit.witness.0.url",
        ),
        (
            one("one", url, "witness.test/w1+00000000+AAAA"),
            "audit.witness.0.key",
        ),
        // A key for plain signatures.
        (
            one(
                "one",
                url,
                "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            ),
            "audit.witness.0.key",
        ),
        (
            one("one", url, &key) + &one("two", url, &same),
            "audit.witness.1.key",
        ),
        (
            "[audit]\nwitnesses-wanted = 1\n".to_owned(),
            "audit.witnesses-wanted",
        ),
        (
            "[audit]\nwitness-every = \"1s\"\n".to_owned(),
            "audit.witness-every",
        ),
        (
            "[audit]\nwitness-alert-after = \"1m\"\n".to_owned(),
            "audit.witness-alert-after",
        ),
    ] {
        let output = builder.clone().more(&format!("\n{tables}")).cli(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{expected}: {said}");
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
