//! Visitors: people without an account, in a widget that other sites embed.
//!
//! - A visit begins on a page whose origin the tenant has named ([`widgets`]), and belongs to that
//!   tenant and that origin for as long as it lasts. The browser says the origin, and no page can
//!   have it say another.
//! - The token is shown once, to the page. The database holds its SHA-256 ([`store`]).
//! - A visit lasts a day, and another one from whenever it is used with less than four hours to go,
//!   for thirty days at the longest. Renewing changes the end and never the token, so that two tabs
//!   that renew at once both go on.
//! - Unknown, expired and revoked tokens get one answer. Nobody learns from it whether a visit was.
//! - What is kept of a visitor is what the browser tells every page of itself ([`metadata`]), for as
//!   long as the visit lasts.
//! - [`Visitors::lookup`] answers from memory; [`Visitors::load`] asks the database on a miss. When
//!   that is away, the caller answers 503.
//!
//! It does not say who somebody is: whoever has the token is the visitor, as with every bearer token.

mod cache;
pub mod http;
pub(crate) mod manage;
mod metadata;
pub mod script;
mod store;
pub mod widgets;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_core::principal::Visitor;
use portcullis_core::{Clock, Mode, Problem, Span, TenantId, Timestamp, VisitorId, problem};
use portcullis_events::{Action, Actor, Event, Outcome, Target, Trail};
use portcullis_store::Db;
use portcullis_store::Tx;
use portcullis_store::revocations::{Feed, Revocation, publish};
use portcullis_vault::{Token, TokenHash, tokens};
use serde::Deserialize;

use self::cache::Cache;
pub use self::cache::{Found, Live};
pub use self::metadata::Metadata;
pub use self::store::VisitorInfo;
pub use self::widgets::{Widget, Widgets};
use crate::accounts::By;
use crate::{Client, Finding};

/// What every token of a visitor begins with.
pub const PREFIX: &str = "pcv";
/// As it stands before the rest.
const MARK: &str = "pcv_";

/// The `[visitors]` table. Without it there are no visitors, and no route admits one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// How long a visit lasts. Default `"24h"`. Longer helps whoever finds a token.
    pub lifetime: Span,
    /// A visit that is used with less than this to go lasts another `lifetime`. Default `"4h"`.
    pub renew_below: Span,
    /// How long a visit lasts at the longest, however often it is used. Default `"30d"`.
    pub max_lifetime: Span,
    /// The product's page that the widget shows in its frame: a path with `{tenant}` as one whole
    /// segment. Default `"/widget/{tenant}"`. Give its route `framing = { tenant = "tenant" }`.
    pub page: String,
    /// What the frame may ask the browser for: `"microphone"`, `"camera"`, `"clipboard-write"`,
    /// `"autoplay"`, `"fullscreen"`. Default: nothing. `headers.permissions-policy` has to allow it too.
    pub features: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lifetime: Span::from_hours(24),
            renew_below: Span::from_hours(4),
            max_lifetime: Span::from_days(30),
            page: "/widget/{tenant}".to_owned(),
            features: Vec::new(),
        }
    }
}

/// What a frame can be given. Anything else is a mistake, or more than a widget needs.
const FEATURES: [&str; 5] = [
    "microphone",
    "camera",
    "clipboard-write",
    "autoplay",
    "fullscreen",
];

impl Config {
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut wrong = |key, message| findings.push(Finding { key, message });
        if self.lifetime.is_zero() || self.lifetime > Span::from_days(30) {
            wrong(
                "visitors.lifetime",
                "must be more than nothing and at most 30d",
            );
        }
        if self.renew_below >= self.lifetime {
            wrong(
                "visitors.renew-below",
                "must be less than `visitors.lifetime`",
            );
        }
        if self.max_lifetime < self.lifetime || self.max_lifetime > Span::from_days(365) {
            wrong(
                "visitors.max-lifetime",
                "must be at least `visitors.lifetime` and at most 365d",
            );
        }
        let is_plain = self.page.starts_with('/')
            && !self.page.contains("//")
            && self
                .page
                .split('/')
                .filter(|part| *part == "{tenant}")
                .count()
                == 1
            && self
                .page
                .replace("/{tenant}", "")
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
        if !is_plain {
            wrong(
                "visitors.page",
                "must be a path with `{tenant}` as one whole segment, such as \"/widget/{tenant}\"",
            );
        }
        if self
            .features
            .iter()
            .any(|name| !FEATURES.contains(&&**name))
        {
            wrong(
                "visitors.features",
                "must be some of \"microphone\", \"camera\", \"clipboard-write\", \"autoplay\" and \"fullscreen\"",
            );
        }
        findings
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One answer for a tenant that is not there, is suspended, or did not name the origin.
    #[error("no widget of this tenant opens on this origin")]
    OriginNotAllowed,
    #[error("there is no such visitor in this tenant")]
    NotFound,
    #[error("{field} {message}")]
    Invalid { field: String, message: String },
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::OriginNotAllowed => Problem::new(&problem::ORIGIN_NOT_ALLOWED),
            Error::NotFound => Problem::new(&problem::NOT_FOUND),
            Error::Invalid { field, message } => {
                Problem::new(&problem::INVALID_INPUT).field(field, message)
            }
            Error::Randomness(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}

/// What a bearer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Foreign,
    /// It begins as a visitor's token and cannot be one.
    Broken,
    Own(TokenHash),
}

/// A visit that has just begun. The token is to be shown this once.
#[derive(Debug)]
pub struct Begun {
    pub id: VisitorId,
    pub token: Token,
    pub expires_at: Timestamp,
}

/// What [`Visitors`] is made of.
pub struct Parts {
    pub db: Db,
    pub feed: Arc<Feed>,
    pub clock: Arc<dyn Clock>,
    pub trail: Trail,
    /// Nothing where nobody visits.
    pub config: Option<Config>,
    pub mode: Mode,
}

struct Inner {
    db: Db,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    trail: Trail,
    is_on: bool,
    config: Config,
    mode: Mode,
    cache: Cache,
    widgets: Widgets,
}

/// Visitors in memory and in the database. Cheap to clone.
#[derive(Clone)]
pub struct Visitors(Arc<Inner>);

impl Visitors {
    /// Hand each revocation that the feed brings to [`Visitors::revoked`]: memory is trusted while
    /// the feed is fresh.
    pub fn new(parts: Parts) -> Self {
        let widgets = Widgets::new(
            parts.db.clone(),
            Arc::clone(&parts.feed),
            Arc::clone(&parts.clock),
        );
        Visitors(Arc::new(Inner {
            db: parts.db,
            feed: parts.feed,
            clock: parts.clock,
            trail: parts.trail,
            is_on: parts.config.is_some(),
            config: parts.config.unwrap_or_default(),
            mode: parts.mode,
            cache: Cache::new(),
            widgets,
        }))
    }

    pub fn widgets(&self) -> &Widgets {
        &self.0.widgets
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What a bearer is. Never waits.
    pub fn read(&self, text: &str) -> Shape {
        if !self.0.is_on {
            return Shape::Foreign;
        }
        match text.strip_prefix(MARK) {
            None => Shape::Foreign,
            Some(rest) => {
                Token::parse(rest).map_or(Shape::Broken, |token| Shape::Own(token.hash()))
            }
        }
    }

    /// Whose token this is, from memory. Never waits.
    pub fn lookup(&self, hash: &TokenHash) -> Found {
        let this = &*self.0;
        let now = this.clock.now();
        if this.feed.is_fresh(now) {
            this.cache.lookup(hash, now, this.config.renew_below)
        } else {
            Found::Unknown
        }
    }

    /// When the visit with this token ends, where memory knows it and it goes on. Never waits.
    pub fn known_end(&self, hash: &TokenHash) -> Option<Timestamp> {
        let now = self.0.clock.now();
        let is_fresh = self.0.feed.is_fresh(now);
        is_fresh
            .then(|| self.0.cache.end(hash))
            .flatten()
            .filter(|end| now < *end)
    }

    /// Whose token this is, from the database, and remembers it. `None` where it is unknown, revoked
    /// or expired, or the tenant took its origin out.
    pub async fn load(&self, hash: &TokenHash) -> Result<Option<Live>, Error> {
        let this = &*self.0;
        let ticket = this.cache.ticket();
        let now = this.clock.now();
        let Some(stored) = store::find(&this.db, hash, now).await? else {
            return Ok(None);
        };
        let longest = stored.created_at + this.config.max_lifetime;
        this.cache.remember(hash, &stored, longest, ticket);
        Ok(Some(cache::live(
            stored.visitor,
            stored.expires_at,
            longest,
            now,
            this.config.renew_below,
        )))
    }

    /// Lets a visit that is in use last longer. The new end; nothing where it has ended meanwhile.
    ///
    /// SECURITY: the row decides in one statement. A visit that was revoked, or that reached its end, is
    /// never brought back by a request that was under way.
    pub async fn renew(&self, hash: &TokenHash, id: VisitorId) -> Result<Option<Timestamp>, Error> {
        let this = &*self.0;
        let now = this.clock.now();
        let mut tx = this.db.begin().await?;
        let times = store::Times {
            now,
            lifetime: this.config.lifetime,
            longest: this.config.max_lifetime,
        };
        let end = store::renew(&mut tx, id, &times).await?;
        tx.commit().await?;
        if let Some(end) = end {
            this.cache.renewed(hash, end);
        }
        Ok(end)
    }

    /// Applies one revocation from the feed. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        self.0.cache.revoked(revocation);
        self.0.widgets.revoked(revocation);
    }

    /// Begins a visit of the tenant with this short name or id, on a page of `origin`.
    pub async fn begin(
        &self,
        tenant: &str,
        origin: &str,
        metadata: &Metadata,
        client: &Client,
    ) -> Result<Begun, Error> {
        let this = &*self.0;
        let tenant = widgets::tenant(&this.db, tenant)
            .await?
            .ok_or(Error::OriginNotAllowed)?;
        let token = Token::generate()?;
        let now = this.clock.now();
        let row = store::NewRow {
            id: VisitorId::new(),
            hash: token.hash(),
            tenant,
            origin,
            metadata,
            created_at: now,
            expires_at: now + this.config.lifetime,
        };
        let mut tx = this.db.begin().await?;
        if !store::insert(&mut tx, &row).await? {
            return Err(Error::OriginNotAllowed);
        }
        let by = By::themselves(Actor::Visitor(row.id), client.clone());
        let event = |event: Event| event.with("origin", origin);
        self.record(&mut tx, Action::VisitorCreated, row.id, tenant, &by, event)
            .await?;
        tx.commit().await?;
        Ok(Begun {
            id: row.id,
            token,
            expires_at: row.expires_at,
        })
    }

    /// Ends a visit of this tenant.
    pub async fn revoke(&self, tenant: TenantId, id: VisitorId, by: &By) -> Result<(), Error> {
        let this = &*self.0;
        let now = this.clock.now();
        let mut tx = this.db.begin().await?;
        if !store::revoke(&mut tx, tenant, id, now).await? {
            return Err(Error::NotFound);
        }
        self.record(&mut tx, Action::VisitorRevoked, id, tenant, by, |event| {
            event
        })
        .await?;
        publish(&mut tx, Revocation::Visitor(id), now).await?;
        tx.commit().await?;
        // This node forgets at once; the others hear of it from the feed.
        self.revoked(Revocation::Visitor(id));
        Ok(())
    }

    /// Ends every visit of this tenant. How many.
    pub async fn revoke_all(&self, tenant: TenantId, by: &By) -> Result<u64, Error> {
        let this = &*self.0;
        let now = this.clock.now();
        let mut tx = this.db.begin().await?;
        let ended = store::revoke_all(&mut tx, tenant, now).await?;
        let event = self
            .event(Action::VisitorRevoked, tenant, by)
            .to(Target::named("visitors-of", &tenant.to_string()))
            .with("ended", ended);
        this.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Tenant(tenant), now).await?;
        tx.commit().await?;
        self.revoked(Revocation::Tenant(tenant));
        Ok(ended)
    }

    /// The live visits of a tenant, newest first, at most `limit` from the first behind `after`.
    /// Nothing where that one is not there, or not any more.
    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<VisitorId>,
        limit: u32,
    ) -> Result<Option<Vec<VisitorInfo>>, Error> {
        let now = self.0.clock.now();
        Ok(store::list(&self.0.db, tenant, now, (after, limit)).await?)
    }

    /// The origins whose pages may open the tenant's widget.
    pub async fn origins(&self, tenant: TenantId) -> Result<Vec<String>, Error> {
        Ok(widgets::origins(&self.0.db, tenant).await?)
    }

    /// Makes exactly these the origins whose pages may open the tenant's widget. Visits that began on
    /// another one end.
    pub async fn set_origins(
        &self,
        tenant: TenantId,
        origins: &[String],
        by: &By,
    ) -> Result<Vec<String>, Error> {
        let this = &*self.0;
        let origins = widgets::canonical_list(origins, this.mode)?;
        let now = this.clock.now();
        let mut tx = this.db.begin().await?;
        widgets::replace(&mut tx, tenant, &origins, now).await?;
        let event = self
            .event(Action::WidgetOriginsChanged, tenant, by)
            .to(Target::named("tenant", &tenant.to_string()))
            .with("origins", origins.join(" "));
        this.trail.record_in(&mut tx, event).await?;
        publish(&mut tx, Revocation::Tenant(tenant), now).await?;
        tx.commit().await?;
        self.revoked(Revocation::Tenant(tenant));
        Ok(origins)
    }

    /// Deletes what is over. How many rows.
    pub async fn keep_house(&self) -> Result<u64, Error> {
        let this = &*self.0;
        let now = this.clock.now();
        this.cache.sweep(now);
        let mut tx = this.db.begin().await?;
        let rows = store::delete_ended(&mut tx, now).await?;
        tx.commit().await?;
        Ok(rows)
    }

    fn event(&self, action: Action, tenant: TenantId, by: &By) -> Event {
        Event::new(self.0.clock.now(), action, Outcome::Allowed)
            .done(&by.recorded())
            .tenant(Some(tenant))
    }

    async fn record(
        &self,
        tx: &mut Tx,
        action: Action,
        id: VisitorId,
        tenant: TenantId,
        by: &By,
        more: impl FnOnce(Event) -> Event,
    ) -> Result<(), Error> {
        let event = self
            .event(action, tenant, by)
            .to(Target::named("visitor", &id.to_string()));
        Ok(self.0.trail.record_in(tx, more(event)).await?)
    }
}

/// Whether a request of this visitor may come from where it says it comes from.
///
/// `origin` is the one `Origin` header; `is_own` says whether that is the gate's own, where the frame
/// lies. No page can write the header. Browsers leave it out of safe requests within one origin, and of
/// no others that can bear a token.
pub fn may_come_from(
    visitor: &Visitor,
    origin: Option<&[u8]>,
    is_own: bool,
    is_safe: bool,
) -> bool {
    match origin {
        Some(origin) => is_own || origin == visitor.origin.as_bytes(),
        None => is_safe,
    }
}
