//! The SQL of visitors.

use portcullis_core::principal::Visitor;
use portcullis_core::{Span, TenantId, Timestamp, VisitorId};
use portcullis_store::{Db, Error, Row, Tx};
use portcullis_vault::TokenHash;

use super::Metadata;
use crate::paging;

/// A live visit.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) visitor: Visitor,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// A visit as it is told: all but its token, which nobody has.
#[derive(Debug, Clone)]
pub struct VisitorInfo {
    pub id: VisitorId,
    pub origin: String,
    /// What the browser told of itself.
    pub metadata: Metadata,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A visit to be written.
pub(super) struct NewRow<'a> {
    pub(super) id: VisitorId,
    pub(super) hash: TokenHash,
    pub(super) tenant: TenantId,
    pub(super) origin: &'a str,
    pub(super) metadata: &'a Metadata,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// By what a visit is renewed.
pub(super) struct Times {
    pub(super) now: Timestamp,
    pub(super) lifetime: Span,
    /// From its beginning to its end, at most.
    pub(super) longest: Span,
}

/// The visit with this token, unless it has ended or its origin is no longer one of the tenant's.
pub(super) async fn find(
    db: &Db,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<Option<Stored>, Error> {
    // SECURITY: the join, so that a visit that began while its origin was being taken out is none.
    const SQL: &str = "SELECT v.id, v.tenant_id, v.origin, v.created_at, v.expires_at FROM visitor v JOIN widget_origin o ON o.tenant_id = v.tenant_id AND o.origin = v.origin WHERE v.token_hash = $1 AND v.revoked_at IS NULL AND v.expires_at > $2";
    let args = [hash.as_bytes().into(), now.into()];
    let row = db.fetch_optional(SQL, &args).await?;
    row.map(|row| {
        Ok(Stored {
            visitor: Visitor {
                id: id(&row)?,
                tenant: row.uuid("tenant_id").map(TenantId::from_uuid)?,
                origin: row.text("origin")?.into(),
            },
            created_at: row.timestamp("created_at")?,
            expires_at: row.timestamp("expires_at")?,
        })
    })
    .transpose()
}

fn id(row: &Row) -> Result<VisitorId, Error> {
    row.uuid("id").map(VisitorId::from_uuid)
}

/// Writes a visit, where the tenant is not suspended and has named the origin. Whether it did.
pub(super) async fn insert(tx: &mut Tx, new: &NewRow<'_>) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO visitor (id, token_hash, tenant_id, origin, metadata, created_at, expires_at) SELECT $1, $2, o.tenant_id, o.origin, $5, $6, $7 FROM widget_origin o JOIN tenant t ON t.id = o.tenant_id WHERE o.tenant_id = $3 AND o.origin = $4 AND t.suspended_at IS NULL";
    let metadata = new.metadata.to_text();
    let args = [
        new.id.into(),
        new.hash.as_bytes().into(),
        new.tenant.into(),
        new.origin.into(),
        metadata.as_str().into(),
        new.created_at.into(),
        new.expires_at.into(),
    ];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Moves the end of a live visit. The end that it has then; nothing where it is over.
pub(super) async fn renew(
    tx: &mut Tx,
    id: VisitorId,
    times: &Times,
) -> Result<Option<Timestamp>, Error> {
    const SQL: &str = "UPDATE visitor SET expires_at = CASE WHEN created_at + $4 < $3 THEN created_at + $4 ELSE $3 END WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING expires_at";
    let args = [
        id.into(),
        times.now.into(),
        (times.now + times.lifetime).into(),
        times.longest.as_micros().into(),
    ];
    let row = tx.fetch_optional(SQL, &args).await?;
    row.map(|row| row.timestamp("expires_at")).transpose()
}

pub(super) async fn revoke(
    tx: &mut Tx,
    tenant: TenantId,
    id: VisitorId,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE visitor SET revoked_at = $3 WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL AND expires_at > $3";
    let args = [id.into(), tenant.into(), now.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

pub(super) async fn revoke_all(
    tx: &mut Tx,
    tenant: TenantId,
    now: Timestamp,
) -> Result<u64, Error> {
    const SQL: &str = "UPDATE visitor SET revoked_at = $2 WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > $2";
    tx.execute(SQL, &[tenant.into(), now.into()]).await
}

/// Live visits, newest first, from the first behind `after`. Nothing where there is no such row.
pub(super) async fn list(
    db: &Db,
    tenant: TenantId,
    now: Timestamp,
    (after, limit): (Option<VisitorId>, u32),
) -> Result<Option<Vec<VisitorInfo>>, Error> {
    const ROW: &str = "SELECT created_at FROM visitor WHERE id = $1 AND tenant_id = $2";
    const SQL: &str = "SELECT id, origin, metadata, created_at, expires_at FROM visitor WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5";
    let after = after.map(VisitorId::as_uuid);
    let rows = paging::open(db, (ROW, SQL), (tenant, now), (after, limit)).await?;
    let Some(rows) = rows else { return Ok(None) };
    let info = |row: &Row| {
        Ok(VisitorInfo {
            id: id(row)?,
            origin: row.text("origin")?,
            metadata: Metadata::from_text(&row.text("metadata")?)?,
            created_at: row.timestamp("created_at")?,
            expires_at: row.timestamp("expires_at")?,
        })
    };
    rows.iter().map(info).collect::<Result<_, _>>().map(Some)
}

/// Nothing of a visitor stays when the visit is over.
pub(super) async fn delete_ended(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    const SQL: &str = "DELETE FROM visitor WHERE expires_at <= $1 OR revoked_at IS NOT NULL";
    tx.execute(SQL, &[now.into()]).await
}
