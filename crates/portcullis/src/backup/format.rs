//! What is in the file, once it is decrypted: JSON lines.
//!
//! ```text
//! {"portcullis-backup":1,"made-at":"..","made-by":"..","engine":"sqlite","kek":"master","masters":[..],"steps":[1,2,..],"tables":[{"name":"users","columns":["id",..]},..]}
//! {"table":"users"}
//! ["AZ3..","ana@corp.test",null,1790000000000000]
//! {"rows":{"count":1,"sha256":".."}}
//! ..
//! {"end":{"rows":1,"mac":".."}}
//! ```
//!
//! Bytes are base64, and a column's kind comes from the schema, so that no value says by itself what it
//! is. Each table's lines are hashed; the MAC is over everything before it.

use std::io::{BufRead, Write};

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_store::dump::{self, Cell, Kind, Schema, Table};
use portcullis_vault::keys::Mac;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The form that this program writes, and the only one that it reads.
const VERSION: u32 = 1;
/// No row is longer: messages of webhooks are the longest, and a request's body is bounded.
const LONGEST_LINE: u64 = 512 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it is no backup of portcullis")]
    Foreign,
    #[error("it is a backup of version {0}, and this program reads version {VERSION}")]
    Version(u64),
    #[error("it is torn: it ends before its end")]
    Torn,
    #[error("it is torn or was changed: {0}")]
    Broken(String),
    #[error("it was made with another master secret than any that `[secrets]` names")]
    OtherMaster,
    #[error("it was not made by a gate with this master secret")]
    Forged,
    #[error("the file cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] dump::Error),
}

fn broken(said: impl Into<String>) -> Error {
    Error::Broken(said.into())
}

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Header {
    portcullis_backup: u32,
    pub(super) made_at: String,
    pub(super) made_by: String,
    pub(super) engine: String,
    /// Where the key of the vault's data keys was.
    pub(super) kek: String,
    /// Marks of the master secrets, the one in use first. They say nothing of the secrets.
    pub(super) masters: Vec<String>,
    /// Steps of the schema that the rows fit.
    pub(super) steps: Vec<i64>,
    tables: Vec<Shape>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    name: String,
    columns: Vec<String>,
}

/// Any line that is no row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Mark {
    Table(String),
    Rows(Count),
    End(End),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    count: u64,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: u64,
    mac: String,
}

impl Header {
    pub(super) fn new(
        schema: &Schema,
        keys: &Mac,
        made_at: String,
        engine: &str,
        kek: String,
    ) -> Self {
        Header {
            portcullis_backup: VERSION,
            made_at,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            engine: engine.to_owned(),
            kek,
            masters: marks(keys),
            steps: schema.steps.clone(),
            tables: shapes(schema),
        }
    }

    /// Whether the master secret that was in use then is one that we have.
    pub(super) fn is_under_ours(&self, keys: &Mac) -> bool {
        let ours = marks(keys);
        self.masters.first().is_some_and(|mark| ours.contains(mark))
    }

    /// Whether the rows stand as the schema says.
    pub(super) fn fits(&self, schema: &Schema) -> Result<(), Error> {
        if self.tables == shapes(schema) {
            Ok(())
        } else {
            Err(broken(
                "its tables are not those of its version of the schema",
            ))
        }
    }
}

/// What a master secret is recognised by.
fn marks(keys: &Mac) -> Vec<String> {
    keys.tags(&[b"master"]).map(hex::encode).collect()
}

fn shapes(schema: &Schema) -> Vec<Shape> {
    let shape = |table: &Table| Shape {
        name: table.name.clone(),
        columns: table.columns.iter().map(|one| one.name.clone()).collect(),
    };
    schema.tables.iter().map(shape).collect()
}

/// How many rows, and what they hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    sha256: String,
}

/// A tally under way.
pub(super) struct Tallying {
    rows: u64,
    hash: Context,
    line: Vec<u8>,
}

impl Tallying {
    pub(super) fn new() -> Self {
        Tallying {
            rows: 0,
            hash: Context::new(&SHA256),
            line: Vec::new(),
        }
    }

    /// Counts a row; its line.
    pub(super) fn row(&mut self, row: &[Cell]) -> Result<&[u8], Error> {
        self.line.clear();
        let cells: Vec<Encoded<'_>> = row.iter().map(Encoded).collect();
        serde_json::to_writer(&mut self.line, &cells).map_err(std::io::Error::from)?;
        self.line.push(b'\n');
        self.hash.update(&self.line);
        self.rows += 1;
        Ok(&self.line)
    }

    fn line(&mut self, line: &[u8]) {
        self.hash.update(line);
        self.rows += 1;
    }

    pub(super) fn end(self) -> Tally {
        Tally {
            rows: self.rows,
            sha256: hex::encode(self.hash.finish()),
        }
    }
}

struct Encoded<'a>(&'a Cell);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Cell::Null => serializer.serialize_unit(),
            Cell::Int(value) => serializer.serialize_i64(*value),
            Cell::Text(value) => serializer.serialize_str(value),
            Cell::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
        }
    }
}

fn decoded(table: &Table, line: &[u8]) -> Result<Vec<Cell>, Error> {
    let wrong = || broken(format!("a row of `{}` is none", table.name));
    let values: Vec<Value> = serde_json::from_slice(line).map_err(|_| wrong())?;
    if values.len() != table.columns.len() {
        return Err(wrong());
    }
    let cells = table.columns.iter().zip(values);
    cells
        .map(|(column, value)| match (column.kind, value) {
            (Kind::Int | Kind::Text | Kind::Bytes, Value::Null) => Ok(Cell::Null),
            (Kind::Int, Value::Number(value)) => value.as_i64().map(Cell::Int).ok_or_else(wrong),
            (Kind::Text, Value::String(value)) => Ok(Cell::Text(value)),
            (Kind::Bytes, Value::String(value)) => {
                STANDARD.decode(value).map(Cell::Bytes).map_err(|_| wrong())
            }
            (
                Kind::Int | Kind::Text | Kind::Bytes,
                Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => Err(wrong()),
        })
        .collect()
}

/// Writes a backup, line by line.
pub(super) struct Writer<W> {
    out: W,
    whole: Context,
    rows: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, header: &Header) -> Result<Self, Error> {
        let mut this = Writer {
            out,
            whole: Context::new(&SHA256),
            rows: 0,
        };
        this.json(header)?;
        Ok(this)
    }

    pub(super) fn table(&mut self, table: &Table) -> Result<(), Error> {
        self.json(&Mark::Table(table.name.clone()))
    }

    /// One row, as a tally wrote it.
    pub(super) fn row(&mut self, line: &[u8]) -> Result<(), Error> {
        self.whole.update(line);
        self.rows += 1;
        Ok(self.out.write_all(line)?)
    }

    pub(super) fn rows(&mut self, tally: &Tally) -> Result<(), Error> {
        self.json(&Mark::Rows(Count {
            count: tally.rows,
            sha256: tally.sha256.clone(),
        }))
    }

    /// The last line; then what was written to comes back.
    pub(super) fn end(mut self, keys: &Mac) -> Result<W, Error> {
        let mac = hex::encode(keys.tag(&[b"content", &hashed(&self.whole)]));
        let rows = self.rows;
        self.json(&Mark::End(End { rows, mac }))?;
        Ok(self.out)
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.whole.update(&line);
        Ok(self.out.write_all(&line)?)
    }
}

/// What the MAC is over.
fn hashed(whole: &Context) -> Vec<u8> {
    whole.clone().finish().as_ref().to_vec()
}

/// Reads a backup, line by line; whatever is not as it should be is an error.
pub(super) struct Reader<R> {
    input: R,
    whole: Context,
    line: Vec<u8>,
    rows: u64,
    pub(super) header: Header,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub(super) fn begin(input: R) -> Result<Self, Error> {
        let mut this = Reader {
            input,
            whole: Context::new(&SHA256),
            line: Vec::new(),
            rows: 0,
            header: Header {
                portcullis_backup: VERSION,
                made_at: String::new(),
                made_by: String::new(),
                engine: String::new(),
                kek: String::new(),
                masters: Vec::new(),
                steps: Vec::new(),
                tables: Vec::new(),
            },
        };
        match this.next_line() {
            Ok(()) => {}
            Err(Error::Torn) => return Err(Error::Foreign),
            Err(error) => return Err(error),
        }
        // Another version may say other things: its number is looked at first.
        let value: Value = serde_json::from_slice(&this.line).map_err(|_| Error::Foreign)?;
        let version = value.get("portcullis-backup").and_then(Value::as_u64);
        match version {
            Some(version) if version == u64::from(VERSION) => {}
            Some(other) => return Err(Error::Version(other)),
            None => return Err(Error::Foreign),
        }
        this.header =
            serde_json::from_value(value).map_err(|_| broken("its first line is none"))?;
        this.whole.update(&this.line);
        Ok(this)
    }

    /// The line that begins this table.
    pub(super) fn table(&mut self, table: &Table) -> Result<(), Error> {
        match self.mark()? {
            Mark::Table(name) if name == table.name => Ok(()),
            Mark::Table(_) | Mark::Rows(_) | Mark::End(_) => Err(broken(format!(
                "the table `{}` is not where it should be",
                table.name
            ))),
        }
    }

    /// The next row of a table, or nothing where it ends; its tally then has to be what was counted.
    pub(super) fn row(
        &mut self,
        table: &Table,
        tallying: &mut Tallying,
    ) -> Result<Option<(Vec<Cell>, usize)>, Error> {
        self.next_line()?;
        if self.line.first() != Some(&b'[') {
            return Ok(None);
        }
        tallying.line(&self.line);
        self.whole.update(&self.line);
        self.rows += 1;
        let row = decoded(table, &self.line)?;
        Ok(Some((row, self.line.len())))
    }

    /// The line at which [`Reader::row`] stopped has to say this.
    pub(super) fn rows(&mut self, table: &Table, tally: &Tally) -> Result<(), Error> {
        match self.parsed()? {
            Mark::Rows(count) if count.count == tally.rows && count.sha256 == tally.sha256 => {
                Ok(())
            }
            Mark::Table(_) | Mark::Rows(_) | Mark::End(_) => Err(broken(format!(
                "the rows of `{}` are not those that were written",
                table.name
            ))),
        }
    }

    /// The last line, and nothing behind it. `keys` are those that the MAC has to be of, where they are
    /// known.
    pub(super) fn end(mut self, keys: Option<&Mac>) -> Result<(), Error> {
        let content = hashed(&self.whole);
        let Mark::End(end) = self.mark()? else {
            return Err(broken("there is more than its tables"));
        };
        if end.rows != self.rows {
            return Err(broken("rows are missing"));
        }
        if let Some(keys) = keys {
            let mac = hex::decode(&end.mac).map_err(|_| Error::Forged)?;
            if !keys.verify(&[b"content", &content], &mac) {
                return Err(Error::Forged);
            }
        }
        match self.next_line() {
            Err(Error::Torn) => Ok(()),
            Ok(()) => Err(broken("there is something behind its end")),
            Err(error) => Err(error),
        }
    }

    fn mark(&mut self) -> Result<Mark, Error> {
        self.next_line()?;
        self.parsed()
    }

    fn parsed(&mut self) -> Result<Mark, Error> {
        self.whole.update(&self.line);
        serde_json::from_slice(&self.line).map_err(|_| broken("a line is none"))
    }

    /// The next line is in `line`, with its end.
    fn next_line(&mut self) -> Result<(), Error> {
        self.line.clear();
        let mut bounded = std::io::Read::take(&mut self.input, LONGEST_LINE);
        match bounded.read_until(b'\n', &mut self.line) {
            Ok(0) => Err(Error::Torn),
            Ok(_) if self.line.ends_with(b"\n") => Ok(()),
            Ok(_) => Err(Error::Torn),
            Err(error) => Err(super::lock::of_reading(error)),
        }
    }
}
