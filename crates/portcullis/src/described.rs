//! The product's OpenAPI document, read for the routes that are held against it.

use std::sync::Arc;

use portcullis_access::openapi::BasePath;
use portcullis_access::openapi::requests::{IS_BUILT_IN, Requests};
use portcullis_core::finding::Finding;

use crate::config::{Config, Loaded};

/// The compiled document; nothing where no route asks for it, or where it cannot be used. Then
/// there is an error among `findings`.
pub(crate) fn compile(
    config: &Config,
    loaded: &Loaded,
    findings: &mut Vec<Finding>,
) -> Option<Arc<Requests>> {
    let routes = &config.access.routes;
    let asking = routes.iter().position(|route| route.schema);
    let Some(asking) = asking else {
        if config.openapi.file.is_some() {
            findings.push(
                Finding::warning(
                    "openapi-unused",
                    "openapi.file",
                    "no route is held against the document",
                )
                .remedy("write schema = true in the routes that it describes"),
            );
        }
        return None;
    };
    let mut wrong = |key: String, message: String, remedy: &str| {
        findings.push(Finding::error("openapi", key, message).remedy(remedy.to_owned()));
        None
    };
    if !IS_BUILT_IN {
        return wrong(
            format!("route.{asking}.schema"),
            "this program was built without JSON Schema".to_owned(),
            "build it with `--features schema`, or with `full`",
        );
    }
    let Some(file) = &config.openapi.file else {
        return wrong(
            format!("route.{asking}.schema"),
            "there is no document to hold requests against".to_owned(),
            "write [openapi] with file = \"openapi.json\"",
        );
    };
    let text = match std::fs::read_to_string(loaded.path(file)) {
        Ok(text) => text,
        Err(error) => {
            return wrong(
                "openapi.file".to_owned(),
                format!("`{}` cannot be read: {error}", file.display()),
                "give the path of the product's OpenAPI document, from this file's folder on",
            );
        }
    };
    let base = match &config.openapi.base_path {
        Some(path) => BasePath::Given(path.clone()),
        None => BasePath::Servers,
    };
    match Requests::compile(&text, &base, config.openapi.formats) {
        Ok(requests) => {
            for note in requests.notes() {
                let message = format!("{note}: this part is not checked");
                findings.push(
                    Finding::warning("openapi-unread", "openapi.file", message)
                        .remedy("check it in the product"),
                );
            }
            Some(Arc::new(requests))
        }
        Err(error) => wrong(
            "openapi.file".to_owned(),
            format!("`{}`: {error}", file.display()),
            "mend the document: it is OpenAPI 3.0 or 3.1, as JSON",
        ),
    }
}
