//! Which stores a test runs on, and where the test set-up started them.

use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

/// A variable that `cargo xtask test` sets. Without it a test fails and says how to get it.
pub(crate) fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the suite by `cargo xtask test --install`, which starts what this test needs"))
}

/// The stores of one test, empty and its own.
pub(crate) struct State {
    pub(crate) database: String,
    pub(crate) redis: Option<String>,
}

impl State {
    /// The other engine than that of the pass.
    pub(crate) async fn of_the_other_engine(folder: &Path) -> String {
        match std::env::var("PORTCULLIS_TEST_STATE").as_deref() {
            Ok("shared") => format!("sqlite://{}", folder.join("portcullis.db").display()),
            Ok(_) | Err(_) => fresh_postgres().await,
        }
    }

    pub(crate) async fn fresh(folder: &Path) -> Self {
        match std::env::var("PORTCULLIS_TEST_STATE").as_deref() {
            Ok("shared") => State {
                database: fresh_postgres().await,
                redis: Some(required("PORTCULLIS_TEST_REDIS")),
            },
            Ok("local") | Err(_) => State {
                database: format!("sqlite://{}", folder.join("portcullis.db").display()),
                redis: None,
            },
            Ok(other) => panic!("PORTCULLIS_TEST_STATE is `{other}`: it is `local` or `shared`"),
        }
    }
}

async fn fresh_postgres() -> String {
    let server = required("PORTCULLIS_TEST_POSTGRES");
    let name = format!("it_{}", uuid::Uuid::new_v4().simple());
    let mut connection = sqlx::PgConnection::connect(&server)
        .await
        .expect("PostgreSQL of the test set-up answers");
    connection
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .expect("a database of the test's own");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}
