//! The product, or who took it over, sets a cookie of the gate's names: it plants a session in the
//! client's browser, or takes its own away.

use axum::response::IntoResponse as _;

use super::{gate, set_cookies};
use crate::support::Upstream;

#[tokio::test]
async fn the_product_cannot_set_a_cookie_of_ours() {
    let upstream = Upstream::answering(|_| {
        let mut response = "ok".into_response();
        for value in [
            "session=planted; Path=/",
            "session=; Max-Age=0; Path=/",
            " session=planted",
            "session =planted",
            "\tsession\t=planted",
            "csrf_token=planted; Path=/; Domain=corp.test",
            "device=planted",
            "product=its-own; Path=/; HttpOnly",
            "sessions=its-own",
        ] {
            response
                .headers_mut()
                .append("set-cookie", value.parse().unwrap());
        }
        response
    })
    .await;
    let gateway = gate(&upstream).await.start().await;
    let answer = gateway.client().get("/public").send().await;
    assert_eq!(
        set_cookies(&answer),
        ["product=its-own; Path=/; HttpOnly", "sessions=its-own"]
    );
}
