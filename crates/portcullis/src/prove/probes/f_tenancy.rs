//! f. Roles, tenants, and whose record something is.

use portcullis_access::config::{Allow, TenantAt};
use portcullis_identity::accounts::By;
use serde_json::Value;

use super::routes;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::BENCH;
use crate::prove::wire::is_refusal;
use crate::prove::world::{World, base};

fn said(error: impl std::fmt::Display) -> Short {
    Short::not_proven(error.to_string())
}

/// T1
pub(super) async fn per_endpoint(scene: &Scene) -> Probed {
    let w = &scene.live;
    let browser = w.signed_in(&w.people.plain).await?;
    let roles = w.config().access.roles();
    let held: Vec<&str> = held_by(&roles, w.plain_role.as_deref());
    let mut refused = Vec::new();
    for sample in routes::all(w) {
        let lacks = match &sample.route.allow {
            Some(Allow::Role(names)) => {
                !names.iter().any(|name| Some(name) == w.plain_role.as_ref())
            }
            Some(Allow::Permission(name)) => {
                !held.contains(&name.as_str()) && !has_all(&held, name)
            }
            Some(Allow::Closed) => true,
            Some(Allow::Public | Allow::User | Allow::Owned { .. }) | None => false,
        };
        if !lacks || sample.route.host.is_some() {
            continue;
        }
        for method in &sample.methods {
            let reply = browser.change(method, &sample.path).send().await?;
            must(
                is_refusal(reply.status),
                || {
                    format!(
                        "{method} {} by somebody without what it asks for is answered {}",
                        sample.path,
                        reply.said()
                    )
                },
                &format!("the route `{}`: allow", sample.route.path),
            )?;
            refused.push(sample.path.clone());
        }
    }
    if refused.is_empty() {
        return Err(Short::not_proven(
            "no route asks for a role or a permission",
        ));
    }
    Ok(Held::at(
        Place::Gate,
        format!(
            "{} calls of routes whose role or permission the caller lacks, such as {}: all refused",
            refused.len(),
            refused.first().map_or("", String::as_str)
        ),
    ))
}

fn has_all(held: &[&str], wanted: &str) -> bool {
    let action = wanted.split(':').next().unwrap_or_default();
    held.iter().any(|name| *name == format!("{action}:all"))
}

/// Everything that a role gives, by inheritance too.
fn held_by<'r>(
    roles: &'r std::collections::BTreeMap<String, portcullis_core::roles::RoleConfig>,
    role: Option<&'r str>,
) -> Vec<&'r str> {
    let mut held = Vec::new();
    let mut open: Vec<&str> = role.into_iter().collect();
    let mut seen = Vec::new();
    while let Some(name) = open.pop() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        if let Some(config) = roles.get(name) {
            held.extend(config.permissions.iter().map(String::as_str));
            open.extend(config.inherits.iter().map(String::as_str));
        }
    }
    held
}

/// T2
pub(super) async fn matrix(scene: &Scene) -> Probed {
    // In development mode, so that no role is asked for a second factor first.
    let w = scene.development().await?;
    let roles = w.config().access.roles();
    let permissions = w.permissions();
    let browser = w.signed_in(&w.people.other).await?;
    let mut cells = 0_usize;
    for role in roles.keys() {
        set_roles(w, &[role]).await?;
        let held = held_by(&roles, Some(role));
        for (position, permission) in permissions.iter().enumerate() {
            let expected = held.contains(&permission.as_str()) || has_all(&held, permission);
            let path = format!("{BENCH}/may/{position}");
            let right = w
                .until(async || Ok(browser.get(&path).send().await?.passed() == expected))
                .await?;
            must(
                right,
                || {
                    format!(
                        "`{role}` and `{permission}`: {} by the policy, and the gate says otherwise",
                        if expected { "held" } else { "not held" }
                    )
                },
                &format!("roles.{role}.permissions"),
            )?;
            cells = cells.saturating_add(1);
        }
    }
    let plain: Vec<&String> = w.plain_role.iter().collect();
    set_roles(w, &plain).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{} roles and {} permissions: {cells} calls, each answered as the policy says",
            roles.len(),
            permissions.len()
        ),
    ))
}

async fn set_roles(w: &World, roles: &[&String]) -> Result<(), Short> {
    let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
    let by = By::operator();
    let accounts = &w.stores.identity.accounts;
    accounts
        .set_roles(w.people.other.id, &roles, &by)
        .await
        .map_err(said)?;
    // What the membership gives counts as well, so it gives nothing for now.
    let tenants = &w.stores.identity.tenants;
    tenants
        .set_roles(w.b.id, w.people.other.id, &[], &by)
        .await
        .map_err(said)
}

/// T3
pub(super) async fn dynamic(scene: &Scene) -> Probed {
    let w = scene.development().await?;
    let roles = w.config().access.roles();
    let permissions = w.permissions();
    let found = roles.keys().find_map(|role| {
        let held = held_by(&roles, Some(role));
        let plain = held_by(&roles, w.plain_role.as_deref());
        let more = permissions.iter().position(|name| {
            held.contains(&name.as_str())
                && !plain.contains(&name.as_str())
                && !has_all(&plain, name)
        })?;
        Some((role, more))
    });
    let Some((role, position)) = found else {
        return Err(Short::not_configured("a second role in [roles]"));
    };
    let path = format!("{BENCH}/may/{position}");
    let browser = w.signed_in(&w.people.other).await?;
    let passes = async || anyhow::Ok(browser.get(&path).send().await?.passed());
    let plain: Vec<&String> = w.plain_role.iter().collect();
    set_roles(w, &plain).await?;
    must(
        w.until(async || Ok(!passes().await?)).await?,
        || format!("without `{role}` the route is open"),
        ALWAYS,
    )?;
    set_roles(w, &[role]).await?;
    must(
        w.until(async || passes().await).await?,
        || format!("with `{role}` the route stays shut"),
        ALWAYS,
    )?;
    set_roles(w, &plain).await?;
    must(
        w.until(async || Ok(!passes().await?)).await?,
        || format!("after `{role}` was taken away the route is open"),
        ALWAYS,
    )?;
    let inherits = roles
        .values()
        .filter(|role| !role.inherits.is_empty())
        .count();
    let lent = lent(
        w,
        position,
        permissions.get(position).map_or("", String::as_str),
    )
    .await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "`{role}` given and taken away in an open session: the next requests follow; {inherits} roles inherit (see T2); {lent}"
        ),
    ))
}

/// An administrator lends a permission to a member who does not hold it, over the wire.
async fn lent(w: &World, position: usize, permission: &str) -> Result<String, Short> {
    let Some(admin) = &w.people.admin else {
        return Ok("there is no administrator who could lend".to_owned());
    };
    let (tenants, by) = (&w.stores.identity.tenants, By::operator());
    let path = format!("{BENCH}/may/{position}");
    let grants = base(&format!("/admin/v1/tenants/{}/grants", w.b.slug));
    tenants
        .set_roles(w.b.id, admin.id, &[], &by)
        .await
        .map_err(said)?;
    let mut lender = w.signed_in(admin).await?;
    let chosen = lender
        .change("POST", &crate::prove::world::auth("tenant"))
        .json(&serde_json::json!({ "tenant": w.b.slug }))
        .send()
        .await?;
    must(
        chosen.passed(),
        || format!("working in a tenant is answered {}", chosen.said()),
        ALWAYS,
    )?;
    let me = lender
        .get(&crate::prove::world::auth("me"))
        .send()
        .await?
        .json();
    lender.csrf = me
        .get("csrf_token")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let body = serde_json::json!({ "user_id": w.people.other.id.to_string(), "permission": permission, "expires_in": "5m" });
    let lent = lender.change("POST", &grants).json(&body).send().await?;
    if lent.status != 201 {
        tenants.remove(w.b.id, admin.id, &by).await.map_err(said)?;
        return Err(Short::not_proven(format!(
            "lending `{permission}` is answered {}",
            lent.said()
        )));
    }
    let browser = w.signed_in(&w.people.other).await?;
    let passes = async || anyhow::Ok(browser.get(&path).send().await?.passed());
    let during = w.until(async || passes().await).await?;
    let id = lent
        .json()
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let back = lender
        .change("DELETE", &format!("{grants}/{id}"))
        .send()
        .await?;
    let after = w.until(async || Ok(!passes().await?)).await?;
    tenants.remove(w.b.id, admin.id, &by).await.map_err(said)?;
    must(
        during && back.passed() && after,
        || {
            format!(
                "`{permission}` lent: open {during}; taken back ({}): shut {after}",
                back.said()
            )
        },
        ALWAYS,
    )?;
    Ok(format!(
        "`{permission}` lent opens the route, and taken back shuts it"
    ))
}

/// T4
pub(super) async fn tenants(scene: &Scene) -> Probed {
    let w = &scene.live;
    let browser = w.signed_in(&w.people.plain).await?;
    let mut seen = Vec::new();
    for sample in routes::of_policy(w) {
        let by_path = matches!(sample.route.tenant, Some(TenantAt::Path(_)));
        if !by_path || sample.is_public() || sample.route.host.is_some() {
            continue;
        }
        let foreign = sample.path.replace(&w.a.slug, &w.b.slug);
        for method in &sample.methods {
            let reply = browser.change(method, &foreign).send().await?;
            must(
                is_refusal(reply.status),
                || {
                    format!(
                        "{method} {foreign} by a member of another tenant is answered {}",
                        reply.said()
                    )
                },
                &format!("the route `{}`: tenant", sample.route.path),
            )?;
        }
        let plain = sample.route.allow == Some(Allow::User)
            && sample.takes("GET")
            && !sample.route.mfa
            && sample.route.consent.is_none()
            && sample
                .route
                .callers
                .contains(&portcullis_core::principal::CallerKind::User);
        if plain {
            let own = browser.get(&sample.path).send().await?;
            // The product may know nothing of this tenant: what counts is that the gate let it through.
            must(
                !own.problem().starts_with("tenant") && own.status != 401 && own.status != 403,
                || format!("a member's own tenant is answered {}", own.said()),
                &format!("the route `{}`: tenant", sample.route.path),
            )?;
        }
        seen.push(sample.route.path.clone());
    }
    let copy = scene.rehearsal()?;
    let other = copy.signed_in(&copy.people.other).await?;
    let path = format!("{BENCH}/orgs/{}", copy.a.slug);
    // Members of that tenant may have been there before.
    let before = copy.product()?.count(&path);
    let reply = other.get(&path).send().await?;
    must(
        reply.status == 404 && copy.product()?.count(&path) == before,
        || {
            format!(
                "in rehearsal another tenant's path is answered {}",
                reply.said()
            )
        },
        ALWAYS,
    )?;
    let own = other
        .get(&format!("{BENCH}/orgs/{}", copy.b.slug))
        .send()
        .await?;
    must(
        own.passed(),
        || {
            format!(
                "in rehearsal a member's own tenant is answered {}",
                own.said()
            )
        },
        ALWAYS,
    )?;
    let routes = if seen.is_empty() {
        "no route of the policy names a tenant in its path".to_owned()
    } else {
        seen.join(", ")
    };
    let place = if seen.is_empty() {
        Place::Rehearsal
    } else {
        Place::Gate
    };
    Ok(Held::at(
        place,
        format!(
            "{routes}: another tenant's is refused; in rehearsal it is 404 and the product sees nothing, one's own passes"
        ),
    ))
}

/// T5
pub(super) async fn owners(scene: &Scene) -> Probed {
    let w = scene.development().await?;
    let own = |account: &crate::prove::world::Account| format!("{BENCH}/owned/{}", account.id);
    let roles = w.config().access.roles();
    let has_own = roles
        .values()
        .flat_map(|role| &role.permissions)
        .any(|name| name.ends_with(":own"));
    if !has_own {
        return Err(Short::not_configured(
            "roles.NAME.permissions = [\"read:own\"]",
        ));
    }
    let browser = w.signed_in(&w.people.plain).await?;
    let mine = browser.get(&own(&w.people.plain)).send().await?;
    must(
        mine.passed(),
        || format!("one's own record is answered {}", mine.said()),
        "allow = { action = .., owner = .. }",
    )?;
    let theirs = browser.get(&own(&w.people.other)).send().await?;
    must(
        is_refusal(theirs.status) && w.product()?.count(&own(&w.people.other)) == 0,
        || format!("somebody else's record is answered {}", theirs.said()),
        "allow = { action = .., owner = .. }",
    )?;
    let admin = match &w.people.admin {
        None => "there is no administrator".to_owned(),
        Some(admin) => {
            let browser = w.signed_in(admin).await?;
            let reply = browser.get(&own(&w.people.other)).send().await?;
            let action = roles
                .values()
                .flat_map(|role| &role.permissions)
                .find_map(|name| name.strip_suffix(":own"))
                .unwrap_or_default();
            let held = held_by(&roles, w.admin_role.as_deref());
            let expected = held.contains(&format!("{action}:all").as_str());
            must(
                reply.passed() == expected,
                || {
                    format!(
                        "an administrator is answered {}, and `{action}:all` is {}",
                        reply.said(),
                        if expected { "held" } else { "not held" }
                    )
                },
                "roles.NAME.permissions",
            )?;
            format!("an administrator: {}", reply.said())
        }
    };
    let live = routes::of_policy(&scene.live);
    let owned = live
        .iter()
        .filter(|sample| matches!(sample.route.allow, Some(Allow::Owned { .. })))
        .count();
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "one's own record passes, another's {} and the product sees nothing; {admin}; {owned} routes of the policy are bound so",
            theirs.said()
        ),
    ))
}
