//! Roles, what they inherit, and the permissions that they give.
//!
//! A permission is `action:scope` (`read:own`, `manage:users`). The scope `all` stands for every
//! scope of its action: who holds `delete:all` holds `delete:reported`. Everything is resolved into
//! bit sets when the policy is loaded, so that a decision is a few machine instructions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One role as the policy writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RoleConfig {
    /// Roles whose permissions this one has as well.
    pub inherits: Vec<String>,
    /// Permissions given by this role itself, each `action:scope`.
    pub permissions: Vec<String>,
    /// Roles that a holder may give to other members of a tenant, besides those that the holder
    /// has. Default `[]`: nobody gives what they do not hold.
    pub may_give: Vec<String>,
}

/// The bits of everything that a set of roles amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grants {
    roles: u128,
    permissions: u128,
}

/// A set of roles or of permissions that a route asks for; one of them is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask(u128);

impl Grants {
    pub const fn has_role(self, any_of: Mask) -> bool {
        self.roles & any_of.0 != 0
    }

    pub const fn has_permission(self, any_of: Mask) -> bool {
        self.permissions & any_of.0 != 0
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Grants) -> Grants {
        Grants {
            roles: self.roles | other.roles,
            permissions: self.permissions | other.permissions,
        }
    }

    /// Whether everything in `other` is in here too.
    pub const fn covers(self, other: Grants) -> bool {
        other.roles & !self.roles == 0 && other.permissions & !self.permissions == 0
    }
}

/// The compiled roles of a policy.
#[derive(Debug, Default)]
pub struct Roles {
    names: HashMap<Arc<str>, (u32, Grants)>,
    permissions: HashMap<Arc<str>, u32>,
    /// The roles that holders of a role may give besides their own.
    may_give: HashMap<Arc<str>, Mask>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    #[error("the role `{role}` inherits `{parent}`, which is not defined")]
    UnknownParent { role: String, parent: String },
    #[error("the role `{0}` inherits itself")]
    Cycle(String),
    #[error("`{permission}` of the role `{role}` is not `action:scope`")]
    BadPermission { role: String, permission: String },
    #[error("the role `{role}` may give `{given}`, which is not defined")]
    UnknownGiven { role: String, given: String },
    #[error("`{0}` cannot be the name of a role")]
    BadName(String),
    #[error("there are more than {limit} {what}")]
    TooMany { what: &'static str, limit: u32 },
    #[error("no role named `{0}` is defined")]
    UnknownRole(String),
    #[error("no role gives the permission `{0}`")]
    UnknownPermission(String),
}

const LIMIT: u32 = u128::BITS;

impl Roles {
    /// Compiles the roles of a policy, or says everything that is wrong with them.
    pub fn compile(config: &BTreeMap<String, RoleConfig>) -> Result<Self, Vec<RoleError>> {
        let mut errors = Vec::new();
        let mut permissions: HashMap<Arc<str>, u32> = HashMap::new();
        for (role, definition) in config {
            for permission in &definition.permissions {
                if !is_permission(permission) {
                    errors.push(RoleError::BadPermission {
                        role: role.clone(),
                        permission: permission.clone(),
                    });
                }
                let next = u32::try_from(permissions.len()).unwrap_or(u32::MAX);
                permissions
                    .entry(permission.as_str().into())
                    .or_insert(next);
            }
            for parent in definition
                .inherits
                .iter()
                .filter(|parent| !config.contains_key(*parent))
            {
                errors.push(RoleError::UnknownParent {
                    role: role.clone(),
                    parent: parent.clone(),
                });
            }
        }
        errors.extend(bad_names(config));
        if permissions.len() > LIMIT as usize {
            errors.push(RoleError::TooMany {
                what: "permissions",
                limit: LIMIT,
            });
        }
        if config.len() > LIMIT as usize {
            errors.push(RoleError::TooMany {
                what: "roles",
                limit: LIMIT,
            });
        }
        let mut names = HashMap::new();
        let bits: HashMap<&str, u32> = config.keys().map(String::as_str).zip(0..).collect();
        for (role, bit) in &bits {
            match closure(role, config, &bits, &permissions, &mut Vec::new()) {
                Ok(grants) => drop(names.insert(Arc::from(*role), (*bit, grants))),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            let may_give = config
                .iter()
                .map(|(role, definition)| {
                    let given = definition.may_give.iter();
                    let mask = given
                        .filter_map(|given| bits.get(given.as_str()))
                        .fold(0, |mask, position| mask | bit(*position));
                    (Arc::from(role.as_str()), Mask(mask))
                })
                .collect();
            Ok(Roles {
                names,
                permissions,
                may_give,
            })
        } else {
            Err(errors)
        }
    }

    /// What holding these roles amounts to. A role that the policy does not know gives nothing.
    pub fn resolve<S: AsRef<str>>(&self, held: &[S]) -> Grants {
        let mut all = Grants::default();
        for (_, grants) in held.iter().filter_map(|role| self.names.get(role.as_ref())) {
            all.roles |= grants.roles;
            all.permissions |= grants.permissions;
        }
        all
    }

    /// What these permissions amount to. One that the policy does not know gives nothing.
    pub fn permissions<S: AsRef<str>>(&self, held: &[S]) -> Grants {
        let known = held
            .iter()
            .filter_map(|permission| self.permissions.get(permission.as_ref()));
        Grants {
            roles: 0,
            permissions: known.fold(0, |all, position| all | bit(*position)),
        }
    }

    /// Whether a holder of the roles `held`, which amount to `holds`, may give `role` to others:
    /// it gives nothing that they do not hold, or one of their roles says so.
    pub fn may_give<S: AsRef<str>>(&self, held: &[S], holds: Grants, role: &str) -> bool {
        let Some((position, grants)) = self.names.get(role) else {
            return false;
        };
        holds.covers(*grants)
            || held
                .iter()
                .filter_map(|held| self.may_give.get(held.as_ref()))
                .any(|mask| mask.0 & bit(*position) != 0)
    }

    /// The same for who holds permissions and no role. A role without permissions stands for what
    /// only roles open, and is not theirs to give.
    pub fn may_give_by_permissions(&self, holds: Grants, role: &str) -> bool {
        self.names.get(role).is_some_and(|(_, grants)| {
            grants.permissions != 0 && grants.permissions & !holds.permissions == 0
        })
    }

    pub fn contains_permission(&self, permission: &str) -> bool {
        self.permissions.contains_key(permission)
    }

    pub fn contains(&self, role: &str) -> bool {
        self.names.contains_key(role)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Every permission that some role gives.
    pub fn permission_names(&self) -> impl Iterator<Item = &str> {
        self.permissions.keys().map(AsRef::as_ref)
    }

    /// The mask that any of these roles (or of roles that inherit them) satisfies.
    pub fn role_mask(&self, roles: &[String]) -> Result<Mask, RoleError> {
        roles.iter().try_fold(Mask::default(), |mask, role| {
            let (position, _) = self
                .names
                .get(role.as_str())
                .ok_or_else(|| RoleError::UnknownRole(role.clone()))?;
            Ok(Mask(mask.0 | bit(*position)))
        })
    }

    /// The mask of one permission: satisfied by itself, and by the scope `all` of its action. An
    /// error where no role names it, for that is a slip of the pen more often than a wish.
    pub fn permission_mask(&self, permission: &str) -> Result<Mask, RoleError> {
        let position = self
            .permissions
            .get(permission)
            .ok_or_else(|| RoleError::UnknownPermission(permission.to_owned()))?;
        let all = permission
            .split_once(':')
            .and_then(|(action, _)| self.permissions.get(format!("{action}:all").as_str()));
        Ok(Mask(bit(*position) | all.map_or(0, |all| bit(*all))))
    }
}

/// How the roles that a tenant makes for itself are told from those of the policy.
pub const CUSTOM: &str = "custom:";

/// Names of roles, their own or those they may give, that mean nothing or something else.
fn bad_names(config: &BTreeMap<String, RoleConfig>) -> Vec<RoleError> {
    let mut errors = Vec::new();
    for (role, definition) in config {
        // SECURITY: a role of the policy with such a name would be held by whoever holds a
        // tenant's own role of that name.
        if role.starts_with(CUSTOM) {
            errors.push(RoleError::BadName(role.clone()));
        }
        for given in &definition.may_give {
            if !config.contains_key(given) {
                errors.push(RoleError::UnknownGiven {
                    role: role.clone(),
                    given: given.clone(),
                });
            }
        }
    }
    errors
}

fn bit(position: u32) -> u128 {
    1_u128.checked_shl(position).unwrap_or(0)
}

fn closure<'a>(
    role: &'a str,
    config: &'a BTreeMap<String, RoleConfig>,
    bits: &HashMap<&str, u32>,
    permissions: &HashMap<Arc<str>, u32>,
    path: &mut Vec<&'a str>,
) -> Result<Grants, RoleError> {
    if path.contains(&role) {
        return Err(RoleError::Cycle(role.to_owned()));
    }
    let Some(definition) = config.get(role) else {
        return Ok(Grants::default());
    };
    let mut grants = Grants {
        roles: bits.get(role).copied().map_or(0, bit),
        permissions: 0,
    };
    for permission in &definition.permissions {
        grants.permissions |= permissions.get(permission.as_str()).copied().map_or(0, bit);
    }
    path.push(role);
    for parent in &definition.inherits {
        let inherited = closure(parent, config, bits, permissions, path)?;
        grants.roles |= inherited.roles;
        grants.permissions |= inherited.permissions;
    }
    path.pop();
    Ok(grants)
}

fn is_permission(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
    };
    text.split_once(':')
        .is_some_and(|(action, scope)| word(action) && word(scope))
}

/// The roles that ship as the default (T2): `user`, `premium`, `moderator`, `admin`.
pub fn default_roles() -> BTreeMap<String, RoleConfig> {
    let role = |inherits: &[&str], permissions: &[&str]| RoleConfig {
        inherits: inherits.iter().map(ToString::to_string).collect(),
        permissions: permissions.iter().map(ToString::to_string).collect(),
        may_give: Vec::new(),
    };
    BTreeMap::from([
        (
            "user".to_owned(),
            role(&[], &["read:own", "write:own", "delete:own"]),
        ),
        ("premium".to_owned(), role(&["user"], &["export:own"])),
        (
            "moderator".to_owned(),
            role(
                &[],
                &[
                    "read:all",
                    "write:own",
                    "delete:reported",
                    "moderate:content",
                ],
            ),
        ),
        (
            "admin".to_owned(),
            RoleConfig {
                may_give: ["user", "premium", "moderator"].map(str::to_owned).to_vec(),
                ..role(
                    &[],
                    &[
                        "read:all",
                        "write:all",
                        "delete:all",
                        "manage:users",
                        "manage:keys",
                        "manage:secrets",
                        "manage:uploads",
                        "manage:audit",
                        "manage:system",
                        "record:scans",
                    ],
                )
            },
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_roles_hold_what_they_promise() {
        let roles = Roles::compile(&default_roles()).unwrap();
        let may = |role: &str, permission: &str| {
            roles
                .resolve(&[role])
                .has_permission(roles.permission_mask(permission).unwrap())
        };
        for (role, permission, expected) in [
            ("user", "read:own", true),
            ("user", "export:own", false),
            ("premium", "read:own", true),
            ("premium", "export:own", true),
            ("moderator", "read:all", true),
            ("moderator", "write:all", false),
            ("moderator", "delete:reported", true),
            ("admin", "manage:system", true),
            ("admin", "delete:reported", true),
            ("admin", "read:own", true),
            ("admin", "moderate:content", false),
            ("admin", "export:own", false),
            ("moderator", "delete:own", false),
            ("nobody", "read:own", false),
        ] {
            assert_eq!(may(role, permission), expected, "{role} {permission}");
        }
    }

    #[test]
    fn the_scope_all_stands_for_every_scope_of_its_action_and_for_no_other_action() {
        let role = |permissions: &[&str]| RoleConfig {
            inherits: vec![],
            permissions: permissions.iter().map(ToString::to_string).collect(),
            may_give: vec![],
        };
        let roles = Roles::compile(&BTreeMap::from([
            ("keeper".to_owned(), role(&["delete:all"])),
            ("sweeper".to_owned(), role(&["delete:reported"])),
        ]))
        .unwrap();
        let may = |role: &str, permission: &str| {
            roles
                .resolve(&[role])
                .has_permission(roles.permission_mask(permission).unwrap())
        };
        assert!(may("keeper", "delete:reported"));
        assert!(may("sweeper", "delete:reported"));
        assert!(!may("sweeper", "delete:all"));
        for nobodys in [
            "delete:spam",
            "read:reported",
            "deleted:reported",
            "delete",
            "all:delete",
        ] {
            assert_eq!(
                roles.permission_mask(nobodys),
                Err(RoleError::UnknownPermission(nobodys.to_owned()))
            );
        }
    }

    #[test]
    fn a_role_counts_as_the_roles_it_inherits() {
        let roles = Roles::compile(&default_roles()).unwrap();
        let user = roles.role_mask(&["user".to_owned()]).unwrap();
        assert!(roles.resolve(&["premium"]).has_role(user));
        assert!(!roles.resolve(&["moderator"]).has_role(user));
    }

    #[test]
    fn nobody_gives_what_they_do_not_hold_unless_their_role_says_so() {
        let roles = Roles::compile(&default_roles()).unwrap();
        let may = |held: &str, given: &str| roles.may_give(&[held], roles.resolve(&[held]), given);
        for (held, given, expected) in [
            ("user", "user", true),
            ("premium", "user", true),
            ("user", "premium", false),
            ("user", "admin", false),
            ("moderator", "user", false),
            ("moderator", "admin", false),
            ("admin", "admin", true),
            ("admin", "moderator", true),
            ("admin", "emperor", false),
            ("nobody", "user", false),
        ] {
            assert_eq!(may(held, given), expected, "{held} gives {given}");
        }
    }

    #[test]
    fn a_role_of_the_policy_cannot_pass_for_a_tenants_own() {
        let config = BTreeMap::from([("custom:editor".to_owned(), RoleConfig::default())]);
        assert_eq!(
            Roles::compile(&config).unwrap_err(),
            [RoleError::BadName("custom:editor".to_owned())]
        );
    }

    #[test]
    fn every_mistake_is_named() {
        let config = BTreeMap::from([
            (
                "a".to_owned(),
                RoleConfig {
                    inherits: vec!["b".to_owned()],
                    permissions: vec!["Read".to_owned()],
                    ..RoleConfig::default()
                },
            ),
            (
                "b".to_owned(),
                RoleConfig {
                    inherits: vec!["a".to_owned(), "c".to_owned()],
                    permissions: vec![],
                    ..RoleConfig::default()
                },
            ),
        ]);
        let errors = Roles::compile(&config).unwrap_err();
        assert!(errors.iter().any(|e| matches!(e, RoleError::Cycle(_))));
        assert!(
            errors
                .iter()
                .any(|e| matches!(e, RoleError::BadPermission { .. }))
        );
        assert!(
            errors
                .iter()
                .any(|e| matches!(e, RoleError::UnknownParent { .. }))
        );
    }
}
