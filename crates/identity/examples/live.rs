//! Fills a gate's database with what is live, for measurements: no product needs it, and doing it
//! by the gate's own calls would take a password hash or a record for each. Writes the rows that the
//! gate itself would write.
//!
//! `cargo run --release --package portcullis-identity --example live -- DATABASE MASTER-FILE EMAIL KIND COUNT`
//!
//! - `sessions`: of the account with this address. Prints the tokens, one to a line.
//! - `keys`: API keys of the same account. Prints the keys.
//! - `members`: users, a hundred to a tenant, each with a role in it and a session. Prints token and
//!   short name of the tenant.

use std::io::{BufWriter, Write};

use portcullis_core::time::SystemClock;
use portcullis_core::{ApiKeyId, Clock as _, Secret, SessionId, Span, TenantId, Timestamp, UserId};
use portcullis_identity::{Email, api_keys};
use portcullis_store::{Config, Db, Tx, Value};
use portcullis_vault::keys::{Keys, Mac, Purpose};
use portcullis_vault::{Token, TokenHash};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Rows to a statement, and statements to a transaction.
const ROWS: usize = 200;
const STATEMENTS: usize = 50;
/// Users of one tenant.
const MEMBERS: usize = 100;

/// A `?` in a row is a value of its own; `$1` and so on are those that all rows share.
const SESSION: Insertion = Insertion {
    into: "session (id, token_hash, user_id, created_at, authenticated_at, last_seen_at, expires_at)",
    shared: 2,
    row: &["?", "?", "?", "$1", "$1", "$1", "$2"],
};
const KEY: Insertion = Insertion {
    into: "api_key (id, hash, hint, name, user_id, permissions, created_by, created_at, expires_at)",
    shared: 2,
    row: &[
        "?",
        "?",
        "'pck_'",
        "'bench'",
        "?",
        "'[\"read:own\"]'",
        "'operator'",
        "$1",
        "$2",
    ],
};
const TENANT: Insertion = Insertion {
    into: "tenant (id, slug, name, created_at)",
    shared: 1,
    row: &["?", "?", "'bench'", "$1"],
};
const USER: Insertion = Insertion {
    into: "users (id, email_canonical, email, password_hash, tenant_id, created_at, updated_at)",
    shared: 1,
    row: &["?", "?", "'bench'", "'!'", "?", "$1", "$1"],
};
const ACCOUNT: &str = "SELECT id AS user_id FROM users WHERE email_canonical = $1";
const MEMBERSHIP: Insertion = Insertion {
    into: "membership (user_id, tenant_id, created_at)",
    shared: 1,
    row: &["?", "?", "$1"],
};
const ROLE: Insertion = Insertion {
    into: "member_role (user_id, tenant_id, role)",
    shared: 0,
    row: &["?", "?", "'user'"],
};

fn main() -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(fill())
}

async fn fill() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, master, email, kind, count] = arguments.as_slice() else {
        return Err("DATABASE MASTER-FILE EMAIL KIND COUNT".into());
    };
    let now = SystemClock.now();
    let db = Db::open(&Config::default(), &Secret::new(url.clone()), now).await?;
    let found = db
        .fetch_optional(ACCOUNT, &[Email::parse(email)?.canonical().into()])
        .await?;
    let master = std::fs::read_to_string(master)?.trim().to_owned();
    let keys = Keys::new(Secret::new(master), Vec::new());
    let filler = Filler {
        user: found.ok_or("no such user")?.user_id("id")?,
        mac: keys.mac(Purpose::ApiKey)?,
        now,
        end: now + Span::from_hours(24),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let count: usize = count.parse()?;
    let mut done = 0;
    while done < count {
        let mut tx = db.begin().await?;
        for _ in 0..STATEMENTS {
            let rows = ROWS.min(count.saturating_sub(done));
            if rows == 0 {
                break;
            }
            match kind.as_str() {
                "sessions" => filler.sessions(&mut tx, rows, &mut out).await?,
                "keys" => filler.keys(&mut tx, rows, &mut out).await?,
                "members" => filler.members(&mut tx, done, rows, &mut out).await?,
                _ => return Err("KIND is sessions, keys or members".into()),
            }
            done = done.saturating_add(rows);
        }
        tx.commit().await?;
    }
    db.close().await;
    Ok(out.flush()?)
}

struct Filler {
    user: UserId,
    mac: Mac,
    now: Timestamp,
    end: Timestamp,
}

impl Filler {
    async fn sessions(&self, tx: &mut Tx, rows: usize, out: &mut impl Write) -> Result<()> {
        let tokens = tokens(rows)?;
        self.open(tx, &tokens, |_| self.user).await?;
        for token in &tokens {
            writeln!(out, "{}", token.text().expose())?;
        }
        Ok(())
    }

    async fn keys(&self, tx: &mut Tx, rows: usize, out: &mut impl Write) -> Result<()> {
        let mut texts = Vec::with_capacity(rows);
        for _ in 0..rows {
            texts.push(api_keys::generate("pck")?);
        }
        let tag = |text: &Secret<String>| self.mac.tag(&[text.expose().as_bytes()]);
        let hashes: Vec<[u8; 32]> = texts.iter().map(tag).collect();
        let mut args: Vec<Value<'_>> = vec![self.now.into(), self.end.into()];
        for hash in &hashes {
            args.extend([Value::from(ApiKeyId::new()), hash.into(), self.user.into()]);
        }
        KEY.run(tx, &args, rows).await?;
        for text in &texts {
            writeln!(out, "{}", text.expose())?;
        }
        Ok(())
    }

    /// From the user with this number on.
    async fn members(
        &self,
        tx: &mut Tx,
        first: usize,
        rows: usize,
        out: &mut impl Write,
    ) -> Result<()> {
        let slug = |number: usize| format!("tenant-{number}");
        let tenants: Vec<(TenantId, String)> = (first..first.saturating_add(rows))
            .step_by(MEMBERS)
            .map(|number| (TenantId::new(), slug(number / MEMBERS)))
            .collect();
        let mut args: Vec<Value<'_>> = vec![self.now.into()];
        for (id, slug) in &tenants {
            args.extend([Value::from(*id), slug.into()]);
        }
        TENANT.run(tx, &args, tenants.len()).await?;

        let of = |row: usize| tenants.get(row / MEMBERS).ok_or("no such tenant");
        let people: Vec<(UserId, String)> = (0..rows)
            .map(|_| UserId::new())
            .map(|id| (id, format!("bench:{id}")))
            .collect();
        let (mut users, mut members, mut roles) = (
            vec![Value::from(self.now)],
            vec![Value::from(self.now)],
            vec![],
        );
        for (row, (id, name)) in people.iter().enumerate() {
            let tenant = of(row)?.0;
            users.extend([Value::from(*id), name.into(), tenant.into()]);
            members.extend([Value::from(*id), tenant.into()]);
            roles.extend([Value::from(*id), tenant.into()]);
        }
        USER.run(tx, &users, rows).await?;
        MEMBERSHIP.run(tx, &members, rows).await?;
        ROLE.run(tx, &roles, rows).await?;

        let tokens = tokens(rows)?;
        let person = |row: usize| people.get(row).map_or(self.user, |(id, _)| *id);
        self.open(tx, &tokens, person).await?;
        for (row, token) in tokens.iter().enumerate() {
            writeln!(out, "{} {}", token.text().expose(), of(row)?.1)?;
        }
        Ok(())
    }

    /// A session for each token.
    async fn open(
        &self,
        tx: &mut Tx,
        tokens: &[Token],
        whose: impl Fn(usize) -> UserId,
    ) -> Result<()> {
        let hashes: Vec<TokenHash> = tokens.iter().map(Token::hash).collect();
        let mut args: Vec<Value<'_>> = vec![self.now.into(), self.end.into()];
        for (row, hash) in hashes.iter().enumerate() {
            let id = SessionId::from_uuid(name(hash.as_bytes()));
            args.extend([Value::from(id), hash.as_bytes().into(), whose(row).into()]);
        }
        SESSION.run(tx, &args, tokens.len()).await
    }
}

fn tokens(rows: usize) -> Result<Vec<Token>> {
    let tokens: std::result::Result<_, _> = (0..rows).map(|_| Token::generate()).collect();
    Ok(tokens?)
}

/// As the gate names a session: see `revoke.rs`.
fn name(hash: &[u8; 32]) -> uuid::Uuid {
    let first = hash.first_chunk::<16>().copied().unwrap_or_default();
    uuid::Builder::from_custom_bytes(first).into_uuid()
}

/// A table, and how a row of it is written.
struct Insertion {
    into: &'static str,
    shared: usize,
    row: &'static [&'static str],
}

impl Insertion {
    async fn run(&self, tx: &mut Tx, args: &[Value<'_>], rows: usize) -> Result<()> {
        tx.execute(self.statement(rows), args).await?;
        Ok(())
    }

    /// For so many rows. Texts of statements live as long as the program: each is kept once.
    fn statement(&self, rows: usize) -> &'static str {
        use std::collections::HashMap;
        use std::sync::{LazyLock, Mutex, PoisonError};
        static KNOWN: LazyLock<Mutex<HashMap<(&'static str, usize), &'static str>>> =
            LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry((self.into, rows))
            .or_insert_with(|| Box::leak(self.text(rows).into_boxed_str()))
    }

    fn text(&self, rows: usize) -> String {
        let mut next = self.shared;
        let mut value = |text: &&str| {
            if *text == "?" {
                next = next.saturating_add(1);
                format!("${next}")
            } else {
                (*text).to_owned()
            }
        };
        let mut row = || {
            let values: Vec<String> = self.row.iter().map(&mut value).collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..rows).map(|_| row()).collect();
        format!("INSERT INTO {} VALUES {}", self.into, rows.join(", "))
    }
}
