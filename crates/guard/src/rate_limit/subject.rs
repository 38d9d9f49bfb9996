//! Who a limit counts, in 17 bytes.

use std::net::IpAddr;

use portcullis_core::Principal;

use super::{Per, Subject};

const ADDRESS: u8 = 1;
const USER: u8 = 2;
const SESSION: u8 = 3;
const TENANT: u8 = 4;

impl Subject {
    /// An IPv4 address, or the /64 network of an IPv6 address.
    pub fn of_address(address: IpAddr) -> Self {
        let octets = match address.to_canonical() {
            IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
            // SECURITY: one customer gets a whole /64 and could take a new address for each try.
            IpAddr::V6(six) => (u128::from(six) & !u128::from(u64::MAX)).to_be_bytes(),
        };
        Subject::from_parts(ADDRESS, octets)
    }

    pub(super) fn of(per: Per, address: IpAddr, principal: &Principal) -> Self {
        let known = match (per, principal.user()) {
            (Per::Address, Some(_) | None) | (Per::User | Per::Session | Per::Tenant, None) => None,
            (Per::User, Some(user)) => Some((USER, user.id.as_uuid())),
            (Per::Session, Some(user)) => Some((SESSION, user.session.as_uuid())),
            (Per::Tenant, Some(user)) => user.tenant.map(|tenant| (TENANT, tenant.as_uuid())),
        };
        match known {
            Some((kind, id)) => Subject::from_parts(kind, id.into_bytes()),
            None => Subject::of_address(address),
        }
    }

    fn from_parts(kind: u8, bytes: [u8; 16]) -> Self {
        let mut subject = [kind; 17];
        let (_, rest) = subject.split_at_mut(1);
        rest.copy_from_slice(&bytes);
        Subject(subject)
    }
}
