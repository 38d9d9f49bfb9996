//! Registration by a link in a letter: whoever asks is answered alike, in content and in time,
//! whether or not the address has an account.
//!
//! - Whether it has one is looked up when the letter is written, later and elsewhere. Its owner then
//!   reads that there is one already.
//! - The password is chosen behind the link, by whoever reads the mail: nobody opens an account at
//!   somebody else's address and waits for them to confirm it.
//! - The link works once, and the account's address is proven by it.

mod http;
mod pages;

use portcullis_core::{Secret, Span, Timestamp};
use portcullis_events::Actor;
use portcullis_store::Tx;
use portcullis_vault::{Token, TokenHash};

use crate::accounts::{AccountView, Accounts, By, Client, Error, Registering, Registration};
use crate::addresses::row_of;
use crate::outbox::Message;
use crate::record::Act;
use crate::{Email, users};

pub(crate) use http::routes;

const TABLE: &str = "registration_token";

/// What somebody who received a letter opens their account with.
pub(crate) struct Opening<'a> {
    pub(crate) token: &'a Secret<String>,
    pub(crate) password: &'a Secret<String>,
    pub(crate) display_name: Option<&'a str>,
}

impl Accounts {
    /// Asks for a link that opens an account. The same work whether or not the address has one.
    pub(crate) async fn ask_registration(
        &self,
        address: &str,
        client: &Client,
    ) -> Result<(), Error> {
        self.opens_by_link()?;
        let email = Email::parse(address)?;
        let message = Message::RegistrationAsked {
            email: email.typed().to_owned(),
        };
        let entry = self.entry(Act::RegistrationAsked, client);
        self.ask(&email, entry, &message).await.map(drop)
    }

    /// Opens an account by the token of a link. Nobody is signed in.
    pub(crate) async fn open_by_link(
        &self,
        opening: &Opening<'_>,
        client: &Client,
    ) -> Result<AccountView, Error> {
        self.opens_by_link()?;
        let parts = self.parts();
        let token = Token::parse(opening.token.expose()).ok_or(Error::LinkSpent)?;
        let hash = token.hash();
        let now = parts.clock.now();
        // A password that is too weak must not cost the link: looked at first, used up last.
        let email = self.address_of_link(&hash, now).await?;
        let new = Registering {
            email: &email,
            password: opening.password,
            display_name: opening.display_name,
        };
        let prepared = self.prepare(&new).await?;
        let by = By::themselves(Actor::Anonymous, client.clone());

        let mut tx = parts.db.begin().await?;
        if !redeem(&mut tx, &hash, now).await? {
            return Err(Error::LinkSpent);
        }
        let user = prepared.with(None, &parts.config.registration_roles);
        let id = match self
            .open_in(&mut tx, prepared.id, &user, Act::UserRegistered, &by)
            .await
        {
            // By another link, or by the operator, since the letter was written.
            Err(Error::EmailTaken) => return Err(Error::LinkSpent),
            opened => opened?,
        };
        users::verify_email(&mut tx, id, prepared.names(), now).await?;
        tx.commit().await?;
        self.get(id).await
    }

    /// A token that opens an account for `email`, of which the hash is kept.
    pub(crate) async fn registration_token(
        &self,
        email: &Email,
        lifetime: Span,
    ) -> Result<Token, Error> {
        const SQL: &str =
            "INSERT INTO registration_token (token_hash, email, expires_at) VALUES ($1, $2, $3)";
        let parts = self.parts();
        let token = Token::generate()?;
        let hash = token.hash();
        let expires_at = parts.clock.now() + lifetime;
        let row = row_of(hash.as_bytes());
        let kept = self.addresses().shown(TABLE, &row, email.typed()).await?;
        let args = [hash.as_bytes().into(), (&kept).into(), expires_at.into()];
        let mut tx = parts.db.begin().await?;
        tx.execute(SQL, &args).await?;
        tx.commit().await?;
        Ok(token)
    }

    /// The links that wait for an address. Each is opened: what it is sealed with says nothing of whose it is.
    pub(crate) async fn registration_links_of(
        &self,
        canonical: &str,
    ) -> Result<Vec<WaitingLink>, Error> {
        const SQL: &str = "SELECT token_hash, email, expires_at FROM registration_token WHERE token_hash > $1 ORDER BY token_hash LIMIT 500";
        let (mut found, mut after) = (Vec::new(), Vec::new());
        loop {
            let rows = self.parts().db.fetch_all(SQL, &[(&after).into()]).await?;
            for row in &rows {
                after = row.bytes("token_hash")?;
                let name = row_of(&after);
                let address = self
                    .addresses()
                    .read(TABLE, &name, row.text("email")?)
                    .await?;
                if Email::parse(&address).is_ok_and(|email| email.canonical() == canonical) {
                    found.push(WaitingLink {
                        hash: after.clone(),
                        expires_at: row.timestamp("expires_at")?,
                    });
                }
            }
            if rows.len() < 500 {
                return Ok(found);
            }
        }
    }

    /// The address that the link was sent to.
    async fn address_of_link(&self, hash: &TokenHash, now: Timestamp) -> Result<String, Error> {
        const SQL: &str =
            "SELECT email FROM registration_token WHERE token_hash = $1 AND expires_at > $2";
        let args = [hash.as_bytes().into(), now.into()];
        let row = self.parts().db.fetch_optional(SQL, &args).await?;
        let kept = row.ok_or(Error::LinkSpent)?.text("email")?;
        let row = row_of(hash.as_bytes());
        Ok(self.addresses().read(TABLE, &row, kept).await?)
    }

    fn opens_by_link(&self) -> Result<(), Error> {
        match self.registration() {
            Registration::Confirmed => Ok(()),
            Registration::Closed | Registration::Open => Err(Error::RegistrationClosed),
        }
    }
}

/// Uses the token up. Of two at once, one gets `false`.
async fn redeem(
    tx: &mut Tx,
    hash: &TokenHash,
    now: Timestamp,
) -> Result<bool, portcullis_store::Error> {
    const SQL: &str = "DELETE FROM registration_token WHERE token_hash = $1 AND expires_at > $2";
    let args = [hash.as_bytes().into(), now.into()];
    Ok(tx.execute(SQL, &args).await? == 1)
}

/// Deletes what no longer counts.
pub(crate) async fn prune(
    db: &portcullis_store::Db,
    now: Timestamp,
) -> Result<(), portcullis_store::Error> {
    const SQL: &str = "DELETE FROM registration_token WHERE expires_at <= $1";
    let mut tx = db.begin().await?;
    tx.execute(SQL, &[now.into()]).await?;
    tx.commit().await
}

/// A link that opens an account, and was not used yet.
#[derive(Debug)]
pub(crate) struct WaitingLink {
    pub(crate) hash: Vec<u8>,
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn delete_in(tx: &mut Tx, hash: &[u8]) -> Result<(), portcullis_store::Error> {
    const SQL: &str = "DELETE FROM registration_token WHERE token_hash = $1";
    tx.execute(SQL, &[hash.into()]).await.map(drop)
}
