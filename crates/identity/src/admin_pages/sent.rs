//! What a form sends, and the layer that looks at its token before anybody reads the rest.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use portcullis_console::api::Failure;
use portcullis_core::{Problem, problem};
use portcullis_vault::TokenHash;

use super::Console;

/// Largest form, in bytes: a few hundred boxes that can be ticked.
const MAX_BODY: usize = 64 * 1024;
/// The input that bears the token.
pub(super) const TOKEN: &str = "csrf";

/// The fields of a form, in the order they came.
#[derive(Clone, Default)]
pub(crate) struct Sent(Arc<Vec<(String, String)>>);

impl Sent {
    fn read(bytes: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(bytes)
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Sent(Arc::new(pairs.collect()))
    }

    /// A field that comes once, without the white space around it. What does not come is empty, and so
    /// is what comes twice: nothing is chosen from.
    pub(crate) fn one(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(field, _)| field == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value.trim(),
            _ => "",
        }
    }

    /// The same; nothing where it is empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        Some(self.one(name)).filter(|value| !value.is_empty())
    }

    /// Every value of a field: the boxes that were ticked.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let of_name = |(field, value): &(String, String)| (field == name).then(|| value.clone());
        self.0.iter().filter_map(of_name).collect()
    }

    /// The lines of a field that say something.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.one(name).lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn token(&self) -> &str {
        self.one(TOKEN)
    }
}

/// Refuses every form without a token of the caller's own session. Whoever comes without a session
/// cannot have one, and gets no page either.
pub(super) async fn check(
    State(console): State<Console>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let refused = |kind| Failure(Problem::new(kind));
    let Some(session) = request.extensions().get::<TokenHash>().copied() else {
        return Err(refused(&problem::AUTHENTICATION_REQUIRED));
    };
    if *request.method() == Method::GET {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    if !is_form(&parts.headers) {
        return Err(refused(&problem::UNSUPPORTED_MEDIA_TYPE));
    }
    let bytes = to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| refused(&problem::BODY_TOO_LARGE))?;
    let sent = Sent::read(&bytes);
    let token = sent.token();
    if token.is_empty() {
        return Err(refused(&problem::CSRF_TOKEN_MISSING));
    }
    if !(console.tokens.verify)(token, &session) {
        let problem = Problem::new(&problem::CSRF_TOKEN_INVALID);
        return Err(Failure(problem.detail(
            "The page is older than your session. Open it again and send the form anew.",
        )));
    }
    parts.extensions.insert(sent);
    Ok(next
        .run(Request::from_parts(parts, axum::body::Body::empty()))
        .await)
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next();
    essence.is_some_and(|essence| {
        essence
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Sent {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Only the layer above puts it there, after it has looked at the token.
        let sent = parts.extensions.get::<Sent>().cloned();
        sent.ok_or_else(|| Failure(Problem::new(&problem::CSRF_TOKEN_MISSING)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_where_one_is_wanted_is_nothing() {
        let sent = Sent::read(b"a=1&a=2&b=+x+&c=u%0D%0Av%0A%0A&d=");
        assert_eq!(sent.one("a"), "");
        assert_eq!(sent.all("a"), ["1", "2"]);
        assert_eq!(sent.one("b"), "x");
        assert_eq!(sent.lines("c"), ["u", "v"]);
        assert_eq!(sent.some("d"), None);
        assert_eq!(sent.some("e"), None);
    }
}
