//! Who we are to AWS, and how long that is remembered.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use portcullis_core::locks::lock;
use portcullis_core::{Secret, Span, Timestamp};
use serde::Deserialize;

use super::Error;
use crate::outbound::{Outbound, Reach, Target};

/// How long what a file says is taken for true.
const FILE_FOR: Span = Span::from_minutes(5);
/// Before their end new ones are asked for.
const EARLY: Span = Span::from_minutes(5);

/// Where credentials come from.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// As they are, for as long as we run.
    Fixed(Fixed),
    /// A file in the form of `~/.aws/credentials`: its profile `[default]`.
    File(PathBuf),
    /// What the container's host hands out (ECS, EKS Pod Identity): a URL, and a token or the file
    /// that it is in.
    Container {
        url: String,
        token: Option<Secret>,
        token_file: Option<PathBuf>,
    },
}

/// One set.
#[derive(Debug, Clone)]
pub struct Fixed {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

/// Credentials, and those that were read last with the time until which they do.
pub(super) struct Kept {
    from: Credentials,
    last: Mutex<Option<(Fixed, Timestamp)>>,
}

impl Kept {
    pub(super) fn new(from: Credentials) -> Self {
        let last = Mutex::default();
        Kept { from, last }
    }

    pub(super) fn forget(&self) {
        *lock(&self.last) = None;
    }

    pub(super) async fn get(&self, outbound: &Outbound, now: Timestamp) -> Result<Fixed, Error> {
        let last = lock(&self.last).clone();
        if let Some((fixed, until)) = last
            && now < until
        {
            return Ok(fixed);
        }
        let (fixed, until) = match &self.from {
            Credentials::Fixed(fixed) => return Ok(fixed.clone()),
            Credentials::File(path) => (of_file(path).await?, now + FILE_FOR),
            Credentials::Container {
                url,
                token,
                token_file,
            } => {
                let token = match token_file {
                    Some(path) => Some(read(path).await?),
                    None => token.clone(),
                };
                of_container(outbound, url, token.as_ref(), now).await?
            }
        };
        *lock(&self.last) = Some((fixed.clone(), until));
        Ok(fixed)
    }
}

async fn read(path: &Path) -> Result<Secret, Error> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(Secret::new)
        .map_err(|error| Error::Credentials(format!("`{}`: {error}", path.display())))
}

async fn of_file(path: &Path) -> Result<Fixed, Error> {
    let text = read(path).await?;
    of_profile(text.expose()).ok_or_else(|| {
        let path = path.display();
        Error::Credentials(format!(
            "`{path}` has no [default] with aws_access_key_id and aws_secret_access_key"
        ))
    })
}

fn of_profile(text: &str) -> Option<Fixed> {
    let mut is_ours = false;
    let (mut id, mut secret, mut session) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_ours = line == "[default]";
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_ours) {
            let value = value.trim();
            match name.trim() {
                "aws_access_key_id" => id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Secret::new(value.to_owned())),
                "aws_session_token" => session = Some(Secret::new(value.to_owned())),
                _ => {}
            }
        }
    }
    Some(Fixed {
        access_key_id: id?,
        secret_access_key: secret?,
        session_token: session,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HandedOut {
    access_key_id: String,
    secret_access_key: Secret,
    token: Option<Secret>,
    expiration: Option<String>,
}

async fn of_container(
    outbound: &Outbound,
    url: &str,
    token: Option<&Secret>,
    now: Timestamp,
) -> Result<(Fixed, Timestamp), Error> {
    let refused = |said: &str| Error::Credentials(format!("the container's host {said}"));
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value = HeaderValue::try_from(token.expose().trim());
        headers.insert(
            header::AUTHORIZATION,
            value.map_err(|_| refused("wants a token that is no header"))?,
        );
    }
    let target = Target::parse(url, Reach::Container)?;
    let answer = outbound.get_with(&target, headers).await?;
    if answer.status != StatusCode::OK {
        return Err(refused(&format!("answers {}", answer.status)));
    }
    let handed: HandedOut =
        serde_json::from_slice(&answer.body).map_err(|_| refused("says nothing that is known"))?;
    let ends = handed.expiration.and_then(|text| text.parse().ok());
    let until = ends.map_or(now + FILE_FOR, |ends: Timestamp| ends - EARLY);
    let fixed = Fixed {
        access_key_id: handed.access_key_id,
        secret_access_key: handed.secret_access_key,
        session_token: handed.token,
    };
    Ok((fixed, until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_is_read_and_no_other() {
        let text = "# mine\n[other]\naws_access_key_id = no\naws_secret_access_key = no\n\n[default]\naws_access_key_id=AKID\naws_secret_access_key = a/b+c=\nregion = x\n";
        let fixed = of_profile(text).unwrap();
        assert_eq!(fixed.access_key_id, "AKID");
        assert_eq!(fixed.secret_access_key.expose(), "a/b+c=");
        assert!(fixed.session_token.is_none());
        assert!(of_profile("[other]\naws_access_key_id = no\n").is_none());
        assert!(of_profile("").is_none());
    }
}
