//! r. Deployment. What is outside of the process is not seen from inside.

use portcullis_store::Engine;

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
    Err(Short::not_proven(
        "`/health` answers and `portcullis health` fails where no gate stands; that the container runs as nobody cannot be seen from here",
    ))
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

/// D3
pub(super) fn hosting(_scene: &Scene) -> Probed {
    Err(Short::not_proven(
        "where the gate is hosted cannot be seen from inside",
    ))
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
