//! An issuer as a place where people sign in ([`crate::openid_login`]): its endpoints, its answers
//! to us, and the accounts of its people.

use std::sync::Arc;

use http::HeaderValue;
use portcullis_core::{Timestamp, UserId};
use portcullis_edge::outbound::{Answer, Target};
use serde_json::{Map, Value};

use super::config::Types;
use super::keyset::{self, Endpoints};
use super::{Error, Issuer, Issuers, store};
use crate::claims::{Checked, Refused, Rules};
use crate::openid_login::config::Settings as Login;
use crate::{Client, Email};

#[derive(Clone, Copy)]
pub(crate) struct Provider<'i> {
    pub(crate) login: &'i Login,
    pub(super) issuer: &'i Issuer,
    pub(super) issuers: &'i Issuers,
}

impl Provider<'_> {
    /// The name of its table.
    pub(crate) fn name(&self) -> &str {
        &self.issuer.settings.name
    }

    /// Its name in tokens and answers.
    pub(crate) fn url(&self) -> &str {
        &self.issuer.settings.config.issuer
    }

    /// Audiences besides ours that its identity tokens may name.
    pub(crate) fn trusted_audiences(&self) -> &[String] {
        &self.issuer.settings.audiences
    }

    pub(crate) fn leeway(&self) -> portcullis_core::Span {
        self.issuer.settings.config.leeway
    }

    pub(crate) fn names_administrator(&self, address: &str) -> bool {
        self.issuer.settings.names_administrator(address)
    }

    /// Canonical addresses.
    pub(crate) fn administrators(&self) -> &[String] {
        &self.issuer.settings.administrators
    }

    pub(crate) fn administrator_roles(&self) -> impl Iterator<Item = Arc<str>> {
        let roles = &self.issuer.settings.config.administrator_roles;
        roles.iter().map(|role| Arc::from(role.as_str()))
    }

    pub(crate) fn verified_email(&self, claims: &Map<String, Value>) -> Option<Email> {
        self.issuer.verified_email(claims)
    }

    pub(crate) async fn endpoints(&self) -> Result<Endpoints, Error> {
        let inner = &*self.issuers.0;
        self.issuer
            .keys
            .endpoints(&self.issuer.settings, &inner.outbound, inner.clock.now())
            .await
            .map_err(|source| self.issuer.away(source))
    }

    /// Asks one of its endpoints: a form where there is one.
    pub(crate) async fn ask(
        &self,
        target: &Target,
        authorization: Option<HeaderValue>,
        form: Option<String>,
    ) -> Result<Answer, Error> {
        let outbound = &self.issuers.0.outbound;
        let answer = match form {
            Some(form) => outbound.post_form(target, authorization, form).await,
            None => outbound.get_as(target, authorization).await,
        };
        answer.map_err(|error| self.away(error.into()))
    }

    /// It answered, and not with what it should.
    pub(crate) fn away(&self, cause: keyset::Error) -> Error {
        self.issuer.away(cause)
    }

    /// Algorithm and claims of an identity token that it signed with a pinned algorithm.
    pub(crate) async fn id_token(
        &self,
        text: &str,
    ) -> Result<Option<(String, Map<String, Value>)>, Error> {
        self.issuers
            .claims(self.issuer, text, Types::Identity)
            .await
    }

    /// What every token must say, with the client's name as the audience.
    pub(crate) fn check(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Checked, Refused> {
        let rules = Rules {
            audiences: vec![self.login.config.client_id.clone()],
            parties: Vec::new(),
            ..self.issuer.rules.clone()
        };
        rules.check(claims, now)
    }

    /// The account of one of its people, whether it is open or not.
    pub(crate) async fn find(&self, subject: &str) -> Result<Option<UserId>, Error> {
        let found = store::find(&self.issuers.0.db, self.url(), subject).await?;
        Ok(found.map(|found| found.user))
    }

    /// The same; made, with the roles of the configuration, where there is none.
    pub(crate) async fn find_or_create(
        &self,
        subject: &str,
        email: Option<&str>,
        client: &Client,
    ) -> Result<Option<UserId>, Error> {
        if let Some(user) = self.find(subject).await? {
            return Ok(Some(user));
        }
        let settings = &self.issuer.settings;
        self.issuers
            .provision(settings, subject, email, client)
            .await?;
        self.find(subject).await
    }
}
