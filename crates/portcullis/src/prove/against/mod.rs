//! `portcullis prove --against URL`: a product without Portcullis, probed from outside. Only what a stranger
//! without an account can see is asked for; nothing is changed, and no more than a few hundred requests are sent.

mod questions;

use std::path::Path;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use serde_json::Value;

use super::probe::{Finding, Probed, Short, Verdict};
use super::report::{Format, Report};
use super::requirement::Id;
use super::wire::{Addresses, Reply, Target};
use crate::cli::{Usage, output};

/// Where frameworks serve their OpenAPI document.
const DOCUMENTS: [&str; 6] = [
    "/openapi.json",
    "/api/openapi.json",
    "/api/v1/openapi.json",
    "/v3/api-docs",
    "/swagger.json",
    "/swagger/v1/swagger.json",
];
/// What was found out there.
pub(crate) struct Outside {
    report: Report,
}

struct Site {
    target: Target,
    is_https: bool,
    host: String,
    home: Reply,
    openapi: Option<Value>,
}

pub(crate) async fn run(url: &url::Url, document: Option<&Path>) -> anyhow::Result<Outside> {
    let site = Site::open(url, document).await?;
    let mut findings = Vec::new();
    for id in Id::ALL.iter().copied() {
        let began = std::time::Instant::now();
        let probed = probe(id, &site).await;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let found = Finding::of(id, probed, milliseconds);
        if found.verdict != Verdict::NotProven {
            output::aside(format_args!("{id} {}", found.verdict.as_str()));
        }
        findings.push(found);
    }
    let report = Report::outside(&site.target).with(findings);
    Ok(Outside { report })
}

impl Outside {
    pub(crate) fn is_sound(&self) -> bool {
        self.report.failed == 0
    }

    pub(crate) fn written(&self, format: Format) -> anyhow::Result<String> {
        match format {
            Format::Text => Ok(self.text()),
            Format::Md | Format::Asvs | Format::Json | Format::Sarif | Format::Oscal => {
                self.report.unsigned(format)
            }
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{} from outside, at {}",
            self.report.gate, self.report.at
        )];
        let of = |verdict| {
            self.report
                .findings
                .iter()
                .filter(move |found| found.verdict == verdict)
        };
        lines.push(format!("\nMissing ({}):\n", self.report.failed));
        for found in of(Verdict::Failed) {
            lines.push(format!(
                "  {:<4} {}\n         {}\n         behind Portcullis: {}",
                found.id,
                found.id.sentence(),
                found.said,
                found.remedy.as_deref().unwrap_or_default()
            ));
        }
        lines.push(format!(
            "\nThere, as far as a stranger sees ({}):\n",
            self.report.held
        ));
        for found in of(Verdict::Held) {
            lines.push(format!("  {:<4} {}", found.id, found.said));
        }
        let unseen: Vec<&str> = of(Verdict::NotProven)
            .map(|found| found.id.as_str())
            .collect();
        lines.push(format!(
            "\nNOT PROVEN: {} of {} cannot be seen from outside without an account:\n  {}",
            unseen.len(),
            Id::ALL.len(),
            unseen.join(" ")
        ));
        lines.join("\n")
    }
}

impl Site {
    async fn open(url: &url::Url, document: Option<&Path>) -> anyhow::Result<Site> {
        let wrong = |what: &str| Usage::error(format!("`--against {url}`: {what}"));
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("an http or https URL is asked for")),
        };
        let host = url
            .host_str()
            .ok_or_else(|| wrong("it names no host"))?
            .to_owned();
        let addresses = url
            .socket_addrs(|| None)
            .with_context(|| format!("`{host}` does not resolve"))?;
        let address = *addresses
            .first()
            .ok_or_else(|| wrong("it names no address"))?;
        let authority = match url.port() {
            None => host.clone(),
            Some(port) => format!("{host}:{port}"),
        };
        let mut target = Target::new(
            address,
            authority.clone(),
            format!("{}://{authority}", url.scheme()),
            Addresses::One,
        );
        if is_https {
            let client = portcullis_edge::tls::client_config(None, false, "--against")
                .map_err(|finding| anyhow::anyhow!("{finding}"))?;
            target = target.over_tls(client, ServerName::try_from(host.clone())?);
        }
        let home = target
            .get("/")
            .header("accept", "text/html")
            .send()
            .await
            .with_context(|| format!("{url} does not answer"))?;
        let openapi = match document {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Usage::error(format!("`{}`: {error}", file.display())))?;
                Some(serde_json::from_str(&text).map_err(|error| {
                    Usage::error(format!("`{}` is no JSON: {error}", file.display()))
                })?)
            }
            None => find_document(&target).await,
        };
        Ok(Site {
            target,
            is_https,
            host,
            home,
            openapi,
        })
    }

    /// The operations of the document: method, path with its parameters filled in, the operation.
    fn operations(&self) -> Vec<(String, String, &Value)> {
        let paths = self
            .openapi
            .as_ref()
            .and_then(|document| document.get("paths"))
            .and_then(Value::as_object);
        let mut all = Vec::new();
        for (path, item) in paths.into_iter().flatten() {
            let filled: Vec<&str> = path
                .split('/')
                .map(|part| if part.starts_with('{') { "1" } else { part })
                .collect();
            for method in ["get", "post", "put", "patch", "delete"] {
                if let Some(operation) = item.get(method) {
                    all.push((method.to_uppercase(), filled.join("/"), operation));
                }
            }
        }
        all
    }

    /// Whether the document says that an operation wants somebody who has proved who they are.
    fn is_secured(&self, operation: &Value) -> bool {
        let own = operation.get("security");
        let whole = self
            .openapi
            .as_ref()
            .and_then(|document| document.get("security"));
        let wanted = own.or(whole).and_then(Value::as_array);
        wanted.is_some_and(|list| {
            !list.is_empty()
                && list
                    .iter()
                    .all(|one| one.as_object().is_some_and(|one| !one.is_empty()))
        })
    }

    fn sign_in(&self) -> Option<String> {
        let is_it = |path: &str| {
            ["login", "signin", "sign-in", "token"]
                .iter()
                .any(|word| path.to_lowercase().trim_end_matches('/').ends_with(word))
        };
        let found = self
            .operations()
            .into_iter()
            .find(|(method, path, _)| method == "POST" && is_it(path));
        found.map(|(_, path, _)| path)
    }
}

async fn find_document(target: &Target) -> Option<Value> {
    for path in DOCUMENTS {
        let reply = target.get(path).send().await.ok()?;
        let json = reply.json();
        if reply.status == 200 && json.get("paths").is_some() {
            return Some(json);
        }
    }
    None
}

/// What can be seen of a requirement from outside. No `_`: a new id is decided on here as well.
#[expect(clippy::too_many_lines, reason = "every requirement is named")]
async fn probe(id: Id, site: &Site) -> Probed {
    match id {
        Id::E1 => questions::transport(site).await,
        Id::H1 => questions::origins(site).await,
        Id::H6 => questions::policy(site),
        Id::H8 => questions::headers(site),
        Id::H9 => questions::hsts(site),
        Id::H10 => questions::hosts(site).await,
        Id::H13 => questions::errors(site).await,
        Id::S1 | Id::S6 => questions::cookies(site),
        Id::I10 => questions::open_operations(site).await,
        Id::I4 | Id::L2 => questions::sign_in(site).await,
        Id::L1 => questions::limits(site).await,
        Id::L5 => questions::told(site),
        Id::L10 => questions::hygiene(site).await,
        Id::B1 => questions::webhooks(site).await,
        Id::X1 | Id::M4 => questions::exposed(site, id).await,
        Id::N4 => questions::contact(site).await,
        Id::I1
        | Id::I2
        | Id::I3
        | Id::I5
        | Id::I6
        | Id::I7
        | Id::I8
        | Id::I9
        | Id::S2
        | Id::S3
        | Id::S4
        | Id::S5
        | Id::S7
        | Id::J1
        | Id::J2
        | Id::J3
        | Id::J4
        | Id::J5
        | Id::J6
        | Id::J7
        | Id::K1
        | Id::K2
        | Id::K3
        | Id::K4
        | Id::W1
        | Id::W2
        | Id::W3
        | Id::W4
        | Id::T1
        | Id::T2
        | Id::T3
        | Id::T4
        | Id::T5
        | Id::T6
        | Id::T7
        | Id::L3
        | Id::L4
        | Id::L6
        | Id::L7
        | Id::L8
        | Id::L9
        | Id::H2
        | Id::H3
        | Id::H4
        | Id::H5
        | Id::H7
        | Id::H11
        | Id::H12
        | Id::E2
        | Id::E3
        | Id::E4
        | Id::E5
        | Id::E6
        | Id::E7
        | Id::E8
        | Id::X2
        | Id::X3
        | Id::X4
        | Id::X5
        | Id::X6
        | Id::X7
        | Id::X8
        | Id::B2
        | Id::B3
        | Id::U1
        | Id::U2
        | Id::U3
        | Id::A1
        | Id::A2
        | Id::A3
        | Id::A4
        | Id::A5
        | Id::A6
        | Id::A7
        | Id::A8
        | Id::M1
        | Id::M2
        | Id::M3
        | Id::P1
        | Id::P2
        | Id::P3
        | Id::P4
        | Id::G1
        | Id::G2
        | Id::G3
        | Id::G4
        | Id::G5
        | Id::G6
        | Id::G7
        | Id::N1
        | Id::N2
        | Id::N3
        | Id::D1
        | Id::D2
        | Id::D3
        | Id::D4 => Err(Short::not_proven(
            "it cannot be seen from outside without an account",
        )),
    }
}
