//! r. Deployment. What is outside of the process is not seen from inside.

use std::net::IpAddr;

use portcullis_core::Mode;
use portcullis_store::Engine;

use crate::confinement::{By, Confinement};
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::{BENCH, program};

/// D1
pub(super) async fn container(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let copy = w
        .copy
        .as_ref()
        .ok_or_else(|| Short::not_proven("there is no copy"))?;
    let health = scene.live.of_admin("/health").await?;
    must(
        health.status == 200,
        || format!("/health is answered {}", health.said()),
        "[admin] address",
    )?;
    // The health check of a container: exit code 0 where a gate stands, 1 where none does.
    let nobody = program(&copy.config())?.arg("health").output().await?;
    must(
        !nobody.status.success(),
        || "`portcullis health` says 0 of an address where nothing listens".to_owned(),
        "no key turns this off",
    )?;
    let page = scene.live.of_admin("/metrics").await?.text();
    let confined = Confinement::decode(&page).ok_or_else(|| {
        Short::not_proven("the gate does not say what it may do here: its metrics have no `portcullis_process_confined`")
    })?;
    let said = as_nobody(&confined, scene.live.config().mode)?;
    Ok(Held::at(
        Place::Gate,
        format!("{said}; `portcullis health` fails where no gate stands"),
    ))
}

/// What is said of a process that may as little as it can.
fn as_nobody(confined: &Confinement, mode: Mode) -> Result<String, Short> {
    let is_nobody = confined.is_held(By::User) && confined.is_held(By::Capabilities);
    if !is_nobody && mode == Mode::Development {
        return Err(Short::not_proven(
            "this gate runs as root or with its capabilities, in development mode: start it as another user",
        ));
    }
    must(
        is_nobody,
        || "the process that answers runs as root, or with root's capabilities".to_owned(),
        "start it as another user: `USER` of the image, `User=` of the unit, `runAsNonRoot` of the pod",
    )?;
    let mut said = "the process that answers is not root and has no capabilities".to_owned();
    if confined.is_held(By::Privileges) {
        said.push_str("; it can gain no privileges");
    }
    if confined.is_held(By::Root) {
        said.push_str("; the root of its file system is read-only");
    }
    Ok(said)
}

/// D2
pub(super) fn network(scene: &Scene) -> Probed {
    let url = scene.live.database().map(|url| url.expose().clone());
    let url = url.unwrap_or_default();
    match scene.live.stores.db.engine() {
        Engine::Sqlite if scene.live.stores.loaded.secrets.redis.is_none() => Ok(Held::at(
            Place::State,
            "the database is a file and counters are memory: no port of either is open anywhere",
        )),
        Engine::Sqlite | Engine::Postgres => {
            let host = url::Url::parse(&url)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
                .unwrap_or_default();
            Err(Short::not_proven(format!(
                "whether anybody else reaches the database at `{host}`, or Redis, cannot be seen from here"
            )))
        }
    }
}

/// D3. Beside the product: what goes between the two is seen by nobody, and nobody comes to the product but
/// through the gate.
pub(super) async fn hosting(scene: &Scene) -> Probed {
    let mut seen = Vec::new();
    for (name, upstream) in &scene.live.config().upstreams {
        let remedy = format!("[upstream.{name}] url");
        let url = url::Url::parse(&upstream.url)
            .map_err(|error| Short::not_proven(format!("`{name}`: {error}")))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Short::not_proven(format!("`{name}` names no host")));
        };
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await;
        let found: Vec<IpAddr> = found
            .map_err(|error| Short::not_proven(format!("`{name}`: {host} is not found: {error}")))?
            .map(|address| address.ip())
            .collect();
        let Some(outside) = found.iter().find(|address| !is_inside(**address)) else {
            seen.push(format!("`{name}` at {host}"));
            continue;
        };
        must(
            url.scheme() == "https",
            || {
                format!(
                    "what goes to `{name}` crosses other people's networks in the clear: {outside} is none of one's own"
                )
            },
            &remedy,
        )?;
        return Err(Short::not_proven(format!(
            "`{name}` has an address that everybody reaches ({outside}); that it answers nobody but the gate cannot be seen from here: it has to verify the assertion"
        )));
    }
    Ok(Held::at(
        Place::State,
        format!(
            "the gate stands beside the product: {}, which nobody reaches from outside",
            seen.join(", ")
        ),
    ))
}

/// This machine, or a network of one's own (RFC 1918, RFC 4193, link-local).
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// D4
pub(super) async fn pool(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    // Each cookie is one that memory does not know: the database has to be asked.
    let mut asked = Vec::new();
    for _ in 0..80 {
        let token = portcullis_vault::Token::generate()
            .map_err(|error| Short::not_proven(error.to_string()))?;
        let cookie = format!("{}={}", w.session_cookie(), token.text().expose());
        asked.push(async move {
            w.target
                .get(&format!("{BENCH}/user"))
                .header("cookie", &cookie)
                .send()
                .await
        });
    }
    let replies = futures_util::future::join_all(asked).await;
    let mut statuses = Vec::new();
    for reply in replies {
        statuses.push(reply?.status);
    }
    let good = statuses.iter().filter(|status| **status == 401).count();
    must(
        good == statuses.len(),
        || format!("of 80 at once only {good} are answered 401"),
        "[state] readers, connections",
    )?;
    let state = &scene.live.config().state;
    let size = match scene.live.stores.db.engine() {
        Engine::Sqlite => format!("{} readers", state.readers),
        Engine::Postgres => {
            const SQL: &str = "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = current_user AND datname = current_database()";
            let row = scene.live.stores.db.fetch_optional(SQL, &[]).await?;
            let open = row.map_or(Ok(0), |row| row.int("n"))?;
            format!("{} connections, {open} open", state.connections)
        }
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "80 requests at once that each ask the database: all answered; the gate's own pool is {size}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ones_own_is_inside_and_nothing_else_is() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.7.7", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("172.32.0.1", false),
            ("203.0.113.7", false),
            ("100.64.0.1", false),
            ("2001:db8::1", false),
            ("::ffff:8.8.8.8", false),
        ] {
            assert_eq!(is_inside(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn root_is_a_finding_in_production_and_no_proof_in_development() {
        let nobody = Confinement::of(&[By::User, By::Capabilities, By::Root]);
        for mode in [Mode::Development, Mode::Production] {
            let said = as_nobody(&nobody, mode).unwrap();
            assert!(
                said.contains("read-only") && !said.contains("gain"),
                "{said}"
            );
        }
        for by in [By::User, By::Capabilities] {
            let held = Confinement::of(&[by, By::Privileges, By::Root]);
            let failed = as_nobody(&held, Mode::Production);
            assert!(matches!(failed, Err(Short::Failed { .. })), "{failed:?}");
            let open = as_nobody(&held, Mode::Development);
            assert!(matches!(open, Err(Short::NotProven { .. })), "{open:?}");
        }
    }
}
