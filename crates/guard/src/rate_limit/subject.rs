//! Whom a limit counts.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_core::Principal;
use portcullis_core::principal::Credential;
use portcullis_store::counters::Subject;

use super::Per;

/// Kinds of our own begin at 128.
const TENANT: u8 = 128;
const API_KEY: u8 = 129;
const VISITOR: u8 = 130;

/// An IPv4 address, or the /64 network of an IPv6 address.
pub fn of_address(address: IpAddr) -> Subject {
    match address.to_canonical() {
        four @ IpAddr::V4(_) => Subject::address(four),
        // SECURITY: one customer gets a whole /64 and could take a new address for each try.
        IpAddr::V6(six) => {
            let network = u128::from(six) & !u128::from(u64::MAX);
            Subject::address(IpAddr::V6(Ipv6Addr::from(network)))
        }
    }
}

/// Whom a limit counts. Whoever is not of the kind that it counts is counted by address.
pub(super) fn of(per: Per, address: IpAddr, principal: &Principal) -> Subject {
    let known = match per {
        Per::Address => None,
        Per::User => caller(principal),
        Per::Session => match principal {
            Principal::User(user) => match user.credential {
                Credential::Session(id) => Some(Subject::session(id)),
                Credential::AccessToken(_) | Credential::Foreign => caller(principal),
            },
            Principal::Anonymous | Principal::ApiKey(_) | Principal::Visitor(_) => {
                caller(principal)
            }
        },
        Per::ApiKey => match principal {
            Principal::ApiKey(_) => caller(principal),
            Principal::Anonymous | Principal::User(_) | Principal::Visitor(_) => None,
        },
        Per::Tenant => principal
            .tenant()
            .map(|tenant| Subject::new(TENANT, tenant.as_uuid().into_bytes())),
    };
    known.unwrap_or_else(|| of_address(address))
}

fn caller(principal: &Principal) -> Option<Subject> {
    match principal {
        Principal::Anonymous => None,
        Principal::User(user) => Some(Subject::user(user.id)),
        Principal::ApiKey(key) => Some(Subject::new(API_KEY, key.id.as_uuid().into_bytes())),
        Principal::Visitor(visitor) => {
            Some(Subject::new(VISITOR, visitor.id.as_uuid().into_bytes()))
        }
    }
}
