//! `portcullis scrub`: any product's log through the gate's own redaction, from standard input to
//! standard output.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

use clap::Args as ClapArgs;
use portcullis_events::redact::{Config, Counts, Engine, Kind, Kinds, Rules, Stream};
use serde::Serialize;

use crate::cli::Usage;
use crate::cli::output::{self, Format};

/// So much is read at a time: with the same again held back, all the memory that is taken.
const CHUNK: usize = 128 * 1024;

const EXAMPLES: &str = "Examples:
  my-product 2>&1 | portcullis scrub >> product.log
  journalctl -u shop -f | portcullis scrub --field iban --prefix shop_live_
  portcullis scrub --keep emails --stats < old.log > clean.log
  portcullis scrub --check < build.log          (exit code 1 if there is a secret in it)

What is looked for:
  fields        values named password, token, secret, authorization, cookie, api_key ...
  keys          keys of known providers (OpenAI, Anthropic, AWS, GitHub, Slack, Stripe ...)
  tokens        JWTs, and what follows Bearer and Basic
  private-keys  PEM private keys, over several lines too
  urls          user and password in URLs and connection strings
  emails        e-mail addresses, but for the first letter and the domain
  cards         card numbers (by their check digit)
  paths         user names in /home/NAME, /Users/NAME, C:\\Users\\NAME
  opaque        any long text that looks random (digests and commit ids, too); only if asked for
  queries       whole query strings, whatever is in them; only if asked for

A password that stands alone in prose is found by nobody: do not log it.";

#[derive(Debug, ClapArgs)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Look for these alone, by comma.
    #[arg(long, value_delimiter = ',', value_name = "KIND", conflicts_with_all = ["keep", "also"])]
    only: Vec<Kind>,
    /// Leave these as they are, by comma.
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    keep: Vec<Kind>,
    /// Look for these as well, by comma: `opaque`, `queries`.
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    also: Vec<Kind>,
    /// One more name whose values are secrets; may be given several times. Part of a name is enough.
    #[arg(long = "field", value_name = "NAME")]
    fields: Vec<String>,
    /// How keys of your product begin; may be given several times.
    #[arg(long = "prefix", value_name = "TEXT")]
    prefixes: Vec<String>,
    /// Say at the end, on standard error, how much of what was found. With --output json as JSON.
    #[arg(long)]
    stats: bool,
    /// Write nothing, and end with exit code 1 if something would have been redacted.
    #[arg(long)]
    check: bool,
}

impl Args {
    fn kinds(&self) -> Kinds {
        let base = if self.only.is_empty() {
            Kinds::USUAL
        } else {
            self.only
                .iter()
                .copied()
                .fold(Kinds::default(), Kinds::with)
        };
        let with = self.also.iter().copied().fold(base, Kinds::with);
        self.keep.iter().copied().fold(with, Kinds::without)
    }

    fn engine(&self) -> anyhow::Result<Engine> {
        let config = Config {
            fields: self.fields.clone(),
            prefixes: self.prefixes.clone(),
        };
        if let Some((key, why)) = config.mistakes().into_iter().next() {
            let flag = if key.contains("fields") {
                "--field"
            } else {
                "--prefix"
            };
            return Err(Usage::error(format!("`{flag}`: {why}")));
        }
        Ok(Engine::for_files(Rules {
            kinds: self.kinds(),
            fields: config.fields,
            prefixes: config.prefixes,
            any_domain: false,
        }))
    }
}

/// What `--stats` tells.
#[derive(Debug, Serialize)]
struct Summary {
    bytes: u64,
    lines: u64,
    redacted: u64,
    kinds: std::collections::BTreeMap<&'static str, u64>,
}

impl Summary {
    fn new(bytes: u64, lines: u64, counts: Counts) -> Self {
        let kinds = Kind::ALL
            .into_iter()
            .map(|kind| (kind.as_str(), counts.of(kind)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Summary {
            bytes,
            lines,
            redacted: counts.total(),
            kinds,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} redacted in {} lines ({} bytes)",
            self.redacted, self.lines, self.bytes
        )?;
        for (kind, count) in &self.kinds {
            write!(f, "\n  {kind:<13} {count}")?;
        }
        Ok(())
    }
}

/// Answers `false`, which is exit code 1, where `--check` found something.
pub(crate) fn run(args: &Args, format: Format) -> anyhow::Result<bool> {
    let engine = args.engine()?;
    let mut stdout = io::stdout().lock();
    let output: &mut dyn Write = if args.check {
        &mut io::sink()
    } else {
        &mut stdout
    };
    let Some(summary) = filter(&engine, &mut io::stdin().lock(), output)? else {
        return Ok(true);
    };
    if args.stats {
        match format {
            Format::Text => output::aside(&summary),
            Format::Json => output::aside(serde_json::to_string(&summary)?),
        }
    }
    Ok(!args.check || summary.redacted == 0)
}

/// `None` where nobody reads any more, as in `portcullis scrub | head`.
fn filter(
    engine: &Engine,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> anyhow::Result<Option<Summary>> {
    let mut stream = Stream::new(engine);
    let mut chunk = vec![0; CHUNK];
    let mut out = Vec::with_capacity(CHUNK);
    let (mut bytes, mut lines) = (0_u64, 0_u64);
    loop {
        let count = match input.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let read = chunk.get(..count).unwrap_or_default();
        bytes = bytes.saturating_add(u64::try_from(count)?);
        let parts = read.split(|byte| *byte == b'\n').count();
        lines = lines.saturating_add(u64::try_from(parts.saturating_sub(1))?);
        out.clear();
        if count == 0 {
            stream.finish(&mut out);
        } else {
            stream.push(read, &mut out);
        }
        match output.write_all(&out).and_then(|()| output.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(None),
            written => written?,
        }
        if count == 0 {
            return Ok(Some(Summary::new(bytes, lines, stream.counts())));
        }
    }
}
