//! The gate itself, with everything on, and the floor under it: the edge alone. What command line and configuration
//! look like is written in this file only.
//!
//! The floor is an example of the edge's crate and no switch of the gate: a control that can be switched off is a hole.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::contestants::{Launched, Running, Stage, invented, launch};
use super::credentials::Also;
use super::request::{self, HOST, Session};
use crate::process::{command, tethered};

pub(super) const EMAIL: &str = "bench@example.test";
pub(super) const PASSWORD: &str = "plum-anvil-tundra-9140-quartz";

/// Each costs a password hash, by design: more sessions than these are not signed in one by one.
const MOST_SIGN_INS: usize = 64;

/// Session, CSRF, four limits, roles, headers with CSP, assertion, log line (which goes to a file). The limits are those
/// that nobody reaches: what is measured is the check. `{port}` and `{upstream}` are filled in.
const CONFIG: &str = r#"mode = "development"

[listen]
address = "127.0.0.1:{port}"

[admin]
address = "127.0.0.1:0"

[secrets]
master = { file = "master" }

[state]
database = { file = "database" }

[hosts]
allow = ["app.example.test"]

[sessions]
max-per-user = 1000

[upstream.app]
url = "http://{upstream}"

# Sign-ins are no part of what is measured.
[limits.auth]
rate = "10000/second"

[limits.default]
rate = "1000000/second"

[limits.user]
rate = "1000000/second"
per = "user"
everywhere = true

[limits.session]
rate = "1000000/second"
per = "session"
everywhere = true

[limits.route]
rate = "1000000/second"
per = "user"
scope = "route"
everywhere = true

[[route]]
path = "/api/v1/conversations/{conversation}/messages"
allow = { role = ["user"] }

[[route]]
path = "/{*rest}"
allow = "user"
"#;

pub(super) const SIGN_IN: &str = "/.portcullis/auth/login";

pub(super) fn start(stage: &Stage) -> Result<Running> {
    let folder = prepare(stage, "gate")?;
    let launched = serve(stage, &folder, "gate", Also::Nothing)?;
    let sessions = sign_in_all(stage, launched.address)?;
    launched.with_sessions("gate", stage, &sessions)
}

pub(super) fn start_post(stage: &Stage) -> Result<Running> {
    let folder = prepare(stage, "gate-post")?;
    let launched = serve(stage, &folder, "gate-post", Also::Nothing)?;
    let sessions = sign_in_all(stage, launched.address)?;
    let posts: Vec<String> = sessions.iter().map(Session::post).collect();
    launched.with_requests("gate-post", stage, &posts)
}

/// A tenth of the requests is recorded, as with much traffic.
pub(super) fn start_traced(stage: &Stage) -> Result<Running> {
    traced(stage, "gate-traced", "0.1")
}

pub(super) fn start_traced_all(stage: &Stage) -> Result<Running> {
    traced(stage, "gate-traced-all", "1")
}

/// Spans of this share of the requests go to a collector that takes everything.
fn traced(stage: &Stage, name: &str, share: &str) -> Result<Running> {
    let folder = prepare(stage, name)?;
    let collector = format!("http://{}", stage.authority);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", share),
    ];
    let launched = serve_with(stage, &folder, name, Also::Nothing, &variables)?;
    let sessions = sign_in_all(stage, launched.address)?;
    launched.with_sessions(name, stage, &sessions)
}

/// Starts the gate in a folder that was prepared.
pub(super) fn serve(stage: &Stage, folder: &Path, name: &str, also: Also) -> Result<Launched> {
    serve_with(stage, folder, name, also, &[])
}

fn serve_with(
    stage: &Stage,
    folder: &Path,
    name: &str,
    also: Also,
    variables: &[(&str, &str)],
) -> Result<Launched> {
    launch(name, stage, &Session::invented(0).head(), |port| {
        write_config(stage, folder, port, also)?;
        let mut command = tethered(stage.gate, None)?;
        command.arg("serve").current_dir(folder);
        command.envs(variables.iter().copied());
        Ok(command)
    })
}

fn sign_in_all(stage: &Stage, address: SocketAddr) -> Result<Vec<Session>> {
    (0..stage.sessions.min(MOST_SIGN_INS))
        .map(|_| sign_in(address))
        .collect()
}

pub(super) fn start_floor(stage: &Stage) -> Result<Running> {
    let launched = launch("floor", stage, &Session::invented(0).head(), |port| {
        let mut command: Command = tethered(stage.floor, None)?;
        command
            .arg(format!("127.0.0.1:{port}"))
            .arg(format!("http://{}", stage.upstream));
        Ok(command)
    })?;
    launched.with_sessions("floor", stage, &invented(stage))
}

/// A folder with a configuration, its secrets and one user.
pub(super) fn prepare(stage: &Stage, name: &str) -> Result<PathBuf> {
    let folder = furnish(stage, name)?;
    create_user(stage, &folder)?;
    Ok(folder)
}

/// A folder with a configuration and its secrets.
pub(super) fn furnish(stage: &Stage, name: &str) -> Result<PathBuf> {
    let folder = stage.folder.join(name);
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("master"),
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeeff0\n",
    )?;
    fs::write(
        folder.join("database"),
        format!("sqlite://{}", folder.join("portcullis.db").display()),
    )?;
    write_config(stage, &folder, 0, Also::Nothing)?;
    Ok(folder)
}

pub(super) fn write_config(stage: &Stage, folder: &Path, port: u16, also: Also) -> Result<()> {
    let text = also
        .admitted_by(CONFIG)
        .replace("{port}", &port.to_string())
        .replace("{upstream}", &stage.upstream.to_string());
    fs::write(folder.join("portcullis.toml"), text).context("cannot write the configuration")
}

pub(super) fn create_user(stage: &Stage, folder: &Path) -> Result<()> {
    let mut create = command(
        stage.gate,
        [
            "users",
            "create",
            "--email",
            EMAIL,
            "--role",
            "user",
            "--password-stdin",
        ],
    );
    create
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = create.spawn().context("cannot start the gate")?;
    // Dropped at once: the end of its input tells the gate that the password is complete. Where it ended without
    // reading, its own words say more than the broken pipe.
    let _unread = child
        .stdin
        .take()
        .map(|mut input| input.write_all(PASSWORD.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "cannot create {EMAIL}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

pub(super) fn sign_in(address: SocketAddr) -> Result<Session> {
    let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
    let head = format!(
        "POST {SIGN_IN} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = request::send(address, &head)?;
    if status != 200 {
        bail!("the gate answers {status} to a sign-in:\n{answer}");
    }
    session(&answer)
        .with_context(|| format!("no session cookie in the answer to a sign-in:\n{answer}"))
}

/// The session and its CSRF token, from the cookies of an answer. They are told by what their names contain, because
/// the names depend on the configuration.
fn session(answer: &str) -> Option<Session> {
    let lines = answer
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": "));
    let cookies: Vec<(&str, &str)> = lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .filter_map(|(_, value)| value.split(';').next()?.split_once('='))
        .collect();
    let named = |part: &str| cookies.iter().find(|(name, _)| name.contains(part));
    let (cookie, token) = named("session")?;
    let csrf = named("csrf").map_or("", |(_, value)| value);
    Some(Session {
        cookie: (*cookie).to_owned(),
        token: (*token).to_owned(),
        csrf: csrf.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_the_cookies_of_an_answer() {
        let answer = "HTTP/1.1 200 OK\r\nset-cookie: __Host-session=abc; Secure; HttpOnly\r\n\
                      Set-Cookie: csrf_token=x.y; Path=/\r\n\r\nset-cookie: session=fake\r\n";
        let session = session(answer).unwrap();
        assert_eq!(
            (&*session.cookie, &*session.token, &*session.csrf),
            ("__Host-session", "abc", "x.y")
        );
    }

    #[test]
    fn an_answer_without_a_session_gives_none() {
        assert!(session("HTTP/1.1 200 OK\r\n\r\nset-cookie: session=fake\r\n").is_none());
    }
}
