//! The whole database in one encrypted file, and back: into either engine, whole or not at all (E7).

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use age::x25519;
use serde_json::Value;

use crate::support::{
    Browser, Gateway, GatewayBuilder, State, Upstream, database, eventually, signal,
};
use crate::vault::{EMAIL, builder, key, opened, sealed};

const MAY: [&str; 2] = ["seal:vault", "open:vault"];
/// Enough that reading, trying and restoring each take a while.
const MANY: u32 = 60_000;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(output: &Output, because: &str) {
    assert!(!output.status.success(), "it was taken");
    assert!(output.stdout.is_empty());
    assert!(said(output).contains(because), "{}", said(output));
}

/// Makes `backup.key`; its recipient.
fn keygen(gateway: &GatewayBuilder) -> String {
    let made = gateway.run(&["--output", "json", "backup", "keygen", "--to", "backup.key"]);
    answer(&made)["recipient"].as_str().unwrap().to_owned()
}

/// A gate that has sessions, keys and sealed fields, and a backup of it that was made while it ran.
struct Backed {
    gateway: Gateway,
    recipient: String,
    root: Browser,
    key: String,
    sealed: String,
    made: Value,
}

async fn backed() -> Backed {
    let upstream = Upstream::start().await;
    let builder = builder(&upstream).await;
    builder.write();
    let recipient = keygen(&builder);
    let gateway = builder.start().await;
    let key = key(&gateway, &MAY, None);
    let sealed = sealed(&gateway, &key, "42").await;
    let root = gateway.signed_in("root@corp.test").await;
    let made = gateway.cli(&[
        "--output",
        "json",
        "backup",
        "--to",
        "gate.backup",
        "--recipient",
        &recipient,
    ]);
    Backed {
        made: answer(&made),
        gateway,
        recipient,
        root,
        key,
        sealed,
    }
}

/// An empty database of the same engine in place of the one that is there.
async fn elsewhere(builder: GatewayBuilder) -> GatewayBuilder {
    let folder = builder.folder().join(uuid::Uuid::new_v4().to_string());
    std::fs::create_dir(&folder).unwrap();
    let url = State::fresh(&folder).await.database;
    builder.file("database", &url)
}

fn restore(builder: &GatewayBuilder, more: &[&str]) -> Output {
    let mut arguments = vec!["--output", "json", "restore"];
    if !more.contains(&"--from") {
        arguments.extend(["--from", "gate.backup"]);
    }
    if !more.contains(&"--passphrase-file") && !more.contains(&"--identity-file") {
        arguments.extend(["--identity-file", "backup.key"]);
    }
    arguments.extend(more);
    builder.run(&arguments)
}

async fn is_signed_in(gateway: &Gateway, browser: &Browser) -> bool {
    let cookie = format!("session={}", browser.cookie("session").unwrap());
    let request = gateway.client().get("/anything").header("cookie", &cookie);
    request.send().await.status == 200
}

async fn works(gateway: &Gateway, backed: (&Browser, &str, &str)) {
    let (root, key, sealed) = backed;
    assert!(is_signed_in(gateway, root).await, "the old session counts");
    let answer = opened(gateway, key, "42", sealed).await;
    assert_eq!(
        answer.json()["items"][0]["value"],
        EMAIL,
        "{}",
        answer.text()
    );
    gateway.signed_in("root@corp.test").await;
}

#[tokio::test]
async fn a_backup_of_a_running_gate_is_restored_elsewhere_and_everything_works_there() {
    let Backed {
        gateway,
        root,
        key,
        sealed,
        made,
        ..
    } = backed().await;
    assert_eq!(made["tried_with"], "of-this-run", "{made}");
    assert_eq!(made["recorded"], true);
    assert!(made["rows"].as_u64().unwrap() > 5);
    let trail = database::trail(&gateway.folder).await;
    assert!(trail.contains("backup.made backup:gate.backup"), "{trail}");
    let file = gateway.folder.join("gate.backup");
    for name in ["gate.backup", "backup.key"] {
        let about = std::fs::metadata(gateway.folder.join(name)).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().len(), made["bytes"]);
    // Nothing of what is in it shows.
    let bytes = std::fs::read(&file).unwrap();
    for canary in [
        "root@corp.test",
        "portcullis",
        "users",
        EMAIL,
        &key,
        &sealed,
    ] {
        let canary = canary.as_bytes();
        assert!(!bytes.windows(canary.len()).any(|part| part == canary));
    }
    // It is an age file as everybody's tools read it.
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(plain(&gateway.folder).starts_with("{\"portcullis-backup\":1,"));

    let stopped = elsewhere(gateway.end().await).await;
    let tried = answer(&restore(&stopped, &["--check"]));
    assert_eq!(tried["into"], Value::Null);
    assert_eq!(tried["rows"], made["rows"]);
    assert!(
        database::rows(stopped.folder()).await.is_empty(),
        "only tried"
    );
    let restored = answer(&restore(&stopped, &[]));
    assert_eq!(restored["rows"], made["rows"]);
    assert_eq!(restored["made_at"], made["made_at"]);
    let gateway = stopped.start().await;
    works(&gateway, (&root, &key, &sealed)).await;
    let trail = database::trail(&gateway.folder).await;
    assert!(
        trail.contains("backup.restored backup:gate.backup"),
        "{trail}"
    );
    assert!(!trail.contains("backup.made"), "that came after the moment");
    // Numbers go on: what is revoked now is heard.
    let twin = gateway.twin().await;
    assert!(is_signed_in(&twin, &root).await);
    let out = gateway.cli(&["users", "deactivate", "root@corp.test"]);
    assert!(out.status.success(), "{}", said(&out));
    for gate in [&gateway, &twin] {
        crate::support::eventually_asked("it is heard", async || !is_signed_in(gate, &root).await)
            .await;
    }
}

#[tokio::test]
async fn a_backup_goes_into_the_other_engine_and_back() {
    let Backed {
        gateway,
        root,
        key,
        sealed,
        recipient,
        ..
    } = backed().await;
    let stopped = gateway.end().await;
    let home = std::fs::read_to_string(stopped.folder().join("database")).unwrap();
    let folder = stopped.folder().join("other");
    std::fs::create_dir(&folder).unwrap();
    let other = State::of_the_other_engine(&folder).await;
    let stopped = stopped.file("database", &other);
    let before = answer(&restore(&stopped, &[]));
    let gateway = stopped.start().await;
    works(&gateway, (&root, &key, &sealed)).await;
    let made = gateway.cli(&[
        "--output",
        "json",
        "backup",
        "--to",
        "back.backup",
        "--recipient",
        &recipient,
    ]);
    assert_ne!(answer(&made)["engine"], before["engine"]);
    let stopped = gateway.end().await.file("database", &home);
    let restored = restore(&stopped, &["--from", "back.backup", "--replace"]);
    answer(&restored);
    let gateway = stopped.start().await;
    works(&gateway, (&root, &key, &sealed)).await;
}

/// What is in the file, decrypted by age alone.
fn plain(folder: &Path) -> String {
    let identity = std::fs::read_to_string(folder.join("backup.key")).unwrap();
    let identity: x25519::Identity = identity.lines().last().unwrap().parse().unwrap();
    let file = std::fs::read(folder.join("gate.backup")).unwrap();
    let mut reader = age::Decryptor::new(&file[..])
        .unwrap()
        .decrypt(std::iter::once(&identity as &dyn age::Identity))
        .unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// Writes `other.backup`: an age file for this recipient, by somebody who knows no more than that.
fn forge(folder: &Path, recipient: &str, text: &str) {
    let recipient: x25519::Recipient = recipient.parse().unwrap();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
    let mut file = Vec::new();
    let mut writer = encryptor.unwrap().wrap_output(&mut file).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap();
    std::fs::write(folder.join("other.backup"), file).unwrap();
}

/// A gate that is stopped, with a database that has rows and a backup beside it.
struct Stopped {
    builder: GatewayBuilder,
    recipient: String,
    before: std::collections::BTreeMap<String, Vec<String>>,
}

async fn stopped() -> Stopped {
    let backed = backed().await;
    let builder = backed.gateway.end().await;
    Stopped {
        before: database::rows(builder.folder()).await,
        recipient: backed.recipient,
        builder,
    }
}

impl Stopped {
    /// Refused, and the database is as it was.
    async fn refuses(&self, more: &[&str], because: &str) {
        refused(&restore(&self.builder, more), because);
        let now = database::rows(self.builder.folder()).await;
        assert_eq!(now, self.before, "{because}: the database was changed");
    }

    /// The same for a file, where everything else is right.
    async fn refuses_file(&self, content: &[u8], because: &str) {
        std::fs::write(self.builder.folder().join("other.backup"), content).unwrap();
        self.refuses(&["--from", "other.backup", "--replace"], because)
            .await;
    }

    async fn refuses_text(&self, text: &str, because: &str) {
        forge(self.builder.folder(), &self.recipient, text);
        self.refuses(&["--from", "other.backup", "--replace"], because)
            .await;
    }
}

#[tokio::test]
async fn a_file_that_is_torn_changed_or_foreign_is_refused_and_changes_nothing() {
    let stopped = stopped().await;
    let whole = std::fs::read(stopped.builder.folder().join("gate.backup")).unwrap();
    let length = whole.len();
    for at in [0, 1, 20, 100, 300, 600, length / 2, length - 20, length - 1] {
        stopped.refuses_file(&whole[..at], "is not restored").await;
    }
    for at in [0, 30, 150, 250, 400, length / 2, length - 17, length - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        stopped.refuses_file(&changed, "is not restored").await;
    }
    let longer = [&whole[..], b"x"].concat();
    stopped.refuses_file(&longer, "is not restored").await;
    stopped.refuses_file(b"PGDMP", "it is no age file").await;
    stopped
        .refuses_text("hello", "it is no backup of portcullis")
        .await;
    stopped
        .refuses_text("{\"a\":1}\n", "it is no backup of portcullis")
        .await;
}

#[tokio::test]
async fn who_knows_the_recipient_alone_makes_no_backup_that_is_taken() {
    let stopped = stopped().await;
    let text = plain(stopped.builder.folder());
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    for (from, to, because) in [
        (
            "{\"portcullis-backup\":1",
            "{\"portcullis-backup\":2",
            "it is a backup of version 2",
        ),
        (
            "\"steps\":[1,",
            "\"steps\":[1,9999,",
            "version 9999, which this program does not know",
        ),
        ("\"steps\":[1,", "\"steps\":[", "is not restored"),
        (
            "root@corp.test",
            "evil@corp.test",
            "the rows of `users` are not those",
        ),
        (
            "\"made-by\":\"",
            "\"made-by\":\"9",
            "was not made by a gate with this master secret",
        ),
        (
            "{\"table\":\"users\"}",
            "{\"table\":\"user\"}",
            "is not where it should be",
        ),
    ] {
        stopped.refuses_text(&changed(from, to), because).await;
    }
    // Cut between two lines, wherever that is.
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for until in [1, 2, lines.len() / 2, lines.len() - 1] {
        let cut = lines[..until].concat();
        stopped.refuses_text(&cut, "it is torn").await;
    }
    let twice = format!("{text}{}", lines.last().unwrap());
    stopped
        .refuses_text(&twice, "something behind its end")
        .await;
    // A MAC of nobody.
    let at = text.rfind("\"mac\":\"").unwrap() + 7;
    let mut other = text.clone();
    other.replace_range(at..at + 4, "0000");
    stopped.refuses_text(&other, "was not made by a gate").await;
}

#[tokio::test]
async fn a_wrong_key_another_master_and_a_database_with_rows_are_refused_and_change_nothing() {
    let stopped = stopped().await;
    stopped.refuses(&[], "the database is not empty").await;
    let other = stopped
        .builder
        .run(&["backup", "keygen", "--to", "other.key"]);
    assert!(other.status.success());
    let wrong = ["--replace", "--identity-file", "other.key"];
    stopped
        .refuses(&wrong, "it does not open with this key")
        .await;
    let builder = stopped
        .builder
        .clone()
        .file("words", "correct horse battery staple\n");
    stopped
        .refuses(
            &["--replace", "--passphrase-file", "words"],
            "it is locked for recipients",
        )
        .await;
    refused(
        &restore(&builder, &["--replace", "--identity-file", "words"]),
        "holds no private key",
    );
    // Another master secret; then both.
    let master = std::fs::read(builder.folder().join("master")).unwrap();
    let builder = builder.file("master", "another secret of at least thirty-two characters");
    stopped
        .refuses(&["--replace"], "it was made with another master secret")
        .await;
    let taken = answer(&restore(&builder, &["--replace", "--other-master"]));
    assert!(taken["into"].is_string());
    std::fs::write(builder.folder().join("old-master"), master).unwrap();
    let rotated = builder.replace(
        "master = { file = \"master\" }",
        "master = { file = \"master\" }\nprevious = [{ file = \"old-master\" }]",
    );
    rotated.write();
    answer(&restore(&rotated, &["--replace"]));
}

#[tokio::test]
async fn a_database_that_a_gate_has_open_is_not_restored_over() {
    let backed = backed().await;
    let before = database::rows(&backed.gateway.folder).await;
    let over = backed.gateway.cli(&[
        "restore",
        "--from",
        "gate.backup",
        "--identity-file",
        "backup.key",
        "--replace",
    ]);
    refused(&over, "somebody has the database open");
    let now = database::rows(&backed.gateway.folder).await;
    for table in ["users", "session", "api_key"] {
        assert_eq!(now[table], before[table]);
    }
    // The gate goes on meanwhile: it may have made a key more.
    let is_there = |row| now["data_key"].contains(row);
    assert!(before["data_key"].iter().all(is_there));
    works(&backed.gateway, (&backed.root, &backed.key, &backed.sealed)).await;
}

#[tokio::test]
async fn sessions_can_be_left_out() {
    let backed = backed().await;
    let stopped = elsewhere(backed.gateway.end().await).await;
    answer(&restore(&stopped, &["--without-sessions"]));
    let gateway = stopped.start().await;
    assert!(!is_signed_in(&gateway, &backed.root).await);
    let answer = opened(&gateway, &backed.key, "42", &backed.sealed).await;
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
    gateway.signed_in("root@corp.test").await;
}

#[tokio::test]
async fn a_passphrase_the_configuration_and_a_key_at_hand_lock_as_well() {
    let backed = backed().await;
    let gateway = backed.gateway;
    let builder = gateway
        .end()
        .await
        .file("words", "correct horse battery staple\n");
    builder.write();
    let backup = |more: &[&str]| {
        let mut all = vec!["--output", "json", "backup"];
        all.extend(more);
        builder.run(&all)
    };
    let by_words = ["--to", "words.backup", "--passphrase-file", "words"];
    assert_eq!(answer(&backup(&by_words))["tried_with"], "passphrase");
    let check = [
        "--from",
        "words.backup",
        "--check",
        "--passphrase-file",
        "words",
    ];
    assert_eq!(
        answer(&restore(&builder, &check))["opened_with"],
        "passphrase"
    );
    std::fs::write(builder.folder().join("words"), "incorrect horse battery").unwrap();
    refused(
        &restore(&builder, &check),
        "does not open with this passphrase",
    );
    let as_key = ["--from", "words.backup", "--check"];
    refused(&restore(&builder, &as_key), "it is locked by a passphrase");
    std::fs::write(builder.folder().join("words"), "too short").unwrap();
    refused(
        &backup(&["--to", "x", "--passphrase-file", "words"]),
        "less than 16",
    );
    // Nobody could open it.
    refused(&backup(&["--to", "x"]), "nobody could open this backup");
    refused(
        &backup(&["--to", "x", "--recipient", "age1x"]),
        "is no recipient of age",
    );
    let secret = std::fs::read_to_string(builder.folder().join("backup.key")).unwrap();
    let secret = secret.lines().last().unwrap();
    let output = backup(&["--to", "x", "--recipient", secret]);
    refused(&output, "this is a private key");
    assert!(!said(&output).contains(secret));
    // There already, or for another key than the one at hand.
    let for_ours = ["--to", "gate.backup", "--recipient", &backed.recipient];
    refused(&backup(&for_ours), "is there already");
    let forced = [&for_ours[..], &["--force", "--identity-file", "backup.key"]].concat();
    assert_eq!(answer(&backup(&forced))["tried_with"], "identity");
    builder.run(&["backup", "keygen", "--to", "other.key"]);
    let not_ours = [&for_ours[..], &["--force", "--identity-file", "other.key"]].concat();
    let kept = std::fs::read(builder.folder().join("gate.backup")).unwrap();
    refused(&backup(&not_ours), "does not open with this key");
    assert_eq!(
        std::fs::read(builder.folder().join("gate.backup")).unwrap(),
        kept
    );
    assert!(!builder.folder().join("gate.backup.part").exists());
    // What `[backup]` says needs no saying.
    let table = format!("\n[backup]\nrecipients = [\"{}\"]\n", backed.recipient);
    let builder = builder.more(&table);
    builder.write();
    let made = builder.run(&["--output", "json", "backup", "--to", "by-table.backup"]);
    answer(&made);
    answer(&restore(
        &builder,
        &["--from", "by-table.backup", "--check"],
    ));
    let builder = builder.replace(&backed.recipient, "age1nobody");
    builder.write();
    let checked = builder.run(&["--output", "json", "check"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&checked.stdout).contains("backup.recipients.0"));
}

#[tokio::test]
async fn a_backup_that_cannot_be_recorded_is_thrown_away() {
    let backed = backed().await;
    let builder = backed.gateway.end().await;
    let refuse = if is_postgres(builder.folder()) {
        "ALTER TABLE audit_event ADD CONSTRAINT not_now CHECK (action <> 'backup.made') NOT VALID"
    } else {
        "CREATE TRIGGER not_now BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'not now'); END"
    };
    database::execute(builder.folder(), refuse).await;
    let made = builder.run(&[
        "backup",
        "--to",
        "silent.backup",
        "--recipient",
        &backed.recipient,
    ]);
    refused(&made, "cannot be recorded in the audit trail");
    for name in ["silent.backup", "silent.backup.part"] {
        assert!(!builder.folder().join(name).exists(), "{name}");
    }
}

fn is_postgres(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("database"))
        .unwrap()
        .starts_with("postgres")
}

/// Fills the table `spent_form`.
async fn fill(folder: &Path, table: &str, columns: &str) {
    let sql = if is_postgres(folder) {
        format!(
            "INSERT INTO {table} ({columns}) SELECT sha256(i::text::bytea), 4000000000000000 FROM generate_series(1, {MANY}) i"
        )
    } else {
        format!(
            "INSERT INTO {table} ({columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT randomblob(32), 4000000000000000 FROM n"
        )
    };
    database::execute(folder, &sql).await;
}

/// A stopped gate with many rows in `spent_form`, and a backup of it that a `--force` may replace.
async fn with_many_rows() -> Stopped {
    let backed = backed().await;
    let builder = backed.gateway.end().await;
    fill(builder.folder(), "spent_form", "token_hash, spent_at").await;
    Stopped {
        before: database::rows(builder.folder()).await,
        recipient: backed.recipient,
        builder,
    }
}

/// Starts it, and kills it when it says this.
async fn killed_when_it_says(builder: &GatewayBuilder, arguments: &[&str], text: &str) {
    let (mut child, told) = builder.spawn_telling(arguments);
    eventually(&format!("`{text}` is said"), || {
        let told = told.lock().unwrap().clone();
        if let Some(status) = child.try_wait().unwrap() {
            panic!("it ended ({status}) before it said `{text}`:\n{told}");
        }
        told.contains(text)
    })
    .await;
    signal(child.id(), "KILL");
    assert!(!child.wait().unwrap().success());
}

#[tokio::test]
async fn a_backup_that_is_killed_leaves_no_half_file_under_its_name() {
    let stopped = with_many_rows().await;
    let builder = &stopped.builder;
    let name: PathBuf = builder.folder().join("big.backup");
    let arguments = [
        "backup",
        "--to",
        "big.backup",
        "--recipient",
        &stopped.recipient,
    ];
    for phase in ["reading: ", "trying: "] {
        let (before, kept) = (phase.len(), name.exists());
        assert!(before > 0 && !kept);
        killed_when_it_says(builder, &arguments, phase).await;
        assert!(!name.exists(), "{phase}");
    }
    // What is left of them is in nobody's way.
    assert!(builder.folder().join("big.backup.part").exists());
    let made = builder.run(&[&["--output", "json"], &arguments[..]].concat());
    assert!(answer(&made)["rows"].as_u64().unwrap() > u64::from(MANY));
    assert!(!builder.folder().join("big.backup.part").exists());
    // Nor does a kill spoil the one that is there.
    let kept = std::fs::read(&name).unwrap();
    let forced = [&arguments[..], &["--force"]].concat();
    killed_when_it_says(builder, &forced, "trying: ").await;
    assert_eq!(std::fs::read(&name).unwrap(), kept);
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_the_database_as_it_was() {
    let stopped = with_many_rows().await;
    let builder = &stopped.builder;
    let made = builder.run(&[
        "backup",
        "--to",
        "big.backup",
        "--recipient",
        &stopped.recipient,
    ]);
    assert!(made.status.success(), "{}", said(&made));
    // Something that the backup has not: it would be gone.
    database::execute(
        builder.folder(),
        "INSERT INTO recovery_request (account, since, count) SELECT token_hash, 1, 1 FROM spent_form LIMIT 7",
    )
    .await;
    let before = database::rows(builder.folder()).await;
    let arguments = [
        "restore",
        "--from",
        "big.backup",
        "--identity-file",
        "backup.key",
        "--replace",
    ];
    killed_when_it_says(builder, &arguments, "in `spent_form`").await;
    assert_eq!(database::rows(builder.folder()).await, before);
    killed_when_it_says(builder, &arguments, " tables, ").await;
    assert_eq!(database::rows(builder.folder()).await, before);
    let restored = builder.run(&arguments);
    assert!(restored.status.success(), "{}", said(&restored));
    let after = database::rows(builder.folder()).await;
    assert_eq!(after["recovery_request"].len(), 0);
    assert_eq!(after["spent_form"], before["spent_form"]);
    let gateway = stopped.builder.clone().start().await;
    gateway.signed_in("root@corp.test").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_shows_one_moment_while_others_write() {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
    let backed = backed().await;
    let folder = backed.gateway.folder.clone();
    let is_postgres = is_postgres(&folder);
    let filler = if is_postgres {
        format!(
            "INSERT INTO revocation (kind, subject, at) SELECT 'session', gen_random_uuid(), 4000000000000000 FROM generate_series(1, {MANY})"
        )
    } else {
        format!(
            "INSERT INTO revocation (kind, subject, at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY}) SELECT 'session', randomblob(16), 4000000000000000 FROM n"
        )
    };
    database::execute(&folder, &filler).await;
    let url = std::fs::read_to_string(folder.join("database")).unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    // A row in a table that is read early, and one in a table that is read late: both, or neither.
    let writing = tokio::spawn(async move {
        let mut written = 0_u32;
        while !*stopped.borrow_and_update() {
            let id = hex::encode(uuid::Uuid::new_v4().as_bytes());
            let (begin, bytes) = if is_postgres {
                ("BEGIN", format!("'\\x{id}'::bytea"))
            } else {
                ("BEGIN IMMEDIATE", format!("x'{id}'"))
            };
            let sql = format!(
                "{begin}; INSERT INTO recovery_request (account, since, count) VALUES ({bytes}, 4000000000000000, 1); INSERT INTO spent_form (token_hash, spent_at) VALUES ({bytes}, 4000000000000000); COMMIT"
            );
            let sql = AssertSqlSafe(sql);
            if is_postgres {
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            } else {
                let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
                connection.execute(sql).await.unwrap();
                connection.close().await.unwrap();
            }
            written += 1;
        }
        written
    });
    let gateway = backed.gateway;
    let made = gateway.cli(&[
        "--output",
        "json",
        "backup",
        "--to",
        "moment.backup",
        "--recipient",
        &backed.recipient,
    ]);
    answer(&made);
    stop.send(true).unwrap();
    let written = writing.await.unwrap();
    let stopped = elsewhere(gateway.end().await).await;
    answer(&restore(&stopped, &["--from", "moment.backup"]));
    let rows = database::rows(stopped.folder()).await;
    let (early, late) = (rows["recovery_request"].len(), rows["spent_form"].len());
    assert!(
        early > 0 && early < written as usize,
        "{early} of {written}"
    );
    assert_eq!(early, late, "one of them is from another moment");
}
