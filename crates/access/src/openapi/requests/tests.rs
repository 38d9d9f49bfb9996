use http::Method;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn shop(version: &str) -> String {
    json!({
        "openapi": version,
        "info": { "title": "Shop", "version": "1" },
        "servers": [{ "url": "https://shop.example/api" }],
        "paths": {
            "/orders/{order_id}": {
                "parameters": [
                    { "name": "order_id", "in": "path", "required": true, "schema": { "type": "integer", "minimum": 1 } },
                    { "$ref": "#/components/parameters/Limit" },
                ],
                "get": {
                    "parameters": [
                        { "name": "tag", "in": "query", "schema": { "type": "array", "maxItems": 2, "items": { "type": "integer" } } },
                        { "name": "sizes", "in": "query", "explode": false, "schema": { "type": "array", "items": { "enum": ["s", "m"] } } },
                        { "name": "open", "in": "query", "schema": { "type": "boolean" } },
                        { "name": "filter", "in": "query", "content": { "application/json": { "schema": { "type": "object" } } } },
                        { "name": "X-Trace", "in": "header", "required": true, "schema": { "type": "string" } },
                        { "name": "where", "in": "query", "style": "deepObject", "schema": { "type": "object" } },
                    ],
                },
                "put": { "requestBody": { "$ref": "#/components/requestBodies/Order" } },
            },
            "/messages": {
                "post": { "requestBody": { "content": {
                    "application/x-www-form-urlencoded": { "schema": {
                        "type": "object",
                        "required": ["conversation_id", "content"],
                        "properties": {
                            "conversation_id": { "type": "integer", "exclusiveMinimum": 0 },
                            "content": { "type": "string", "minLength": 1, "maxLength": 10 },
                            "tags": { "type": "array", "items": { "type": "integer" } },
                        },
                    } },
                    "text/*": {},
                } } },
            },
        },
        "components": {
            "parameters": { "Limit": { "name": "limit", "in": "query", "required": true, "schema": { "type": "integer", "maximum": 100 } } },
            "requestBodies": { "Order": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } } },
            "schemas": {
                "Order": {
                    "type": "object",
                    "required": ["items"],
                    "additionalProperties": false,
                    "properties": {
                        "items": { "type": "array", "items": { "$ref": "#/components/schemas/Item" } },
                        "id": { "type": "string", "format": "uuid" },
                        "parent": { "$ref": "#/components/schemas/Order" },
                    },
                },
                "Item": { "type": "object", "properties": { "name": { "type": "string", "pattern": "^[a-z]+$" } } },
            },
        },
    })
    .to_string()
}

fn requests(document: &str) -> Requests {
    Requests::compile(document, &BasePath::Servers, true).unwrap()
}

fn modern() -> Requests {
    requests(&shop("3.1.0"))
}

type Told = (u16, Vec<String>);

fn told(problem: &Problem) -> Told {
    let fields = problem.fields.iter().map(|fault| fault.field.to_string());
    (problem.kind.status.as_u16(), fields.collect())
}

fn asked(requests: &Requests, method: &Method, path: &str, query: &str) -> Result<(), Told> {
    let head = requests.check_head(method, path, Some(query), None, false);
    head.map(|_| ()).map_err(|problem| told(&problem))
}

fn sent(
    requests: &Requests,
    method: &Method,
    path: &str,
    kind: &str,
    body: &str,
) -> Result<(), Told> {
    let query = Some("limit=1");
    requests
        .check_head(method, path, query, Some(kind.as_bytes()), true)
        .and_then(|checked| checked.check_body(body.as_bytes()))
        .map_err(|problem| told(&problem))
}

fn fault<T>(field: &str) -> Result<T, Told> {
    Err((422, vec![field.to_owned()]))
}

#[test]
fn values_of_path_and_query_are_held_against_their_schemas() {
    let requests = modern();
    let get = |path: &str, query: &str| asked(&requests, &Method::GET, path, query);
    let order = "/api/orders/7";
    for query in [
        "limit=100",
        "limit=1&tag=1&tag=2",
        "limit=1&sizes=s,m",
        "limit=1&open=TRUE",
        "limit=1&filter=%7B%7D",
        "limit=1&unknown=x&unknown=y",
        "limit=1&where[a]=b",
    ] {
        assert_eq!(get(order, query), Ok(()), "{query}");
    }
    assert_eq!(get("/api/orders/0", "limit=1"), fault("path.order_id"));
    assert_eq!(get("/api/orders/x", "limit=1"), fault("path.order_id"));
    assert_eq!(get("/api/orders/%37", "limit=1"), Ok(()));
    for blank in ["7%0A", "%207", "7%20", "%097"] {
        let path = format!("/api/orders/{blank}");
        assert_eq!(get(&path, "limit=1"), fault("path.order_id"), "{blank}");
    }
    for (query, field) in [
        ("", "query.limit"),
        ("limit=101", "query.limit"),
        ("limit=1e3", "query.limit"),
        ("limit=ten", "query.limit"),
        ("limit=", "query.limit"),
        ("limit=1&limit=2", "query.limit"),
        ("limit=1&tag=a", "query.tag/0"),
        ("limit=1&tag=1&tag=2&tag=3", "query.tag"),
        ("limit=1&sizes=s,xl", "query.sizes/1"),
        ("limit=1&open=maybe", "query.open"),
        ("limit=1&filter=%7B", "query.filter"),
        ("limit=1&filter=1", "query.filter"),
    ] {
        assert_eq!(get(order, query), fault(field), "{query}");
    }
    assert_eq!(asked(&requests, &Method::HEAD, order, "limit=1"), Ok(()));
    let both = get("/api/orders/0", "limit=1000");
    let fields = ["path.order_id", "query.limit"].map(str::to_owned).to_vec();
    assert_eq!(both, Err((422, fields)));
}

#[test]
fn what_the_document_does_not_know_is_refused() {
    let requests = modern();
    for path in ["/orders/7", "/api/orders", "/api/orders/7/items", "/"] {
        assert_eq!(
            asked(&requests, &Method::GET, path, "").unwrap_err().0,
            404,
            "{path}"
        );
    }
    let delete = asked(&requests, &Method::DELETE, "/api/orders/7", "limit=1");
    assert_eq!(delete.unwrap_err().0, 405);
    let given = BasePath::Given("/v2".to_owned());
    let moved = Requests::compile(&shop("3.1.0"), &given, true).unwrap();
    assert_eq!(
        asked(&moved, &Method::GET, "/v2/orders/7", "limit=1"),
        Ok(())
    );
}

#[test]
fn bodies_of_json_are_held_against_their_schema() {
    let requests = modern();
    let put = |body: &str| {
        sent(
            &requests,
            &Method::PUT,
            "/api/orders/7",
            "application/json; charset=utf-8",
            body,
        )
    };
    assert_eq!(put(r#"{"items":[{"name":"tea"}]}"#), Ok(()));
    assert_eq!(put(r#"{"items":[],"parent":{"items":[]}}"#), Ok(()));
    for (body, field) in [
        ("{}", ""),
        ("[]", ""),
        (r#"{"items":[],"more":1}"#, ""),
        (r#"{"items":[{"name":"TEA"}]}"#, "/items/0/name"),
        (r#"{"items":[],"id":"7"}"#, "/id"),
        (r#"{"items":[],"parent":{"items":[1]}}"#, "/parent/items/0"),
    ] {
        assert_eq!(put(body), fault(field), "{body}");
    }
    for body in ["", "{", "null null", "\u{feff}{}"] {
        assert_eq!(put(body).unwrap_err().0, 400, "{body}");
    }
    for kind in ["text/plain", "application/jsonx", "", "multipart/form-data"] {
        let refused = sent(&requests, &Method::PUT, "/api/orders/7", kind, "{}");
        assert_eq!(refused.unwrap_err().0, 415, "{kind}");
    }
    assert_eq!(
        asked(&requests, &Method::PUT, "/api/orders/7", "limit=1"),
        fault("")
    );
    let on_get = sent(
        &requests,
        &Method::GET,
        "/api/orders/7",
        "application/json",
        "{}",
    );
    assert_eq!(on_get.unwrap_err().0, 415, "no body is described");
}

#[test]
fn forms_are_held_against_their_schema() {
    let requests = modern();
    let form = "application/x-www-form-urlencoded";
    let post = |body: &str| sent(&requests, &Method::POST, "/api/messages", form, body);
    assert_eq!(post("conversation_id=1&content=1&tags=1&tags=2"), Ok(()));
    for (body, field) in [
        ("content=a", ""),
        ("conversation_id=0&content=a", "/conversation_id"),
        ("conversation_id=1&content=", "/content"),
        ("conversation_id=1&content=a&content=b", "/content"),
        ("conversation_id=1&content=a&tags=x", "/tags/0"),
        ("conversation_id=1&content=12345678901", "/content"),
    ] {
        assert_eq!(post(body), fault(field), "{body}");
    }
    // Of a kind that the document has no rules for.
    assert_eq!(
        sent(&requests, &Method::POST, "/api/messages", "text/csv", "x"),
        Ok(())
    );
    assert_eq!(asked(&requests, &Method::POST, "/api/messages", ""), Ok(()));
}

#[test]
fn openapi_3_0_says_null_and_bounds_in_its_own_way() {
    let document = json!({
        "openapi": "3.0.3",
        "paths": { "/a": { "post": { "requestBody": { "content": { "application/json": { "schema": {
            "type": "object",
            "properties": {
                "some": { "type": "string", "nullable": true, "enum": ["a"] },
                "other": { "allOf": [{ "$ref": "#/components/schemas/B" }], "nullable": true },
                "more": { "type": "integer", "minimum": 0, "exclusiveMinimum": true },
                "nullable": { "type": "boolean" },
            },
        } } } } } } },
        "components": { "schemas": { "B": { "type": "integer" } } },
    });
    let requests = requests(&document.to_string());
    let post = |body: &str| sent(&requests, &Method::POST, "/a", "application/json", body);
    for body in [
        r#"{"some":null,"other":null,"more":1,"nullable":true}"#,
        r#"{"some":"a","other":2}"#,
    ] {
        assert_eq!(post(body), Ok(()), "{body}");
    }
    for (body, field) in [
        (r#"{"some":"b"}"#, "/some"),
        (r#"{"other":"b"}"#, "/other"),
        (r#"{"more":0}"#, "/more"),
        (r#"{"more":null}"#, "/more"),
        (r#"{"nullable":null}"#, "/nullable"),
    ] {
        assert_eq!(post(body), fault(field), "{body}");
    }
}

#[test]
fn what_is_told_of_a_fault_is_bounded_and_repeats_no_value() {
    let requests = modern();
    let key = "k".repeat(5000);
    let body = format!(r#"{{"items":[{{"name":"SECRET"}}],"id":"SECRET","{key}":1}}"#);
    let checked = requests.check_head(
        &Method::PUT,
        "/api/orders/1",
        Some("limit=1"),
        Some(b"application/json"),
        true,
    );
    let problem = checked.unwrap().check_body(body.as_bytes()).unwrap_err();
    assert_eq!(problem.fields.len(), 3);
    for fault in &problem.fields {
        assert!(!fault.message.contains("SECRET"), "{fault:?}");
        assert!(
            fault.message.len() + fault.field.len() <= 2 * MOST_TOLD,
            "{fault:?}"
        );
    }
}

#[test]
fn a_pattern_that_backtracks_has_an_end() {
    let document = json!({
        "openapi": "3.1.0",
        "paths": { "/a": { "post": { "requestBody": { "content": { "application/json": {
            "schema": { "type": "string", "pattern": "^(?!b)(a+)+\\1$" },
        } } } } } },
    });
    let requests = requests(&document.to_string());
    let body = format!("\"{}!\"", "a".repeat(60));
    let refused = sent(&requests, &Method::POST, "/a", "application/json", &body);
    assert_eq!(refused.unwrap_err().0, 422);
}

#[test]
fn what_cannot_be_used_is_said() {
    let broken = |schema: serde_json::Value| {
        let document = json!({
            "openapi": "3.1.0",
            "paths": { "/a": { "post": { "requestBody": { "content": { "application/json": { "schema": schema } } } } } },
        });
        Requests::compile(&document.to_string(), &BasePath::Servers, true)
            .unwrap_err()
            .to_string()
    };
    for (schema, word) in [
        (json!({ "type": "strin" }), "POST /a"),
        (json!({ "$ref": "#/components/schemas/Nowhere" }), "POST /a"),
        (
            json!({ "$ref": "https://elsewhere.example/a.json" }),
            "POST /a",
        ),
        (json!({ "$ref": "file:///etc/passwd" }), "POST /a"),
        (json!({ "pattern": "(" }), "POST /a"),
    ] {
        let said = broken(schema.clone());
        assert!(said.contains(word), "{schema}: {said}");
    }
    let notes = modern().notes().join("\n");
    assert!(notes.contains("`where` is not checked"), "{notes}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_request_is_a_fault_of_ours(query in "[a-z=&%0-9\\[\\],{}\"+]{0,40}", path in "[/a-z0-9%]{0,20}", body in "[\\[\\]{}:,\"a-z0-9]{0,40}") {
        let requests = shared();
        let path = format!("/api/orders/{path}");
        for method in [Method::GET, Method::PUT] {
            if let Ok(checked) = requests.check_head(&method, &path, Some(&query), Some(b"application/json"), true) {
                let _ = checked.check_body(body.as_bytes());
            }
        }
    }
}

fn shared() -> &'static Requests {
    static ONCE: std::sync::OnceLock<Requests> = std::sync::OnceLock::new();
    ONCE.get_or_init(modern)
}
