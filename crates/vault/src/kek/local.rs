//! A KEK of our own: derived from the master secret, or from another one that is nobody's but the
//! vault's.

use portcullis_core::Secret;

use super::{Asked, Error, Kek, KekKind, Settings, Whose};
use crate::Sealer;
use crate::keys::{Keys, Purpose};
use crate::seal::MARK_LEN;

pub(super) struct Local {
    kind: KekKind,
    sealer: Sealer,
}

impl Local {
    pub(super) fn of_master(keys: &Keys) -> Result<Self, Error> {
        Ok(Local {
            kind: KekKind::Master,
            sealer: Sealer::new(keys, Purpose::DataKey)?,
        })
    }

    pub(super) fn of_secret(settings: &Settings) -> Result<Self, Error> {
        let secret = settings.secrets.secret.clone().ok_or(Error::Wrap)?;
        Ok(Local {
            kind: KekKind::Secret,
            sealer: Sealer::new(&Keys::new(secret, Vec::new()), Purpose::DataKey)?,
        })
    }
}

impl Kek for Local {
    fn kind(&self) -> KekKind {
        self.kind
    }

    fn mark(&self) -> [u8; MARK_LEN] {
        self.sealer.mark()
    }

    fn knows(&self, mark: [u8; MARK_LEN]) -> bool {
        self.sealer.knows(mark)
    }

    fn wrap<'a>(&'a self, whose: &'a Whose<'_>, key: &'a [u8]) -> Asked<'a, Vec<u8>> {
        let wrapped = self.sealer.seal(&whose.parts(), key);
        Box::pin(std::future::ready(wrapped.map_err(Error::from)))
    }

    fn unwrap<'a>(&'a self, whose: &'a Whose<'_>, wrapped: &'a [u8]) -> Asked<'a, Secret<Vec<u8>>> {
        let key = self.sealer.open(&whose.parts(), wrapped);
        let key = key.map_err(|error| Error::Refused(self.kind, error.to_string().into()));
        Box::pin(std::future::ready(key))
    }
}
