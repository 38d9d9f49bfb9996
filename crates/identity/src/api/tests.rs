use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use portcullis_vault::Token;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::testing::{EMAIL, House, PASSWORD};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

fn api(house: &House) -> Router {
    router(Api {
        accounts: house.accounts.clone(),
        keys: house.keys(),
        bearers: house.bearers.clone(),
        tenants: house.tenants(),
        openid: house.openid(),
        privacy: house.privacy(),
        consents: house.consents(),
        csrf: CsrfCookie(Arc::new(|hash, _| CsrfToken {
            token: format!("{:x}", hash.prefix()),
            set_cookie: format!("__Host-csrf={:x}; Path=/; Secure", hash.prefix()),
        })),
        mount: "/.portcullis/auth".into(),
    })
}

struct Answer {
    status: StatusCode,
    slug: Option<&'static str>,
    cookies: Vec<String>,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn token(&self) -> Token {
        let cookie = self
            .cookies
            .iter()
            .find(|c| c.starts_with("__Host-session="))
            .unwrap();
        let (pair, _) = cookie.split_once(';').unwrap();
        Token::parse(pair.strip_prefix("__Host-session=").unwrap()).unwrap()
    }
}

async fn call(
    house: &House,
    method: &str,
    path: &str,
    content: &str,
    body: &str,
    session: Option<&Token>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content)
        .body(Body::from(body.to_owned()))
        .unwrap();
    let principal = match session {
        Some(token) => {
            let cookie = format!("__Host-session={}", token.text().expose());
            request
                .headers_mut()
                .insert("cookie", cookie.parse().unwrap());
            match house.sessions().load(&token.hash()).await.unwrap() {
                Some(user) => Principal::User(user),
                None => Principal::Anonymous,
            }
        }
        None => Principal::Anonymous,
    };
    request.extensions_mut().insert(principal);
    let response = api(house).oneshot(request).await.unwrap();
    let slug = response
        .extensions()
        .get::<Problem>()
        .map(|problem| problem.kind.slug);
    let (parts, body) = response.into_parts();
    assert_eq!(parts.headers["cache-control"], "no-store");
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    Answer {
        status: parts.status,
        slug,
        cookies: parts
            .headers
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect(),
        headers: parts.headers,
        body: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

async fn login(house: &House) -> Answer {
    let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
    call(house, "POST", "/login", JSON, &body, None).await
}

#[tokio::test]
async fn a_sign_in_answers_with_the_account_and_three_cookies() {
    let house = House::build().await;
    let answer = login(&house).await;
    assert_eq!(answer.status, StatusCode::OK);
    let json = answer.json();
    assert_eq!(json["email"], EMAIL);
    assert_eq!(json["roles"][0], "member");
    assert_eq!(
        json["csrf_token"],
        format!("{:x}", answer.token().hash().prefix())
    );
    assert!(!answer.body.contains("argon2"));
    let names: Vec<&str> = answer
        .cookies
        .iter()
        .map(|c| c.split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["__Host-session", "__Host-device", "__Host-csrf"]);
    assert!(answer.cookies[0].ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=86400"));
    assert!(!answer.body.contains(answer.token().text().expose()));
}

#[tokio::test]
async fn a_cookie_that_was_there_before_is_never_adopted() {
    let house = House::build().await;
    let planted = Token::generate().unwrap();
    let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
    let answer = call(&house, "POST", "/login", JSON, &body, Some(&planted)).await;
    assert_ne!(answer.token().hash(), planted.hash());
    assert!(
        house
            .sessions()
            .load(&planted.hash())
            .await
            .unwrap()
            .is_none()
    );
    let again = call(&house, "POST", "/login", JSON, &body, Some(&answer.token())).await;
    assert_ne!(again.token().hash(), answer.token().hash());
}

#[tokio::test]
async fn refusals_leave_as_problems_without_a_body() {
    let house = House::build().await;
    for (body, content, status, slug) in [
        (
            r#"{"email":"ada@example.org","password":"x"}"#,
            JSON,
            401,
            "credentials-refused",
        ),
        (
            r#"{"email":"eve@example.org","password":"x"}"#,
            JSON,
            401,
            "credentials-refused",
        ),
        (
            r#"{"email":"a","password":"x","role":"admin"}"#,
            JSON,
            422,
            "invalid-input",
        ),
        (
            r#"{"email":"a","email":"b","password":"x"}"#,
            JSON,
            422,
            "invalid-input",
        ),
        (r#"{"email":"a"}"#, JSON, 422, "invalid-input"),
        (r#"{"email":1,"password":"x"}"#, JSON, 422, "invalid-input"),
        (
            r#"{"email":"a","password":"x"} x"#,
            JSON,
            400,
            "malformed-body",
        ),
        ("{", JSON, 400, "malformed-body"),
        ("", JSON, 400, "malformed-body"),
        ("{}", "text/plain", 415, "unsupported-media-type"),
        ("{}", "application/jsonp", 415, "unsupported-media-type"),
        (
            "{}",
            "application/json; charset=utf-16",
            415,
            "unsupported-media-type",
        ),
        ("email=a&password=b", FORM, 415, "unsupported-media-type"),
    ] {
        let answer = call(&house, "POST", "/login", content, body, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.slug),
            (status, Some(slug)),
            "{body}"
        );
        assert!(answer.body.is_empty() && answer.cookies.is_empty());
    }
    let large = format!(r#"{{"email":"{}","password":"x"}}"#, "a".repeat(20_000));
    let answer = call(&house, "POST", "/login", JSON, &large, None).await;
    assert_eq!(answer.slug, Some("body-too-large"));
}

#[tokio::test]
async fn everything_that_is_somebodys_needs_a_session() {
    let house = House::build().await;
    let id = portcullis_core::SessionId::new();
    for (method, path) in [
        ("GET", "/me".to_owned()),
        ("POST", "/change-password".to_owned()),
        ("GET", "/sessions".to_owned()),
        ("DELETE", "/sessions".to_owned()),
        ("DELETE", format!("/sessions/{id}")),
    ] {
        let answer = call(&house, method, &path, JSON, "{}", None).await;
        assert_eq!(
            answer.slug,
            Some("authentication-required"),
            "{method} {path}"
        );
        let unknown = Token::generate().unwrap();
        let answer = call(&house, method, &path, JSON, "{}", Some(&unknown)).await;
        assert_eq!(
            answer.slug,
            Some("authentication-required"),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn the_journey_from_sign_in_to_sign_out() {
    let house = House::build().await;
    let token = login(&house).await.token();
    let me = call(&house, "GET", "/me", JSON, "", Some(&token)).await;
    assert_eq!(me.json()["email"], EMAIL);
    assert!(me.json()["csrf_token"].is_string());
    let other = login(&house).await.token();
    let list = call(&house, "GET", "/sessions", JSON, "", Some(&token))
        .await
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    let theirs = list
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["current"] == false)
        .unwrap();
    let path = format!("/sessions/{}", theirs["id"].as_str().unwrap());
    let revoked = call(&house, "DELETE", &path, JSON, "", Some(&token)).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let again = call(&house, "DELETE", &path, JSON, "", Some(&token)).await;
    assert_eq!(again.slug, Some("not-found"));
    assert!(
        house
            .sessions()
            .load(&other.hash())
            .await
            .unwrap()
            .is_none()
    );
    let out = call(&house, "POST", "/logout", JSON, "", Some(&token)).await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(
        out.cookies[0].starts_with("__Host-session=;") && out.cookies[0].ends_with("Max-Age=0")
    );
    assert!(
        house
            .sessions()
            .load(&token.hash())
            .await
            .unwrap()
            .is_none()
    );
    let after = call(&house, "GET", "/me", JSON, "", Some(&token)).await;
    assert_eq!(after.slug, Some("authentication-required"));
}

#[tokio::test]
async fn a_changed_password_comes_with_a_new_token() {
    let house = House::build().await;
    let token = login(&house).await.token();
    let body =
        format!(r#"{{"old_password":"{PASSWORD}","new_password":"a stone bridge by the mill"}}"#);
    let changed = call(
        &house,
        "POST",
        "/change-password",
        JSON,
        &body,
        Some(&token),
    )
    .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.token().hash(), token.hash());
    assert!(
        house
            .sessions()
            .load(&token.hash())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        house
            .sessions()
            .load(&changed.token().hash())
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn throttled_sign_ins_say_when_to_come_back() {
    let house = House::build().await;
    let body = r#"{"email":"ada@example.org","password":"x"}"#;
    for _ in 0..5 {
        call(&house, "POST", "/login", JSON, body, None).await;
    }
    let answer = call(&house, "POST", "/login", JSON, body, None).await;
    assert_eq!(
        (answer.status.as_u16(), answer.slug),
        (429, Some("rate-limited"))
    );
    let page = call(
        &house,
        "POST",
        "/sign-in",
        FORM,
        "email=ada%40example.org&password=x",
        None,
    )
    .await;
    assert_eq!(page.status.as_u16(), 429);
    assert_eq!(page.headers["retry-after"], "30");
}

#[tokio::test]
async fn the_sign_in_page_works_without_script_and_leads_to_local_paths_only() {
    let house = House::build().await;
    let page = call(
        &house,
        "GET",
        "/sign-in?next=//evil.example",
        FORM,
        "",
        None,
    )
    .await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.body.contains("evil") && !page.body.contains("<script"));
    assert!(page.body.contains("action=\"/.portcullis/auth/sign-in\""));
    for (next, to) in [
        ("%2Fhome%3Fa%3Db", "/home?a=b"),
        ("%2F%2Fevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("%2F%0D%0ASet-Cookie%3A%20a%3Db", "/"),
    ] {
        let body = format!(
            "email=ada%40example.org&password={}&next={next}",
            PASSWORD.replace(' ', "+")
        );
        let answer = call(&house, "POST", "/sign-in", FORM, &body, None).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{next}");
        assert_eq!(answer.headers["location"], to, "{next}");
        assert_eq!(answer.cookies.len(), 3);
    }
}

#[tokio::test]
async fn a_refused_sign_in_shows_the_form_again_and_repeats_no_password() {
    let house = House::build().await;
    let body = "email=%22%3E%3Cscript%3E&password=hunter2-hunter2";
    let page = call(&house, "POST", "/sign-in", FORM, body, None).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.body.contains("role=\"alert\"") && !page.body.contains("hunter2"));
    assert!(!page.body.contains("<script"));
}

#[tokio::test]
async fn the_account_page_sends_strangers_to_sign_in() {
    let house = House::build().await;
    let page = call(&house, "GET", "/account", FORM, "", None).await;
    assert_eq!(page.headers["location"], "/.portcullis/auth/sign-in");
    let token = login(&house).await.token();
    let page = call(&house, "GET", "/account", FORM, "", Some(&token)).await;
    assert!(page.body.contains(EMAIL));
    let out = call(&house, "POST", "/sign-out", FORM, "", Some(&token)).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(
        house
            .sessions()
            .load(&token.hash())
            .await
            .unwrap()
            .is_none()
    );
}
