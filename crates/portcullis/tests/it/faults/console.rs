//! The console while the database is away: pages that say so in plain words, and no act that is
//! said to be done.

use super::service::Postgres;
use super::{GENEROUS, audited, until};
use crate::support::forms::Page;
use crate::support::{Browser, Gateway, Upstream};

const CONSOLE: &str = "/.portcullis/console";
const ROOT: &str = "root@corp.test";

fn assert_plain(page: &Page, what: &str) {
    assert_eq!(page.answer.status, 503, "{what}: {}", page.text);
    let kind = page.answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/html"), "{what}: {kind}");
    assert!(page.answer.header("retry-after").is_some(), "{what}");
    assert!(page.answer.cookies().is_empty(), "{what}");
    let words = "This cannot be answered at the moment";
    assert!(page.text.contains(words), "{what}: {}", page.text);
    let lower = page.text.to_lowercase();
    for inside in ["postgres", "sqlx", "pool", "connection refused", "select "] {
        assert!(!lower.contains(inside), "{what} says {inside}: {lower}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_makes_no_page_and_does_nothing() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start().await;
    let gateway = postgres
        .under(Gateway::builder_usual(&upstream).await)
        .replace("[state]", "[state]\nconnections = 4")
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ROOT, &["admin"])
        .start()
        .await;
    let root = gateway.signed_in(ROOT).await;
    let list = root.open(&format!("{CONSOLE}/users")).await;
    assert_eq!(list.answer.status, 200, "{}", list.text);
    let id = list.ids_below(&format!("{CONSOLE}/users")).pop().unwrap();
    let at = format!("{CONSOLE}/users/{id}");
    let account = root.open(&at).await;
    let new_tenant = root.open(&format!("{CONSOLE}/tenants/new")).await;
    let tenant = [("slug", "acme"), ("name", "Acme")];

    postgres.stop_immediately();
    let lists = ["users", "keys", "tenants"].map(|name| format!("{CONSOLE}/{name}"));
    let asks = async |browser: &Browser| {
        for path in lists.iter().chain([&at]) {
            assert_plain(&browser.open(path).await, path);
        }
        let made = browser.fill(&new_tenant, "/tenants", &tenant).await;
        assert_plain(&made, "a new tenant");
        let roles = browser.fill(&account, "/roles", &[("roles", "user")]).await;
        assert_plain(&roles, "other roles");
    };
    // At once, while memory still knows who asks; and when it is no longer trusted.
    asks(&root).await;
    until("memory is no longer trusted", || async {
        root.get("/anything").send().await.status == 503
    })
    .await;
    asks(&root).await;
    postgres.start_again().await;
    until("the database is back", || async {
        root.open(&at).await.answer.status == 200
    })
    .await;
    // Nothing of it was done, and the very same form is still good.
    assert_eq!(audited(&gateway, "tenant.created"), 0);
    assert_eq!(root.get("/admin").send().await.status, 200);
    let made = root.fill(&new_tenant, "/tenants", &tenant).await;
    assert_eq!(made.answer.status, 303, "{}", made.text);
    assert_eq!(audited(&gateway, "tenant.created"), 1);
}
