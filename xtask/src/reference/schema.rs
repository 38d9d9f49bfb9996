//! `docs/reference/portcullis.schema.json`: the file as JSON Schema (2020-12), for editors.
//!
//! It knows names, types and words. What `portcullis check` knows beyond that (ranges, what belongs together) it
//! leaves to `check`.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::sample::has_own_table;
use super::{Key, Tables};

pub(super) fn render(tables: &Tables) -> Result<String> {
    let mut root = Map::new();
    root.insert(
        "mode".to_owned(),
        json!({ "description": "\"production\" (default) or \"development\".", "anyOf": [{ "enum": ["production", "development"] }, from_env()] }),
    );
    for (section, keys) in tables {
        let table = table(section.table, section.about, keys)?;
        place(&mut root, section.table, table);
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "portcullis.toml",
        "description": "Configuration of the Portcullis gate. Written by `cargo xtask docs` from the doc comments in the code.",
        "type": "object",
        "additionalProperties": false,
        "properties": root,
        "$defs": {
            "from-env": {
                "description": "The value of an environment variable.",
                "type": "object",
                "additionalProperties": false,
                "required": ["from-env"],
                "properties": {
                    "from-env": { "type": "string" },
                    "split": { "description": "What separates the items of a list.", "type": "string" },
                    "default": { "description": "The value where the variable is not set." },
                },
            },
            "secret": {
                "description": "Where a secret is read: never the secret itself.",
                "oneOf": [
                    { "type": "object", "additionalProperties": false, "required": ["env"], "properties": { "env": { "type": "string" } } },
                    { "type": "object", "additionalProperties": false, "required": ["file"], "properties": { "file": { "type": "string" } } },
                ],
            },
            "allow": {
                "oneOf": [
                    { "enum": ["public", "user", "closed"] },
                    { "type": "object", "additionalProperties": false, "required": ["role"], "properties": { "role": { "anyOf": [{ "type": "string" }, strings()] } } },
                    { "type": "object", "additionalProperties": false, "required": ["permission"], "properties": { "permission": { "type": "string", "pattern": "^[^:]+:[^:]+$" } } },
                    { "type": "object", "additionalProperties": false, "required": ["action", "owner"], "properties": { "action": { "type": "string" }, "owner": { "type": "string" } } },
                ],
            },
        },
    });
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

fn table(name: &str, about: &str, keys: &[Key]) -> Result<Value> {
    let mut properties = Map::new();
    // That of a route is placed in it afterwards.
    let is_here = |key: &&Key| !has_own_table(name, key) && key.kind != "Option<UploadConfig>";
    for key in keys.iter().filter(is_here) {
        let Some(of_type) = of(&key.kind, name) else {
            bail!(
                "[{name}] `{}`: reference/schema.rs does not know the type `{}`",
                key.name,
                key.kind
            );
        };
        let value = json!({ "description": key.about, "anyOf": [of_type, from_env()] });
        properties.insert(key.name.clone(), value);
    }
    let required: &[&str] = match name {
        "[route]" => &["path", "allow"],
        "[webhook]" => &["name", "path", "scheme", "secrets"],
        "[alert]" => &["name"],
        "[audit.witness]" => &["name", "url", "key"],
        "[data]" => &["field", "kind", "location", "seen-by", "retention"],
        "[purpose]" => &["name", "version", "about"],
        "[scan]" => &["name", "covers"],
        "upstream.NAME" => &["url"],
        "listen.tls" => &["cert", "key"],
        "secret-store.remote" => &["kind"],
        "audit.anchor-bucket" => &["name", "region"],
        "issuer.NAME.login" => &["client-id", "client-secret"],
        _ => &[],
    };
    Ok(
        json!({ "description": about, "type": "object", "additionalProperties": false, "required": required, "properties": properties }),
    )
}

/// Puts a table where its name says: `a`, `a.b`, `a.NAME`, `[a]`, `[a.b]`.
fn place(root: &mut Map<String, Value>, name: &str, table: Value) {
    if let Some(list) = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
    {
        let table = json!({ "type": "array", "items": table });
        // A list within a table.
        let within = list.split_once('.').and_then(|(outer, inner)| {
            let properties = root.get_mut(outer)?.get_mut("properties")?;
            Some((properties.as_object_mut()?, inner))
        });
        match within {
            Some((properties, inner)) => properties.insert(inner.to_owned(), table),
            None => root.insert(list.to_owned(), table),
        };
        return;
    }
    match name.split_once('.') {
        None => {
            root.insert(name.to_owned(), table);
        }
        Some((outer, "NAME")) => {
            root.insert(
                outer.to_owned(),
                json!({ "type": "object", "additionalProperties": table }),
            );
        }
        Some((outer, inner)) => {
            let mut outer = root.get_mut(outer);
            let mut name = inner;
            if let Some(rest) = inner.strip_prefix("NAME.") {
                outer = outer.and_then(|outer| outer.get_mut("additionalProperties"));
                name = rest;
            }
            if outer
                .as_ref()
                .is_some_and(|outer| outer.get("items").is_some())
            {
                outer = outer.and_then(|outer| outer.get_mut("items"));
            }
            let properties = outer.and_then(|outer| outer.get_mut("properties"));
            if let Some(properties) = properties.and_then(Value::as_object_mut) {
                properties.insert(name.to_owned(), table);
            }
        }
    }
}

fn from_env() -> Value {
    json!({ "$ref": "#/$defs/from-env" })
}

fn strings() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

/// What a Rust type takes; nothing for one that this does not know.
fn of(kind: &str, table: &str) -> Option<Value> {
    let inner = |wrapper: &str| {
        kind.strip_prefix(wrapper)
            .and_then(|rest| rest.strip_suffix('>'))
    };
    if let Some(kind) = inner("Option<").or_else(|| inner("NonZero<")) {
        return of(kind, table);
    }
    if let Some(kind) = inner("Vec<") {
        return Some(json!({ "type": "array", "items": of(kind, table)? }));
    }
    let words = |words: &[&str]| json!({ "enum": words });
    let framing = words(&["deny", "same-origin"]);
    Some(match kind {
        "bool" => json!({ "type": "boolean" }),
        "u8" | "u16" | "u32" | "u64" | "usize" => json!({ "type": "integer", "minimum": 0 }),
        "String" | "PathBuf" | "SocketAddr" | "IpNet" => json!({ "type": "string" }),
        "Span" => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        "ByteSize" => json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" }),
        "Rate" => {
            json!({ "type": "string", "pattern": "^[0-9]+/([a-z]+|[0-9]+(ms|s|m|h|d))( burst [0-9]+)?$" })
        }
        "SecretRef" => json!({ "$ref": "#/$defs/secret" }),
        "Location" => json!({ "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/secret" }] }),
        "Allow" => json!({ "$ref": "#/$defs/allow" }),
        "Framing" if table == "headers" => json!({ "anyOf": [framing, strings()] }),
        "Framing" => json!({ "anyOf": [framing, {
            "type": "object", "additionalProperties": false, "required": ["tenant"],
            "properties": { "tenant": { "type": "string" } }
        }] }),
        "TokenAlgorithm" => words(&["EdDSA", "HS256"]),
        "Algorithm" => words(&[
            "EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "HS256",
        ]),
        "Profile" => words(&["supabase", "clerk", "oidc"]),
        "Scheme" => words(&["stripe", "standard", "github", "slack", "hmac"]),
        "Encoding" => words(&["hex", "base64"]),
        "SameSite" => words(&["lax", "strict"]),
        "KekKind" => words(&["master", "secret", "transit", "aws-kms"]),
        "RemoteKind" => words(&["aws-secrets-manager", "openbao-kv"]),
        "TenantAtSignIn" => words(&["last", "ask"]),
        "TokenType" => words(&["any", "at+jwt", "JWT"]),
        "WhenFull" => words(&["end-oldest", "refuse"]),
        "OnOtherClient" => words(&["ignore", "challenge", "end"]),
        "Per" => words(&["address", "user", "session", "tenant", "api-key"]),
        "TenantAt" => json!({ "anyOf": [words(&["any"]), {
            "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
            "properties": {
                "path": { "type": "string" }, "host": { "type": "string" }, "header": { "type": "string" }
            }
        }] }),
        "CallerKind" => words(&["user", "api-key", "visitor"]),
        "Scope" => words(&["gate", "route"]),
        "FileType" => words(&["pdf", "docx", "txt", "md", "png", "jpeg"]),
        "Admit" => words(&["anyone", "known"]),
        "Registration" => words(&["closed", "open"]),
        "Nonces" => words(&["placeholder", "all", "off"]),
        "DataKind" => words(&[
            "personal",
            "special-category",
            "credential",
            "confidential",
            "public",
        ]),
        "Covers" => words(&[
            "code",
            "dependencies",
            "image",
            "secrets",
            "penetration-test",
            "proof",
        ]),
        "FindingLevel" => words(&["error", "warning", "note"]),
        "Severity" => words(&["low", "medium", "high"]),
        "Level" => words(&["error", "warn", "info", "debug", "trace"]),
        "Otherwise" => words(&["refuse", "quarantine"]),
        "Format" => words(&["json", "text"]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_schemas_and_unknown_ones_are_refused() {
        assert_eq!(
            of("Option<NonZero<usize>>", "x"),
            Some(json!({ "type": "integer", "minimum": 0 }))
        );
        assert_eq!(of("Vec<String>", "x"), Some(strings()));
        assert_eq!(of("Vec<Strange>", "x"), None);
    }

    #[test]
    fn a_table_goes_where_its_name_says() {
        let mut root = Map::new();
        place(&mut root, "listen", json!({ "properties": {} }));
        place(&mut root, "listen.tls", json!(1));
        place(&mut root, "roles.NAME", json!(2));
        place(&mut root, "[route]", json!(3));
        place(&mut root, "[listen.also]", json!(4));
        assert_eq!(root["listen"]["properties"]["tls"], 1);
        assert_eq!(root["roles"]["additionalProperties"], 2);
        assert_eq!(root["route"]["items"], 3);
        assert_eq!(root["listen"]["properties"]["also"]["items"], 4);
    }
}
