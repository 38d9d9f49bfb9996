//! The one place that finds out who is calling.
//!
//! Kinds of credentials are tried in one order, and the first that is ours decides:
//!
//! 1. `Authorization: Bearer`, each kind of token by its shape ([`Lane::by_bearer`]);
//! 2. `X-Api-Key`, where it holds a key of ours;
//! 3. the session cookie;
//! 4. `Authorization: Bearer` with a visitor's token, which never stands above a session.
//!
//! - A bearer that no kind here knows is the product's own business: it passes untouched, and the
//!   cookie decides. One that is ours and not good is 401, whatever else the request bears.
//! - What was ours does not reach the product: [`Caller::spent`] says what to take out.
//! - Nothing here waits for a disk but on a miss, and then on the back runtime. Where the database
//!   is away as well, the answer is 503: never 401, never open.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis_core::principal::Credential;
use portcullis_core::{Principal, Problem, Secret, problem};
use portcullis_identity::api_keys::{Found, Shape};
use portcullis_identity::sessions::{Lookup, Presented};
use portcullis_identity::{Bearer, Client};
use portcullis_vault::tokens::TokenHash;

use crate::lane::Lane;
use crate::snapshot::Snapshot;
use crate::toll::Toll;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who is calling.
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) proof: Proof,
    /// The header that bore the credential: it is taken out before the request goes on.
    pub(crate) spent: Option<HeaderName>,
    /// A session cookie came that opens nothing.
    pub(crate) is_stale: bool,
}

/// By what a caller is known: enough to ask again whether that still holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    Nothing,
    /// By a cookie, which browsers send on anybody's behalf: the only proof that CSRF is about.
    Session(TokenHash),
    ApiKey(TokenHash),
    /// By the cookie of the product that stood here before.
    CarriedOver(TokenHash),
    /// By an access token, which no page of another site can send.
    Token(TokenHash),
    /// By a visitor's token.
    Visitor(TokenHash),
}

impl Proof {
    /// The session, where the caller came by cookie.
    pub(crate) const fn session(self) -> Option<TokenHash> {
        match self {
            Proof::Nothing | Proof::ApiKey(_) | Proof::Token(_) | Proof::Visitor(_) => None,
            Proof::Session(hash) | Proof::CarriedOver(hash) => Some(hash),
        }
    }
}

impl Caller {
    pub(crate) const fn nobody(is_stale: bool) -> Self {
        Caller {
            principal: Principal::Anonymous,
            proof: Proof::Nothing,
            spent: None,
            is_stale,
        }
    }
}

/// The answer to a credential that is of our making and not good. One for unknown, revoked and
/// expired ones (RFC 6750 section 3.1).
pub(crate) fn invalid_token() -> Problem {
    Problem::new(&problem::INVALID_TOKEN).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer error=\"invalid_token\""),
    )
}

fn two_credentials() -> Problem {
    Problem::new(&problem::MALFORMED_REQUEST)
        .detail("There is a credential in `Authorization` and one in `X-Api-Key`.")
}

/// The one bearer token of a request, if there is one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    // SECURITY: of two, the gate and the product might each believe another one (CWE-436).
    if values.next().is_some() {
        return Err(Problem::new(&problem::MALFORMED_REQUEST)
            .detail("`Authorization` is there more than once."));
    }
    Ok(value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
        .map(|(_, token)| token.trim_matches(' ')))
}

impl Lane {
    /// Finds out who is calling: from memory, or where memory does not know and the toll is paid,
    /// from the database.
    pub(crate) async fn authenticate(
        &self,
        snapshot: &Snapshot,
        head: &Parts,
        toll: &mut Toll<'_>,
    ) -> Result<Caller, Problem> {
        let headers = &head.headers;
        let key = self.header_key(headers)?;
        let token = bearer(headers)?;
        let visitor = token.filter(|token| self.is_visitors(token));
        // SECURITY: as below: two credentials of ours stand for nobody.
        if visitor.is_some() && key.is_some() {
            return Err(two_credentials());
        }
        if let Some(token) = token
            && visitor.is_none()
            && let Some(caller) = self.by_bearer(token, head, toll).await?
        {
            // SECURITY: two credentials of ours, each for another caller perhaps: whoever joined them
            // may not be whom either stands for.
            if key.is_some() {
                return Err(two_credentials());
            }
            return Ok(caller);
        }
        if let Some(key) = key
            && let Some(caller) = self.by_api_key(key, X_API_KEY, toll).await?
        {
            return Ok(caller);
        }
        let caller = self.by_cookie(snapshot, &head.headers, toll).await?;
        match visitor {
            Some(token) => Box::pin(self.or_visitor(caller, token, toll)).await,
            None => Ok(caller),
        }
    }

    /// The key in `X-Api-Key`, where it is one of ours. One of the product's own is not looked at.
    fn header_key<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Problem> {
        let mut found = None;
        let mut values = 0_u8;
        for value in headers.get_all(X_API_KEY) {
            values = values.saturating_add(1);
            let text = value.to_str().unwrap_or_default();
            match self.gate.keys.read(text) {
                Shape::Foreign => {}
                Shape::Broken | Shape::Own | Shape::Imported => found = Some(text),
            }
        }
        match found {
            Some(_) if values > 1 => Err(Problem::new(&problem::MALFORMED_REQUEST)
                .detail("`X-Api-Key` is there more than once.")),
            found => Ok(found),
        }
    }

    /// The caller that a bearer token stands for; nothing where it is of no kind that is ours.
    async fn by_bearer(
        &self,
        token: &str,
        head: &Parts,
        toll: &mut Toll<'_>,
    ) -> Result<Option<Caller>, Problem> {
        match self.by_api_key(token, AUTHORIZATION, toll).await? {
            Some(caller) => Ok(Some(caller)),
            None => self.by_token(token, head, toll).await,
        }
    }

    /// The program that a key stands for; nothing where the text is no key of ours.
    async fn by_api_key(
        &self,
        text: &str,
        bearer: HeaderName,
        toll: &mut Toll<'_>,
    ) -> Result<Option<Caller>, Problem> {
        match self.gate.keys.read(text) {
            Shape::Foreign => return Ok(None),
            Shape::Broken => return Err(invalid_token()),
            Shape::Own | Shape::Imported => {}
        }
        let hash = self.gate.keys.hash(text);
        let key = match self.gate.keys.lookup(&hash) {
            Found::Live(key) => Some(key),
            Found::Dead => None,
            Found::Unknown => {
                let (keys, text) = (self.gate.keys.clone(), Secret::new(text.to_owned()));
                Box::pin(self.look_up(toll, async move { keys.load(&text).await })).await??
            }
        };
        let key = key.ok_or_else(invalid_token)?;
        Ok(Some(Caller {
            principal: Principal::ApiKey(key),
            proof: Proof::ApiKey(hash),
            spent: Some(bearer),
            is_stale: false,
        }))
    }

    /// The person that an access token stands for, ours or another issuer's; nothing where it is of
    /// nobody that the configuration names.
    async fn by_token(
        &self,
        token: &str,
        head: &Parts,
        toll: &mut Toll<'_>,
    ) -> Result<Option<Caller>, Problem> {
        let user = match self.gate.bearers.lookup(token) {
            Bearer::Live(user) => user,
            Bearer::NotOurs => return Ok(None),
            Bearer::Refused => return Err(invalid_token()),
            Bearer::Unknown => {
                let (bearers, text) = (self.gate.bearers.clone(), token.to_owned());
                // For the record of somebody's first request.
                let client = Client::of(&head.extensions);
                // Boxed, as all that is rare: room for it here would be copied with every request.
                let loaded = self.look_up(toll, async move { bearers.load(&text, &client).await });
                Box::pin(loaded).await??.ok_or_else(invalid_token)?
            }
        };
        let passes_on = match user.credential {
            Credential::AccessToken(_) => self.gate.bearers.passes_on(),
            // The issuer's, not ours: the product has its own use for it.
            Credential::Foreign => true,
            Credential::Session(_) => false,
        };
        Ok(Some(Caller {
            principal: Principal::User(user),
            proof: Proof::Token(TokenHash::of(token.as_bytes())),
            spent: (!passes_on).then_some(AUTHORIZATION),
            is_stale: false,
        }))
    }

    async fn by_cookie(
        &self,
        snapshot: &Snapshot,
        headers: &HeaderMap,
        toll: &mut Toll<'_>,
    ) -> Result<Caller, Problem> {
        let (hash, proof) = match snapshot.cookies.presented(headers) {
            Presented::Nothing => return Ok(Caller::nobody(false)),
            Presented::Refused => return Ok(Caller::nobody(true)),
            Presented::Token(hash) => (hash, Proof::Session(hash)),
            Presented::CarriedOver(hash) => (hash, Proof::CarriedOver(hash)),
        };
        let user = match self.gate.sessions.lookup(&hash) {
            Lookup::Live(user) => Some(user),
            Lookup::Dead => None,
            Lookup::Unknown | Lookup::Stale => {
                let sessions = self.gate.sessions.clone();
                // Boxed, as all that is rare: room for it here would be copied with every request.
                let loaded = self.look_up(toll, async move { sessions.load(&hash).await });
                Box::pin(loaded).await??
            }
        };
        Ok(match user {
            Some(user) => Caller {
                principal: Principal::User(user),
                proof,
                spent: None,
                is_stale: false,
            },
            None => Caller::nobody(true),
        })
    }

    /// Whether what a caller was known by still holds.
    pub(crate) async fn still_holds(&self, proof: Proof) -> Result<bool, Problem> {
        match proof {
            Proof::Nothing => Ok(true),
            Proof::Session(hash) | Proof::CarriedOver(hash) => {
                match self.gate.sessions.lookup(&hash) {
                    Lookup::Live(_) => Ok(true),
                    Lookup::Dead => Ok(false),
                    Lookup::Unknown | Lookup::Stale => {
                        let sessions = self.gate.sessions.clone();
                        let loaded = self.on_back(async move { sessions.load(&hash).await });
                        Ok(loaded.await??.is_some())
                    }
                }
            }
            Proof::ApiKey(hash) => match self.gate.keys.lookup(&hash) {
                Found::Live(_) => Ok(true),
                Found::Dead => Ok(false),
                Found::Unknown => {
                    let keys = self.gate.keys.clone();
                    Ok(self
                        .on_back(async move { keys.load_by_hash(&hash).await })
                        .await??
                        .is_some())
                }
            },
            Proof::Visitor(hash) => self.visit_goes_on(hash).await,
            Proof::Token(hash) => self
                .gate
                .bearers
                .still_holds(&hash)
                .ok_or_else(|| Problem::new(&problem::TEMPORARILY_UNAVAILABLE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_is_read_and_two_are_refused() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers)
                .map(|token| token.map(str::to_owned))
                .map_err(|problem| problem.kind.slug)
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(read(&["bearer  abc "]), Ok(Some("abc".to_owned())));
        assert_eq!(read(&["Basic abc"]), Ok(None));
        assert_eq!(read(&["Bearer"]), Ok(None));
        assert_eq!(
            read(&["Bearer abc", "Bearer abc"]),
            Err("malformed-request")
        );
    }
}
