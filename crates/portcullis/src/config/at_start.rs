//! What a reload leaves as it is.

use super::Config;

/// What only a start reads: a reload keeps the running values of these.
pub(crate) const AT_START: [&str; 35] = [
    "mode",
    "secrets",
    "listen",
    "admin",
    "state",
    "csrf",
    "sessions",
    "accounts",
    "passwords",
    "api-keys",
    "tokens",
    "issuer",
    "visitors",
    "vault",
    "secret-store",
    "upload-store",
    "kek",
    "previous-kek",
    "recovery",
    "mfa",
    "passkeys",
    "mail",
    "auth-api",
    "log",
    "redaction",
    "error-reports",
    "audit",
    "security-txt",
    "anomalies",
    "places",
    "alert",
    "scan",
    "data",
    "purpose",
    "retention",
];

impl Config {
    /// Takes the tables [`AT_START`] from the configuration that the gate was started with.
    pub(crate) fn keep_what_was_started_with(&mut self, running: &Config) {
        // Every table is named, so that a new one has to be put on one of the two sides.
        let Config {
            mode,
            secrets,
            listen,
            admin,
            state,
            csrf,
            sessions,
            accounts,
            passwords,
            api_keys,
            tokens,
            issuers,
            visitors,
            vault,
            secret_store,
            upload_store,
            kek,
            previous_keks,
            recovery,
            mfa,
            passkeys,
            mail,
            auth_api,
            log,
            redaction,
            error_reports,
            audit,
            security_txt,
            anomalies,
            places,
            alerts,
            scans,
            data,
            purposes,
            retention,
            upstreams: _,
            assertion: _,
            hosts: _,
            cors: _,
            headers: _,
            limits: _,
            body: _,
            openapi: _,
            uploads: _,
            forward_auth: _,
            access: _,
            webhooks: _,
            backup: _,
            environment: _,
        } = running;
        self.mode = *mode;
        self.secrets = secrets.clone();
        self.listen = listen.clone();
        self.admin = admin.clone();
        self.state = state.clone();
        self.csrf = csrf.clone();
        self.sessions = sessions.clone();
        self.accounts = accounts.clone();
        self.passwords = passwords.clone();
        self.api_keys = api_keys.clone();
        self.tokens.clone_from(tokens);
        self.issuers = issuers.clone();
        self.visitors.clone_from(visitors);
        self.vault.clone_from(vault);
        self.secret_store.clone_from(secret_store);
        self.upload_store.clone_from(upload_store);
        self.kek = kek.clone();
        self.previous_keks.clone_from(previous_keks);
        self.recovery = recovery.clone();
        self.mfa = mfa.clone();
        self.passkeys = passkeys.clone();
        self.mail = mail.clone();
        self.auth_api = auth_api.clone();
        self.log = log.clone();
        self.redaction = redaction.clone();
        self.error_reports = error_reports.clone();
        self.audit = audit.clone();
        self.security_txt.clone_from(security_txt);
        self.anomalies = anomalies.clone();
        self.places = places.clone();
        self.alerts.clone_from(alerts);
        self.scans.clone_from(scans);
        self.data.clone_from(data);
        self.purposes.clone_from(purposes);
        self.retention = retention.clone();
    }
}
