//! TLS to PostgreSQL and Redis (E1, E2): used where it is asked for, with a certificate that is
//! verified; another authority and plain text are refused.

use super::service::{Postgres, Redis};
use super::{readyz, until};
use crate::support::sockets::Certificate;
use crate::support::{Gateway, GatewayBuilder, Upstream};

const ANA: &str = "ana@corp.test";

/// A certificate of its own authority for the address where the services listen.
fn certificate() -> Certificate {
    Certificate::new("127.0.0.1")
}

async fn builder(database: &str) -> GatewayBuilder {
    let upstream = Upstream::start().await;
    Gateway::builder_usual(&upstream)
        .await
        .stores(database, None)
}

#[tokio::test]
async fn postgres_is_asked_over_tls_that_is_verified_and_not_otherwise() {
    let (ours, another) = (certificate(), certificate());
    let postgres = Postgres::start().await;
    postgres.demand_tls(&ours).await;
    let with = |query: &str| format!("{}?{query}", postgres.url());
    until("PostgreSQL refuses plain text", || async {
        !builder(&with("sslmode=disable"))
            .await
            .cli(&["users", "list"])
            .status
            .success()
    })
    .await;
    for (what, query, authority, fault) in [
        (
            "another authority",
            "sslmode=verify-full&sslrootcert=ca.pem",
            &another,
            "certificate",
        ),
        ("no authority", "sslmode=verify-full", &ours, "certificate"),
        (
            "plain text",
            "sslmode=disable&sslrootcert=ca.pem",
            &ours,
            "pg_hba.conf",
        ),
    ] {
        let builder = builder(&with(query)).await.file("ca.pem", &authority.cert);
        let output = builder.cli(&["users", "list"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && told.contains(fault),
            "{what}: {told}"
        );
    }
    // The name in the certificate counts as well.
    let elsewhere = postgres.url().replace("127.0.0.1", "localhost");
    let wrong_name = builder(&format!(
        "{elsewhere}?sslmode=verify-full&sslrootcert=ca.pem"
    ))
    .await
    .file("ca.pem", &ours.cert)
    .cli(&["users", "list"]);
    assert!(!wrong_name.status.success());

    let gateway = builder(&with("sslmode=verify-full&sslrootcert=ca.pem"))
        .await
        .file("ca.pem", &ours.cert)
        .user(ANA, &["user"])
        .start()
        .await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(ana.get("/anything").send().await.status, 200);
    assert_eq!(readyz(&gateway).await.0, 200);
}

#[tokio::test]
async fn redis_is_asked_over_tls_that_is_verified_and_not_otherwise() {
    let (ours, another) = (certificate(), certificate());
    let (redis, _folder) = Redis::start_with_tls(&ours).await;
    let upstream = Upstream::start().await;
    let gate = async |scheme: &str, authority: Option<&Certificate>| {
        let builder = Gateway::builder_usual(&upstream).await.on_sqlite();
        let database = std::fs::read_to_string(builder.folder().join("database")).unwrap();
        let url = format!("{scheme}://127.0.0.1:{}/", redis.port);
        let mut builder = builder.stores(&database, Some(&url));
        if let Some(authority) = authority {
            builder = builder
                .file("ca.pem", &authority.cert)
                .replace("[state]\n", "[state]\nredis-ca = \"ca.pem\"\n");
        }
        builder.start().await
    };
    let counters = async |gateway: &Gateway| {
        let (_, document) = readyz(gateway).await;
        document["counters"].as_str().unwrap().to_owned()
    };
    let good = gate("rediss", Some(&ours)).await;
    until("limits are shared", || async {
        counters(&good).await == "shared"
    })
    .await;
    // Each has tried by now: starting waits for the first attempt.
    for (what, scheme, authority) in [
        ("another authority", "rediss", Some(&another)),
        ("no authority", "rediss", None),
        ("plain text", "redis", None),
    ] {
        let gateway = gate(scheme, authority).await;
        assert_eq!(counters(&gateway).await, "degraded", "{what}");
        let doctor = gateway.cli(&["doctor"]);
        let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(told.contains("FAIL  redis"), "{what}: {told}");
    }
}
