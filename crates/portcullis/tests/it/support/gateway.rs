//! The real binary, started with a configuration of the test's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Browser, Client, State, Upstream};

/// Good enough for every account of every test.
pub(crate) const PASSWORD: &str = "plum-anvil-tundra-9140-quartz";

/// A running gate. Ends with the test.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) folder: PathBuf,
    kept: Arc<tempfile::TempDir>,
    environment: Vec<(String, String)>,
    /// Everything it printed, both streams.
    printed: Arc<Mutex<String>>,
}

/// A gate being put together.
#[derive(Clone)]
pub(crate) struct GatewayBuilder {
    folder: Arc<tempfile::TempDir>,
    config: String,
    environment: Vec<(String, String)>,
    users: Vec<(String, Vec<String>)>,
}

impl Gateway {
    /// In front of `upstream`, with the routes that most tests want: `/public` for everybody,
    /// `/admin` for administrators, `/closed` for nobody, everything else for whoever is signed in.
    pub(crate) async fn in_front_of(upstream: &Upstream) -> Gateway {
        Gateway::builder_usual(upstream).await.start().await
    }

    /// The same, to be changed before it starts.
    pub(crate) async fn builder_usual(upstream: &Upstream) -> GatewayBuilder {
        Gateway::builder(upstream, USUAL_ROUTES).await
    }

    /// A gate with these `[[route]]` tables (and whatever other tables follow them).
    pub(crate) async fn builder(upstream: &Upstream, rest: &str) -> GatewayBuilder {
        let folder = Arc::new(
            tempfile::Builder::new()
                .prefix("portcullis-it-")
                .tempdir()
                .unwrap(),
        );
        let state = State::fresh(folder.path()).await;
        std::fs::write(
            folder.path().join("master"),
            "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0\n",
        )
        .unwrap();
        std::fs::write(folder.path().join("database"), &state.database).unwrap();
        let redis = match &state.redis {
            None => String::new(),
            Some(url) => {
                std::fs::write(folder.path().join("redis"), url).unwrap();
                format!(
                    "redis = {{ file = \"redis\" }}\nredis-namespace = \"{}\"",
                    uuid::Uuid::new_v4().simple()
                )
            }
        };
        let config = format!(
            r#"mode = "development"

[listen]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[secrets]
master = {{ file = "master" }}

[state]
database = {{ file = "database" }}
{redis}

[upstream.app]
url = "{url}"

{rest}
"#,
            url = upstream.url(),
        );
        GatewayBuilder {
            folder,
            config,
            environment: Vec::new(),
            users: Vec::new(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::to(self.address)
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser::at(self.address)
    }

    /// A browser that has signed in.
    pub(crate) async fn signed_in(&self, email: &str) -> Browser {
        let browser = self.browser();
        let answer = browser
            .post("/.portcullis/auth/login")
            .json(&serde_json::json!({ "email": email, "password": PASSWORD }))
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        browser
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.join("portcullis.toml")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the gate has printed so far.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }

    /// Waits until the gate has printed `text`; fails after ten seconds.
    pub(crate) async fn wait_until_printed(&self, text: &str) {
        eventually(&format!("`{text}` is printed"), || {
            self.printed().contains(text)
        })
        .await;
    }

    /// A second gate with the same configuration and the same stores.
    pub(crate) async fn twin(&self) -> Gateway {
        GatewayBuilder {
            folder: Arc::clone(&self.kept),
            config: std::fs::read_to_string(self.config_path()).unwrap(),
            environment: Vec::new(),
            users: Vec::new(),
        }
        .start()
        .await
    }

    /// Asks the gate to end and waits until it did.
    pub(crate) async fn stop(mut self) -> std::process::ExitStatus {
        signal(self.child.id(), "TERM");
        self.ended().await
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        eventually("the gate ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Asks it to end, waits until it did, and keeps everything for a second start.
    pub(crate) async fn end(self) -> GatewayBuilder {
        let again = self.again();
        assert!(self.stop().await.success());
        again
    }

    /// Ends it as a crash would, at once; its folder stays for a second start.
    pub(crate) fn kill(mut self) -> GatewayBuilder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.again()
    }

    fn again(&self) -> GatewayBuilder {
        GatewayBuilder {
            folder: Arc::clone(&self.kept),
            config: std::fs::read_to_string(self.config_path()).unwrap(),
            environment: self.environment.clone(),
            users: Vec::new(),
        }
    }

    /// Runs the command line with this gate's configuration and environment.
    pub(crate) fn cli_as_it_runs(&self, arguments: &[&str]) -> Output {
        cli(&self.folder, &self.environment, arguments, "")
    }

    /// Runs the command line with this gate's configuration.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        cli(&self.folder, &[], arguments, "")
    }

    /// The same, with this on its standard input.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        cli(&self.folder, &[], arguments, input)
    }

    /// Waits until every data key is under the KEK in use.
    pub(crate) async fn has_rewrapped(&self) {
        eventually_asked("every data key is under the KEK in use", async || {
            let told = self.cli(&["--output", "json", "vault", "status"]);
            let keys: Vec<serde_json::Value> = serde_json::from_slice(&told.stdout).unwrap();
            keys.iter().all(|key| key["is_under_current_kek"] == true)
        })
        .await;
    }
}

const SEALS: [&str; 2] = ["seal-addresses = false", "seal-addresses = true"];
const MASTER_ALONE: &str = "master = { file = \"master\" }";
const MASTER_AND_OLD: &str =
    "master = { file = \"master\" }\nprevious = [{ file = \"old-master\" }]";

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- printed by the gate ---\n{}", self.printed());
        }
    }
}

impl GatewayBuilder {
    /// An empty folder, for a configuration that the command line writes.
    pub(crate) fn empty() -> Self {
        GatewayBuilder {
            folder: Arc::new(
                tempfile::Builder::new()
                    .prefix("portcullis-it-")
                    .tempdir()
                    .unwrap(),
            ),
            config: String::new(),
            environment: Vec::new(),
            users: Vec::new(),
        }
    }

    /// With this very configuration.
    pub(crate) fn with(config: &str) -> Self {
        GatewayBuilder {
            config: config.to_owned(),
            ..GatewayBuilder::empty()
        }
    }

    /// Takes the configuration that stands in the folder.
    pub(crate) fn adopt(mut self) -> Self {
        self.config = std::fs::read_to_string(self.folder.path().join("portcullis.toml")).unwrap();
        self
    }

    /// Runs the command line in the folder as it is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        cli(self.folder.path(), &self.environment, arguments, "")
    }

    /// Starts the command line in the folder as it is, and does not wait for it.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        command(self.folder.path(), &self.environment, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    /// The same, with what it says on standard error.
    pub(crate) fn spawn_telling(&self, arguments: &[&str]) -> (Child, Arc<Mutex<String>>) {
        let mut child = command(self.folder.path(), &self.environment, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let told = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().unwrap(), &told);
        (child, told)
    }

    /// Runs the command line with this configuration and this on its standard input.
    pub(crate) fn cli_with_input(&self, arguments: &[&str], input: &str) -> Output {
        self.write();
        cli(self.folder.path(), &self.environment, arguments, input)
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An account with the password [`PASSWORD`], there before the gate starts.
    pub(crate) fn user(mut self, email: &str, roles: &[&str]) -> Self {
        self.users.push((
            email.to_owned(),
            roles.iter().map(ToString::to_string).collect(),
        ));
        self
    }

    /// Its accounts are there already.
    pub(crate) fn without_users(mut self) -> Self {
        self.users.clear();
        self
    }

    /// Puts another master secret in the place of its own, which stays known beside it.
    pub(crate) fn with_another_master(self) -> Self {
        let [master, old] = ["master", "old-master"].map(|name| self.folder().join(name));
        std::fs::copy(&master, &old).unwrap();
        std::fs::write(&master, "another secret of at least thirty-two characters").unwrap();
        self.replace(MASTER_ALONE, MASTER_AND_OLD)
    }

    /// And now it is known no more.
    pub(crate) fn without_old_master(self) -> Self {
        self.replace(MASTER_AND_OLD, MASTER_ALONE)
    }

    /// Replaces a piece of the configuration. Fails where it is not there.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(
            self.config.contains(from),
            "`{from}` is not in the configuration"
        );
        self.config = self.config.replace(from, to);
        self
    }

    /// Adds tables at the end of the configuration.
    pub(crate) fn more(mut self, tables: &str) -> Self {
        self.config.push_str(tables);
        self
    }

    /// On stores of the test's own choice, whatever the pass of the suite is.
    pub(crate) fn stores(mut self, database: &str, redis: Option<&str>) -> Self {
        let line = "redis = { file = \"redis\" }\n";
        self.config = self.config.replace(line, "");
        let mut this = self.file("database", database);
        if let Some(redis) = redis {
            this = this
                .file("redis", redis)
                .replace("[state]\n", &format!("[state]\n{line}"));
        }
        this
    }

    /// On SQLite and memory, whatever the pass of the suite is.
    pub(crate) fn on_sqlite(self) -> Self {
        let file = self.folder().join("portcullis.db");
        self.stores(&format!("sqlite://{}", file.display()), None)
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self) {
        let config = match std::env::var_os("PORTCULLIS_TEST_SEALED_ADDRESSES") {
            Some(_) if !self.config.contains("seal-addresses") => sealing(&self.config, true),
            Some(_) | None => self.config.clone(),
        };
        std::fs::write(self.folder.path().join("portcullis.toml"), config).unwrap();
    }

    /// With `accounts.seal-addresses` as it is said.
    pub(crate) fn sealing_addresses(mut self, seals: bool) -> Self {
        self.config = sealing(&self.config, seals);
        self
    }

    /// Runs the command line with this configuration.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.write();
        cli(self.folder.path(), &self.environment, arguments, "")
    }

    pub(crate) async fn start(self) -> Gateway {
        self.write();
        for (email, roles) in &self.users {
            let mut arguments = vec!["users", "create", "--email", email, "--password-stdin"];
            for role in roles {
                arguments.extend(["--role", role]);
            }
            let output = cli(self.folder.path(), &self.environment, &arguments, PASSWORD);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let mut child = command(self.folder.path(), &self.environment, &["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let printed = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), &printed);
        collect(child.stderr.take().unwrap(), &printed);
        let mut found = None;
        eventually("the gate listens", || {
            let text = printed.lock().unwrap().clone();
            assert!(
                child.try_wait().unwrap().is_none(),
                "the gate ended:\n{text}"
            );
            found = address_after(&text, "listening").zip(address_after(&text, "admin listening"));
            found.is_some()
        })
        .await;
        let (address, admin) = found.unwrap();
        Gateway {
            child,
            address,
            admin,
            folder: self.folder.path().to_owned(),
            kept: self.folder,
            environment: self.environment,
            printed,
        }
    }
}

/// The configuration, with `accounts.seal-addresses` as it is said.
fn sealing(config: &str, seals: bool) -> String {
    let (now, before) = (SEALS[usize::from(seals)], SEALS[usize::from(!seals)]);
    if config.contains(before) || config.contains(now) {
        config.replace(before, now)
    } else if config.contains("[accounts]\n") {
        config.replace("[accounts]\n", &format!("[accounts]\n{now}\n"))
    } else {
        format!("{config}\n[accounts]\n{now}\n")
    }
}

/// The gate says `listening` and `admin listening` with an `address` field, as text or JSON.
fn address_after(text: &str, message: &str) -> Option<SocketAddr> {
    text.lines()
        .filter(|line| {
            line.contains(message)
                && (message.starts_with("admin") || !line.contains("admin listening"))
        })
        .find_map(|line| {
            line.split(['"', '=', ' ', ','])
                .find_map(|word| word.trim().parse().ok())
        })
}

fn collect(stream: impl std::io::Read + Send + 'static, printed: &Arc<Mutex<String>>) {
    let printed = Arc::clone(printed);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut printed = printed.lock().unwrap();
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}

fn command(folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(folder).args(arguments).env_clear();
    if let Ok(path) = std::env::var("PATH") {
        command.env("PATH", path);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn cli(folder: &Path, environment: &[(String, String)], arguments: &[&str], input: &str) -> Output {
    let mut child = command(folder, environment, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits for something that happens outside of this process. Fails after twenty seconds.
pub(crate) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("twenty seconds passed and not yet: {what}");
}

/// The same for what has to be asked for.
pub(crate) async fn eventually_asked(what: &str, mut happened: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if happened().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("twenty seconds passed and not yet: {what}");
}

const USUAL_ROUTES: &str = r#"
[[route]]
path = "/public"
methods = ["GET", "POST"]
allow = "public"

[[route]]
path = "/admin"
allow = { role = ["admin"] }

[[route]]
path = "/users/{user_id}"
allow = { action = "read", owner = "user_id" }

[[route]]
path = "/closed"
allow = "closed"

[[route]]
path = "/{*rest}"
allow = "user"
"#;
