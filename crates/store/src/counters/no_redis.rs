//! A build without the feature `redis`: it has the types, and nobody can have a value of one.

use std::future::{Ready, ready};

use portcullis_core::{Secret, Timestamp};

use super::{Charge, Counters, Health, Keys, NotRead, Taken};
use crate::{Config, Error};

#[derive(Debug)]
pub enum Redis {}

#[derive(Debug)]
pub enum Keeper {}

/// Always an error, as [`Counters::redis`] is.
pub fn contents(_: &Config, _: &Secret<String>) -> Ready<Result<Keys, NotRead>> {
    ready(Err(Error::Address(crate::config::NO_REDIS).into()))
}

impl Counters {
    /// Always an error: see [`Config::findings`], which says so before the gate starts.
    pub fn redis(_: &Config, _: &Secret<String>) -> Result<(Counters, Keeper), Error> {
        Err(Error::Address(crate::config::NO_REDIS))
    }
}

impl Redis {
    pub(super) fn take_now(&self, _: Timestamp, _: &[Charge]) -> Option<Taken> {
        match *self {}
    }

    pub(super) fn take(&self, _: Timestamp, _: &[Charge]) -> Ready<Taken> {
        match *self {}
    }

    pub(super) fn health(&self) -> Health {
        match *self {}
    }
}

impl Keeper {
    /// Connects once. Whether it worked.
    pub fn connect(&self) -> Ready<bool> {
        match *self {}
    }

    /// Runs until it is dropped.
    pub fn run(self) -> Ready<()> {
        match self {}
    }
}
