//! Taking header lines out, many names at a time.

use http::{HeaderMap, HeaderName};

/// Names whose lines are to go.
///
/// A message has few headers, and hardly ever one of those that are to go: going through what is
/// there is cheaper than looking up each name of the list, and the lengths alone rule most out.
#[derive(Debug, Clone)]
pub struct NameList {
    names: Box<[HeaderName]>,
    /// Bit `n` is set where a name has `n` characters; bit 63 stands for all longer ones too.
    lengths: u64,
}

impl NameList {
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names: Box<[HeaderName]> = names.into_iter().collect();
        NameList {
            lengths: names.iter().fold(0, |bits, name| bits | length(name)),
            names,
        }
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.lengths & length(name) != 0 && self.names.contains(name)
    }

    /// Removes every line of each of these names.
    pub fn remove_from(&self, headers: &mut HeaderMap) {
        while let Some(name) = headers.keys().find(|name| self.contains(name)).cloned() {
            headers.remove(name);
        }
    }
}

fn length(name: &HeaderName) -> u64 {
    1_u64 << name.as_str().len().min(63)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue, SERVER, TE, VIA};

    use super::*;

    #[test]
    fn every_line_of_each_name_goes_and_nothing_else() {
        let odd = HeaderName::from_static("x-powered-by");
        let long = HeaderName::try_from("x".repeat(100)).unwrap();
        let longer = HeaderName::try_from("x".repeat(101)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (SERVER, "a"),
            (SERVER, "b"),
            (odd.clone(), "c"),
            (VIA, "d"),
            (long.clone(), "e"),
            (longer.clone(), "f"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        NameList::new([TE, odd, SERVER, long]).remove_from(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(
            (&headers[VIA], &headers[longer]),
            (&"d".parse().unwrap(), &"f".parse().unwrap())
        );
    }
}
