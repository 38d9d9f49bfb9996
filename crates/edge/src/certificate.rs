//! What a certificate file says of itself, for `doctor`: from when until when it is valid, and for which
//! names. Clients refuse a certificate outside of its time, and the gate serves it all the same.
//!
//! The library that verifies certificates is asked (`webpki`), because two readers of X.509 would
//! sooner or later disagree. It tells the bounds of the validity in its refusals, which come before it
//! looks for an issuer (RFC 5280 section 6.1.3).

use std::time::Duration;

use portcullis_core::Timestamp;
use portcullis_core::finding::Finding;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use crate::config::{TlsConfig, finding};
use crate::tls::read_certificates;

/// When the certificates of a file are valid, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// The certificates that the gate shows.
#[derive(Debug)]
pub struct Shown(Vec<CertificateDer<'static>>);

impl Shown {
    pub fn read(config: &TlsConfig) -> Result<Self, Finding> {
        read_certificates(&config.cert, KEY).map(Shown)
    }

    /// The time that every certificate of the chain is valid in.
    pub fn validity(&self) -> Result<Validity, Finding> {
        let mut shown = Validity {
            not_before: Timestamp::EPOCH,
            not_after: Timestamp::from_micros(i64::MAX),
        };
        for certificate in &self.0 {
            let one = validity(certificate)?;
            shown.not_before = shown.not_before.max(one.not_before);
            shown.not_after = shown.not_after.min(one.not_after);
        }
        Ok(shown)
    }

    /// Whether a client that asked for `host` takes the first certificate for it. A wildcard is asked for
    /// by a name below it.
    pub fn covers(&self, host: &str) -> bool {
        let below = host.strip_prefix("*.").map(|rest| format!("any.{rest}"));
        let host = below.as_deref().unwrap_or(host);
        let Ok(name) = ServerName::try_from(host.trim_matches(['[', ']'])) else {
            return false;
        };
        let first = self.0.first().map(EndEntityCert::try_from);
        matches!(first, Some(Ok(first)) if first.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

const KEY: &str = "listen.tls.cert";

fn validity(certificate: &CertificateDer<'_>) -> Result<Validity, Finding> {
    let unreadable = |error: &dyn std::fmt::Display| {
        finding(KEY, format!("a certificate in it cannot be read: {error}"))
    };
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| unreadable(&error))?;
    let refused_at = |seconds| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        certificate
            .verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None)
            .err()
    };
    // No certificate is older than 1970 or younger than the year 9999 (RFC 5280 section 4.1.2.5).
    let not_before = match refused_at(0) {
        Some(Error::CertNotValidYet { not_before, .. }) => timestamp(not_before),
        Some(_) | None => Timestamp::EPOCH,
    };
    match refused_at(END_OF_TIME) {
        Some(Error::CertExpired { not_after, .. }) => Ok(Validity {
            not_before,
            not_after: timestamp(not_after),
        }),
        // A validity that cannot be read, or whose end comes before its beginning.
        Some(error) => Err(unreadable(&error)),
        None => Err(unreadable(&"it has no end")),
    }
}

/// The first second of the year 10000.
const END_OF_TIME: u64 = 253_402_300_800;

fn timestamp(time: UnixTime) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
