//! Who does something by a request, and from where.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;
use portcullis_console::api::Failure;
use portcullis_core::{Principal, Problem, RequestId, problem};
use portcullis_edge::ClientAddr;

use super::{Actor, Event};

/// What an event says of a request.
#[derive(Debug, Clone, Copy)]
pub struct By {
    pub actor: Actor,
    pub client: Option<IpAddr>,
    pub request: Option<RequestId>,
}

impl By {
    /// Whoever holds the master secret, at the command line.
    pub const OPERATOR: By = By {
        actor: Actor::Operator,
        client: None,
        request: None,
    };

    /// The gate itself.
    pub const SYSTEM: By = By {
        actor: Actor::System,
        client: None,
        request: None,
    };

    /// Somebody, by what the pipeline knows of the request.
    pub fn of(extensions: &Extensions, actor: Actor) -> By {
        By {
            actor,
            client: extensions.get::<ClientAddr>().map(|client| client.ip()),
            request: extensions.get::<RequestId>().copied(),
        }
    }

    /// The permitted caller of an API of ours. The pipeline has let nobody through whom it does not know.
    pub fn caller(extensions: &Extensions) -> Result<By, Failure> {
        match extensions.get::<Principal>() {
            Some(caller @ (Principal::User(_) | Principal::ApiKey(_))) => {
                Ok(By::of(extensions, Actor::from(caller)))
            }
            Some(Principal::Anonymous | Principal::Visitor(_)) | None => {
                Err(Problem::new(&problem::AUTHENTICATION_REQUIRED).into())
            }
        }
    }
}

/// In a handler: the permitted caller.
impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        By::caller(&parts.extensions)
    }
}

impl Event {
    /// Says who it was, and by which request.
    #[must_use]
    pub fn done(mut self, by: &By) -> Self {
        self.actor = by.actor;
        self.client = by.client;
        self.request = by.request;
        self
    }
}
