//! Whom a limit counts.

use std::net::{IpAddr, Ipv6Addr};

use portcullis_core::Principal;
use portcullis_store::counters::Subject;

use super::Per;

/// Kinds of our own begin at 128.
const TENANT: u8 = 128;

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

pub(super) fn of(per: Per, address: IpAddr, principal: &Principal) -> Subject {
    let known = match (per, principal.user()) {
        (Per::Address, Some(_) | None) | (Per::User | Per::Session | Per::Tenant, None) => None,
        (Per::User, Some(user)) => Some(Subject::user(user.id)),
        (Per::Session, Some(user)) => Some(Subject::session(user.session)),
        (Per::Tenant, Some(user)) => user
            .tenant
            .map(|tenant| Subject::new(TENANT, tenant.as_uuid().into_bytes())),
    };
    known.unwrap_or_else(|| of_address(address))
}
