//! Fills a gate's database with live sessions, for measurements: no product needs it, and a sign-in
//! for each would take a password hash. Writes the rows that the gate itself would write.
//!
//! `cargo run --release --package portcullis-identity --example live_sessions -- DATABASE EMAIL COUNT`
//!
//! Prints the tokens, one to a line.

use std::io::{BufWriter, Write as _};

use portcullis_core::time::SystemClock;
use portcullis_core::{Clock as _, Secret, SessionId, Span};
use portcullis_identity::{Email, users};
use portcullis_store::{Config, Db, Value};
use portcullis_vault::Token;

/// Rows to a statement, and statements to a transaction.
const ROWS: usize = 200;
const STATEMENTS: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(fill())
}

async fn fill() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(email), Some(count)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("DATABASE EMAIL COUNT".into());
    };
    let mut left: usize = count.parse()?;
    let now = SystemClock.now();
    let db = Db::open(&Config::default(), &Secret::new(url), now).await?;
    let user = users::find_by_email(&db, &Email::parse(&email)?)
        .await?
        .ok_or("no such user")?
        .id;
    let many = statement(ROWS);
    let end = now + Span::from_hours(24);
    let mut out = BufWriter::new(std::io::stdout().lock());
    while left > 0 {
        let mut tx = db.begin().await?;
        for _ in 0..STATEMENTS {
            let rows = left.min(ROWS);
            if rows == 0 {
                break;
            }
            let tokens = (0..rows)
                .map(|_| Token::generate())
                .collect::<Result<Vec<_>, _>>()?;
            let hashes: Vec<_> = tokens.iter().map(Token::hash).collect();
            let mut args: Vec<Value<'_>> = vec![user.into(), now.into(), end.into()];
            for hash in &hashes {
                args.push(SessionId::from_uuid(name(hash.as_bytes())).into());
                args.push(hash.as_bytes().into());
            }
            let sql = if rows == ROWS { many } else { statement(rows) };
            tx.execute(sql, &args).await?;
            for token in &tokens {
                writeln!(out, "{}", token.text().expose())?;
            }
            left = left.saturating_sub(rows);
        }
        tx.commit().await?;
    }
    db.close().await;
    Ok(out.flush()?)
}

/// As the gate names a session: see `revoke.rs`.
fn name(hash: &[u8; 32]) -> uuid::Uuid {
    let first = hash.first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(first).into_uuid()
}

/// An insertion of so many rows. It lives as long as this program.
fn statement(rows: usize) -> &'static str {
    let rows: Vec<String> = (0..rows)
        .map(|row| {
            let id = row.saturating_mul(2).saturating_add(4);
            format!("(${id}, ${}, $1, $2, $2, $2, $3)", id.saturating_add(1))
        })
        .collect();
    let sql = format!(
        "INSERT INTO session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at) VALUES {}",
        rows.join(", ")
    );
    Box::leak(sql.into_boxed_str())
}
