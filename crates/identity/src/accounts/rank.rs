//! Nobody gives more than they hold, and nobody rules over an account that holds more than they do:
//! whoever sets the password of an administrator is one.

use std::sync::Arc;

use portcullis_core::principal::ApiKey;
use portcullis_core::roles::Roles;
use portcullis_core::{Principal, UserId};
use portcullis_events::Actor;
use portcullis_store::Tx;

use super::{Accounts, By, Error};
use crate::tenants::standing::{From, Held};
use crate::users;

/// What whoever acts holds everywhere: an account is nobody's in one tenant alone.
#[derive(Debug, Clone)]
pub(super) enum Holds {
    /// The command line's.
    Everything,
    Roles(Arc<[Arc<str>]>),
    Key(Box<ApiKey>),
    Nothing,
}

impl Holds {
    pub(super) fn of(caller: &Principal) -> Self {
        match caller {
            Principal::User(user) => Holds::Roles(Arc::clone(&user.roles)),
            Principal::ApiKey(key) => Holds::Key(Box::new(key.clone())),
            Principal::Anonymous | Principal::Visitor(_) => Holds::Nothing,
        }
    }

    fn may_give(&self, roles: &Roles, role: &str) -> bool {
        match self {
            Holds::Everything => true,
            Holds::Roles(held) => roles.may_give(held, roles.resolve(held), role),
            Holds::Key(key) => {
                let able: Vec<&str> = key
                    .permissions
                    .iter()
                    .map(AsRef::as_ref)
                    .filter(|permission| key.may(permission, roles))
                    .collect();
                roles.may_give_by_permissions(roles.permissions(&able), role)
            }
            Holds::Nothing => false,
        }
    }
}

impl By {
    /// The first of these roles that is not theirs to give.
    pub(crate) fn outranked_by<'r>(
        &self,
        policy: &Roles,
        named: &'r [String],
    ) -> Option<&'r String> {
        // A role that the policy no longer has gives nothing, and may be taken by anybody.
        named
            .iter()
            .find(|role| policy.contains(role) && !self.holds.may_give(policy, role))
    }

    /// The first role of an account, everywhere or in any tenant, that is not theirs to give: they
    /// may not act as its owner could.
    pub(crate) async fn outranked_by_owner(
        &self,
        tx: &mut Tx,
        policy: &Roles,
        user: UserId,
    ) -> Result<Option<String>, portcullis_store::Error> {
        const SQL: &str = "SELECT role FROM user_role WHERE user_id = $1 UNION SELECT role FROM member_role WHERE user_id = $1 ORDER BY role";
        if self.actor == Actor::User(user) || matches!(self.holds, Holds::Everything) {
            return Ok(None);
        }
        users::touch(tx, user).await?;
        let rows = tx.fetch_all(SQL, &[user.into()]).await?;
        let held: Result<Vec<String>, _> = rows.iter().map(|row| row.text("role")).collect();
        Ok(self.outranked_by(policy, &held?).cloned())
    }
}

impl Accounts {
    /// Whether `by` may give these roles.
    pub(super) fn check_roles(&self, named: &[String], by: &By) -> Result<(), Error> {
        let policy = self.parts().sessions.policy().get();
        match by.outranked_by(&policy, named) {
            Some(role) => Err(Error::Outranked(role.clone())),
            None => Ok(()),
        }
    }

    /// Whether `by` may give and take what changes with these roles.
    pub(super) async fn check_change(
        &self,
        tx: &mut Tx,
        user: UserId,
        roles: &[String],
        by: &By,
    ) -> Result<(), Error> {
        // Held to the end, so that what is compared is what is there.
        users::touch(tx, user).await?;
        let before = Held::everywhere(&mut From::Tx(tx), user).await?;
        let taken = before.iter().filter(|role| !roles.contains(role));
        let given = roles.iter().filter(|role| !before.contains(role));
        let changed: Vec<String> = taken.chain(given).cloned().collect();
        self.check_roles(&changed, by)
    }

    /// Whether `by` may act as the owner of this account could: it holds nothing that they do not.
    pub(crate) async fn check_rule(&self, tx: &mut Tx, user: UserId, by: &By) -> Result<(), Error> {
        let policy = self.parts().sessions.policy().get();
        match by.outranked_by_owner(tx, &policy, user).await? {
            Some(role) => Err(Error::Outranked(role)),
            None => Ok(()),
        }
    }
}
