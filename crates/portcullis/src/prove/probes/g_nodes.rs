//! g. Rate limits over several nodes (L6).

use std::fmt::Write as _;

use portcullis_core::Secret;

use super::g_limits::exhaust;
use crate::prove::Scene;
use crate::prove::hostile::Hostile;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::rehearsal::{Copy, Folder};
use crate::prove::wire::{Addresses, Target};
use crate::prove::world::{World, auth, stranger};

/// L6
pub(super) async fn shared(scene: &Scene) -> Probed {
    let w = &scene.live;
    Hostile::sound()?.is_taken().await?;
    let nodes = Hostile::sound()?
        .with("\n[state]\nnodes = 2\n")
        .is_refused_for("state.redis")
        .await?;
    if w.target.has_addresses() && w.target.addresses == Addresses::Loopback {
        let from = w.target.fresh();
        let ask = |number: u32| {
            let ask = w
                .target
                .ask("POST", &auth("login"))
                .from(from)
                .header("origin", &w.target.origin);
            let claimed = format!("203.0.113.{}", number % 250);
            ask.header("x-forwarded-for", &claimed)
                .header("forwarded", &format!("for={claimed}"))
                .header("x-real-ip", &claimed)
                .json(&stranger())
        };
        let (passed, refused) = exhaust(80, ask).await?;
        must(
            refused.is_some(),
            || format!("{passed} sign-ins that claim another address each, and none refused"),
            "[listen] trusted-proxies: only your own",
        )?;
    }
    let how = match &w.stores.loaded.secrets.redis {
        Some(redis) => {
            must(
                counters_are_shared(w).await?,
                || "Redis is configured and does not answer".to_owned(),
                "state.redis",
            )?;
            let said = between_two_nodes(w, redis).await?;
            format!("{} nodes count in Redis: {said}", w.config().state.nodes)
        }
        None => format!("{} node counts in memory", w.config().state.nodes),
    };
    must(
        w.stores.loaded.secrets.redis.is_some() || w.config().state.nodes <= 1,
        || "several nodes, and no Redis".to_owned(),
        "state.redis",
    )?;
    Ok(Held::at(
        Place::Gate,
        format!(
            "{how}; claimed addresses in headers make no fresh budget; two nodes without Redis do not start ({nodes})"
        ),
    ))
}

/// Two gates of the probe's own at the same Redis, under a name of their own there: what is used up at one is
/// used up at the other.
async fn between_two_nodes(w: &World, redis: &Secret) -> Result<String, Short> {
    const MOST: u32 = 3;
    let random = portcullis_vault::tokens::random::<8>();
    let random = random.map_err(|error| Short::not_proven(error.to_string()))?;
    let mut state = format!(
        "redis = {{ file = \"redis\" }}\nredis-namespace = \"prove-{}\"\n",
        hex::encode(random)
    );
    if let Some(ca) = &w.config().state.redis_ca {
        let _ = writeln!(state, "redis-ca = {:?}", ca.display().to_string());
    }
    let text = format!(
        "mode = \"development\"\n[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\nlevel = \"info\"\n[secrets]\nmaster = {{ file = \"master\" }}\n[state]\n{state}[limits.auth]\nrate = \"{MOST}/hour\"\n[upstream.app]\nurl = \"http://127.0.0.1:9\"\n"
    );
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let folder = Folder::new()?;
        let master = portcullis_vault::Token::generate();
        let master = master.map_err(|error| Short::not_proven(error.to_string()))?;
        folder.write("master", master.text().expose())?;
        folder.write("redis", redis.expose())?;
        nodes.push(Copy::with(folder, &text).await?);
    }
    let mut answers = Vec::new();
    for node in &nodes {
        let host = node.address.to_string();
        let origin = format!("http://{host}");
        let target = Target::new(node.address, host, origin, Addresses::One);
        for _ in 0..MOST {
            let ask = target.ask("POST", &auth("login"));
            let ask = ask.header("origin", &target.origin).json(&stranger());
            answers.push(ask.send().await?.status);
        }
    }
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let (first, second) = answers.split_at(most.min(answers.len()));
    must(
        !first.contains(&429) && second.iter().all(|status| *status == 429),
        || {
            format!(
                "{MOST} sign-ins that one node admits, and another one answers the next {second:?}"
            )
        },
        "state.redis",
    )?;
    Ok(format!(
        "{MOST} sign-ins at one node of a rehearsal leave none at another"
    ))
}

pub(super) async fn counters_are_shared(w: &World) -> anyhow::Result<bool> {
    let page = w.of_admin("/metrics").await?.text();
    let mut lines = page
        .lines()
        .filter(|line| line.starts_with("portcullis_dependency_up{dependency=\"redis\"}"));
    Ok(lines.next().is_none_or(|line| line.ends_with(" 1")))
}
