//! An authenticator app, as somebody has it on a phone.

use serde_json::json;

use super::{Answer, Browser};

/// A policy with a route for each thing that a proof may be asked for.
pub(crate) const ROUTES: &str = r#"
[[route]]
path = "/public"
allow = "public"

[[route]]
path = "/payouts"
allow = "user"
mfa = true

[[route]]
path = "/recent"
allow = "user"
max-age = "4s"

[[route]]
path = "/admin"
allow = { role = ["admin"] }

[[route]]
path = "/{*rest}"
allow = "user"
"#;

/// Knows the secret and the time.
pub(crate) struct App(totp_rs::Totp);

impl App {
    pub(crate) fn of(base32: &str) -> Self {
        let secret = totp_rs::Secret::try_from_base32(base32).unwrap();
        App(totp_rs::Builder::new().with_secret(secret).build().unwrap())
    }

    /// The code of now (0) or of so many steps later: the gate takes one step early or late, and
    /// none that is not later than the last.
    pub(crate) fn code(&self, later: u64) -> String {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        self.0.generate(now + 30 * later).to_string()
    }

    pub(crate) fn base32(&self) -> String {
        self.0.secret().to_base32()
    }

    pub(crate) fn secret(&self) -> Vec<u8> {
        self.0.secret().as_bytes().to_vec()
    }
}

const AUTH: &str = "/.portcullis/auth";

/// Takes an app into use for whoever is signed in; the app and the recovery codes. The code of now
/// is used up by it.
pub(crate) async fn enrol(browser: &Browser) -> (App, Vec<String>) {
    let begun = browser.post(&format!("{AUTH}/factors/totp")).send().await;
    assert_eq!(begun.status, 201, "{}", begun.text());
    let app = App::of(begun.json()["secret"].as_str().unwrap());
    let confirmed = browser
        .post(&format!("{AUTH}/factors/totp/confirm"))
        .json(&json!({ "code": app.code(0) }))
        .send()
        .await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let codes = confirmed.json()["recovery_codes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap().to_owned())
        .collect();
    (app, codes)
}

pub(crate) async fn sign_in(browser: &Browser, email: &str, password: &str) -> Answer {
    browser
        .post(&format!("{AUTH}/login"))
        .json(&json!({ "email": email, "password": password }))
        .send()
        .await
}

pub(crate) async fn prove(browser: &Browser, code: &str) -> Answer {
    browser
        .post(&format!("{AUTH}/second-factor"))
        .json(&json!({ "code": code }))
        .send()
        .await
}
