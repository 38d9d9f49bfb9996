//! The field vault from Rust, without HTTP: a program beside the gate seals and opens with the same keys.
//!
//! `cargo run --package portcullis-vault --example fields -- DATABASE MASTER-FILE seal TABLE FIELD ROW VALUE`
//!
//! It needs what the gate has, the database and the master secret: give it to few programs, and let
//! the others ask over HTTP. Nothing that is opened this way is in the audit trail.

use std::io::Write as _;
use std::sync::Arc;

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret, Span};
use portcullis_store::Db;
use portcullis_vault::fields::{Config, Fields, Place};
use portcullis_vault::kek::{KekKind, Keks, Settings};
use portcullis_vault::keys::Keys;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "fields DATABASE MASTER-FILE seal|open TABLE FIELD ROW VALUE";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, master, verb, table, field, row, value] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let fields = vault(database, master).await?;
    let place = Place {
        tenant: None,
        table,
        field,
        row,
    };
    let text = match verb.as_str() {
        "seal" => fields.seal(&place, None, value.as_bytes()).await?,
        "open" => {
            let opened = fields.open(&place, value).await?;
            String::from_utf8(opened.expose().clone())?
        }
        _ => return Err(USAGE.into()),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// The vault of the gate with this database and this master secret, where `[kek]` is not configured.
async fn vault(database: &str, master: &str) -> Result<Fields> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = Secret::new(database.to_owned());
    let db = Db::open(&portcullis_store::Config::default(), &url, clock.now()).await?;
    let master = std::fs::read_to_string(master)?.trim_end().to_owned();
    let keys = Keys::new(Secret::new(master), Vec::new());
    let under = Keks::new(&Settings::of(KekKind::Master), &[], &keys, &clock)?;
    let remember_for = Span::from_minutes(15);
    Ok(Fields::new(
        db,
        under,
        clock,
        &Config::default(),
        remember_for,
    ))
}
