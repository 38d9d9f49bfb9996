//! Which routes are looked through for which host.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::Method;
use portcullis_core::route::{Methods, Pattern, RouteTable};

use super::{Mistake, Route, Severity};

type Table = RouteTable<Arc<Route>>;

type Compiled = [(Pattern, Arc<Route>)];

/// Routes for every host, and for each host of its own.
pub(super) fn tables(
    routes: &Compiled,
    mistakes: &mut Vec<Mistake>,
) -> (Table, HashMap<Box<str>, Table>) {
    let mut general = Table::default();
    let mut hosts: BTreeMap<&str, Table> = BTreeMap::new();
    for (pattern, route) in routes {
        let table = match &route.host {
            None => &mut general,
            Some(host) => hosts.entry(host).or_default(),
        };
        insert(table, pattern, route.methods.clone(), route, mistakes);
    }
    let by_host = hosts
        .into_iter()
        .map(|(host, mut table)| {
            add_general(&mut table, host, routes, mistakes);
            (Box::from(host), table)
        })
        .collect();
    (general, by_host)
}

/// Adds to a host's table what the routes for every host say, less what its own routes say.
fn add_general(table: &mut Table, host: &str, routes: &Compiled, mistakes: &mut Vec<Mistake>) {
    for (pattern, route) in routes.iter().filter(|(_, route)| route.host.is_none()) {
        let shape = pattern.shape();
        let own: Vec<&Arc<Route>> = routes
            .iter()
            .filter(|(other, rival)| rival.host.as_deref() == Some(host) && other.shape() == shape)
            .map(|(_, rival)| rival)
            .collect();
        let left = match (&route.methods, own.is_empty()) {
            (methods, true) => methods.clone(),
            (Methods::Only(methods), false) => {
                let answered = |method: &Method| {
                    own.iter().any(|rival| match &rival.methods {
                        Methods::Any => true,
                        Methods::Only(named) => named.contains(method),
                    })
                };
                let left: Vec<Method> = methods
                    .iter()
                    .filter(|method| !answered(method))
                    .cloned()
                    .collect();
                if left.is_empty() {
                    continue;
                }
                Methods::Only(left)
            }
            (Methods::Any, false) => {
                if !own.iter().any(|rival| rival.methods == Methods::Any) {
                    mistakes.push(unclear(route, host));
                }
                continue;
            }
        };
        insert(table, pattern, left, route, mistakes);
    }
}

fn unclear(route: &Route, host: &str) -> Mistake {
    Mistake {
        severity: Severity::Error,
        rule: "route-conflict",
        line: route.line,
        key: format!("route.{}.methods", route.id),
        reason: format!(
            "`{}` answers every method on every host, and the routes for `{host}` answer some of them there",
            route.path
        ),
        remedy: "name the methods of both".to_owned(),
    }
}

fn insert(
    table: &mut Table,
    pattern: &Pattern,
    methods: Methods,
    route: &Arc<Route>,
    mistakes: &mut Vec<Mistake>,
) {
    if let Err(conflict) = table.insert(pattern.clone(), methods, Arc::clone(route)) {
        let first = table
            .iter()
            .find(|(known, _, _)| known.as_str() == conflict.first)
            .and_then(|(_, _, first)| first.line);
        let place = first.map_or_else(String::new, |line| format!(" (line {line})"));
        let mistake = Mistake {
            severity: Severity::Error,
            rule: "route-conflict",
            line: route.line,
            key: format!("route.{}.path", route.id),
            reason: format!("{conflict}{place}"),
            remedy: "keep one of them".to_owned(),
        };
        if !mistakes.contains(&mistake) {
            mistakes.push(mistake);
        }
    }
}
