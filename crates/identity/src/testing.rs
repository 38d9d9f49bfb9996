//! A house for tests: a database of its own, a clock that stands still, and one account.

use std::num::NonZero;
use std::sync::Arc;

use portcullis_core::time::ManualClock;
use portcullis_core::{Clock, Secret, Span, Timestamp, UserId};
use portcullis_events::{Incidents, Metrics, Trail, UploadStore, Webhooks, upload_store, webhooks};
use portcullis_store::Db;
use portcullis_store::revocations::Feed;
use portcullis_vault::{Fields, Keks, KeyRing, Keys, Passwords, kek};
use tempfile::TempDir;

use crate::accounts::{self, Accounts, By, Parts, Registering, Registration, SignedIn};
use crate::addresses::{Addresses, Form};
use crate::backoff::Backoff;
use crate::bearers::{self, Bearers};
use crate::factors::{self, Factors};
use crate::holders::Holders;
use crate::issuers::{self, Issuers};
use crate::password_policy::{self, PasswordPolicy};
use crate::record::Record;
use crate::recovery::{self, Recovery};
use crate::sessions::{self, Sessions};
use crate::tenants::{Directory, Tenants};
use crate::tokens::{self, Tokens};
use crate::{
    ApiKeys, Client, Consents, Lookup, OpenidLogin, Outbox, Privacy, api_keys, consents, privacy,
};

pub(crate) const EMAIL: &str = "ada@example.org";
pub(crate) const PASSWORD: &str = "a quiet harbour at dawn";

pub(crate) struct House {
    pub(crate) db: Db,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) accounts: Accounts,
    pub(crate) feed: Arc<Feed>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) bearers: Bearers,
    pub(crate) user: UserId,
    pub(crate) folder: TempDir,
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

pub(crate) fn backoff() -> Backoff {
    Backoff::new(&keys()).unwrap()
}

pub(crate) fn keys() -> Keys {
    Keys::new(secret("master secret of the tests"), vec![])
}

/// A vault under this master secret.
pub(crate) fn fields(db: &Db, clock: &Arc<dyn Clock>, keys: &Keys) -> Fields {
    let settings = kek::Settings::of(kek::KekKind::Master);
    let under = Keks::new(&settings, &[], keys, clock).unwrap();
    let (config, remember_for) = (
        portcullis_vault::fields::Config::default(),
        Span::from_minutes(15),
    );
    Fields::new(db.clone(), under, Arc::clone(clock), &config, remember_for)
}

fn recovery(db: &Db, clock: &Arc<dyn Clock>) -> Recovery {
    let keys = keys();
    let fields = fields(db, clock, &keys);
    let outbox = Outbox::new(db.clone(), Arc::clone(clock), &fields, &keys).unwrap();
    Recovery::new(outbox, &keys, recovery::Config::default(), true).unwrap()
}

/// A node over the database in `folder`.
pub(crate) async fn node(folder: &TempDir, clock: &Arc<ManualClock>) -> (Db, Accounts, Arc<Feed>) {
    node_with(folder, clock, Form::Clear).await
}

/// The same, with addresses in this form.
pub(crate) async fn node_with(
    folder: &TempDir,
    clock: &Arc<ManualClock>,
    form: Form,
) -> (Db, Accounts, Arc<Feed>) {
    let holders = Arc::<Holders>::default();
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
    let vault = fields(&db, &clock, &keys());
    let addresses = Addresses::open(db.clone(), &vault, form).await.unwrap();
    let sessions = Sessions::new(
        db.clone(),
        Arc::clone(&feed),
        settings,
        Arc::clone(&clock),
        addresses,
    );
    let trail = Trail::start(
        db.clone(),
        Arc::clone(&clock),
        Metrics::new(),
        &portcullis_events::audit::Config::default(),
    );
    let accounts = Accounts::new(Parts {
        db: db.clone(),
        clock: Arc::clone(&clock),
        passwords: Passwords::start(NonZero::new(2).unwrap(), 256).unwrap(),
        policy: PasswordPolicy::new(&password_policy::Config::default()),
        sessions,
        backoff: backoff(),
        record: Record::new(trail),
        holders,
        recovery: recovery(&db, &clock),
        factors: Factors::new(
            &fields(&db, &clock, &keys()),
            &keys(),
            &factors::Config::default(),
            None,
        )
        .unwrap(),
        config: accounts::Config {
            registration: Registration::Open,
            registration_roles: vec!["member".to_owned()],
            seal_addresses: form == Form::Sealed,
            origin: None,
        },
        places: portcullis_events::places::Places::default(),
        evenly: accounts::Evenly::default(),
    });
    (db, accounts, feed)
}

/// What judges bearer tokens on a node.
pub(crate) async fn bearers(
    db: &Db,
    clock: &Arc<ManualClock>,
    accounts: &Accounts,
    feed: &Arc<Feed>,
) -> (Arc<KeyRing>, Bearers) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let keys = Keys::new(secret("master secret of the tests"), vec![]);
    let ring = KeyRing::open(db.clone(), keys.clone(), clock.now()).await;
    let ring = Arc::new(ring.unwrap());
    let config = tokens::Config {
        max_per_user: 3,
        ..tokens::Config::default()
    };
    let holders = Arc::clone(accounts.holders());
    let parts = tokens::Parts {
        db: db.clone(),
        clock: Arc::clone(&clock),
        ring: Arc::clone(&ring),
        settings: config.compile(&tokens::Secrets::default()).unwrap(),
        record: accounts.record().clone(),
        sessions: accounts.sessions().clone(),
        holders: Arc::clone(&holders),
    };
    let bearers = Bearers::new(bearers::Parts {
        tokens: Some(Tokens::new(parts, &keys).unwrap()),
        ring: Arc::clone(&ring),
        issuers: Issuers::new(
            issuers::All::default(),
            db.clone(),
            Arc::clone(&clock),
            accounts.record().clone(),
            Arc::clone(&holders),
            accounts.sessions(),
        ),
        holders,
        feed: Arc::clone(feed),
        clock,
    });
    (ring, bearers)
}

impl House {
    pub(crate) fn openid(&self) -> OpenidLogin {
        let (accounts, issuers) = (self.accounts.clone(), self.bearers.issuers().clone());
        OpenidLogin::new(accounts, issuers, &keys(), None, String::new()).unwrap()
    }

    pub(crate) fn consents(&self) -> Consents {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let config = portcullis_events::audit::Config::default();
        let (db, feed) = (self.db.clone(), Arc::clone(&self.feed));
        let agreed = consents::Agreed::new(db, feed, Arc::clone(&clock));
        Consents::new(consents::Parts {
            agreed: Arc::new(agreed),
            db: self.db.clone(),
            clock: Arc::clone(&clock),
            trail: Trail::start(self.db.clone(), clock, Metrics::new(), &config),
            purposes: Vec::new(),
        })
    }

    pub(crate) fn privacy(&self) -> Privacy {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let fields = fields(&self.db, &clock, &keys());
        let trail = Trail::start(
            self.db.clone(),
            Arc::clone(&clock),
            Metrics::new(),
            &portcullis_events::audit::Config::default(),
        );
        let audit_log = portcullis_events::audit::Log::new(portcullis_events::audit::Parts {
            db: self.db.clone(),
            keys: keys(),
            fields: fields.clone(),
            clock: Arc::clone(&clock),
            trail: trail.clone(),
            witnesses: Arc::default(),
        });
        let upload_store = UploadStore::new(upload_store::Parts {
            db: self.db.clone(),
            fields: fields.clone(),
            clock: Arc::clone(&clock),
            trail: trail.clone(),
            ring: Arc::clone(&self.ring),
            config: upload_store::Config::default(),
            base: self.folder.path().into(),
        });
        let webhooks = Webhooks::new(
            webhooks::Parts {
                db: self.db.clone(),
                clock: Arc::clone(&clock),
                trail: trail.clone(),
                ring: Arc::clone(&self.ring),
                fields: fields.clone(),
            },
            &keys(),
        );
        Privacy::new(privacy::Parts {
            webhooks: webhooks.unwrap(),
            incidents: Incidents::new(self.db.clone(), trail.clone(), Arc::clone(&clock)),
            db: self.db.clone(),
            clock,
            trail,
            accounts: self.accounts.clone(),
            audit_log,
            upload_store,
            fields,
            keys: keys(),
            retention: privacy::config::Retention::default(),
        })
    }

    pub(crate) async fn build() -> House {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_800_000_000)));
        let (db, accounts, feed) = node(&folder, &clock).await;
        let (ring, bearers) = bearers(&db, &clock, &accounts, &feed).await;
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
            ring,
            bearers,
            user,
            folder,
        }
    }

    /// One more account, without roles.
    pub(crate) async fn open(&self, new: &Registering<'_>) -> UserId {
        let by = crate::accounts::By::operator();
        self.accounts.create(new, &[], None, &by).await.unwrap().id
    }

    pub(crate) async fn deactivate(&self, user: UserId) {
        let by = crate::accounts::By::operator();
        self.accounts.deactivate(user, &by).await.unwrap();
    }

    pub(crate) fn tenants(&self) -> Tenants {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let trail = Trail::start(
            self.db.clone(),
            Arc::clone(&clock),
            Metrics::new(),
            &portcullis_events::audit::Config::default(),
        );
        let directory = Directory::new(self.db.clone(), self.feed.clone(), Arc::clone(&clock));
        Tenants::new(
            self.db.clone(),
            clock,
            trail,
            self.sessions().clone(),
            Arc::clone(self.accounts.holders()),
            Arc::new(directory),
        )
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
            addresses: self.accounts.addresses().clone(),
            config,
            imported: imported.map(secret),
        };
        ApiKeys::new(parts, masters).unwrap()
    }

    pub(crate) fn keys(&self) -> ApiKeys {
        let masters = Keys::new(secret("master secret of the tests"), vec![]);
        self.keys_with(api_keys::Config::default(), &masters, None)
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.accounts.parts().recovery.outbox
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
        let apply = |revocation| {
            sessions.revoked(revocation);
            self.bearers.revoked(revocation);
        };
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
