//! A session that is known by the cookie of the product that stood here before gets one of the gate's.

use http::HeaderValue;

use portcullis_vault::TokenHash;

use crate::lane::Lane;

impl Lane {
    /// What the answer shall set. Where that cannot be made the old cookie goes on, and the next
    /// request tries again.
    pub(crate) async fn renewal(&self, hash: TokenHash) -> Vec<HeaderValue> {
        let sessions = self.gate.sessions.clone();
        let renewed = self
            .on_back(async move {
                let session = sessions.renew(&hash).await?;
                Ok::<_, portcullis_identity::sessions::Error>(
                    session.map(|session| sessions.renewal_cookies(&session)),
                )
            })
            .await;
        let cookies = match renewed {
            Ok(Ok(Some(cookies))) => cookies,
            Ok(Ok(None)) | Err(_) => return Vec::new(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a session that was carried over keeps its old cookie for now");
                return Vec::new();
            }
        };
        cookies
            .into_iter()
            .filter(|cookie| !cookie.is_empty())
            .filter_map(|cookie| {
                let mut value = HeaderValue::try_from(cookie).ok()?;
                value.set_sensitive(true);
                Some(value)
            })
            .collect()
    }
}
