//! What the address of a page asks for.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The query, read. Nothing of it where it cannot be read: a page is there all the same.
pub(crate) struct Question<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Question<T>
where
    S: Sync,
    T: Default + DeserializeOwned,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let read = Query::try_from_uri(&parts.uri);
        Ok(Question(read.map(|Query(asked)| asked).unwrap_or_default()))
    }
}
