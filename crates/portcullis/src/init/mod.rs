//! `portcullis init`: one commented configuration for a product.
//!
//! With an OpenAPI document every operation gets a decision: what the document secures needs a
//! user, what it leaves open is closed and named, so that a person opens it knowingly. Without
//! one, everything needs a user but `/health`. What is written has been compiled once before.

mod presets;
mod render;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use portcullis_access::openapi::{BasePath, Note, Plan, Planned, plan, read};
use portcullis_access::{AccessConfig, Known, Policy};
use serde::Serialize;
use url::Url;

use crate::cli::Usage;

pub(crate) use self::presets::Preset;

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The product behind the gate, such as `http://127.0.0.1:8000`.
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: String,
    /// Its OpenAPI 3.0 or 3.1 document, JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) openapi: Option<PathBuf>,
    /// Put the document's paths below this one instead of below those of its `servers`.
    #[arg(long, value_name = "PATH", requires = "openapi")]
    pub(crate) base_path: Option<String>,
    /// Figures (limits, names, sizes) for a shape of product.
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) preset: Option<Preset>,
    /// The file to write. Default: what `--config` says.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// A configuration that compiles, and what a person has to know about it.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(crate) text: String,
    pub(crate) report: Report,
}

/// What `init` did.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The file that was written.
    pub(crate) file: PathBuf,
    pub(crate) operations: usize,
    pub(crate) routes: usize,
    /// Operations that the document leaves open: closed, each by name.
    pub(crate) open: Vec<String>,
    /// Operations below a path where the gate's own auth API answers: left out, each by name.
    pub(crate) taken_over: Vec<String>,
    pub(crate) notes: Vec<Note>,
}

/// Generates, and writes the file: `--out`, or else `file`.
pub(crate) fn run(args: &Args, file: &Path) -> anyhow::Result<Report> {
    let out = args.out.as_deref().unwrap_or(file);
    let document = match &args.openapi {
        Some(path) => Some(fs::read_to_string(path).map_err(|error| {
            Usage::error(format!(
                "cannot read `{}` (--openapi): {error}",
                path.display()
            ))
        })?),
        None => None,
    };
    let base = args
        .base_path
        .clone()
        .map_or(BasePath::Servers, BasePath::Given);
    let Generated { text, mut report } =
        generate(&args.upstream, document.as_deref(), &base, args.preset)?;
    let mut open = OpenOptions::new();
    open.write(true);
    if args.force {
        open.create(true).truncate(true);
    } else {
        open.create_new(true);
    }
    let mut file = open.open(out).map_err(|error| {
        Usage::error(format!(
            "cannot write `{}` ({error}); an existing file is replaced with --force only",
            out.display()
        ))
    })?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    out.clone_into(&mut report.file);
    Ok(report)
}

/// The configuration for `upstream`, with the routes of `document` where there is one.
pub(crate) fn generate(
    upstream: &str,
    document: Option<&str>,
    base: &BasePath,
    preset: Option<Preset>,
) -> anyhow::Result<Generated> {
    let upstream = origin(upstream)?;
    let mut report = Report::default();
    let settings = presets::settings(preset, &upstream);
    let routes = if let Some(document) = document {
        let api = read(document, base).map_err(|error| {
            Usage::error(format!(
                "--openapi: {error}; it takes an OpenAPI 3.0 or 3.1 document as JSON"
            ))
        })?;
        let mut plan = plan(&api);
        take_over(&mut plan, &mounts(&settings)?, &mut report);
        report.operations = api.operations.len();
        report.routes = plan.routes.len();
        let text = render::planned(&api.title, &plan);
        report.open = plan.open;
        report.notes = plan.notes;
        text
    } else {
        report.routes = 3;
        render::catch_all()
    };
    let text = render::file(&settings, &routes);
    compile(&text)?;
    Ok(Generated { text, report })
}

/// Where the settings put the auth API besides its own place.
fn mounts(settings: &str) -> anyhow::Result<Vec<String>> {
    let table: toml::Table = settings.parse().context("the settings are not TOML")?;
    let mounts = table.get("auth-api").and_then(|table| table.get("mounts"));
    let mounts = mounts.and_then(toml::Value::as_array).into_iter().flatten();
    Ok(mounts
        .filter_map(|mount| mount.as_str().map(str::to_owned))
        .collect())
}

/// Takes routes out that the gate itself answers, and names their operations: what the product did
/// there, it does no more.
fn take_over(plan: &mut Plan, mounts: &[String], report: &mut Report) {
    let is_taken = |path: &str| {
        mounts.iter().any(|mount| {
            path.to_ascii_lowercase()
                .strip_prefix(&mount.to_ascii_lowercase())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let (taken, kept) = std::mem::take(&mut plan.routes)
        .into_iter()
        .partition(|route| is_taken(&route.path));
    plan.routes = kept;
    let taken: Vec<Planned> = taken;
    let operations = taken.iter().flat_map(|route| &route.operations);
    report.taken_over = operations.map(ToString::to_string).collect();
    plan.open.retain(|name| !report.taken_over.contains(name));
}

/// Compiles what was generated, so that no file is written that `serve` would refuse for its routes.
fn compile(text: &str) -> anyhow::Result<Policy> {
    let mut table: toml::Table = text.parse().context("the generated file is not TOML")?;
    let names = |key: &str| -> Vec<String> {
        let names = table.get(key).and_then(toml::Value::as_table);
        names
            .into_iter()
            .flat_map(toml::Table::keys)
            .cloned()
            .collect()
    };
    let mut limits = names("limits");
    limits.extend(["default", "auth", "visits"].map(str::to_owned));
    let known = Known {
        upstreams: names("upstream"),
        limits,
        // What is generated asks for no consent.
        ..Known::default()
    };
    table.retain(|key, _| key == "route" || key == "roles");
    let mut config: AccessConfig = table.try_into()?;
    config.locate(text);
    match Policy::compile(&config, &known) {
        Ok(policy) => Ok(policy),
        Err(mistakes) => {
            let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            bail!("the generated routes do not compile:\n{}", told.join("\n"))
        }
    }
}

/// Scheme, host and port of an upstream, and nothing besides.
fn origin(text: &str) -> anyhow::Result<String> {
    let refuse = |reason: &str| {
        Usage::error(format!(
            "--upstream `{text}` {reason}: write it like http://127.0.0.1:8000"
        ))
    };
    let url = Url::parse(text).map_err(|_| refuse("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse("is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it may hold a password.
        return Err(Usage::error("--upstream holds no credentials"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("has more than scheme, host and port"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What to do with a fresh file.
const NEXT: &str =
    "  export SECRET_KEY=$(openssl rand -hex 32)   (keep it: sessions and signatures hang on it)
  portcullis check
  portcullis users create --email you@corp.test --role admin
  portcullis serve";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operations == 0 {
            writeln!(f, "Wrote {}: {} routes.", self.file.display(), self.routes)?;
        } else {
            writeln!(
                f,
                "Wrote {}: {} operations in {} routes.",
                self.file.display(),
                self.operations,
                self.routes
            )?;
        }
        if !self.open.is_empty() {
            writeln!(
                f,
                "\nThe document leaves {} operations open. They are closed until you open them:",
                self.open.len()
            )?;
        }
        for operation in &self.open {
            writeln!(f, "  {operation}")?;
        }
        if !self.taken_over.is_empty() {
            writeln!(
                f,
                "\nBelow auth-api.mounts the gate answers, and the product does no more:"
            )?;
        }
        for operation in &self.taken_over {
            writeln!(f, "  {operation}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nTo look at:")?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        write!(f, "\nNext:\n{NEXT}")
    }
}

#[cfg(test)]
mod tests;
