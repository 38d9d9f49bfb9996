//! The gate's own pages, as a person meets them: without script, in a real browser, on a phone.

use crate::nonces::rendered;
use crate::support::{Gateway, PASSWORD, Upstream};

#[tokio::test]
async fn the_sign_in_page_leads_back_to_where_one_came_from() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::builder_usual(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let ana = gateway.browser();
    let refused = ana
        .get("/anything")
        .header("accept", "text/html,*/*;q=0.8")
        .send()
        .await;
    assert_eq!(refused.status, 401);
    let text = refused.text();
    assert!(
        text.contains("href=\"/.portcullis/auth/sign-in?next=%2Fanything\""),
        "{text}"
    );
    let page = ana
        .get("/.portcullis/auth/sign-in?next=%2Fanything")
        .send()
        .await;
    assert!(
        page.text().contains("name=\"next\" value=\"/anything\""),
        "{}",
        page.text()
    );
    let submit = async |password: &str, next: &str| {
        let body = format!("email=ana%40corp.test&password={password}&next={next}");
        ana.submit("/.portcullis/auth/sign-in", &body).await
    };
    let wrong = submit("wrong-password-1-wrong", "%2Fanything").await;
    assert_eq!(wrong.status, 401);
    let text = wrong.text();
    assert!(
        text.contains("role=\"alert\"") && text.contains("value=\"ana@corp.test\""),
        "{text}"
    );
    assert!(!text.contains("wrong-password-1"));
    let right = submit(PASSWORD, "%2Fanything").await;
    assert_eq!(right.status, 303);
    assert_eq!(right.header("location"), Some("/anything"));
    assert_eq!(ana.get("/anything").send().await.status, 200);
    // Mistyping it once more does not throw out who is signed in.
    assert_eq!(submit("wrong-password-2-wrong", "%2F").await.status, 401);
    assert_eq!(ana.get("/anything").send().await.status, 200);
    let elsewhere = submit(PASSWORD, "https%3A%2F%2Fevil.test").await;
    assert_eq!(elsewhere.header("location"), Some("/"), "no open redirect");
    let account = ana.get("/.portcullis/auth/account").send().await.text();
    assert!(account.contains("ana@corp.test") && account.contains("(this device)"));
    let out = ana
        .post("/.portcullis/auth/sign-out")
        .without("x-csrf-token")
        .send()
        .await;
    assert_eq!(out.status, 303);
    assert_eq!(ana.get("/anything").send().await.status, 401);
}

#[tokio::test]
async fn a_refusal_in_a_browser_is_a_page_in_the_frame_of_all_pages() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    for (path, status, words) in [
        ("/closed", 403, "route-closed"),
        ("/anything", 401, "Sign in"),
        ("/.portcullis/nothing", 404, "no-route"),
    ] {
        let request = gateway.client().get(path).header("accept", "text/html");
        let answer = request.send().await;
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(text.contains("prefers-color-scheme") && text.contains("name=\"viewport\""));
        assert!(text.contains("href=\"/\""), "a way back");
        assert!(text.contains(answer.header("x-request-id").unwrap()));
        let policy = answer.header("content-security-policy").unwrap();
        let (_, nonce) = text
            .split_once("<style nonce=\"")
            .expect("a style with a nonce");
        let nonce = nonce.split('"').next().unwrap();
        assert!(
            policy.contains(&format!("style-src 'nonce-{nonce}'")),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn chromium_shows_the_pages_with_their_style() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    let address = gateway.address;
    let dom = tokio::task::spawn_blocking(move || {
        rendered(&format!("http://{address}/.portcullis/auth/sign-in"))
    })
    .await
    .unwrap();
    assert!(
        dom.contains("<h1>Sign in</h1>") && dom.contains("type=\"password\""),
        "{dom}"
    );
    assert!(dom.contains("autocomplete=\"current-password\"") && !dom.contains("<script"));
}
