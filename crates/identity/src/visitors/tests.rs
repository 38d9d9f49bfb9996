//! Visits in time: how long they last, what renews them, and what ends them. The clock stands still
//! until it is moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_core::Clock;
use portcullis_events::Metrics;

use super::*;
use crate::testing::House;

const SHOP: &str = "https://shop.acme.test";

struct Scene {
    house: House,
    visitors: Visitors,
    tenant: TenantId,
}

impl Scene {
    async fn build() -> Scene {
        let house = House::build().await;
        let visitors = node(&house);
        let by = By::operator();
        let tenant = house
            .tenants()
            .create("acme", "Acme", &by)
            .await
            .unwrap()
            .id;
        let origins = [SHOP.to_owned(), "https://www.acme.test".to_owned()];
        visitors.set_origins(tenant, &origins, &by).await.unwrap();
        Scene {
            house,
            visitors,
            tenant,
        }
    }

    async fn begin(&self) -> Begun {
        self.visitors
            .begin("acme", SHOP, &metadata(), &Client::default())
            .await
            .unwrap()
    }

    /// As the pipeline does: memory first, then the database.
    async fn found(&self, begun: &Begun) -> Option<Live> {
        let hash = begun.token.hash();
        // The feed is read twice a second; here it is, whenever the clock was moved.
        let apply = |revocation| self.visitors.revoked(revocation);
        let now = self.house.clock.now();
        self.house.feed.poll(now, &apply).await.unwrap();
        match self.visitors.lookup(&hash) {
            Found::Live(live) => Some(live),
            Found::Unknown => self.visitors.load(&hash).await.unwrap(),
        }
    }

    fn pass(&self, span: Span) {
        self.house.clock.advance(span);
    }
}

fn metadata() -> Metadata {
    Metadata::reduced(&BTreeMap::new(), None).unwrap()
}

/// A node over the house's database.
fn node(house: &House) -> Visitors {
    let clock: Arc<dyn Clock> = Arc::clone(&house.clock) as Arc<dyn Clock>;
    Visitors::new(Parts {
        db: house.db.clone(),
        feed: Arc::clone(&house.feed),
        clock: Arc::clone(&clock),
        trail: Trail::start(
            house.db.clone(),
            clock,
            Metrics::new(),
            &portcullis_events::audit::Config::default(),
        ),
        config: Some(Config::default()),
        mode: Mode::Production,
    })
}

const HOUR: u64 = 60;

#[tokio::test]
async fn a_visit_lasts_a_day_and_not_a_moment_longer() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let live = scene.found(&begun).await.unwrap();
    assert_eq!(live.visitor.tenant, scene.tenant);
    assert_eq!(&*live.visitor.origin, SHOP);
    assert!(!live.is_due);
    scene.pass(Span::from_minutes(20 * HOUR));
    assert!(
        !scene.found(&begun).await.unwrap().is_due,
        "four hours to go"
    );
    scene.pass(Span::from_seconds(1));
    assert!(scene.found(&begun).await.unwrap().is_due, "less than four");
    scene.pass(Span::from_seconds(4 * 3600 - 2));
    assert!(scene.found(&begun).await.is_some(), "a second to go");
    scene.pass(Span::from_seconds(1));
    assert!(scene.found(&begun).await.is_none());
    let renewed = scene.visitors.renew(&begun.token.hash(), begun.id).await;
    assert_eq!(renewed.unwrap(), None, "what is over is not brought back");
    assert_eq!(scene.visitors.keep_house().await.unwrap(), 1);
    let left = scene.house.count("SELECT count(*) AS n FROM visitor").await;
    assert_eq!(left, 0, "nothing of a visitor stays");
}

#[tokio::test]
async fn of_two_that_renew_at_once_both_go_on_and_one_is_told_to() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let hash = begun.token.hash();
    scene.found(&begun).await.unwrap();
    scene.pass(Span::from_minutes(21 * HOUR));
    assert!(scene.found(&begun).await.unwrap().is_due);
    assert!(!scene.found(&begun).await.unwrap().is_due, "told once");
    let (one, other) = tokio::join!(
        scene.visitors.renew(&hash, begun.id),
        scene.visitors.renew(&hash, begun.id)
    );
    let end = scene.house.clock.now() + Span::from_hours(24);
    assert_eq!((one.unwrap(), other.unwrap()), (Some(end), Some(end)));
    let live = scene.found(&begun).await.unwrap();
    assert_eq!((live.expires_at, live.is_due), (end, false));
    // Another node, which knows the old end alone, learns of the new one.
    let twin = node(&scene.house);
    assert_eq!(twin.load(&hash).await.unwrap().unwrap().expires_at, end);
    scene.pass(Span::from_minutes(23 * HOUR));
    assert!(scene.found(&begun).await.is_some());
}

#[tokio::test]
async fn an_end_that_another_node_moved_is_looked_up() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let hash = begun.token.hash();
    let twin = node(&scene.house);
    assert!(twin.load(&hash).await.unwrap().is_some());
    scene.pass(Span::from_minutes(23 * HOUR));
    scene.visitors.renew(&hash, begun.id).await.unwrap();
    scene.pass(Span::from_minutes(2 * HOUR));
    scene.found(&begun).await.unwrap();
    assert_eq!(twin.lookup(&hash), Found::Unknown, "it asks, and says no");
    assert!(twin.load(&hash).await.unwrap().is_some());
}

#[tokio::test]
async fn no_use_lets_a_visit_last_longer_than_thirty_days() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let hash = begun.token.hash();
    let last = scene.house.clock.now() + Span::from_days(30);
    for _ in 0..35 {
        scene.pass(Span::from_minutes(21 * HOUR));
        let Some(live) = scene.found(&begun).await else {
            break;
        };
        assert!(live.expires_at <= last);
        if live.is_due {
            scene.visitors.renew(&hash, begun.id).await.unwrap();
        }
    }
    assert!(scene.house.clock.now() >= last);
    assert!(scene.found(&begun).await.is_none());
}

#[tokio::test]
async fn a_revocation_ends_a_visit_and_no_renewal_or_load_brings_it_back() {
    let scene = Scene::build().await;
    let (begun, other) = (scene.begin().await, scene.begin().await);
    let hash = begun.token.hash();
    scene.found(&begun).await.unwrap();
    scene.found(&other).await.unwrap();
    // A load that began before, and came back after.
    let ticket = scene.visitors.0.cache.ticket();
    let now = scene.house.clock.now();
    let stored = store::find(&scene.house.db, &hash, now).await.unwrap();
    let by = By::operator();
    scene
        .visitors
        .revoke(scene.tenant, begun.id, &by)
        .await
        .unwrap();
    let cache = &scene.visitors.0.cache;
    cache.remember(&hash, &stored.unwrap(), now + Span::from_days(30), ticket);
    assert_eq!(scene.visitors.lookup(&hash), Found::Unknown);
    assert_eq!(scene.visitors.renew(&hash, begun.id).await.unwrap(), None);
    assert!(scene.found(&begun).await.is_none());
    assert!(scene.found(&other).await.is_some());
    let again = scene.visitors.revoke(scene.tenant, begun.id, &by).await;
    assert!(matches!(again, Err(Error::NotFound)));
    let elsewhere = scene.visitors.revoke(TenantId::new(), other.id, &by).await;
    assert!(
        matches!(elsewhere, Err(Error::NotFound)),
        "another tenant's"
    );
    assert_eq!(
        scene.visitors.revoke_all(scene.tenant, &by).await.unwrap(),
        1
    );
    assert!(scene.found(&other).await.is_none());
}

#[tokio::test]
async fn an_origin_that_is_taken_out_takes_its_visits_along() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    scene.found(&begun).await.unwrap();
    let by = By::operator();
    let left = ["https://www.acme.test".to_owned()];
    scene
        .visitors
        .set_origins(scene.tenant, &left, &by)
        .await
        .unwrap();
    assert!(scene.found(&begun).await.is_none());
    let refused = scene
        .visitors
        .begin("acme", SHOP, &metadata(), &Client::default())
        .await;
    assert!(matches!(refused, Err(Error::OriginNotAllowed)));
    // Named anew, it begins anew.
    let again = [SHOP.to_owned()];
    scene
        .visitors
        .set_origins(scene.tenant, &again, &by)
        .await
        .unwrap();
    assert!(scene.found(&begun).await.is_none());
}

#[tokio::test]
async fn a_visit_begins_for_a_tenant_that_is_there_and_not_suspended_on_its_own_origin() {
    let scene = Scene::build().await;
    let by = By::operator();
    let tenants = scene.house.tenants();
    let globex = tenants.create("globex", "Globex", &by).await.unwrap().id;
    let theirs = ["https://globex.test".to_owned()];
    scene
        .visitors
        .set_origins(globex, &theirs, &by)
        .await
        .unwrap();
    let begins = async |tenant: &str, origin: &str| {
        let (metadata, client) = (metadata(), Client::default());
        let begun = scene.visitors.begin(tenant, origin, &metadata, &client);
        match begun.await {
            Ok(_) => true,
            Err(Error::OriginNotAllowed) => false,
            Err(other) => panic!("{other}"),
        }
    };
    for (tenant, origin, expected) in [
        ("acme", SHOP, true),
        (&*scene.tenant.to_string(), SHOP, true),
        ("acme", "https://globex.test", false),
        ("globex", SHOP, false),
        ("acme", "null", false),
        ("acme", "", false),
        ("acme", "https://shop.acme.test/", false),
        ("acme", "https://shop.acme.test:443", false),
        ("acme", "http://shop.acme.test", false),
        ("acme", "https://shop.acme.test.evil.test", false),
        ("nobody", SHOP, false),
        ("", SHOP, false),
    ] {
        assert_eq!(begins(tenant, origin).await, expected, "{tenant} {origin}");
    }
    tenants.suspend(scene.tenant, &by).await.unwrap();
    assert!(!begins("acme", SHOP).await);
}

#[test]
fn a_visitors_request_comes_from_the_page_of_the_visit_or_from_the_frame() {
    let visitor = Visitor {
        id: VisitorId::new(),
        tenant: TenantId::new(),
        origin: SHOP.into(),
    };
    for (origin, is_own, is_safe, expected) in [
        (Some(SHOP), false, false, true),
        (Some("https://gate.test"), true, false, true),
        (Some("https://evil.test"), false, true, false),
        (Some("https://www.acme.test"), false, true, false),
        (Some("null"), false, true, false),
        (Some(""), false, true, false),
        (None, false, true, true),
        (None, false, false, false),
    ] {
        let origin = origin.map(str::as_bytes);
        let may = may_come_from(&visitor, origin, is_own, is_safe);
        assert_eq!(may, expected, "{origin:?} {is_own} {is_safe}");
    }
}

#[test]
fn the_configuration_says_what_is_wrong_with_it() {
    assert_eq!(Config::default().findings(), []);
    let keys = |config: Config| {
        let found = config.findings();
        found.into_iter().map(|it| it.key).collect::<Vec<_>>()
    };
    let wrong = Config {
        lifetime: Span::ZERO,
        renew_below: Span::from_hours(30),
        max_lifetime: Span::from_days(400),
        page: "/widget".to_owned(),
        features: vec!["geolocation".to_owned()],
    };
    let expected = [
        "visitors.lifetime",
        "visitors.renew-below",
        "visitors.max-lifetime",
        "visitors.page",
        "visitors.features",
    ];
    assert_eq!(keys(wrong), expected);
    for page in [
        "/widget/{tenant}/{tenant}",
        "/w{tenant}",
        "//evil.test/{tenant}",
        "/widget/{tenant}?x",
        "/\"/{tenant}",
    ] {
        let config = Config {
            page: page.to_owned(),
            ..Config::default()
        };
        assert_eq!(keys(config), ["visitors.page"], "{page}");
    }
}

#[tokio::test]
async fn a_visit_that_could_not_be_renewed_ends_when_it_was_to_end() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let hash = begun.token.hash();
    scene.found(&begun).await.unwrap();
    scene.pass(Span::from_minutes(21 * HOUR));
    assert!(scene.found(&begun).await.unwrap().is_due);
    scene.house.db.close().await;
    assert!(scene.visitors.renew(&hash, begun.id).await.is_err());
    assert!(matches!(scene.visitors.lookup(&hash), Found::Live(_)));
    scene.pass(Span::from_seconds(3));
    assert!(matches!(scene.visitors.lookup(&hash), Found::Live(_)));
    // The news are late by now: the database decides, and it is away.
    scene.pass(Span::from_minutes(4 * HOUR));
    assert_eq!(scene.visitors.lookup(&hash), Found::Unknown);
    assert!(scene.visitors.load(&hash).await.is_err());
}

#[tokio::test]
async fn memory_is_not_trusted_when_the_news_are_late() {
    let scene = Scene::build().await;
    let begun = scene.begin().await;
    let hash = begun.token.hash();
    scene.found(&begun).await.unwrap();
    let widgets = scene.visitors.widgets();
    assert!(widgets.load("acme").await.unwrap().is_some());
    scene.pass(Span::from_seconds(4));
    assert!(matches!(scene.visitors.lookup(&hash), Found::Live(_)));
    assert!(scene.visitors.known_end(&hash).is_some());
    assert!(widgets.lookup("acme").is_some());
    scene.pass(Span::from_seconds(2));
    assert_eq!(scene.visitors.lookup(&hash), Found::Unknown);
    assert_eq!(scene.visitors.known_end(&hash), None);
    assert_eq!(widgets.lookup("acme"), None);
}
