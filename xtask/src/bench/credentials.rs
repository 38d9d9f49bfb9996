//! The gate and the other credentials that a caller may come with: an API key, a token of the gate's own, and one of
//! another issuer, which a node has met before or has not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::contestants::{Running, Stage};
use super::gate::{self, EMAIL, PASSWORD, SIGN_IN};
use super::load::Requests;
use super::request::{self, HOST, Session};
use crate::process::{command, quietly};

/// The default policy gives it to every user.
const PERMISSION: &str = "read:own";
const ISSUER: &str = "https://issuer.example.test/auth/v1";
const ISSUER_SECRET: &str = "9b1e7c55d0a84f21b7c3e6d2f4a09817c2d5e8f1";

/// Of keys and tokens that take turns; as many as there are sessions.
const FEW: usize = 64;
/// More than a node keeps in memory, so that each comes as one that it has not met.
const MANY: usize = 600_000;

pub(super) fn start_key(stage: &Stage) -> Result<Running> {
    let name = "by-key";
    let folder = gate::prepare(stage, name)?;
    // Read by the command line, too: how many keys one person may have.
    gate::write_config(stage, &folder, 0, Also::Keys)?;
    let mut keys = Vec::new();
    for number in 0..FEW.min(stage.sessions) {
        let title = format!("bench {number}");
        let arguments = ["keys", "create", "--name", &title, "--user", EMAIL];
        let mut make = command(stage.gate, arguments);
        make.args(["--permission", PERMISSION, "--output", "json"]);
        let answer = quietly("keys create", make.current_dir(&folder))?;
        keys.push(member(&answer, "key").context("no key in the answer")?);
    }
    let bearers: Vec<String> = keys.iter().map(|key| bearer(key)).collect();
    let launched = gate::serve(stage, &folder, name, Also::Keys)?;
    launched.with_requests(name, stage, &bearers)
}

pub(super) fn start_token(stage: &Stage) -> Result<Running> {
    let name = "by-token";
    let folder = gate::prepare(stage, name)?;
    let launched = gate::serve(stage, &folder, name, Also::Tokens)?;
    let tokens: Vec<String> = (0..FEW.min(stage.sessions))
        .map(|_| access_token(launched.address))
        .collect::<Result<_>>()?;
    let bearers: Vec<String> = tokens.iter().map(|token| bearer(token)).collect();
    launched.with_requests(name, stage, &bearers)
}

pub(super) fn start_foreign(stage: &Stage) -> Result<Running> {
    start_with_foreign(stage, "by-foreign", FEW)
}

pub(super) fn start_foreign_unmet(stage: &Stage) -> Result<Running> {
    start_with_foreign(stage, "by-foreign-unmet", MANY)
}

fn start_with_foreign(stage: &Stage, name: &str, count: usize) -> Result<Running> {
    let folder = gate::prepare(stage, name)?;
    fs::write(folder.join("issuer"), ISSUER_SECRET)?;
    let tokens = folder.join("tokens");
    write_foreign_tokens(stage.python, &tokens, count)?;
    let text = fs::read_to_string(&tokens)?;
    let first = bearer(text.lines().next().context("no token")?);
    let file = folder.join("request");
    fs::write(&file, bearer("{token}"))?;
    let requests = Requests {
        file,
        tokens: Some(tokens),
    };
    let launched = gate::serve(stage, &folder, name, Also::Foreign)?;
    launched.running(name, &first, requests)
}

/// Tokens of one person, each with a name of its own, as an issuer with a shared secret gives them out.
fn write_foreign_tokens(python: &Path, to: &Path, count: usize) -> Result<()> {
    const SCRIPT: &str = "import sys, time, jwt
to, count, issuer, secret = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
now = int(time.time())
with open(to, 'w') as file:
    for number in range(count):
        claims = {'iss': issuer, 'aud': 'authenticated', 'sub': '0190f3a2-7c1e-7b3a-9d54-5f0c2a6e8b12', 'role': 'authenticated',
                  'iat': now, 'exp': now + 3600, 'jti': str(number), 'email': 'foreign@example.test'}
        file.write(jwt.encode(claims, secret, 'HS256') + '\\n')
";
    let mut mint = command(python, ["-c", SCRIPT]);
    mint.arg(to)
        .args([&count.to_string(), ISSUER, ISSUER_SECRET]);
    quietly("minting tokens", &mut mint).map(drop)
}

/// What a contestant has beside sessions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Also {
    Nothing,
    Keys,
    Tokens,
    Foreign,
    /// A program that seals and opens fields.
    Fields,
    /// No other caller: another service.
    Webhooks,
    /// No other caller: files.
    Uploads,
    /// Tenants with members: the route is bound to the caller's own.
    Members,
    /// No other caller: counters that nodes share.
    Redis,
}

impl Also {
    /// The configuration for it: that of all contestants, and what this needs.
    pub(super) fn admitted_by(self, config: &str) -> String {
        match self {
            Also::Nothing => config.to_owned(),
            // A key holds permissions, no roles.
            Also::Keys => format!("{config}\n[api-keys]\nmax-per-user = 1000\n").replace(
                "allow = { role = [\"user\"] }",
                &format!(
                    "allow = {{ permission = \"{PERMISSION}\" }}\ncallers = [\"user\", \"api-key\"]"
                ),
            ),
            Also::Members => config.replace(
                "allow = { role = [\"user\"] }",
                "allow = { role = [\"user\"] }\ntenant = { path = \"conversation\" }",
            ),
            Also::Redis => config.replace(
                "database = { file = \"database\" }",
                "database = { file = \"database\" }\nredis = { file = \"redis\" }",
            ),
            Also::Fields => format!("{config}{}", super::fields::TABLES),
            Also::Webhooks => format!("{config}{}", super::webhooks::TABLES),
            Also::Uploads => config.replacen(
                "[[route]]",
                &format!("{}\n[[route]]", super::uploads::TABLES),
                1,
            ),
            Also::Tokens => format!("{config}\n[tokens]\nmax-per-user = 1000\n"),
            Also::Foreign => format!(
                "{config}\n[issuer.bench]\nprofile = \"supabase\"\nissuer = \"{ISSUER}\"\n\
                 secret = {{ file = \"issuer\" }}\nroles = [\"user\"]\n"
            ),
        }
    }
}

fn access_token(address: SocketAddr) -> Result<String> {
    let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}","grant":"tokens"}}"#);
    let head = format!(
        "POST {SIGN_IN} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = request::send(address, &head)?;
    if status != 200 {
        bail!("the gate answers {status} to a sign-in:\n{answer}");
    }
    member(&answer, "access_token").context("no token in the answer to a sign-in")
}

/// The request of the load, by a credential in `Authorization` in place of the cookie.
pub(super) fn bearer(token: &str) -> String {
    let head = Session::invented(0).head();
    let lines = head
        .split("\r\n")
        .filter(|line| !line.starts_with("X-CSRF-Token:"));
    let lines = lines.map(|line| {
        if line.starts_with("Cookie:") {
            format!("Authorization: Bearer {token}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// A text of the JSON object that stands at the end of an answer, or alone.
pub(super) fn member(text: &str, name: &str) -> Option<String> {
    let object = text.find('{').and_then(|start| text.get(start..))?;
    let object: serde_json::Value = serde_json::from_str(object).ok()?;
    object.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_takes_the_place_of_the_cookie() {
        let request = bearer("abc");
        assert!(request.contains("\r\nAuthorization: Bearer abc\r\n"));
        assert!(!request.contains("Cookie:") && !request.contains("X-CSRF-Token:"));
        assert!(request.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_member_is_found_in_an_answer() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n{\"a\": \"x\", \"key\":\"y\"}";
        assert_eq!(member(answer, "key").as_deref(), Some("y"));
        assert_eq!(member("{}", "key"), None);
    }
}
