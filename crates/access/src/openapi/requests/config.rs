use std::path::PathBuf;

use portcullis_core::size::ByteSize;
use serde::Deserialize;

/// `[openapi]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// The product's OpenAPI document (3.0 or 3.1, as JSON) that routes with `schema = true` are
    /// held against. Default none. It is read when the gate starts and at each reload.
    pub file: Option<PathBuf>,
    /// The path below which the document's paths are served. Default: what its `servers` says.
    pub base_path: Option<String>,
    /// Whether `format` (`uuid`, `email`, `date-time`, ...) is a rule or a remark. Default `true`.
    pub formats: bool,
    /// Largest body of such a route, where the route has no `max-body` of its own. Default
    /// `"1MiB"`. Risk: such a body is read whole into memory before it is judged.
    pub max_body: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            file: None,
            base_path: None,
            formats: true,
            max_body: ByteSize::mib(1),
        }
    }
}
