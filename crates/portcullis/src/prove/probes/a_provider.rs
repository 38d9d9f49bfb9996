//! a. Another identity provider: whose tokens count, from whom, and for which tenant (I6).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_identity::issuers::{Config, Profile};
use portcullis_vault::signing::{SigningKey, sign_hs256};
use portcullis_vault::tokens::random;
use serde_json::{Map, Value, json};

use super::a_issuers::claims;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::Reply;
use crate::prove::world::World;
use crate::verbs::now;

/// The provider, as a rehearsal has it: its keys are the rehearsal's product's.
struct Provider<'w> {
    w: &'w World,
    name: &'w str,
    config: &'w Config,
    key: &'w SigningKey,
}

impl<'w> Provider<'w> {
    fn of(w: &'w World) -> Result<Self, Short> {
        let mut issuers = w.config().issuers.iter();
        let found = issuers.find(|(_, issuer)| issuer.secret.is_none());
        let (name, config) = found.ok_or_else(|| {
            Short::not_configured("issuer.NAME (with published keys, such as profile = \"clerk\")")
        })?;
        let key = &w.product()?.key;
        Ok(Provider {
            w,
            name,
            config,
            key,
        })
    }

    fn remedy(&self, keys: &str) -> String {
        format!("[issuer.{}] {keys}", self.name)
    }

    /// Which claim binds a token to the product.
    fn binds(&self) -> &'static str {
        if self.config.authorized_parties.is_empty() {
            "aud"
        } else {
            "azp"
        }
    }

    fn claims(&self) -> Map<String, Value> {
        let audience = self.config.audience.first().cloned().unwrap_or_default();
        let subject = "provider-user";
        let claims = claims(
            &self.config.issuer,
            &audience,
            subject,
            "provider@prove.invalid",
        );
        let mut claims = claims.as_object().cloned().unwrap_or_default();
        if audience.is_empty() {
            claims.remove("aud");
        }
        if let Some(party) = self.config.authorized_parties.first() {
            claims.insert("azp".to_owned(), json!(party));
        }
        claims
    }

    fn with(&self, name: &str, value: Value) -> Map<String, Value> {
        let mut claims = self.claims();
        claims.insert(name.to_owned(), value);
        claims
    }

    fn signed(&self, claims: &Map<String, Value>) -> Result<String, Short> {
        let token = self.key.sign("JWT", claims);
        token.map_err(|error| Short::not_proven(error.to_string()))
    }

    async fn asked(&self, token: &str, path: &str) -> anyhow::Result<Reply> {
        let path = format!("{BENCH}/{path}");
        self.w.target.get(&path).bearer(token).send().await
    }

    /// Tokens that are none of the provider's for this product, each with what it is.
    fn forgeries(&self) -> Result<Vec<(String, String)>, Short> {
        let said = |error: &dyn std::fmt::Display| Short::not_proven(error.to_string());
        let claims = self.claims();
        let binds = self.binds();
        let past = now().as_seconds().saturating_sub(600);
        let seed = random::<32>().map_err(|error| said(&error))?;
        let other = SigningKey::from_seed(&seed).map_err(|error| said(&error))?;
        let public = self.key.jwk();
        let public = public.get("x").and_then(Value::as_str).unwrap_or_default();
        let public = URL_SAFE_NO_PAD
            .decode(public)
            .map_err(|error| said(&error))?;
        let good = self.signed(&claims)?;
        let payload = good.split('.').nth(1).unwrap_or_default();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        let named = |what: &str, token: String| (what.to_owned(), token);
        Ok(vec![
            named(
                &format!("a stranger's `{binds}`"),
                self.signed(&self.with(binds, json!("https://evil.test")))?,
            ),
            named(
                "another issuer",
                self.signed(&self.with("iss", json!("https://evil.test")))?,
            ),
            named(
                "an end ten minutes ago",
                self.signed(&self.with("exp", json!(past)))?,
            ),
            named(
                "a key that the provider does not publish",
                other.sign("JWT", &claims).map_err(|error| said(&error))?,
            ),
            named(
                "the published key as a secret",
                sign_hs256("JWT", &claims, &public).map_err(|error| said(&error))?,
            ),
            named("no signature", format!("{none}.{payload}.")),
        ])
    }

    /// The claims of somebody who has chosen this tenant; nothing where the policy takes no claim for it.
    fn in_tenant(&self, tenant: &str) -> Option<Map<String, Value>> {
        let claim = match (&self.config.tenant_claim, self.config.profile) {
            (Some(claim), _) => claim.clone(),
            (None, Profile::Clerk) => "orgId".to_owned(),
            (None, Profile::Supabase | Profile::Oidc) => return None,
        };
        let mut levels = claim.rsplit('.');
        let innermost = levels.next().unwrap_or_default().to_owned();
        let mut value = Map::from_iter([(innermost, json!(tenant))]);
        for level in levels {
            value = Map::from_iter([(level.to_owned(), Value::Object(value))]);
        }
        let mut claims = self.claims();
        claims.extend(value);
        Some(claims)
    }
}

/// I6
pub(super) async fn other_provider(scene: &Scene) -> Probed {
    let w = scene.development().await?;
    let provider = Provider::of(w)?;
    let good = provider.signed(&provider.claims())?;
    let reply = provider.asked(&good, "user").await?;
    must(
        reply.passed(),
        || {
            format!(
                "a token of `{}` is answered {}",
                provider.name,
                reply.said()
            )
        },
        &provider.remedy("see `portcullis doctor`"),
    )?;
    let mut refused = Vec::new();
    for (what, token) in provider.forgeries()? {
        let reply = provider.asked(&token, "user").await?;
        must(
            reply.status == 401,
            || format!("a token with {what} is answered {}", reply.said()),
            &provider.remedy("audience, authorized-parties, issuer"),
        )?;
        refused.push(what);
    }
    let homeless = provider.asked(&good, "in-a-tenant").await?;
    must(
        !homeless.passed(),
        || {
            format!(
                "without a chosen tenant a route of tenants answers {}",
                homeless.said()
            )
        },
        "tenant = .. on the routes of tenants",
    )?;
    let chosen = chosen(&provider).await?;
    let callback = format!("{}/nobody/callback?state=x&code=y", crate::own::OPENID);
    let forged = w.target.get(&callback).send().await?;
    must(
        !forged.passed(),
        || {
            format!(
                "a callback that nobody asked for is answered {}",
                forged.said()
            )
        },
        ALWAYS,
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a token of `{}` passes; with {} 401 each; without a tenant {}{chosen}; a callback without its beginning {}",
            provider.name,
            refused.join(", "),
            homeless.said(),
            forged.said()
        ),
    ))
}

/// Who has chosen a tenant comes to that one, and to no other.
async fn chosen(provider: &Provider<'_>) -> Result<String, Short> {
    let (a, b) = (&provider.w.a, &provider.w.b);
    let Some(claims) = provider.in_tenant(&a.id.to_string()) else {
        return Ok(", and no claim of the provider's chooses one".to_owned());
    };
    let token = provider.signed(&claims)?;
    let own = provider.asked(&token, &format!("orgs/{}", a.slug)).await?;
    must(
        own.passed(),
        || format!("with a chosen tenant its own route answers {}", own.said()),
        &provider.remedy("tenant-claim"),
    )?;
    let other = provider.asked(&token, &format!("orgs/{}", b.slug)).await?;
    must(
        !other.passed(),
        || {
            format!(
                "with a chosen tenant another one's route answers {}",
                other.said()
            )
        },
        "tenant = .. on the routes of tenants",
    )?;
    Ok(format!(
        ", with one its own route passes and another one's is {}",
        other.said()
    ))
}
