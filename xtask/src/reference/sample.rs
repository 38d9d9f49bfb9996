//! `examples/portcullis.full.toml`: every key where it stands, with its default. `portcullis init` begins with it.
//!
//! A commented key shows its default; where there is none, `e.g.` stands beside it. Tables are
//! separated by one empty line each and hold none: whoever reads the file can cut it there.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::{Key, Tables};

const HEAD: &str = "# Portcullis: every key, where it stands. A key with `#` in front shows its default, or an example (e.g.).
# Unknown keys are errors; `portcullis check` says everything that is wrong. Secrets are named, never written:
# { env = \"NAME\" } or { file = \"path\" }. Any value can come from a variable, { from-env = \"NAME\", default = .. },
# lists with split = \",\"; and the variable beside a key overrides it.

# \"production\" (default) or \"development\". Development listens on loopback only and says what it relaxes.
mode = \"production\"                                                   # PORTCULLIS__MODE
";

/// Tables in the order of the sample, where it differs: routes come last, there are many of them.
const LAST: &[&str] = &["roles.NAME", "[route]"];

/// Tables that stand in a list, where no table of the sample can be: shown as one key of what they stand in.
const WITHIN: &[&str] = &["route.upload"];

/// What is live: without it there is no gate.
const LIVE: &[(&str, &str, &str)] = &[
    ("secrets", "master", "{ env = \"SECRET_KEY\" }"),
    ("upstream.NAME", "url", "\"http://127.0.0.1:8000\""),
    ("hosts", "allow", "[\"app.example.com\"]"),
    ("[route]", "path", "\"/{*path}\""),
    ("[route]", "allow", "\"user\""),
];

/// Defaults that a doc comment tells in words.
const IN_WORDS: &[(&str, &str, &str)] = &[
    ("[webhook]", "limits", "[\"default\"]"),
    ("issuer.NAME", "roles", "[\"user\"]"),
    ("issuer.NAME", "administrator-roles", "[\"admin\"]"),
    ("issuer.NAME.login", "scopes", "[\"openid\", \"email\"]"),
    ("issuer.NAME.login", "accounts", "\"anyone\""),
    (
        "cors",
        "allow-methods",
        "[\"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\"]",
    ),
    (
        "cors",
        "allow-headers",
        "[\"Accept\", \"Authorization\", \"Content-Type\", \"X-CSRF-Token\"]",
    ),
    (
        "cors",
        "expose-headers",
        "[\"RateLimit\", \"RateLimit-Policy\", \"Retry-After\", \"X-Request-Id\"]",
    ),
    (
        "headers",
        "csp",
        "\"default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'\"",
    ),
    (
        "headers",
        "permissions-policy",
        "\"camera=(), geolocation=(), microphone=(), payment=(), usb=()\"",
    ),
    (
        "headers",
        "remove",
        "[\"Server\", \"X-Powered-By\", \"X-AspNet-Version\", \"X-AspNetMvc-Version\", \"X-Runtime\"]",
    ),
];

/// Keys without a default, or with none that would show anything.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("redaction", "fields", "[\"iban\", \"customer_number\"]"),
    ("redaction", "prefixes", "[\"shop_live_\"]"),
    ("[data]", "field", "\"users.full_name\""),
    ("[data]", "kind", "\"personal\""),
    ("[data]", "location", "\"PostgreSQL of the product\""),
    ("[data]", "seen-by", "[\"admin\"]"),
    ("[data]", "retention", "\"until the account is erased\""),
    ("[purpose]", "name", "\"marketing\""),
    ("[purpose]", "version", "\"2026-11\""),
    (
        "[purpose]",
        "about",
        "\"News by letter, at most once a month\"",
    ),
    ("[scan]", "name", "\"trivy\""),
    ("[scan]", "covers", "\"image\""),
    ("retention", "switched-off-accounts", "\"730d\""),
    ("openapi", "file", "\"openapi.json\""),
    ("openapi", "base-path", "\"/api/v1\""),
    (
        "security-txt",
        "contact",
        "[\"mailto:security@shop.example\"]",
    ),
    ("security-txt", "expires", "\"2027-06-30T00:00:00Z\""),
    (
        "security-txt",
        "policy",
        "[\"https://shop.example/security\"]",
    ),
    (
        "security-txt",
        "encryption",
        "[\"https://shop.example/pgp-key.txt\"]",
    ),
    (
        "security-txt",
        "acknowledgments",
        "[\"https://shop.example/thanks\"]",
    ),
    ("security-txt", "preferred-languages", "[\"en\", \"de\"]"),
    (
        "security-txt",
        "canonical",
        "[\"https://shop.example/.well-known/security.txt\"]",
    ),
    ("error-reports", "dsn", "{ env = \"SENTRY_DSN\" }"),
    ("secrets", "previous", "[{ env = \"SECRET_KEY_PREVIOUS\" }]"),
    (
        "secrets",
        "imported-api-keys",
        "{ env = \"OLD_SECRET_KEY\" }",
    ),
    ("api-keys", "imported-prefix", "\"shop\""),
    ("api-keys", "max-lifetime", "\"365d\""),
    ("[route]", "callers", "[\"user\", \"api-key\"]"),
    ("listen", "redirect-http", "\"0.0.0.0:80\""),
    ("listen", "trusted-proxies", "[\"10.0.0.0/8\"]"),
    ("forward-auth", "proxies", "[\"10.0.0.0/8\"]"),
    ("listen.tls", "cert", "\"cert.pem\""),
    ("listen.tls", "key", "\"key.pem\""),
    ("upstream.NAME", "ca", "\"ca.pem\""),
    ("accounts", "origin", "\"https://shop.example\""),
    ("mail", "server", "\"smtps://mail.example.com:465\""),
    ("mail", "user", "\"shop\""),
    ("mail", "password", "{ env = \"SMTP_PASSWORD\" }"),
    ("mail", "from", "\"Shop <no-reply@shop.example>\""),
    ("mail", "ca", "\"ca.pem\""),
    ("mail", "folder", "\"mail\""),
    ("mfa", "required-for", "[\"admin\"]"),
    ("mfa", "issuer", "\"Shop\""),
    ("passkeys", "rp-id", "\"shop.example\""),
    ("passkeys", "origins", "[\"https://app.shop.example\"]"),
    ("[route]", "max-age", "\"15m\""),
    ("state", "redis", "{ env = \"REDIS_URL\" }"),
    ("state", "redis-ca", "\"redis-ca.pem\""),
    ("sessions", "carried-over-cookie", "\"session\""),
    ("[route]", "methods", "[\"GET\", \"POST\"]"),
    ("[route]", "upstream", "\"app\""),
    ("[route]", "host", "\"app.example.com\""),
    ("[route]", "callers", "[\"user\", \"api-key\"]"),
    ("[route]", "limits", "[\"uploads\"]"),
    ("[route]", "framing", "\"same-origin\""),
    ("[route]", "max-body", "\"1MiB\""),
    (
        "[route]",
        "upload",
        "{ types = [\"pdf\", \"docx\"], max-size = \"10MiB\", max-files = 1 }",
    ),
    ("[route]", "timeout", "\"30s\""),
    ("roles.NAME", "inherits", "[\"user\"]"),
    ("roles.NAME", "permissions", "[\"read:all\"]"),
    ("roles.NAME", "may-give", "[\"user\"]"),
    ("[route]", "tenant", "{ path = \"org\" }"),
    ("[route]", "consent", "\"marketing\""),
    ("limits.NAME", "rate", "\"10/hour burst 20\""),
    ("limits.NAME", "rates", "[\"60/minute\", \"1000/hour\"]"),
    ("limits.NAME", "exempt", "[\"/health\"]"),
    ("accounts", "registration-roles", "[\"user\"]"),
    ("auth-api", "mounts", "[\"/api/v1/auth\"]"),
    ("forward-auth", "proxies", "[\"127.0.0.1/32\"]"),
    ("passwords", "context-words", "[\"name-of-the-product\"]"),
    ("visitors", "features", "[\"microphone\"]"),
    ("csrf", "trusted-origins", "[\"https://admin.example.com\"]"),
    ("cors", "allow-origins", "[\"https://www.example.com\"]"),
    ("headers", "placeholder", "\"RANDOM-LETTERS-AND-DIGITS\""),
    ("tokens", "secret", "{ env = \"JWT_SECRET\" }"),
    (
        "tokens",
        "previous-secrets",
        "[{ env = \"JWT_SECRET_PREVIOUS\" }]",
    ),
    ("issuer.NAME", "profile", "\"supabase\""),
    (
        "issuer.NAME",
        "issuer",
        "\"https://abc.supabase.co/auth/v1\"",
    ),
    ("issuer.NAME", "audience", "[\"authenticated\"]"),
    (
        "issuer.NAME",
        "authorized-parties",
        "[\"https://app.example.com\"]",
    ),
    ("issuer.NAME", "algorithms", "[\"RS256\", \"ES256\"]"),
    ("issuer.NAME", "secret", "{ env = \"SUPABASE_JWT_SECRET\" }"),
    (
        "issuer.NAME",
        "jwks",
        "\"https://id.example.com/keys.json\"",
    ),
    ("issuer.NAME", "tenant-claim", "\"app_metadata.tenant_id\""),
    ("issuer.NAME", "administrators", "[\"you@example.com\"]"),
    ("issuer.NAME", "second-factor-claim", "\"amr\""),
    ("issuer.NAME", "second-factor-values", "[\"mfa\", \"otp\"]"),
    ("issuer.NAME.login", "client-id", "\"the-product\""),
    (
        "issuer.NAME.login",
        "client-secret",
        "{ env = \"COMPANY_CLIENT_SECRET\" }",
    ),
    ("issuer.NAME.login", "label", "\"Example Corp\""),
    ("issuer.NAME.login", "email-domains", "[\"example.com\"]"),
    (
        "issuer.NAME.login",
        "second-factor-amr",
        "[\"mfa\", \"otp\"]",
    ),
    (
        "issuer.NAME.login",
        "second-factor-acr",
        "[\"urn:example:mfa\"]",
    ),
    ("secret-store", "files", "\"/run/secrets\""),
    ("secret-store", "hook-upstream", "\"app\""),
    ("secret-store", "hook-path", "\"/internal/secret-rotated\""),
    ("secret-store.remote", "kind", "\"openbao-kv\""),
    (
        "secret-store.remote",
        "address",
        "\"https://bao.internal:8200\"",
    ),
    ("secret-store.remote", "namespace", "\"team\""),
    ("secret-store.remote", "token", "{ file = \"bao-token\" }"),
    ("secret-store.remote", "role-id", "\"a1b2c3d4-...\""),
    (
        "secret-store.remote",
        "secret-id",
        "{ file = \"bao-secret-id\" }",
    ),
    ("secret-store.remote", "ca", "\"bao-ca.pem\""),
    ("secret-store.remote", "region", "\"eu-central-1\""),
    (
        "secret-store.remote",
        "endpoint",
        "\"https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com\"",
    ),
    (
        "secret-store.remote",
        "credentials-file",
        "\"aws-credentials\"",
    ),
    ("secret-store.remote", "kms-key", "\"alias/portcullis\""),
    ("audit", "keep", "\"400d\""),
    ("audit", "anchor-file", "\"/mnt/elsewhere/checkpoints\""),
    ("audit.anchor-bucket", "name", "\"acme-audit\""),
    ("audit.anchor-bucket", "region", "\"eu-central-1\""),
    (
        "audit.anchor-bucket",
        "endpoint",
        "\"https://minio.internal:9000\"",
    ),
    (
        "audit.anchor-bucket",
        "credentials-file",
        "\"aws-credentials\"",
    ),
    ("kek", "secret", "{ env = \"KEK_SECRET\" }"),
    ("kek", "address", "\"https://bao.internal:8200\""),
    ("kek", "key", "\"portcullis\""),
    ("kek", "namespace", "\"team\""),
    ("kek", "token", "{ file = \"bao-token\" }"),
    ("kek", "role-id", "\"a1b2c3d4-...\""),
    ("kek", "secret-id", "{ file = \"bao-secret-id\" }"),
    ("kek", "ca", "\"bao-ca.pem\""),
    ("kek", "region", "\"eu-central-1\""),
    (
        "kek",
        "endpoint",
        "\"https://vpce-1.kms.eu-central-1.vpce.amazonaws.com\"",
    ),
    ("kek", "credentials-file", "\"aws-credentials\""),
    ("[previous-kek]", "secret", "{ env = \"KEK_SECRET\" }"),
    ("[previous-kek]", "address", "\"https://bao.internal:8200\""),
    ("[previous-kek]", "key", "\"portcullis\""),
    ("[previous-kek]", "namespace", "\"team\""),
    ("[previous-kek]", "token", "{ file = \"bao-token\" }"),
    ("[previous-kek]", "role-id", "\"a1b2c3d4-...\""),
    (
        "[previous-kek]",
        "secret-id",
        "{ file = \"bao-secret-id\" }",
    ),
    ("[previous-kek]", "ca", "\"bao-ca.pem\""),
    ("[previous-kek]", "region", "\"eu-central-1\""),
    (
        "[previous-kek]",
        "endpoint",
        "\"https://vpce-1.kms.eu-central-1.vpce.amazonaws.com\"",
    ),
    ("[previous-kek]", "credentials-file", "\"aws-credentials\""),
    (
        "vault",
        "fernet-keys",
        "[{ env = \"API_KEY_ENCRYPTION_KEY\" }]",
    ),
    ("anomalies.login-burst", "off", "\"why it is switched off\""),
    (
        "anomalies.credential-stuffing",
        "off",
        "\"why it is switched off\"",
    ),
    ("anomalies.enumeration", "off", "\"why it is switched off\""),
    ("anomalies.new-device", "off", "\"why it is switched off\""),
    (
        "anomalies.key-networks",
        "off",
        "\"why it is switched off\"",
    ),
    (
        "anomalies.limit-attack",
        "off",
        "\"why it is switched off\"",
    ),
    (
        "anomalies.denial-surge",
        "off",
        "\"why it is switched off\"",
    ),
    ("anomalies.error-surge", "off", "\"why it is switched off\""),
    (
        "anomalies.stolen-credential",
        "off",
        "\"why it is switched off\"",
    ),
    (
        "anomalies.impossible-travel",
        "off",
        "\"why it is switched off\"",
    ),
    ("places", "database", "\"GeoLite2-City.mmdb\""),
    ("places", "known", "[\"198.51.100.0/24\"]"),
    ("[alert]", "name", "\"ops\""),
    ("[audit.witness]", "name", "\"one\""),
    ("[audit.witness]", "url", "\"https://witness.example.com\""),
    (
        "[audit.witness]",
        "key",
        "\"witness.example.com/w1+f56d3a5a+BBQ1QUZ...\"",
    ),
    ("[alert]", "email", "[\"duty@corp.example\"]"),
    ("[alert]", "slack", "{ env = \"SLACK_WEBHOOK\" }"),
    (
        "[alert]",
        "webhook",
        "\"https://desk.example/hooks/portcullis\"",
    ),
    ("[alert]", "secret", "{ env = \"ALERT_SECRET\" }"),
    ("[alert]", "sources", "[\"stolen-credential\"]"),
    ("[webhook]", "name", "\"stripe\""),
    ("[webhook]", "path", "\"/webhooks/stripe\""),
    ("[webhook]", "scheme", "\"stripe\""),
    (
        "[webhook]",
        "secrets",
        "[{ env = \"STRIPE_WEBHOOK_SECRET\" }]",
    ),
    ("[webhook]", "upstream", "\"app\""),
    ("[webhook]", "upstream-path", "\"/hooks/stripe\""),
    ("[webhook]", "order-by", "\"/data/object/id\""),
    ("[webhook]", "signature-header", "\"X-Signature\""),
    ("[webhook]", "signature-prefix", "\"sha256=\""),
    ("[webhook]", "signature-encoding", "\"base64\""),
    ("[webhook]", "timestamp-header", "\"X-Timestamp\""),
    ("[webhook]", "id-at", "\"/id\""),
    ("uploads", "scanner", "\"127.0.0.1:3310\""),
    (
        "backup",
        "recipients",
        "[\"age1qy352euf40x77qfrg4ncn27dauqjx3t83x2ap2hwlylxjkg9q3sfq3xh2\"]",
    ),
    ("environment", "read-by-the-product", "[\"SENTRY_DSN\"]"),
];

const WIDTH: usize = 104;

pub(super) fn render(tables: &Tables) -> Result<String> {
    let mut text = HEAD.to_owned();
    let is_last = |table: &str| LAST.contains(&table) || WITHIN.contains(&table);
    let first = tables.iter().filter(|(section, _)| !is_last(section.table));
    let last = LAST
        .iter()
        .filter_map(|table| tables.iter().find(|(section, _)| section.table == *table));
    for (section, keys) in first.chain(last) {
        let table = section.table;
        text.push('\n');
        wrap(&mut text, section.about);
        // A table that needs values of its own, or that makes something be there, is not live.
        let mark = if matches!(
            table,
            "listen.tls"
                | "limits.NAME"
                | "roles.NAME"
                | "tokens"
                | "issuer.NAME"
                | "issuer.NAME.login"
                | "visitors"
                | "[webhook]"
                | "[alert]"
                | "vault"
                | "secret-store"
                | "secret-store.remote"
                | "audit.anchor-bucket"
                | "[audit.witness]"
                | "upload-store"
                | "security-txt"
                | "[previous-kek]"
                | "[data]"
                | "[purpose]"
                | "[scan]"
        ) {
            "# "
        } else {
            ""
        };
        let _ = writeln!(text, "{mark}[{}]", name(table));
        for key in keys.iter().filter(|key| !has_own_table(table, key)) {
            push(&mut text, table, key)?;
        }
    }
    Ok(text)
}

fn push(text: &mut String, table: &str, key: &Key) -> Result<()> {
    wrap(text, &key.about);
    let (mark, value, kind) = if let Some(value) = known(LIVE, table, key) {
        ("", value.to_owned(), "")
    } else if let Some(value) = known(EXAMPLES, table, key) {
        ("# ", value.to_owned(), "e.g. ")
    } else {
        let value = known(IN_WORDS, table, key)
            .map(str::to_owned)
            .or_else(|| default(&key.about));
        let value = value.with_context(|| format!("[{table}] `{}`: its doc comment says no default (Default `..`), and reference/sample.rs no example", key.name))?;
        ("# ", value, "")
    };
    let line = format!("{mark}{} = {value}", key.name);
    // Routes are a list: no variable can mean one of them.
    let note = if table.starts_with('[') {
        kind.to_owned()
    } else {
        format!("{kind}{}", variable(table, &key.name))
    };
    if note.is_empty() {
        let _ = writeln!(text, "{line}");
    } else {
        let _ = writeln!(text, "{line:<70} # {}", note.trim_end());
    }
    Ok(())
}

fn known(list: &'static [(&str, &str, &str)], table: &str, key: &Key) -> Option<&'static str> {
    list.iter()
        .find(|(known, name, _)| *known == table && *name == key.name)
        .map(|(_, _, value)| *value)
}

/// `[listen] tls` is `[listen.tls]`, and `[audit] witness` is `[[audit.witness]]`.
pub(super) fn has_own_table(table: &str, key: &Key) -> bool {
    let own = format!("{table}.{}", key.name);
    super::SECTIONS.iter().any(|section| {
        let list = section.table.trim_start_matches('[').trim_end_matches(']');
        list == own
    })
}

fn name(table: &str) -> String {
    let name = match table {
        "upstream.NAME" => "app",
        "limits.NAME" => "uploads",
        "roles.NAME" => "support",
        _ => "NAME",
    };
    table.replace("NAME", name)
}

fn variable(table: &str, key: &str) -> String {
    format!("PORTCULLIS__{}__{key}", name(table).replace('.', "__"))
        .replace('-', "_")
        .to_ascii_uppercase()
}

/// What a doc comment says of the default, as TOML: "Default `"30m"`", "Default 20000", "`"lax"` (default)".
fn default(about: &str) -> Option<String> {
    let stated = if let Some((before, _)) = about.split_once("` (default") {
        before.rsplit('`').next()?.to_owned()
    } else {
        let rest = about.split_once("Default")?.1;
        let rest = rest.trim_start_matches(':').trim_start();
        match rest.strip_prefix('`') {
            Some(quoted) => quoted.split('`').next()?.to_owned(),
            None => rest
                .split_whitespace()
                .next()?
                .trim_end_matches(['.', ',', ';', ':'])
                .replace(',', ""),
        }
    };
    let is_value = stated.starts_with('"')
        || stated.parse::<i64>().is_ok()
        || stated == "true"
        || stated == "false";
    is_value.then_some(stated)
}

fn wrap(text: &mut String, about: &str) {
    let mut line = String::from("#");
    for word in about.split_whitespace() {
        if line.len() + word.len() >= WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_read_from_its_sentence() {
        for (about, expected) in [
            (
                "How long. Default `\"30m\"`, least `\"2m\"`.",
                Some("\"30m\""),
            ),
            ("How many. Default 20,000, at most a lot.", Some("20000")),
            ("Whether. Default `true`.", Some("true")),
            ("Whether. Default false.", Some("false")),
            (
                "What: `\"gate\"` (default): one. `\"route\"`: each.",
                Some("\"gate\""),
            ),
            ("Which. Default: none.", None),
            ("Which. Default `Accept`, `Authorization`.", None),
            ("Which.", None),
        ] {
            assert_eq!(default(about).as_deref(), expected, "{about}");
        }
    }
}
