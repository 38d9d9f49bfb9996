//! Accounts: addresses, bcrypt hashes, roles, and the id that they had.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_core::roles::Roles;
use portcullis_core::{Timestamp, UserId};
use portcullis_events::Event;
use portcullis_store::Tx;

use super::read::Rows;
use super::{Error, Fate, Mapped, Report, Row, Run, take_over, tenants};
use crate::Accounts;
use crate::accounts::By;
use crate::email::Email;
use crate::record::{Act, Entry};
use crate::users::{self, NewUser};

/// What may stand in a row. `id` and `email` must.
pub const COLUMNS: &[&str] = &[
    "id",
    "email",
    "password_hash",
    "display_name",
    "roles",
    "tenant_id",
    "created_at",
    "deleted_at",
];

/// How rows are to be understood.
#[derive(Debug)]
pub struct Plan {
    /// Names the product that the ids are of, so that two products' ids do not meet.
    pub source: String,
    /// Roles that the policy defines.
    pub known_roles: BTreeSet<String>,
    /// Old names of roles and new ones; `*` stands for every other.
    pub role_map: Vec<(String, String)>,
    /// Roles that everybody gets.
    pub roles: Vec<String>,
    /// Whether whoever has a tenant gets their roles there, and nowhere else.
    pub roles_in_tenant: bool,
    /// Old names of tenants, and short names or ids here.
    pub tenant_map: Vec<(String, String)>,
    /// Whether tenants that are not there are made. Else their people are refused.
    pub make_tenants: bool,
    pub ignore: Vec<String>,
}

struct Ready {
    external_id: String,
    email: Email,
    password_hash: String,
    display_name: Option<String>,
    roles: Vec<String>,
    /// As the product calls it.
    tenant: Option<String>,
    created_at: Timestamp,
    deleted_at: Option<Timestamp>,
}

/// Takes accounts over.
struct Taker<'a> {
    accounts: &'a Accounts,
    policy: Arc<Roles>,
    plan: &'a Plan,
    by: &'a By,
    /// A dry run keeps nothing, so it would not see two rows of one address in different batches.
    seen: BTreeSet<String>,
    mapping: Vec<Mapped>,
}

impl super::Taker for Taker<'_> {
    const COLUMNS: &'static [&'static str] = COLUMNS;

    async fn warm(&self) -> Result<(), Error> {
        Ok(self.accounts.addresses().warm().await?)
    }

    async fn take(&mut self, tx: &mut Tx, row: &Row) -> Result<Result<Fate, String>, Error> {
        let now = self.accounts.parts().clock.now();
        let ready = match read(row, self.plan, now) {
            Ok(ready) => ready,
            Err(reason) => return Ok(Err(reason)),
        };
        if !self.seen.insert(ready.email.canonical().to_owned()) {
            return Ok(Err("an earlier row has the same address".to_owned()));
        }
        // SECURITY: nobody gives more than they hold, by whatever door.
        if let Some(role) = self.by.outranked_by(&self.policy, &ready.roles) {
            return Ok(Err(format!("the role `{role}` is not yours to give")));
        }
        let taken = self
            .accounts
            .take_over_account(tx, &ready, self.plan, self.by, now);
        Ok(taken.await?.map(|(fate, id)| {
            let external_id = ready.external_id;
            self.mapping.push(Mapped { external_id, id });
            fate
        }))
    }

    /// Each has its own.
    fn event(&self, _: u64) -> Option<Event> {
        None
    }
}

impl Accounts {
    /// Takes all of them over. `progress` is told how many were read.
    pub async fn import(
        &self,
        rows: Rows,
        plan: &Plan,
        run: Run,
        by: &By,
        progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let this = self.parts();
        let mut taker = Taker {
            accounts: self,
            policy: this.sessions.policy().get(),
            plan,
            by,
            seen: BTreeSet::new(),
            mapping: Vec::new(),
        };
        let to = (&this.db, this.record.trail());
        let report = take_over(to, rows, &plan.ignore, run, &mut taker, progress).await?;
        let mapping = match run {
            Run::Apply => taker.mapping,
            Run::Dry => Vec::new(),
        };
        Ok(Report { mapping, ..report })
    }

    /// Writes one account. The outer error is a fault of the database and ends the run.
    async fn take_over_account(
        &self,
        tx: &mut Tx,
        ready: &Ready,
        plan: &Plan,
        by: &By,
        now: Timestamp,
    ) -> Result<Result<(Fate, UserId), String>, Error> {
        let record = &self.parts().record;
        if let Some(user) = find_reference(tx, &plan.source, &ready.external_id).await? {
            return Ok(Ok((Fate::Already, user)));
        }
        let tenant = match &ready.tenant {
            None => None,
            Some(name) => match tenants::find(tx, (record, by), plan, name, now).await? {
                Ok(tenant) => Some(tenant),
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let (roles, roles_there) = match tenant {
            Some(_) if plan.roles_in_tenant => (&[][..], &ready.roles[..]),
            Some(_) | None => (&ready.roles[..], &[][..]),
        };
        // Where the old id is a UUID it stays the id, so that paths and rows that hold it go on.
        let id = match ready.external_id.parse::<UserId>() {
            Ok(id) if !id.as_uuid().is_nil() => id,
            Ok(_) | Err(_) => UserId::new(),
        };
        let kept = self
            .addresses()
            .keep(users::TABLE, &id.to_string(), &ready.email)
            .await?;
        let new = NewUser {
            email: &kept,
            password_hash: &ready.password_hash,
            display_name: ready.display_name.as_deref(),
            tenant,
            roles,
        };
        match users::create(tx, id, &new, ready.created_at).await? {
            users::Created::Yes => {}
            users::Created::AddressTaken => {
                return Ok(Err(
                    "there is an account with this address that was not taken over from this source"
                        .to_owned(),
                ));
            }
            users::Created::IdTaken => {
                return Ok(Err("there is an account with this id already".to_owned()));
            }
        }
        if let Some(tenant) = tenant {
            tenants::enter(tx, (record, by), (tenant, id), roles_there, now).await?;
        }
        if let Some(at) = ready.deleted_at {
            users::set_deactivated(tx, id, at.min(now)).await?;
        }
        insert_reference(tx, &plan.source, &ready.external_id, id).await?;
        let entry = Entry {
            user: Some(id),
            roles: Some(roles.to_vec()),
            ..self.entry_by(Act::UserCreated, by)
        };
        record.record_in(tx, entry).await?;
        Ok(Ok((Fate::Imported, id)))
    }
}

fn read(row: &Row, plan: &Plan, now: Timestamp) -> Result<Ready, String> {
    let external_id = row.required("id")?;
    if external_id.len() > 200 {
        return Err("`id` is longer than 200 bytes".to_owned());
    }
    let email =
        Email::parse(&row.required("email")?).map_err(|error| format!("`email`: {error}"))?;
    let display_name = row.text("display_name")?.map(|name| name.trim().to_owned());
    let display_name = display_name.filter(|name| !name.is_empty());
    if display_name
        .as_deref()
        .is_some_and(|name| !crate::accounts::is_display_name(name))
    {
        return Err(
            "`display_name` is longer than 100 characters, or has control characters".to_owned(),
        );
    }
    Ok(Ready {
        external_id,
        email,
        password_hash: password_hash(row)?,
        display_name,
        roles: roles(row, plan)?,
        tenant: row.text("tenant_id")?,
        created_at: row.time("created_at")?.unwrap_or(now).min(now),
        deleted_at: row.time("deleted_at")?,
    })
}

/// bcrypt, or argon2 as this gate writes it. Whether it opens is seen at the first sign-in, and then
/// it is replaced.
fn password_hash(row: &Row) -> Result<String, String> {
    let Some(hash) = row.text("password_hash")? else {
        return Ok(portcullis_vault::passwords::NOTHING.to_owned());
    };
    if portcullis_vault::passwords::is_importable(&hash) {
        Ok(hash)
    } else {
        Err("`password_hash` is neither bcrypt ($2a$, $2b$, $2y$, cost 15 at most) nor argon2id within bounds".to_owned())
    }
}

fn roles(row: &Row, plan: &Plan) -> Result<Vec<String>, String> {
    let mut roles = plan.roles.clone();
    for old in row.words("roles")? {
        let mapped = plan
            .role_map
            .iter()
            .find(|(from, _)| *from == old)
            .or_else(|| plan.role_map.iter().find(|(from, _)| from == "*"))
            .map_or(&old, |(_, to)| to);
        if !plan.known_roles.contains(mapped) {
            return Err(format!(
                "no role `{mapped}` is defined; define it, or give it another name with --map-role {old}=ROLE"
            ));
        }
        if !roles.contains(mapped) {
            roles.push(mapped.clone());
        }
    }
    Ok(roles)
}

pub(crate) async fn find_reference(
    tx: &mut Tx,
    source: &str,
    external_id: &str,
) -> Result<Option<UserId>, Error> {
    const SQL: &str = "SELECT user_id FROM user_reference WHERE source = $1 AND external_id = $2";
    let row = tx
        .fetch_optional(SQL, &[source.into(), external_id.into()])
        .await?;
    Ok(row.map(|row| row.user_id("user_id")).transpose()?)
}

async fn insert_reference(
    tx: &mut Tx,
    source: &str,
    external_id: &str,
    user: UserId,
) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO user_reference (source, external_id, user_id) VALUES ($1, $2, $3)";
    tx.execute(SQL, &[source.into(), external_id.into(), user.into()])
        .await?;
    Ok(())
}
