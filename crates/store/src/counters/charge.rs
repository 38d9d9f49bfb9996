//! What is charged: which limit, to whom, at which rate.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use portcullis_core::limit::Rate;
use portcullis_core::{SessionId, UserId};

/// One unit, charged to one subject under one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    pub limit: LimitId,
    pub subject: Subject,
    pub rate: Rate,
    pub when_degraded: WhenDegraded,
}

/// A limit. Made from its configured name, so that it means the same on every node and after every
/// reload, whatever the order of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(u64);

impl LimitId {
    /// Hashes: make it once, when the configuration is read.
    pub fn named(name: &str) -> LimitId {
        let digest = digest(&SHA256, name.as_bytes());
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        LimitId(u64::from_be_bytes(first))
    }

    pub(super) const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Whom a charge is counted for: a kind, and 16 bytes that identify one of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject([u8; 17]);

impl Subject {
    const ADDRESS: u8 = 1;
    const USER: u8 = 2;
    const SESSION: u8 = 3;
    const DIGEST: u8 = 4;
    const EVERYBODY: u8 = 5;

    /// An address as it stands; give a network's first address to count a network.
    pub fn address(address: IpAddr) -> Subject {
        let octets = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        Subject::new(Subject::ADDRESS, octets)
    }

    pub fn user(id: UserId) -> Subject {
        Subject::new(Subject::USER, id.as_uuid().into_bytes())
    }

    pub fn session(id: SessionId) -> Subject {
        Subject::new(Subject::SESSION, id.as_uuid().into_bytes())
    }

    /// Anything else, hashed: an e-mail address in its one spelling, a name, an API key.
    pub fn digest(text: &[u8]) -> Subject {
        let digest = digest(&SHA256, text);
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        Subject::new(Subject::DIGEST, first)
    }

    /// One counter for all.
    pub const fn everybody() -> Subject {
        Subject::new(Subject::EVERYBODY, [0; 16])
    }

    /// A kind of the caller's own, from 128 upwards.
    pub const fn new(kind: u8, bytes: [u8; 16]) -> Subject {
        let mut subject = [0; 17];
        let (first, rest) = subject.split_at_mut(1);
        first.copy_from_slice(&[kind]);
        rest.copy_from_slice(&bytes);
        Subject(subject)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 17] {
        &self.0
    }
}

/// What a node allows by itself while Redis is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDegraded {
    /// The rate divided by the number of nodes.
    Share,
    /// A tenth of the rate, or less when there are more than ten nodes: for what guards a login.
    Tenth,
}
