//! `[[data]]`, `[[purpose]]` and `[retention]`: what is personal, what is agreed to, and how long it stays.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_core::Span;
use portcullis_core::finding::Finding;
use portcullis_core::roles::RoleConfig;
use serde::{Deserialize, Serialize};

/// What kind of data it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// About an identified or identifiable person (GDPR article 4).
    Personal,
    /// Of a special category, such as health (GDPR article 9).
    SpecialCategory,
    /// Lets somebody in: passwords, keys, tokens, and their hashes.
    Credential,
    /// A secret of the business or of a tenant.
    Confidential,
    /// May be known to everybody.
    Public,
}

impl DataKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            DataKind::Personal => "personal",
            DataKind::SpecialCategory => "special-category",
            DataKind::Credential => "credential",
            DataKind::Confidential => "confidential",
            DataKind::Public => "public",
        }
    }
}

/// One `[[data]]`: a field of the product.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// The field, such as `"users.full_name"`. Required. What stands behind the last dot is its name in requests
    /// and logs.
    pub field: String,
    /// `"personal"`, `"special-category"`, `"credential"`, `"confidential"` or `"public"`. Required.
    pub kind: DataKind,
    /// Where it lies, in your words, such as `"PostgreSQL of the product"`. Required.
    pub location: String,
    /// Roles and permissions of this policy whose holders see it. Required; `[]` is: nobody but the person. One
    /// that the policy does not have is refused.
    pub seen_by: Vec<String>,
    /// Whether it may stand in logs. Default `false`: then its name is redacted in the log, the access log, the
    /// audit trail and error reports of the gate, as if it stood in `redaction.fields`.
    #[serde(default)]
    pub logged: bool,
    /// Whether the product seals it with the gate's vault. Default `false`. With `true` there has to be `[vault]`.
    #[serde(default)]
    pub sealed: bool,
    /// How long it is kept, in your words, such as `"until the account is erased"`. Required.
    pub retention: String,
}

impl Data {
    /// Its name as it stands beside the value in requests and logs.
    pub fn name(&self) -> &str {
        let name = self.field.rsplit(['.', '/']).next();
        name.unwrap_or(&self.field)
    }
}

/// One `[[purpose]]`: what people are asked to agree to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Purpose {
    /// Its name in the ledger, such as `"marketing"`: small letters, digits and `-`. Required.
    pub name: String,
    /// The version of the text that is shown now, such as `"2026-11"`. Required. A consent to another version
    /// does not count.
    pub version: String,
    /// What people agree to, in a sentence. Required.
    pub about: String,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Retention {
    /// How long API keys stay that are revoked or have expired. Default `"365d"`, at least `"1d"`.
    pub api_keys: Span,
    /// How long invitations stay that were redeemed, revoked or have run out, with the address in them. Default
    /// `"30d"`, at least `"1d"`.
    pub invitations: Span,
    /// How long permissions stay in the list that were lent and have ended. Default `"90d"`, at least `"1d"`.
    pub delegations: Span,
    /// How long what was found conspicuous stays after it ended. Default `"365d"`, at least `"1d"`.
    pub anomalies: Span,
    /// After which time a switched-off account is erased, as `privacy erase` does it. Default: never. At least
    /// `"1d"`. What is erased never comes back.
    pub switched_off_accounts: Option<Span>,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            api_keys: Span::from_days(365),
            invitations: Span::from_days(30),
            delegations: Span::from_days(90),
            anomalies: Span::from_days(365),
            switched_off_accounts: None,
        }
    }
}

/// Names of fields that must never be written down.
pub fn never_logged(data: &[Data]) -> Vec<String> {
    let fields = data.iter().filter(|data| !data.logged);
    fields.map(|data| data.name().to_owned()).collect()
}

/// What is wrong with the three tables, in a policy with these roles, and with a vault or without.
pub fn findings(
    (data, purposes, retention): (&[Data], &[Purpose], &Retention),
    roles: &BTreeMap<String, RoleConfig>,
    has_vault: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (position, one) in data.iter().enumerate() {
        of_data(
            one,
            &format!("data.{position}"),
            roles,
            has_vault,
            &mut findings,
        );
        if !seen.insert(one.field.as_str()) {
            findings.push(
                Finding::error(
                    "data",
                    format!("data.{position}.field"),
                    format!("`{}` is classified twice", one.field),
                )
                .remedy("leave one of the two"),
            );
        }
    }
    of_purposes(purposes, &mut findings);
    let shortest = Span::from_days(1);
    for (key, span) in [
        ("retention.api-keys", Some(retention.api_keys)),
        ("retention.invitations", Some(retention.invitations)),
        ("retention.delegations", Some(retention.delegations)),
        ("retention.anomalies", Some(retention.anomalies)),
        (
            "retention.switched-off-accounts",
            retention.switched_off_accounts,
        ),
    ] {
        if span.is_some_and(|span| span < shortest) {
            findings.push(
                Finding::error("retention", key, "is less than a day")
                    .remedy("write \"1d\" or more"),
            );
        }
    }
    findings
}

fn of_data(
    data: &Data,
    key: &str,
    roles: &BTreeMap<String, RoleConfig>,
    has_vault: bool,
    findings: &mut Vec<Finding>,
) {
    let mut wrong = |name: &str, message: String, remedy: &'static str| {
        findings.push(Finding::error("data", format!("{key}.{name}"), message).remedy(remedy));
    };
    let name = data.name();
    if !data.logged && !is_redactable(name) {
        wrong(
            "field",
            format!("`{name}` cannot be kept out of logs: it would be found in everyday words"),
            "give the field a name of 3 to 64 ASCII letters behind the last dot, or say logged = true",
        );
    }
    for (name, text) in [("location", &data.location), ("retention", &data.retention)] {
        if text.trim().is_empty() {
            wrong(name, "says nothing".to_owned(), "say it in a few words");
        }
    }
    for (position, who) in data.seen_by.iter().enumerate() {
        let is_given = |role: &RoleConfig| role.permissions.iter().any(|given| gives(given, who));
        if !roles.contains_key(who) && !roles.values().any(is_given) {
            wrong(
                &format!("seen-by.{position}"),
                format!(
                    "`{who}` is neither a role of the policy nor a permission that a role gives"
                ),
                "name a role under [roles], or a permission that one of them has",
            );
        }
    }
    if data.sealed && !has_vault {
        wrong(
            "sealed",
            format!("nothing seals `{}`: there is no [vault]", data.field),
            "add [vault] and seal the field with it, or say sealed = false",
        );
    }
}

/// Whether the redaction engine can look for it.
fn is_redactable(name: &str) -> bool {
    (3..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a permission is this one, or the same action on everything.
fn gives(given: &str, asked: &str) -> bool {
    given == asked
        || asked
            .split_once(':')
            .is_some_and(|(action, _)| given.strip_suffix(":all").is_some_and(|all| all == action))
}

fn of_purposes(purposes: &[Purpose], findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for (position, purpose) in purposes.iter().enumerate() {
        let mut wrong = |name: &str, message: String, remedy: &'static str| {
            let key = format!("purpose.{position}.{name}");
            findings.push(Finding::error("purpose", key, message).remedy(remedy));
        };
        if !is_name(&purpose.name) {
            wrong(
                "name",
                format!("`{}` is no name of a purpose", purpose.name),
                "use 1 to 64 small letters, digits and `-`",
            );
        }
        if !is_version(&purpose.version) {
            wrong(
                "version",
                "has to have 1 to 64 printable ASCII letters and no space".to_owned(),
                "write it like \"2026-11\"",
            );
        }
        if purpose.about.trim().is_empty() {
            wrong(
                "about",
                "says nothing".to_owned(),
                "say what people agree to",
            );
        }
        if !seen.insert(purpose.name.as_str()) {
            wrong(
                "name",
                format!("`{}` is there twice", purpose.name),
                "leave one of the two: the version that is shown now",
            );
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

pub(super) fn is_version(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
