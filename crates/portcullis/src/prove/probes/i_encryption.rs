//! i. Transport, sealed fields, and what stands on the disk.

use std::process::Stdio;
use std::sync::Arc;

use portcullis_core::TenantId;
use portcullis_vault::tokens::random;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use super::d_api_keys::{sealed, vault_key};
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::{Copy, Folder, HOST, program};
use crate::prove::wire::{Addresses, Target};
use crate::prove::world::{World, base};

/// The first bytes of a `ClientHello` of TLS 1.1: record, handshake, version, random, no session, one suite of
/// that time, no compression.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap_or(u8::MAX);
    let mut record = vec![0x16, 3, 1, 0, length.saturating_add(4), 1, 0, 0, length];
    record.extend(hello);
    record
}

/// E1
#[expect(clippy::too_many_lines, reason = "one gate, asked in six ways")]
pub(super) async fn tls(scene: &Scene) -> Probed {
    let product = &scene.product;
    let folder = Folder::new()?;
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()])
        .map_err(|error| Short::not_proven(error.to_string()))?;
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    folder.write("cert.pem", &cert)?;
    folder.write("key.pem", &key)?;
    folder.write(
        "master",
        &hex::encode(random::<32>().map_err(|error| Short::not_proven(error.to_string()))?),
    )?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let text = format!(
        "mode = \"production\"\n\n[listen]\naddress = \"127.0.0.1:0\"\nredirect-http = \"{free}\"\n\n[listen.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[secrets]\nmaster = {{ file = \"master\" }}\n\n[hosts]\nallow = [\"{HOST}\"]\n\n[upstream.app]\nurl = \"{}\"\n\n[[route]]\npath = \"/\"\nallow = \"public\"\n",
        product.url()
    );
    let gate = Copy::with(folder, &text).await?;
    let certificate = CertificateDer::from_pem_slice(cert.as_bytes())
        .map_err(|error| Short::not_proven(format!("{error:?}")))?;
    let name = ServerName::try_from(HOST).map_err(|error| Short::not_proven(error.to_string()))?;
    let plain = Target::new(
        gate.address,
        HOST.to_owned(),
        format!("https://{HOST}"),
        Addresses::Loopback,
    );
    for version in [&TLS12, &TLS13] {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|error| Short::not_proven(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .map_err(|error| Short::not_proven(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let target = plain.clone().over_tls(Arc::new(config), name.clone());
        let reply = target.get("/").send().await?;
        must(
            reply.passed() && reply.header("strict-transport-security").is_some(),
            || format!("over {version:?} a page is answered {}", reply.said()),
            "[headers.hsts]",
        )?;
    }
    let refused = |answer: &[u8]| answer.is_empty() || answer.first() == Some(&0x15);
    let old = plain.raw(&old_hello()).await?;
    must(
        refused(&old),
        || "a handshake of TLS 1.1 is answered".to_owned(),
        ALWAYS,
    )?;
    let clear = plain
        .raw(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .await?;
    must(
        !clear.starts_with(b"HTTP/"),
        || "the TLS port speaks plain HTTP".to_owned(),
        ALWAYS,
    )?;
    let redirecting = Target::new(
        free,
        HOST.to_owned(),
        format!("http://{HOST}"),
        Addresses::Loopback,
    );
    let reply = redirecting.get("/a?b=c").send().await?;
    let to = reply.header("location").unwrap_or_default().to_owned();
    must(
        (301..309).contains(&reply.status) && to.starts_with("https://"),
        || format!("plain HTTP is answered {} to `{to}`", reply.said()),
        "[listen] redirect-http",
    )?;
    let live = &scene.live;
    let of_gate = match live.config().listen.tls {
        None if live.target.addresses == Addresses::Claimed => {
            "the gate itself stands behind a proxy that does TLS".to_owned()
        }
        None => "the gate itself is in development mode, without TLS".to_owned(),
        Some(_) => {
            let bare = Target::new(
                live.target.address,
                live.target.host.clone(),
                String::new(),
                Addresses::One,
            );
            must(
                refused(&bare.raw(&old_hello()).await?),
                || "the gate answers a handshake of TLS 1.1".to_owned(),
                ALWAYS,
            )?;
            "the gate itself refuses 1.1 as well".to_owned()
        }
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "TLS 1.2 and 1.3 are spoken, 1.1 gets an alert, plain HTTP {} to {to}; {of_gate}",
            reply.status
        ),
    ))
}

/// E2
pub(super) async fn database(_scene: &Scene) -> Probed {
    let with = |mode: &str| -> anyhow::Result<Hostile> {
        let url = format!("postgres://gate:6f1c9b0a7d@db.prove.test/gate{mode}");
        Ok(Hostile::sound()?
            .with("\n[state]\ndatabase = { file = \"database\" }\n")
            .file("database", &url))
    };
    with("?sslmode=verify-full")?.is_taken().await?;
    let mut said = String::new();
    for mode in ["?sslmode=disable", "?sslmode=prefer"] {
        said = with(mode)?.is_refused_for("state.database").await?;
    }
    let redis = Hostile::sound()?
        .with("\n[state]\nredis = { file = \"redis\" }\n")
        .file("redis", "redis://cache.prove.test/")
        .is_refused_for("state.redis")
        .await?;
    Ok(Held::at(
        Place::Start,
        format!("sslmode=disable and prefer: {said}; {redis}; verify-full is taken"),
    ))
}

/// E3
pub(super) async fn fields(scene: &Scene) -> Probed {
    let text = sealed(&scene.live, "users", "email", "ada@prove.invalid").await?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "an address becomes `{}..` ({} characters, AES-256-GCM), each time another text; changed or moved it does not open",
            text.chars().take(5).collect::<String>(),
            text.len()
        ),
    ))
}

async fn call(
    w: &World,
    key: &str,
    name: &str,
    tenant: TenantId,
    item: &Value,
) -> anyhow::Result<Value> {
    let ask = w
        .target
        .ask("POST", &base(&format!("/vault/{name}")))
        .bearer(key);
    let reply = ask
        .json(&json!({ "tenant": tenant.to_string(), "items": [item] }))
        .send()
        .await?;
    Ok(reply
        .json()
        .get("items")
        .and_then(|items| items.get(0))
        .cloned()
        .unwrap_or(Value::Null))
}

/// E4
pub(super) async fn integrations(scene: &Scene) -> Probed {
    let w = &scene.live;
    let key = vault_key(w).await?;
    let config =
        json!({ "github": { "token": "ghp_proveproveproveproveprove0123456789" } }).to_string();
    let item =
        json!({ "table": "user_integrations", "field": "config", "row": "9", "value": config });
    let sealed = call(w, &key, "seal", w.a.id, &item).await?;
    let text = sealed
        .get("sealed")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    must(
        !text.is_empty() && !text.contains("ghp_"),
        || "credentials are not sealed".to_owned(),
        "[vault]",
    )?;
    let item =
        json!({ "table": "user_integrations", "field": "config", "row": "9", "sealed": text });
    let own = call(w, &key, "open", w.a.id, &item).await?;
    must(
        own.get("value").and_then(Value::as_str) == Some(config.as_str()),
        || "what was sealed does not open".to_owned(),
        ALWAYS,
    )?;
    let other = call(w, &key, "open", w.b.id, &item).await?;
    must(
        other.get("value").is_none(),
        || "another tenant opens it".to_owned(),
        ALWAYS,
    )?;
    let bound = w.key(&[crate::vault_api::OPEN], Some(&w.b)).await?;
    let foreign = call(w, bound.text.expose(), "open", w.a.id, &item).await?;
    must(
        foreign.get("value").is_none(),
        || "a key of another tenant opens it".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Gate,
        "a JSON of credentials is sealed and opens for its tenant; for another one, and by another one's key, it does not",
    ))
}

/// E6
pub(super) async fn earlier_key(_scene: &Scene) -> Probed {
    let with = |key: &str| -> anyhow::Result<Hostile> {
        Ok(Hostile::sound()?
            .with("\n[vault]\nfernet-keys = [{ file = \"fernet\" }]\n")
            .file("fernet", key))
    };
    let good = random::<32>().map_err(|error| Short::not_proven(error.to_string()))?;
    let good = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, good);
    with(&good)?.is_taken().await?;
    let short = with("c2hvcnQga2V5IG9mIDE4IGI=")?
        .is_refused_for("vault.fernet-keys")
        .await?;
    Ok(Held::at(
        Place::Start,
        format!("32 bytes in base64 are taken, fewer are not: {short}"),
    ))
}

/// E7
pub(super) async fn backups(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let copy = w
        .copy
        .as_ref()
        .ok_or_else(|| Short::not_proven("there is no copy"))?;
    if !cfg!(feature = "backup") {
        return Err(Short::not_proven(
            "this program was built without backups (`--features full`)",
        ));
    }
    let run = async |arguments: &[&str]| {
        let mut command = program(&copy.config())?;
        command
            .args(arguments)
            .current_dir(copy.folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        anyhow::Ok(command.output().await?)
    };
    let mut recipients = Vec::new();
    for name in ["own.key", "other.key"] {
        let made = run(&["backup", "keygen", "--to", name]).await?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
        let found = text
            .split_whitespace()
            .find(|word| word.starts_with("age1"))
            .map(str::to_owned);
        recipients.push(
            found.ok_or_else(|| Short::not_proven(format!("`backup keygen`: {}", text.trim())))?,
        );
    }
    let own = recipients.first().cloned().unwrap_or_default();
    let made = run(&["backup", "--to", "gate.backup", "--recipient", &own]).await?;
    must(
        made.status.success(),
        || format!("`backup`: {}", String::from_utf8_lossy(&made.stderr)),
        "[backup]",
    )?;
    let bytes = std::fs::read(copy.folder.path().join("gate.backup"))?;
    let clear = bytes.windows(13).any(|part| part == b"prove.invalid");
    must(
        bytes.starts_with(b"age-encryption.org/v1") && !clear,
        || "the backup is not encrypted".to_owned(),
        ALWAYS,
    )?;
    let opens = run(&[
        "restore",
        "--check",
        "--from",
        "gate.backup",
        "--identity-file",
        "own.key",
    ])
    .await?;
    must(
        opens.status.success(),
        || {
            format!(
                "its own key does not open it: {}",
                String::from_utf8_lossy(&opens.stderr)
            )
        },
        ALWAYS,
    )?;
    let other = run(&[
        "restore",
        "--check",
        "--from",
        "gate.backup",
        "--identity-file",
        "other.key",
    ])
    .await?;
    must(
        !other.status.success(),
        || "another key opens it".to_owned(),
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{} bytes in the format of age, without any address in the clear; its own key restores them on trial, another does not",
            bytes.len()
        ),
    ))
}
