//! Invitations: a token that makes a member of whoever has the account it is addressed to.
//!
//! - The token is shown once; its hash is kept. It works once, for seven days at most.
//! - It gives no more than the inviter holds: when it is written, and again when it is used.
//! - Used up, ended, revoked, unknown and addressed to somebody else are one answer.

use portcullis_core::{Secret, SessionId, Span, TenantId, Timestamp, UserId};
use portcullis_events::{Action, Actor, Target};
use portcullis_store::revocations::{Revocation, publish};
use portcullis_vault::{Token, TokenHash};
use serde::Serialize;
use uuid::Uuid;

use super::register::Tenant;
use super::standing::{From, Held};
use super::{By, Done, Error, Giver, Tenants, made_roles, members, register, words};
use crate::addresses::{self, Names};
use crate::{Client, Email, paging};
use portcullis_core::roles::CUSTOM;
use portcullis_store::{Row, Tx};

const TABLE: &str = "invitation";
const LIFETIME: Span = Span::from_days(7);
/// A tenant has no more of them open.
const MOST: i64 = 1000;

/// An open invitation.
#[derive(Debug, Clone, Serialize)]
pub struct Invitation {
    pub id: Uuid,
    pub email: String,
    pub roles: Vec<String>,
    pub invited_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// One that was just written. The token is for the one who is invited, and is not kept.
#[derive(Debug)]
pub struct Written {
    pub invitation: Invitation,
    pub token: Secret<String>,
}

impl Tenants {
    /// The invitations that are open, newest first, at most `limit` from the first behind `after`.
    /// Nothing where there is no such row.
    pub async fn invitations(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Option<Vec<Invitation>>, Error> {
        const ROW: &str = "SELECT created_at FROM invitation WHERE id = $1 AND tenant_id = $2";
        const SQL: &str = "SELECT id, email_canonical, email, roles, invited_by, created_at, expires_at FROM invitation WHERE tenant_id = $1 AND redeemed_at IS NULL AND revoked_at IS NULL AND expires_at > $2 AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5";
        let now = self.clock.now();
        let page = (after, limit);
        let rows = paging::open(&self.db, (ROW, SQL), (tenant, now), page).await?;
        let Some(rows) = rows else { return Ok(None) };
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.uuid("id")?;
            list.push(Invitation {
                id,
                email: addresses::or_damaged(self.address(&row, id).await)?,
                roles: words(&row.text("roles")?),
                invited_by: row.opt_uuid("invited_by")?.map(UserId::from_uuid),
                created_at: row.timestamp("created_at")?,
                expires_at: row.timestamp("expires_at")?,
            });
        }
        Ok(Some(list))
    }

    /// Invites whoever has, or will have, the account with this address.
    pub async fn invite(
        &self,
        tenant: TenantId,
        email: &str,
        roles: &[String],
        by: &By,
    ) -> Result<Written, Error> {
        self.invite_as(by.into(), tenant, email, roles, by).await
    }

    /// Invites the first member, on behalf of the gate, whoever asks for it.
    pub async fn invite_first(
        &self,
        tenant: TenantId,
        email: &str,
        roles: &[String],
        by: &By,
    ) -> Result<Written, Error> {
        self.invite_as(Giver::Anything, tenant, email, roles, by)
            .await
    }

    async fn invite_as(
        &self,
        on_behalf_of: Giver,
        tenant: TenantId,
        email: &str,
        roles: &[String],
        by: &By,
    ) -> Result<Written, Error> {
        const SQL: &str = "INSERT INTO invitation (id, token_hash, tenant_id, email_canonical, email, roles, invited_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        const COUNT: &str = "SELECT count(*) AS n FROM invitation WHERE tenant_id = $1 AND redeemed_at IS NULL AND revoked_at IS NULL AND expires_at > $2";
        let email = Email::parse(email)?;
        let token = Token::generate()?;
        let id = Uuid::now_v7();
        let kept = self
            .sessions
            .addresses()
            .keep(TABLE, &id.to_string(), &email)
            .await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        self.check_giving(&mut tx, tenant, roles, on_behalf_of)
            .await?;
        let count = tx
            .fetch_optional(COUNT, &[tenant.into(), now.into()])
            .await?;
        if count.map_or(Ok(0), |row| row.int("n"))? >= MOST {
            return Err(Error::TooMany);
        }
        let invitation = Invitation {
            id,
            email: email.typed().to_owned(),
            roles: roles.to_vec(),
            invited_by: match on_behalf_of {
                Giver::Held(user) => Some(user),
                Giver::Anything | Giver::Nothing => None,
            },
            created_at: now,
            expires_at: now + LIFETIME,
        };
        let hash = token.hash();
        let given = roles.join(" ");
        let args = [
            invitation.id.into(),
            hash.as_bytes().into(),
            tenant.into(),
            kept.names().kept().into(),
            kept.shown().into(),
            (&given).into(),
            invitation.invited_by.into(),
            now.into(),
            invitation.expires_at.into(),
        ];
        tx.execute(SQL, &args).await?;
        let act = Done {
            action: Action::InvitationCreated,
            target: Target::named("invitation", &invitation.id.to_string()),
            details: &[("roles", &given)],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        tx.commit().await?;
        Ok(Written {
            invitation,
            token: token.text(),
        })
    }

    /// From now on the invitation opens nothing.
    pub async fn uninvite(&self, tenant: TenantId, id: Uuid, by: &By) -> Result<(), Error> {
        const SQL: &str = "UPDATE invitation SET revoked_at = $3 WHERE id = $1 AND tenant_id = $2 AND revoked_at IS NULL AND redeemed_at IS NULL";
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        if tx
            .execute(SQL, &[id.into(), tenant.into(), now.into()])
            .await?
            == 0
        {
            return Err(Error::NotFound);
        }
        let act = Done {
            action: Action::InvitationRevoked,
            target: Target::named("invitation", &id.to_string()),
            details: &[],
        };
        self.record(&mut tx, by, tenant, act, now).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a member of the caller, whom the invitation must be addressed to: by the address of the
    /// account, or by the one that the provider verified at which `session` began.
    pub async fn redeem(
        &self,
        token: &Secret<String>,
        (user, session): (UserId, Option<SessionId>),
        client: &Client,
    ) -> Result<Tenant, Error> {
        // One statement takes the token: of two that come at once, one finds nothing.
        // SECURITY: of an account without a password the address that is shown proves nothing. What
        // its provider verified stands at the session alone.
        const SQL: &str = "UPDATE invitation SET redeemed_at = $2 WHERE token_hash = $1 AND redeemed_at IS NULL AND revoked_at IS NULL AND expires_at > $2 AND EXISTS (SELECT 1 FROM users u WHERE u.id = $3 AND u.deactivated_at IS NULL AND (u.email_canonical IN ($5, $6) OR EXISTS (SELECT 1 FROM session s WHERE s.id = $4 AND s.user_id = u.id AND s.revoked_at IS NULL AND s.openid_email IN ($5, $6)))) AND tenant_id IN (SELECT id FROM tenant WHERE suspended_at IS NULL) RETURNING id, tenant_id, roles, invited_by";
        let hash: TokenHash = Token::parse(token.expose()).ok_or(Error::NotFound)?.hash();
        let names = self.addressed_to(&hash).await?;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let args = [
            hash.as_bytes().into(),
            now.into(),
            user.into(),
            session.into(),
            names.kept().into(),
            names.other().into(),
        ];
        let row = tx
            .fetch_optional(SQL, &args)
            .await?
            .ok_or(Error::NotFound)?;
        let tenant = row.opt_tenant_id("tenant_id")?.ok_or(Error::NotFound)?;
        let roles = words(&row.text("roles")?);
        let inviter = row.opt_uuid("invited_by")?.map(UserId::from_uuid);
        self.check_still_giving(&mut tx, tenant, &roles, inviter)
            .await?;
        let is_new = members::join(&mut tx, tenant, user, now).await?;
        // Whoever is a member already keeps what they have: an invitation takes nothing away.
        if is_new {
            members::replace_roles(&mut tx, tenant, user, &roles).await?;
        }
        let act = Done {
            action: Action::MemberAdded,
            target: Target::named("invitation", &row.uuid("id")?.to_string()),
            details: &[("roles", &roles.join(" "))],
        };
        let by = By::themselves(Actor::User(user), client.clone());
        self.record(&mut tx, &by, tenant, act, now).await?;
        publish(&mut tx, Revocation::User(user), now).await?;
        tx.commit().await?;
        self.heard(Revocation::User(user));
        register::find(&self.db, tenant)
            .await?
            .ok_or(Error::NotFound)
    }

    /// The names of the address that an invitation is for.
    async fn addressed_to(&self, hash: &TokenHash) -> Result<Names, Error> {
        const SQL: &str = "SELECT id, email_canonical, email FROM invitation WHERE token_hash = $1";
        let row = self
            .db
            .fetch_optional(SQL, &[hash.as_bytes().into()])
            .await?
            .ok_or(Error::NotFound)?;
        let email = Email::parse(&self.address(&row, row.uuid("id")?).await?)?;
        Ok(self.sessions.addresses().names(email.canonical()).await?)
    }

    async fn address(&self, row: &Row, id: Uuid) -> Result<String, addresses::Error> {
        let (name, kept) = (row.text("email_canonical")?, row.text("email")?);
        let id = id.to_string();
        let addresses = self.sessions.addresses();
        addresses.read_named(TABLE, &id, &name, kept).await
    }

    /// The inviter may have lost since what the invitation gives.
    async fn check_still_giving(
        &self,
        tx: &mut Tx,
        tenant: TenantId,
        roles: &[String],
        inviter: Option<UserId>,
    ) -> Result<(), Error> {
        let policy = self.sessions.policy().get();
        let held = match inviter {
            None => None,
            Some(inviter) => Some(Held::by(&mut From::Tx(tx), inviter, tenant).await?),
        };
        if held.as_ref().is_some_and(|held| !held.is_member) {
            return Err(Error::NotFound);
        }
        for role in roles {
            let may = match role.strip_prefix(CUSTOM) {
                Some(name) => {
                    let made = made_roles::find(tx, tenant, name)
                        .await?
                        .ok_or(Error::NotFound)?;
                    held.as_ref()
                        .is_none_or(|held| made.is_within(held, &policy))
                }
                None => {
                    policy.contains(role)
                        && held
                            .as_ref()
                            .is_none_or(|held| held.may_give(&policy, role))
                }
            };
            if !may {
                return Err(Error::NotFound);
            }
        }
        Ok(())
    }
}
