//! The session cookie, and the cookie by which a known device is recognised (RFC 6265bis).
//!
//! - Two session cookies in one request are refused, not chosen between: one of them was planted.
//! - A cookie without a name is ignored: `=__Host-session=x` is not a session cookie.
//! - Names are compared exactly; one that differs in case only is not ours.

use http::{HeaderMap, HeaderValue, header};
use portcullis_core::{Secret, Span};
use portcullis_vault::{Token, TokenHash};

use super::carried_over;
use super::config::SameSite;

/// What a request presented.
#[derive(Debug)]
pub enum Presented {
    /// No session cookie.
    Nothing,
    /// One, in proper form.
    Token(TokenHash),
    /// None of ours, and one that was carried over from the product that stood here before.
    CarriedOver(TokenHash),
    /// More than one, or one that no token could be: the request is anonymous, and the answer
    /// should clear the cookie.
    Refused,
}

impl Presented {
    /// By what a session is looked for, where one came in proper form.
    pub(crate) const fn hash(&self) -> Option<TokenHash> {
        match self {
            Presented::Token(hash) | Presented::CarriedOver(hash) => Some(*hash),
            Presented::Nothing | Presented::Refused => None,
        }
    }
}

/// Names and attributes of our cookies.
#[derive(Debug, Clone)]
pub struct Cookies {
    session: String,
    device: String,
    carried_over: Option<String>,
    challenge: String,
    openid: String,
    ceremony: String,
    attributes: String,
    /// Of what has to come along when another site sends the browser back.
    lax: String,
}

impl Cookies {
    pub(super) fn new(name: &str, same_site: SameSite, secure: bool) -> Self {
        let plain = |name: &str| {
            let name = name.strip_prefix("__Host-").unwrap_or(name);
            name.strip_prefix("__Secure-").unwrap_or(name).to_owned()
        };
        let same_site = same_site.as_str();
        let (session, prefix, secure) = if secure {
            (name.to_owned(), "__Host-", "; Secure")
        } else {
            (plain(name), "", "")
        };
        Cookies {
            session,
            device: format!("{prefix}device"),
            carried_over: None,
            challenge: format!("{prefix}challenge"),
            openid: format!("{prefix}openid"),
            lax: format!("; Path=/; HttpOnly; SameSite=Lax{secure}"),
            ceremony: format!("{prefix}passkey"),
            attributes: format!("; Path=/; HttpOnly; SameSite={same_site}{secure}"),
        }
    }

    /// Also takes the cookie of this name, of sessions that were taken over.
    pub(super) fn with_carried_over(mut self, name: Option<&str>) -> Self {
        self.carried_over = name.map(str::to_owned);
        self
    }

    /// Name of the session cookie.
    pub fn name(&self) -> &str {
        &self.session
    }

    /// Name of the device cookie.
    pub fn device_name(&self) -> &str {
        &self.device
    }

    /// Names that must never reach an upstream.
    pub fn own_names(&self) -> impl Iterator<Item = &str> {
        [
            &self.session,
            &self.device,
            &self.challenge,
            &self.openid,
            &self.ceremony,
        ]
        .into_iter()
        .chain(&self.carried_over)
        .map(String::as_str)
    }

    /// `Set-Cookie` that removes the carried-over cookie; none where ours has taken its name.
    pub(super) fn clear_carried_over(&self) -> Option<String> {
        let name = self.carried_over.as_ref()?;
        (*name != self.session).then(|| format!("{name}={}; Max-Age=0", self.attributes))
    }

    /// Reads the session cookie of a request.
    pub fn presented(&self, headers: &HeaderMap) -> Presented {
        let mut values = values(headers, self.session.as_bytes());
        match (values.next(), values.next()) {
            (None, _) => match self.carried_over(headers) {
                Some(hash) => Presented::CarriedOver(hash),
                None => Presented::Nothing,
            },
            // SECURITY: with two, a planted cookie could take the place of the real one.
            (Some(_), Some(_)) => Presented::Refused,
            (Some(value), None) => std::str::from_utf8(value)
                .ok()
                .and_then(Token::parse)
                .map(|token| Presented::Token(token.hash()))
                .or_else(|| {
                    let hash = self.carried_over(headers)?;
                    Some(Presented::CarriedOver(hash))
                })
                .unwrap_or(Presented::Refused),
        }
    }

    fn carried_over(&self, headers: &HeaderMap) -> Option<TokenHash> {
        carried_over::presented(headers, self.carried_over.as_ref()?)
    }

    pub(crate) fn device_value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let mut values = values(headers, self.device.as_bytes());
        match (values.next(), values.next()) {
            (Some(value), None) => std::str::from_utf8(value).ok(),
            (None, _) | (Some(_), Some(_)) => None,
        }
    }

    /// The sign-in that waits for its second factor.
    pub(crate) fn challenge_value(&self, headers: &HeaderMap) -> Option<TokenHash> {
        Some(token_in(headers, &self.challenge)?.hash())
    }

    /// The question that this browser was asked about a passkey.
    pub(crate) fn ceremony_value(&self, headers: &HeaderMap) -> Option<TokenHash> {
        Some(token_in(headers, &self.ceremony)?.hash())
    }

    pub(crate) fn ceremony(&self, token: &Token, lifetime: Span) -> Secret<String> {
        Secret::new(format!(
            "{}={}{}; Max-Age={}",
            self.ceremony,
            token.text().expose(),
            self.attributes,
            lifetime.as_seconds()
        ))
    }

    pub(crate) fn clear_ceremony(&self) -> String {
        format!("{}={}; Max-Age=0", self.ceremony, self.attributes)
    }

    /// The secret of a browser that signs in at a provider.
    pub(crate) fn openid_value(&self, headers: &HeaderMap) -> Option<Token> {
        token_in(headers, &self.openid)
    }

    pub(crate) fn openid(&self, token: &Token, lifetime: Span) -> Secret<String> {
        Secret::new(format!(
            "{}={}{}; Max-Age={}",
            self.openid,
            token.text().expose(),
            self.lax,
            lifetime.as_seconds()
        ))
    }

    /// Whether browsers withhold the session's cookie where another site sends them here.
    pub(crate) fn is_strict(&self) -> bool {
        self.attributes != self.lax
    }

    pub(crate) fn challenge(&self, token: &Token, lifetime: Span) -> Secret<String> {
        Secret::new(format!(
            "{}={}{}; Max-Age={}",
            self.challenge,
            token.text().expose(),
            self.attributes,
            lifetime.as_seconds()
        ))
    }

    pub(crate) fn clear_challenge(&self) -> String {
        format!("{}={}; Max-Age=0", self.challenge, self.attributes)
    }

    pub(crate) fn session(&self, token: &Token, lifetime: Span) -> Secret<String> {
        Secret::new(format!(
            "{}={}{}; Max-Age={}",
            self.session,
            token.text().expose(),
            self.attributes,
            lifetime.as_seconds()
        ))
    }

    pub(crate) fn device(&self, value: &str, lifetime: Span) -> String {
        format!(
            "{}={value}{}; Max-Age={}",
            self.device,
            self.attributes,
            lifetime.as_seconds()
        )
    }

    /// `Set-Cookie` that removes the session cookie.
    pub fn clear(&self) -> String {
        format!("{}={}; Max-Age=0", self.session, self.attributes)
    }

    /// The same, ready for a header, and for the carried-over cookie as well.
    pub fn clear_values(&self) -> impl Iterator<Item = HeaderValue> {
        [Some(self.clear()), self.clear_carried_over()]
            .into_iter()
            .flatten()
            .filter_map(|cookie| HeaderValue::try_from(cookie).ok())
    }
}

/// The token in the one cookie of this name.
fn token_in(headers: &HeaderMap, name: &str) -> Option<Token> {
    let mut values = values(headers, name.as_bytes());
    match (values.next(), values.next()) {
        (Some(value), None) => Token::parse(std::str::from_utf8(value).ok()?),
        // SECURITY: with two, a planted one could take the place of the browser's own.
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// The values of all cookies of this name, over all `Cookie` fields.
pub(super) fn values<'a, 'n>(
    headers: &'a HeaderMap,
    name: &'n [u8],
) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = pair.split_at_checked(equals)?;
            (key.trim_ascii_end() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies() -> Cookies {
        Cookies::new("__Host-session", SameSite::Lax, true)
    }

    fn headers(fields: &[&str]) -> HeaderMap {
        fields
            .iter()
            .map(|field| (header::COOKIE, HeaderValue::from_str(field).unwrap()))
            .collect()
    }

    #[test]
    fn one_cookie_is_read_wherever_it_stands() {
        let token = Token::generate().unwrap();
        let pair = format!("__Host-session={}", token.text().expose());
        for fields in [
            vec![pair.clone()],
            vec![format!("a=b; {pair}; c=d")],
            vec!["a=b".to_owned(), pair.clone()],
            vec![format!("  {pair}  ;")],
        ] {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let presented = cookies().presented(&headers(&fields));
            assert!(matches!(presented, Presented::Token(hash) if hash == token.hash()));
        }
    }

    #[test]
    fn two_session_cookies_are_refused_even_when_equal() {
        let text = Token::generate().unwrap().text();
        let pair = format!("__Host-session={}", text.expose());
        for fields in [
            vec![format!("{pair}; {pair}")],
            vec![pair.clone(), pair.clone()],
            vec![format!("__Host-session=; {pair}")],
        ] {
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            assert!(matches!(
                cookies().presented(&headers(&fields)),
                Presented::Refused
            ));
        }
    }

    #[test]
    fn nameless_and_differently_cased_cookies_are_not_ours() {
        let text = Token::generate().unwrap().text();
        let text = text.expose();
        for field in [
            format!("=__Host-session={text}"),
            format!("__host-session={text}"),
            format!("__HOST-SESSION={text}"),
            format!("x__Host-session={text}"),
            format!("a=\"; b=__Host-session={text}"),
            "__Host-session".to_owned(),
        ] {
            let presented = cookies().presented(&headers(&[&field]));
            assert!(matches!(presented, Presented::Nothing), "{field}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for value in ["", "x", "null", "../../etc/passwd", "\"\""] {
            let field = format!("__Host-session={value}");
            assert!(matches!(
                cookies().presented(&headers(&[&field])),
                Presented::Refused
            ));
        }
    }

    #[test]
    fn the_cookie_bears_every_attribute() {
        let token = Token::generate().unwrap();
        let cookie = cookies().session(&token, Span::from_hours(1));
        let (_, attributes) = cookie.expose().split_once(';').unwrap();
        assert_eq!(
            attributes,
            " Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=3600"
        );
        assert_eq!(
            cookies().clear(),
            "__Host-session=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
    }

    #[test]
    fn without_tls_the_prefix_goes_with_secure() {
        let cookies = Cookies::new("__Host-session", SameSite::Strict, false);
        assert_eq!(cookies.name(), "session");
        assert_eq!(
            cookies.clear(),
            "session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
