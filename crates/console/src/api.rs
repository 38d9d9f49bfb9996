//! The frame of our own APIs: how a body is read, who calls, and how a refusal leaves.
//!
//! A refusal leaves as an empty response that bears its [`Problem`] as an extension: the one
//! function that renders problems does the rest.

mod body;
pub mod paging;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, header};
use portcullis_core::roles::Roles;
use portcullis_core::{Principal, Problem, problem};
use serde::de::DeserializeOwned;

pub use body::{MAX_BODY, json, json_up_to};

/// On an answer: what stands at this address never changes. Whoever may read it may keep it, for a year, and
/// nobody in between: it takes a permission.
#[derive(Debug, Clone, Copy)]
pub struct Immutable;

/// Nothing of ours is kept by caches, unless it says that it is [`Immutable`]. A layer of every router.
pub fn no_store(mut response: Response) -> std::future::Ready<Response> {
    let kept = response.extensions().get::<Immutable>().is_some();
    let value = if kept && response.status().is_success() {
        "private, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
    std::future::ready(response)
}

/// On an answer: its body is long, and goes out as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streamed {
    /// Somebody's file.
    Download,
    /// Events without an end of their own.
    Events,
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct Failure(pub Problem);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure(problem)
    }
}

/// The permitted caller, for what may only be given on.
pub struct Caller(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Principal>().cloned();
        Ok(Caller(caller.unwrap_or(Principal::Anonymous)))
    }
}

/// A JSON body, read as strictly as everywhere.
pub struct Input<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let body: Body = body;
        Ok(Input(json(&parts.headers, body).await?))
    }
}

/// The roles of the policy that the request is judged by.
pub struct Known(pub Arc<Roles>);

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let roles = parts.extensions.get::<Arc<Roles>>();
        Ok(Known(roles.cloned().unwrap_or_default()))
    }
}

/// An id in the path; what is none names nothing.
pub fn parse_id<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|_| Failure(Problem::new(&problem::NOT_FOUND)))
}
