//! Requests held against an OpenAPI document: any document, and any request against a good one.
#![no_main]

use std::sync::LazyLock;

use http::Method;
use libfuzzer_sys::fuzz_target;
use portcullis_access::openapi::{BasePath, requests::Requests};

const DOCUMENT: &str = r##"{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{"/notes/{id}":{
"get":{"parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer","minimum":1}},
{"name":"tag","in":"query","schema":{"type":"array","items":{"type":"string","maxLength":4}}}],"responses":{}},
"put":{"requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Note"}},
"application/x-www-form-urlencoded":{"schema":{"type":"object","properties":{"n":{"type":"integer"}}}}}},"responses":{}}}},
"components":{"schemas":{"Note":{"type":"object","required":["text"],"additionalProperties":false,
"properties":{"text":{"type":"string","maxLength":10},"inner":{"$ref":"#/components/schemas/Note"}}}}}}"##;

static GOOD: LazyLock<Requests> = LazyLock::new(|| {
    Requests::compile(DOCUMENT, &BasePath::Servers, true).expect("the document is good")
});

fuzz_target!(|text: &str| {
    if let Ok(requests) = Requests::compile(text, &BasePath::Servers, true) {
        let _ = requests.check_head(&Method::GET, "/a", Some(text), None, false);
    }
    let (target, body) = text.split_once('\n').unwrap_or((text, ""));
    let (id, query) = target.split_once('?').unwrap_or((target, ""));
    let path = format!("/notes/{id}");
    let get = GOOD.check_head(&Method::GET, &path, Some(query), None, false);
    // Routes take a slash at the end for none.
    if get.is_ok() && !id.contains(['%', '/']) {
        assert!(id.parse::<f64>().is_ok_and(|id| id >= 1.0), "{id:?}");
    }
    for kind in ["application/json", "application/x-www-form-urlencoded"] {
        let kind = Some(kind.as_bytes());
        if let Ok(checked) = GOOD.check_head(&Method::PUT, &path, None, kind, true)
            && checked.check_body(body.as_bytes()).is_ok()
            && kind == Some(b"application/json")
        {
            let value: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
            assert!(value["text"].is_string(), "{body:?}");
        }
    }
});
