//! What people do with their accounts: sign in and out, register, change the password, look after
//! their sessions.
//!
//! - Each act, what it revokes and its audit event are one transaction: a dropped call or a crash
//!   leaves nothing half done.
//! - A wrong password, an unknown address and a closed account are one answer after the same work.
//! - A sign-in and a password change make a new session token.
//! - Nothing waits for a password hash while it holds a transaction.

mod by_others;
mod devices;
mod error;
mod evenly;
mod everybody;
mod password;
mod rank;
mod sign_in;

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_core::principal::{Credential, User};
use portcullis_core::{
    Clock, Principal, RequestId, Secret, SessionId, TenantId, Timestamp, UserId,
};
use portcullis_edge::ClientAddr;
use portcullis_events::Actor;
use portcullis_events::places::Places;
use portcullis_store::revocations::Revocation;
use portcullis_store::{Db, Tx};
use portcullis_vault::TokenHash;
use portcullis_vault::passwords::Passwords;
use serde::{Deserialize, Serialize};

use crate::Email;
use crate::addresses::{Addresses, Kept, Names};
use crate::admin_pages::once;
use crate::backoff::{self, Backoff};
use crate::factors::{self, Factors};
use crate::holders::Holders;
use crate::openid_login;
use crate::password_policy::PasswordPolicy;
use crate::record::{Act, Entry, Record};
use crate::recovery::{self, Recovery};
use crate::registration;
use crate::sessions::user_agent::ClientKind;
use crate::sessions::{self, NewSession, Sessions, notices};
use crate::users::{self, Account, Created, NewUser};
pub use error::Error;
pub use evenly::Evenly;
pub use everybody::{Reach, Whose};
use rank::Holds;

/// The `[accounts]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Who may open an account: `"closed"` (default), only the operator does; `"confirmed"`, whoever
    /// receives a letter at their address, which needs `[mail]`; `"open"`, anybody, which shows who
    /// has an account already.
    pub registration: Registration,
    /// Roles of those who register themselves. Default none.
    pub registration_roles: Vec<String>,
    /// Whether e-mail addresses are sealed by the vault in the gate's own tables, and found by a keyed index
    /// of the whole address. Default `false`. Addresses that are there are moved beside the traffic, in
    /// both directions. Give all nodes the same value. With it nobody finds accounts by a part of their
    /// address, and while the service that holds the KEK is away for longer than `kek.remember-for`
    /// signing in is answered 503.
    pub seal_addresses: bool,
    /// Where people reach the gate, such as `"https://shop.example"`. Links in letters begin with
    /// it, whatever host a request names. No default: needed where `[mail]` is.
    pub origin: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    #[default]
    Closed,
    /// By a link in a letter: asking answers alike whether or not the address has an account.
    Confirmed,
    /// An address that has an account is refused, which shows that it has one.
    Open,
}

/// Where a call comes from.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub address: Option<IpAddr>,
    /// At most 256 characters of it are kept.
    pub user_agent: Option<String>,
    /// What can be told of it, where it says anything.
    pub kind: Option<ClientKind>,
    pub request: Option<RequestId>,
    /// Value of the device cookie.
    pub device: Option<String>,
    /// The cookie that came was of a device that this account was used on before.
    pub is_known: bool,
    /// The session cookie that came along, whoever it stands for. A new session takes its place.
    pub session: Option<TokenHash>,
}

impl Client {
    /// What the pipeline knows of where a request comes from.
    pub fn of(extensions: &http::Extensions) -> Self {
        Client {
            address: extensions.get::<ClientAddr>().map(|client| client.ip()),
            request: extensions.get::<RequestId>().copied(),
            ..Client::default()
        }
    }
}

/// Who does something to an account that is not their own, and from where.
#[derive(Debug, Clone)]
pub struct By {
    pub actor: Actor,
    pub client: Client,
    holds: Holds,
}

impl By {
    /// Whoever runs the command line.
    pub fn operator() -> Self {
        By {
            actor: Actor::Operator,
            client: Client::default(),
            holds: Holds::Everything,
        }
    }

    /// The gate itself, by a rule of its configuration.
    pub(crate) fn system() -> Self {
        By {
            actor: Actor::System,
            ..By::operator()
        }
    }

    /// Somebody who acts for themselves: over other accounts it says nothing.
    pub(crate) const fn themselves(actor: Actor, client: Client) -> Self {
        By {
            actor,
            client,
            holds: Holds::Nothing,
        }
    }

    /// A caller, with what they hold.
    pub(crate) fn caller(actor: Actor, client: Client, caller: &Principal) -> Self {
        By {
            actor,
            client,
            holds: Holds::of(caller),
        }
    }

    /// What an event says of them.
    pub(crate) const fn recorded(&self) -> portcullis_events::By {
        portcullis_events::By {
            actor: self.actor,
            client: self.client.address,
            request: self.client.request,
        }
    }
}

/// An account as its owner sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    pub id: UserId,
    pub email: String,
    pub display_name: Option<String>,
    pub tenant_id: Option<TenantId>,
    pub roles: Vec<String>,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        AccountView {
            id: account.id,
            email: account.email,
            display_name: account.display_name,
            tenant_id: account.tenant,
            roles: account.roles,
        }
    }
}

/// A sign-in that worked.
#[derive(Debug)]
pub struct SignedIn {
    pub account: AccountView,
    pub session: NewSession,
    /// Value of the device cookie.
    pub device: String,
}

/// What somebody registers with.
#[derive(Debug)]
pub struct Registering<'a> {
    pub email: &'a str,
    pub password: &'a Secret<String>,
    pub display_name: Option<&'a str>,
}

/// What somebody registers with, looked through, with the password hashed.
pub(crate) struct Prepared<'a> {
    pub(crate) id: UserId,
    email: Kept,
    password_hash: String,
    display_name: Option<&'a str>,
}

impl Prepared<'_> {
    pub(crate) const fn names(&self) -> &Names {
        self.email.names()
    }

    pub(crate) fn with<'s>(&'s self, tenant: Option<TenantId>, roles: &'s [String]) -> NewUser<'s> {
        NewUser {
            email: &self.email,
            password_hash: &self.password_hash,
            display_name: self.display_name,
            tenant,
            roles,
        }
    }
}

/// What [`Accounts`] is made of.
pub struct Parts {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub passwords: Passwords,
    pub policy: PasswordPolicy,
    pub sessions: Sessions,
    pub backoff: Backoff,
    pub record: Record,
    /// Who holds tokens, to be forgotten at once.
    pub holders: Arc<Holders>,
    pub recovery: Recovery,
    pub factors: Factors,
    pub config: Config,
    /// Where the addresses of devices are, for whoever looks at the list.
    pub places: Places,
    /// How far apart refused sign-ins are answered. Begins as its default.
    pub evenly: Evenly,
}

/// The acts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(Arc<Parts>);

impl Accounts {
    pub fn new(parts: Parts) -> Self {
        Accounts(Arc::new(parts))
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// Whether a forgotten password can be replaced by a letter.
    pub fn offers_recovery(&self) -> bool {
        self.0.recovery.is_offered
    }

    /// How addresses are kept.
    pub fn addresses(&self) -> &Addresses {
        self.0.sessions.addresses()
    }

    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    #[cfg(test)]
    pub(crate) fn holders(&self) -> &Arc<Holders> {
        &self.0.holders
    }

    #[cfg(test)]
    pub(crate) fn record(&self) -> &Record {
        &self.0.record
    }

    pub fn registration(&self) -> Registration {
        self.0.config.registration
    }

    /// Opens an account for whoever asks, where that is allowed. It does not sign in.
    pub async fn register(
        &self,
        new: &Registering<'_>,
        client: &Client,
    ) -> Result<AccountView, Error> {
        match self.0.config.registration {
            Registration::Closed => Err(Error::RegistrationClosed),
            Registration::Confirmed => Err(Error::RegistrationByLink),
            Registration::Open => {
                let roles = &self.0.config.registration_roles;
                let by = By::themselves(Actor::Anonymous, client.clone());
                self.open(new, roles, None, Act::UserRegistered, &by).await
            }
        }
    }

    /// Opens an account for somebody else.
    pub async fn create(
        &self,
        new: &Registering<'_>,
        roles: &[String],
        tenant: Option<TenantId>,
        by: &By,
    ) -> Result<AccountView, Error> {
        self.check_roles(roles, by)?;
        self.open(new, roles, tenant, Act::UserCreated, by).await
    }

    async fn open(
        &self,
        new: &Registering<'_>,
        roles: &[String],
        tenant: Option<TenantId>,
        act: Act,
        by: &By,
    ) -> Result<AccountView, Error> {
        let parts = &*self.0;
        let prepared = self.prepare(new).await?;
        let mut tx = parts.db.begin().await?;
        let user = prepared.with(tenant, roles);
        let id = self.open_in(&mut tx, prepared.id, &user, act, by).await?;
        tx.commit().await?;
        self.get(id).await
    }

    /// What somebody registers with, where all of it is acceptable.
    pub(crate) async fn prepare<'a>(&self, new: &Registering<'a>) -> Result<Prepared<'a>, Error> {
        let parts = &*self.0;
        let email = Email::parse(new.email)?;
        let display_name = new.display_name.map(str::trim);
        if display_name.is_some_and(|name| !is_display_name(name)) {
            return Err(Error::DisplayName);
        }
        parts
            .policy
            .check(new.password, &email)
            .map_err(|weak| Error::Weak("password", weak))?;
        // Hashed before it is known whether the address is free, so that both take as long.
        let password_hash = parts.passwords.hash(new.password).await?;
        let id = UserId::new();
        let kept = self
            .addresses()
            .keep(users::TABLE, &id.to_string(), &email)
            .await?;
        Ok(Prepared {
            id,
            email: kept,
            password_hash,
            display_name,
        })
    }

    /// Opens the account, in the transaction of what else belongs to it.
    pub(crate) async fn open_in(
        &self,
        tx: &mut Tx,
        id: UserId,
        user: &NewUser<'_>,
        act: Act,
        by: &By,
    ) -> Result<UserId, Error> {
        let parts = &*self.0;
        match users::create(tx, id, user, parts.clock.now()).await? {
            Created::Yes => {}
            Created::AddressTaken | Created::IdTaken => return Err(Error::EmailTaken),
        }
        let entry = Entry {
            user: Some(id),
            roles: Some(user.roles.to_vec()),
            ..self.entry_by(act, by)
        };
        parts.record.record_in(tx, entry).await?;
        Ok(id)
    }

    /// The account of a signed-in user.
    pub async fn get(&self, user: UserId) -> Result<AccountView, Error> {
        users::find(&self.0.db, self.addresses(), user)
            .await?
            .map(AccountView::from)
            .ok_or(Error::NotFound)
    }

    /// Accounts, newest first, from the first behind `after`. Nothing where there is no such account.
    pub async fn list(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Option<Vec<Account>>, Error> {
        Ok(users::list(&self.0.db, self.addresses(), after, limit).await?)
    }

    /// Any account, as an administrator sees it.
    pub async fn find(&self, user: UserId) -> Result<Account, Error> {
        users::find(&self.0.db, self.addresses(), user)
            .await?
            .ok_or(Error::NotFound)
    }

    /// Replaces an account's roles; its sessions bear them at once.
    pub async fn set_roles(&self, user: UserId, roles: &[String], by: &By) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        self.check_change(&mut tx, user, roles, by).await?;
        if !users::set_roles(&mut tx, user, roles, parts.clock.now()).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry {
            user: Some(user),
            roles: Some(roles.to_vec()),
            ..self.entry_by(Act::UserUpdated, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }

    /// Closes an account and ends its sessions.
    pub async fn deactivate(&self, user: UserId, by: &By) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        self.check_rule(&mut tx, user, by).await?;
        if !users::deactivate(&mut tx, user, parts.clock.now()).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry {
            user: Some(user),
            ..self.entry_by(Act::UserDeactivated, by)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user);
        Ok(())
    }

    /// Signs out: ends the session that the call came with.
    pub async fn logout(&self, user: &User, client: &Client) -> Result<(), Error> {
        let Some(session) = user.session() else {
            return Ok(());
        };
        match self.end(user, session, Act::Logout, client).await {
            // Ended meanwhile by somebody else: all the better.
            Ok(()) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn end(
        &self,
        user: &User,
        id: SessionId,
        act: Act,
        client: &Client,
    ) -> Result<(), Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        let now = parts.clock.now();
        let hash = sessions::end_one(&mut tx, user.id, id, now).await?;
        let Some(hash) = hash else {
            return Err(Error::NotFound);
        };
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            session: Some(id),
            ..self.entry(act, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget(&[hash]);
        Ok(())
    }

    /// Ends the user's sessions but the one that the call came with. How many.
    pub async fn revoke_others(&self, user: &User, client: &Client) -> Result<usize, Error> {
        let parts = &*self.0;
        let mut tx = parts.db.begin().await?;
        let now = parts.clock.now();
        let kept = match user.credential {
            Credential::AccessToken(family) => Some(family),
            Credential::Session(_) | Credential::Foreign => None,
        };
        crate::tokens::hold_user(&mut tx, user.id).await?;
        let families = crate::tokens::end_others(&mut tx, user.id, kept, now).await?;
        let ended = sessions::end_others(&mut tx, user.id, user.session(), now).await?;
        crate::tokens::publish_all(&mut tx, &families, now).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::SessionRevoked, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget(&ended);
        for family in &families {
            parts.holders.revoked(Revocation::TokenFamily(*family));
        }
        Ok(ended.len().saturating_add(families.len()))
    }

    /// Work to be done each minute and at shutdown: writes activity, and deletes what is over.
    pub async fn keep_house(&self) -> Result<(), Error> {
        self.even_refusals().await?;
        self.0.sessions.flush().await?;
        self.0.sessions.prune().await?;
        backoff::prune(&self.0.db, self.now()).await?;
        notices::prune(&self.0.db, self.now()).await?;
        portcullis_store::revocations::prune(&self.0.db, self.now()).await?;
        factors::prune(&self.0.db, self.now()).await?;
        recovery::prune(&self.0.db, self.now()).await?;
        registration::prune(&self.0.db, self.now()).await?;
        let longest = self.0.sessions.settings().lifetime;
        once::prune(&self.0.db, longest, self.now()).await?;
        openid_login::prune(&self.0.db, self.now()).await?;
        Ok(())
    }

    /// Looks whether passwords are here that were hashed elsewhere, so that refused sign-ins do not tell by
    /// their time whose. To be done before the first sign-in.
    pub async fn even_refusals(&self) -> Result<(), Error> {
        self.0.evenly.look(&self.0.db, &self.0.passwords).await
    }

    pub(crate) fn entry(&self, act: Act, client: &Client) -> Entry {
        Entry {
            at: self.now(),
            act,
            actor: None,
            user: None,
            session: None,
            family: None,
            request: client.request,
            client: client.address,
            roles: None,
            seen: None,
            is_new_device: false,
            provider: None,
        }
    }

    pub(crate) fn entry_by(&self, act: Act, by: &By) -> Entry {
        Entry {
            actor: Some(by.actor),
            ..self.entry(act, &by.client)
        }
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// This node forgets everything about a user at once.
    pub(crate) fn forget_user(&self, user: UserId) {
        self.0.sessions.cache().forget_user(user);
        self.0.holders.revoked_here(Revocation::User(user));
    }

    /// This node forgets at once; the others hear of it from the feed.
    fn forget(&self, ended: &[portcullis_vault::TokenHash]) {
        for hash in ended {
            self.0.sessions.cache().forget(hash);
        }
    }
}

/// Whether `text` is an origin that people can reach the gate at: `https://host` without a path, or
/// outside production `http://host`, too. Else what is wrong with it.
pub fn origin(text: &str, is_production: bool) -> Result<(), String> {
    let bad = || format!("`{text}` is not an origin");
    let url = url::Url::parse(text).map_err(|_| bad())?;
    if url.origin().ascii_serialization() != text {
        return Err(bad());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if !is_production => Ok(()),
        _ => Err(format!("`{text}` is not https")),
    }
}

pub(crate) fn is_display_name(name: &str) -> bool {
    (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
