//! Identifiers. Each kind is a type of its own, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, ordered by time (UUID version 7, RFC 9562 section 5.7).
            #[expect(clippy::new_without_default, reason = "each call gives another value; a default would hide that")]
            pub fn new() -> Self {
                $name(Uuid::now_v7())
            }

            pub const fn from_uuid(uuid: Uuid) -> Self {
                $name(uuid)
            }

            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

id!(
    /// A local account.
    UserId
);
id!(
    /// A session's public name: shown in lists, used to revoke it. It opens nothing.
    SessionId
);
id!(
    /// An access token's line: every refresh token that came of one sign-in.
    TokenFamilyId
);
id!(
    /// An API key's public name: shown in lists, used to revoke it. It opens nothing.
    ApiKeyId
);
id!(
    /// Somebody without an account, for as long as they are remembered.
    VisitorId
);
id!(
    /// A customer of the product: the wall that data must not cross.
    TenantId
);
id!(
    /// A record in the audit trail.
    EventId
);
id!(
    /// One request, in the answer, the log and the audit trail alike.
    RequestId
);

impl RequestId {
    /// The identifier of a request that arrived at `now`, with random bits that the caller drew:
    /// for where there is no time for the system's source with every request.
    pub fn of(now: Timestamp, random: &[u8; 10]) -> Self {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        RequestId(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid())
    }

    /// The text of the identifier as the value of a header.
    pub fn to_header(self) -> HeaderValue {
        let mut text = Uuid::encode_buffer();
        let text = self.0.hyphenated().encode_lower(&mut text);
        // Hexadecimal digits always are the value of a header.
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
    }
}
