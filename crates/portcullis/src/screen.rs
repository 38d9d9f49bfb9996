//! The body stage: how much a request may bring, and whether it is as the product describes it.

use http::request::Parts;
use http::{HeaderValue, header};
use portcullis_access::openapi::requests::{Body as Fate, Requests};
use portcullis_core::{Problem, problem};
use portcullis_edge::body::BodyError;
use portcullis_edge::{Body, Inbound};
use portcullis_guard::body::{JsonBounds, LimitedBody, Overflow, Structure, check_length};

use crate::lane::Lane;
use crate::snapshot::RouteGuards;

/// A body that is longer is judged on another thread: this one has other requests to carry.
const SHORT: usize = 16 * 1024;

/// 413, at once where the length is told, else as it streams; 400 where it holds too much.
pub(crate) fn bound(guards: &RouteGuards, inbound: &mut Inbound) -> Result<(), Problem> {
    let Inbound { head, body, .. } = inbound;
    check_length(head, guards.max_body)?;
    if body.is_empty() {
        return Ok(());
    }
    let bounds = guards.structure;
    let structure = bounds.and_then(|bounds| Structure::of(&head.headers, bounds));
    if structure.is_none() && head.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    let limited = LimitedBody::new(std::mem::take(body), guards.max_body).counted(structure);
    *body = Body::stream(http_body_util::BodyExt::map_err(
        limited,
        |error| match Overflow::find(&*error) {
            Some(overflow) => BodyError::Refused(overflow.into()),
            None => match error.downcast::<BodyError>() {
                Ok(error) => *error,
                Err(error) => BodyError::Other(error),
            },
        },
    ));
    Ok(())
}

/// 404, 415 and 422: the request is held against the product's own description of it. A body that is
/// looked into is read whole first. `rewritten`: the canonical path, where it is not the one that was sent.
pub(crate) async fn hold_against(
    lane: &Lane,
    requests: &Requests,
    guards: &RouteGuards,
    rewritten: Option<&str>,
    inbound: &mut Inbound,
) -> Result<(), Problem> {
    let head = &inbound.head;
    let path = rewritten.unwrap_or(head.uri.path());
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.map(HeaderValue::as_bytes);
    let has_body = !inbound.body.is_empty();
    let query = head.uri.query();
    let checked = requests.check_head(&head.method, path, query, content_type, has_body)?;
    let is_json = match checked.body() {
        Fate::Passed => return Ok(()),
        Fate::Json => true,
        Fate::Form => false,
    };
    refuse_encoded(head)?;
    let bounds = guards.structure.map(|bounds| JsonBounds {
        max_size: guards.max_body,
        max_depth: usize::try_from(bounds.max_depth).unwrap_or(usize::MAX),
        max_keys: usize::try_from(bounds.max_fields).unwrap_or(usize::MAX),
    });
    let limit = guards.max_body.as_usize();
    let bytes = std::mem::take(&mut inbound.body).collect(limit).await?;
    let judged = bytes.clone();
    let judge = move || {
        // SECURITY: no key twice, or the product may take another of the two than was judged.
        if let Some(bounds) = bounds.filter(|_| is_json) {
            bounds.check(&judged)?;
        }
        checked.check_body(&judged)
    };
    if bytes.len() <= SHORT {
        judge()?;
    } else {
        lane.on_back(async move { judge() }).await??;
    }
    inbound.body = Body::full(bytes);
    Ok(())
}

/// What is packed would be judged by its packing.
fn refuse_encoded(head: &Parts) -> Result<(), Problem> {
    if head.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE)
            .detail("The body is accepted without Content-Encoding here."));
    }
    Ok(())
}
