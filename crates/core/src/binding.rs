//! Where a request names its tenant, and whether that is the tenant of the caller.
//!
//! - A route says where: a segment of the path, the first label of the host, one header. It can
//!   also ask only that the caller works in some tenant, and name none.
//! - A tenant is named by its short name or by its id. The short name counts letter by letter, but in
//!   a host; an id may be in capitals. Any other spelling is another tenant's, or nobody's.
//! - Two names are no name: a header that comes twice, or in a second spelling that some servers
//!   read as the same header, is refused and not chosen from.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName};

use crate::decision::Consent;
use crate::route::Params;
use crate::{TenantId, Timestamp};

/// Where a route's tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// In no part of the request: the caller has to work in a tenant, whichever it is.
    Any,
    /// In this parameter of the path.
    Path(String),
    /// In the first label of the host. The rest of the host, with its leading dot, in lower case.
    Host(String),
    /// In this header.
    Header(HeaderName),
}

/// The tenant that a caller works in, as it can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub id: TenantId,
    /// The short name. Given once and never again to another tenant.
    pub slug: std::sync::Arc<str>,
    /// Nobody reaches the product from a tenant that is suspended.
    pub is_suspended: bool,
}

/// What of a request the decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// What the path gave.
    pub params: &'r Params<'r, 'r>,
    /// Without port and final dot, in any case.
    pub host: &'r str,
    pub headers: Option<&'r HeaderMap>,
    /// The tenant that the caller works in, as the register has it.
    pub place: Option<&'r Place>,
    /// What the person has agreed to, where the route asks for something. A program stands for the person whose key it
    /// has; a program of nobody and a visitor have agreed to nothing.
    pub agreed: &'r [Consent],
    /// When it arrived.
    pub now: Timestamp,
}

impl<'r> Asked<'r> {
    /// A request of which nothing is known but the path.
    pub const fn path(params: &'r Params<'r, 'r>, now: Timestamp) -> Self {
        Asked {
            params,
            host: "",
            headers: None,
            place: None,
            agreed: &[],
            now,
        }
    }
}

impl Binding {
    /// Whether the request names `place`, and nothing else.
    pub fn admits(&self, place: &Place, asked: &Asked<'_>) -> bool {
        match self {
            Binding::Any => true,
            Binding::Path(_) | Binding::Host(_) | Binding::Header(_) => {
                self.named(asked).is_some_and(|name| place.is_called(&name))
            }
        }
    }

    /// What the request names here, if it names exactly one thing.
    fn named<'r>(&self, asked: &Asked<'r>) -> Option<Cow<'r, str>> {
        match self {
            Binding::Any => None,
            Binding::Path(param) => asked.params.get(param).map(crate::path::decode_segment),
            // The case of a host means nothing (RFC 9110 section 4.2.3).
            Binding::Host(suffix) => first_label(asked.host, suffix).map(|label| {
                if label.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    Cow::Owned(label.to_ascii_lowercase())
                } else {
                    Cow::Borrowed(label)
                }
            }),
            Binding::Header(name) => only_value(asked.headers?, name).map(Cow::Borrowed),
        }
    }
}

/// As it is written in a configuration.
impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Binding::Any => f.write_str("\"any\""),
            Binding::Path(param) => write!(f, "{{ path = {param:?} }}"),
            Binding::Host(suffix) => write!(f, "{{ host = \"{{tenant}}{suffix}\" }}"),
            Binding::Header(name) => write!(f, "{{ header = {:?} }}", name.as_str()),
        }
    }
}

impl Place {
    fn is_called(&self, name: &str) -> bool {
        if *self.slug == *name {
            return true;
        }
        let mut text = uuid::Uuid::encode_buffer();
        let id = self.id.as_uuid().hyphenated().encode_lower(&mut text);
        name.eq_ignore_ascii_case(id)
    }
}

/// Whether `text` can be a tenant's short name: what can be the label of a host, and no id.
///
/// SECURITY: a short name that reads as an id could be another tenant's.
pub fn is_slug(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (2..=63).contains(&text.len())
        && text.bytes().all(|byte| word(byte) || byte == b'-')
        && text.bytes().next().is_some_and(word)
        && text.bytes().next_back().is_some_and(word)
        && text.parse::<uuid::Uuid>().is_err()
}

/// The label before `suffix`, where there is exactly one.
fn first_label<'r>(host: &'r str, suffix: &str) -> Option<&'r str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let at = host.len().checked_sub(suffix.len())?;
    let (label, rest) = host.split_at_checked(at)?;
    (rest.eq_ignore_ascii_case(suffix) && !label.is_empty() && !label.contains('.'))
        .then_some(label)
}

/// The one value of a header.
///
/// SECURITY: `X_Tenant` is `X-Tenant` to whatever turns headers into variables (CGI and its heirs).
/// A request with both names would be judged by one and served by the other.
fn only_value<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let twins = headers.keys().filter(|other| is_twin(other, name)).count();
    if twins != 1 {
        return None;
    }
    value.to_str().ok()
}

fn is_twin(one: &HeaderName, other: &HeaderName) -> bool {
    let plain = |byte: u8| {
        if byte == b'_' || byte == b'.' {
            b'-'
        } else {
            byte
        }
    };
    let (one, other) = (one.as_str().bytes(), other.as_str().bytes());
    one.map(plain).eq(other.map(plain))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::route::{Found, Methods, Pattern, RouteTable};

    fn acme() -> Place {
        Place {
            id: TenantId::new(),
            slug: "acme".into(),
            is_suspended: false,
        }
    }

    fn by_path(place: &Place, segment: &str) -> bool {
        let mut table = RouteTable::default();
        table
            .insert(Pattern::parse("/orgs/{org}").unwrap(), Methods::Any, ())
            .unwrap();
        let path = format!("/orgs/{segment}");
        let Found::Route { params, .. } = table.find(&Method::GET, &path) else {
            return false;
        };
        Binding::Path("org".to_owned()).admits(place, &Asked::path(&params, Timestamp::EPOCH))
    }

    fn by_host(place: &Place, host: &str) -> bool {
        Binding::Host(".example.com".to_owned()).admits(
            place,
            &Asked {
                host,
                ..Asked::path(&Params::default(), Timestamp::EPOCH)
            },
        )
    }

    fn by_header(place: &Place, sent: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Binding::Header(HeaderName::from_static("x-tenant")).admits(
            place,
            &Asked {
                headers: Some(&headers),
                ..Asked::path(&Params::default(), Timestamp::EPOCH)
            },
        )
    }

    #[test]
    fn the_path_names_the_tenant_by_its_short_name_or_its_id_and_by_nothing_else() {
        let place = acme();
        let id = place.id.to_string();
        for (segment, expected) in [
            ("acme", true),
            (id.as_str(), true),
            (&id.to_uppercase(), true),
            ("%61cme", true),
            ("Acme", false),
            ("acme.", false),
            ("acme%20", false),
            ("acme%00", false),
            ("acme%2f", false),
            ("%2561cme", false),
            ("acm", false),
            ("globex", false),
            (&id.replace('-', ""), false),
        ] {
            assert_eq!(by_path(&place, segment), expected, "{segment}");
        }
    }

    #[test]
    fn the_host_names_it_in_its_first_label_whatever_the_case_of_the_rest() {
        let place = acme();
        for (host, expected) in [
            ("acme.example.com", true),
            ("acme.EXAMPLE.com", true),
            ("ACME.example.com", true),
            ("acme.example.com.", true),
            ("globex.example.com", false),
            ("globex.acme.example.com", false),
            ("acme.globex.example.com", false),
            ("example.com", false),
            (".example.com", false),
            ("acmeexample.com", false),
            ("acme.example.com.evil.test", false),
        ] {
            assert_eq!(by_host(&place, host), expected, "{host}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_in_whatever_spelling_names_nobody() {
        let place = acme();
        for (sent, expected) in [
            (&[("x-tenant", "acme")][..], true),
            (&[], false),
            (&[("x-tenant", "globex")], false),
            (&[("x-tenant", "acme"), ("x-tenant", "globex")], false),
            (&[("x-tenant", "acme"), ("x-tenant", "acme")], false),
            (&[("x-tenant", "acme"), ("x_tenant", "globex")], false),
            (&[("x_tenant", "acme")], false),
            (&[("x-tenant", "acme, globex")], false),
            (&[("x-tenant", "acme"), ("x-tenants", "globex")], true),
        ] {
            assert_eq!(by_header(&place, sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn short_names_are_labels_and_never_ids() {
        for (text, expected) in [
            ("acme", true),
            ("a1", true),
            ("a-b-c", true),
            ("a", false),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("Acme", false),
            ("a.b", false),
            ("a_b", false),
            ("0191d3a0-0000-7000-8000-000000000000", false),
            ("0191d3a0000070008000000000000000", false),
        ] {
            assert_eq!(is_slug(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_other_tenant_is_ever_admitted(mine in "[a-z0-9]{2,6}", theirs in "[a-z0-9]{2,6}") {
            prop_assume!(mine != theirs);
            let place = Place { slug: mine.as_str().into(), ..acme() };
            prop_assert!(by_path(&place, &mine));
            prop_assert!(!by_path(&place, &theirs));
            let host = format!("{theirs}.example.com");
            prop_assert!(!by_host(&place, &host));
            prop_assert!(!by_header(&place, &[("x-tenant", &theirs)]));
            prop_assert!(!by_path(&place, &TenantId::new().to_string()));
        }

        #[test]
        fn whatever_is_admitted_by_path_reads_as_the_name_itself(segment in "[a-z%0-9A-F.]{1,12}") {
            let place = acme();
            if by_path(&place, &segment) {
                prop_assert_eq!(crate::path::decode_segment(&segment), "acme");
            }
        }
    }
}
