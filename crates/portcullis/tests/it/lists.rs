//! Lists of what one tenant has, a page at a time: by the admin API and on the command line.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Browser, Gateway, GatewayBuilder, Upstream, database};
use crate::visitors::{SHOP, begin, done};

const ACME: &str = "/.portcullis/admin/v1/tenants/acme";
const ADA: &str = "ada@corp.test";
const EVE: &str = "eve@corp.test";
const GUESTS: [&str; 5] = ["g0", "g1", "g2", "g3", "g4"];

const ROUTES: &str = r#"
[visitors]

[limits.default]
rate = "10000/minute"

[limits.auth]
rate = "1000/minute"

[limits.visits]
rate = "1000/minute"

[[route]]
path = "/chat"
allow = "user"
callers = ["visitor", "user"]
"#;

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let mut builder = Gateway::builder(upstream, ROUTES)
        .await
        .user(ADA, &[])
        .user(EVE, &[]);
    for name in GUESTS {
        builder = builder.user(&format!("{name}@corp.test"), &[]);
    }
    builder
}

/// Ada administers acme, Eve globex. Five of each thing are in acme.
async fn furnished(upstream: &Upstream) -> (Gateway, Browser, Browser) {
    let gateway = builder(upstream).await.start().await;
    for (tenant, admin) in [("acme", ADA), ("globex", EVE)] {
        done(&gateway, &["tenants", "create", tenant]);
        done(&gateway, &["tenants", "set-roles", tenant, admin, "admin"]);
        done(&gateway, &["visitors", "set-origins", tenant, SHOP]);
    }
    let (ada, eve) = (gateway.signed_in(ADA).await, gateway.signed_in(EVE).await);
    let users = done(&gateway, &["--output", "json", "users", "list"]);
    let users: Value = serde_json::from_str(&users).unwrap();
    for name in GUESTS {
        let email = format!("{name}@corp.test");
        let mut rows = users.as_array().unwrap().iter();
        let id = rows.find(|row| row["email"] == email).unwrap()["id"].clone();
        done(&gateway, &["tenants", "set-roles", "acme", &email, "user"]);
        let loan = json!({ "user_id": id, "permission": "read:all", "expires_in": "1h" });
        let invitation = json!({ "email": format!("{name}@elsewhere.test"), "roles": ["user"] });
        for (what, body) in [("grants", loan), ("invitations", invitation)] {
            let made = ada.post(&format!("{ACME}/{what}")).json(&body).send().await;
            assert_eq!(made.status, 201, "{what}: {}", made.text());
        }
        begin(&gateway, "acme", SHOP).await;
    }
    // All at one moment: then the ids decide, and none is skipped.
    for table in ["delegation", "invitation", "visitor"] {
        let sql = format!("UPDATE {table} SET created_at = 1700000000000000");
        database::execute(&gateway.folder, &sql).await;
    }
    (gateway, ada, eve)
}

fn ids(list: &Value) -> Vec<String> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn what_a_tenant_has_is_listed_to_the_last_a_page_at_a_time() {
    let upstream = Upstream::start().await;
    let (gateway, ada, eve) = furnished(&upstream).await;
    for (what, verbs) in [
        ("grants", ["grants", "list"]),
        ("invitations", ["tenants", "invitations"]),
        ("visitors", ["visitors", "list"]),
    ] {
        let at = format!("{ACME}/{what}");
        let all = ids(&ada.get(&at).send().await.json());
        assert_eq!(all.len(), 5, "{what}");
        let (mut by_api, mut by_hand) = (Vec::new(), Vec::new());
        loop {
            let last: Option<&String> = by_api.last();
            let after = last.map_or(String::new(), |id| format!("&after={id}"));
            let page = ada.get(&format!("{at}?limit=2{after}")).send().await;
            let page = ids(&page.json());
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 2, "{what}");
            by_api.extend(page);
        }
        loop {
            let mut arguments = [&["--output", "json"], &verbs[..]].concat();
            arguments.extend(["acme", "--limit", "2"]);
            let last: Option<String> = by_hand.last().cloned();
            if let Some(last) = &last {
                arguments.extend(["--after", last]);
            }
            let page = ids(&serde_json::from_str(&done(&gateway, &arguments)).unwrap());
            if page.is_empty() {
                break;
            }
            by_hand.extend(page);
        }
        assert_eq!((&by_api, &by_hand), (&all, &all), "{what}");

        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "after=x",
            "after=019c0000-0000-7000-8000-000000000000",
            "more=1",
        ] {
            let answer = ada.get(&format!("{at}?{wrong}")).send().await;
            assert_eq!(answer.problem(), "invalid-input", "{what}?{wrong}");
        }
        // Of another tenant nothing is said, not even that there is such a row.
        let theirs = at.replace("acme", "globex");
        let answer = eve.get(&format!("{theirs}?after={}", all[0])).send().await;
        assert_eq!(answer.problem(), "invalid-input", "{what}");
        let mut arguments = verbs.to_vec();
        arguments.extend(["globex", "--after", &all[0]]);
        let refused = gateway.cli(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{what}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("--after"), "{said}");
        let answer = eve.send(Method::GET, &theirs).send().await;
        assert_eq!(ids(&answer.json()), Vec::<String>::new(), "{what}");
    }
}
