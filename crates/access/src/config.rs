//! `[[route]]` and `[roles.NAME]` as they are written.

mod tenant;

use std::collections::BTreeMap;
use std::fmt;

use portcullis_core::Span;
use portcullis_core::decision::Scope;
use portcullis_core::principal::CallerKind;
use portcullis_core::roles::{RoleConfig, default_roles};
use portcullis_core::size::ByteSize;
use portcullis_core::upload::UploadConfig;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::tenant::TenantAt;
use crate::lines::Lines;

/// The part of the configuration that says who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct AccessConfig {
    /// The roles that users may hold, by name. Default: `user`, `premium`, `moderator`, `admin`.
    /// Naming one role here replaces all of the default ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeMap<String, RoleConfig>>,
    /// The routes. A request that matches none of them is refused. Default: none.
    #[serde(rename = "route")]
    pub routes: Vec<RouteConfig>,
}

/// One route.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a file, each with its own key"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteConfig {
    /// The path: `/literal`, `{name}` for one segment, `{*name}` as the last for all that is left.
    /// The most specific path decides, and alone. Required.
    pub path: String,
    /// The methods that the route answers to. `GET` includes `HEAD`. Default: every method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Who may: `"public"`, `"user"`, `"closed"`, `{ role = ["admin"] }`,
    /// `{ permission = "manage:users" }` or `{ action = "read", owner = "user_id" }`. Required: a
    /// route without a decision is a mistake. Risk: `"public"` opens it to the whole internet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
    /// The kinds of callers that may come at all, where the route is not public: `"user"`,
    /// `"api-key"`, `"visitor"`. Default: users. Whoever comes must satisfy `allow` as well; an
    /// API key has permissions and no roles, a visitor has neither. Risk: each kind is one more way in.
    #[serde(default = "users", skip_serializing_if = "is_users")]
    pub callers: Vec<CallerKind>,
    /// Whether people must have proved a second factor in their session. Default `false`. Programs and
    /// visitors are not asked for one.
    #[serde(default, skip_serializing_if = "is_no")]
    pub mfa: bool,
    /// How long ago people may have signed in, such as `"15m"`. Default: as long as the session lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// What people must have agreed to: a `[[purpose]]`, such as `"marketing"`, or `"marketing@2026-11"`, which `check`
    /// refuses once another version is shown. Who has not agreed to the version that is shown now gets 403
    /// `consent-required`. A key counts for the person whose it is; one of nobody is refused, and visitors cannot be
    /// among `callers`. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
    /// Where the request names its tenant: `{ path = "org" }`, `{ host = "{tenant}.example.com" }`,
    /// `{ header = "X-Tenant" }`; `"any"` where it names none and the caller has to work in one all
    /// the same. The caller's tenant must be the one that is named. Default: tenants do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantAt>,
    /// The upstream that answers, by its name in `[upstream.NAME]`. Default: the only one, or the
    /// one named `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The host that the route is for, without port. Default: every host that `[hosts]` allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Limits of `[limits.NAME]` that are taken here as well. Default: none beyond those that
    /// apply everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// Whether unsafe requests with a session cookie must prove that they come from the product's
    /// own pages. Default `true`. Risk: `false` lets other sites act in the name of a user.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub csrf: bool,
    /// Who may show the route's pages in a frame: `"deny"`, `"same-origin"`, or
    /// `{ tenant = "parameter" }` for the origins that the tenant named in that parameter of the path
    /// has named for its widget. Default: what `[headers]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framing: Option<Framing>,
    /// The largest request body, such as `"10MiB"`. Default: what `[body]` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<ByteSize>,
    /// Whether requests must be as `[openapi]` describes them: values in path and query, and bodies of
    /// JSON and of forms. Default `false`. What the document does not describe is refused.
    #[serde(default, skip_serializing_if = "is_no")]
    pub schema: bool,
    /// What comes in on this route is files: each is screened before the product sees any of it. What it takes
    /// stands in a table of its own, `[route.upload]`, and `upload = {}` takes what is usual. Default: bodies
    /// are not looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadConfig>,
    /// How long the upstream may take until its answer begins, such as `"30s"`. Default: what the
    /// upstream says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Whether the origins that `[cors]` allows may call this route. Default `true`. `false` keeps
    /// the route to the product's own origin.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub cors: bool,
    /// Whether it is part of the way to a second factor, and so open to those who still have to get
    /// one. Of the gate's own routes alone.
    #[serde(skip)]
    pub is_way_to_factor: bool,
    /// Of the gate's own routes alone: whether they are about every tenant.
    #[serde(skip)]
    pub scope: Scope,
    /// Of the gate's own routes alone: called by pages of the origins that the tenant in the path
    /// parameter `tenant` has named for its widget, and by no others.
    #[serde(skip)]
    pub is_called_by_widget: bool,
    /// Of the gate's own routes alone: pages of other sites load what it answers.
    #[serde(skip)]
    pub is_shared: bool,
    /// Where the route begins in its file, counted from 1. Filled by [`AccessConfig::locate`].
    #[serde(skip)]
    pub line: Option<usize>,
}

fn yes() -> bool {
    true
}

fn users() -> Vec<CallerKind> {
    vec![CallerKind::User]
}

fn is_users(callers: &[CallerKind]) -> bool {
    callers == [CallerKind::User]
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_no(value: &bool) -> bool {
    !*value
}

impl RouteConfig {
    /// A route with everything at its default.
    pub fn new(path: &str, allow: Allow) -> Self {
        RouteConfig {
            path: path.to_owned(),
            methods: None,
            allow: Some(allow),
            callers: users(),
            mfa: false,
            max_age: None,
            consent: None,
            is_way_to_factor: false,
            tenant: None,
            upstream: None,
            host: None,
            limits: Vec::new(),
            csrf: true,
            framing: None,
            max_body: None,
            schema: false,
            upload: None,
            timeout: None,
            cors: true,
            scope: Scope::Tenant,
            is_called_by_widget: false,
            is_shared: false,
            line: None,
        }
    }
}

impl AccessConfig {
    /// Remembers for each route on which line of `source` it begins. A source that these routes
    /// did not come from leaves them without lines.
    pub fn locate(&mut self, source: &str) {
        let Some(lines) = Lines::of(source) else {
            return;
        };
        for (position, route) in self.routes.iter_mut().enumerate() {
            route.line = lines.find(&["route", &position.to_string()]);
        }
    }

    /// The roles that count: those that are written, or the default ones.
    pub fn roles(&self) -> BTreeMap<String, RoleConfig> {
        self.roles.clone().unwrap_or_else(default_roles)
    }
}

/// Who may show a page in a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    Deny,
    SameOrigin,
    /// The origins of the tenant that this parameter of the path names.
    Tenant(String),
}

/// Who may use a route, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Everybody, signed in or not.
    Public,
    /// Everybody who is signed in.
    User,
    /// Nobody.
    Closed,
    /// Who holds one of these roles, or one that inherits them.
    Role(Vec<String>),
    /// Who holds this permission (`action:scope`).
    Permission(String),
    /// Who holds `action:all`, or holds `action:own` and is the user whose id stands in the path
    /// parameter `owner`.
    Owned { action: String, owner: String },
}

impl Allow {
    pub fn is_public(&self) -> bool {
        match self {
            Allow::Public => true,
            Allow::User
            | Allow::Closed
            | Allow::Role(_)
            | Allow::Permission(_)
            | Allow::Owned { .. } => false,
        }
    }
}

/// As it is written in TOML.
impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allow::Public => f.write_str("\"public\""),
            Allow::User => f.write_str("\"user\""),
            Allow::Closed => f.write_str("\"closed\""),
            Allow::Role(names) => write!(f, "{{ role = {names:?} }}"),
            Allow::Permission(name) => write!(f, "{{ permission = {name:?} }}"),
            Allow::Owned { action, owner } => {
                write!(f, "{{ action = {action:?}, owner = {owner:?} }}")
            }
        }
    }
}

impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = match self {
            Allow::Public => "public",
            Allow::User => "user",
            Allow::Closed => "closed",
            Allow::Role(names) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("role", names)?;
                return map.end();
            }
            Allow::Permission(name) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("permission", name)?;
                return map.end();
            }
            Allow::Owned { action, owner } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("action", action)?;
                map.serialize_entry("owner", owner)?;
                return map.end();
            }
        };
        serializer.serialize_str(word)
    }
}

const EXPECTED: &str = "\"public\", \"user\", \"closed\", { role = [\"..\"] }, { permission = \"action:scope\" } or { action = \"read\", owner = \"parameter\" }";

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllowVisitor)
    }
}

struct AllowVisitor;

impl<'de> Visitor<'de> for AllowVisitor {
    type Value = Allow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Allow, E> {
        match word {
            "public" => Ok(Allow::Public),
            "user" => Ok(Allow::User),
            "closed" => Ok(Allow::Closed),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Allow, A::Error> {
        let mut parts = AllowParts::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "role" => parts.role = Some(map.next_value::<OneOrMany>()?.0),
                "permission" => parts.permission = Some(map.next_value()?),
                "action" => parts.action = Some(map.next_value()?),
                "owner" => parts.owner = Some(map.next_value()?),
                other => {
                    let known = &["role", "permission", "action", "owner"];
                    return Err(de::Error::unknown_field(other, known));
                }
            }
        }
        match parts {
            AllowParts {
                role: Some(names),
                permission: None,
                action: None,
                owner: None,
            } => Ok(Allow::Role(names)),
            AllowParts {
                role: None,
                permission: Some(name),
                action: None,
                owner: None,
            } => Ok(Allow::Permission(name)),
            AllowParts {
                role: None,
                permission: None,
                action: Some(action),
                owner: Some(owner),
            } => Ok(Allow::Owned { action, owner }),
            // Two conditions on one route: whoever wrote them may have meant `and` or `or`.
            AllowParts { .. } => Err(de::Error::custom(format!(
                "`allow` takes one condition: {EXPECTED}"
            ))),
        }
    }
}

#[derive(Default)]
struct AllowParts {
    role: Option<Vec<String>>,
    permission: Option<String>,
    action: Option<String>,
    owner: Option<String>,
}

/// `"admin"` or `["admin", "moderator"]`.
struct OneOrMany(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a role name or a list of them")]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Ok(OneOrMany(match Either::deserialize(deserializer)? {
            Either::One(name) => vec![name],
            Either::Many(names) => names,
        }))
    }
}

#[cfg(test)]
mod tests;
