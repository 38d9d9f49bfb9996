//! Taking header lines out, many names at a time.

use http::{HeaderMap, HeaderName};

/// Removes every line of each of `names`.
///
/// A message has few headers, and hardly ever one of those that are to go: comparing what is there
/// with the list is cheaper than looking up each name of the list.
pub fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    while let Some(name) = headers.keys().find(|name| names.contains(name)).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue, SERVER, TE, VIA};

    use super::*;

    #[test]
    fn every_line_of_each_name_goes_and_nothing_else() {
        let odd = HeaderName::from_static("x-powered-by");
        let mut headers = HeaderMap::new();
        for (name, value) in [(SERVER, "a"), (SERVER, "b"), (odd.clone(), "c"), (VIA, "d")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_all(&mut headers, &[TE, odd, SERVER]);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[VIA], "d");
    }
}
