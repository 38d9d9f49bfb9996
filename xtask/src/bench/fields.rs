//! Fields that a product seals and opens over HTTP, a hundred of 64 bytes in each call.

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::contestants::{Launched, Running, Stage};
use super::credentials::{Also, member};
use super::gate;
use super::request::{self, HOST};
use crate::process::{command, quietly};

pub(super) const TABLES: &str = r#"
[vault]

[roles.user]
permissions = ["read:own"]

[roles.service]
permissions = ["seal:vault", "open:vault"]
"#;

/// In one call.
const FIELDS: usize = 100;

pub(super) fn start_seal(stage: &Stage) -> Result<Running> {
    let name = "fields-seal";
    let (gate, key) = start(stage, name)?;
    let request = post("seal", &key, &seals());
    gate.with_requests(name, stage, &[request])
}

pub(super) fn start_open(stage: &Stage) -> Result<Running> {
    let name = "fields-open";
    let (gate, key) = start(stage, name)?;
    let (status, answer) = request::send(gate.address, &post("seal", &key, &seals()))?;
    if status != 200 {
        bail!("the gate answers {status} to fields:\n{answer}");
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let mut answer: serde_json::Value = serde_json::from_str(body)?;
    let items = answer
        .get_mut("items")
        .and_then(|items| items.as_array_mut());
    let items = items.context("no items")?;
    for (row, item) in items.iter_mut().enumerate() {
        item["table"] = "users".into();
        item["field"] = "email".into();
        item["row"] = row.to_string().into();
    }
    let request = post("open", &key, &json!({ "items": items }));
    gate.with_requests(name, stage, &[request])
}

fn start(stage: &Stage, name: &str) -> Result<(Launched, String)> {
    let folder = gate::furnish(stage, name)?;
    // Read by the command line, too: the scopes that keys may have.
    gate::write_config(stage, &folder, 0, Also::Fields)?;
    let mut make = command(stage.gate, ["keys", "create", "--name", "bench"]);
    make.args(["--permission", "seal:vault", "--permission", "open:vault"]);
    make.args(["--output", "json"]).current_dir(&folder);
    let answer = quietly("keys create", &mut make)?;
    let key = member(&answer, "key").context("no key in the answer")?;
    Ok((gate::serve(stage, &folder, name, Also::Fields)?, key))
}

fn seals() -> serde_json::Value {
    let value = "a value of sixty-four bytes, as addresses and tokens often have.";
    let items: Vec<_> = (0..FIELDS)
        .map(|row| json!({ "table": "users", "field": "email", "row": row.to_string(), "value": value }))
        .collect();
    json!({ "items": items })
}

fn post(verb: &str, key: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!(
        "POST /.portcullis/vault/{verb} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
