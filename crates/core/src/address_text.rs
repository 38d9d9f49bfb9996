//! IP addresses as text, without the machinery of formatting: every request has one written twice.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Characters of an IPv6 address with an IPv4 address in it, at most.
const LONGEST: usize = 45;

/// The text of an address, as its `Display` writes it.
#[derive(Debug, Clone, Copy)]
pub struct AddressText {
    bytes: [u8; LONGEST],
    len: usize,
}

impl AddressText {
    pub fn of(address: IpAddr) -> Self {
        let mut text = AddressText {
            bytes: [0; LONGEST],
            len: 0,
        };
        match address {
            IpAddr::V4(address) => text.v4(address),
            // Cannot fail: there is room for every address.
            IpAddr::V6(address) => drop(write!(text, "{address}")),
        }
        text
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn v4(&mut self, address: Ipv4Addr) {
        for (position, octet) in address.octets().into_iter().enumerate() {
            if position > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

impl std::fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_reads_as_its_display(address: IpAddr) {
            let text = AddressText::of(address);
            prop_assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap(), address.to_string());
        }
    }

    #[test]
    fn the_longest_address_fits() {
        let longest: IpAddr = "1111:2222:3333:4444:5555:6666:7777:8888".parse().unwrap();
        assert_eq!(AddressText::of(longest).as_bytes().len(), 39);
        let mapped: IpAddr = "::ffff:255.255.255.255".parse().unwrap();
        assert_eq!(
            AddressText::of(mapped).as_bytes(),
            b"::ffff:255.255.255.255"
        );
    }
}
