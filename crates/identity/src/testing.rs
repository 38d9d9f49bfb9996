//! A house for tests: a database of its own, a clock that stands still, and one account.

use std::num::NonZero;
use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{Clock, Secret, Timestamp, UserId};
use portcullis_events::{Metrics, Trail};
use portcullis_store::Db;
use portcullis_store::revocations::Feed;
use portcullis_vault::{Keys, Passwords};
use tempfile::TempDir;

use crate::accounts::{self, Accounts, By, Parts, Registering, Registration, SignedIn};
use crate::backoff::Backoff;
use crate::password_policy::{self, PasswordPolicy};
use crate::record::Record;
use crate::sessions::{self, Sessions};
use crate::{ApiKeys, Client, Lookup, api_keys};

pub(crate) const EMAIL: &str = "ada@example.org";
pub(crate) const PASSWORD: &str = "a quiet harbour at dawn";

pub(crate) struct House {
    pub(crate) db: Db,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) accounts: Accounts,
    pub(crate) feed: Arc<Feed>,
    pub(crate) user: UserId,
    pub(crate) folder: TempDir,
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

pub(crate) fn backoff() -> Backoff {
    Backoff::new(&Keys::new(secret("master secret of the tests"), vec![])).unwrap()
}

/// A node over the database in `folder`.
pub(crate) async fn node(folder: &TempDir, clock: &Arc<ManualClock>) -> (Db, Accounts, Arc<Feed>) {
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let db = Db::open(
        &portcullis_store::Config::default(),
        &Secret::new(url),
        clock.now(),
    )
    .await
    .unwrap();
    let config = sessions::Config {
        max_per_user: 3,
        ..sessions::Config::default()
    };
    let settings = config.compile(true).unwrap();
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let feed = Arc::new(Feed::open(db.clone(), clock.now()).await.unwrap());
    let sessions = Sessions::new(db.clone(), Arc::clone(&feed), settings, Arc::clone(&clock));
    let trail = Trail::start(
        db.clone(),
        Arc::clone(&clock),
        Metrics::new(),
        &portcullis_events::audit::Config::default(),
    );
    let accounts = Accounts::new(Parts {
        db: db.clone(),
        clock,
        passwords: Passwords::start(NonZero::new(2).unwrap(), 256).unwrap(),
        policy: PasswordPolicy::new(&password_policy::Config::default()),
        sessions,
        backoff: backoff(),
        record: Record::new(trail),
        config: accounts::Config {
            registration: Registration::Open,
            registration_roles: vec!["member".to_owned()],
        },
    });
    (db, accounts, feed)
}

impl House {
    pub(crate) async fn build() -> House {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
        let (db, accounts, feed) = node(&folder, &clock).await;
        let password = secret(PASSWORD);
        let new = Registering {
            email: EMAIL,
            password: &password,
            display_name: None,
        };
        let roles = ["member".to_owned()];
        let user = accounts
            .create(&new, &roles, None, &By::operator())
            .await
            .unwrap()
            .id;
        House {
            db,
            clock,
            accounts,
            feed,
            user,
            folder,
        }
    }

    /// Keys of another node, with whatever is not the default.
    pub(crate) fn keys_with(
        &self,
        config: api_keys::Config,
        masters: &Keys,
        imported: Option<&str>,
    ) -> ApiKeys {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let trail = Trail::start(
            self.db.clone(),
            Arc::clone(&clock),
            Metrics::new(),
            &portcullis_events::audit::Config::default(),
        );
        let parts = api_keys::Parts {
            db: self.db.clone(),
            feed: Arc::clone(&self.feed),
            clock,
            trail,
            config,
            imported: imported.map(secret),
        };
        ApiKeys::new(parts, masters).unwrap()
    }

    pub(crate) fn keys(&self) -> ApiKeys {
        let masters = Keys::new(secret("master secret of the tests"), vec![]);
        self.keys_with(api_keys::Config::default(), &masters, None)
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.accounts.sessions()
    }

    pub(crate) async fn login(&self) -> SignedIn {
        self.login_from(&Client::default()).await
    }

    pub(crate) async fn login_from(&self, client: &Client) -> SignedIn {
        self.accounts
            .login(EMAIL, &secret(PASSWORD), client)
            .await
            .unwrap()
    }

    /// Reads the news of revocations.
    pub(crate) async fn news(&self) {
        let sessions = self.sessions();
        let apply = |revocation| sessions.revoked(revocation);
        self.feed.poll(self.clock.now(), &apply).await.unwrap();
    }

    /// As the pipeline does: memory first, then the database.
    pub(crate) async fn is_live(&self, signed_in: &SignedIn) -> bool {
        let hash = signed_in.session.token.hash();
        match self.sessions().lookup(&hash) {
            Lookup::Live(_) => true,
            Lookup::Dead => false,
            Lookup::Unknown | Lookup::Stale => self.sessions().load(&hash).await.unwrap().is_some(),
        }
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        let row = self.db.fetch_optional(sql, &[]).await.unwrap().unwrap();
        row.int("n").unwrap()
    }
}
