//! What is known of a sign-in between its beginning and its end, sealed into its `state`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Span, Timestamp};
use portcullis_vault::keys::{Keys, Purpose};
use portcullis_vault::{Sealer, Token, TokenHash, seal, tokens};
use serde::{Deserialize, Serialize};

use crate::next::local_or_root;

/// How long the provider's pages may take.
pub(super) const LIFETIME: Span = Span::from_minutes(10);
/// Longest target that fits into a provider's address bar with everything else.
const LONGEST_NEXT: usize = 1024;
/// Longest `state` that is looked at.
const LONGEST: usize = 4096;

/// One sign-in that is under way.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    id: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    began_at: i64,
    next: String,
    /// Whether the provider has to ask, whatever it remembers.
    pub(super) again: bool,
}

impl Flow {
    pub(super) fn begin(
        now: Timestamp,
        next: Option<&str>,
        again: bool,
    ) -> Result<Self, tokens::Error> {
        let random = || Ok::<_, tokens::Error>(Token::generate()?.text().expose().clone());
        let next = local_or_root(next.filter(|next| next.len() <= LONGEST_NEXT));
        Ok(Flow {
            id: random()?,
            nonce: random()?,
            verifier: random()?,
            began_at: now.as_micros(),
            next: next.to_owned(),
            again,
        })
    }

    pub(super) const fn began_at(&self) -> Timestamp {
        Timestamp::from_micros(self.began_at)
    }

    /// Only ever a path of this very origin: judged when it was sealed, and once more.
    pub(super) fn next(&self) -> &str {
        local_or_root(Some(&self.next))
    }

    /// What the database remembers of it once it came back.
    pub(super) fn hash(&self) -> TokenHash {
        TokenHash::of(self.id.as_bytes())
    }

    /// What the provider learns of the verifier at first (RFC 7636 section 4.2, `S256`).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(TokenHash::of(self.verifier.as_bytes()).as_bytes())
    }
}

/// Seals and opens them.
pub(super) struct Flows(Sealer);

impl Flows {
    pub(super) fn new(keys: &Keys, purpose: Purpose) -> Result<Self, seal::Error> {
        Sealer::new(keys, purpose).map(Flows)
    }

    pub(super) fn seal(
        &self,
        flow: &Flow,
        provider: &str,
        browser: &TokenHash,
    ) -> Result<String, seal::Error> {
        let plain = serde_json::to_vec(flow).map_err(|_| seal::Error::Seal)?;
        let sealed = self.0.seal(&place(provider, browser), &plain)?;
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What `state` holds, where this very browser began it at this very provider a short while ago.
    pub(super) fn open(
        &self,
        state: &str,
        provider: &str,
        browser: &TokenHash,
        now: Timestamp,
    ) -> Option<Flow> {
        if state.len() > LONGEST {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(state).ok()?;
        // SECURITY: the browser's secret and the provider are part of what is sealed. A callback in
        // another browser (login CSRF), or with another provider's state (mix-up), opens nothing.
        let plain = self.0.open(&place(provider, browser), &sealed).ok()?;
        let flow: Flow = serde_json::from_slice(plain.expose()).ok()?;
        (now < flow.began_at() + LIFETIME).then_some(flow)
    }
}

fn place<'p>(provider: &'p str, browser: &'p TokenHash) -> [&'p [u8]; 3] {
    [b"state", provider.as_bytes(), browser.as_bytes()]
}

#[cfg(test)]
mod tests {
    use portcullis_core::Secret;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn flows(master: &str, previous: &[&str]) -> Flows {
        let secret = |text: &&str| Secret::new((*text).to_owned());
        let keys = Keys::new(secret(&master), previous.iter().map(secret).collect());
        Flows::new(&keys, Purpose::OpenidLogin).unwrap()
    }

    fn browser() -> TokenHash {
        Token::generate().unwrap().hash()
    }

    #[test]
    fn a_state_opens_for_its_browser_and_provider_and_for_ten_minutes() {
        let (one, browser) = (flows("one", &[]), browser());
        let flow = Flow::begin(NOW, Some("/orders?x=1"), true).unwrap();
        let state = one.seal(&flow, "company", &browser).unwrap();
        let end = NOW + LIFETIME;
        let opened = one.open(&state, "company", &browser, NOW).unwrap();
        assert_eq!(opened.next(), "/orders?x=1");
        assert_eq!(opened.nonce, flow.nonce);
        assert!(opened.again);
        assert!(!state.contains(&flow.nonce) && !state.contains(&flow.verifier));
        assert!(one.open(&state, "company", &self::browser(), NOW).is_none());
        assert!(one.open(&state, "other", &browser, NOW).is_none());
        assert!(one.open(&state, "company", &browser, end).is_none());
        assert!(
            one.open(state.trim_start_matches('A'), "company", &browser, NOW)
                .is_none()
        );
        assert!(one.open("", "company", &browser, NOW).is_none());
        assert!(
            flows("two", &[])
                .open(&state, "company", &browser, NOW)
                .is_none()
        );
        let rotated = flows("two", &["one"]);
        assert!(rotated.open(&state, "company", &browser, NOW).is_some());
    }

    #[test]
    fn only_local_targets_are_kept() {
        let next = |next: &str| {
            Flow::begin(NOW, Some(next), false)
                .unwrap()
                .next()
                .to_owned()
        };
        assert_eq!(next("//evil.example"), "/");
        assert_eq!(next("https://evil.example"), "/");
        assert_eq!(next(&format!("/{}", "a".repeat(LONGEST_NEXT))), "/");
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636 appendix B.
        let mut flow = Flow::begin(NOW, None, false).unwrap();
        flow.verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        assert_eq!(
            flow.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
