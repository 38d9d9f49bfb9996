//! Getting in and out of an account: `portcullis users sessions`, `end-sessions`, `activate` and
//! `send-reset`.

use portcullis_core::UserId;
use portcullis_identity::accounts::By;
use portcullis_identity::sessions::{SessionInfo, SignedInFor};
use serde::Serialize;

use super::output::{self, Format};
use crate::verbs::{Stores, find, told};

/// What is done about getting in and out of somebody's account.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Access {
    /// Switch an account on again. Its sessions stay ended; its API keys work again.
    Activate {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Send an account's owner a link to a new password. A running gate posts the letter.
    SendReset {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Show who is signed in to an account, newest first.
    Sessions {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
    },
    /// End a session of an account, or all of them and the tokens of its sign-ins.
    EndSessions {
        /// The account: its address or its id.
        #[arg(value_name = "USER")]
        user: String,
        /// This one alone, as `users sessions` shows it.
        #[arg(long, value_name = "ID")]
        session: Option<uuid::Uuid>,
    },
}

/// One live session.
#[derive(Serialize)]
struct Shown {
    id: uuid::Uuid,
    kind: SignedInFor,
    name: String,
    created_at: String,
    last_seen_at: String,
    expires_at: String,
    client_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

impl From<SessionInfo> for Shown {
    fn from(info: SessionInfo) -> Self {
        Shown {
            id: info.id,
            kind: info.kind,
            name: info.name,
            created_at: info.created_at.to_string(),
            last_seen_at: info.last_seen_at.to_string(),
            expires_at: info.expires_at.to_string(),
            client_address: info.client_address,
            place: info.place,
        }
    }
}

pub(crate) async fn run(format: Format, verb: &Access, stores: &Stores) -> anyhow::Result<()> {
    let (accounts, by) = (&stores.identity.accounts, By::operator());
    match verb {
        Access::Activate { user } => {
            let done = accounts.reactivate(find(stores, user).await?, &by).await;
            done.map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::aside(format_args!("{user} is active again"));
        }
        Access::SendReset { user } => {
            let done = accounts.send_reset(find(stores, user).await?, &by).await;
            done.map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
            output::aside(format_args!("a link for {user} waits to be sent"));
        }
        Access::Sessions { user } => list(format, find(stores, user).await?, stores).await?,
        Access::EndSessions { user, session } => {
            end(find(stores, user).await?, *session, stores).await?;
        }
    }
    Ok(())
}

async fn list(format: Format, user: UserId, stores: &Stores) -> anyhow::Result<()> {
    let found = stores.identity.accounts.sessions_of(user).await;
    let found = found.map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
    let shown: Vec<Shown> = found.into_iter().map(Shown::from).collect();
    match format {
        Format::Json => output::json(&shown),
        Format::Text => {
            for one in &shown {
                let address = one.client_address.as_deref().unwrap_or("-");
                let kind = match one.kind {
                    SignedInFor::Session => "",
                    SignedInFor::Tokens => "  (with tokens)",
                };
                let place = one.place.as_ref();
                let place = place.map_or(String::new(), |place| format!(" ({place})"));
                output::line(format_args!(
                    "{}  {:<24}  last seen {}  from {address}{place}{kind}",
                    one.id, one.name, one.last_seen_at
                ));
            }
        }
    }
    Ok(())
}

async fn end(user: UserId, session: Option<uuid::Uuid>, stores: &Stores) -> anyhow::Result<()> {
    let (accounts, by) = (&stores.identity.accounts, By::operator());
    let ended = match session {
        None => accounts.end_sessions_of(user, &by).await,
        Some(id) => accounts.end_session_of(user, id, &by).await,
    };
    ended.map_err(|error| anyhow::anyhow!("{user}: {}", told(error)))?;
    output::aside(match session {
        None => "all sessions have ended",
        Some(_) => "the session has ended",
    });
    Ok(())
}
