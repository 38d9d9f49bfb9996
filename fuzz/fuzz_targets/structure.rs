//! Bounds on the structure of bodies: counted the same in whatever pieces they come, and never less deep
//! or with fewer fields than a parser sees.
#![no_main]

use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use portcullis_guard::body::{Bounds, Structure, TooMuch};
use serde_json::Value;

const BOUNDS: Bounds = Bounds {
    max_depth: 8,
    max_fields: 16,
};

fn counted<'p>(kind: &'static str, pieces: impl Iterator<Item = &'p [u8]>) -> Option<TooMuch> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let mut structure = Structure::of(&headers, BOUNDS).expect("a kind that is counted");
    let mut pieces = pieces.map(|piece| structure.count(piece));
    pieces.find_map(Result::err)
}

/// Depth and fields as a parser sees them.
fn seen(value: &Value) -> (u32, u32) {
    let (inner, fields): (Vec<&Value>, u32) = match value {
        Value::Array(items) => (items.iter().collect(), 0),
        Value::Object(map) => (map.values().collect(), map.len() as u32),
        _ => return (0, 0),
    };
    let inner = inner.into_iter().map(seen);
    let (depth, more) = inner.fold((0, 0), |(depth, all), (d, f)| (depth.max(d), all + f));
    (depth + 1, fields + more)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let size = usize::from(*first % 16) + 1;
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        let whole = counted(kind, std::iter::once(body));
        let pieces = counted(kind, body.chunks(size));
        assert_eq!(whole.is_some(), pieces.is_some(), "{kind}");
    }
    // SECURITY: what passes here is not deeper or wider for the product.
    if counted("application/json", std::iter::once(body)).is_none()
        && let Ok(value) = serde_json::from_slice::<Value>(body)
    {
        let (depth, fields) = seen(&value);
        assert!(depth <= BOUNDS.max_depth && fields <= BOUNDS.max_fields);
    }
});
