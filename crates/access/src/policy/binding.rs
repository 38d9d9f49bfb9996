//! From where a route says its tenant stands to what is compared.

use http::HeaderName;
use portcullis_core::binding::Binding;
use portcullis_core::route::Pattern;

use crate::config::{Allow, TenantAt};

/// What is wrong with it: key, reason, remedy.
pub(super) type Wrong = (&'static str, String, String);

pub(super) fn compile(
    written: &TenantAt,
    allow: Option<&Allow>,
    pattern: &Pattern,
) -> Result<Binding, Wrong> {
    if allow.is_some_and(Allow::is_public) {
        return Err((
            "allow",
            "everybody may come, and nobody in particular works in a tenant".to_owned(),
            "write `allow = \"user\"`, or leave `tenant` out".to_owned(),
        ));
    }
    match written {
        TenantAt::Any => Ok(Binding::Any),
        TenantAt::Path(name) => {
            let is_last = pattern.params().last().is_some_and(|last| last == name);
            let is_rest = pattern.is_catch_all() && is_last;
            if pattern.params().any(|param| param == name) && !is_rest {
                return Ok(Binding::Path(name.clone()));
            }
            Err((
                "tenant.path",
                format!("`{name}` is not one segment of `{pattern}`"),
                format!("name one of its parameters, or write `{{{name}}}` into the path"),
            ))
        }
        TenantAt::Host(host) => suffix(host).map(Binding::Host).ok_or_else(|| {
            (
                "tenant.host",
                format!("`{host}` does not say where the tenant stands"),
                "write `{tenant}` as the whole first label, such as \"{tenant}.example.com\""
                    .to_owned(),
            )
        }),
        TenantAt::Header(name) => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(header) if is_free(&header) => Ok(Binding::Header(header)),
            Ok(_) | Err(_) => Err((
                "tenant.header",
                format!("`{name}` cannot name the tenant"),
                "name a header of the product's own, of letters, digits and `-`, such as \"X-Tenant\""
                    .to_owned(),
            )),
        },
    }
}

/// What follows `{tenant}`, with its dot.
fn suffix(host: &str) -> Option<String> {
    let rest = host.strip_prefix("{tenant}")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (rest.len() > 1
        && rest.starts_with('.')
        && !rest.ends_with('.')
        && !rest.contains("..")
        && rest.bytes().all(plain))
    .then(|| rest.to_ascii_lowercase())
}

/// Headers that the gate itself takes away or writes cannot say anything to the product.
fn is_free(header: &HeaderName) -> bool {
    let name = header.as_str();
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with("x-portcullis-")
        && !name.starts_with("x-forwarded-")
        && !["host", "cookie", "authorization", "x-api-key", "forwarded"].contains(&name)
}
