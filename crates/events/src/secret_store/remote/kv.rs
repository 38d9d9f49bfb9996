//! The KV engine, version 2, of an OpenBao or Vault server: one secret for each of ours, with the field `value`.
//!
//! - Each write says which version it expects there (`cas`): of two, one is refused, and nothing is written over
//!   that somebody else put there.
//! - Beside the value stands what we call the version (`portcullis`), so that a write whose answer was lost is
//!   known again.

use std::collections::HashMap;

use http::StatusCode;
use portcullis_core::{Secret, Timestamp};
use portcullis_edge::openbao::Server;
use portcullis_edge::outbound::Answer;
use portcullis_vault::ct_eq;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Fault, Known, Put};

pub(super) struct Kv {
    server: Server,
    mount: String,
}

#[derive(Deserialize)]
struct Whole<T> {
    data: T,
}

#[derive(Deserialize)]
struct Written {
    version: u64,
}

#[derive(Deserialize)]
struct Read {
    /// Nothing where the version is deleted.
    data: Option<Content>,
    metadata: Written,
}

#[derive(Default, Deserialize)]
struct Content {
    value: Option<Secret<String>>,
    portcullis: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    current_version: u64,
    #[serde(default)]
    versions: HashMap<String, Kept>,
}

#[derive(Deserialize)]
struct Kept {
    /// Nothing, or when it is deleted, which may be some day.
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

/// What the server says of a path that holds nothing.
#[derive(Deserialize)]
struct Nothing {
    errors: [String; 0],
}

fn not_understood() -> Fault {
    Fault::Away("the answer is none that is documented".to_owned())
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Fault> {
    let whole: Result<Whole<T>, _> = serde_json::from_slice(&answer.body);
    Ok(whole.map_err(|_| not_understood())?.data)
}

/// SECURITY: what the server says of it stays here: it may quote what it was sent.
fn refused(status: StatusCode) -> Fault {
    let said = format!("the server answers {status}");
    match status {
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Fault::Refused(said)
        }
        _ => Fault::Away(said),
    }
}

impl Kv {
    pub(super) fn new(server: Server, mount: String) -> Self {
        Kv { server, mount }
    }

    /// Nothing where there is no such secret.
    async fn get<T: DeserializeOwned>(&self, kind: &str, path: &str) -> Result<Option<T>, Fault> {
        let target = self.server.at(&format!("{}/{kind}/{path}", self.mount));
        let answer = self
            .server
            .get(&target.map_err(Fault::away)?)
            .await
            .map_err(Fault::away)?;
        match answer.status {
            StatusCode::OK => read(&answer).map(Some),
            // A deleted version is answered so, with what is known of it.
            StatusCode::NOT_FOUND => match serde_json::from_slice::<Nothing>(&answer.body) {
                Ok(Nothing { errors: [] }) => Ok(None),
                Err(_) => read(&answer).map(Some),
            },
            status => Err(refused(status)),
        }
    }

    /// The version that it is there now; nothing where the server refuses it, which may be for the version
    /// that was expected.
    async fn post(
        &self,
        path: &str,
        (cas, token): (u64, &str),
        value: &Secret<String>,
    ) -> Result<Option<u64>, Fault> {
        let target = self.server.at(&format!("{}/data/{path}", self.mount));
        let data = json!({ "value": value.expose(), "portcullis": token });
        let body = json!({ "options": { "cas": cas }, "data": data });
        let answer = self.server.post(&target.map_err(Fault::away)?, &body).await;
        let answer = answer.map_err(Fault::away)?;
        match answer.status {
            StatusCode::OK => match read::<Written>(&answer)?.version {
                version if version == cas.saturating_add(1) => Ok(Some(version)),
                _ => Err(not_understood()),
            },
            StatusCode::BAD_REQUEST => Ok(None),
            status => Err(refused(status)),
        }
    }

    pub(super) async fn put(
        &self,
        path: &str,
        known: &Known<'_>,
        value: &Secret<String>,
    ) -> Result<Put, Fault> {
        let expected = if known.overwrite {
            let metadata: Option<Metadata> = self.get("metadata", path).await?;
            metadata.map_or(0, |metadata| metadata.current_version)
        } else {
            let version = known.version.and_then(|version| version.parse().ok());
            version.unwrap_or(0)
        };
        let token = known.token;
        if let Some(version) = self.post(path, (expected, token), value).await? {
            return Ok(Put::Written(version.to_string()));
        }
        // Somebody's, or ours of a time when we did not hear the answer.
        let Some(there) = self.get::<Read>("data", path).await? else {
            return Ok(Put::Drifted);
        };
        let version = there.metadata.version;
        let Content {
            value: theirs,
            portcullis: name,
        } = there.data.unwrap_or_default();
        if name.as_deref() == Some(token) {
            let is_same = theirs
                .is_some_and(|theirs| ct_eq(theirs.expose().as_bytes(), value.expose().as_bytes()));
            return Ok(if is_same {
                Put::Written(version.to_string())
            } else {
                Put::Drifted
            });
        }
        // It was as expected: the refusal was about something else.
        if version == expected {
            return Err(refused(StatusCode::BAD_REQUEST));
        }
        if !name.is_some_and(|name| known.is_ours(&name)) {
            return Ok(Put::Drifted);
        }
        match self.post(path, (version, token), value).await? {
            Some(version) => Ok(Put::Written(version.to_string())),
            None => Err(refused(StatusCode::BAD_REQUEST)),
        }
    }

    /// Whether this version is in use there still.
    pub(super) async fn has(
        &self,
        path: &str,
        version: &str,
        now: Timestamp,
    ) -> Result<bool, Fault> {
        let Some(metadata) = self.get::<Metadata>("metadata", path).await? else {
            return Ok(false);
        };
        let kept = metadata.versions.get(version);
        let is_kept = kept.is_some_and(|kept| {
            let ends = kept.deletion_time.parse::<Timestamp>();
            !kept.destroyed && ends.map_or(kept.deletion_time.is_empty(), |ends| now < ends)
        });
        Ok(is_kept && metadata.current_version.to_string() == version)
    }

    /// Asks about a secret that is not there, and would write to it as a version that it is not: who may do
    /// neither is told so.
    pub(super) async fn try_out(&self, path: &str) -> Result<(), Fault> {
        const NEVER: u64 = 1_000_000;
        let there: Option<Metadata> = self.get("metadata", path).await?;
        if there.is_some() || self.get::<Read>("data", path).await?.is_some() {
            return Err(not_understood());
        }
        let trial = Secret::new("a trial of `doctor`".to_owned());
        match self.post(path, (NEVER, "doctor"), &trial).await? {
            None => Ok(()),
            Some(_) => Err(not_understood()),
        }
    }
}
