//! Reading a JSON body, strictly.

use axum::body::{Body, to_bytes};
use http::{HeaderMap, header};
use portcullis_core::{Problem, problem};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Largest body, in bytes, where nothing else is said.
pub const MAX_BODY: usize = 16 * 1024;

/// The body as `T`: 415 for another type, 413 when it is too large, 400 when it is no JSON, 422
/// when a field is missing, unknown, there twice or of another type. The body is not repeated in
/// the answer, for it may hold a password.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    json_up_to(MAX_BODY, headers, body).await
}

/// The same, of at most `most` bytes.
pub async fn json_up_to<T: DeserializeOwned>(
    most: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    if !is_json(headers) {
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).detail("Send application/json."));
    }
    let bytes = to_bytes(body, most)
        .await
        .map_err(|_| Problem::new(&problem::BODY_TOO_LARGE))?;
    serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
        Category::Data => Problem::new(&problem::INVALID_INPUT)
            .detail("A field is missing, unknown, there twice, or of another type."),
        Category::Syntax | Category::Eof | Category::Io => Problem::new(&problem::MALFORMED_BODY),
    })
}

/// `application/json`, with no parameter but `charset=utf-8`, exactly once.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
    let (Some(value), None) = (types.next(), types.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let (essence, parameter) = match value.split_once(';') {
        Some((essence, parameter)) => (essence, Some(parameter)),
        None => (value, None),
    };
    essence.trim().eq_ignore_ascii_case("application/json")
        && parameter.is_none_or(|parameter| {
            let parameter = parameter.trim().to_ascii_lowercase();
            matches!(parameter.as_str(), "charset=utf-8" | "charset=\"utf-8\"")
        })
}
