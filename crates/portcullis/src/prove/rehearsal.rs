//! Gates of the probe's own: this program, the same policy, and nothing of the real state.
//!
//! What would disturb real people is done here: limits are used up, clocks are passed by rows that are made
//! older, webhooks are delivered, logs are searched. The copy differs from the original where it has to: every
//! secret, every store and every product is another one, and a few routes are added by which probes see more.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use portcullis_core::Secret;
use portcullis_vault::Token;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use toml::{Table, Value};

use super::product::Product;
use crate::config::{Config, Loaded};

/// The name at which it is reached.
pub(crate) const HOST: &str = "gate.test";
/// Below it lie the routes that a rehearsal adds.
pub(crate) const BENCH: &str = "/prove-rehearsal";
/// Where the rehearsal's product is told of what is conspicuous.
pub(crate) const ALERTS: &str = "/prove-alerts";
/// An address that an issuer vouches for as an administrator's, in the copy.
pub(crate) const ADMINISTRATOR: &str = "root@prove.invalid";
/// The backoff of an account lets five refused sign-ins through one after another, and then makes whoever guesses
/// wait: more than these no probe can wait for.
const MOST_FAILURES: i64 = 4;
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A folder that is removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let name = format!("portcullis-prove-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        std::fs::write(self.0.join(name), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind has secrets of this rehearsal alone.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running copy. Ends when it is dropped.
pub(crate) struct Copy {
    pub(crate) folder: Folder,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    printed: Arc<Mutex<String>>,
    _child: Child,
}

/// Which copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Production mode, behind a proxy that does TLS, which the probe plays.
    Production,
    /// Development mode: for what production does not let lead to this machine.
    Development,
}

impl Copy {
    /// Starts a copy of `original`.
    pub(crate) async fn start(
        original: &Loaded,
        kind: Kind,
        product: &Product,
    ) -> anyhow::Result<Copy> {
        let folder = Folder::new()?;
        let table = rewritten(original, kind, product, &folder)?;
        folder.write("portcullis.toml", &toml::to_string(&table)?)?;
        launch(folder).await
    }

    /// Starts a gate with this configuration in this folder.
    pub(crate) async fn with(folder: Folder, text: &str) -> anyhow::Result<Copy> {
        folder.write("portcullis.toml", text)?;
        launch(folder).await
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("portcullis.toml")
    }

    /// Everything that it has printed so far.
    pub(crate) fn printed(&self) -> String {
        self.printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// This program, without anything of the environment.
pub(crate) fn program(config: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(config);
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

async fn launch(folder: Folder) -> anyhow::Result<Copy> {
    let mut child = program(&folder.path().join("portcullis.toml"))?
        .arg("serve")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("this program cannot be started a second time")?;
    let printed: Arc<Mutex<String>> = Arc::default();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    collect(out.context("no output")?, &printed);
    collect(err.context("no output")?, &printed);
    let began = tokio::time::Instant::now();
    loop {
        let text = printed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let found =
            address_after(&text, "\"listening\"").zip(address_after(&text, "admin listening"));
        if let Some((address, admin)) = found {
            return Ok(Copy {
                folder,
                address,
                admin,
                printed,
                _child: child,
            });
        }
        if let Some(status) = child.try_wait()? {
            bail!(
                "the rehearsal's gate ended ({status}): {}",
                first_error(&text)
            );
        }
        if began.elapsed() > STARTS_WITHIN {
            bail!(
                "the rehearsal's gate does not listen: {}",
                first_error(&text)
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn first_error(text: &str) -> &str {
    let error = text
        .lines()
        .find(|line| line.to_ascii_lowercase().contains("error"));
    error
        .or_else(|| text.lines().next())
        .unwrap_or("it said nothing")
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, printed: &Arc<Mutex<String>>) {
    let printed = Arc::clone(printed);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            printed.push_str(&line);
            printed.push('\n');
        }
    });
}

fn address_after(text: &str, message: &str) -> Option<SocketAddr> {
    let mut lines = text.lines().filter(|line| line.contains(message));
    lines.find_map(|line| {
        line.split(['"', '=', ' ', ','])
            .find_map(|word| word.trim().parse().ok())
    })
}

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

fn file(name: &str) -> Value {
    Value::Table(Table::from_iter([("file".to_owned(), text(name))]))
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(values.into_iter().collect())
}

fn random() -> anyhow::Result<Secret> {
    let token = Token::generate().map_err(|error| anyhow!("no random numbers: {error}"))?;
    Ok(token.text())
}

/// A secret of its own, in a file.
fn secret_file(folder: &Folder, name: &str) -> anyhow::Result<Value> {
    folder.write(name, random()?.expose())?;
    Ok(file(name))
}

/// The table `name` of the copy, which is made where there is none.
fn section<'t>(table: &'t mut Table, name: &str) -> anyhow::Result<&'t mut Table> {
    table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
        .with_context(|| format!("`{name}` is no table"))
}

/// The same policy with other secrets, stores and products.
fn rewritten(
    original: &Loaded,
    kind: Kind,
    product: &Product,
    folder: &Folder,
) -> anyhow::Result<Table> {
    let mut table = original.written.clone();
    for gone in [
        "kek",
        "previous-kek",
        "mail",
        "error-reports",
        "backup",
        "forward-auth",
        "passkeys",
        "alert",
        "secrets",
        "state",
        "listen",
        "admin",
        "log",
    ] {
        table.remove(gone);
    }
    let mode = match kind {
        Kind::Production => "production",
        Kind::Development => "development",
    };
    table.insert("mode".to_owned(), text(mode));
    section(&mut table, "secrets")?.insert("master".to_owned(), secret_file(folder, "master")?);
    section(&mut table, "state")?.insert("database".to_owned(), text("sqlite://rehearsal.db"));
    let listen = section(&mut table, "listen")?;
    listen.insert("address".to_owned(), text("127.0.0.1:0"));
    listen.insert("trusted-proxies".to_owned(), list([text("127.0.0.0/8")]));
    section(&mut table, "admin")?.insert("address".to_owned(), text("127.0.0.1:0"));
    let log = section(&mut table, "log")?;
    log.insert("format".to_owned(), text("json"));
    log.insert("level".to_owned(), text("info"));
    let hosts = original
        .config
        .hosts
        .allow
        .iter()
        .map(text)
        .chain([text(HOST)]);
    section(&mut table, "hosts")?.insert("allow".to_owned(), list(hosts));
    let accounts = section(&mut table, "accounts")?;
    accounts.insert("registration".to_owned(), text("closed"));
    accounts.insert("origin".to_owned(), text(format!("https://{HOST}")));
    upstreams(&mut table, product)?;
    bearers(&mut table, kind, product, folder)?;
    webhooks(&mut table, folder)?;
    stores(&mut table, original)?;
    outside(&mut table);
    if kind == Kind::Development {
        let mail = section(&mut table, "mail")?;
        mail.insert("folder".to_owned(), text("letters"));
        mail.insert("from".to_owned(), text("Gate <gate@gate.test>"));
        alerts(&mut table, original, product, folder)?;
        if original.config.error_reports.dsn.is_some() {
            folder.write("dsn", &format!("http://key@{}/1", product.address))?;
            section(&mut table, "error-reports")?.insert("dsn".to_owned(), file("dsn"));
        }
    }
    let roles = original.config.access.roles();
    let permissions: Vec<&String> = roles.values().flat_map(|role| &role.permissions).collect();
    bench(&mut table, &original.config, &permissions)?;
    Ok(table)
}

/// The log of a rehearsal is none that anybody outside keeps or signs.
fn outside(table: &mut Table) {
    let Some(Value::Table(audit)) = table.get_mut("audit") else {
        return;
    };
    for gone in [
        "anchor-file",
        "anchor-bucket",
        "witness",
        "witnesses-wanted",
    ] {
        audit.remove(gone);
    }
}

/// Every product is the one of the rehearsal; one more is nowhere.
fn upstreams(table: &mut Table, product: &Product) -> anyhow::Result<()> {
    let upstream = section(table, "upstream")?;
    let names: Vec<String> = upstream.keys().cloned().collect();
    for (_, one) in upstream.iter_mut() {
        let one = one
            .as_table_mut()
            .context("`upstream` is no table of tables")?;
        one.insert("url".to_owned(), text(product.url()));
        one.remove("ca");
        one.remove("http2");
    }
    // Port 9 (discard) takes no connection on any machine that runs this.
    let nowhere = Table::from_iter([("url".to_owned(), text("http://127.0.0.1:9"))]);
    upstream.insert("prove-nowhere".to_owned(), Value::Table(nowhere));
    // With one more, "the only one" has to be named.
    if let [only] = names.as_slice() {
        for name in ["route", "webhook"] {
            for one in tables(table, name) {
                one.entry("upstream").or_insert_with(|| text(only));
            }
        }
        if let Some(store) = table.get_mut("secret-store").and_then(Value::as_table_mut)
            && store.contains_key("hook-path")
        {
            store.entry("hook-upstream").or_insert_with(|| text(only));
        }
    }
    Ok(())
}

fn tables<'t>(table: &'t mut Table, name: &str) -> impl Iterator<Item = &'t mut Table> {
    let list = table.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_table_mut)
}

/// Issuers: those with a secret keep their rules under another one; those with published keys lead to this
/// machine, which only development mode admits.
fn bearers(
    table: &mut Table,
    kind: Kind,
    product: &Product,
    folder: &Folder,
) -> anyhow::Result<()> {
    if let Some(tokens) = table.get_mut("tokens").and_then(Value::as_table_mut) {
        tokens.remove("previous-secrets");
        if tokens.contains_key("secret") {
            tokens.insert("secret".to_owned(), secret_file(folder, "tokens-secret")?);
        }
    }
    let Some(issuers) = table.get_mut("issuer").and_then(Value::as_table_mut) else {
        return Ok(());
    };
    let names: Vec<String> = issuers.keys().cloned().collect();
    for name in names {
        let Some(issuer) = issuers.get_mut(&name).and_then(Value::as_table_mut) else {
            continue;
        };
        issuer.remove("login");
        issuer.insert("administrators".to_owned(), list([text(ADMINISTRATOR)]));
        if issuer.contains_key("secret") {
            issuer.insert(
                "secret".to_owned(),
                secret_file(folder, &format!("issuer-{name}"))?,
            );
            issuer.insert(
                "issuer".to_owned(),
                text(format!("https://{name}.issuer.test")),
            );
            issuer.insert("jwks".to_owned(), text(""));
            issuer.insert("algorithms".to_owned(), list([text("HS256")]));
            issuer.remove("loopback");
        } else if kind == Kind::Development {
            issuer.insert(
                "issuer".to_owned(),
                text(format!("{}/{name}", product.url())),
            );
            issuer.insert(
                "jwks".to_owned(),
                text(format!("{}/.well-known/jwks.json", product.url())),
            );
            issuer.insert("loopback".to_owned(), Value::Boolean(true));
            issuer.remove("algorithms");
        } else {
            issuers.remove(&name);
        }
    }
    Ok(())
}

fn webhooks(table: &mut Table, folder: &Folder) -> anyhow::Result<()> {
    for (position, one) in tables(table, "webhook").enumerate() {
        let name = format!("webhook-{position}");
        // A form that every scheme takes.
        folder.write(&name, &standard_secret()?)?;
        one.insert("secrets".to_owned(), list([file(&name)]));
    }
    Ok(())
}

/// Somebody who is told, and rules that look a moment behind the present.
fn alerts(
    table: &mut Table,
    original: &Loaded,
    product: &Product,
    folder: &Folder,
) -> anyhow::Result<()> {
    folder.write("alert", &standard_secret()?)?;
    let destination = Table::from_iter([
        ("name".to_owned(), text("prove")),
        (
            "webhook".to_owned(),
            text(format!("{}{ALERTS}", product.url())),
        ),
        ("secret".to_owned(), file("alert")),
        ("first-wait".to_owned(), text("1s")),
    ]);
    table.insert("alert".to_owned(), list([Value::Table(destination)]));
    let rules = section(table, "anomalies")?;
    rules.insert("delay".to_owned(), text("1s"));
    let configured = &original.config.anomalies.login_burst;
    let failures = i64::try_from(configured.account_failures)?.min(MOST_FAILURES);
    let rule = section(rules, "login-burst")?;
    rule.insert("account-failures".to_owned(), Value::Integer(failures));
    Ok(())
}

/// A secret of Standard Webhooks.
fn standard_secret() -> anyhow::Result<String> {
    let secret = portcullis_vault::tokens::random::<32>()?;
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, secret);
    Ok(format!("whsec_{encoded}"))
}

/// Files and stores of its own; what is read of the original is read where it lies.
fn stores(table: &mut Table, original: &Loaded) -> anyhow::Result<()> {
    if let Some(vault) = table.get_mut("vault").and_then(Value::as_table_mut) {
        vault.remove("fernet-keys");
    }
    if let Some(store) = table.get_mut("secret-store").and_then(Value::as_table_mut) {
        store.remove("files");
        store.remove("remote");
    }
    if let Some(store) = table.get_mut("upload-store").and_then(Value::as_table_mut) {
        store.insert("folder".to_owned(), text("uploads"));
    }
    if let Some(uploads) = table.get_mut("uploads").and_then(Value::as_table_mut) {
        uploads.remove("folder");
    }
    if let Some(described) = &original.config.openapi.file {
        let folder = original.folder.canonicalize()?;
        let at = folder.join(described).display().to_string();
        section(table, "openapi")?.insert("file".to_owned(), text(at));
    }
    Ok(())
}

/// Routes by which probes see what a policy's own routes need not show.
fn bench(table: &mut Table, config: &Config, permissions: &[&String]) -> anyhow::Result<()> {
    let first = config.upstreams.keys().next();
    let first = first.context("the policy names no upstream")?.clone();
    let mut routes = vec![
        ("public".to_owned(), text("public"), Table::new()),
        ("user".to_owned(), text("user"), Table::new()),
        (
            "broken".to_owned(),
            text("public"),
            Table::from_iter([("upstream".to_owned(), text("prove-nowhere"))]),
        ),
        (
            "callers".to_owned(),
            text("user"),
            Table::from_iter([(
                "callers".to_owned(),
                list(["user", "api-key", "visitor"].map(text)),
            )]),
        ),
        (
            "orgs/{org}".to_owned(),
            text("user"),
            Table::from_iter([(
                "tenant".to_owned(),
                Value::Table(Table::from_iter([("path".to_owned(), text("org"))])),
            )]),
        ),
        (
            "in-a-tenant".to_owned(),
            text("user"),
            Table::from_iter([("tenant".to_owned(), text("any"))]),
        ),
    ];
    if let Some(purpose) = config.purposes.first() {
        let consent = Table::from_iter([("consent".to_owned(), text(&purpose.name))]);
        routes.push(("agreed".to_owned(), text("user"), consent));
    }
    for (position, permission) in permissions.iter().enumerate() {
        let allow = Table::from_iter([("permission".to_owned(), text(permission.as_str()))]);
        routes.push((format!("may/{position}"), Value::Table(allow), Table::new()));
    }
    for (name, limit) in portcullis_guard::rate_limit::effective(&config.limits) {
        if !limit.off {
            let limits = Table::from_iter([("limits".to_owned(), list([text(&name)]))]);
            routes.push((format!("limited/{name}"), text("public"), limits));
        }
    }
    if let Some(own) = permissions
        .iter()
        .find_map(|name| name.strip_suffix(":own"))
    {
        let allow = Table::from_iter([
            ("action".to_owned(), text(own)),
            ("owner".to_owned(), text("owner")),
        ]);
        routes.push((
            "owned/{owner}".to_owned(),
            Value::Table(allow),
            Table::new(),
        ));
    }
    let all = table
        .entry("route")
        .or_insert_with(|| Value::Array(Vec::new()))
        .as_array_mut()
        .context("`route` is no list of tables")?;
    for (path, allow, mut route) in routes {
        route.insert("path".to_owned(), text(format!("{BENCH}/{path}")));
        route.insert("allow".to_owned(), allow);
        route.entry("upstream").or_insert_with(|| text(&first));
        all.push(Value::Table(route));
    }
    Ok(())
}
