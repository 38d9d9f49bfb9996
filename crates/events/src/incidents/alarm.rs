//! What incidents that are open ask of every node: routes that answer nobody, messages of level `debug`, and
//! numbers for whoever watches.
//!
//! - A node hears of a change as it hears of revocations ([`Revocation::Incidents`]), reads the tables, and
//!   swaps what it knows whole. A table that cannot be read changes nothing and is read again.
//! - A node that starts reads them before it answers anybody, so a restart thaws nothing.
//! - [`Alarm::is_frozen`] is on the way of every request: one load where nothing is frozen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::Method;
use portcullis_core::route::{Found, Methods, Pattern, RouteTable};
use portcullis_store::Db;
use portcullis_store::revocations::Revocation;

use super::{Error, Severity, store};
use crate::Metrics;

/// Cheap to clone.
#[derive(Clone)]
pub struct Alarm(Arc<Inner>);

struct Inner {
    db: Db,
    metrics: Arc<Metrics>,
    /// Nothing where no route is frozen.
    frozen: ArcSwapOption<RouteTable<()>>,
    distrusted: AtomicU64,
    settled: AtomicU64,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Alarm(..)")
    }
}

impl Alarm {
    /// Reads what stands now. Open the feed of revocations first: what changes between the two is read twice,
    /// and not missed.
    ///
    /// # Errors
    /// The tables cannot be read: nothing may be answered then.
    pub async fn open(db: Db, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let alarm = Alarm(Arc::new(Inner {
            db,
            metrics,
            frozen: ArcSwapOption::empty(),
            distrusted: AtomicU64::new(1),
            settled: AtomicU64::new(0),
        }));
        alarm.settle().await?;
        Ok(alarm)
    }

    /// Whether nobody is answered on this canonical path.
    #[inline]
    pub fn is_frozen(&self, path: &str) -> bool {
        let frozen = self.0.frozen.load();
        frozen.as_ref().is_some_and(|table| matches(table, path))
    }

    /// Hears of a revocation. Never waits.
    pub fn revoked(&self, revocation: Revocation) {
        match revocation {
            Revocation::Incidents | Revocation::Everything => {
                self.0.distrusted.fetch_add(1, Ordering::AcqRel);
            }
            Revocation::Session(_)
            | Revocation::User(_)
            | Revocation::ApiKey(_)
            | Revocation::TokenFamily(_)
            | Revocation::Visitor(_)
            | Revocation::Tenant(_)
            | Revocation::DataKeys
            | Revocation::Consents(_) => {}
        }
    }

    /// Reads the tables again where something was heard; whether more is frozen than before.
    ///
    /// # Errors
    /// They cannot be read: everything stays as it was, and the next call reads them.
    pub async fn settle(&self) -> Result<bool, Error> {
        // Counted, so that what is heard while the tables are read is not forgotten by it.
        let distrusted = self.0.distrusted.load(Ordering::Acquire);
        if self.0.settled.load(Ordering::Acquire) >= distrusted {
            return Ok(false);
        }
        let frozen = store::all_frozen(&self.0.db).await?;
        let open = store::open_by_severity(&self.0.db).await?;
        let before = self.0.frozen.load_full();
        let was_frozen = |text: &String| {
            let mut all = before.iter().flat_map(|table| table.iter());
            all.any(|(pattern, _, ())| pattern.as_str() == text)
        };
        let is_more = !frozen.iter().all(was_frozen);
        self.0.frozen.store(table(&frozen)?.map(Arc::new));
        let is_grave = open.iter().any(|(severity, count)| {
            *count > 0
                && match severity {
                    Severity::Critical | Severity::High => true,
                    Severity::Medium | Severity::Low => false,
                }
        });
        self.0.metrics.incidents_open(&open);
        crate::log::raise(is_grave);
        self.0.settled.fetch_max(distrusted, Ordering::AcqRel);
        Ok(is_more)
    }
}

fn matches(table: &RouteTable<()>, path: &str) -> bool {
    match table.find(&Method::GET, path) {
        Found::Route { .. } | Found::WrongMethod { .. } => true,
        Found::Nothing => false,
    }
}

/// Nothing where there is no pattern.
fn table(patterns: &[String]) -> Result<Option<RouteTable<()>>, Error> {
    let mut table = RouteTable::default();
    for text in patterns {
        // SECURITY: a pattern that this version cannot read is none that may be left out.
        let pattern = Pattern::parse(text).map_err(|_| Error::Unreadable)?;
        // Of two of one shape either freezes the same paths.
        let _either = table.insert(pattern, Methods::Any, ());
    }
    Ok(Some(table).filter(|table| !table.is_empty()))
}

/// Whether a frozen pattern and the path of a route have paths in common, as far as their text tells.
pub fn concerns(pattern: &Pattern, route: &str) -> bool {
    let one = |text: &str| {
        let mut table = RouteTable::default();
        let inserted = Pattern::parse(text).map(|parsed| table.insert(parsed, Methods::Any, ()));
        inserted
            .is_ok_and(|inserted| inserted.is_ok())
            .then_some(table)
    };
    let frozen = one(pattern.as_str());
    frozen.is_some_and(|table| matches(&table, route))
        || one(route).is_some_and(|table| matches(&table, pattern.as_str()))
}

#[cfg(test)]
mod tests {
    use portcullis_core::time::ManualClock;

    use super::*;
    use crate::audit::By;
    use crate::audit::log_tests::{NOW, database, log};
    use crate::incidents::Incidents;

    fn frozen(patterns: &[&str]) -> RouteTable<()> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        table(&patterns).unwrap().unwrap()
    }

    #[test]
    fn a_pattern_freezes_what_it_matches_and_nothing_else() {
        let table = frozen(&[
            "/api/export",
            "/orgs/{org}/notes",
            "/files/{*rest}",
            "/api/export",
        ]);
        for path in ["/api/export", "/api/export/", "/orgs/a/notes", "/files/a/b"] {
            assert!(matches(&table, path), "{path}");
        }
        for path in [
            "/",
            "/api",
            "/api/exports",
            "/api/export/1",
            "/orgs/a",
            "/orgs/a/notes/1",
        ] {
            assert!(!matches(&table, path), "{path}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_an_error_and_no_pattern_is_nothing() {
        assert!(table(&[]).unwrap().is_none());
        assert!(table(&["no path".to_owned()]).is_err());
    }

    #[tokio::test]
    async fn what_is_frozen_stays_so_while_the_table_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let db = database(&folder).await;
        let clock = Arc::new(ManualClock::at(NOW));
        let (_, trail) = log(&db, &clock, &["one"]);
        let incidents = Incidents::new(db.clone(), trail, clock);
        let by = &By::OPERATOR;
        let incident = incidents.open("x", Severity::Low, by).await.unwrap();
        let frozen = incidents.freeze(incident.id, "/export", "x", by);
        frozen.await.unwrap();
        let alarm = Alarm::open(db.clone(), Metrics::new()).await.unwrap();
        assert!(alarm.is_frozen("/export") && !alarm.is_frozen("/other"));
        assert!(!alarm.settle().await.unwrap(), "nothing was heard");
        let mut tx = db.begin().await.unwrap();
        tx.execute("ALTER TABLE route_freeze RENAME TO away", &[])
            .await
            .unwrap();
        tx.commit().await.unwrap();
        alarm.revoked(Revocation::Incidents);
        for _ in 0..2 {
            assert!(alarm.settle().await.is_err(), "and it is tried again");
            assert!(alarm.is_frozen("/export"));
        }
        assert!(Alarm::open(db, Metrics::new()).await.is_err());
    }

    #[test]
    fn a_pattern_concerns_the_routes_that_it_has_paths_in_common_with() {
        let concerns = |pattern: &str, route| concerns(&Pattern::parse(pattern).unwrap(), route);
        assert!(concerns("/api/export", "/api/export"));
        assert!(concerns("/api/export", "/{*rest}"));
        assert!(concerns("/api/{*rest}", "/api/export"));
        assert!(concerns("/orgs/{org}/notes", "/orgs/{tenant}/notes"));
        assert!(!concerns("/api/exports", "/api/export"));
    }
}
