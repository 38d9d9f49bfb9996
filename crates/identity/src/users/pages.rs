//! Accounts in the console.

use axum::extract::Path;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_console::Status;
use portcullis_console::api::{Failure, parse_id};
use portcullis_console::desk::{mark, shown_once, turn};
use portcullis_core::{Problem, Secret, UserId};
use serde::Deserialize;

use super::Account;
use super::manage::check_roles;
use crate::accounts::Registering;
use crate::admin_pages::{Asks, Faults, ONE_MORE, Pages, Question, Sent, Visit, cut, picks, text};
use crate::pages::to_the_minute;
use crate::password_policy::one_time_password;

const MANAGE: Asks = Asks::Permission("manage:users");
const UP: Option<(&str, &str)> = Some(("/users", "Users"));

pub(crate) fn pages() -> Pages {
    Pages::new()
        .get("/users", MANAGE, list)
        .post("/users", MANAGE, create)
        .get("/users/new", MANAGE, new)
        .get("/users/{id}", MANAGE, show)
        .post("/users/{id}/roles", MANAGE, set_roles)
        .post("/users/{id}/password", MANAGE, set_password)
        .post("/users/{id}/send-reset", MANAGE, send_reset)
        .post("/users/{id}/reset-factors", MANAGE, reset_factors)
        .post("/users/{id}/deactivate", MANAGE, deactivate)
        .post("/users/{id}/activate", MANAGE, activate)
}

#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    find: String,
    after: Option<String>,
}

async fn list(visit: Visit, Question(asked): Question<Asked>) -> Result<Response, Failure> {
    let after: Option<UserId> = asked.after.as_deref().map(parse_id).transpose()?;
    let find = asked.find.trim();
    let accounts = &visit.console.admin.accounts;
    let mut found = accounts.search(find, after, ONE_MORE).await?;
    let more = cut(&mut found);
    let at = |after: Option<UserId>| {
        let find = utf8_percent_encode(find, NON_ALPHANUMERIC);
        let after = after.map(|id| format!("&after={id}")).unwrap_or_default();
        format!("{}?find={find}{after}", visit.to("/users"))
    };
    let first = after.map(|_| at(None));
    let last = found.last().filter(|_| more);
    let next = last.map(|account| at(Some(account.id)));
    // Of a sealed address no part can be found.
    let (what, none) = if accounts.addresses().are_sealed() {
        (
            "A whole address, or part of a name",
            "No account has this for its address or in its name. Addresses are sealed: only a whole one is found.",
        )
    } else {
        (
            "Part of an address or a name",
            "No account has this in its address or name.",
        )
    };
    let body = html! {
        div.above {
            p.quiet { "Newest first." }
            a.button href=(visit.to("/users/new")) { "New account" }
        }
        form.search role="search" method="get" action=(visit.to("/users")) {
            div {
                label for="find" { (what) }
                input id="find" name="find" type="search" value=(find) maxlength="254" autocomplete="off" autocapitalize="none" spellcheck="false";
            }
            button.plain type="submit" { "Find" }
        }
        @if found.is_empty() {
            div.sheet { p { @if find.is_empty() { "There are no accounts here." } @else { (none) } } }
        } @else {
            ul.rows { @for account in &found { (row(&visit, account)) } }
        }
        (turn(first.as_deref(), next.as_deref()))
    };
    Ok(visit.page("Users", None, &body))
}

fn row(visit: &Visit, account: &Account) -> Markup {
    html! {
        li {
            div {
                a href=(visit.to(&format!("/users/{}", account.id))) { (account.email) }
                @if let Some(name) = &account.display_name { " " (name) }
                p.quiet {
                    @if account.roles.is_empty() { "No roles" } @else { (account.roles.join(", ")) }
                    " · since " (day(&account.created_at.to_string()))
                }
            }
            (state(account))
        }
    }
}

fn state(account: &Account) -> Markup {
    match account.deactivated_at {
        None => mark(Status::Good, "active"),
        Some(_) => mark(Status::Bad, "suspended"),
    }
}

fn day(text: &str) -> String {
    text.chars().take(10).collect()
}

async fn new(visit: Visit) -> Response {
    visit.page(
        "New account",
        UP,
        &new_form(&visit, &Sent::default(), &Faults::default()),
    )
}

fn new_form(visit: &Visit, sent: &Sent, faults: &Faults) -> Markup {
    let inside = html! {
        (text(faults, ("email", "E-mail address", "email"), sent.one("email"), "", true))
        (text(faults, ("display_name", "Name", "text"), sent.one("display_name"), "May be left out.", false))
        (picks(faults, ("roles", "Roles"), &visit.role_names(), &sent.all("roles"), "What the account may do everywhere, in every tenant."))
        button type="submit" { "Create the account" }
    };
    html! {
        (faults.shown())
        div.sheet {
            p.quiet { "The account gets a one-time password, which is shown to you once." }
            (visit.form("wide", "/users", &inside))
        }
    }
}

async fn create(visit: Visit, sent: Sent) -> Result<Response, Failure> {
    visit.take(&sent).await?;
    let roles = sent.all("roles");
    let again = |faults: &Faults| {
        let form = new_form(&visit, &sent, faults);
        visit.page_as(StatusCode::UNPROCESSABLE_ENTITY, "New account", UP, &form)
    };
    if let Err(Failure(problem)) = check_roles(&visit.roles, &roles) {
        return Ok(again(&Faults::from(problem)?));
    }
    let password = one_time_password().map_err(Problem::internal)?;
    let registering = Registering {
        email: sent.one("email"),
        password: &password,
        display_name: sent.some("display_name"),
    };
    let accounts = &visit.console.admin.accounts;
    let made = match accounts.create(&registering, &roles, None, &visit.by).await {
        Ok(made) => made,
        Err(error) => return Ok(again(&Faults::from(error)?)),
    };
    let said = html! { strong { (made.email) } " has an account." };
    let body = handed_over(&visit, made.id, &said, &password);
    Ok(visit.page_as(StatusCode::CREATED, "Account created", UP, &body))
}

/// A one-time password, this once.
fn handed_over(visit: &Visit, id: UserId, said: &Markup, password: &Secret<String>) -> Markup {
    html! {
        p { (said) }
        (shown_once("The one-time password", password.expose()))
        p { "Hand it over by a way that only its owner reads, and ask them to change it at once." }
        p { a href=(visit.to(&format!("/users/{id}"))) { "To the account" } }
    }
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let account = visit.console.admin.accounts.find(parse_id(&id)?).await?;
    shown(&visit, &account, StatusCode::OK, None, &Faults::default()).await
}

/// The page of an account; with `typed`, the roles that were refused.
async fn shown(
    visit: &Visit,
    account: &Account,
    status: StatusCode,
    typed: Option<&[String]>,
    faults: &Faults,
) -> Result<Response, Failure> {
    let admin = &visit.console.admin;
    let (factors, sessions, tenants) = (
        admin.accounts.factors(account.id).await?,
        admin.accounts.sessions_of(account.id).await?,
        admin.tenants.memberships(account.id).await?,
    );
    let id = account.id;
    let roles = html! {
        (picks(faults, ("roles", "Roles"), &visit.role_names(), typed.unwrap_or(&account.roles), "What the account may do everywhere, in every tenant."))
        button type="submit" { "Save the roles" }
    };
    let body = html! {
        (faults.shown())
        @if id == visit.user.id { p.told { "This is your own account." } }
        div.sheet {
            dl.facts {
                dt { "State" } dd { (state(account)) }
                @if let Some(name) = &account.display_name { dt { "Name" } dd { (name) } }
                dt { "Since" } dd { (to_the_minute(account.created_at)) }
                @if let Some(at) = account.deactivated_at { dt { "Suspended" } dd { (to_the_minute(at)) } }
                dt { "Address proven" } dd { @if let Some(at) = account.email_verified_at { (to_the_minute(at)) } @else { "no" } }
                dt { "Second factor" } dd { @if factors.has_any() { "yes" } @else { "none" } }
                dt { "Tenants" }
                dd {
                    @if tenants.is_empty() { "none" }
                    @for (index, one) in tenants.iter().enumerate() {
                        @if index > 0 { ", " }
                        (one.tenant.slug) @if !one.roles.is_empty() { " (" (one.roles.join(", ")) ")" }
                    }
                }
                dt { "Sessions" }
                dd { a href=(visit.to(&format!("/users/{id}/sessions"))) { (sessions.len()) " signed in" } }
                @if visit.may("manage:keys") {
                    dt { "API keys" }
                    dd { a href=(visit.to(&format!("/keys?user={id}"))) { "Keys of this account" } }
                }
                dt { "Id" } dd { code { (id) } }
            }
        }
        div.sheet { (visit.form("", &format!("/users/{id}/roles"), &roles)) }
        (acts(visit, account, factors.has_any()))
    };
    Ok(visit.page_as(status, &account.email, UP, &body))
}

/// What can be done to an account.
fn acts(visit: &Visit, account: &Account, has_factors: bool) -> Markup {
    let at = |act: &str| format!("/users/{}/{act}", account.id);
    html! {
        h2 { "Getting in" }
        @if account.deactivated_at.is_some() {
            div.sheet {
                p { "The account is suspended: nobody signs in with it, and its API keys are refused. Active again, its keys work again; its sessions stay ended." }
                (visit.button("", &at("activate"), "Activate the account", ""))
            }
        } @else {
            @if visit.console.admin.accounts.offers_recovery() {
                div.sheet {
                    p { "Sends a letter with a link to a new password, as if its owner had asked for it." }
                    (visit.button("plain", &at("send-reset"), "Send a reset link", ""))
                }
            }
            (visit.grave(&at("password"), "Set a one-time password", "The account gets a new password, which is shown to you once. All of its sessions end."))
            @if has_factors {
                (visit.grave(&at("reset-factors"), "Reset the second factors", "For somebody who lost them. Make sure that it is the owner who asks: from then on the password alone signs in. All sessions end."))
            }
            (visit.grave(&at("deactivate"), "Suspend the account", "Nobody signs in with it, all of its sessions end, and its API keys are refused, until it is activated again."))
        }
    }
}

async fn set_roles(visit: Visit, Path(id): Path<String>, sent: Sent) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let roles = sent.all("roles");
    let accounts = &visit.console.admin.accounts;
    if let Err(Failure(problem)) = check_roles(&visit.roles, &roles) {
        let (account, faults) = (accounts.find(id).await?, Faults::from(problem)?);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return shown(&visit, &account, status, Some(&roles), &faults).await;
    }
    accounts.set_roles(id, &roles, &visit.by).await?;
    Ok(visit.done(&format!("/users/{id}"), "saved"))
}

async fn set_password(
    visit: Visit,
    Path(id): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    visit.take(&sent).await?;
    let password = one_time_password().map_err(Problem::internal)?;
    let accounts = &visit.console.admin.accounts;
    accounts.set_password(id, &password, &visit.by).await?;
    let account = accounts.find(id).await?;
    let said =
        html! { strong { (account.email) } " has a new password, and its sessions have ended." };
    let body = handed_over(&visit, id, &said, &password);
    Ok(visit.page("One-time password", UP, &body))
}

async fn send_reset(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    match accounts.send_reset(id, &visit.by).await {
        Ok(()) => Ok(visit.done(&format!("/users/{id}"), "reset-sent")),
        Err(error) => {
            let problem = Problem::from(error);
            let (status, faults) = (problem.kind.status, Faults::from(problem)?);
            let account = accounts.find(id).await?;
            shown(&visit, &account, status, None, &faults).await
        }
    }
}

async fn reset_factors(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    accounts.reset_factors(id, &visit.by).await?;
    Ok(visit.done(&format!("/users/{id}"), "factors-reset"))
}

async fn deactivate(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    accounts.deactivate(id, &visit.by).await?;
    Ok(visit.done(&format!("/users/{id}"), "suspended"))
}

async fn activate(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: UserId = parse_id(&id)?;
    let accounts = &visit.console.admin.accounts;
    accounts.reactivate(id, &visit.by).await?;
    Ok(visit.done(&format!("/users/{id}"), "activated"))
}
