//! The register: which tenants there are.

use portcullis_core::{TenantId, Timestamp, binding};
use portcullis_events::{Action, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_store::{Db, Row};
use serde::Serialize;

use super::{By, Done, Error, PAGE, Tenants, is_name};

/// A tenant.
#[derive(Debug, Clone, Serialize)]
pub struct Tenant {
    pub id: TenantId,
    pub slug: String,
    pub name: String,
    pub created_at: Timestamp,
    pub suspended_at: Option<Timestamp>,
}

impl Tenant {
    pub(super) fn read(row: &Row) -> Result<Self, portcullis_store::Error> {
        Ok(Tenant {
            id: row.uuid("id").map(TenantId::from_uuid)?,
            slug: row.text("slug")?,
            name: row.text("name")?,
            created_at: row.timestamp("created_at")?,
            suspended_at: row.opt_timestamp("suspended_at")?,
        })
    }
}

pub(super) async fn find(db: &Db, id: TenantId) -> Result<Option<Tenant>, portcullis_store::Error> {
    const SQL: &str = "SELECT id, slug, name, created_at, suspended_at FROM tenant WHERE id = $1";
    let row = db.fetch_optional(SQL, &[id.into()]).await?;
    row.map(|row| Tenant::read(&row)).transpose()
}

impl Tenants {
    /// The tenant with this short name or id.
    pub async fn get(&self, name: &str) -> Result<Tenant, Error> {
        const SQL: &str =
            "SELECT id, slug, name, created_at, suspended_at FROM tenant WHERE slug = $1";
        let found = match name.parse::<TenantId>() {
            Ok(id) => find(&self.db, id).await?,
            Err(_) => match self.db.fetch_optional(SQL, &[name.into()]).await? {
                Some(row) => Some(Tenant::read(&row)?),
                None => None,
            },
        };
        found.ok_or(Error::NotFound)
    }

    /// Up to a thousand tenants by their short names, from the first behind `after`.
    pub async fn list(&self, after: &str) -> Result<Vec<Tenant>, Error> {
        const SQL: &str = "SELECT id, slug, name, created_at, suspended_at FROM tenant WHERE slug > $1 ORDER BY slug LIMIT $2";
        let rows = self.db.fetch_all(SQL, &[after.into(), PAGE.into()]).await?;
        Ok(rows.iter().map(Tenant::read).collect::<Result<_, _>>()?)
    }

    /// A new tenant, without members.
    pub async fn create(&self, slug: &str, name: &str, by: &By) -> Result<Tenant, Error> {
        const SQL: &str = "INSERT INTO tenant (id, slug, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (slug) DO NOTHING";
        if !binding::is_slug(slug) {
            return Err(Error::Slug);
        }
        if !is_name(name) {
            return Err(Error::Name);
        }
        let now = self.clock.now();
        let tenant = Tenant {
            id: TenantId::new(),
            slug: slug.to_owned(),
            name: name.to_owned(),
            created_at: now,
            suspended_at: None,
        };
        let mut tx = self.db.begin().await?;
        let args = [tenant.id.into(), slug.into(), name.into(), now.into()];
        if tx.execute(SQL, &args).await? == 0 {
            return Err(Error::SlugTaken);
        }
        let act = Done {
            action: Action::TenantCreated,
            target: Target::named("tenant", slug),
            details: &[],
        };
        self.record(&mut tx, by, tenant.id, act, now).await?;
        tx.commit().await?;
        Ok(tenant)
    }

    /// From now on nobody reaches the product from this tenant.
    pub async fn suspend(&self, id: TenantId, by: &By) -> Result<(), Error> {
        const SQL: &str =
            "UPDATE tenant SET suspended_at = $2 WHERE id = $1 AND suspended_at IS NULL";
        self.set(id, SQL, Action::TenantSuspended, by).await
    }

    /// From now on its members and programs reach the product again.
    pub async fn resume(&self, id: TenantId, by: &By) -> Result<(), Error> {
        const SQL: &str = "UPDATE tenant SET suspended_at = NULL WHERE id = $1 AND suspended_at IS NOT NULL AND created_at <= $2";
        self.set(id, SQL, Action::TenantResumed, by).await
    }

    async fn set(
        &self,
        id: TenantId,
        sql: &'static str,
        action: Action,
        by: &By,
    ) -> Result<(), Error> {
        let tenant = find(&self.db, id).await?.ok_or(Error::NotFound)?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if tx.execute(sql, &[id.into(), now.into()]).await? == 0 {
            // It is so already.
            return Ok(());
        }
        let act = Done {
            action,
            target: Target::named("tenant", &tenant.slug),
            details: &[],
        };
        self.record(&mut tx, by, id, act, now).await?;
        publish(&mut tx, Revocation::Tenant(id), now).await?;
        tx.commit().await?;
        self.heard(Revocation::Tenant(id));
        Ok(())
    }

    /// Applies here what the feed will tell every node.
    pub(super) fn heard(&self, revocation: Revocation) {
        self.sessions.revoked(revocation);
        self.holders.revoked_here(revocation);
        self.directory.revoked(revocation);
    }
}
