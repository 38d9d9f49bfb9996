//! What the standard variables ask for (OpenTelemetry, "Environment Variable Specification" and
//! "OpenTelemetry Protocol Exporter").
//!
//! Which spans are taken, how they are batched, and of which service they are, the library reads from the
//! variables itself. Here is what the gate decides: whether, where to, and by which way out.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_core::finding::Finding;
use portcullis_edge::outbound::{Reach, Target, is_this_machine};

const KEY: &str = "environment";
/// Findings' rule.
const RULE: &str = "traces-not-exported";

const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";

/// Where spans go unless it is said, once they are asked for.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_QUEUE: usize = 2048;

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Every variable that counts here. Those of the exporter are read with `TRACES_` first.
const READ: &[&str] = &[
    DISABLED,
    EXPORTER,
    PROPAGATORS,
    SAMPLER,
    SAMPLER_ARG,
    QUEUE,
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];

/// The same for each signal, and once for all.
const OF_THE_EXPORTER: [&str; 6] = [
    "ENDPOINT",
    "HEADERS",
    "TIMEOUT",
    "PROTOCOL",
    "COMPRESSION",
    "CERTIFICATE",
];

/// Where spans go, and how.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "nobody exports"))]
pub struct Asked {
    pub(super) target: Target,
    /// For one exchange, and for all attempts at one batch.
    pub(super) timeout: Duration,
    /// Certificate authorities in place of the system's.
    pub(super) authorities: Option<PathBuf>,
    /// So many spans wait at most.
    pub(super) queue: usize,
    /// Whether `traceparent` is read and handed on.
    pub(super) speaks_w3c: bool,
}

impl Asked {
    /// The host of the collector.
    pub fn host(&self) -> &str {
        self.target.host()
    }
}

/// The variables, with those left out that are somebody else's.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    /// An empty one is one that is not set (the specification, "Empty value").
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether a variable is this word, whatever its case.
    fn says(&self, name: &str, word: &str) -> bool {
        let said = self.get(name);
        said.is_some_and(|said| said.trim().eq_ignore_ascii_case(word))
    }

    /// For traces alone, or for all signals; with its name.
    fn of_the_exporter(&self, part: &str) -> Option<(String, String)> {
        [
            format!("OTEL_EXPORTER_OTLP_TRACES_{part}"),
            format!("OTEL_EXPORTER_OTLP_{part}"),
        ]
        .into_iter()
        .find_map(|name| self.get(&name).map(|value| (name, value)))
    }
}

/// What `get` has, and what is wrong with it. `Ok(None)` where nobody asks for traces.
pub fn asked(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Asked>, Finding> {
    let variables = Variables(get);
    if variables.says(DISABLED, "true") || variables.says(EXPORTER, "none") {
        return Ok(None);
    }
    if variables.get(EXPORTER).is_some() && !variables.says(EXPORTER, "otlp") {
        return Err(
            wrong(EXPORTER, "names an exporter that is not here").remedy("write `otlp` or `none`")
        );
    }
    let by_default = || {
        let asked = variables.says(EXPORTER, "otlp");
        asked.then(|| (EXPORTER.to_owned(), DEFAULT_ENDPOINT.to_owned()))
    };
    let endpoint = variables.of_the_exporter("ENDPOINT").or_else(by_default);
    let Some((name, url)) = endpoint else {
        return Ok(None);
    };
    if let Some((name, protocol)) = variables.of_the_exporter("PROTOCOL")
        && protocol.trim() != "http/protobuf"
    {
        return Err(wrong(&name, "names a protocol that is not spoken here")
            .remedy("write `http/protobuf`; collectors listen for it on port 4318"));
    }
    if let Some((name, compression)) = variables.of_the_exporter("COMPRESSION")
        && !matches!(compression.trim(), "gzip" | "none")
    {
        return Err(
            wrong(&name, "names a compression that is not here").remedy("write `gzip` or `none`")
        );
    }
    Ok(Some(Asked {
        target: target(&variables, &name, url.trim())?,
        timeout: number(&variables, "TIMEOUT")?.map_or(DEFAULT_TIMEOUT, Duration::from_millis),
        authorities: variables
            .of_the_exporter("CERTIFICATE")
            .map(|(_, file)| file.into()),
        queue: queue(&variables),
        speaks_w3c: speaks_w3c(&variables),
    }))
}

/// Where to. What bears credentials goes in plain text to this machine alone.
fn target(variables: &Variables<'_>, name: &str, url: &str) -> Result<Target, Finding> {
    let url = if name.contains("_TRACES_ENDPOINT") {
        url.to_owned()
    } else {
        format!("{}/v1/traces", url.trim_end_matches('/'))
    };
    let headers = variables.of_the_exporter("HEADERS");
    let reach = if headers.is_some() {
        Reach::Configured
    } else {
        Reach::Near
    };
    let target = Target::parse(&url, reach).map_err(|_| {
        wrong(name, "is no URL to hand spans to").remedy(
            "write `https://collector.example`, or `http://` and a host of this machine or of a private network",
        )
    })?;
    if let Some((headers, _)) = headers
        && !target.is_https()
        && !is_this_machine(target.host())
    {
        return Err(
            wrong(&headers, "would go over the network in plain text").remedy(format!(
                "write `https://` in `{name}`, or leave the headers out"
            )),
        );
    }
    Ok(target)
}

fn number(variables: &Variables<'_>, part: &str) -> Result<Option<u64>, Finding> {
    let Some((name, text)) = variables.of_the_exporter(part) else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        Ok(_) | Err(_) => Err(wrong(&name, "is no number of milliseconds")),
    }
}

fn queue(variables: &Variables<'_>) -> usize {
    let said = variables
        .get(QUEUE)
        .and_then(|text| text.trim().parse().ok());
    said.filter(|size| *size > 0).unwrap_or(DEFAULT_QUEUE)
}

fn speaks_w3c(variables: &Variables<'_>) -> bool {
    variables.get(PROPAGATORS).is_none_or(|list| {
        let mut names = list.split(',');
        names.any(|name| name.trim() == "tracecontext")
    })
}

fn wrong(name: &str, what: &str) -> Finding {
    // Never the value, which may be a credential.
    Finding::error(RULE, KEY, format!("`{name}` {what}"))
}

/// Everything that is to be said of the variables `names`, of which `get` has the values. A variable of
/// OpenTelemetry that nobody reads is told of, so that nobody waits for what does not come.
pub fn judge<'a>(
    names: impl Iterator<Item = &'a str>,
    get: &dyn Fn(&str) -> Option<String>,
    found: &mut Vec<Finding>,
) {
    let variables = Variables(get);
    if variables.says(DISABLED, "true") {
        return;
    }
    let set: Vec<&str> = names
        .filter(|name| name.starts_with("OTEL_") && variables.get(name).is_some())
        .collect();
    if set.is_empty() {
        return;
    }
    if !super::IS_BUILT_IN {
        found.push(
            warning(&set, "this program exports no traces")
                .remedy("build it with the feature `otel`, unset it, set OTEL_SDK_DISABLED=true, or name it in environment.read-by-the-product"),
        );
        return;
    }
    match asked(get) {
        Err(finding) => found.push(finding),
        Ok(None) if variables.get(EXPORTER).is_some() => {}
        Ok(None) => {
            found.push(
                warning(&set, "no endpoint is: nothing is exported")
                    .remedy("set OTEL_EXPORTER_OTLP_ENDPOINT, set OTEL_SDK_DISABLED=true, or name it in environment.read-by-the-product"),
            );
            return;
        }
        Ok(Some(_)) => sampling(&variables, found),
    }
    let unread: Vec<&str> = set.into_iter().filter(|name| !is_read(name)).collect();
    if !unread.is_empty() {
        found.push(
            warning(&unread, "nothing here reads it")
                .remedy("unset it, or name it in environment.read-by-the-product"),
        );
    }
}

fn warning(names: &[&str], what: &str) -> Finding {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Finding::warning(
        RULE,
        KEY,
        format!("{} is set, and {what}", names.join(", ")),
    )
}

fn is_read(name: &str) -> bool {
    let of_the_exporter = name.strip_prefix("OTEL_EXPORTER_OTLP_");
    let part = of_the_exporter.map(|part| part.strip_prefix("TRACES_").unwrap_or(part));
    READ.contains(&name) || part.is_some_and(|part| OF_THE_EXPORTER.contains(&part))
}

/// A sampler that is not known would be the default one, and take everything.
fn sampling(variables: &Variables<'_>, found: &mut Vec<Finding>) {
    let Some(sampler) = variables.get(SAMPLER) else {
        return;
    };
    if !SAMPLERS.contains(&sampler.as_str()) {
        found.push(
            Finding::warning(
                RULE,
                KEY,
                format!("`{SAMPLER}` names a sampler that is not here: every request is recorded"),
            )
            .remedy(format!("write one of {}", SAMPLERS.join(", "))),
        );
    } else if sampler.ends_with("traceidratio") {
        let share = variables
            .get(SAMPLER_ARG)
            .and_then(|text| text.parse::<f64>().ok());
        if !share.is_some_and(|share| (0.0..=1.0).contains(&share)) {
            found.push(
                Finding::warning(
                    RULE,
                    KEY,
                    format!(
                        "`{SAMPLER_ARG}` is no number between 0 and 1: every request is recorded"
                    ),
                )
                .remedy("write the share that is recorded, `0.1` for a tenth"),
            );
        }
    }
}
