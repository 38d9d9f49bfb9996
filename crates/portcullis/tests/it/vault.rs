//! The field API over the wire: who may seal and open, what opens where, and what is left of it (E3, E4, K3).

use std::process::Command;

use serde_json::{Value, json};

use crate::api_keys::make;
use crate::support::{
    Answer, Gateway, GatewayBuilder, Upstream, database, eventually_asked, required,
};

const ROUTES: &str = r#"
[vault]

[roles.user]
permissions = ["read:own"]

[roles.admin]
inherits = ["user"]
permissions = ["manage:users", "manage:keys", "manage:system"]

[roles.service]
permissions = ["seal:vault", "open:vault"]

[[route]]
path = "/{*rest}"
allow = "user"
"#;

pub(crate) const EMAIL: &str = "ana.private@corp.test";

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let builder = Gateway::builder(upstream, ROUTES).await;
    builder.user("root@corp.test", &["admin", "service"])
}

/// A key with these permissions, of a tenant or of none.
pub(crate) fn key(gateway: &Gateway, permissions: &[&str], tenant: Option<&str>) -> String {
    let mut arguments = Vec::new();
    for permission in permissions {
        arguments.extend(["--permission", permission]);
    }
    if let Some(tenant) = tenant {
        arguments.extend(["--tenant", tenant]);
    }
    make(gateway, &arguments).1
}

pub(crate) fn tenant(gateway: &Gateway, slug: &str) -> String {
    let output = gateway.cli(&["--output", "json", "tenants", "create", slug]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    made["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn call(gateway: &Gateway, key: &str, verb: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let request = gateway.client().post(&format!("/.portcullis/vault/{verb}"));
    request
        .header("authorization", &bearer)
        .json(body)
        .send()
        .await
}

pub(crate) fn place(row: &str) -> Value {
    json!({ "table": "users", "field": "email", "row": row })
}

pub(crate) fn with(mut item: Value, name: &str, value: &str) -> Value {
    item[name] = value.into();
    item
}

/// Seals [`EMAIL`] for a row.
pub(crate) async fn sealed(gateway: &Gateway, key: &str, row: &str) -> String {
    let item = with(place(row), "value", EMAIL);
    let answer = call(gateway, key, "seal", &json!({ "items": [item] })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"][0]["sealed"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) async fn opened(gateway: &Gateway, key: &str, row: &str, sealed: &str) -> Answer {
    let item = with(place(row), "sealed", sealed);
    call(gateway, key, "open", &json!({ "items": [item] })).await
}

#[tokio::test]
async fn a_field_opens_for_whoever_may_in_its_own_place_and_is_written_down() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let sealed = sealed(&gateway, &both, "42").await;
    assert!(sealed.starts_with("pcv1."), "{sealed}");
    let answer = opened(&gateway, &both, "42", &sealed).await;
    assert_eq!(answer.json(), json!({ "items": [{ "value": EMAIL }] }));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // One that does not open hides none of the others, and says nothing of why.
    let items = [
        with(place("43"), "sealed", &sealed),
        with(with(place("42"), "sealed", &sealed), "field", "name"),
        with(with(place("42"), "sealed", &sealed), "table", "orders"),
        with(place("42"), "sealed", sealed.get(..40).unwrap()),
        with(place("42"), "sealed", "gAAAAABx"),
        with(place("42"), "sealed", &sealed),
    ];
    let answer = call(&gateway, &both, "open", &json!({ "items": items })).await;
    let no = json!({ "error": "does-not-open" });
    assert_eq!(
        answer.json()["items"],
        json!([no, no, no, no, no, { "value": EMAIL }])
    );
    let told = gateway.cli(&[
        "--output",
        "json",
        "audit",
        "list",
        "--action",
        "fields.opened",
    ]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
    assert_eq!(told[0]["metadata"]["opened"], 1, "{told}");
    assert_eq!(told[0]["metadata"]["asked"], 6, "{told}");
    assert_eq!(upstream.requests(), 0);
    // Neither the database nor what the gate printed shows the value.
    let stored = database::everything(&gateway.folder).await;
    let shown = |bytes: &[u8]| {
        bytes
            .windows(EMAIL.len())
            .any(|part| part == EMAIL.as_bytes())
    };
    assert!(!shown(&stored));
    assert!(!shown(gateway.printed().as_bytes()));
}

#[tokio::test]
async fn nobody_seals_or_opens_who_may_not() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let seals = key(&gateway, &["seal:vault"], None);
    let opens = key(&gateway, &["open:vault"], None);
    let sealed = sealed(&gateway, &seals, "42").await;
    let refused = opened(&gateway, &seals, "42", &sealed).await;
    assert_eq!(refused.problem(), "not-permitted");
    assert_eq!(opened(&gateway, &opens, "42", &sealed).await.status, 200);
    for verb in ["seal", "reseal", "index"] {
        let answer = call(&gateway, &opens, verb, &json!({ "items": [] })).await;
        assert_eq!(answer.problem(), "not-permitted", "{verb}");
    }
    // People have no business here, whatever they may.
    let root = gateway.signed_in("root@corp.test").await;
    let item = with(place("42"), "sealed", &sealed);
    let body = json!({ "items": [item] });
    let answer = root
        .post("/.portcullis/vault/open")
        .json(&body)
        .send()
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let nobody = gateway.client().post("/.portcullis/vault/open");
    assert_eq!(nobody.json(&body).send().await.status, 401);
}

#[tokio::test]
async fn a_tenants_key_works_for_that_tenant_alone() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let (acme, globex) = (tenant(&gateway, "acme"), tenant(&gateway, "globex"));
    let may = ["seal:vault", "open:vault"];
    let [ours, theirs] = [&acme, &globex].map(|tenant| key(&gateway, &may, Some(tenant)));
    let anybodys = key(&gateway, &may, None);
    let sealed = sealed(&gateway, &ours, "42").await;
    assert_eq!(
        opened(&gateway, &ours, "42", &sealed).await.json()["items"][0]["value"],
        EMAIL
    );
    let no = json!({ "items": [{ "error": "does-not-open" }] });
    for stranger in [&theirs, &anybodys] {
        assert_eq!(opened(&gateway, stranger, "42", &sealed).await.json(), no);
    }
    let body = json!({ "tenant": acme, "items": [with(place("42"), "sealed", &sealed)] });
    let answer = call(&gateway, &theirs, "open", &body).await;
    assert_eq!(answer.problem(), "not-permitted");
    assert_eq!(call(&gateway, &ours, "open", &body).await.status, 200);
    let answer = call(&gateway, &anybodys, "open", &body).await;
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
    // The same value has another index elsewhere.
    let index = async |key: &str| {
        let body = json!({ "items": [{ "table": "users", "field": "email", "value": EMAIL }] });
        let answer = call(&gateway, key, "index", &body).await;
        answer.json()["items"][0]["index"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(index(&ours).await, index(&ours).await);
    assert_ne!(index(&ours).await, index(&theirs).await);
}

#[tokio::test]
async fn nothing_is_opened_that_cannot_be_written_down() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let sealed = sealed(&gateway, &both, "42").await;
    let away = "ALTER TABLE audit_event RENAME TO audit_event_away";
    database::execute(&gateway.folder, away).await;
    let answer = opened(&gateway, &both, "42", &sealed).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.text().contains(EMAIL));
    let back = "ALTER TABLE audit_event_away RENAME TO audit_event";
    database::execute(&gateway.folder, back).await;
    eventually_asked("it opens again", async || {
        opened(&gateway, &both, "42", &sealed).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn keys_are_replaced_under_way_and_values_sealed_anew() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let old = sealed(&gateway, &both, "42").await;
    assert!(gateway.cli(&["vault", "rotate"]).status.success());
    // Old values open all the while.
    assert_eq!(opened(&gateway, &both, "42", &old).await.status, 200);
    let twin = gateway.twin().await;
    let body = json!({ "items": [with(place("42"), "sealed", &old)] });
    let answer = call(&twin, &both, "reseal", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let new = answer.json()["items"][0]["sealed"]
        .as_str()
        .unwrap()
        .to_owned();
    for (node, sealed) in [(&gateway, &new), (&gateway, &old), (&twin, &new)] {
        let answer = opened(node, &both, "42", sealed).await;
        assert_eq!(answer.json()["items"][0]["value"], EMAIL);
    }
    let told = gateway.cli(&["--output", "json", "vault", "status"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let states: Vec<_> = told
        .as_array()
        .unwrap()
        .iter()
        // Without those of the gate itself, for its audit trail.
        .filter(|key| key["tenant"] != "portcullis")
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["opening", "sealing"], "{told}");
    // A value that was moved is not sealed anew for its new place.
    let body = json!({ "items": [with(place("43"), "sealed", &old)] });
    let answer = call(&gateway, &both, "reseal", &body).await;
    assert_eq!(answer.problem(), "does-not-open");
}

#[tokio::test]
async fn after_a_change_of_the_master_secret_the_old_one_is_soon_needed_no_more() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let may = ["seal:vault", "open:vault"];
    let sealed = sealed(&gateway, &key(&gateway, &may, None), "42").await;
    let gateway = gateway.end().await.with_another_master().start().await;
    // Made now, under the new master secret: it is not what is tested here.
    let both_may = key(&gateway, &may, None);
    assert_eq!(opened(&gateway, &both_may, "42", &sealed).await.status, 200);
    gateway.has_rewrapped().await;
    let gateway = gateway.end().await.without_old_master().start().await;
    let answer = opened(&gateway, &both_may, "42", &sealed).await;
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
}

#[tokio::test]
async fn what_is_too_much_or_no_text_is_refused() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let item = with(place("42"), "value", "x");
    let many = json!({ "items": vec![item.clone(); 1001] });
    let large = json!({ "items": [with(place("42"), "value", &"x".repeat(1 << 20))] });
    let unknown = json!({ "items": [with(item.clone(), "rows", "42")] });
    let wrong = json!({ "items": [with(with(place("42"), "value", "%"), "encoding", "base64")] });
    let nameless = json!({ "items": [with(with(item, "table", ""), "value", "x")] });
    for (body, status) in [
        (&many, 422),
        (&large, 413),
        (&unknown, 422),
        (&wrong, 422),
        (&nameless, 422),
    ] {
        let answer = call(&gateway, &both, "seal", body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    // Tables of the gate's own are nobody else's, for whatever it is asked.
    for (verb, member) in [("seal", "value"), ("open", "sealed"), ("reseal", "sealed")] {
        let item = with(with(place("42"), member, "x"), "table", "portcullis.secret");
        let answer = call(&gateway, &both, verb, &json!({ "items": [item] })).await;
        let said = answer.text();
        assert_eq!(
            (answer.status.as_u16(), said.contains("the gate's own")),
            (422, true),
            "{verb}: {said}"
        );
    }
    let item = json!({ "table": "portcullis.secret", "field": "value", "value": "x" });
    let answer = call(&gateway, &both, "index", &json!({ "items": [item] })).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    // Bytes that are no text come back as they went in, and only so.
    let item = with(with(place("7"), "value", "/wD+"), "encoding", "base64");
    let answer = call(&gateway, &both, "seal", &json!({ "items": [item] })).await;
    let sealed = answer.json()["items"][0]["sealed"]
        .as_str()
        .unwrap()
        .to_owned();
    let item = with(place("7"), "sealed", &sealed);
    let answer = call(&gateway, &both, "open", &json!({ "items": [item] })).await;
    assert_eq!(answer.status, 422);
    let item = with(with(place("7"), "sealed", &sealed), "encoding", "base64");
    let answer = call(&gateway, &both, "open", &json!({ "items": [item] })).await;
    assert_eq!(answer.json()["items"][0]["value"], "/wD+");
}

#[tokio::test]
async fn the_clients_in_python_and_node_seal_and_open() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let both = key(&gateway, &["seal:vault", "open:vault"], None);
    let gate = format!("http://{}", gateway.address);
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let python = r#"
import sys
sys.path.insert(0, sys.argv[1] + "/fastapi")
from portcullis_vault import Vault
vault = Vault(sys.argv[2], sys.argv[3])
sealed = vault.seal("users", "email", 42, "ana@corp.test")
assert vault.open("users", "email", 42, sealed) == "ana@corp.test"
assert vault.index("users", "email", "a") == vault.index("users", "email", "a")
try:
    vault.open("users", "email", 43, sealed)
except ValueError as error:
    print(error)
"#;
    let node = r#"
const [examples, gate, key] = process.argv.slice(1);
const { Vault } = await import(`${examples}/node/portcullis-vault.mjs`);
const vault = new Vault(gate, key);
const sealed = await vault.seal("users", "email", 42, "ana@corp.test");
if (await vault.open("users", "email", 42, sealed) !== "ana@corp.test") throw new Error("opened");
if (await vault.index("users", "email", "a") !== await vault.index("users", "email", "a")) throw new Error("index");
try {
  await vault.open("users", "email", 43, sealed);
} catch (error) {
  console.log(error.message);
}
"#;
    let arguments = [examples, gate.as_str(), both.as_str()];
    let mut in_python = Command::new(required("PORTCULLIS_TEST_PYTHON"));
    in_python.args(["-c", python]).args(arguments);
    let mut in_node = Command::new(required("PORTCULLIS_TEST_NODE"));
    in_node
        .args(["--input-type=module", "-e", node, "--"])
        .args(arguments);
    for mut program in [in_python, in_node] {
        let output = tokio::task::spawn_blocking(move || program.output().unwrap())
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "does-not-open"
        );
    }
}

/// The program of `crates/vault/examples/fields.rs`, which is built beside the gate.
fn from_rust(gateway: &Gateway, verb: &str, row: &str, value: &str) -> Result<String, String> {
    let gate = std::path::Path::new(env!("CARGO_BIN_EXE_portcullis"));
    let database = std::fs::read_to_string(gateway.folder.join("database")).unwrap();
    let output = Command::new(gate.with_file_name("examples").join("fields"))
        .current_dir(&gateway.folder)
        .args([
            database.trim(),
            "master",
            verb,
            "users",
            "email",
            row,
            value,
        ])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn a_program_in_rust_seals_what_the_gate_opens_and_the_other_way_round() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let service = key(&gateway, &["seal:vault", "open:vault"], None);
    let by_gate = sealed(&gateway, &service, "1").await;
    assert_eq!(
        from_rust(&gateway, "open", "1", &by_gate).as_deref(),
        Ok(EMAIL)
    );
    let by_program = from_rust(&gateway, "seal", "2", EMAIL).unwrap();
    let item = with(place("2"), "sealed", &by_program);
    let answer = call(&gateway, &service, "open", &json!({ "items": [item] })).await;
    assert_eq!(answer.json()["items"][0]["value"], EMAIL);
    // Moved, it opens for neither.
    let moved = from_rust(&gateway, "open", "2", &by_gate).unwrap_err();
    assert!(moved.contains("DoesNotOpen"), "{moved}");
}
