//! Health: what runs, what is ready, and what a product may keep for itself.

use axum::response::IntoResponse as _;

use crate::support::{Client, Gateway, Upstream};

#[tokio::test]
async fn health_answers_on_both_listeners_without_asking_the_product() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let front = gateway.client();
    let admin = Client::to(gateway.admin);
    for client in [&front, &admin] {
        assert_eq!(client.get("/healthz").send().await.text(), "ok\n");
        let ready = client.get("/readyz").send().await;
        assert_eq!(ready.status, 200);
        assert_eq!(ready.json()["ready"], true);
        assert_eq!(ready.json()["database"], "up");
    }
    let health = front.get("/health").send().await;
    assert_eq!(health.json()["status"], "ok");
    assert_eq!(upstream.requests(), 0);
    assert!(admin.get("/metrics").send().await.text().contains("# EOF"));
    // The front tells nobody of the inside.
    assert_eq!(front.get("/metrics").send().await.status, 401);
}

#[tokio::test]
async fn a_product_may_have_a_health_page_of_its_own_and_not_ours() {
    let upstream = Upstream::answering(|_| "the product is well".into_response()).await;
    let gateway = Gateway::builder(
        &upstream,
        "[[route]]\npath = \"/health\"\nallow = \"public\"\n",
    )
    .await
    .start()
    .await;
    let client = gateway.client();
    assert_eq!(
        client.get("/health").send().await.text(),
        "the product is well"
    );
    assert_eq!(client.get("/healthz").send().await.text(), "ok\n");
    assert_eq!(upstream.requests(), 1);
}
