//! Somebody's sessions in the console.

use axum::extract::Path;
use axum::response::Response;
use maud::html;
use portcullis_console::api::{Failure, parse_id};
use portcullis_core::UserId;
use uuid::Uuid;

use crate::accounts::Error;
use crate::admin_pages::{Asks, Pages, Sent, Visit};
use crate::pages::to_the_minute;
use crate::sessions::SignedInFor;

const MANAGE: Asks = Asks::Permission("manage:users");

pub(crate) fn pages() -> Pages {
    Pages::new()
        .get("/users/{id}/sessions", MANAGE, list)
        .post("/users/{id}/sessions/end", MANAGE, end)
        .post("/users/{id}/sessions/end-all", MANAGE, end_all)
}

async fn list(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    let (account, sessions) = (accounts.find(id).await?, accounts.sessions_of(id).await?);
    let to = format!("/users/{id}");
    let body = html! {
        @if sessions.is_empty() {
            div.sheet { p { "Nobody is signed in to this account." } }
        } @else {
            ul.rows {
                @for session in &sessions {
                    li {
                        div {
                            strong { (session.name) }
                            @if visit.user.credential.listed_as() == Some(session.id) { " (this one)" }
                            @if session.kind == SignedInFor::Tokens { " (with tokens)" }
                            p.quiet {
                                "Last seen " (to_the_minute(session.last_seen_at))
                                @if let Some(from) = session.seen_from() { " from " (from) }
                                br;
                                "Signed in " (to_the_minute(session.created_at))
                                ", ends by itself " (to_the_minute(session.expires_at))
                            }
                        }
                        (visit.form("", &format!("{to}/sessions/end"), &html! {
                            input type="hidden" name="session" value=(session.id);
                            button.plain type="submit" { "End" span.away { " the session last seen " (to_the_minute(session.last_seen_at)) } }
                        }))
                    }
                }
            }
        }
        (visit.grave(&format!("{to}/sessions/end-all"), "End all sessions", "Everybody who is signed in to this account is signed out, tokens of programs included. Its API keys go on."))
    };
    Ok(visit.page("Sessions", Some((&to, &account.email)), &body))
}

async fn end(visit: Visit, Path(id): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let session: Uuid = parse_id(sent.one("session"))?;
    let accounts = &visit.console.admin.accounts;
    match accounts.end_session_of(id, session, &visit.by).await {
        // Ended meanwhile: the page shows that it is gone.
        Ok(()) | Err(Error::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(visit.done(&format!("/users/{id}/sessions"), "ended"))
}

async fn end_all(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    accounts.end_sessions_of(id, &visit.by).await?;
    Ok(visit.done(&format!("/users/{id}/sessions"), "ended"))
}
