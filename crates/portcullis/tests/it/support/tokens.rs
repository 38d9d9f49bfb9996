//! Clients that sign in for tokens in place of a cookie.

use serde_json::json;

use super::{Answer, Client, PASSWORD};

/// Access token and refresh token of a new sign-in.
pub(crate) async fn sign_in(client: &Client, email: &str) -> (String, String) {
    let body = json!({ "email": email, "password": PASSWORD, "grant": "tokens" });
    let login = client.post("/.portcullis/auth/login").json(&body);
    let answer = login.send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

pub(crate) async fn refresh(client: &Client, token: &str) -> Answer {
    let refresh = client.post("/.portcullis/auth/refresh");
    let body = json!({ "refresh_token": token });
    refresh.json(&body).send().await
}

/// Asks for a page with an access token, of ours or of another issuer, or with a key.
pub(crate) async fn get(client: &Client, path: &str, token: &str) -> Answer {
    let request = client.get(path);
    let bearer = format!("Bearer {token}");
    request.header("authorization", &bearer).send().await
}
