//! One event, and the words it is made of. The words are stable once published.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use portcullis_core::id::EventId;
use portcullis_core::{
    ApiKeyId, Principal, RequestId, SessionId, TenantId, Timestamp, UserId, VisitorId,
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Personal;
use crate::redact;

/// Who acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A client that proved nothing.
    Anonymous,
    User(UserId),
    ApiKey(ApiKeyId),
    Visitor(VisitorId),
    /// The gate itself.
    System,
    /// Whoever runs the command line or owns the configuration file.
    Operator,
}

impl Actor {
    /// The stable word for the kind of actor.
    pub const fn kind(self) -> &'static str {
        match self {
            Actor::Anonymous => "anonymous",
            Actor::User(_) => "user",
            Actor::ApiKey(_) => "api-key",
            Actor::Visitor(_) => "visitor",
            Actor::System => "system",
            Actor::Operator => "operator",
        }
    }

    /// `kind:id`, or the kind where that has no id: as a column keeps it.
    pub fn written(self) -> String {
        match self.id() {
            Some(id) => format!("{}:{id}", self.kind()),
            None => self.kind().to_owned(),
        }
    }

    /// Which one of its kind, where there are several.
    pub const fn id(self) -> Option<Uuid> {
        match self {
            Actor::User(id) => Some(id.as_uuid()),
            Actor::ApiKey(id) => Some(id.as_uuid()),
            Actor::Visitor(id) => Some(id.as_uuid()),
            Actor::Anonymous | Actor::System | Actor::Operator => None,
        }
    }
}

/// The id, or the kind where that has none.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::User(id) => id.fmt(f),
            Actor::ApiKey(id) => id.fmt(f),
            Actor::Visitor(id) => id.fmt(f),
            Actor::Anonymous | Actor::System | Actor::Operator => f.pad(self.kind()),
        }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Anonymous => Actor::Anonymous,
            Principal::User(user) => Actor::User(user.id),
            Principal::ApiKey(key) => Actor::ApiKey(key.id),
            Principal::Visitor(visitor) => Actor::Visitor(visitor.id),
        }
    }
}

macro_rules! actions {
    ($($name:ident = $word:literal, $repeats:ident;)*) => {
        /// What was done. The dotted names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $($name),* }

        impl Action {
            pub const ALL: &'static [Action] = &[$(Action::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$name => $word),* }
            }

            pub(crate) const fn repeats(self) -> Repeats {
                match self { $(Action::$name => Repeats::$repeats),* }
            }
        }
    };
}

/// What happens to the same event, from the same client, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// Each one is recorded.
    Kept,
    /// The first at once, then one per second with the number of those it stands for.
    Folded,
}

actions! {
    LoginSucceeded = "login.succeeded", Kept;
    LoginFailed = "login.failed", Kept;
    LoginThrottled = "login.throttled", Folded;
    Logout = "logout", Kept;
    SessionCreated = "session.created", Kept;
    SessionRevoked = "session.revoked", Kept;
    SessionOtherClient = "session.other-client", Folded;
    UserProvisioned = "user.provisioned", Kept;
    TokensIssued = "tokens.issued", Kept;
    RefreshTokenReused = "refresh-token.reused", Kept;
    SigningKeyRotated = "signing-key.rotated", Kept;
    SigningKeyRevoked = "signing-key.revoked", Kept;
    DataKeysRotated = "data-keys.rotated", Kept;
    DataKeysDestroyed = "data-keys.destroyed", Kept;
    FieldsOpened = "fields.opened", Kept;
    SecretWritten = "secret.written", Kept;
    SecretRotated = "secret.rotated", Kept;
    SecretRead = "secret.read", Kept;
    SecretPreviousEnded = "secret.previous-ended", Kept;
    SecretRemoved = "secret.removed", Kept;
    SecretOverdue = "secret.overdue", Kept;
    SecretReplacement = "secret.replacement", Kept;
    SecretCarried = "secret.carried", Kept;
    SecretCarryFailed = "secret.carry-failed", Kept;
    SecretDrifted = "secret.drifted", Kept;
    SecretPushed = "secret.pushed", Kept;
    FieldsImported = "fields.imported", Kept;
    PasswordChanged = "password.changed", Kept;
    RegistrationAsked = "registration.asked", Kept;
    PasswordResetAsked = "password-reset.asked", Kept;
    PasswordReset = "password.reset", Kept;
    EmailVerificationAsked = "email-verification.asked", Kept;
    SecondFactorAsked = "second-factor.asked", Kept;
    SecondFactorProved = "second-factor.proved", Kept;
    FactorAdded = "factor.added", Kept;
    FactorRemoved = "factor.removed", Kept;
    FactorRefused = "factor.refused", Kept;
    FactorThrottled = "factor.throttled", Folded;
    PasskeyCloned = "passkey.cloned", Kept;
    FactorsReset = "factors.reset", Kept;
    RecoveryCodesMade = "recovery-codes.made", Kept;
    RecoveryCodeUsed = "recovery-code.used", Kept;
    EmailVerified = "email.verified", Kept;
    RecoveryThrottled = "recovery.throttled", Folded;
    PasswordRehashed = "password.rehashed", Kept;
    UserRegistered = "user.registered", Kept;
    UserCreated = "user.created", Kept;
    UserUpdated = "user.updated", Kept;
    UserDeactivated = "user.deactivated", Kept;
    UserReactivated = "user.reactivated", Kept;
    RoleGranted = "role.granted", Kept;
    RoleRevoked = "role.revoked", Kept;
    ApiKeyCreated = "api-key.created", Kept;
    ApiKeyRotated = "api-key.rotated", Kept;
    ApiKeyRevoked = "api-key.revoked", Kept;
    ApiKeysImported = "api-key.imported", Kept;
    SessionsImported = "session.imported", Kept;
    TenantCreated = "tenant.created", Kept;
    TenantSuspended = "tenant.suspended", Kept;
    TenantResumed = "tenant.resumed", Kept;
    TenantSwitched = "tenant.switched", Kept;
    TenantRoleChanged = "tenant-role.changed", Kept;
    TenantRoleDeleted = "tenant-role.deleted", Kept;
    MemberAdded = "member.added", Kept;
    MemberUpdated = "member.updated", Kept;
    MemberRemoved = "member.removed", Kept;
    InvitationCreated = "invitation.created", Kept;
    InvitationRevoked = "invitation.revoked", Kept;
    PermissionLent = "permission.lent", Kept;
    PermissionTakenBack = "permission.taken-back", Kept;
    VisitorCreated = "visitor.created", Kept;
    VisitorRevoked = "visitor.revoked", Kept;
    WidgetOriginsChanged = "widget-origins.changed", Kept;
    WebhookRefused = "webhook.refused", Folded;
    WebhookGivenUp = "webhook.given-up", Kept;
    WebhookReplayed = "webhook.replayed", Kept;
    UploadAccepted = "upload.accepted", Kept;
    UploadRefused = "upload.refused", Folded;
    UploadInfected = "upload.infected", Kept;
    CredentialRefused = "credential.refused", Folded;
    UploadStored = "upload.stored", Kept;
    UploadQuarantined = "upload.quarantined", Kept;
    UploadReleased = "upload.released", Kept;
    UploadRemoved = "upload.removed", Kept;
    UploadPermitted = "upload.permitted", Kept;
    UploadOpened = "upload.opened", Kept;
    UploadDamaged = "upload.damaged", Kept;
    AccessDenied = "access.denied", Folded;
    LimitExceeded = "limit.exceeded", Folded;
    CsrfRefused = "csrf.refused", Folded;
    OriginRefused = "origin.refused", Folded;
    RequestMalformed = "request.malformed", Folded;
    PolicyReloaded = "policy.reloaded", Kept;
    PolicyRejected = "policy.rejected", Kept;
    BackupMade = "backup.made", Kept;
    BackupRestored = "backup.restored", Kept;
    PersonalDataExported = "personal-data.exported", Kept;
    PersonalDataErased = "personal-data.erased", Kept;
    ConsentGiven = "consent.given", Kept;
    ConsentWithdrawn = "consent.withdrawn", Kept;
    IncidentOpened = "incident.opened", Kept;
    IncidentNoted = "incident.noted", Kept;
    IncidentClosed = "incident.closed", Kept;
    RouteFrozen = "route.frozen", Kept;
    RouteUnfrozen = "route.unfrozen", Kept;
    ScanRecorded = "scan.recorded", Kept;
    ScanAccepted = "scan.accepted", Kept;
    ScanAlarming = "scan.alarming", Kept;
    GateStarted = "gate.started", Kept;
    GateStopped = "gate.stopped", Kept;
    AuditOverflow = "audit.overflow", Kept;
    AuditErased = "audit.erased", Kept;
    AuditRetained = "audit.retained", Kept;
    AuditContradicted = "audit.contradicted", Kept;
    AuditUnwitnessed = "audit.unwitnessed", Kept;
    ApiKeySeen = "api-key.seen", Folded;
    TrafficErrors = "traffic.errors", Kept;
    AnomalyFound = "anomaly.found", Kept;
    AlertGivenUp = "alert.given-up", Kept;
    AlertSilenced = "alert.silenced", Kept;
    AlertSilenceLifted = "alert.silence-lifted", Kept;
}

impl Action {
    pub const COUNT: usize = Action::ALL.len();

    /// Position in [`Action::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an outcome: allowed, denied or failed")]
pub struct UnknownOutcome(String);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an action of the audit trail")]
pub struct UnknownAction(String);

impl FromStr for Outcome {
    type Err = UnknownOutcome;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "allowed" => Ok(Outcome::Allowed),
            "denied" => Ok(Outcome::Denied),
            "failed" => Ok(Outcome::Failed),
            _ => Err(UnknownOutcome(redact::text(word))),
        }
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Action::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == word)
            .ok_or_else(|| UnknownAction(redact::text(word)))
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was permitted and done.
    Allowed,
    /// It was refused.
    Denied,
    /// It was permitted, and did not work.
    Failed,
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }
}

/// What it was done to, written `kind:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target(String);

impl Target {
    const MAX_BYTES: usize = 256;

    pub fn user(id: UserId) -> Self {
        Target(format!("user:{id}"))
    }

    pub fn session(id: SessionId) -> Self {
        Target(format!("session:{id}"))
    }

    /// A route by its pattern, which bears no values of the request.
    pub fn route(pattern: &str) -> Self {
        Target::named("route", pattern)
    }

    /// Anything else that has a name. The name passes through redaction.
    pub fn named(kind: &'static str, name: &str) -> Self {
        Target(format!("{kind}:{}", redact::bounded(name, Self::MAX_BYTES)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const COUNT: &str = "count";

/// Details of an event: a small JSON object. Each value passes through [`redact`] on its way in,
/// and what is too much is left out, so that there is no way to put a raw value here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// More entries than this are left out.
    pub const MAX_ENTRIES: usize = 16;
    /// A longer text is cut, and marked.
    pub const MAX_TEXT_BYTES: usize = 256;

    pub fn insert(&mut self, name: &'static str, value: impl Into<Value>) {
        if self.0.len() < Self::MAX_ENTRIES {
            let value = redact::value(name, value.into());
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Of whom or what it is, `kind:name`.
    fn subject(&mut self, subject: &str) {
        if self.0.len() < Self::MAX_ENTRIES {
            let subject = redact::subject(subject);
            self.0.insert("subject".to_owned(), subject.into());
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// How many events this one stands for. Not subject to the bound.
    pub(crate) fn count(&mut self, events: u64) {
        self.0.insert(COUNT.to_owned(), events.into());
    }

    pub(crate) fn counted(&self) -> u64 {
        self.get(COUNT).and_then(Value::as_u64).unwrap_or(1)
    }

    /// A number under a word of our own. Not subject to the bound.
    pub(crate) fn number(&mut self, name: &'static str, number: u64) {
        self.0.insert(name.to_owned(), number.into());
    }

    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Puts back what was kept apart. It went through redaction on its way in.
    pub(super) fn restore(&mut self, details: Map<String, Value>) {
        self.0.extend(details);
    }
}

/// One record of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub at: Timestamp,
    pub actor: Actor,
    pub action: Action,
    pub target: Option<Target>,
    pub outcome: Outcome,
    pub request: Option<RequestId>,
    pub client: Option<IpAddr>,
    pub tenant: Option<TenantId>,
    pub metadata: Metadata,
    /// Whether what identifies a person is here. Only of events that were read.
    pub personal: Personal,
}

impl Event {
    /// An event by an anonymous actor, with no details yet.
    pub fn new(at: Timestamp, action: Action, outcome: Outcome) -> Self {
        Event {
            id: EventId::new(),
            at,
            actor: Actor::Anonymous,
            action,
            target: None,
            outcome,
            request: None,
            client: None,
            tenant: None,
            metadata: Metadata::default(),
            personal: Personal::Open,
        }
    }

    #[must_use]
    pub fn by(mut self, actor: impl Into<Actor>) -> Self {
        self.actor = actor.into();
        self
    }

    #[must_use]
    pub fn to(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    #[must_use]
    pub fn during(mut self, request: RequestId) -> Self {
        self.request = Some(request);
        self
    }

    #[must_use]
    pub fn from(mut self, client: IpAddr) -> Self {
        self.client = Some(client);
        self
    }

    #[must_use]
    pub fn tenant(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant = tenant;
        self
    }

    /// Adds a detail. Secrets and e-mail addresses in it are masked.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name, value);
        self
    }

    /// Of whom or what an anomaly or an alert is, `kind:name`: its kind is no name of a secret.
    #[must_use]
    pub(crate) fn about(mut self, subject: &str) -> Self {
        self.metadata.subject(subject);
        self
    }

    /// As one JSON object: the form of `--output json` and of the admin API.
    pub fn to_json(&self) -> Value {
        let mut json = serde_json::json!({
            "id": self.id,
            "at": self.at.to_string(),
            "actor": self.actor.kind(),
            "actor_id": self.actor.id(),
            "action": self.action.as_str(),
            "target": self.target.as_ref().map(Target::as_str),
            "outcome": self.outcome.as_str(),
            "request_id": self.request,
            "client_address": self.client,
            "tenant_id": self.tenant,
            "metadata": self.metadata.0,
        });
        let word = match self.personal {
            Personal::Open => return json,
            Personal::Sealed => "sealed",
            Personal::Erased => "erased",
        };
        if let Some(object) = json.as_object_mut() {
            object.insert("personal".to_owned(), word.into());
        }
        json
    }

    pub(crate) fn target_from_store(text: String) -> Target {
        Target(text)
    }

    pub(crate) fn metadata_from_store(text: &str) -> Option<Metadata> {
        serde_json::from_str(text).ok().map(Metadata)
    }
}
