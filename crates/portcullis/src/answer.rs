//! The one place where a problem becomes an answer.
//!
//! A program gets `application/problem+json` (RFC 9457), a browser a small page with the same
//! words. A 5xx says nothing of its cause: that goes to the log, under the request id shown here.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use portcullis_console::{Nonce, Page};
use portcullis_core::problem::FieldFault;
use portcullis_core::{Problem, RequestId};
use serde::Serialize;

/// Where problem types live: the gate answers there with the page about it. A relative reference is
/// allowed (RFC 9457 section 3.1.1) and leads to the very gate that gave the answer.
const TYPE_PREFIX: &str = "/.portcullis/problems/";

/// Sessions are opened by the sign-in form and borne by a cookie.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Cookie form-action=\"/.portcullis/auth/sign-in\"");

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault<'a>>,
    request_id: String,
}

/// One field's fault, without keys.
#[derive(Serialize)]
struct Fault<'a> {
    field: Cow<'a, str>,
    message: Cow<'a, str>,
}

impl<'a> Fault<'a> {
    fn of(fault: &'a FieldFault) -> Self {
        Fault {
            field: safe(&fault.field),
            message: safe(&fault.message),
        }
    }
}

/// A text for the client. What was put together from a request goes through redaction: it may repeat a
/// key that stood in the wrong place.
#[expect(clippy::ptr_arg, reason = "it says whether the text is ours")]
fn safe<'a>(text: &'a Cow<'static, str>) -> Cow<'a, str> {
    match text {
        Cow::Borrowed(ours) => Cow::Borrowed(ours),
        Cow::Owned(text) => Cow::Owned(portcullis_events::redact::answer(text)),
    }
}

/// What the client would rather read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefers {
    Json,
    Html,
}

impl Prefers {
    /// A browser that navigates says so in `Accept`; everything else gets JSON.
    pub(crate) fn of(accept: Option<&HeaderValue>) -> Self {
        let html = accept
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| {
                accept
                    .split(',')
                    .any(|range| range.trim().split(';').next() == Some("text/html"))
            });
        if html { Prefers::Html } else { Prefers::Json }
    }
}

/// What a page needs beside the problem.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// Where to sign in and come back from.
    pub(crate) sign_in: &'a str,
    /// The same for the second factor.
    pub(crate) second_factor: &'a str,
    /// What admits the page's style sheet. Without one the page is plain.
    pub(crate) nonce: Option<&'a Nonce>,
}

/// The answer for a problem.
pub(crate) fn problem(
    problem: &Problem,
    id: RequestId,
    prefers: Prefers,
    page: Frame<'_>,
) -> Response<Bytes> {
    let (kind, body) = match prefers {
        Prefers::Json => ("application/problem+json", json(problem, id)),
        Prefers::Html => ("text/html; charset=utf-8", html(problem, id, page)),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = problem.kind.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(span) = problem.retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from(span.as_seconds_ceil().max(1)),
        );
    }
    for (name, value) in &problem.headers {
        headers.append(name.clone(), value.clone());
    }
    // RFC 9110 section 15.5.2: a 401 bears a challenge. Browsers show no dialog for this one.
    if problem.kind.status == StatusCode::UNAUTHORIZED
        && !headers.contains_key(header::WWW_AUTHENTICATE)
    {
        headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// Another page instead: 303, and nothing that is kept.
pub(crate) fn see_other(to: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(problem: &Problem, id: RequestId) -> Vec<u8> {
    let document = Document {
        r#type: format!("{TYPE_PREFIX}{}", problem.kind.slug),
        title: problem.kind.title,
        status: problem.kind.status.as_u16(),
        detail: problem.detail.as_ref().map(safe),
        errors: problem.fields.iter().map(Fault::of).collect(),
        request_id: id.to_string(),
    };
    serde_json::to_vec(&document).unwrap_or_else(|_| b"{}".to_vec())
}

/// A small page in the frame of all our pages: what happened, when to come back, where to go.
fn html(problem: &Problem, id: RequestId, page: Frame<'_>) -> Vec<u8> {
    let wait = problem
        .retry_after
        .map(|span| span.as_seconds_ceil().max(1));
    let wants_more = problem.kind == &portcullis_core::problem::SECOND_FACTOR_REQUIRED;
    let anonymous = problem.kind == &portcullis_core::problem::REAUTHENTICATION_REQUIRED
        || problem.kind.slug == portcullis_core::problem::AUTHENTICATION_REQUIRED.slug;
    // The way back from a provider leads nowhere twice: from the beginning, without a target.
    let begins_anew = [
        &portcullis_core::problem::OPENID_LOGIN_FAILED,
        &portcullis_core::problem::OPENID_ACCOUNT_REFUSED,
    ]
    .contains(&problem.kind);
    let body = maud::html! {
        @if let Some(detail) = &problem.detail { p { (safe(detail)) } }
        @if let Some(wait) = wait { p { "You can try again in " (wait) " s." } }
        @if !problem.fields.is_empty() {
            ul { @for fault in problem.fields.iter().map(Fault::of) { li { (fault.field) ": " (fault.message) } } }
        }
        p {
            @if wants_more { a href=(page.second_factor) { "Prove your second factor" } " or go " }
            @else if begins_anew { a href=(crate::own::SIGN_IN) { "Sign in" } " or go " }
            @else if anonymous { a href=(page.sign_in) { "Sign in" } " or go " } @else { "Go " }
            a href="/" { "back to the start page" }
            ". "
            a href=(format!("{TYPE_PREFIX}{}", problem.kind.slug)) { "What this means" }
        }
        p { small { (problem.kind.status.as_u16()) " · request " code { (id) } } }
    };
    let page = Page {
        title: problem.kind.title,
        nonce: page.nonce,
    };
    page.render(&body).into_string().into_bytes()
}
