//! The secret store over the wire (X2-X6, W4): what programs read, what clients may know, what nobody
//! prints, how values are replaced and how old they get.

mod ages;
mod files;
mod of_tenant;
pub(crate) mod remote;
mod replacement;
mod told;

use http::Method;
use serde_json::{Value, json};

use crate::api_keys::make;
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, Upstream, database};

const ADMIN: &str = "/.portcullis/admin/v1/secrets";
pub(crate) const ROOT: &str = "root@corp.test";

/// No form that redaction knows: where it is printed, it is seen.
pub(crate) const CANARY: &str = "quartz canary of the payments team 7f3a";
const SECOND: &str = "tundra canary of the payments team 91bc";

pub(crate) const ROUTES: &str = r#"
[secret-store]
hook-path = "/internal/secret-rotated"

[visitors]

[limits.default]
rate = "100000/minute"

[roles.user]
permissions = ["read:own"]

[roles.admin]
inherits = ["user"]
permissions = ["manage:users", "manage:keys", "manage:system", "manage:secrets"]

[roles.service]
permissions = ["open:secrets", "read:all"]

[[route]]
path = "/{*rest}"
allow = "user"
"#;

/// Writes the secret `stripe`, with what stands on the standard input.
#[rustfmt::skip]
pub(crate) const PUT_STRIPE: [&str; 9] =
    ["secrets", "put", "stripe", "--value-from", "-", "--owner", "a", "--purpose", "b"];

pub(crate) async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let builder = Gateway::builder(upstream, ROUTES).await;
    builder
        .user(ROOT, &["admin", "service"])
        .user("ana@corp.test", &["user"])
        .user("eve@corp.test", &["user"])
}

/// What the command line says, as JSON.
pub(crate) fn told(gateway: &Gateway, arguments: &[&str]) -> Value {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    let output = gateway.cli(&all);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.stdout.is_empty(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn tenant(gateway: &Gateway, slug: &str) -> String {
    let made = told(gateway, &["tenants", "create", slug]);
    made["id"].as_str().unwrap().to_owned()
}

/// A program's key that reads secrets, of a tenant or of none.
pub(crate) fn reader(gateway: &Gateway, tenant: Option<&str>) -> String {
    let mut arguments = vec!["--permission", "open:secrets"];
    arguments.extend(tenant.iter().flat_map(|tenant| ["--tenant", tenant]));
    make(gateway, &arguments).1
}

pub(crate) async fn read(gateway: &Gateway, key: &str, what: &str) -> Answer {
    let bearer = format!("Bearer {key}");
    let path = format!("/.portcullis/secrets/{what}");
    let request = gateway.client().get(&path);
    request.header("authorization", &bearer).send().await
}

fn new(value: &str) -> Value {
    json!({ "value": value, "public": { "publicApiKey": "pk_1" }, "owner": "payments", "purpose": "charges cards" })
}

async fn write(admin: &Browser, what: &str, body: &Value) -> Answer {
    let path = format!("{ADMIN}/{what}");
    admin.send(Method::PUT, &path).json(body).send().await
}

async fn rotate(admin: &Browser, what: &str, body: &Value) -> Answer {
    let path = format!("{ADMIN}/{what}");
    admin.post(&path).json(body).send().await
}

/// A gate whose product has the secret `stripe`.
pub(crate) async fn with_stripe(upstream: &Upstream) -> (Gateway, Browser) {
    let gateway = builder(upstream).await.start().await;
    let admin = gateway.signed_in(ROOT).await;
    let made = write(&admin, "stripe", &new(CANARY)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    (gateway, admin)
}

fn shows(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_program_reads_what_an_administrator_wrote_and_nobody_else_sees_it() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    let answer = read(&gateway, &key, "stripe").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told_ = answer.json();
    assert_eq!(told_["value"], CANARY);
    assert_eq!(
        (&told_["version"], &told_["public"]["publicApiKey"]),
        (&json!(1), &json!("pk_1"))
    );
    // It is written down, with the version.
    let events = told(&gateway, &["audit", "list", "--action", "secret.read"]);
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!(events[0]["target"], "secret:stripe");
    assert_eq!(events[0]["metadata"]["version"], 1);
    assert_eq!(events[0]["actor"], "api-key");
    // Whoever manages secrets sees all about them but what they are.
    let mut seen = Vec::new();
    for path in [ADMIN.to_owned(), format!("{ADMIN}/stripe")] {
        let answer = admin.get(&path).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("payments"), "{}", answer.text());
        seen.push(answer.text());
    }
    let body = json!({ "value": SECOND });
    let rotated = rotate(&admin, "stripe/rotate", &body).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    seen.push(rotated.text());
    for arguments in [
        vec!["secrets", "list"],
        vec!["secrets", "show", "stripe"],
        vec!["--output", "json", "secrets", "show", "stripe"],
        vec!["audit", "list"],
    ] {
        let output = gateway.cli(&arguments);
        assert!(output.status.success(), "{arguments:?}");
        seen.push(String::from_utf8(output.stdout).unwrap());
    }
    seen.push(gateway.printed());
    let stored = database::everything(&gateway.folder).await;
    for canary in [CANARY, SECOND] {
        assert!(!seen.iter().any(|text| text.contains(canary)));
        assert!(!shows(&stored, canary));
    }
}

#[tokio::test]
async fn nobody_reads_a_private_part_who_may_not() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let manages = make(&gateway, &["--permission", "manage:secrets"]).1;
    let reads_all = make(&gateway, &["--permission", "read:all"]).1;
    for key in [&manages, &reads_all] {
        let answer = read(&gateway, key, "stripe").await;
        assert_eq!(answer.problem(), "not-permitted");
    }
    // People never, whatever they may; nor is anything there for nobody.
    let answer = admin.get("/.portcullis/secrets/stripe").send().await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let nobody = gateway.client().get("/.portcullis/secrets/stripe");
    assert_eq!(nobody.send().await.status, 401);
    // A program that reads writes nothing, and one that manages may.
    for (key, expected) in [(reader(&gateway, None), 403), (manages, 200)] {
        let bearer = format!("Bearer {key}");
        let request = gateway.client().get(ADMIN).header("authorization", &bearer);
        let answer = request.send().await;
        assert_eq!(answer.status, expected, "{}", answer.text());
        assert!(!answer.text().contains(CANARY));
    }
    let key = reader(&gateway, None);
    for what in [
        "nothing",
        "stripe?version=2",
        "stripe?version=previous",
        "%2e%2e",
    ] {
        let answer = read(&gateway, &key, what).await;
        assert!(answer.status.is_client_error(), "{what}: {}", answer.text());
        assert!(!answer.text().contains(CANARY));
    }
}

#[tokio::test]
async fn a_tenants_key_reads_that_tenants_secrets_and_no_others() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let (acme, globex) = (tenant(&gateway, "acme"), tenant(&gateway, "globex"));
    for (id, value) in [
        (&acme, "value of acme itself"),
        (&globex, "value of globex"),
    ] {
        let what = format!("stripe?tenant={id}");
        assert_eq!(write(&admin, &what, &new(value)).await.status, 201);
    }
    let [ours, theirs] = [&acme, &globex].map(|id| reader(&gateway, Some(id)));
    let anybodys = reader(&gateway, None);
    let value =
        async |key: &str, what: &str| read(&gateway, key, what).await.json()["value"].clone();
    assert_eq!(value(&ours, "stripe").await, "value of acme itself");
    assert_eq!(value(&theirs, "stripe").await, "value of globex");
    assert_eq!(value(&anybodys, "stripe").await, CANARY);
    let of_acme = format!("stripe?tenant={acme}");
    assert_eq!(value(&anybodys, &of_acme).await, "value of acme itself");
    let refused = read(&gateway, &theirs, &of_acme).await;
    assert_eq!(refused.problem(), "not-permitted");
    // What the tenant has not, it does not get from the product's own.
    assert_eq!(write(&admin, "other", &new(SECOND)).await.status, 201);
    assert_eq!(read(&gateway, &ours, "other").await.status, 404);
    let unknown = "stripe?tenant=01890a5d-ac96-774b-bcce-b302099a8057";
    assert_eq!(write(&admin, unknown, &new(CANARY)).await.status, 422);
    // A tenant's own key manages nothing here: it is about every tenant.
    let manages = ["--permission", "manage:secrets", "--tenant", &acme];
    let bearer = format!("Bearer {}", make(&gateway, &manages).1);
    let request = gateway.client().get(ADMIN).header("authorization", &bearer);
    assert_eq!(request.send().await.status, 403);
}

#[tokio::test]
async fn a_sealed_value_that_was_moved_does_not_open() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    assert_eq!(write(&admin, "other", &new(SECOND)).await.status, 201);
    for (name, value) in [
        ("stripe", "third of them all"),
        ("other", "fourth of them all"),
    ] {
        let new = json!({ "value": value });
        let rotated = rotate(&admin, &format!("{name}/rotate"), &new).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
    }
    let sealed = |name: &str, version: i64| {
        format!(
            "SELECT v.sealed FROM stored_secret_version v JOIN stored_secret s ON s.id = v.secret_id WHERE s.name = '{name}' AND v.version = {version}"
        )
    };
    // Of another name, of the same version; and of the same name, of another version.
    for (name, version) in [("other", 2), ("stripe", 1)] {
        let own = database::text(&gateway.folder, &sealed("stripe", 2)).await;
        let moved = database::text(&gateway.folder, &sealed(name, version)).await;
        let put = |sealed: &str| {
            format!(
                "UPDATE stored_secret_version SET sealed = '{sealed}' WHERE version = 2 AND secret_id = (SELECT id FROM stored_secret WHERE name = 'stripe')"
            )
        };
        database::execute(&gateway.folder, &put(&moved)).await;
        let answer = read(&gateway, &key, "stripe").await;
        assert_eq!(answer.problem(), "does-not-open", "{name} {version}");
        database::execute(&gateway.folder, &put(&own)).await;
        assert_eq!(read(&gateway, &key, "stripe").await.status, 200);
    }
    // Nor does the field API open it, whoever asks.
    let stolen = database::text(&gateway.folder, &sealed("other", 1)).await;
    let gateway = gateway
        .end()
        .await
        .replace("[secret-store]\n", "[vault]\n\n[secret-store]\n")
        .replace(
            "permissions = [\"open:secrets\", \"read:all\"]",
            "permissions = [\"open:secrets\", \"open:vault\"]",
        )
        .start()
        .await;
    let opens = make(&gateway, &["--permission", "open:vault"]).1;
    let item =
        json!({ "table": "portcullis.secret", "field": "private", "row": "x", "sealed": stolen });
    let request = gateway.client().post("/.portcullis/vault/open");
    let request = request.header("authorization", &format!("Bearer {opens}"));
    let answer = request.json(&json!({ "items": [item] })).send().await;
    assert_eq!(answer.problem(), "invalid-input");
    // A new value mends what was damaged.
    database::execute(
        &gateway.folder,
        "UPDATE stored_secret_version SET sealed = 'pcv1.AAAA' WHERE sealed IS NOT NULL",
    )
    .await;
    let admin = gateway.signed_in(ROOT).await;
    assert_eq!(write(&admin, "other", &new(CANARY)).await.status, 200);
    assert_eq!(read(&gateway, &key, "other").await.json()["value"], CANARY);
}

#[tokio::test]
async fn clients_get_the_public_part_of_their_tenant_and_never_the_private_one() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let (acme, _) = (tenant(&gateway, "acme"), tenant(&gateway, "globex"));
    let mut of_acme = new("value of acme itself");
    of_acme["public"]["publicApiKey"] = "pk_acme".into();
    let what = format!("stripe?tenant={acme}");
    assert_eq!(write(&admin, &what, &of_acme).await.status, 201);
    for (slug, email) in [("acme", "ana@corp.test"), ("globex", "eve@corp.test")] {
        let arguments = ["tenants", "set-roles", slug, email, "user"];
        assert!(gateway.cli(&arguments).status.success());
    }
    let [ana, eve] = [
        gateway.signed_in("ana@corp.test").await,
        gateway.signed_in("eve@corp.test").await,
    ];
    for (client, expected) in [(&ana, "pk_acme"), (&eve, "pk_1")] {
        let answer = client
            .get("/.portcullis/secrets/stripe/public")
            .send()
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(body["public"], json!({ "publicApiKey": expected }));
        let names: Vec<&str> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, ["name", "public", "version"]);
        let refused = client.get("/.portcullis/secrets/stripe").send().await;
        assert_eq!(refused.status, 403);
    }
    // Whatever it says of a tenant is not asked.
    let asked = format!("/.portcullis/secrets/stripe/public?tenant={acme}");
    let answer = eve.get(&asked).send().await;
    assert_eq!(answer.json()["public"]["publicApiKey"], "pk_1");
    // A visitor of the tenant's widget sees what its people see.
    let origins = ["visitors", "set-origins", "acme", "https://shop.test"];
    assert!(gateway.cli(&origins).status.success());
    let visit = crate::visitors::begin(&gateway, "acme", "https://shop.test").await;
    let answer = visit
        .get(&gateway, "/.portcullis/secrets/stripe/public")
        .await;
    assert_eq!(
        answer.json()["public"]["publicApiKey"],
        "pk_acme",
        "{}",
        answer.text()
    );
    let answer = visit.get(&gateway, "/.portcullis/secrets/stripe").await;
    assert_eq!(answer.status, 403);
    let nobody = gateway.client().get("/.portcullis/secrets/stripe/public");
    assert_eq!(nobody.send().await.status, 401);
    // A private value is not published by mistake.
    let mut mistake = new(CANARY);
    mistake["public"]["publicApiKey"] = format!("Bearer {CANARY}").into();
    for what in ["stripe", "fresh"] {
        let answer = write(&admin, what, &mistake).await;
        assert_eq!(answer.problem(), "invalid-input", "{what}");
    }
    let body =
        json!({ "value": "pk_1 and more of it", "public": { "x": ["pk_1 and more of it"] } });
    assert_eq!(rotate(&admin, "stripe/rotate", &body).await.status, 422);
}

#[tokio::test]
async fn two_values_count_until_the_overlap_is_over_and_the_old_one_is_then_gone() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    let body = json!({ "value": SECOND, "overlap": "1h" });
    assert_eq!(rotate(&admin, "stripe/rotate", &body).await.status, 200);
    for (what, value) in [
        ("stripe", SECOND),
        ("stripe?version=2", SECOND),
        ("stripe?version=previous", CANARY),
        ("stripe?version=1", CANARY),
    ] {
        let answer = read(&gateway, &key, what).await;
        assert_eq!(answer.json()["value"], value, "{what}: {}", answer.text());
    }
    let shown = told(&gateway, &["secrets", "show", "stripe"]);
    let states = |shown: &Value| -> Vec<String> {
        let versions = shown["versions"].as_array().unwrap().iter();
        versions
            .map(|one| one["state"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(states(&shown), ["current", "previous"]);
    // Its time is over.
    let over = "UPDATE stored_secret_version SET served_until = 1 WHERE served_until IS NOT NULL";
    database::execute(&gateway.folder, over).await;
    for what in ["stripe?version=previous", "stripe?version=1"] {
        assert_eq!(read(&gateway, &key, what).await.status, 404, "{what}");
    }
    let shown = told(&gateway, &["secrets", "show", "stripe"]);
    assert_eq!(states(&shown), ["current", "retired"]);
    // What is not served is not kept.
    let _twin = gateway.twin().await;
    let kept = "SELECT CAST(count(*) AS TEXT) FROM stored_secret_version WHERE sealed IS NOT NULL";
    crate::support::eventually_asked("its value is gone", async || {
        database::text(&gateway.folder, kept).await == "1"
    })
    .await;
    // One that others know ends at once.
    let body = json!({ "value": "a third value for it", "overlap": "0s" });
    assert_eq!(rotate(&admin, "stripe/rotate", &body).await.status, 200);
    assert_eq!(
        read(&gateway, &key, "stripe?version=previous").await.status,
        404
    );
    let body = json!({ "value": "a fourth value for it" });
    assert_eq!(rotate(&admin, "stripe/rotate", &body).await.status, 200);
    assert_eq!(
        read(&gateway, &key, "stripe?version=previous").await.status,
        200
    );
    let ended = rotate(&admin, "stripe/end-previous", &json!({})).await;
    assert_eq!(ended.json()["ended"], 1, "{}", ended.text());
    assert_eq!(
        read(&gateway, &key, "stripe?version=previous").await.status,
        404
    );
    let removed = admin.send(Method::DELETE, &format!("{ADMIN}/stripe"));
    assert_eq!(removed.send().await.status, 204);
    assert_eq!(read(&gateway, &key, "stripe").await.status, 404);
}

#[tokio::test]
async fn the_same_again_makes_no_second_version() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let version = |answer: &Answer| answer.json()["version"].as_i64();
    assert_eq!(
        version(&write(&admin, "stripe", &new(CANARY)).await),
        Some(1)
    );
    // Another word about it is no new value.
    let described = write(&admin, "stripe", &json!({ "owner": "billing" })).await;
    assert_eq!(
        (version(&described), &described.json()["owner"]),
        (Some(1), &json!("billing"))
    );
    let keyed = async |method: Method, what: &str, body: &Value| {
        let request = admin.send(method, &format!("{ADMIN}/{what}"));
        let request = request.header("idempotency-key", "4711").json(body);
        request.send().await
    };
    for _ in 0..2 {
        let answer = keyed(Method::PUT, "stripe", &json!({ "value": SECOND })).await;
        assert_eq!(version(&answer), Some(2), "{}", answer.text());
    }
    let other = json!({ "value": "something else altogether" });
    let answer = keyed(Method::PUT, "stripe", &other).await;
    assert_eq!(answer.problem(), "conflict");
    // A random value, asked for twice by the same key.
    let random = json!({ "owner": "web", "purpose": "signs cookies", "made": "hex:32" });
    assert_eq!(write(&admin, "cookies", &random).await.status, 201);
    for _ in 0..2 {
        let answer = keyed(Method::POST, "cookies/rotate", &json!({})).await;
        assert_eq!(version(&answer), Some(2), "{}", answer.text());
    }
    // On two nodes at once.
    let twin = gateway.twin().await;
    let there = twin.signed_in(ROOT).await;
    let third = json!({ "value": "the third value of all" });
    let (here, there) = tokio::join!(
        write(&admin, "stripe", &third),
        write(&there, "stripe", &third)
    );
    assert_eq!((version(&here), version(&there)), (Some(3), Some(3)));
    let key = reader(&gateway, None);
    let value = read(&twin, &key, "cookies").await.json()["value"].clone();
    let value = value.as_str().unwrap();
    assert!(value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[tokio::test]
async fn nothing_is_handed_out_that_cannot_be_written_down() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    let away = "ALTER TABLE audit_event RENAME TO audit_event_away";
    database::execute(&gateway.folder, away).await;
    let answer = read(&gateway, &key, "stripe").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(!answer.text().contains(CANARY));
    // Nor is anything changed.
    let body = json!({ "value": SECOND });
    let refused = rotate(&admin, "stripe/rotate", &body).await;
    assert!(refused.status.is_server_error(), "{}", refused.text());
    let back = "ALTER TABLE audit_event_away RENAME TO audit_event";
    database::execute(&gateway.folder, back).await;
    crate::support::eventually_asked("it is read again", async || {
        read(&gateway, &key, "stripe").await.status == 200
    })
    .await;
    assert_eq!(read(&gateway, &key, "stripe").await.json()["version"], 1);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let upstream = Upstream::start().await;
    let (_gateway, admin) = with_stripe(&upstream).await;
    let with = |name: &str, value: Value| {
        let mut body = new("a value like others");
        body[name] = value;
        body
    };
    for (what, body) in [
        ("fresh", json!({ "value": "x" })),
        ("fresh", json!({ "owner": "a", "purpose": "b" })),
        ("fresh", with("value", json!(""))),
        ("fresh", with("value", json!("x".repeat(32_769)))),
        ("fresh", with("made", json!("hex:15"))),
        ("fresh", with("made", json!("rot13"))),
        ("fresh", with("rotate_every", json!("1h"))),
        ("fresh", with("overlap", json!("91d"))),
        ("fresh", with("owner", json!(""))),
        ("fresh", with("public", json!({ "x": "y".repeat(9000) }))),
        ("fresh", with("vaule", json!("x"))),
        (".hidden", new("a value like others")),
        ("a%20b", new("a value like others")),
    ] {
        let answer = write(&admin, what, &body).await;
        assert_eq!(answer.status, 422, "{what} {body}: {}", answer.text());
    }
    // Nobody makes up a value for a provider's secret.
    let refused = rotate(&admin, "stripe/rotate", &json!({})).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let none = rotate(&admin, "nothing/rotate", &json!({ "value": "some value" })).await;
    assert_eq!(none.status, 404);
}
