//! What a product promises: the closed list of requirements, each with its sentence, its group, the shapes of
//! product whose documents ask for it, and the numbers of OWASP ASVS 5.0 that it answers, or a part of.
//!
//! An id never changes its meaning. A new one is added here and in `probes/mod.rs`: the match there has no `_`,
//! so that it does not compile without a probe.

use std::fmt;
use std::str::FromStr;

/// What a requirement is about. The letters are those of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Identity,
    Sessions,
    Tokens,
    ApiKeys,
    Visitors,
    Tenancy,
    Limits,
    Browser,
    Encryption,
    Secrets,
    Webhooks,
    Uploads,
    Audit,
    Monitoring,
    Privacy,
    Startup,
    Incident,
    Deployment,
}

impl Group {
    pub(crate) const ALL: [Group; 18] = [
        Group::Identity,
        Group::Sessions,
        Group::Tokens,
        Group::ApiKeys,
        Group::Visitors,
        Group::Tenancy,
        Group::Limits,
        Group::Browser,
        Group::Encryption,
        Group::Secrets,
        Group::Webhooks,
        Group::Uploads,
        Group::Audit,
        Group::Monitoring,
        Group::Privacy,
        Group::Startup,
        Group::Incident,
        Group::Deployment,
    ];

    /// The heading in a report.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Group::Identity => "Identity, passwords and second factors",
            Group::Sessions => "Sessions",
            Group::Tokens => "Tokens",
            Group::ApiKeys => "API keys",
            Group::Visitors => "Visitors and widgets",
            Group::Tenancy => "Roles and tenants",
            Group::Limits => "Rate limits",
            Group::Browser => "Browsers: origins, forgery, headers",
            Group::Encryption => "Transport and encryption",
            Group::Secrets => "Secrets and their rotation",
            Group::Webhooks => "Webhooks",
            Group::Uploads => "Uploads",
            Group::Audit => "Audit, logs and redaction",
            Group::Monitoring => "Monitoring",
            Group::Privacy => "Privacy",
            Group::Startup => "Guardrails and checks",
            Group::Incident => "Incidents and disclosure",
            Group::Deployment => "Deployment",
        }
    }
}

/// A kind of product whose security document asks for something. The presets of `init` bear the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    SessionApp,
    Widget,
    HardenedApi,
    JwtChat,
    SupabaseStripe,
}

impl Shape {
    pub(crate) const ALL: [Shape; 5] = [
        Shape::SessionApp,
        Shape::Widget,
        Shape::HardenedApi,
        Shape::JwtChat,
        Shape::SupabaseStripe,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Shape::SessionApp => "session-app",
            Shape::Widget => "widget",
            Shape::HardenedApi => "hardened-api",
            Shape::JwtChat => "jwt-chat",
            Shape::SupabaseStripe => "supabase-stripe",
        }
    }
}

macro_rules! requirements {
    ($($id:ident $group:ident [$($shape:ident)*] [$($asvs:literal)*] $sentence:literal;)*) => {
        /// One promise.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Id { $($id),* }

        impl Id {
            /// Every id, in the order of the list.
            pub(crate) const ALL: &'static [Id] = &[$(Id::$id),*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Id::$id => stringify!($id)),* }
            }

            pub(crate) const fn group(self) -> Group {
                match self { $(Id::$id => Group::$group),* }
            }

            /// The promise, as it stands in a product's own document.
            pub(crate) const fn sentence(self) -> &'static str {
                match self { $(Id::$id => $sentence),* }
            }

            /// The shapes of product whose documents ask for it.
            pub(crate) const fn shapes(self) -> &'static [Shape] {
                match self { $(Id::$id => &[$(Shape::$shape),*]),* }
            }

            /// Requirements of OWASP ASVS 5.0, by number (`6.2.1`), of which its probe shows something. None where
            /// that standard asks for nothing of the kind. What is of a feature that a policy may be without stands only
            /// at numbers about that feature, so that nothing else depends on it. See `numbers.rs`.
            pub(crate) const fn asvs(self) -> &'static [&'static str] {
                match self { $(Id::$id => &[$($asvs),*]),* }
            }
        }
    };
}

requirements! {
    I1 Identity [SessionApp] ["7.4.1"] "Credentials open a session, the session says who it belongs to, and signing out ends it.";
    I2 Identity [SessionApp HardenedApi] ["11.4.2" "16.2.5"] "Passwords are kept only as salted hashes of a slow function, and stand in no record.";
    I3 Identity [SessionApp] ["6.2.3" "6.3.1"] "Guessing the old password on the way to a new one is slowed and then stopped.";
    I4 Identity [SessionApp] ["6.3.1"] "Sign-in is limited for each address, and for each account whatever the address.";
    I5 Identity [Widget JwtChat] ["6.3.3"] "An administrator with a password alone reaches nothing but the way to a second factor.";
    I6 Identity [Widget] ["6.8.2" "9.1.1" "9.1.2" "9.2.3" "10.3.1"] "Tokens of another identity provider count only from the parties that are named, and a tenant has to be chosen.";
    I7 Identity [SupabaseStripe] ["10.3.3"] "Protected routes want a token of the provider, and a person's account is made at the first one.";
    I8 Identity [SupabaseStripe] ["10.3.2"] "Administrators by address are those that the configuration names, where the provider vouches for the address.";
    I9 Identity [HardenedApi] ["6.4.3"] "Tokens of password resets and of verified addresses stand in no log, and only as hashes in the database.";
    I10 Identity [SessionApp] ["8.2.1" "8.3.1"] "Whatever is not declared public refuses a caller who has proved nothing.";
    S1 Sessions [SessionApp] ["3.3.1" "3.3.2" "3.3.4" "7.2.1" "7.2.2" "7.2.4" "7.4.1" "14.3.1"] "A session is a row on the server behind a cookie that script cannot read, and signing out destroys both.";
    S2 Sessions [JwtChat] ["7.3.1"] "A session ends when it lies idle, and a user has only so many at once.";
    S3 Sessions [JwtChat] ["8.2.4"] "A session that turns up in another browser is challenged, and goes on where it was.";
    S4 Sessions [JwtChat] ["14.2.4"] "What is stored of a session cannot be used as one.";
    S5 Sessions [Widget] ["7.4.1" "7.4.5"] "Sessions and tokens are revoked at once, on every route.";
    S6 Sessions [HardenedApi] ["3.3.2" "3.3.4" "10.1.1"] "Session cookies stay with the site, and no answer hands the session to script.";
    S7 Sessions [SupabaseStripe] ["11.2.3" "11.5.1"] "The secret behind sessions has at least 32 random bytes, or nothing starts.";
    J1 Tokens [JwtChat] ["9.1.1" "9.1.2" "9.2.1" "9.2.2"] "Access tokens live as long as configured, refresh tokens longer, and an expired one opens nothing.";
    J2 Tokens [JwtChat] ["10.4.5"] "A refresh token is good for one use; used again elsewhere it ends the whole sign-in.";
    J3 Tokens [SupabaseStripe] ["6.8.2" "9.1.1" "9.1.2" "9.2.1" "9.2.3" "10.3.1"] "Tokens under the provider's secret are verified: another secret, audience or algorithm is refused.";
    J4 Tokens [SessionApp HardenedApi SupabaseStripe] ["11.2.3" "11.5.1"] "A signing secret below 32 bytes keeps the gate from starting.";
    J5 Tokens [HardenedApi] ["11.5.1"] "A secret that stands in examples keeps the gate from starting in production.";
    J6 Tokens [SessionApp HardenedApi] ["11.1.1" "11.2.2" "13.3.4"] "Signing keys are replaced on schedule, overlap, and can be taken out.";
    J7 Tokens [Widget] ["4.1.3" "8.3.3" "8.4.1" "15.3.7"] "The tenant that the product sees comes from the caller's identity, never from the request.";
    K1 ApiKeys [SupabaseStripe] ["11.4.3" "11.5.1"] "API keys are random, kept as keyed hashes, and one letter more or less is another key.";
    K2 ApiKeys [SupabaseStripe] ["8.3.2" "16.2.5"] "A revoked API key is refused at once, and no key stands in the log.";
    K3 ApiKeys [SessionApp] ["11.3.3" "14.2.4"] "Keys of other services are sealed before they are stored, and open nowhere but in their own row.";
    K4 ApiKeys [JwtChat] ["11.3.3" "11.3.4" "14.2.4"] "The column that holds a user's key is encrypted.";
    W1 Visitors [Widget] ["7.3.2"] "A visitor is known by a visit that expires, and without one nothing of visitors answers.";
    W2 Visitors [Widget] ["15.3.3"] "Of a visitor's browser only a few known facts are kept, whatever it sends.";
    W3 Visitors [Widget] ["3.5.5"] "A widget opens on the origins that its tenant has named, and its messages name their target.";
    W4 Visitors [Widget] ["13.3.2" "14.2.6"] "What clients can reach never answers with a private part of a secret.";
    T1 Tenancy [SessionApp] ["8.2.1" "8.3.1"] "Each route asks for its role or permission, and refuses who lacks it.";
    T2 Tenancy [JwtChat] ["8.1.1" "8.2.1"] "Every role may exactly what the policy gives it.";
    T3 Tenancy [JwtChat] ["8.3.2"] "Changed roles count on the next request; roles inherit, and permissions can be lent.";
    T4 Tenancy [Widget] ["8.2.2" "8.4.1"] "A member of one tenant does not reach another one.";
    T5 Tenancy [HardenedApi] ["8.2.2"] "Records belong to their owner: others are refused, administrators where the policy says so.";
    T6 Tenancy [JwtChat] ["4.1.3" "8.3.1" "8.3.3" "9.2.4" "10.1.1" "12.3.5" "13.2.1"] "Each request is judged by itself, and the product gets a signed word on who calls, never the client's own.";
    T7 Tenancy [Widget SupabaseStripe] ["8.2.1" "13.2.2" "13.4.5"] "Administration wants its own permission, and the gate's own access to its database is no more than it needs.";
    L1 Limits [SessionApp] ["2.4.1"] "A limit stands before every route, in the store that all nodes share, and answers 429.";
    L2 Limits [SessionApp] ["6.3.1"] "Sign-in admits as many attempts as its limit says, and not one more.";
    L3 Limits [JwtChat] ["2.4.1"] "Limits hold per caller and per route at the configured figures.";
    L4 Limits [SupabaseStripe] ["2.4.1"] "A limit for every client address holds on every route but the health check.";
    L5 Limits [SessionApp] [] "Answers tell what is left of a limit, and a refusal says when to come again.";
    L6 Limits [HardenedApi SessionApp] ["2.4.1" "4.1.3" "15.3.4"] "Limits are counted over all nodes, and no header gives a client another address.";
    L7 Limits [Widget] ["2.3.2" "15.2.2"] "What is dear has limits of its own: uploads, visits, messages.";
    L8 Limits [SupabaseStripe] ["2.4.1"] "A signed-in user has one budget from whatever address, and takes nobody else's.";
    L9 Limits [JwtChat] [] "Refusals by limits are counted where monitoring reads them.";
    L10 Limits [JwtChat HardenedApi] ["1.1.1" "1.5.3" "4.2.1"] "Requests that two servers could read differently, or that are too large, are refused before the product.";
    H1 Browser [SessionApp HardenedApi SupabaseStripe] ["3.4.2"] "Pages of other origins read answers only where their exact origin is allowed.";
    H2 Browser [SessionApp HardenedApi] ["3.4.2"] "An allowance for every origin keeps the gate from starting in production.";
    H3 Browser [SessionApp] ["3.4.2"] "The allowed origins are written one by one, each with its scheme.";
    H4 Browser [SupabaseStripe] [] "Credentials and the life of a preflight answer are as configured.";
    H5 Browser [SessionApp HardenedApi JwtChat] ["3.5.1" "3.5.2"] "A change by cookie needs the token of that very session, in cookie and header, and the product's own origin.";
    H6 Browser [SessionApp] ["3.4.3" "3.4.6"] "Pages carry a content security policy with a fresh nonce, and framing is denied.";
    H7 Browser [JwtChat] ["3.4.3"] "The content security policy that is sent is the one that is configured.";
    H8 Browser [JwtChat SupabaseStripe SessionApp] ["3.4.4" "3.4.5"] "Every answer, a refusal too, carries the security headers.";
    H9 Browser [JwtChat SupabaseStripe SessionApp] ["3.4.1" "12.2.1"] "Browsers are told to keep to HTTPS.";
    H10 Browser [SupabaseStripe] ["4.1.3"] "Only configured host names are served.";
    H11 Browser [JwtChat Widget HardenedApi] ["1.2.1" "1.5.2" "1.5.3" "2.2.1" "2.2.2" "15.3.3" "15.3.5" "15.3.7"] "What a request says is validated before it is used, and encoded before it is shown.";
    H12 Browser [HardenedApi JwtChat SupabaseStripe] ["1.2.4"] "No input becomes part of a database statement.";
    H13 Browser [SupabaseStripe] ["13.4.6" "16.5.1" "16.5.2"] "Errors say nothing of what is inside.";
    E1 Encryption [SessionApp Widget SupabaseStripe JwtChat] ["12.1.1" "12.2.1" "12.3.1"] "TLS is 1.2 or newer, and plain HTTP is sent to HTTPS.";
    E2 Encryption [JwtChat SupabaseStripe] ["12.3.1"] "A database across the network is spoken to over TLS, or nothing starts.";
    E3 Encryption [JwtChat] ["11.2.5" "11.3.1" "11.3.3" "11.3.4" "14.2.4"] "Personal fields are sealed with AES-256, each time anew, and a changed one does not open.";
    E4 Encryption [HardenedApi] ["14.2.4"] "Credentials of integrations are sealed, and another tenant cannot open them.";
    E5 Encryption [HardenedApi JwtChat] ["11.1.1" "11.2.2" "13.3.4"] "Data keys lie wrapped, are replaced on schedule, and what old ones sealed still opens.";
    E6 Encryption [SupabaseStripe] ["11.2.3"] "A key from before that is not 32 bytes in base64 is refused at the start.";
    E7 Encryption [JwtChat SupabaseStripe] ["14.2.4"] "Backups are encrypted, and open for their own key alone.";
    E8 Encryption [SessionApp] ["14.2.4"] "The stored bytes hold no secret in the clear.";
    X1 Secrets [SessionApp Widget SupabaseStripe] ["13.3.1"] "A file with secrets that Git would track is found before the start.";
    X2 Secrets [SessionApp Widget JwtChat] ["13.3.1"] "Secrets come from variables, files or managers: one that is written into the configuration is refused.";
    X3 Secrets [Widget] ["13.3.1" "13.3.2"] "A secret that was written is never answered again to whoever administers it.";
    X4 Secrets [SessionApp] ["13.3.4"] "A secret whose time has come is named.";
    X5 Secrets [Widget] ["13.3.1" "13.3.4"] "A rotation serves the new value, the old one for the overlap, and can end it at once; the trail has each step.";
    X6 Secrets [HardenedApi] ["13.3.2" "13.3.4"] "Rotation is for administrators, and secrets older than the limit are alerted.";
    X7 Secrets [SupabaseStripe] ["11.1.1"] "One secret in two environments, or twice in one, is an error.";
    X8 Secrets [HardenedApi] ["11.5.1"] "Variables that are missing or that nobody reads are reported.";
    B1 Webhooks [SupabaseStripe] ["4.1.5"] "A webhook whose signature is missing, wrong or of another body is refused.";
    B2 Webhooks [SupabaseStripe] ["4.1.5"] "A webhook signed before or after the tolerance is refused, however right its signature.";
    B3 Webhooks [SupabaseStripe] [] "Each webhook is written down sealed before it is acknowledged, and a second one of the same id is no second event.";
    U1 Uploads [JwtChat] ["5.2.1" "5.2.2" "5.3.2" "5.4.1"] "Files are taken by size and kind; what is larger, or is not what it says, is refused.";
    U2 Uploads [JwtChat] ["5.3.1" "5.4.3"] "Files are scanned, and what is kept lies sealed.";
    U3 Uploads [JwtChat] ["2.3.2"] "A user uploads as often as the limit says.";
    A1 Audit [SupabaseStripe] ["16.2.1" "16.3.3" "16.4.2"] "Sensitive acts are on record with actor, address, time and details, and no record can be changed.";
    A2 Audit [JwtChat SupabaseStripe] ["16.3.1" "16.3.3"] "Every attempt to sign in is on record, refused ones and limits too.";
    A3 Audit [JwtChat] ["16.3.2"] "Reading sealed data is on record before it is answered.";
    A4 Audit [HardenedApi SupabaseStripe Widget] ["16.2.5"] "Passwords, tokens, keys and addresses that were sent stand in no log.";
    A5 Audit [Widget] ["16.2.1" "16.2.4" "16.4.1"] "Logs are structured, and a request is found by the id that its answer bore.";
    A6 Audit [SessionApp SupabaseStripe] ["14.2.3" "16.3.4"] "Error reports that leave the house hold no secret and no address.";
    A7 Audit [SessionApp SupabaseStripe] ["14.2.7" "16.4.2"] "The trail can be verified by somebody else, and is kept as long as the policy says.";
    A8 Audit [SupabaseStripe] [] "The level of the log is configuration, and a wrong one is refused.";
    M1 Monitoring [JwtChat] [] "Failed sign-ins, limits and suspicious requests are counters that move.";
    M2 Monitoring [JwtChat] [] "What is out of the ordinary raises an alert.";
    M3 Monitoring [JwtChat] [] "Use of the API and its answer times are measured.";
    M4 Monitoring [SessionApp Widget] ["13.4.5"] "Metrics are in the format that monitoring reads, on an address of their own.";
    P1 Privacy [HardenedApi] ["14.1.1" "14.1.2" "14.2.4"] "Personal data is listed: which field, where, who may see it, logged or not.";
    P2 Privacy [JwtChat] ["7.4.2" "14.2.7"] "Consent is on record, data can be exported, and erasure can be shown.";
    P3 Privacy [JwtChat] [] "Every control is mapped to a standard, and the mapping says what is not proven.";
    P4 Privacy [Widget] ["14.2.7"] "Personal data is kept to what is needed, for as long as is needed, and masked elsewhere.";
    G1 Startup [HardenedApi] ["3.4.2" "11.5.1"] "A default or short secret, or an open CORS, keeps the gate from starting in production.";
    G2 Startup [HardenedApi] [] "The checks that a document asks for ship with the program and fail where they should.";
    G3 Startup [JwtChat] ["15.2.1"] "Builds and images are scanned, and what is found stops a release.";
    G4 Startup [SupabaseStripe Widget] ["15.1.2" "15.2.1" "15.2.4"] "Dependencies are pinned and watched for advisories.";
    G5 Startup [SessionApp Widget SupabaseStripe] [] "The checklist before production is run, and nothing on it is open.";
    G6 Startup [HardenedApi JwtChat] [] "Controls are tested regularly, and from outside.";
    G7 Startup [HardenedApi] [] "What was most urgent is done: guardrails, sealed credentials, clean logs, shared limits.";
    N1 Incident [SessionApp] [] "Reports are acknowledged within a day, and advisories follow a fix.";
    N2 Incident [Widget] [] "An incident is triaged, contained, cleaned up, recovered from and learned from.";
    N3 Incident [SupabaseStripe] ["7.4.5"] "On the day, sessions end, keys are revoked and secrets rotate by command.";
    N4 Incident [SessionApp Widget JwtChat] [] "There is a private way to report, and it says what a report holds.";
    D1 Deployment [JwtChat] ["13.2.2" "15.2.5"] "The container runs as nobody, and its health check asks the gate itself.";
    D2 Deployment [JwtChat] ["15.2.5"] "Database and cache stand on a network that only the gate reaches.";
    D3 Deployment [SessionApp] ["12.3.1" "12.3.3"] "The gate runs where the product is hosted.";
    D4 Deployment [SupabaseStripe] ["13.2.6" "15.2.2"] "Connections to the database are pooled, and a rush is answered from the pool.";
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Id::ALL
            .iter()
            .copied()
            .find(|id| id.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("there is no requirement `{text}`: `portcullis prove --list` shows them")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_a_sentence_and_a_shape() {
        assert_eq!(Id::ALL.len(), 115);
        for id in Id::ALL {
            assert!(id.sentence().ends_with('.'), "{id}");
            assert!(!id.shapes().is_empty(), "{id}");
            assert_eq!(id.as_str().parse(), Ok(*id));
        }
    }

    #[test]
    fn groups_follow_the_order_of_the_list() {
        let groups: Vec<Group> = Id::ALL.iter().map(|id| id.group()).collect();
        assert!(groups.is_sorted());
        assert!(Group::ALL.iter().all(|group| groups.contains(group)));
    }
}
