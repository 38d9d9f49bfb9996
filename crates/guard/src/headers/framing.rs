//! Pages that the origins of one tenant may frame, and nobody else (CWE-1021).
//!
//! Such a route is compiled as one that nobody may frame. When it is known whose page an answer is, that
//! is opened to the origins by name; where it is not, it stays shut.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const SHUT: &str = "frame-ancestors 'none'";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Lets `ancestors`, origins separated by spaces, frame this answer.
pub fn open_to(ancestors: &str, headers: &mut HeaderMap) {
    let Some(policy) = headers.get(header::CONTENT_SECURITY_POLICY) else {
        return;
    };
    let open = policy
        .to_str()
        .ok()
        .and_then(|text| text.strip_suffix(SHUT))
        .map(|rest| format!("{rest}frame-ancestors {ancestors}"))
        .and_then(|text| HeaderValue::try_from(text).ok());
    if let Some(open) = open {
        headers.insert(header::CONTENT_SECURITY_POLICY, open);
        // It knows one origin at most, and wins over nothing where both are understood.
        headers.remove(header::X_FRAME_OPTIONS);
    }
}

/// Lets pages of every origin load this answer: for a script that other sites embed.
pub fn share(headers: &mut HeaderMap) {
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(policy: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        );
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        open_to("https://a.test https://b.test", &mut headers);
        headers
    }

    #[test]
    fn a_shut_page_is_opened_by_name_and_one_that_is_not_shut_stays_as_it_is() {
        let headers = opened("default-src 'self'; frame-ancestors 'none'");
        assert_eq!(
            headers[header::CONTENT_SECURITY_POLICY],
            "default-src 'self'; frame-ancestors https://a.test https://b.test"
        );
        assert!(!headers.contains_key(header::X_FRAME_OPTIONS));
        let headers = opened("frame-ancestors 'self'");
        assert_eq!(
            headers[header::CONTENT_SECURITY_POLICY],
            "frame-ancestors 'self'"
        );
        assert!(headers.contains_key(header::X_FRAME_OPTIONS));
    }
}
