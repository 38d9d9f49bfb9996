//! Moving in: hashes of API keys with their owners, and people with their tenants (K1, T4).

use serde_json::{Value, json};

use crate::support::issuer::Issuer;
use crate::support::moving::key_hash;
use crate::support::signer::read;
use crate::support::{
    Answer, Client, Gateway, GatewayBuilder, Upstream, database, eventually_asked,
};

const SECRET: &str = "0e1d2c3b4a5968778695a4b3c2d1e0f0";

fn hash(key: &str) -> String {
    key_hash(SECRET, key)
}

async fn builder(upstream: &Upstream) -> GatewayBuilder {
    let routes = "\n[[route]]\npath = \"/api/{*rest}\"\nallow = { permission = \"read:own\" }\ncallers = [\"user\", \"api-key\"]\n\n[[route]]\npath = \"/{*rest}\"\nallow = \"user\"\n";
    Gateway::builder(upstream, routes)
        .await
        .replace(
            "[secrets]",
            "[api-keys]\nimported-prefix = \"shop\"\n\n[secrets]\nimported-api-keys = { file = \"old\" }",
        )
        .file("old", SECRET)
}

fn import(builder: &GatewayBuilder, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = builder.cli(&[&["--output", "json", "import"], arguments].concat());
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), told)
}

fn counts(report: &Value) -> [u64; 4] {
    ["read", "imported", "already", "over"].map(|name| report[name].as_u64().unwrap())
}

fn refused(report: &Value) -> Vec<(u64, String)> {
    let rows = report["refused"].as_array().unwrap().iter();
    rows.map(|row| {
        let reason = row["reason"].as_str().unwrap().to_owned();
        (row["row"].as_u64().unwrap(), reason)
    })
    .collect()
}

async fn with(gateway: &Gateway, key: &str) -> Answer {
    at(&gateway.client(), "/api/items", key).await
}

async fn at(client: &Client, path: &str, credential: &str) -> Answer {
    let credential = format!("Bearer {credential}");
    let request = client.get(path).header("authorization", &credential);
    request.send().await
}

/// One bad row costs one row; owners are found by the old id, by address and by the id here.
#[tokio::test]
async fn hashes_come_as_csv_json_and_lines_with_their_owners_and_bad_rows_are_told() {
    let upstream = Upstream::start().await;
    let uuid = "0191d3a0-0000-7000-8000-000000000009";
    let users = format!(
        "id,email,roles\n17,ana@corp.test,user\n{uuid},bob@corp.test,user\n18,eve@corp.test,user\n"
    );
    let key = |name: &str| format!("shop_{name}_M3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc");
    let (ana, bob, eve, nobody) = (key("ana"), key("bob"), key("eve"), key("nobody"));
    let csv = format!(
        "id,key_hash,name,user_id,email,expires_at\n\
         1,{},laptop,17,,\n\
         2,not a hash,,17,,\n\
         3,{},,99,,\n\
         too few\n\
         5,{},,,nobody@corp.test,\n\
         6,{},,17,bob@corp.test,\n\
         7,{},,,,2001-01-01T00:00:00Z\n",
        hash(&ana),
        hash("a"),
        hash("b"),
        hash("c"),
        hash("d"),
    );
    let lines = format!(
        "{{\"key_hash\":\"{}\",\"user_id\":\"{uuid}\"}}\n[\"hunter2\"]\n{{\"key_hash\":\n{{\"key_hash\":\"{}\",\"email\":\"Eve@corp.test\"}}\n",
        hash(&bob),
        hash(&eve)
    );
    let array = json!([{ "key_hash": hash(&nobody), "created_at": 1_700_000_000 }, 7]).to_string();
    let builder = builder(&upstream)
        .await
        .file("users.csv", &users)
        .file("keys.csv", &csv)
        .file("keys.jsonl", &lines)
        .file("keys.json", &array);
    import(&builder, &["users", "--file", "users.csv", "--apply"]);
    let keys = |file: &str, more: &[&str]| {
        let arguments = ["keys", "--file", file, "--permission", "read:own"];
        import(&builder, &[&arguments, more].concat())
    };
    let (code, dry) = keys("keys.csv", &[]);
    assert_eq!((code, counts(&dry)), (Some(1), [7, 1, 0, 1]), "{dry}");
    let (_, told) = keys("keys.csv", &["--apply"]);
    assert_eq!(counts(&told), [7, 1, 0, 1], "a dry run kept nothing");
    let reasons = refused(&told);
    for ((row, reason), (at, part)) in reasons.iter().zip([
        (2, "`key_hash`"),
        (3, "user `99`"),
        (4, "fields"),
        (5, "`email`"),
        (6, "two people"),
    ]) {
        assert!(*row == at && reason.contains(part), "{reasons:?}");
    }
    assert_eq!(reasons.len(), 5);
    let (_, told) = keys("keys.jsonl", &["--apply"]);
    assert_eq!(counts(&told), [4, 2, 0, 0], "{told}");
    assert_eq!(refused(&told).len(), 2);
    assert!(!told.to_string().contains("hunter2"));
    let (_, told) = keys("keys.json", &["--apply"]);
    assert_eq!(counts(&told), [2, 1, 0, 0], "{told}");
    assert_eq!(counts(&keys("keys.csv", &["--apply"]).1), [7, 0, 1, 1]);
    let strange = builder.file("more.csv", &format!("key_hash,scopes\n{},a\n", hash("z")));
    let arguments = ["import", "keys", "--file", "more.csv", "--apply"];
    let output = strange.cli(&arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains("`scopes`"));
    let ignoring = [&arguments[1..], &["--ignore", "scopes"]].concat();
    assert_eq!(counts(&import(&strange, &ignoring).1), [1, 1, 0, 0]);

    let gateway = strange.start().await;
    for key in [&ana, &bob, &eve, &nobody] {
        assert_eq!(with(&gateway, key).await.status, 200, "{key}");
    }
    // A key ends with its owner, whichever way the owner was found; one of nobody lives on.
    for owner in ["ana@corp.test", "bob@corp.test", "eve@corp.test"] {
        let done = gateway.cli(&["users", "deactivate", owner]);
        assert!(done.status.success(), "{done:?}");
    }
    for key in [&ana, &bob, &eve] {
        eventually_asked("its owner is gone", async || {
            with(&gateway, key).await.status == 401
        })
        .await;
    }
    assert_eq!(with(&gateway, &nobody).await.status, 200);
}

/// People of another issuer own their keys by their subject there, once they have been here.
#[tokio::test]
async fn keys_find_their_owners_by_the_subject_at_another_issuer() {
    let upstream = Upstream::start().await;
    let issuer = Issuer::start(61).await;
    let key = |name: &str| format!("shop_{name}_M3kFh0-2rXv_T8aJ5uYw9sPdLbGeNiQoRtKzBc");
    let (met, strange) = (key("met"), key("strange"));
    let rows = format!("key_hash,user_id\n{},u\n{},v\n", hash(&met), hash(&strange));
    let table = format!(
        "\n[issuer.company]\nprofile = \"oidc\"\nissuer = \"{}\"\naudience = [\"product\"]\nloopback = true\n",
        issuer.url
    );
    let gateway = builder(&upstream).await.more(&table);
    let gateway = gateway.file("keys.csv", &rows).start().await;
    let client = gateway.client();
    let token = issuer.token("u", &json!({}));
    eventually_asked("the issuer's keys are read", async || {
        at(&client, "/home", &token).await.status == 200
    })
    .await;
    let assertion = read(upstream.last().header("x-portcullis-assertion").unwrap());
    let person = assertion.1["sub"].as_str().unwrap().to_owned();
    let builder = gateway.end().await;
    let keys = |issuer: &str| {
        let arguments = ["import", "keys", "--file", "keys.csv", "--apply"];
        let more = ["--permission", "read:own", "--issuer", issuer];
        builder.cli(&[&["--output", "json"], &arguments[..], &more].concat())
    };
    let unknown = String::from_utf8(keys("compnay").stderr).unwrap();
    assert!(unknown.contains("[issuer.compnay]"), "{unknown}");
    let told = serde_json::from_slice(&keys("company").stdout).unwrap();
    assert_eq!(counts(&told), [2, 1, 0, 0], "{told}");
    assert!(refused(&told)[0].1.contains("`v` has not been here yet"));

    let gateway = builder.start().await;
    assert_eq!(with(&gateway, &met).await.status, 200);
    assert_eq!(with(&gateway, &strange).await.status, 401);
    let done = gateway.cli(&["users", "deactivate", &person]);
    assert!(done.status.success(), "{done:?}");
    eventually_asked("its owner is gone", async || {
        with(&gateway, &met).await.status == 401
    })
    .await;
}

/// Who has a tenant there works in it here, with roles there, and nobody's tenant is guessed.
#[tokio::test]
async fn people_come_with_their_tenants_and_work_in_them() {
    let upstream = Upstream::start().await;
    let globex = "0191d3a0-0000-7000-8000-0000000000aa";
    let hash = bcrypt::hash(crate::support::PASSWORD, 4).unwrap();
    let users = format!(
        "id,email,password_hash,roles,tenant_id\n\
         1,ana@corp.test,{hash},Boss,17\n\
         2,bob@corp.test,{hash},Boss,{globex}\n\
         3,eve@corp.test,{hash},Boss,A strange one\n\
         4,max@corp.test,{hash},Boss,\n"
    );
    let routes = "\n[[route]]\npath = \"/t/{tenant}/desk\"\nallow = { role = [\"admin\"] }\ntenant = { path = \"tenant\" }\n\n[[route]]\npath = \"/desk\"\nallow = { role = [\"admin\"] }\n\n[[route]]\npath = \"/{*rest}\"\nallow = \"user\"\n";
    let builder = Gateway::builder(&upstream, routes)
        .await
        .file("users.csv", &users);
    assert!(builder.cli(&["tenants", "create", "acme"]).status.success());
    let run = |more: &[&str]| {
        let arguments = ["users", "--file", "users.csv", "--map-role", "Boss=admin"];
        import(&builder, &[&arguments, more].concat())
    };
    let (_, told) = run(&["--map-tenant", "17=acme"]);
    assert_eq!(counts(&told), [4, 2, 0, 0], "{told}");
    let reasons = refused(&told);
    assert!(reasons[0].1.contains(globex) && reasons[0].1.contains("--make-tenants"));
    assert!(reasons[1].1.contains("A strange one"), "{reasons:?}");
    let all = [
        "--map-tenant",
        "17=acme",
        "--make-tenants",
        "--roles-in-tenant",
    ];
    let (_, told) = run(&[&all[..], &["--apply"]].concat());
    assert_eq!(counts(&told), [4, 3, 0, 0], "{told}");
    assert!(refused(&told)[0].1.contains("--map-tenant A strange one="));
    let (_, told) = run(&[&all[..], &["--apply"]].concat());
    assert_eq!(counts(&told), [4, 0, 3, 0], "again changes nothing");

    let gateway = builder.start().await;
    let ana = gateway.signed_in("ana@corp.test").await;
    assert_eq!(ana.get("/t/acme/desk").send().await.status, 200);
    assert_eq!(
        ana.get(&format!("/t/{globex}/desk")).send().await.status,
        404
    );
    let bob = gateway.signed_in("bob@corp.test").await;
    assert_eq!(
        bob.get(&format!("/t/{globex}/desk")).send().await.status,
        200,
        "by its old id"
    );
    assert_eq!(bob.get("/t/acme/desk").send().await.status, 404);
    // The role is one of the tenant: what is everybody's is not theirs to manage.
    let answer = ana.get("/.portcullis/admin/v1/users").send().await;
    assert_eq!(answer.problem(), "not-permitted");
    let max = gateway.signed_in("max@corp.test").await;
    assert_eq!(
        max.get("/desk").send().await.status,
        200,
        "no tenant: everywhere"
    );
    let trail = database::trail(&gateway.folder).await;
    assert!(trail.contains("tenant.created") && trail.contains("member.added"));
}
