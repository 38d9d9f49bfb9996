//! What the gate itself keeps of persons: every table, and in those with rows of a person every column.
//!
//! Export, erasure and the data map are made from this list, so that none of them can forget what another
//! knows. A test holds it against the schema: a table or a column that is not here fails it.

use portcullis_core::Timestamp;

/// How the rows of a person are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// `$1` is the account's id.
    User,
    /// `$1` is the account's id as text.
    Subject,
    /// `$1` and `$2` are what the account's address may stand as.
    Address,
    /// `$1` is a keyed hash of the account or its address; there are several.
    Throttle,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Ids, times, states and the like, which say something with the person's name alone.
    Plain,
    /// Says something of the person by itself.
    Personal,
    /// An e-mail address in the clear, or sealed for its row, whose id stands in `id`.
    Address,
    /// What an address is found by: itself, or a keyed index of it.
    Name,
    /// Hashes, tokens and secrets: in no export.
    Credential,
}

impl Class {
    /// In the words of the data map.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Plain => "linked",
            Class::Personal | Class::Address | Class::Name => "personal",
            Class::Credential => "credential",
        }
    }
}

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Id,
    Text,
    Number,
    Time,
    Bytes,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub form: Form,
    pub class: Class,
}

/// A table with rows of persons.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    pub table: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// How long a row stays, for people.
    pub kept: &'static str,
    /// Who may see it, beside the person: a permission, or nobody.
    pub seen_by: Option<&'static str>,
    pub whose: Whose,
    pub columns: &'static [Column],
    /// A page of the rows: the last two arguments say how many, behind how many.
    pub(super) select: &'static str,
    pub(super) delete: &'static str,
    pub(super) count: &'static str,
}

macro_rules! seen {
    (nobody) => {
        None
    };
    ($permission:literal) => {
        Some($permission)
    };
}

/// Behind which arguments the bounds of a page stand.
macro_rules! page {
    (Address) => {
        " ORDER BY 1, 2, 3 LIMIT $3 OFFSET $4"
    };
    ($one_argument:ident) => {
        " ORDER BY 1, 2, 3 LIMIT $2 OFFSET $3"
    };
}

macro_rules! holdings {
    ($($table:ident ($about:literal, $kept:literal, $seen:tt) $whose:ident $condition:literal { $($column:ident $form:ident $class:ident),* $(,)? })*) => {
        /// In an order in which they can be deleted.
        pub const HOLDINGS: &[Holding] = &[$(Holding {
            table: stringify!($table),
            about: $about,
            kept: $kept,
            seen_by: seen!($seen),
            whose: Whose::$whose,
            columns: &[$(Column { name: stringify!($column), form: Form::$form, class: Class::$class }),*],
            select: concat!("SELECT ", $(stringify!($column), ", ",)* "1 AS one FROM ", stringify!($table), " WHERE ", $condition, page!($whose)),
            delete: concat!("DELETE FROM ", stringify!($table), " WHERE ", $condition),
            count: concat!("SELECT count(*) AS n FROM ", stringify!($table), " WHERE ", $condition),
        }),*];
    };
}

holdings! {
    refresh_token ("refresh tokens", "until the sign-in ends", nobody) User "family_id IN (SELECT id FROM token_family WHERE user_id = $1)" {
        token_hash Bytes Credential, family_id Id Plain, issued_at Time Plain, used_at Time Plain, used_by Bytes Credential, salt Bytes Credential,
    }
    token_family ("sign-ins of clients that hold tokens", "7 days after their end", "manage:users") User "user_id = $1" {
        id Id Plain, user_id Id Plain, created_at Time Plain, authenticated_at Time Plain, second_factor_at Time Plain, last_used_at Time Plain, expires_at Time Plain, revoked_at Time Plain, client_address Text Personal, user_agent Text Personal, tenant_id Id Plain, openid_issuer Text Plain,
    }
    session ("sessions", "7 days after their end", "manage:users") User "user_id = $1" {
        id Id Plain, token_hash Bytes Credential, user_id Id Plain, created_at Time Plain, authenticated_at Time Plain, last_seen_at Time Plain, expires_at Time Plain, revoked_at Time Plain, client_address Text Personal, user_agent Text Personal, second_factor_at Time Plain, openid_issuer Text Plain, openid_email Text Name, tenant_id Id Plain, client_kind Number Personal, device_mark Number Credential, replaces Id Plain,
    }
    session_notice ("what the owner is told of sessions in other clients", "90 days", nobody) User "user_id = $1" {
        id Id Plain, user_id Id Plain, at Time Plain, client Text Personal, session_client Text Personal, client_address Text Personal, outcome Text Plain, dismissed_at Time Plain,
    }
    sign_in_challenge ("sign-ins that wait for a second factor", "minutes", nobody) User "user_id = $1" {
        token_hash Bytes Credential, user_id Id Plain, expires_at Time Plain, openid_issuer Text Plain, openid_email Text Name, authenticated_at Time Plain,
    }
    passkey_ceremony ("questions to passkeys", "minutes", nobody) User "user_id = $1" {
        token_hash Bytes Credential, user_id Id Plain, purpose Text Plain, state Text Credential, expires_at Time Plain,
    }
    passkey ("passkeys", "until removed", "manage:users") User "user_id = $1" {
        id Id Plain, user_id Id Plain, credential_id Bytes Credential, credential Text Credential, name Text Personal, created_at Time Plain, last_used_at Time Plain,
    }
    totp ("authenticator apps", "until removed", nobody) User "user_id = $1" {
        user_id Id Plain, sealed Bytes Credential, last_step Number Plain, created_at Time Plain, confirmed_at Time Plain,
    }
    recovery_code ("recovery codes", "until used", nobody) User "user_id = $1" {
        user_id Id Plain, code_hash Bytes Credential,
    }
    recovery_token ("links in letters", "until used, at most a day", nobody) User "user_id = $1" {
        token_hash Bytes Credential, user_id Id Plain, purpose Text Plain, email_canonical Text Name, expires_at Time Plain,
    }
    password_attempt ("attempts to change the password", "15 minutes", nobody) User "user_id = $1" {
        id Id Plain, user_id Id Plain, at Time Plain,
    }
    api_key ("API keys", "`retention.api-keys` after their end", "manage:keys") User "user_id = $1" {
        id Id Plain, hash Bytes Credential, hint Text Plain, name Text Personal, user_id Id Plain, tenant_id Id Plain, permissions Text Plain, routes Text Plain, rate Text Plain, created_by Text Plain, created_at Time Plain, expires_at Time Plain, last_used_at Time Plain, revoked_at Time Plain, successor_id Id Plain, imported_hash Bytes Credential,
    }
    foreign_identity ("who the person is to another issuer", "until erased", "manage:users") User "user_id = $1" {
        id Id Plain, issuer Text Plain, subject Text Personal, user_id Id Plain, created_at Time Plain, not_before Time Plain,
    }
    user_reference ("who the person was in the product before", "until erased", "manage:users") User "user_id = $1" {
        source Text Plain, external_id Text Personal, user_id Id Plain,
    }
    delegation ("permissions lent by or to the person", "`retention.delegations` after their end", "manage:users") User "(user_id = $1 OR granted_by = $1)" {
        id Id Plain, tenant_id Id Plain, user_id Id Plain, permission Text Plain, granted_by Id Plain, created_at Time Plain, expires_at Time Plain, revoked_at Time Plain,
    }
    member_role ("roles in tenants", "until erased", "manage:users") User "user_id = $1" {
        user_id Id Plain, tenant_id Id Plain, role Text Plain,
    }
    membership ("tenants that the person belongs to", "until erased", "manage:users") User "user_id = $1" {
        user_id Id Plain, tenant_id Id Plain, created_at Time Plain,
    }
    invitation ("invitations to the person's address", "`retention.invitations` after their end", "manage:users") Address "email_canonical IN ($1, $2)" {
        id Id Plain, token_hash Bytes Credential, tenant_id Id Plain, email_canonical Text Name, email Text Address, roles Text Plain, invited_by Id Plain, created_at Time Plain, expires_at Time Plain, redeemed_at Time Plain, revoked_at Time Plain,
    }
    login_backoff ("refused passwords in a row, under a keyed hash of the address", "a day after the last one", nobody) Throttle "account = $1" {
        account Bytes Credential, client Bytes Credential, failures Number Plain, last_failed_at Time Plain, blocked_until Time Plain,
    }
    recovery_request ("letters asked for, under a keyed hash of the address", "an hour", nobody) Throttle "account = $1" {
        account Bytes Credential, since Time Plain, count Number Plain,
    }
    consent ("the consent ledger", "until erased", "consents:read") Subject "subject = $1" {
        id Id Plain, tenant Text Plain, subject Text Plain, purpose Text Personal, version Text Plain, state Text Personal, at Time Plain, source Text Plain,
    }
    data_key ("keys that seal the person's fields", "until erased", "manage:system") Subject "subject IN ($1, 'audit:' || replace($1, '-', ''))" {
        id Id Plain, tenant Text Plain, subject Text Plain, purpose Text Plain, version Number Plain, wrapped Bytes Credential, created_at Time Plain, retired_at Time Plain,
    }
    user_role ("roles", "until erased", "manage:users") User "user_id = $1" {
        user_id Id Plain, role Text Plain,
    }
    users ("the account", "until erased", "manage:users") User "id = $1" {
        id Id Plain, email_canonical Text Name, email Text Address, password_hash Text Credential, display_name Text Personal, tenant_id Id Plain, created_at Time Plain, updated_at Time Plain, deactivated_at Time Plain, email_verified_at Time Plain,
    }
}

/// A table that is handled by whoever has it, or has no rows of a person.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere {
    pub table: &'static str,
    pub why: &'static str,
    pub how: How,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its slice exports and erases what is of the person.
    BySlice,
    /// Nothing in it can be told to be of a person: it is neither searched nor erased.
    NotSearched,
    /// It holds nothing of a person, or no more than the id of an account.
    NoPerson,
}

macro_rules! elsewhere {
    ($($how:ident { $($table:ident $why:literal),* $(,)? })*) => {
        /// Every other table.
        pub const ELSEWHERE: &[Elsewhere] = &[$($(Elsewhere { table: stringify!($table), why: $why, how: How::$how }),*),*];
    };
}

elsewhere! {
    BySlice {
        stored_upload "files that the person sent: the row, the file, and its key",
        outbox "letters on their way, sealed: each is opened to see whose it is",
        registration_token "links that open an account: each address is opened to see whose it is",
        audit_event "the audit trail: what identifies the person is sealed under a key of theirs",
        visitor "visits of people without an account, until the visit ends: found by the visit's id, where that is the subject",
        webhook_delivery "what other services told the product, sealed, for as long as `webhook.retention` says: opened to see whom it names",
        incident "free text of whoever handled an incident: looked through for the person's names",
        incident_note "free text of whoever handled an incident: looked through for the person's names",
        incident_task "free text of whoever handled an incident: looked through for the person's names",
        incident_scope "what an incident ended, by its name: looked through for the person's names",
        route_freeze "free text of whoever froze a route: looked through for the person's names",
    }
    NotSearched {
        alert "what somebody was told, with masked addresses, until `keep_until`",
        alert_group "of what somebody was told, until the group closes",
        anomaly "what was conspicuous: masked addresses and networks of clients",
    }
    NoPerson {
        revocation "ids of what ceased to be valid, for a day",
        signing_key "salts of the gate's own keys",
        openid_login "hashes of sign-ins that came back, for minutes",
        tenant "tenants",
        tenant_role "roles of tenants",
        widget_origin "origins of widgets",
        spent_form "hashes of forms that were sent",
        stored_secret "names of the product's secrets",
        stored_secret_version "sealed secrets of the product",
        secret_replacement "replacements of secrets",
        secret_replacement_step "replacements of secrets; the id of who did it",
        secret_remote "how far secrets were carried",
        audit_log "the head of the audit log",
        audit_tile "hashes of the audit log",
        audit_witness "what witnesses of the audit log were asked last",
        audit_cosignature "what witnesses of the audit log signed",
        audit_hour "how much was recorded in an hour",
        traffic_hour "how many requests passed in an hour",
        foreign_cutoff "since when tokens of other issuers count",
        anomaly_watch "which node looks for anomalies",
        alert_silence "which alerts are kept silent; the id of who says so",
        scan_report "what scanners found in the product; the id of who handed it in",
        scan_accepted "findings that somebody lives with; the id of who says so",
        scan_wanted "since when a scan is wanted, and when somebody was told of it",
        erasure "ids of persons who were erased, and what was destroyed",
        subject_erasure "keyed hashes of what the product called persons who were erased, and what was destroyed",
        subject_being_erased "whom a transaction is erasing: empty between transactions",
    }
}

/// A time of a row, for people.
pub(super) fn time(micros: i64) -> String {
    Timestamp::from_micros(micros).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use portcullis_store::dump::Schema;

    use super::*;

    #[tokio::test]
    async fn every_table_of_the_schema_is_classified_and_every_column_of_a_persons() {
        let schema = Schema::newest().await.unwrap();
        let held = HOLDINGS.iter().map(|one| one.table);
        let known: Vec<&str> = held.chain(ELSEWHERE.iter().map(|one| one.table)).collect();
        let once: BTreeSet<&str> = known.iter().copied().collect();
        assert_eq!(once.len(), known.len(), "one is named twice");
        let there: BTreeSet<&str> = schema.tables.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(once, there, "say in holdings.rs whose rows the table has");
        for holding in HOLDINGS {
            let table = schema.table(holding.table).unwrap();
            let there: BTreeSet<&str> = table.columns.iter().map(|one| one.name.as_str()).collect();
            let said: BTreeSet<&str> = holding.columns.iter().map(|one| one.name).collect();
            assert_eq!(said, there, "the columns of `{}`", holding.table);
        }
        for other in ELSEWHERE.iter().filter(|one| one.how == How::NoPerson) {
            let table = schema.table(other.table).unwrap();
            let odd = table.columns.iter().find(|column| {
                [
                    "user_id",
                    "email",
                    "email_canonical",
                    "client_address",
                    "user_agent",
                ]
                .contains(&column.name.as_str())
            });
            assert!(odd.is_none(), "`{}` has rows of persons", other.table);
        }
    }

    #[test]
    fn what_opens_something_is_in_no_export() {
        for holding in HOLDINGS {
            for column in holding.columns {
                let telling = ["hash", "salt", "secret", "wrapped", "sealed"];
                if telling.iter().any(|part| column.name.contains(part)) {
                    assert_eq!(
                        column.class,
                        Class::Credential,
                        "{}.{}",
                        holding.table,
                        column.name
                    );
                }
            }
        }
    }
}
