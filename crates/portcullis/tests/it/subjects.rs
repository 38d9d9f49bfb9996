//! Persons whom the product alone knows, and what others wrote of somebody: export and erasure (P1, P2).

mod texts;

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Answer, Gateway, GatewayBuilder, Upstream, database, eventually_asked};
use crate::visitors::{self, SHOP};

pub(crate) const EXPORT: &str = "/.portcullis/personal-data/export";
pub(crate) const ERASE: &str = "/.portcullis/personal-data/erase";
/// What a program of the product holds.
pub(crate) const POLICY: &str = "\n[vault]\n[[purpose]]\nname = \"marketing\"\nversion = \"1\"\nabout = \"News by letter\"\n[roles.user]\npermissions = [\"read:own\"]\n[roles.admin]\npermissions = [\"manage:users\"]\n[roles.program]\npermissions = [\"seal:vault\", \"open:vault\", \"consents:write\", \"consents:read\", \"export:subjects\", \"erase:subjects\"]\n[limits.default]\nrate = \"100000/minute\"\n[limits.auth]\nrate = \"1000/minute\"\n";
const ALL: [&str; 6] = [
    "seal:vault",
    "open:vault",
    "consents:write",
    "consents:read",
    "export:subjects",
    "erase:subjects",
];

pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

pub(crate) fn parsed(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = gateway.cli(&[&["--output", "json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

/// A key that may do all of this, in a tenant or in none.
pub(crate) fn key(gateway: &Gateway, tenant: Option<&str>) -> String {
    key_with(gateway, &ALL, tenant)
}

fn key_with(gateway: &Gateway, permissions: &[&str], tenant: Option<&str>) -> String {
    let mut arguments = vec!["keys", "create", "--name", "app"];
    for permission in permissions {
        arguments.extend(["--permission", permission]);
    }
    arguments.extend(tenant.iter().flat_map(|name| ["--tenant", name]));
    let made = parsed(gateway, &arguments);
    made["key"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

pub(crate) async fn ask(gateway: &Gateway, key: &str, path: &str, body: &Value) -> Answer {
    let request = gateway.client().post(path);
    let request = request.header("authorization", &format!("Bearer {key}"));
    request.json(body).send().await
}

pub(crate) async fn seal(gateway: &Gateway, key: &str, subject: &str) -> String {
    let item = json!({ "table": "profiles", "field": "iban", "row": "7", "subject": subject, "value": "an iban" });
    let answer = ask(
        gateway,
        key,
        "/.portcullis/vault/seal",
        &json!({ "items": [item] }),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"][0]["sealed"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The value, or why it does not open.
pub(crate) async fn open(gateway: &Gateway, key: &str, sealed: &str) -> String {
    let item = json!({ "table": "profiles", "field": "iban", "row": "7", "sealed": sealed });
    let answer = ask(
        gateway,
        key,
        "/.portcullis/vault/open",
        &json!({ "items": [item] }),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let item = answer.json()["items"][0].clone();
    let text = item["value"].as_str().or(item["error"].as_str());
    text.unwrap().to_owned()
}

pub(crate) async fn agrees(gateway: &Gateway, key: &str, subject: &str) {
    let given = json!({ "subject": subject, "purpose": "marketing", "state": "given" });
    let answer = ask(gateway, key, "/.portcullis/consents", &given).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

pub(crate) fn folder(gateway: &Gateway) -> std::path::PathBuf {
    gateway.config_path().parent().unwrap().to_owned()
}

pub(crate) async fn count(gateway: &Gateway, rest: &str) -> u64 {
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {rest}");
    database::text(&folder(gateway), &sql)
        .await
        .parse()
        .unwrap()
}

/// The rows of a table in an export.
pub(crate) fn of(export: &str, table: &str) -> Vec<Value> {
    let lines = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rows = lines.filter(|line: &Value| line["table"] == table);
    rows.map(|line| line["row"].clone()).collect()
}

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(upstream)
        .await
        .user("ana@corp.test", &["user"])
        .more(POLICY)
}

#[tokio::test]
async fn somebody_whom_the_product_alone_knows_is_exported_and_erased_in_their_tenant_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let tenant = |name: &str| {
        let made = parsed(&gateway, &["tenants", "create", name]);
        made["id"].as_str().unwrap().to_owned()
    };
    let (acme, rival) = (tenant("acme"), tenant("rival"));
    let (of_acme, of_rival) = (key(&gateway, Some("acme")), key(&gateway, Some("rival")));
    let everywhere = key(&gateway, None);
    let mut sealed = Vec::new();
    for key in [&of_acme, &of_rival, &everywhere] {
        sealed.push((key, seal(&gateway, key, "customer-4471").await));
        agrees(&gateway, key, "customer-4471").await;
    }
    let other = seal(&gateway, &of_acme, "customer-4472").await;
    let who = json!({ "subject": "customer-4471" });

    let exported = ask(&gateway, &of_acme, EXPORT, &who).await;
    assert_eq!(exported.status, 200, "{}", exported.text());
    let text = exported.text();
    assert_eq!(of(&text, "consent").len(), 1, "{text}");
    assert_eq!(of(&text, "data_key").len(), 1, "{text}");
    assert!(!text.contains(&rival), "{text}");
    let file = folder(&gateway).join("customer.jsonl");
    std::fs::write(&file, exported.body).unwrap();
    let verified = gateway.cli(&["privacy", "verify", file.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));

    // Nobody reaches another tenant, and nobody comes in without the permission.
    for path in [EXPORT, ERASE] {
        let foreign = json!({ "subject": "customer-4471", "tenant": acme });
        let refused = ask(&gateway, &of_rival, path, &foreign).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text());
        let also = json!({ "subject": "customer-4471", "also": ["ana@corp.test"] });
        let refused = ask(&gateway, &of_rival, path, &also).await;
        assert_eq!(refused.status, 422, "{path}: {}", refused.text());
        let unknown = json!({ "subject": "customer-9999" });
        assert_eq!(ask(&gateway, &of_acme, path, &unknown).await.status, 404);
        let wrong = key_with(&gateway, &["seal:vault"], None);
        assert_eq!(ask(&gateway, &wrong, path, &who).await.status, 403);
        assert_eq!(
            gateway.client().post(path).json(&who).send().await.status,
            401
        );
        let ana = gateway.signed_in("ana@corp.test").await;
        assert_eq!(ana.post(path).json(&who).send().await.status, 403);
    }
    for (key, sealed) in &sealed {
        assert_eq!(open(&gateway, key, sealed).await, "an iban");
    }

    let erased = ask(&gateway, &of_acme, ERASE, &who).await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    let erased = erased.json();
    assert_eq!(erased["left"], json!([]), "{erased}");
    assert_eq!(
        erased["rows"],
        json!({ "consent": 1, "data_key": 1 }),
        "{erased}"
    );
    assert_eq!(erased["keys"].as_array().unwrap().len(), 1, "{erased}");
    assert!(!erased.to_string().contains("4471"), "it names nobody");
    eventually_asked("every node has forgotten the key", async || {
        open(&gateway, sealed[0].0, &sealed[0].1).await == "does-not-open"
    })
    .await;
    for (key, sealed) in &sealed[1..] {
        assert_eq!(open(&gateway, key, sealed).await, "an iban");
    }
    assert_eq!(open(&gateway, &of_acme, &other).await, "an iban");
    for table in ["consent", "data_key"] {
        let rest = format!("{table} WHERE subject = 'customer-4471'");
        assert_eq!(
            count(&gateway, &rest).await,
            2,
            "{table}: those of others stay"
        );
        let rest = format!("{rest} AND tenant = '{acme}'");
        assert_eq!(count(&gateway, &rest).await, 0, "{table}");
    }
    let kept = database::rows(&folder(&gateway)).await;
    assert_eq!(kept["subject_being_erased"], Vec::<String>::new());
    assert!(!kept["subject_erasure"].join(" ").contains("4471"));

    // The certificate is in the log, and once more it is the same.
    let list = ["audit", "list", "--action", "personal-data.erased"];
    let events = parsed(&gateway, &list);
    assert_eq!(
        events[0]["metadata"]["certificate"], erased["digest"],
        "{events}"
    );
    assert_eq!(events[0]["metadata"]["key_ids"], erased["keys"], "{events}");
    assert_eq!(events[0]["tenant_id"], acme, "{events}");
    assert!(!events.to_string().contains("4471"), "{events}");
    let again = ask(&gateway, &of_acme, ERASE, &who).await.json();
    assert_eq!(again["digest"], erased["digest"]);
    assert_eq!(parsed(&gateway, &list).as_array().unwrap().len(), 1);
    assert_eq!(ask(&gateway, &of_acme, EXPORT, &who).await.status, 404);
    let verified = gateway.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", said(&verified));
    // The ledger lets go of nobody else.
    let folder = folder(&gateway);
    let changed =
        tokio::spawn(async move { database::execute(&folder, "DELETE FROM consent").await });
    assert!(changed.await.is_err(), "the ledger was changed");
}

#[tokio::test]
async fn the_operator_does_the_same_by_name_and_an_account_is_none_of_these() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    parsed(&gateway, &["tenants", "create", "acme"]);
    let of_acme = key(&gateway, Some("acme"));
    let sealed = seal(&gateway, &of_acme, "contact-4471").await;
    agrees(&gateway, &of_acme, "contact-4471").await;
    let who = ["contact-4471", "--other", "--tenant", "acme"];
    let file = folder(&gateway).join("contact.jsonl");
    let to = ["--to", file.to_str().unwrap()];
    let told = parsed(
        &gateway,
        &[&["privacy", "export"], &who[..], &to[..]].concat(),
    );
    assert_eq!(told["lines"], 3, "{told}");
    let verified = gateway.cli(&["privacy", "verify", to[1]]);
    assert!(verified.status.success(), "{}", said(&verified));
    // A file of somebody who is not here does not stay.
    let nobody = folder(&gateway).join("nobody.jsonl");
    let output = gateway.cli(&[
        "privacy",
        "export",
        "nobody-at-all",
        "--other",
        "--to",
        nobody.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(!nobody.exists());
    let erase = |more: &[&str]| {
        let arguments = [&["privacy", "erase"], &who[..], more].concat();
        parsed(&gateway, &arguments)
    };
    assert_eq!(
        erase(&["--dry-run"])["rows"],
        json!({ "consent": 1, "data_key": 1 })
    );
    assert_eq!(open(&gateway, &of_acme, &sealed).await, "an iban");
    let erased = erase(&["--yes"]);
    assert_eq!(erased["left"], json!([]), "{erased}");
    eventually_asked("every node has forgotten the key", async || {
        open(&gateway, &of_acme, &sealed).await == "does-not-open"
    })
    .await;
    assert_eq!(erase(&["--yes"])["digest"], erased["digest"]);
    // An account has more than this: it is erased as one.
    let users = parsed(&gateway, &["users", "list"]);
    let id = json!({ "subject": users[0]["id"] });
    let everywhere = key(&gateway, None);
    for path in [EXPORT, ERASE] {
        let refused = ask(&gateway, &everywhere, path, &id).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
    }
    assert_eq!(count(&gateway, "users").await, 1);
}

#[tokio::test]
async fn a_visit_is_somebody_by_its_id_for_its_tenant_alone() {
    let upstream = Upstream::start().await;
    let roles = POLICY
        .replace("[limits.auth]\nrate = \"1000/minute\"\n", "")
        .replace("\"manage:users\"", "\"manage:users\", \"moderate:content\"");
    let gateway = visitors::builder(&upstream).await.more(&roles);
    let gateway = visitors::furnished(gateway.start().await);
    let (of_acme, of_globex) = (key(&gateway, Some("acme")), key(&gateway, Some("globex")));
    let visit = visitors::begin(&gateway, "acme", SHOP).await;
    assert_eq!(visit.get(&gateway, "/chat").await.status, 200);
    let who = json!({ "subject": visit.id });
    for path in [EXPORT, ERASE] {
        assert_eq!(ask(&gateway, &of_globex, path, &who).await.status, 404);
    }
    let exported = ask(&gateway, &of_acme, EXPORT, &who).await;
    assert_eq!(exported.status, 200, "{}", exported.text());
    let text = exported.text();
    assert_eq!(of(&text, "visitor")[0]["origin"], SHOP, "{text}");
    assert!(!text.contains(&visit.token));
    let events = of(&text, "audit_event");
    assert!(!events.is_empty(), "{text}");
    let erased = ask(&gateway, &of_acme, ERASE, &who).await.json();
    assert_eq!(erased["left"], json!([]), "{erased}");
    assert_eq!(erased["rows"]["visitor"], 1, "{erased}");
    eventually_asked("the visit is over", async || {
        visit.get(&gateway, "/chat").await.status == 401
    })
    .await;
    let listed = ["audit", "list", "--limit", "1000"];
    for event in parsed(&gateway, &listed).as_array().unwrap() {
        if event.to_string().contains(&visit.id) {
            assert_eq!(event["client_address"], Value::Null, "{event}");
        }
    }
}
