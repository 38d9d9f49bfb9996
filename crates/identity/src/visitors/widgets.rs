//! Which pages may open the widget of a tenant: the origins that the tenant has named.
//!
//! - An origin is written as browsers write it, and compared byte for byte: no wildcard, no path, no
//!   other spelling, never `null`. In production it is `https`.
//! - A tenant that has named none, is suspended or is not there has no widget. One answer for all.
//! - Memory holds what was asked for lately, also that a name is nobody's; a bounded number of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::{Clock, Mode, TenantId, Timestamp, binding};
use portcullis_store::revocations::{Feed, Revocation};
use portcullis_store::{Db, Tx};
use uuid::Uuid;

use super::Error;
use crate::memory::Memory;

/// So many names are remembered.
const MOST_NAMES: usize = 20_000;
/// So many origins has a tenant at most: they all stand in a header.
const MOST_ORIGINS: usize = 32;

/// The widget of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widget {
    pub tenant: TenantId,
    pub origins: Box<[Box<str>]>,
    /// The same, as the sources of `frame-ancestors`.
    pub ancestors: Box<str>,
}

impl Widget {
    /// Whether the value of an `Origin` header names one of the tenant's.
    pub fn admits(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|known| known.as_bytes() == origin)
    }
}

/// What is remembered of widgets.
pub struct Widgets {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    names: Memory<Box<str>, Option<Arc<Widget>>>,
}

impl Widgets {
    pub(super) fn new(db: Db, feed: Arc<Feed>, clock: Arc<dyn Clock>) -> Self {
        Widgets {
            db,
            feed,
            clock,
            names: Memory::holding(MOST_NAMES),
        }
    }

    /// The widget of the tenant with this short name or id, from memory: the outer option is nothing
    /// where memory does not know, the inner one where there is none. Never waits.
    pub fn lookup(&self, name: &str) -> Option<Option<Arc<Widget>>> {
        if !is_name(name) {
            return Some(None);
        }
        if !self.feed.is_fresh(self.clock.now()) {
            return None;
        }
        self.names.with(name, Clone::clone)
    }

    /// The same from the database, and remembers it.
    pub async fn load(&self, name: &str) -> Result<Option<Arc<Widget>>, Error> {
        let ticket = self.names.ticket();
        let found = match tenant(&self.db, name).await? {
            None => None,
            Some(tenant) => widget(tenant, &origins(&self.db, tenant).await?),
        };
        self.names.remember(name.into(), found.clone(), ticket);
        Ok(found)
    }

    /// Applies one revocation from the feed. Never waits.
    pub(super) fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Tenant(id) => {
                // Also what is nobody's: that may be this tenant's from now on.
                self.names
                    .forget(|known| known.as_ref().is_none_or(|known| known.tenant == id));
            }
            Revocation::Everything => self.names.forget(|_| true),
            Revocation::Session(_)
            | Revocation::User(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::DataKeys
            | Revocation::Consents(_)
            | Revocation::Incidents => {}
        }
    }
}

fn widget(tenant: TenantId, origins: &[String]) -> Option<Arc<Widget>> {
    if origins.is_empty() {
        return None;
    }
    Some(Arc::new(Widget {
        tenant,
        ancestors: origins.join(" ").into(),
        origins: origins
            .iter()
            .map(|origin| origin.as_str().into())
            .collect(),
    }))
}

/// Whether a tenant could be called this.
fn is_name(name: &str) -> bool {
    binding::is_slug(name) || id(name).is_some()
}

/// An id in the one spelling in which it counts here.
fn id(name: &str) -> Option<TenantId> {
    let id: Uuid = name.parse().ok()?;
    let mut text = Uuid::encode_buffer();
    (*id.hyphenated().encode_lower(&mut text) == *name).then(|| TenantId::from_uuid(id))
}

/// The tenant with this short name or id, unless it is suspended.
pub(super) async fn tenant(
    db: &Db,
    name: &str,
) -> Result<Option<TenantId>, portcullis_store::Error> {
    const BY_SLUG: &str = "SELECT id FROM tenant WHERE slug = $1 AND suspended_at IS NULL";
    const BY_ID: &str = "SELECT id FROM tenant WHERE id = $1 AND suspended_at IS NULL";
    let row = match id(name) {
        Some(id) => db.fetch_optional(BY_ID, &[id.into()]).await?,
        None if binding::is_slug(name) => db.fetch_optional(BY_SLUG, &[name.into()]).await?,
        None => None,
    };
    row.map(|row| row.uuid("id").map(TenantId::from_uuid))
        .transpose()
}

pub(super) async fn origins(
    db: &Db,
    tenant: TenantId,
) -> Result<Vec<String>, portcullis_store::Error> {
    const SQL: &str = "SELECT origin FROM widget_origin WHERE tenant_id = $1 ORDER BY origin";
    let rows = db.fetch_all(SQL, &[tenant.into()]).await?;
    rows.iter().map(|row| row.text("origin")).collect()
}

/// Makes exactly these the origins of the tenant, and ends what began on others.
pub(super) async fn replace(
    tx: &mut Tx,
    tenant: TenantId,
    origins: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    // Takes hold of the tenant, so that of two that replace at once one waits.
    const HOLD: &str = "UPDATE tenant SET name = name WHERE id = $1";
    const CLEAR: &str = "DELETE FROM widget_origin WHERE tenant_id = $1";
    const ADD: &str =
        "INSERT INTO widget_origin (tenant_id, origin, created_at) VALUES ($1, $2, $3)";
    const END: &str = "UPDATE visitor SET revoked_at = $2 WHERE tenant_id = $1 AND revoked_at IS NULL AND NOT EXISTS (SELECT 1 FROM widget_origin o WHERE o.tenant_id = visitor.tenant_id AND o.origin = visitor.origin)";
    tx.execute(HOLD, &[tenant.into()]).await?;
    tx.execute(CLEAR, &[tenant.into()]).await?;
    for origin in origins {
        tx.execute(ADD, &[tenant.into(), origin.into(), now.into()])
            .await?;
    }
    tx.execute(END, &[tenant.into(), now.into()]).await?;
    Ok(())
}

/// The origins as browsers write them, each once; or what is wrong with the first that is none.
pub(super) fn canonical_list(texts: &[String], mode: Mode) -> Result<Vec<String>, Error> {
    let refused = |message: String| Error::Invalid {
        field: "origins".to_owned(),
        message,
    };
    let mut origins = BTreeSet::new();
    for text in texts {
        origins.insert(canonical(text, mode).map_err(|why| refused(format!("`{text}` {why}")))?);
    }
    if origins.len() > MOST_ORIGINS {
        return Err(refused(format!("must be at most {MOST_ORIGINS}")));
    }
    Ok(origins.into_iter().collect())
}

fn canonical(text: &str, mode: Mode) -> Result<String, String> {
    let example = "is no origin: write it like `https://www.example.com`".to_owned();
    if text.len() > 256 || text.contains('*') {
        return Err(example);
    }
    let url = url::Url::parse(text).map_err(|_| example.clone())?;
    let origin = url.origin();
    // An opaque origin is written `null`, and would be everybody's.
    if !origin.is_tuple() || !matches!(url.scheme(), "http" | "https") {
        return Err(example);
    }
    let written = origin.ascii_serialization();
    if written != text {
        return Err(format!("has to be written `{written}`"));
    }
    if url.scheme() == "http" && mode == Mode::Production {
        return Err(
            "can be changed by anyone on the way: in production it has to be https".to_owned(),
        );
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling_and_no_wildcard() {
        let is_origin = |text: &str, mode| canonical(text, mode).is_ok();
        for (text, expected) in [
            ("https://shop.example.com", true),
            ("https://shop.example.com:8443", true),
            ("https://xn--bcher-kva.example", true),
            ("https://shop.example.com/", false),
            ("https://shop.example.com:443", false),
            ("https://Shop.example.com", false),
            ("https://user@shop.example.com", false),
            ("https://shop.example.com/a", false),
            ("https://shop.example.com?a", false),
            ("https://shop.example.com#a", false),
            ("https://*.example.com", false),
            ("https://shop.example.com https://evil.test", false),
            ("https://shop.example.com; script-src *", false),
            ("https://bücher.example", false),
            ("http://shop.example.com", false),
            ("shop.example.com", false),
            ("//shop.example.com", false),
            ("null", false),
            ("*", false),
            ("", false),
            ("data:text/html,x", false),
            ("file:///a", false),
            ("ftp://shop.example.com", false),
            ("javascript:alert(1)", false),
            ("blob:https://shop.example.com/x", false),
        ] {
            assert_eq!(is_origin(text, Mode::Production), expected, "{text}");
        }
        assert!(is_origin("http://localhost:3000", Mode::Development));
        assert!(!is_origin("null", Mode::Development));
    }

    #[test]
    fn a_tenant_is_called_by_its_short_name_or_its_id_in_one_spelling() {
        for (name, expected) in [
            ("acme", true),
            ("0191d3a0-0000-7000-8000-000000000000", true),
            ("0191D3A0-0000-7000-8000-000000000000", false),
            ("0191d3a0000070008000000000000000", false),
            ("Acme", false),
            ("a", false),
            ("", false),
            ("acme'--", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
