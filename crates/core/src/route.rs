//! The finite route language and its matcher.
//!
//! A pattern is a path whose segments are literals, `{name}` (one segment) or, last, `{*name}`
//! (the rest, one segment or more). Literals match whatever their case: a product that does not
//! care for case would serve `/ADMIN` as `/admin`, so both get one decision. One trailing slash
//! is ignored for the same reason.
//!
//! The most specific path decides (a literal before `{name}` before `{*name}`, from the left), and
//! it decides alone: a method that it does not name is not looked for under a wider pattern, or a
//! catch-all would open what a closer route meant to guard.

use std::collections::BTreeMap;
use std::fmt;

use http::Method;

use crate::path::first_segment;

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Param(String),
    Rest(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("`{0}` does not begin with `/`")]
    NotAbsolute(String),
    #[error("`{0}` is not a canonical path: {1}")]
    NotCanonical(String, crate::path::PathError),
    #[error(
        "`{0}` has a malformed parameter: write `{{name}}` for one segment, or `{{*name}}` as the last"
    )]
    BadParam(String),
    #[error("`{0}` names the parameter `{1}` twice")]
    DuplicateParam(String, String),
    #[error("`{0}` has something after `{{*name}}`")]
    RestNotLast(String),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = text
            .strip_prefix('/')
            .ok_or_else(|| PatternError::NotAbsolute(text.to_owned()))?;
        let mut segments = Vec::new();
        for part in path
            .strip_suffix('/')
            .unwrap_or(path)
            .split('/')
            .filter(|_| !path.is_empty())
        {
            if matches!(segments.last(), Some(Segment::Rest(_))) {
                return Err(PatternError::RestNotLast(text.to_owned()));
            }
            segments.push(Segment::parse(part, text)?);
        }
        let pattern = Pattern {
            text: text.to_owned(),
            segments,
        };
        let mut seen = Vec::new();
        for name in pattern.params() {
            if seen.contains(&name) {
                return Err(PatternError::DuplicateParam(
                    text.to_owned(),
                    name.to_owned(),
                ));
            }
            seen.push(name);
        }
        Ok(pattern)
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the parameters, in the order of the path.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) | Segment::Rest(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The pattern with its names left out: patterns of one shape match the same paths.
    pub fn shape(&self) -> String {
        let mut shape = String::with_capacity(self.text.len());
        for segment in &self.segments {
            shape.push('/');
            shape.push_str(match segment {
                Segment::Literal(text) => text,
                Segment::Param(_) => "{}",
                Segment::Rest(_) => "{*}",
            });
        }
        if shape.is_empty() {
            shape.push('/');
        }
        shape
    }

    /// Whether the pattern ends in `{*name}`.
    pub fn is_catch_all(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Rest(_)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    fn parse(part: &str, pattern: &str) -> Result<Self, PatternError> {
        let bad = || PatternError::BadParam(pattern.to_owned());
        if let Some(inner) = part.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or_else(bad)?;
            let (name, rest) = match inner.strip_prefix('*') {
                Some(name) => (name, true),
                None => (inner, false),
            };
            let well_named = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            if !well_named {
                return Err(bad());
            }
            return Ok(if rest {
                Segment::Rest(name.to_owned())
            } else {
                Segment::Param(name.to_owned())
            });
        }
        if part.contains(['{', '}']) {
            return Err(bad());
        }
        if part.is_empty() {
            return Err(PatternError::NotCanonical(
                pattern.to_owned(),
                crate::path::PathError::EmptySegment,
            ));
        }
        let absolute = format!("/{part}");
        let canonical = crate::path::canonicalize(&absolute)
            .map_err(|error| PatternError::NotCanonical(pattern.to_owned(), error))?;
        Ok(Segment::Literal(
            canonical.trim_start_matches('/').to_ascii_lowercase(),
        ))
    }
}

/// Which methods a route answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Methods {
    /// Every method that the gate forwards at all.
    Any,
    Only(Vec<Method>),
}

impl Methods {
    /// `HEAD` is `GET` without a body (RFC 9110 section 9.3.2) and follows it.
    fn contains(&self, method: &Method) -> bool {
        match self {
            Methods::Any => true,
            Methods::Only(methods) => {
                methods.contains(method)
                    || (*method == Method::HEAD && methods.contains(&Method::GET))
            }
        }
    }

    fn overlaps(&self, other: &Methods) -> bool {
        match (self, other) {
            (Methods::Any, _) | (_, Methods::Any) => true,
            (Methods::Only(a), Methods::Only(b)) => a.iter().any(|method| b.contains(method)),
        }
    }
}

/// What a path and method led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'t, 'p, T> {
    Route {
        route: &'t T,
        params: Params<'t, 'p>,
    },
    /// The path is known, the method is not. The methods that are.
    WrongMethod {
        allow: Vec<Method>,
    },
    Nothing,
}

/// The values of a pattern's parameters in one path, as canonical (still escaped) text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params<'t, 'p> {
    values: Vec<(&'t str, &'p str)>,
}

impl<'p> Params<'_, 'p> {
    pub fn get(&self, name: &str) -> Option<&'p str> {
        self.values
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }
}

/// Two routes that would answer the same request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{second}` answers the same path and method as `{first}`")]
pub struct Conflict {
    pub first: String,
    pub second: String,
}

/// Routes by path and method. Immutable once built; lookups do not allocate unless there are parameters.
#[derive(Debug)]
pub struct RouteTable<T> {
    nodes: Vec<Node>,
    routes: Vec<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    pattern: Pattern,
    methods: Methods,
    value: T,
}

#[derive(Debug, Default)]
struct Node {
    /// A tree: comparing with a few short names is cheaper than hashing one.
    literals: BTreeMap<Box<str>, usize>,
    param: Option<usize>,
    /// Routes ending in `{*name}` here.
    rest: Vec<usize>,
    /// Routes ending here.
    here: Vec<usize>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        RouteTable {
            nodes: vec![Node::default()],
            routes: Vec::new(),
        }
    }
}

impl<T> RouteTable<T> {
    pub fn insert(&mut self, pattern: Pattern, methods: Methods, value: T) -> Result<(), Conflict> {
        let index = self.routes.len();
        let mut at = 0;
        let mut ends_in_rest = false;
        for segment in &pattern.segments {
            match segment {
                Segment::Literal(text) => {
                    let next = self
                        .nodes
                        .get(at)
                        .and_then(|node| node.literals.get(text.as_str()).copied());
                    at = next.unwrap_or_else(|| {
                        self.grow(at, |node, new| {
                            node.literals.insert(text.as_str().into(), new);
                        })
                    });
                }
                Segment::Param(_) => {
                    let next = self.nodes.get(at).and_then(|node| node.param);
                    at = next.unwrap_or_else(|| self.grow(at, |node, new| node.param = Some(new)));
                }
                Segment::Rest(_) => ends_in_rest = true,
            }
        }
        let Some(node) = self.nodes.get_mut(at) else {
            return Ok(());
        };
        let ending = if ends_in_rest {
            &mut node.rest
        } else {
            &mut node.here
        };
        let rival = ending
            .iter()
            .filter_map(|known| self.routes.get(*known))
            .find(|known| known.methods.overlaps(&methods));
        if let Some(rival) = rival {
            return Err(Conflict {
                first: rival.pattern.text.clone(),
                second: pattern.text,
            });
        }
        ending.push(index);
        self.routes.push(Entry {
            pattern,
            methods,
            value,
        });
        Ok(())
    }

    fn grow(&mut self, at: usize, link: impl FnOnce(&mut Node, usize)) -> usize {
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(at) {
            link(node, new);
        }
        new
    }

    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &Methods, &T)> {
        self.routes
            .iter()
            .map(|entry| (&entry.pattern, &entry.methods, &entry.value))
    }

    /// What `method` on the canonical `path` leads to.
    pub fn find<'t, 'p>(&'t self, method: &Method, path: &'p str) -> Found<'t, 'p, T> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let trimmed = inner.strip_suffix('/').unwrap_or(inner);
        let Some((ending, captured)) = self.descend(0, trimmed, trimmed.is_empty(), 0) else {
            return Found::Nothing;
        };
        let entries = || ending.iter().filter_map(|index| self.routes.get(*index));
        match entries().find(|entry| entry.methods.contains(method)) {
            Some(entry) => Found::Route {
                route: &entry.value,
                params: entry.params(trimmed, captured),
            },
            None => Found::WrongMethod {
                allow: entries()
                    .flat_map(|entry| match &entry.methods {
                        Methods::Any => Vec::new(),
                        Methods::Only(methods) => methods.clone(),
                    })
                    .collect(),
            },
        }
    }

    /// The most specific ending for what is left of the path, and whether it has parameters.
    fn descend(
        &self,
        at: usize,
        left: &str,
        done: bool,
        params: usize,
    ) -> Option<(&[usize], usize)> {
        let node = self.nodes.get(at)?;
        if done {
            return (!node.here.is_empty()).then_some((node.here.as_slice(), params));
        }
        let (segment, after) = first_segment(left);
        let rest = after.unwrap_or("");
        let deeper = |next: usize, params: usize| self.descend(next, rest, after.is_none(), params);
        find_literal(&node.literals, segment)
            .and_then(|next| deeper(next, params))
            .or_else(|| {
                node.param
                    .and_then(|next| deeper(next, params.saturating_add(1)))
            })
            .or_else(|| {
                (!node.rest.is_empty()).then_some((node.rest.as_slice(), params.saturating_add(1)))
            })
    }
}

impl<T> Entry<T> {
    fn params<'t, 'p>(&'t self, path: &'p str, count: usize) -> Params<'t, 'p> {
        if count == 0 {
            return Params::default();
        }
        let mut values = Vec::with_capacity(count);
        let mut left = path;
        for segment in &self.pattern.segments {
            let (value, rest) = first_segment(left);
            match segment {
                Segment::Literal(_) => {}
                Segment::Param(name) => values.push((name.as_str(), value)),
                Segment::Rest(name) => values.push((name.as_str(), left)),
            }
            left = rest.unwrap_or("");
        }
        Params { values }
    }
}

fn find_literal(literals: &BTreeMap<Box<str>, usize>, segment: &str) -> Option<usize> {
    if literals.is_empty() {
        return None;
    }
    if segment.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return literals.get(segment.to_ascii_lowercase().as_str()).copied();
    }
    literals.get(segment).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_that_match_the_same_paths_have_one_shape() {
        let shape = |text: &str| Pattern::parse(text).unwrap().shape();
        assert_eq!(shape("/Users/{id}/"), shape("/users/{user_id}"));
        assert_eq!(shape("/"), "/");
        assert_eq!(shape("/a%7Eb/{*rest}"), "/a~b/{*}");
        assert_ne!(shape("/users/{id}"), shape("/users/{*id}"));
    }

    fn table(routes: &[(&str, &str)]) -> RouteTable<String> {
        let mut table = RouteTable::default();
        for (methods, pattern) in routes {
            let methods = match *methods {
                "*" => Methods::Any,
                names => {
                    Methods::Only(names.split(',').map(|name| name.parse().unwrap()).collect())
                }
            };
            table
                .insert(
                    Pattern::parse(pattern).unwrap(),
                    methods,
                    (*pattern).to_owned(),
                )
                .unwrap();
        }
        table
    }

    fn found(table: &RouteTable<String>, method: &str, path: &str) -> String {
        match table.find(&method.parse().unwrap(), path) {
            Found::Route { route, .. } => route.clone(),
            Found::WrongMethod { .. } => "405".to_owned(),
            Found::Nothing => "404".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_route_decides() {
        let table = table(&[
            ("*", "/{*rest}"),
            ("GET", "/users/{id}"),
            ("GET", "/users/me"),
            ("GET", "/users/{id}/posts"),
            ("GET", "/"),
        ]);
        for (path, expected) in [
            ("/", "/"),
            ("/users/me", "/users/me"),
            ("/users/7", "/users/{id}"),
            ("/users/me/posts", "/users/{id}/posts"),
            ("/users/7/posts/1", "/{*rest}"),
            ("/users", "/{*rest}"),
        ] {
            assert_eq!(found(&table, "GET", path), expected, "{path}");
        }
    }

    #[test]
    fn a_wider_route_does_not_open_another_method() {
        let table = table(&[("*", "/{*rest}"), ("GET", "/admin")]);
        assert_eq!(found(&table, "DELETE", "/admin"), "405");
        assert_eq!(found(&table, "HEAD", "/admin"), "/admin");
    }

    #[test]
    fn case_and_one_trailing_slash_do_not_change_the_decision() {
        let table = table(&[("*", "/{*rest}"), ("GET", "/admin/panel")]);
        for path in [
            "/ADMIN/panel",
            "/admin/Panel",
            "/admin/panel/",
            "/Admin/PANEL/",
        ] {
            assert_eq!(found(&table, "GET", path), "/admin/panel", "{path}");
        }
    }

    #[test]
    fn what_no_route_names_is_nothing() {
        let table = table(&[("GET", "/a/{x}")]);
        for path in ["/", "/a", "/a/b/c", "/b"] {
            assert_eq!(found(&table, "GET", path), "404", "{path}");
        }
    }

    #[test]
    fn parameters_have_their_values() {
        let table = table(&[("GET", "/t/{tenant}/files/{*path}")]);
        let Found::Route { params, .. } = table.find(&Method::GET, "/t/acme/files/a/b.txt") else {
            panic!("no route")
        };
        assert_eq!(params.get("tenant"), Some("acme"));
        assert_eq!(params.get("path"), Some("a/b.txt"));
        assert_eq!(params.get("other"), None);
    }

    #[test]
    fn two_routes_for_one_request_are_a_conflict() {
        let mut table = table(&[("GET,POST", "/users/{id}")]);
        let again = table.insert(
            Pattern::parse("/users/{name}").unwrap(),
            Methods::Only(vec![Method::POST]),
            String::new(),
        );
        assert_eq!(
            again.unwrap_err().to_string(),
            "`/users/{name}` answers the same path and method as `/users/{id}`"
        );
        assert!(
            table
                .insert(
                    Pattern::parse("/users/{id}").unwrap(),
                    Methods::Only(vec![Method::PUT]),
                    String::new()
                )
                .is_ok()
        );
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for text in [
            "a", "/a{b}", "/{", "/{}", "/{*}", "/{*a}/b", "/{a}/{a}", "/../a", "/a//b", "/{a b}",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_literal_route_answers_its_own_path(path in "(/[a-z0-9]{1,4}){1,4}") {
            let table = table(&[("*", "/{*rest}"), ("GET", &path)]);
            prop_assert_eq!(found(&table, "GET", &path), path);
        }
    }
}
