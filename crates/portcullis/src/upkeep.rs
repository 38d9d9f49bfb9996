//! What runs beside the requests: the revocation feed, the writing of activity, the cleaning up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use portcullis_core::roles::Roles;
use portcullis_core::{Clock, Mode, Span, Timestamp};
use portcullis_events::audit::anchor::Anchor;
use portcullis_events::metrics::{Dependency, Traffic};
use portcullis_events::places::Places;
use portcullis_events::{
    Alerts, Anomalies, Incidents, Scans, SecretStore, Trail, UploadStore, Webhooks, alerts,
    anomalies, audit, secret_store, upload_store, webhooks,
};
use portcullis_identity::accounts::{self, Accounts};
use portcullis_identity::addresses::{Addresses, Form};
use portcullis_identity::backoff::Backoff;
use portcullis_identity::factors::{Factors, Relying};
use portcullis_identity::password_policy::PasswordPolicy;
use portcullis_identity::recovery::{Postman, Recovery};
use portcullis_identity::tenants::Directory;
use portcullis_identity::{
    ApiKeys, Bearers, Consents, Holders, Issuers, OpenidLogin, Outbox, Privacy, Record, Sessions,
    SigningKeys, Tenants, Tokens, Visitors, api_keys, bearers, consents, privacy, tokens, visitors,
};
use portcullis_store::Db;
use portcullis_store::revocations::{Feed, POLL_EVERY, Revocation};
use portcullis_vault::keys::Keys;
use portcullis_vault::passwords::Passwords;
use portcullis_vault::{Fields, KeyRing};

use tokio::time::MissedTickBehavior;

use crate::config::{self, Loaded, mail};
use crate::gate::Gate;
use crate::memory;
use crate::own::{AUTH, OPENID};
use crate::snapshot::{is_secure, roles_with_second_factor};
use crate::uploads::stored::Again;
use crate::vault_api::Vault;

/// Activity is written and what has ended is dropped this often.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// How long an event waits for a signed head of the audit log, about.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// How long personal parts of the trail wait after they could not be sealed.
const SEAL_AGAIN: Span = Span::from_seconds(10);

/// The slice that knows accounts and sessions, put together.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) keys: ApiKeys,
    pub(crate) bearers: Bearers,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) tenants: Tenants,
    pub(crate) visitors: Visitors,
    pub(crate) openid: OpenidLogin,
    pub(crate) webhooks: Webhooks,
    pub(crate) vault: Vault,
    pub(crate) secret_store: SecretStore,
    pub(crate) upload_store: UploadStore,
    pub(crate) audit_log: audit::Log,
    pub(crate) anomalies: Anomalies,
    pub(crate) privacy: Privacy,
    pub(crate) consents: Consents,
    pub(crate) traffic: Traffic,
    pub(crate) scans: Scans,
    feed: Arc<Feed>,
}

impl Identity {
    /// Incidents, and what is done about them.
    pub(crate) fn incidents(&self) -> Incidents {
        let SigningKeys {
            db, trail, clock, ..
        } = &self.signing_keys;
        Incidents::new(db.clone(), trail.clone(), Arc::clone(clock))
    }
}

/// Puts the identity slice together.
#[expect(clippy::too_many_lines, reason = "a few lines for each slice")]
pub(crate) async fn identity(
    loaded: &Loaded,
    db: &Db,
    keys: &Keys,
    trail: &Trail,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Identity> {
    let config = &loaded.config;
    let vault =
        Vault::new(loaded, keys, db, trail, clock).map_err(|findings| anyhow!("{findings:?}"))?;
    let feed = Arc::new(Feed::open(db.clone(), clock.now()).await?);
    let sessions = sessions(loaded, db, &feed, &vault).await?;
    let api_keys = ApiKeys::new(
        api_keys::Parts {
            db: db.clone(),
            feed: Arc::clone(&feed),
            clock: Arc::clone(clock),
            trail: trail.clone(),
            addresses: sessions.addresses().clone(),
            config: config.api_keys.clone(),
            imported: loaded.secrets.imported_api_keys.clone(),
        },
        keys,
    )?;
    if let Ok(roles) = Roles::compile(&config.access.roles()) {
        sessions.policy().set(Arc::new(roles));
    }
    let holders = Arc::new(Holders::telling(api_keys.clone()));
    let directory = Directory::new(db.clone(), Arc::clone(&feed), Arc::clone(clock));
    let tenants = Tenants::new(
        db.clone(),
        Arc::clone(clock),
        trail.clone(),
        sessions.clone(),
        Arc::clone(&holders),
        Arc::new(directory),
    );
    let record = Record::new(trail.clone());
    let ring = KeyRing::open(db.clone(), keys.clone(), clock.now()).await?;
    let signing_keys = SigningKeys {
        db: db.clone(),
        ring: Arc::new(ring),
        trail: trail.clone(),
        clock: Arc::clone(clock),
    };
    let outbox = Outbox::new(db.clone(), Arc::clone(clock), &vault.fields, keys)?;
    let recovery = Recovery::new(outbox, keys, config.recovery.clone(), config.mail.is_on())?;
    // One for all: the database is read once.
    let places = Places::named(&config.places, &loaded.folder);
    let accounts = Accounts::new(accounts::Parts {
        db: db.clone(),
        clock: Arc::clone(clock),
        passwords: Passwords::start(config.passwords.hash_threads, config.passwords.hash_queue)?,
        policy: PasswordPolicy::new(&config.passwords),
        sessions: sessions.clone(),
        backoff: Backoff::new(keys)?,
        record: record.clone(),
        holders: Arc::clone(&holders),
        recovery,
        factors: factors(config, &vault.fields, keys)?,
        config: config.accounts.clone(),
        places: places.clone(),
        evenly: accounts::Evenly::default(),
    });
    let visitors = Visitors::new(visitors::Parts {
        db: db.clone(),
        feed: Arc::clone(&feed),
        clock: Arc::clone(clock),
        trail: trail.clone(),
        config: config.visitors.clone(),
        mode: config.mode,
    });
    let bearers = bearers(
        loaded,
        keys,
        record,
        &sessions,
        &signing_keys,
        &feed,
        holders,
    )?;
    let openid = OpenidLogin::new(
        accounts.clone(),
        bearers.issuers().clone(),
        keys,
        config.accounts.origin.as_deref(),
        OPENID.to_owned(),
    )?;
    let webhooks = webhooks(&signing_keys, &vault.fields, keys)?;
    let audit_log = audit_log(loaded, keys, &signing_keys, &vault.fields);
    let upload_store = upload_store(loaded, &signing_keys, &vault);
    let slices = Slices {
        accounts: accounts.clone(),
        audit_log: audit_log.clone(),
        upload_store: upload_store.clone(),
        webhooks: webhooks.clone(),
    };
    let privacy = privacy(loaded, slices, (db, &vault), keys);
    Ok(Identity {
        secret_store: secret_store(loaded, db, &vault, &webhooks)?,
        upload_store,
        privacy,
        consents: consents(loaded, db, &vault, &feed),
        anomalies: anomalies(loaded, &signing_keys, &audit_log, places)?,
        scans: scans(loaded, &signing_keys),
        traffic: Traffic::new(db.clone(), Arc::clone(clock), trail.clone()),
        audit_log,
        accounts,
        sessions,
        keys: api_keys,
        bearers,
        signing_keys,
        tenants,
        visitors,
        openid,
        webhooks,
        vault,
        feed,
    })
}

/// What the team's scanners found.
fn scans(loaded: &Loaded, signing_keys: &SigningKeys) -> Scans {
    let SigningKeys {
        db, trail, clock, ..
    } = signing_keys;
    Scans::new(
        db.clone(),
        trail.clone(),
        Arc::clone(clock),
        &loaded.config.scans,
    )
}

/// Who has something of persons.
struct Slices {
    accounts: Accounts,
    audit_log: audit::Log,
    upload_store: UploadStore,
    webhooks: Webhooks,
}

/// The rights of persons.
fn privacy(loaded: &Loaded, slices: Slices, (db, vault): (&Db, &Vault), keys: &Keys) -> Privacy {
    let (trail, clock) = (vault.trail.clone(), Arc::clone(&vault.clock));
    let Slices {
        accounts,
        audit_log,
        upload_store,
        webhooks,
    } = slices;
    Privacy::new(privacy::Parts {
        webhooks,
        incidents: Incidents::new(db.clone(), trail, clock),
        db: db.clone(),
        clock: Arc::clone(&vault.clock),
        trail: vault.trail.clone(),
        accounts,
        audit_log,
        upload_store,
        fields: vault.fields.clone(),
        keys: keys.clone(),
        retention: loaded.config.retention.clone(),
    })
}

/// The ledger of what people agreed to.
fn consents(loaded: &Loaded, db: &Db, vault: &Vault, feed: &Arc<Feed>) -> Consents {
    let clock = Arc::clone(&vault.clock);
    let agreed = consents::Agreed::new(db.clone(), Arc::clone(feed), clock);
    Consents::new(consents::Parts {
        db: db.clone(),
        clock: Arc::clone(&vault.clock),
        trail: vault.trail.clone(),
        purposes: loaded.config.purposes.clone(),
        agreed: Arc::new(agreed),
    })
}

/// The trail as one log that others can verify.
fn audit_log(
    loaded: &Loaded,
    keys: &Keys,
    signing_keys: &SigningKeys,
    fields: &Fields,
) -> audit::Log {
    // What is wrong with one kept the gate from starting.
    let witnesses = audit::Witnesses::compile(&loaded.config.audit).unwrap_or_default();
    audit::Log::new(audit::Parts {
        db: signing_keys.db.clone(),
        keys: keys.clone(),
        fields: fields.clone(),
        clock: Arc::clone(&signing_keys.clock),
        trail: signing_keys.trail.clone(),
        witnesses: Arc::new(witnesses),
    })
}

/// Sessions, and how addresses are kept beside them.
async fn sessions(
    loaded: &Loaded,
    db: &Db,
    feed: &Arc<Feed>,
    vault: &Vault,
) -> anyhow::Result<Sessions> {
    let config = &loaded.config;
    let said = |findings: Vec<portcullis_identity::Finding>| anyhow!("{findings:?}");
    let settings = config.sessions.compile(is_secure(config)).map_err(said)?;
    let form = if config.accounts.seal_addresses {
        Form::Sealed
    } else {
        Form::Clear
    };
    let addresses = Addresses::open(db.clone(), &vault.fields, form).await?;
    let clock = Arc::clone(&vault.clock);
    let (db, feed) = (db.clone(), Arc::clone(feed));
    Ok(Sessions::new(db, feed, settings, clock, addresses))
}

/// What others tell the product, and what the gate does.
fn webhooks(signing_keys: &SigningKeys, fields: &Fields, keys: &Keys) -> anyhow::Result<Webhooks> {
    let parts = webhooks::Parts {
        db: signing_keys.db.clone(),
        clock: Arc::clone(&signing_keys.clock),
        trail: signing_keys.trail.clone(),
        ring: Arc::clone(&signing_keys.ring),
        fields: fields.clone(),
    };
    Ok(Webhooks::new(parts, keys)?)
}

/// The product's named secrets.
fn secret_store(
    loaded: &Loaded,
    db: &Db,
    vault: &Vault,
    webhooks: &Webhooks,
) -> anyhow::Result<SecretStore> {
    let config = &loaded.config;
    let remote = config::remote_secrets::compile(config, &loaded.secrets, &vault.clock);
    Ok(SecretStore::new(secret_store::Parts {
        db: db.clone(),
        fields: vault.fields.clone(),
        clock: Arc::clone(&vault.clock),
        trail: vault.trail.clone(),
        webhooks: webhooks.clone(),
        config: config.secret_store.clone().unwrap_or_default(),
        remote: remote.map_err(|findings| anyhow!("{findings:?}"))?,
    }))
}

/// What looks at the trail, and who is told.
fn anomalies(
    loaded: &Loaded,
    signing_keys: &SigningKeys,
    log: &audit::Log,
    places: Places,
) -> anyhow::Result<Anomalies> {
    let config = &loaded.config;
    let SigningKeys {
        db, trail, clock, ..
    } = signing_keys;
    let destinations = crate::alerts::compile(config, loaded);
    let alerts = Alerts::new(alerts::Parts {
        db: db.clone(),
        clock: Arc::clone(clock),
        trail: trail.clone(),
        destinations: destinations.map_err(|findings| anyhow!("{findings:?}"))?,
        mailer: mail::compile(config, loaded, &mut Vec::new()).map(Arc::new),
    });
    Ok(Anomalies::new(anomalies::Parts {
        db: db.clone(),
        log: log.clone(),
        clock: Arc::clone(clock),
        trail: trail.clone(),
        alerts,
        config: anomalies::Config {
            places,
            ..config.anomalies.clone()
        },
    }))
}

/// Files of users that the gate keeps.
fn upload_store(loaded: &Loaded, signing_keys: &SigningKeys, vault: &Vault) -> UploadStore {
    let config = &loaded.config;
    let store = UploadStore::new(upload_store::Parts {
        db: signing_keys.db.clone(),
        fields: vault.fields.clone(),
        clock: Arc::clone(&vault.clock),
        trail: vault.trail.clone(),
        ring: Arc::clone(&signing_keys.ring),
        config: config.upload_store.clone().unwrap_or_default(),
        base: loaded.folder.clone().into(),
    });
    let uploads = Arc::new(config.uploads.start(&loaded.folder));
    store.scan_with(Box::new(Again(uploads)));
    store
}

/// Second factors, with passkeys where people reach the gate at a domain.
fn factors(config: &config::Config, fields: &Fields, keys: &Keys) -> anyhow::Result<Factors> {
    let origin = config.accounts.origin.as_deref();
    let factors = Factors::new(fields, keys, &config.mfa, origin)?;
    let is_production = config.mode == Mode::Production;
    let relying = Relying::new(&config.passkeys, origin, is_production, factors.issuer())?;
    if relying.is_none() {
        tracing::info!(
            "there are no passkeys: `accounts.origin` names no domain, or the program was built without them"
        );
    }
    Ok(factors
        .with_passkeys(relying)
        .required_of(roles_with_second_factor(config)))
}

/// What judges bearer tokens.
fn bearers(
    loaded: &Loaded,
    keys: &Keys,
    record: Record,
    sessions: &Sessions,
    signing_keys: &SigningKeys,
    feed: &Arc<Feed>,
    holders: Arc<Holders>,
) -> anyhow::Result<Bearers> {
    let compiled = config::bearers::compile(&loaded.config, &loaded.secrets)
        .map_err(|findings| anyhow!("{findings:?}"))?;
    let (db, clock) = (&signing_keys.db, &signing_keys.clock);
    let issuers = Issuers::new(
        compiled.issuers,
        db.clone(),
        Arc::clone(clock),
        record.clone(),
        Arc::clone(&holders),
        sessions,
    );
    let tokens = compiled.tokens.map(|settings| {
        let parts = tokens::Parts {
            db: db.clone(),
            clock: Arc::clone(clock),
            ring: Arc::clone(&signing_keys.ring),
            settings,
            record,
            sessions: sessions.clone(),
            holders: Arc::clone(&holders),
        };
        Tokens::new(parts, keys)
    });
    Ok(Bearers::new(bearers::Parts {
        tokens: tokens.transpose()?,
        ring: Arc::clone(&signing_keys.ring),
        issuers,
        holders,
        feed: Arc::clone(feed),
        clock: Arc::clone(clock),
    }))
}

/// Starts the tasks that keep memory true.
pub(crate) fn start(gate: &Arc<Gate>, identity: &Identity, loaded: &Loaded) {
    follow_revocations(
        gate,
        Arc::clone(&identity.feed),
        identity.vault.fields.clone(),
    );
    memory::start(&gate.back);
    keep_log(gate, &identity.audit_log, loaded);
    let (gate, identity) = (Arc::clone(gate), identity.clone());
    gate.back.clone().spawn(async move {
        let mut ticks = tokio::time::interval(HOUSEKEEPING);
        let incidents = identity.incidents();
        loop {
            ticks.tick().await;
            if let Err(error) = identity.accounts.keep_house().await {
                tracing::warn!(%error, "ended sessions and old attempts could not be cleaned up");
            }
            if let Err(error) = identity.keys.flush().await {
                tracing::warn!(%error, "the last use of API keys could not be written");
            }
            if let Err(error) = identity.visitors.keep_house().await {
                tracing::warn!(%error, "visits that are over could not be cleaned up");
            }
            if let Err(error) = identity.webhooks.keep_house().await {
                tracing::warn!(%error, "old messages of webhooks could not be cleaned up");
            }
            if let Err(error) = identity.secret_store.keep_house().await {
                tracing::warn!(%error, "the secrets of the store could not be looked after");
            }
            if let Some(store) = &gate.upload_store
                && let Err(error) = store.keep_house().await
            {
                tracing::warn!(%error, "the stored uploads could not be looked after");
            }
            if let Err(error) = identity.privacy.keep_house().await {
                tracing::warn!(%error, "erasures and rows past their retention could not be looked after");
            }
            if let Err(error) = identity.scans.keep_house().await {
                tracing::warn!(%error, "the wanted scans could not be looked at");
            }
            if let Err(error) = incidents.keep_house().await {
                tracing::warn!(%error, "how fast incidents are answered could not be looked at");
            }
            if let Err(error) = identity.traffic.keep().await {
                tracing::warn!(%error, "requests by the hour could not be written");
            }
            keep_bearers(&identity).await;
            gate.streams.forget_ended();
            gate.probe.readiness().await;
        }
    });
}

/// Gives what was recorded its place in the signed log. Every node tries: one of them does it.
fn keep_log(gate: &Gate, log: &audit::Log, loaded: &Loaded) {
    let (keeping, clock) = (log.clone(), Arc::clone(&gate.clock));
    gate.back.spawn(async move {
        let mut ticks = tokio::time::interval(SIGN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seals_from = clock.now();
        loop {
            ticks.tick().await;
            if let Err(error) = keeping.sequence().await {
                tracing::warn!(%error, "the log of the audit trail could not be brought up to date");
            }
            // A service that is away has others who ask it: sealing waits, and nothing waits for it.
            if clock.now() >= seals_from
                && let Err(error) = keeping.seal().await
            {
                seals_from = clock.now() + SEAL_AGAIN;
                tracing::warn!(%error, "personal parts of the audit trail could not be sealed");
            }
        }
    });
    gate.back.spawn(log.clone().ask_witnesses());
    let config = &loaded.config.audit;
    let (keep, every) = (config.keep, config.anchor_every);
    let mut anchors: Vec<(Anchor, Option<Timestamp>)> = config::anchors::all(loaded, &gate.clock)
        .into_iter()
        .map(|anchor| (anchor, None))
        .collect();
    let (log, clock) = (log.clone(), Arc::clone(&gate.clock));
    gate.back.spawn(async move {
        let mut ticks = tokio::time::interval(HOUSEKEEPING);
        loop {
            ticks.tick().await;
            if let Some(keep) = keep
                && let Err(error) = log.retain(keep).await
            {
                tracing::warn!(%error, "audit events past `audit.keep` could not be removed");
            }
            if let Err(error) = log.forget_hours().await {
                tracing::warn!(%error, "old counts of the audit trail could not be removed");
            }
            for (anchor, anchored_at) in &mut anchors {
                if anchored_at.is_some_and(|at| clock.now().since(at) < every) {
                    continue;
                }
                // What failed is tried again in a minute.
                match log.anchor(anchor).await {
                    Ok(_) => *anchored_at = Some(clock.now()),
                    Err(error) => {
                        tracing::error!(%error, "the audit log's checkpoint could not be kept outside");
                    }
                }
            }
        }
    });
}

/// What tokens need now and then: the next signing key, the keys of other issuers, less in the
/// tables.
async fn keep_bearers(identity: &Identity) {
    let every = identity.bearers.tokens().map_or(
        tokens::Config::default().rotate_signing_keys_every,
        |tokens| tokens.settings().rotate_signing_keys_every,
    );
    if let Err(error) = identity.signing_keys.keep(every).await {
        tracing::warn!(%error, "the signing keys could not be looked after");
    }
    identity.bearers.issuers().keep().await;
    if let Err(error) = identity.bearers.keep_house().await {
        tracing::warn!(%error, "ended token families could not be cleaned up");
    }
}

/// Sends the letters that acts leave behind, where there is somebody to hand them to.
pub(crate) fn send_letters(gate: &Gate, identity: &Identity, loaded: &Loaded) {
    let mut findings = Vec::new();
    let Some(mailer) = mail::compile(&loaded.config, loaded, &mut findings) else {
        return;
    };
    let postman = Postman {
        accounts: identity.accounts.clone(),
        mailer: Arc::new(mailer),
        origin: loaded
            .config
            .accounts
            .origin
            .as_deref()
            .unwrap_or_default()
            .into(),
        mount: AUTH,
    };
    gate.back.spawn(postman.run());
}

/// Takes the files of the store of secrets, and follows them from then on; carries secrets to where they are
/// to be carried.
pub(crate) async fn follow_secret_files(
    gate: &Gate,
    identity: &Identity,
    loaded: &Loaded,
) -> anyhow::Result<()> {
    let store = loaded.config.secret_store.as_ref();
    if let Some(folder) = store.and_then(|store| store.files.as_deref()) {
        let store = identity.secret_store.clone();
        let taken = store.take_files(&loaded.path(folder)).await;
        let followed = taken.context("`secret-store.files` cannot be taken")?;
        gate.back.spawn(store.follow_files(followed));
    }
    if store.is_some_and(|store| store.remote.is_some()) {
        gate.back.spawn(identity.secret_store.clone().carry());
    }
    Ok(())
}

/// Reads what open incidents ask of this node, where something was heard of them.
async fn follow_incidents(gate: &Gate) {
    match gate.alarm.settle().await {
        Ok(false) => {}
        // What was frozen may be open as a stream: whoever still may will connect again.
        Ok(true) => gate.streams.revoked(Revocation::Everything),
        Err(error) => tracing::warn!(%error, "what is frozen could not be read again"),
    }
}

/// Hears what was revoked, on this node or any other, and forgets it.
fn follow_revocations(gate: &Arc<Gate>, feed: Arc<Feed>, fields: Fields) {
    let gate = Arc::clone(gate);
    gate.back.clone().spawn(async move {
        let mut ticks = tokio::time::interval(POLL_EVERY);
        let mut heard_at = gate.clock.now();
        loop {
            ticks.tick().await;
            let began = gate.clock.now();
            gate.streams.cut_ended(began);
            let apply = |revocation| {
                gate.sessions.revoked(revocation);
                gate.keys.revoked(revocation);
                gate.bearers.revoked(revocation);
                gate.visitors.revoked(revocation);
                gate.directory.revoked(revocation);
                gate.agreed.revoked(revocation);
                gate.streams.revoked(revocation);
                gate.alarm.revoked(revocation);
                if matches!(revocation, Revocation::DataKeys | Revocation::Everything) {
                    fields.forget();
                }
            };
            match feed.poll(began, &apply).await {
                Ok(_) => {
                    heard_at = began;
                    // A key may have come, or gone: this node signs by what the others know.
                    if let Err(error) = gate.ring.settle().await {
                        tracing::warn!(%error, "the signing keys could not be read again");
                    }
                    follow_incidents(&gate).await;
                }
                Err(error) => {
                    gate.metrics.dependency(Dependency::Database, false);
                    tracing::warn!(%error, "no news of revocations: sessions are looked up one by one");
                }
            }
            gate.metrics.feed_age(gate.clock.now().since(heard_at));
        }
    });
}
