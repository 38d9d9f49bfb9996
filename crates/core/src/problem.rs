//! Everything that can go wrong for a client: the catalogue, and the value that carries one case.
//!
//! A [`Problem`] becomes an RFC 9457 problem document in one place in the binary. Each kind has a
//! page in `docs/problems/` under its slug. Nothing here tells a client why a 5xx happened: the
//! cause goes to the log, under the request id that the client also gets.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::Span;
use crate::decision::Consent;

/// One kind of problem: stable for ever once published.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Last part of the problem's `type`, and the name of its page.
    pub slug: &'static str,
    pub status: StatusCode,
    /// The same short sentence every time (RFC 9457 section 3.1.3).
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        $(pub static $name: Kind = Kind { slug: $slug, status: StatusCode::$status, title: $title };)*
        /// Every kind there is.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    MALFORMED_REQUEST = "malformed-request", BAD_REQUEST, "The request is not well-formed HTTP";
    AMBIGUOUS_PATH = "ambiguous-path", BAD_REQUEST, "The path could be read in more than one way";
    MALFORMED_BODY = "malformed-body", BAD_REQUEST, "The body is not what its type says";
    AUTHENTICATION_REQUIRED = "authentication-required", UNAUTHORIZED, "You have to sign in for this";
    CREDENTIALS_REFUSED = "credentials-refused", UNAUTHORIZED, "The e-mail address or the password is not right";
    INVALID_TOKEN = "invalid-token", UNAUTHORIZED, "The token or key is not valid";
    SECOND_FACTOR_REQUIRED = "second-factor-required", UNAUTHORIZED, "This wants a second factor";
    REAUTHENTICATION_REQUIRED = "reauthentication-required", UNAUTHORIZED, "You have to prove again who you are";
    WEBHOOK_SIGNATURE_INVALID = "webhook-signature-invalid", UNAUTHORIZED, "The signature is not right";
    WEBHOOK_TIMESTAMP_OUTSIDE = "webhook-timestamp-outside", BAD_REQUEST, "The message was signed too long ago, or in the future";
    HTTPS_REQUIRED = "https-required", FORBIDDEN, "This is served over HTTPS only";
    CSRF_CROSS_SITE = "csrf-cross-site", FORBIDDEN, "The request came from another site";
    CSRF_TOKEN_MISSING = "csrf-token-missing", FORBIDDEN, "The CSRF token is missing";
    CSRF_TOKEN_INVALID = "csrf-token-invalid", FORBIDDEN, "The CSRF token is not valid for this session";
    ORIGIN_NOT_ALLOWED = "origin-not-allowed", FORBIDDEN, "This origin may not call the product";
    NOT_PERMITTED = "not-permitted", FORBIDDEN, "You may not do this";
    CONSENT_REQUIRED = "consent-required", FORBIDDEN, "This asks for your consent";
    TENANT_REQUIRED = "tenant-required", FORBIDDEN, "You have to choose an organization first";
    TENANT_SUSPENDED = "tenant-suspended", FORBIDDEN, "Your organization's access is suspended";
    ROUTE_CLOSED = "route-closed", FORBIDDEN, "This route is closed";
    REGISTRATION_CLOSED = "registration-closed", FORBIDDEN, "New accounts are not accepted here";
    OPENID_LOGIN_FAILED = "openid-login-failed", FORBIDDEN, "The sign-in at the provider did not work";
    OPENID_ACCOUNT_REFUSED = "openid-account-refused", FORBIDDEN, "You have no account here";
    NO_ROUTE = "no-route", NOT_FOUND, "There is nothing at this path";
    NOT_FOUND = "not-found", NOT_FOUND, "There is no such thing";
    METHOD_NOT_ALLOWED = "method-not-allowed", METHOD_NOT_ALLOWED, "The path does not answer to this method";
    LINK_NOT_VALID = "link-not-valid", GONE, "This link does not work any more";
    REQUEST_TIMEOUT = "request-timeout", REQUEST_TIMEOUT, "The request did not arrive in time";
    CONFLICT = "conflict", CONFLICT, "This cannot be done in the present state";
    BODY_TOO_LARGE = "body-too-large", PAYLOAD_TOO_LARGE, "The body is larger than this route accepts";
    URI_TOO_LONG = "uri-too-long", URI_TOO_LONG, "The address is longer than is accepted";
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body's type is not accepted here";
    UPLOAD_TYPE_REFUSED = "upload-type-refused", UNSUPPORTED_MEDIA_TYPE, "Files of this kind are not accepted here";
    UNKNOWN_HOST = "unknown-host", MISDIRECTED_REQUEST, "This host is not served here";
    DOES_NOT_OPEN = "does-not-open", UNPROCESSABLE_ENTITY, "The sealed value does not open here";
    INVALID_INPUT = "invalid-input", UNPROCESSABLE_ENTITY, "A field is not acceptable";
    UPLOAD_NAME_REFUSED = "upload-name-refused", UNPROCESSABLE_ENTITY, "The file's name is not acceptable";
    UPLOAD_CONTENT_REFUSED = "upload-content-refused", UNPROCESSABLE_ENTITY, "The file is not what its name says, or not safe";
    UPLOAD_INFECTED = "upload-infected", UNPROCESSABLE_ENTITY, "The scanner found something in the file";
    UPLOAD_NOT_SCANNABLE = "upload-not-scannable", UNPROCESSABLE_ENTITY, "The file cannot be scanned to its end";
    RATE_LIMITED = "rate-limited", TOO_MANY_REQUESTS, "Too many requests";
    HEADER_TOO_LARGE = "header-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is larger than is accepted";
    INTERNAL_ERROR = "internal-error", INTERNAL_SERVER_ERROR, "Something went wrong here";
    METHOD_NOT_SUPPORTED = "method-not-supported", NOT_IMPLEMENTED, "The gate does not speak this method";
    UPSTREAM_UNREACHABLE = "upstream-unreachable", BAD_GATEWAY, "The product could not be reached";
    UPSTREAM_BROKEN = "upstream-broken", BAD_GATEWAY, "The product did not give a proper answer";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "There are more requests than can be served";
    ROUTE_FROZEN = "route-frozen", SERVICE_UNAVAILABLE, "This is closed for a while";
    TEMPORARILY_UNAVAILABLE = "temporarily-unavailable", SERVICE_UNAVAILABLE, "This cannot be answered at the moment";
    UPSTREAM_TIMEOUT = "upstream-timeout", GATEWAY_TIMEOUT, "The product did not answer in time";
    QUARANTINE_FULL = "quarantine-full", INSUFFICIENT_STORAGE, "There is no room for the file at the moment";
}

/// One input field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldFault {
    /// The field's name, or a JSON Pointer (RFC 6901) into the body.
    pub field: Cow<'static, str>,
    pub message: Cow<'static, str>,
}

/// One refusal or failure on its way to the client.
#[derive(Clone)]
pub struct Problem {
    pub kind: &'static Kind,
    /// Written for the client. Never the cause of a 5xx.
    pub detail: Option<Cow<'static, str>>,
    pub retry_after: Option<Span>,
    pub fields: Vec<FieldFault>,
    /// Headers that the answer must bear, such as `Allow` or `WWW-Authenticate`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Problem {
    pub fn new(kind: &'static Kind) -> Self {
        Problem {
            kind,
            detail: None,
            retry_after: None,
            fields: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// Our own fault: 500, with the cause for the log.
    pub fn internal(cause: impl Error + Send + Sync + 'static) -> Self {
        Problem::new(&INTERNAL_ERROR).caused_by(cause)
    }

    /// Something that we depend on is away: 503, with the cause for the log.
    pub fn unavailable(cause: impl Error + Send + Sync + 'static) -> Self {
        Problem::new(&TEMPORARILY_UNAVAILABLE)
            .retry_after(Span::from_seconds(5))
            .caused_by(cause)
    }

    /// The caller has proved one factor, and another is asked for (RFC 9470).
    pub fn second_factor_required() -> Self {
        const CHALLENGE: &str = "Bearer error=\"insufficient_user_authentication\", error_description=\"a second factor is required\", acr_values=\"mfa\"";
        Problem::new(&SECOND_FACTOR_REQUIRED).header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(CHALLENGE),
        )
    }

    /// The caller has proved who they are, and longer ago than `limit` (RFC 9470).
    pub fn reauthentication_required(limit: Span) -> Self {
        let challenge = format!(
            "Bearer error=\"insufficient_user_authentication\", error_description=\"a more recent authentication is required\", max_age=\"{}\"",
            limit.as_seconds()
        );
        let problem = Problem::new(&REAUTHENTICATION_REQUIRED).detail(format!(
            "Sign in again: the last time is longer than {limit} ago."
        ));
        match HeaderValue::try_from(challenge) {
            Ok(value) => problem.header(header::WWW_AUTHENTICATE, value),
            Err(_) => problem,
        }
    }

    /// The person has not agreed to something, in the version that is shown now.
    pub fn consent_required(consent: &Consent) -> Self {
        Problem::new(&CONSENT_REQUIRED)
            .detail(format!(
                "You have not agreed to `{}`, in version `{}` of its text.",
                consent.purpose, consent.version
            ))
            .field("consent", consent.to_string())
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn field(
        mut self,
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.fields.push(FieldFault {
            field: field.into(),
            message: message.into(),
        });
        self
    }

    #[must_use]
    pub fn retry_after(mut self, span: Span) -> Self {
        self.retry_after = Some(span);
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// `Allow` (RFC 9110 section 10.2.1), which 405 must bear.
    #[must_use]
    pub fn allowing(self, methods: &[Method]) -> Self {
        let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
        match HeaderValue::from_str(&names.join(", ")) {
            Ok(value) => self.header(header::ALLOW, value),
            Err(_) => self,
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("slug", &self.kind.slug)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.slug)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause
            .as_ref()
            .map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_unique_and_kebab_case() {
        let mut slugs: Vec<&str> = ALL.iter().map(|kind| kind.slug).collect();
        assert!(
            slugs
                .iter()
                .all(|slug| slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ALL.len());
    }

    #[test]
    fn every_kind_is_an_error_answer() {
        assert!(
            ALL.iter()
                .all(|kind| kind.status.is_client_error() || kind.status.is_server_error())
        );
    }
}
