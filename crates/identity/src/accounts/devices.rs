//! Looking after one's sessions: ending them, and what is told when one turns up elsewhere.

use std::net::IpAddr;

use portcullis_core::principal::User;
use portcullis_core::{SessionId, Span, TokenFamilyId, UserId};
use portcullis_events::Actor;
use portcullis_store::revocations::Revocation;
use uuid::Uuid;

use super::{Accounts, Client, Error};
use crate::outbox::News;
use crate::record::{Act, Entry};
use crate::sessions::notices::{self, NewNotice, Outcome};
use crate::sessions::{self, Notice, OnOtherClient, SessionInfo, Stranger, coarse};
use crate::users;

/// Every alarm is on the account's page; a letter goes out for the first of an hour.
const LETTERS_APART: Span = Span::from_hours(1);

impl Accounts {
    /// Everything by which somebody is signed in here and now, newest first: sessions, and tokens of
    /// clients that are no browsers.
    pub async fn devices(&self, user: UserId) -> Result<Vec<SessionInfo>, Error> {
        let mut all = self.0.sessions.list(user).await?;
        all.extend(crate::tokens::list(&self.0.db, user, self.now()).await?);
        all.sort_by_key(|one| std::cmp::Reverse((one.created_at, one.id)));
        let places = self.0.places.clone();
        if !places.is_known() || all.is_empty() {
            return Ok(all);
        }
        // The first look-up may read the whole database: not here. Without an answer the list is shown without places.
        let addresses: Vec<_> = all.iter().map(|one| one.address).collect();
        let look_up = move || -> Vec<_> {
            let name = |address: Option<IpAddr>| places.name(address?);
            addresses.into_iter().map(name).collect()
        };
        let names = tokio::task::spawn_blocking(look_up).await;
        for (one, name) in all.iter_mut().zip(names.unwrap_or_default()) {
            one.place = name;
        }
        Ok(all)
    }

    /// Ends one of [`Accounts::devices`].
    pub async fn revoke_session(
        &self,
        user: &User,
        id: Uuid,
        client: &Client,
    ) -> Result<(), Error> {
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            ..self.entry(Act::SessionRevoked, client)
        };
        self.end_device(user.id, id, entry).await
    }

    /// Ends a session or a family of tokens of this user, and of nobody else.
    pub(super) async fn end_device(
        &self,
        user: UserId,
        id: Uuid,
        entry: Entry,
    ) -> Result<(), Error> {
        let parts = &*self.0;
        let (session, family) = (SessionId::from_uuid(id), TokenFamilyId::from_uuid(id));
        let now = self.now();
        let mut tx = parts.db.begin().await?;
        let ended = sessions::end_one(&mut tx, user, session, now).await?;
        if ended.is_none() && !crate::tokens::end_family(&mut tx, family, user, now).await? {
            return Err(Error::NotFound);
        }
        let entry = Entry {
            user: Some(user),
            session: ended.is_some().then_some(session),
            family: ended.is_none().then_some(family),
            ..entry
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        match ended {
            Some(hash) => self.forget(&[hash]),
            None => parts.holders.revoked(Revocation::TokenFamily(family)),
        }
        Ok(())
    }

    /// Ends everything by which the user is signed in, this session too: sessions, tokens, and tokens
    /// of other issuers that were made before now.
    pub async fn revoke_all(&self, user: &User, client: &Client) -> Result<(), Error> {
        let parts = &*self.0;
        let now = self.now();
        let mut tx = parts.db.begin().await?;
        crate::tokens::hold_user(&mut tx, user.id).await?;
        users::end_sessions(&mut tx, user.id, now).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            ..self.entry(Act::SessionRevoked, client)
        };
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget_user(user.id);
        Ok(())
    }

    /// A session turned up in a client that it does not belong to. The caller refuses the request in
    /// any case; here it is recorded, its owner is told, and it is ended where that is the policy.
    pub async fn turned_up_elsewhere(
        &self,
        user: &User,
        session: SessionId,
        stranger: &Stranger,
        client: &Client,
    ) -> Result<(), Error> {
        let parts = &*self.0;
        let name = stranger.seen.to_string();
        let entry = Entry {
            user: Some(user.id),
            session: Some(session),
            seen: Some(name.clone()),
            ..self.entry(Act::OtherClient, client)
        };
        let outcome = match parts.sessions.settings().on_other_client {
            OnOtherClient::End => Outcome::Ended,
            OnOtherClient::Challenge | OnOtherClient::Ignore => Outcome::Challenged,
        };
        // Who repeats it must not choose how much is written.
        if !stranger.is_news && outcome == Outcome::Challenged {
            parts.record.note(entry);
            return Ok(());
        }
        let now = self.now();
        let mut tx = parts.db.begin().await?;
        let ended = match outcome {
            Outcome::Challenged => None,
            Outcome::Ended => match sessions::end_one(&mut tx, user.id, session, now).await? {
                // Somebody else was faster, and has told the owner.
                None => return Ok(()),
                hash => hash,
            },
        };
        let signed_in = stranger
            .signed_in
            .map_or_else(|| "another device".to_owned(), |kind| kind.to_string());
        let address = client.address.map(coarse);
        let notice = NewNotice {
            user: user.id,
            at: now,
            client: &name,
            session_client: &signed_in,
            client_address: address.as_deref(),
            outcome,
        };
        // SECURITY: a thief who tries again and again must not fill the owner's letter box.
        if !notices::any_since(&mut tx, user.id, now - LETTERS_APART).await? {
            self.tell(&mut tx, user.id, News::SessionElsewhere).await?;
        }
        notices::insert(&mut tx, &notice).await?;
        parts.record.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        self.forget(ended.as_slice());
        Ok(())
    }

    /// What the user should know about their sessions and has not dismissed.
    pub async fn notices(&self, user: &User) -> Result<Vec<Notice>, Error> {
        Ok(notices::list(&self.0.db, user.id).await?)
    }

    /// The user has read the notices.
    pub async fn dismiss_notices(&self, user: &User) -> Result<(), Error> {
        let mut tx = self.0.db.begin().await?;
        notices::dismiss(&mut tx, user.id, self.now()).await?;
        tx.commit().await?;
        Ok(())
    }
}
