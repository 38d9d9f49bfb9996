//! Proving a second factor: as the last step of a sign-in, or once more in a session.

use portcullis_core::principal::User;
use portcullis_core::{Timestamp, UserId};
use portcullis_events::Actor;
use portcullis_store::Tx;
use portcullis_vault::{Token, TokenHash};

use super::passkeys::Verdict;
use super::{Challenge, Proof, Shown, Typed, challenge, codes, status_in, totp};
use crate::accounts::{Accounts, Client, Error, SignedIn};
use crate::backoff::{self, Attempt, Subject};
use crate::outbox::News;
use crate::record::{Act, Entry};
use crate::sessions::{self, NewSession};
use crate::{openid_login, users};

/// A proof that may be looked at: its try is counted, its question is used up.
enum Ready<'a> {
    Typed(Typed<'a>),
    /// Nothing where the browser was not asked.
    Passkey(Option<String>, &'a Shown),
}

impl Accounts {
    /// Where the account asks for a second factor, a challenge in place of a session. For a caller
    /// that has just checked the first factor and holds the account in `tx`.
    pub(crate) async fn challenge(
        &self,
        tx: &mut Tx,
        user: UserId,
        client: &Client,
    ) -> Result<Option<Challenge>, Error> {
        let parts = self.parts();
        if !status_in(tx, user).await?.has_any() {
            return Ok(None);
        }
        let token = Token::generate()?;
        challenge::create(tx, user, &token, parts.clock.now()).await?;
        let entry = Entry {
            user: Some(user),
            ..self.entry(Act::SecondFactorAsked, client)
        };
        parts.record.record_in(tx, entry).await?;
        Ok(Some(Challenge { token }))
    }

    /// The last step of a sign-in.
    pub async fn finish_sign_in(
        &self,
        hash: &TokenHash,
        proof: Proof<'_>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        let found = challenge::find(&parts.db, hash, now).await?;
        let user = found.ok_or(Error::ChallengeOver)?;
        let (subject, ready) = self.ready(user, proof, client).await?;
        let here = self.at_known_device(user, client).await?;
        let mut tx = parts.db.begin().await?;
        // SECURITY: the account may have been closed since the password was right, and a challenge
        // ends with the password that it was given for. Checked here, at the last step, as well.
        if !users::hold_open(&mut tx, user).await? {
            return Err(Error::ChallengeOver);
        }
        if !self.redeem(&mut tx, user, &ready, client).await? {
            return Err(self.refuse_proof(tx, user, &ready, client).await);
        }
        let vouched = openid_login::of_challenge(&mut tx, hash).await?;
        if !challenge::redeem(&mut tx, hash, user, now).await? {
            return Err(Error::ChallengeOver);
        }
        let made = parts.sessions.create(&mut tx, user, &here).await?;
        sessions::prove(&mut tx, made.0.id, now, Some(now)).await?;
        if let Some(vouched) = vouched {
            vouched.note(&mut tx, made.0.id).await?;
        }
        backoff::clear(&mut tx, &subject).await?;
        let done = self.entry(Act::LoginSucceeded, client);
        self.conclude(tx, user, made, here, done).await
    }

    /// Proves the second factor once more, for a route that wants it. The session gets a new token.
    /// A passkey is both factors: with it, the sign-in is as recent as the proof.
    pub async fn step_up(
        &self,
        user: &User,
        proof: Proof<'_>,
        client: &Client,
    ) -> Result<SignedIn, Error> {
        let parts = self.parts();
        let (subject, ready) = self.ready(user.id, proof, client).await?;
        let first = match proof {
            Proof::Typed(_) => user.authenticated_at,
            Proof::Passkey(_) => parts.clock.now(),
        };
        let here = self.at_known_device(user.id, client).await?;
        let mut tx = parts.db.begin().await?;
        if !users::hold_open(&mut tx, user.id).await? {
            return Err(Error::NotFound);
        }
        if !self.redeem(&mut tx, user.id, &ready, client).await? {
            return Err(self.refuse_proof(tx, user.id, &ready, client).await);
        }
        let session = self.rotate(&mut tx, user, &subject, first, &here).await?;
        tx.commit().await?;
        self.welcome(user.id, session, here).await
    }

    /// Counts a try that could be a guess; uses up the question that a passkey answers.
    async fn ready<'a>(
        &self,
        user: UserId,
        proof: Proof<'a>,
        client: &Client,
    ) -> Result<(Subject, Ready<'a>), Error> {
        match proof {
            Proof::Typed(typed) => {
                let subject = self.take_code_attempt(user, client).await?;
                Ok((subject, Ready::Typed(typed)))
            }
            Proof::Passkey(shown) => {
                let question = self.take_passkey_question(user, shown).await?;
                let subject = self.parts().backoff.second_factor(user);
                Ok((subject, Ready::Passkey(question, shown)))
            }
        }
    }

    /// Uses up what was shown.
    async fn redeem(
        &self,
        tx: &mut Tx,
        user: UserId,
        ready: &Ready<'_>,
        client: &Client,
    ) -> Result<bool, Error> {
        let (question, shown) = match ready {
            Ready::Typed(typed) => return self.redeem_code(tx, user, *typed, client).await,
            Ready::Passkey(None, _) => return Ok(false),
            Ready::Passkey(Some(question), shown) => (question, shown),
        };
        match self.judge_passkey(tx, user, question, shown).await? {
            Verdict::Accepted => Ok(true),
            Verdict::Refused => Ok(false),
            Verdict::Cloned => {
                self.note_clone(tx, user, client).await?;
                Ok(false)
            }
        }
    }

    /// Uses up what was typed: a code of the app, or a recovery code.
    async fn redeem_code(
        &self,
        tx: &mut Tx,
        user: UserId,
        typed: Typed<'_>,
        client: &Client,
    ) -> Result<bool, Error> {
        let parts = self.parts();
        let now = parts.clock.now();
        if totp::redeem(&parts.factors, tx, user, typed.0, true, now).await? {
            return Ok(true);
        }
        if !codes::redeem(tx, user, typed.0).await? {
            return Ok(false);
        }
        self.tell(tx, user, News::RecoveryCodeUsed).await?;
        let entry = Entry {
            actor: Some(Actor::User(user)),
            user: Some(user),
            ..self.entry(Act::RecoveryCodeUsed, client)
        };
        parts.record.record_in(tx, entry).await?;
        Ok(true)
    }

    /// Counts a try before it is made, so that many at once count as many.
    pub(super) async fn take_code_attempt(
        &self,
        user: UserId,
        client: &Client,
    ) -> Result<Subject, Error> {
        let parts = self.parts();
        let subject = parts.backoff.second_factor(user);
        let mut tx = parts.db.begin().await?;
        let attempt = backoff::take(&mut tx, &subject, parts.clock.now()).await?;
        match attempt {
            Attempt::Granted => {
                tx.commit().await?;
                totp::warm(&parts.factors, &parts.db, user).await?;
                Ok(subject)
            }
            Attempt::Throttled { retry_after } => {
                let entry = Entry {
                    user: Some(user),
                    ..self.entry(Act::FactorThrottled, client)
                };
                parts.record.record_in(&mut tx, entry).await?;
                tx.commit().await?;
                Err(Error::Throttled { retry_after })
            }
        }
    }

    async fn refuse_proof(
        &self,
        tx: Tx,
        user: UserId,
        ready: &Ready<'_>,
        client: &Client,
    ) -> Error {
        match (self.refuse_code(tx, user, client).await, ready) {
            (Error::WrongCode, Ready::Passkey(..)) => Error::PasskeyRefused,
            (error, _) => error,
        }
    }

    /// Takes note of a wrong code. The transaction has changed nothing else.
    pub(super) async fn refuse_code(&self, mut tx: Tx, user: UserId, client: &Client) -> Error {
        let entry = Entry {
            user: Some(user),
            ..self.entry(Act::FactorRefused, client)
        };
        if let Err(error) = self.parts().record.record_in(&mut tx, entry).await {
            return error.into();
        }
        match tx.commit().await {
            Ok(()) => Error::WrongCode,
            Err(error) => error.into(),
        }
    }

    /// A new session in place of the caller's, with the second factor proved now, and the first at
    /// `first`. It ends when the old one would have: proving a factor again and again makes nobody
    /// immortal.
    pub(super) async fn rotate(
        &self,
        tx: &mut Tx,
        user: &User,
        subject: &Subject,
        first: Timestamp,
        client: &Client,
    ) -> Result<NewSession, Error> {
        const SAME_END: &str = "UPDATE session SET expires_at = (SELECT old.expires_at FROM session old WHERE old.id = $2) WHERE id = $1";
        let parts = self.parts();
        let now = parts.clock.now();
        // A token is no session: whoever comes with one signs in with both factors.
        let old = user.session().ok_or(Error::NeedsSession)?;
        let ended = sessions::end_one(tx, user.id, old, now).await?;
        ended.ok_or(Error::ChallengeOver)?;
        let (session, _) = parts.sessions.create(tx, user.id, client).await?;
        tx.execute(SAME_END, &[session.id.into(), old.into()])
            .await?;
        sessions::prove(tx, session.id, first, Some(now)).await?;
        openid_login::carry_over(tx, old, session.id).await?;
        backoff::clear(tx, subject).await?;
        let entry = Entry {
            actor: Some(Actor::User(user.id)),
            user: Some(user.id),
            session: Some(session.id),
            ..self.entry(Act::SecondFactorProved, client)
        };
        parts.record.record_in(tx, entry).await?;
        Ok(session)
    }

    /// The client with the name by which its device is known from now on: the session is bound to it.
    pub(crate) async fn at_known_device(
        &self,
        user: UserId,
        client: &Client,
    ) -> Result<Client, Error> {
        let parts = self.parts();
        // SECURITY: not the address that is shown. That of another issuer's account may be anybody's,
        // and its device would be a known one of theirs.
        let canonical = parts.sessions.addresses().account_name(user).await?;
        let canonical = canonical.ok_or(Error::NotFound)?;
        let now = parts.clock.now();
        let subject = parts
            .backoff
            .subject(&canonical, client.device.as_deref(), now);
        let device = parts.backoff.issue(&canonical, &subject, now)?;
        Ok(Client {
            device: Some(device),
            is_known: subject.is_known_device(),
            ..client.clone()
        })
    }

    /// What goes to somebody whose session has just been made and committed.
    pub(crate) async fn welcome(
        &self,
        user: UserId,
        session: NewSession,
        here: Client,
    ) -> Result<SignedIn, Error> {
        self.forget_user(user);
        Ok(SignedIn {
            account: self.get(user).await?,
            session,
            device: here.device.unwrap_or_default(),
        })
    }
}
