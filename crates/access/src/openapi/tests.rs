use super::diff::Diff;
use super::*;

const SHOP: &str = include_str!("../../../portcullis/tests/fixtures/openapi/shop.json");
const NEXT: &str = include_str!("../../../portcullis/tests/fixtures/openapi/shop-next.json");

const KEY: &str = "\"security\": [{\"key\": []}]";

fn api(paths: &str) -> Api {
    let text = format!("{{\"openapi\": \"3.1.0\", \"paths\": {paths}}}");
    read(&text, &BasePath::Servers).unwrap()
}

fn security(root: &str, own: &str) -> Security {
    let text =
        format!("{{\"openapi\": \"3.0.3\", {root} \"paths\": {{\"/a\": {{\"get\": {{{own}}}}}}}}}");
    read(&text, &BasePath::Servers).unwrap().operations[0].security
}

#[test]
fn an_operation_is_secured_only_where_no_alternative_is_empty() {
    const ROOT: &str = "\"security\": [{\"key\": []}],";
    for (root, own, expected) in [
        ("", "", Security::Open),
        (ROOT, "", Security::Secured),
        (ROOT, "\"security\": []", Security::Open),
        (ROOT, "\"security\": [{}]", Security::Open),
        (ROOT, "\"security\": [{\"key\": []}, {}]", Security::Open),
        (ROOT, "\"security\": null", Security::Open),
        (ROOT, "\"security\": {\"key\": []}", Security::Open),
        (ROOT, "\"security\": [\"key\"]", Security::Open),
        ("", "\"security\": [{\"key\": []}]", Security::Secured),
        ("\"security\": [{}],", "", Security::Open),
    ] {
        assert_eq!(security(root, own), expected, "{root} {own}");
    }
}

#[test]
fn only_documents_of_openapi_3_0_and_3_1_are_read() {
    let refused = |text: &str| read(text, &BasePath::Servers).unwrap_err();
    assert!(matches!(refused("openapi: 3.0.0"), Error::NotJson(_)));
    assert!(matches!(
        refused("{\"swagger\": \"2.0\"}"),
        Error::NoVersion
    ));
    assert!(matches!(
        refused("{\"openapi\": \"3.2.0\", \"paths\": {}}"),
        Error::Version(_)
    ));
    assert!(matches!(
        refused("{\"openapi\": \"3.1.0\"}"),
        Error::NoPaths
    ));
}

#[test]
fn servers_put_operations_below_their_paths() {
    let bases = |servers: &str| -> Vec<String> {
        let api = api(&format!(
            "{{\"/a\": {{\"servers\": {servers}, \"get\": {{}}}}}}"
        ));
        api.operations.iter().map(ToString::to_string).collect()
    };
    for (servers, expected) in [
        ("[]", vec!["GET /a"]),
        ("[{\"url\": \"/\"}]", vec!["GET /a"]),
        ("[{\"url\": \"https://a.example.com\"}]", vec!["GET /a"]),
        (
            "[{\"url\": \"https://a.example.com/v1/?x\"}]",
            vec!["GET /v1/a"],
        ),
        (
            "[{\"url\": \"/v1\"}, {\"url\": \"https://b.example.com/v2\"}, {\"url\": \"/v1/\"}]",
            vec!["GET /v1/a", "GET /v2/a"],
        ),
    ] {
        assert_eq!(bases(servers), expected, "{servers}");
    }
}

#[test]
fn references_in_a_circle_are_left_out_by_name() {
    let api = api("{\"/a\": {\"$ref\": \"#/paths/~1b\"}, \"/b\": {\"$ref\": \"#/paths/~1a\"}}");
    assert!(api.operations.is_empty());
    assert_eq!(api.notes.len(), 2);
}

#[test]
fn a_reference_to_another_path_gives_both_the_same_operations() {
    let api = api(
        "{\"/a\": {\"$ref\": \"#/paths/~1b%7Bid%7D\"}, \"/b{id}\": {\"get\": {}, \"put\": {}}}",
    );
    let names: Vec<String> = api.operations.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["GET /a", "PUT /a", "GET /b{id}", "PUT /b{id}"]);
}

#[test]
fn every_operation_is_in_a_route_or_in_a_note() {
    let api = read(SHOP, &BasePath::Servers).unwrap();
    let plan = plan(&api);
    for operation in &api.operations {
        let planned = plan
            .routes
            .iter()
            .any(|route| route.operations.contains(operation));
        let left_out = plan.notes.iter().any(
            |note| matches!(note, Note::LeftOut { operation: name, .. } if *name == operation.to_string()),
        );
        assert!(planned != left_out, "{operation}");
    }
}

#[test]
fn twins_get_the_stricter_decision() {
    let decisions = |paths: &str| -> Vec<(String, Decision)> {
        plan(&api(paths))
            .routes
            .into_iter()
            .map(|route| (route.path, route.decision))
            .collect()
    };

    assert_eq!(
        decisions(&format!(
            "{{\"/a\": {{\"get\": {{}}}}, \"/A/\": {{\"get\": {{{KEY}}}}}}}"
        )),
        [("/A/".to_owned(), Decision::User)]
    );
    // The wider twin must not turn what is described exactly into something closed.
    assert_eq!(
        decisions(&format!(
            "{{\"/{{a}}.{{b}}\": {{\"get\": {{}}}}, \"/{{id}}\": {{\"get\": {{{KEY}}}}}}}"
        )),
        [("/{id}".to_owned(), Decision::User)]
    );
    assert_eq!(
        decisions(&format!("{{\"/{{a}}.{{b}}\": {{\"get\": {{{KEY}}}}}}}")),
        [("/{a_b}".to_owned(), Decision::ClosedAsWidened)]
    );
}

#[test]
fn methods_of_one_path_that_share_a_decision_are_one_route() {
    let plan = plan(&api(
        "{\"/a\": {\"put\": {}, \"get\": {}, \"delete\": {\"security\": [{\"key\": []}]}}}",
    ));
    let methods: Vec<Vec<&str>> = plan
        .routes
        .iter()
        .map(|route| route.methods.iter().map(http::Method::as_str).collect())
        .collect();
    assert_eq!(methods, [vec!["DELETE"], vec!["GET", "PUT"]]);
}

#[test]
fn control_characters_of_a_document_reach_no_terminal() {
    let api = api("{\"/a\\u001b[2J\": {\"get\": {\"summary\": \"x\"}}, \"/b\\u0007\": 1}");
    let plan = plan(&api);
    assert!(plan.routes.is_empty());
    assert_eq!(plan.notes.len(), 2);
    for note in &plan.notes {
        assert!(!note.to_string().contains(char::is_control), "{note:?}");
    }
    assert!(
        !api.operations
            .iter()
            .any(|operation| operation.to_string().contains(char::is_control))
    );
}

fn diff(old: &str, new: &str) -> Diff {
    let read = |text| read(text, &BasePath::Servers).unwrap();
    Diff::between(&read(old), &read(new))
}

#[test]
fn a_diff_names_what_came_went_opened_and_closed() {
    let diff = diff(SHOP, NEXT);
    assert_eq!(diff.became_public, ["POST /api/v1/items"]);
    assert_eq!(diff.came_public, ["GET /api/v1/coupons"]);
    assert_eq!(diff.came, ["POST /api/v1/coupons"]);
    assert_eq!(diff.went, ["GET /api/v1/downloads/{file:path}"]);
    assert_eq!(diff.became_secured, ["POST /api/v1/login"]);
    assert_eq!(diff.parameters.len(), 1);
    assert_eq!(diff.parameters[0].operation, "GET /api/v1/items");
    assert!(diff.parameters[0].came[0].required);
    assert!(diff.opens_something());
    let text = diff.to_string();
    assert!(
        text.starts_with("Became public:\n  POST /api/v1/items\n"),
        "{text}"
    );
    let json = serde_json::to_value(&diff).unwrap();
    assert_eq!(json["became-public"][0], "POST /api/v1/items");
}

#[test]
fn a_diff_of_a_document_with_itself_is_empty() {
    for text in [SHOP, NEXT] {
        let diff = diff(text, text);
        assert!(diff.is_empty(), "{diff}");
        assert!(!diff.opens_something());
    }
}

#[test]
fn a_diff_the_other_way_opens_only_what_was_secured() {
    let diff = diff(NEXT, SHOP);
    assert_eq!(diff.became_public, ["POST /api/v1/login"]);
    assert!(diff.came_public.is_empty());
}

#[test]
fn a_path_that_the_gate_reads_the_same_is_the_same_operation() {
    let with = |path: &str, security: &str| {
        format!(
            "{{\"openapi\": \"3.1.0\", \"paths\": {{\"{path}\": {{\"get\": {{\"security\": {security}}}}}}}}}"
        )
    };
    let diff = diff(
        &with("/a/{id}", "[{\"key\": []}]"),
        &with("/A/{key}/", "[]"),
    );
    assert_eq!(diff.became_public, ["GET /A/{key}/"]);
    assert!(diff.went.is_empty() && diff.came_public.is_empty());
}
