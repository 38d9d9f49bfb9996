//! Acknowledgements of webhooks: each message is verified, sealed and on disk before it is answered, and delivered to
//! the product beside that, by the same gate on the same machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::contestants::{Running, Stage};
use super::credentials::Also;
use super::gate;
use super::load::Requests;
use super::request::HOST;
use crate::process::{command, quietly};

pub(super) const SECRET: &str = "whsec_of_the_benchmark_and_nothing_else";

/// More than one turn acknowledges. The two threads of the load begin at places of their own, so few come twice.
const MESSAGES: usize = 200_000;

pub(super) const TABLES: &str = r#"
[[webhook]]
name = "bench"
path = "/webhooks/bench"
scheme = "stripe"
secrets = [{ file = "webhook" }]
tolerance = "1h"
"#;

pub(super) fn start(stage: &Stage) -> Result<Running> {
    let name = "gate-webhooks";
    let folder = gate::furnish(stage, name)?;
    fs::write(folder.join("webhook"), SECRET)?;
    let file = folder.join("requests");
    sign(stage.python, &file)?;
    let all = fs::read_to_string(&file)?;
    // The last, which hardly a turn comes to.
    let at = all.rfind("POST ").context("no message was signed")?;
    let last = all.get(at..).unwrap_or_default();
    let requests = Requests { file, tokens: None };
    gate::serve(stage, &folder, name, Also::Webhooks)?.running(name, last, requests)
}

/// Messages of an event each, signed as Stripe does.
fn sign(python: &Path, to: &Path) -> Result<()> {
    const SCRIPT: &str = "import sys, time, hmac, json
to, count, host, secret = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4].encode()
now = int(time.time())
with open(to, 'w') as file:
    for number in range(count):
        body = json.dumps({'id': f'evt_{number:024}', 'type': 'invoice.paid', 'created': now, 'livemode': True,
                           'data': {'object': {'id': f'in_{number:024}', 'amount_paid': 4200, 'currency': 'eur', 'status': 'paid'}}})
        tag = hmac.digest(secret, f'{now}.{body}'.encode(), 'sha256').hex()
        file.write(f'POST /webhooks/bench HTTP/1.1\\r\\nHost: {host}\\r\\nUser-Agent: Stripe/1.0\\r\\nAccept: */*\\r\\n'
                   f'Content-Type: application/json\\r\\nStripe-Signature: t={now},v1={tag}\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}')
";
    let mut sign = command(python, ["-c", SCRIPT]);
    sign.arg(to).args([&MESSAGES.to_string(), HOST, SECRET]);
    quietly("signing messages", &mut sign).map(drop)
}
