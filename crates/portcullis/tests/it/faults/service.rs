//! Redis and PostgreSQL of a test's own, to be stopped, frozen and spoiled.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::sockets::Certificate;
use crate::support::{GatewayBuilder, eventually, required, signal};

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn accepts(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Runs `program` as `user` and dies with this test, however it ends.
fn tethered(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some((uid, gid)) = user {
        command.args([
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ]);
    }
    command.arg("--").arg(program).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A Redis that nobody else uses.
pub(super) struct Redis {
    child: Child,
    pub(super) port: u16,
}

impl Redis {
    pub(super) async fn start() -> Self {
        Redis::start_at(free_port()).await
    }

    pub(super) async fn start_at(port: u16) -> Self {
        let program = PathBuf::from(required("PORTCULLIS_TEST_REDIS_SERVER"));
        let child = tethered(&program, None)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--dir", "/tmp"])
            .spawn()
            .unwrap();
        eventually("Redis takes connections", || accepts(port)).await;
        Redis { child, port }
    }

    /// One that speaks TLS alone, with this certificate.
    pub(super) async fn start_with_tls(certificate: &Certificate) -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert, &certificate.cert).unwrap();
        std::fs::write(&key, &certificate.key).unwrap();
        let port = free_port();
        let program = PathBuf::from(required("PORTCULLIS_TEST_REDIS_SERVER"));
        let child = tethered(&program, None)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", "0", "--tls-port", &port.to_string()])
            .args(["--tls-auth-clients", "no", "--dir", "/tmp"])
            .arg("--tls-cert-file")
            .arg(&cert)
            .arg("--tls-key-file")
            .arg(&key)
            .spawn()
            .unwrap();
        eventually("Redis takes connections", || accepts(port)).await;
        (Redis { child, port }, folder)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Says something to it in words, and returns the first line of what it says.
    pub(super) async fn tell(&self, words: &str) -> String {
        let answer = self.ask(words).await;
        answer.lines().next().unwrap_or_default().to_owned()
    }

    /// How many times scripts were run since `CONFIG RESETSTAT`.
    pub(super) async fn scripts_run(&self) -> usize {
        let told = self.ask("INFO commandstats").await;
        let calls = told
            .split_once("cmdstat_evalsha:calls=")
            .map_or("0", |(_, rest)| rest.split(',').next().unwrap());
        calls.parse().unwrap()
    }

    async fn ask(&self, words: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .await
            .unwrap();
        stream
            .write_all(format!("{words}\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = vec![0; 16 * 1024];
        let count = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    pub(super) fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    pub(super) fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    /// Ends it at once; the port stays known.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A PostgreSQL cluster that nobody else uses, with a database and a role of the gate's own.
pub(super) struct Postgres {
    child: Child,
    pub(super) port: u16,
    folder: tempfile::TempDir,
    user: Option<(u32, u32)>,
}

impl Postgres {
    pub(super) async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-pg-")
            // Not TMPDIR: the server's user must be able to pass.
            .tempdir_in("/tmp")
            .unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let user = unprivileged();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        if let Some((uid, gid)) = user {
            chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let status = tethered(&program("initdb"), user)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--pgdata"])
            .arg(&data)
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "initdb");
        // In the file, where ALTER SYSTEM goes before it.
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .unwrap();
        settings.write_all(b"fsync = off\n").unwrap();
        let port = free_port();
        let child = server(folder.path(), user, port);
        let this = Postgres {
            child,
            port,
            folder,
            user,
        };
        this.wait().await;
        this.tell("CREATE ROLE gate LOGIN").await;
        this.tell("CREATE DATABASE gate OWNER gate").await;
        this
    }

    /// From now on it speaks TLS with this certificate, and to the gate nothing else.
    pub(super) async fn demand_tls(&self, certificate: &Certificate) {
        let data = self.folder.path().join("data");
        for (name, text) in [
            ("server.crt", &certificate.cert),
            ("server.key", &certificate.key),
        ] {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = self.user {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        let rules = "hostssl gate gate 127.0.0.1/32 trust\nhost all postgres 127.0.0.1/32 trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        self.tell("ALTER SYSTEM SET ssl = on").await;
        self.tell("SELECT pg_reload_conf()").await;
    }

    /// Where the gate goes.
    pub(super) fn url(&self) -> String {
        Postgres::url_at(self.port)
    }

    /// A gate on this database that does not wait for it for long.
    pub(super) fn under(&self, gate: GatewayBuilder) -> GatewayBuilder {
        gate.stores(&self.url(), None).replace(
            "[state]",
            "[state]\nacquire-timeout = \"500ms\"\nstatement-timeout = \"1s\"",
        )
    }

    pub(super) fn url_at(port: u16) -> String {
        format!("postgres://gate@127.0.0.1:{port}/gate")
    }

    async fn wait(&self) {
        super::until("PostgreSQL answers", || async {
            self.try_tell("SELECT 1").await.is_ok()
        })
        .await;
    }

    /// A statement of the superuser, whom no limit holds.
    pub(super) async fn tell(&self, sql: &str) {
        self.try_tell(sql).await.unwrap();
    }

    async fn try_tell(&self, sql: &str) -> Result<(), sqlx::Error> {
        use sqlx::{Connection as _, Executor as _};
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let mut connection = sqlx::PgConnection::connect(&url).await?;
        // Where the test has made the server read-only.
        connection
            .execute("SET default_transaction_read_only = off")
            .await?;
        connection
            .execute(sqlx::AssertSqlSafe(sql.to_owned()))
            .await?;
        connection.close().await
    }

    /// How many connections the gate holds.
    pub(super) async fn connections(&self) -> i64 {
        use sqlx::Connection as _;
        let url = format!("postgres://postgres@127.0.0.1:{}/postgres", self.port);
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'gate'")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// Ends it as `pg_ctl stop -m immediate` does: no goodbye, recovery at the next start.
    pub(super) fn stop_immediately(&mut self) {
        signal(self.child.id(), "QUIT");
        self.child.wait().unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.child = server(self.folder.path(), self.user, self.port);
        self.wait().await;
    }

    /// Every process of it stands still; its sockets stay open.
    pub(super) fn freeze(&self) {
        self.signal_all("STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// The parent first, so that no new child comes between.
    fn signal_all(&self, name: &str) {
        signal(self.child.id(), name);
        for child in children(self.child.id()) {
            // One may have ended meanwhile.
            let _ = Command::new("kill")
                .args([&format!("-{name}"), &child.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that fails while the server is down must not fail here again: that would end all.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.signal_all("CONT");
        let _ = Command::new("kill")
            .args(["-QUIT", &self.child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> PathBuf {
    PathBuf::from(required("PORTCULLIS_TEST_POSTGRES_BIN")).join(name)
}

fn server(folder: &Path, user: Option<(u32, u32)>, port: u16) -> Child {
    tethered(&program("postgres"), user)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .current_dir(folder)
        .spawn()
        .unwrap()
}

/// PostgreSQL refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    if !is_root {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            (fields[0] == name).then(|| (fields[2].parse().unwrap(), fields[3].parse().unwrap()))
        })
    };
    find("postgres").or_else(|| find("nobody"))
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // `pid (name) state parent ..`; the name may hold spaces.
            let found: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            (found == parent).then_some(pid)
        })
        .collect()
}
