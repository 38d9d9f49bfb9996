//! Another spelling of somebody's id passes the check of whose it is, and the product reads it as
//! that id (CVE-2026-40264, CVE-2026-55670).

use super::gate;
use crate::support::Upstream;

#[tokio::test]
async fn only_the_callers_own_id_in_its_one_spelling_opens_a_users_thing() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .user("bob@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.signed_in("ana@corp.test").await;
    let bob = gateway.signed_in("bob@corp.test").await;
    let id = async |browser: &crate::support::Browser| {
        let me = browser.get("/.portcullis/auth/me").send().await.json();
        me["id"].as_str().unwrap().to_owned()
    };
    let (own, other) = (id(&ana).await, id(&bob).await);
    for spelling in [
        other.clone(),
        other.to_uppercase(),
        other.replace('-', ""),
        format!("{{{other}}}"),
        format!("%7B{other}%7D"),
        format!("urn:uuid:{other}"),
        format!("{own},{other}"),
        format!("{own}%2C{other}"),
        format!("{own}%20{other}"),
        format!("{own}&user_id={other}"),
        format!("{own}%00{other}"),
        format!("{own}%2F..%2F{other}"),
        format!("{own}/../{other}"),
        format!("{own};{other}"),
        "*".to_owned(),
        "%25".to_owned(),
        "me".to_owned(),
        "0".to_owned(),
        "null".to_owned(),
    ] {
        let answer = ana.get(&format!("/users/{spelling}")).send().await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{spelling}: {}",
            answer.status
        );
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(ana.get(&format!("/users/{own}")).send().await.status, 200);
    assert_eq!(upstream.last().target, format!("/users/{own}"));
}
