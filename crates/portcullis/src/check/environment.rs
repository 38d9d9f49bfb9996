//! Environment variables that products of this kind commonly have (X8): set and read by nobody, or
//! read and not set. The gate stands in front of the product, so a variable that only the product
//! reads is named in `[environment] read-by-the-product`.

use portcullis_core::finding::Finding;

use crate::config::Loaded;

/// The variables of X8, and those that the presets name (H1, H4, H10, L4). Those of A1, A8 and L1 are
/// read under their own names: `config::read_by_name`.
const WATCHED: &[&str] = &[
    "ENVIRONMENT",
    "DATABASE_URL",
    "SECRET_KEY",
    "CORS_ORIGINS",
    "REDIS_URL",
    "SENTRY_DSN",
    "NEXT_PUBLIC_API_URL",
    "SUPABASE_URL",
    "SUPABASE_ANON_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
    "ALLOWED_ORIGINS",
    "CORS_ALLOWED_ORIGINS",
    "BACKEND_CORS_ORIGINS",
    "ALLOWED_HOSTS",
    "SESSION_SECRET",
    "CORS_ALLOW_CREDENTIALS",
    "CORS_MAX_AGE",
    "RATE_LIMIT_ENABLED",
    "RATE_LIMIT_PER_MINUTE",
    "RATE_LIMIT_PER_HOUR",
];

/// A variable that is read and not set is reported where it is read (`secret-missing`,
/// `environment-variable-missing`); this finds the others.
pub(super) fn check(loaded: &Loaded, found: &mut Vec<Finding>) {
    for name in WATCHED {
        let is_set = loaded.environment.get(name).is_some();
        let is_read = loaded.asked.contains(*name);
        let is_the_products = loaded
            .config
            .environment
            .read_by_the_product
            .iter()
            .any(|known| known == name);
        if is_set && !is_read && !is_the_products {
            found.push(
                Finding::warning("variable-read-by-nobody", "environment", format!("`{name}` is set, and nothing in this configuration reads it"))
                    .remedy(format!("read it where it belongs (`{{ from-env = \"{name}\" }}` or `{{ env = \"{name}\" }}`), unset it, or name it in environment.read-by-the-product")),
            );
        }
    }
    for name in loaded.environment.names().filter(|name| is_ours(name)) {
        if !loaded.asked.contains(name) {
            found.push(
                Finding::error(
                    "variable-not-understood",
                    "environment",
                    format!("`{name}` looks like an override and is none"),
                )
                .remedy("write PORTCULLIS__TABLE__KEY, with two underscores before each part"),
            );
        }
    }
    for (key, name) in &loaded.defaulted {
        found.push(
            Finding::note(
                "variable-not-set",
                key.clone(),
                format!("`{name}` is read here and not set: the default beside it holds"),
            )
            .remedy(format!("set `{name}`, or write the value itself")),
        );
    }
    for name in &loaded.config.environment.read_by_the_product {
        if loaded.environment.get(name).is_none() {
            found.push(
                Finding::warning(
                    "variable-not-set",
                    "environment.read-by-the-product",
                    format!("`{name}` is not set here"),
                )
                .remedy("set it, or take its name out"),
            );
        }
    }
}

/// OpenTelemetry's variables ask every program that they reach for traces.
pub(super) fn traces(loaded: &Loaded) -> Vec<Finding> {
    let mut found = Vec::new();
    let get = |name: &str| loaded.variable_of_the_gate(name);
    let names = loaded.environment.names();
    let names = names.filter(|name| !loaded.asked.contains(*name));
    portcullis_events::traces::judge(names, &get, &mut found);
    found
}

/// Whether a variable is meant for the gate. Container platforms set `NAME_PORT`,
/// `NAME_SERVICE_HOST` and their like for a service called `portcullis`: those are not.
fn is_ours(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("PORTCULLIS_") else {
        return false;
    };
    let of_a_platform = ["SERVICE_HOST", "SERVICE_PORT", "PORT"]
        .iter()
        .any(|word| rest == *word || rest.starts_with(&format!("{word}_")));
    !of_a_platform && !rest.starts_with("TEST_")
}
