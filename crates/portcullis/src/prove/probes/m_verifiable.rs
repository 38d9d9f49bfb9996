//! m. The trail, verified by somebody else (A7), and kept for as long as the policy says.

use portcullis_core::{Span, Timestamp};
use portcullis_events::audit::Report;
use portcullis_events::audit::checkpoint::Checkpoint;
use portcullis_events::audit::tiles::Resource;
use portcullis_events::audit::tree::{self, Tiles};
use portcullis_events::{Action, Event};
use portcullis_vault::tokens::random;

use super::m_audit::{ON, recorded};
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::probe::{Held, Place, Probed, Short, must};
use crate::prove::product::Product;
use crate::prove::rehearsal::{Copy, Folder, program};
use crate::prove::world::{World, base, until};
use crate::verbs::{self, Stores, now};

/// Who reads the trail.
const READ: &str = "manage:audit";
/// More events than this are not read one by one by a probe.
const MOST: u64 = 300_000;
/// What `audit.keep` is in the rehearsal of it, and how old what is planted is.
const KEEP: &str = "30d";
const OLD: Span = Span::from_days(40);
/// Old events that are planted.
const PLANTED: u64 = 5;
/// The rule takes a day's worth together; the rest is for clocks and for when it looks.
const SLACK: Span = Span::from_days(2);
const HEARD_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);
const RESTORE: &str = "restore the last backup whose log `audit verify --checkpoint` accepts";

fn trail(error: &portcullis_events::audit::Error) -> Short {
    Short::not_proven(format!("the trail: {error}"))
}

/// A7
pub(super) async fn verifiable(scene: &Scene) -> Probed {
    let w = &scene.live;
    let offline = by_somebody_else(w).await?;
    let tiles = by_tiles(w).await?;
    let whole = whole(w).await?;
    let kept = within_retention(w).await?;
    let retained = Box::pin(rehearsed(&scene.product)).await?;
    Ok(Held::at(
        Place::State,
        format!("{offline}; {tiles}; {whole}; {kept}; {retained}"),
    ))
}

/// An event of this run is in the signed log, by the running gate's doing; whoever has the log's key finds that
/// out without the database, and finds a changed letter as well.
async fn by_somebody_else(w: &World) -> Result<String, Short> {
    w.signed_in(&w.people.plain).await?;
    recorded(w, Action::LoginSucceeded).await?;
    let events = w.events(Action::LoginSucceeded).await?;
    let event = events
        .first()
        .ok_or_else(|| Short::not_proven("no event to prove"))?;
    let log = &w.stores.identity.audit_log;
    let mut proof = None;
    // SECURITY: nothing here gives events their place. That is the running gate's to do.
    until(HEARD_WITHIN, &mut async || {
        proof = log.prove(event.id, None).await?;
        Ok(proof.is_some())
    })
    .await?;
    let proof = proof.ok_or_else(|| {
        Short::failed(
            "an event of this run has no place in the signed log",
            "is the gate that runs this one? its log says why",
        )
    })?;
    let keys = log.verifiers().await.map_err(|error| trail(&error))?;
    let key = keys
        .first()
        .ok_or_else(|| Short::not_proven("the log has no key"))?;
    let text = proof.text();
    must(
        accepted(&text, &key.to_string()).await?,
        || "`audit verify --proof` refuses the proof of an event".to_owned(),
        RESTORE,
    )?;
    let entry = String::from_utf8_lossy(&proof.entry).into_owned();
    let mut other = proof.clone();
    other.entry = entry.replace("allowed", "refused").into_bytes();
    must(
        !accepted(&other.text(), &key.to_string()).await?,
        || "`audit verify --proof` accepts an event of which a word was changed".to_owned(),
        "this program is not the one that was released",
    )?;
    Ok(format!(
        "event {} is leaf {} of the signed log: verified without the database by its key, and refused with a word changed",
        event.id, proof.index
    ))
}

/// Whether this program accepts a proof, as somebody would ask it who has the log's key and nothing else.
async fn accepted(text: &str, key: &str) -> anyhow::Result<bool> {
    let folder = Folder::new()?;
    folder.write("event.tlog-proof", text)?;
    let file = folder.path().join("event.tlog-proof");
    let output = program(&folder.path().join("none.toml"))?
        .args(["audit", "verify", "--key", key, "--proof"])
        .arg(file)
        .output()
        .await?;
    Ok(output.status.success())
}

/// The running gate hands out tiles from which the root of its own checkpoint is computed, and a proof.
async fn by_tiles(w: &World) -> Result<String, Short> {
    if !w.gives(READ) {
        return Ok(format!("no role gives `{READ}`: tiles are read by nobody"));
    }
    let key = w.key(&[READ], None).await?;
    let key = key.text.expose();
    let get = async |path: &str| {
        let reply = w.target.get(&base(&format!("/admin/v1/audit/{path}")));
        reply.bearer(key).send().await
    };
    let said = get("checkpoint").await?;
    let keys = w.stores.identity.audit_log.verifiers().await;
    let keys = keys.map_err(|error| trail(&error))?;
    let checkpoint = Checkpoint::verify(&said.text(), &keys).map_err(|error| {
        let what = format!("the checkpoint is answered {}: {error}", said.said());
        Short::failed(what, ON)
    })?;
    let size = checkpoint.size;
    let (mut tiles, mut read) = (Tiles::default(), 0_u32);
    // From the first leaf and the last, as a reader who checks one event.
    for place in tree::needed(size, &[0]) {
        let Some(resource) = Resource::of(place, size) else {
            continue;
        };
        let reply = get(&format!("tile/{resource}")).await?;
        must(
            reply.status == 200,
            || format!("tile/{resource} is answered {}", reply.said()),
            ON,
        )?;
        tiles.put(place, &reply.body);
        read = read.saturating_add(1);
    }
    let leaf = tiles.leaf(0).zip(tiles.inclusion(0, size));
    must(
        tiles.root(size) == Some(checkpoint.root)
            && leaf.is_some_and(|(leaf, path)| {
                tree::verify_inclusion(0, size, leaf, &path, &checkpoint.root)
            }),
        || "the tiles that the gate hands out do not lead to the root that it signed".to_owned(),
        RESTORE,
    )?;
    Ok(format!(
        "{read} of its tiles lead to the root of {size} leaves that it signed"
    ))
}

/// Who signed beside the gate; that enough did and nobody contradicts is a finding of the whole.
fn by_witnesses(w: &World, report: &Report) -> Result<String, Short> {
    let Some(standing) = &report.standing else {
        return Ok("no witness is asked (`[[audit.witness]]`)".to_owned());
    };
    let oldest = now() - w.config().audit.witness_alert_after;
    let recent = standing
        .signed
        .iter()
        .filter(|one| one.at >= oldest)
        .count();
    must(
        recent >= standing.wanted,
        || {
            format!(
                "{recent} witnesses signed lately, and {} are wanted",
                standing.wanted
            )
        },
        "[[audit.witness]]: `portcullis audit witness` asks each one",
    )?;
    Ok(format!(
        "{recent} of {} witnesses signed lately, {} are wanted, the first {} leaves are under so many",
        standing.witnesses, standing.wanted, standing.covered
    ))
}

/// Every row of the gate's own trail against the signed head.
async fn whole(w: &World) -> Result<String, Short> {
    let log = &w.stores.identity.audit_log;
    let checkpoint = log.checkpoint().await.map_err(|error| trail(&error))?;
    let size = checkpoint
        .as_deref()
        .and_then(|text| text.lines().nth(1)?.parse::<u64>().ok());
    let size = size.ok_or_else(|| Short::failed("the log has no signed head", ON))?;
    if size > MOST {
        return Ok(format!(
            "{size} events are more than a probe reads: `portcullis audit verify` does"
        ));
    }
    let report = log.verify(None).await.map_err(|error| trail(&error))?;
    must(
        report.holds(),
        || {
            let first = report.findings.first().map(|found| found.what.as_str());
            format!(
                "the trail is not what was signed: {} ({} findings)",
                first.unwrap_or_default(),
                report.findings.len()
            )
        },
        RESTORE,
    )?;
    let witnesses = by_witnesses(w, &report)?;
    Ok(format!(
        "all {} rows are what was signed; {witnesses}",
        report.held
    ))
}

/// What the gate's own trail has is no older than its rule says.
async fn within_retention(w: &World) -> Result<String, Short> {
    const OLDEST: &str = "SELECT min(at) AS at FROM audit_event";
    let row = w.stores.db.fetch_optional(OLDEST, &[]).await?;
    let oldest = row.map(|row| row.opt_timestamp("at")).transpose()?;
    let oldest = oldest.flatten().unwrap_or_else(now);
    let Some(keep) = w.config().audit.keep else {
        return Ok(format!(
            "`audit.keep` is not set: everything is kept, from {oldest} on"
        ));
    };
    must(
        oldest >= now() - keep - SLACK,
        || format!("`audit.keep` is {keep}, and there is an event of {oldest}"),
        "the log of the gate says why it is not removed",
    )?;
    Ok(format!(
        "`audit.keep` is {keep}, and the oldest event is of {oldest}"
    ))
}

/// A gate of its own that keeps events for thirty days, and finds older ones.
async fn rehearsed(product: &Product) -> Result<String, Short> {
    let folder = Folder::new()?;
    let random = random::<32>().map_err(|error| Short::not_proven(error.to_string()))?;
    folder.write("master", &hex::encode(random))?;
    let text = format!(
        "mode = \"development\"\n\n[listen]\naddress = \"127.0.0.1:0\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[secrets]\nmaster = {{ file = \"master\" }}\n\n[state]\ndatabase = \"sqlite://kept.db\"\n\n[log]\nformat = \"json\"\n\n[audit]\nkeep = \"{KEEP}\"\n\n[upstream.app]\nurl = \"{}\"\n\n[[route]]\npath = \"/\"\nallow = \"public\"\n",
        product.url()
    );
    folder.write("portcullis.toml", &text)?;
    let file = folder.path().join("portcullis.toml");
    let open = async || {
        let (loaded, keys) = verbs::sound(&file, Environment::default())?;
        Stores::open(loaded, &keys).await
    };
    let stores = open().await?;
    let planted = async {
        for number in 0..PLANTED {
            let at =
                Timestamp::from_micros((now() - OLD).as_micros().saturating_add_unsigned(number));
            plant(&stores, at).await?;
        }
        stores.identity.audit_log.sequence().await?;
        plant(&stores, now()).await?;
        stores.identity.audit_log.sequence().await?;
        anyhow::Ok(())
    };
    let planted = planted.await;
    stores.close().await;
    planted?;
    let gate = Copy::with(folder, &text).await?;
    let stores = open().await?;
    let told = retained(&stores).await;
    stores.close().await;
    drop(gate);
    told
}

async fn plant(stores: &Stores, at: Timestamp) -> anyhow::Result<()> {
    let event = Event::new(
        at,
        Action::LoginFailed,
        portcullis_events::audit::Outcome::Denied,
    );
    Ok(stores.trail.record(event).await?)
}

/// What is old is gone, what is not is there, the log still verifies; and it does not when a row is changed by
/// somebody who gets round the table's triggers.
async fn retained(stores: &Stores) -> Result<String, Short> {
    const LEFT: &str = "SELECT count(*) AS n FROM audit_event WHERE action = 'login.failed'";
    let log = &stores.identity.audit_log;
    let mut left = 0;
    until(HEARD_WITHIN, &mut async || {
        let row = stores.db.fetch_optional(LEFT, &[]).await?;
        left = row.map_or(Ok(0), |row| row.int("n"))?;
        Ok(left == 1)
    })
    .await?;
    must(
        left == 1,
        || {
            format!(
                "with `audit.keep` {KEEP}, {left} events are left of {PLANTED} of {OLD} ago and one of now"
            )
        },
        "[audit] keep",
    )?;
    // That they were removed is an event itself, which is signed within about a second.
    let mut report = Report::default();
    until(HEARD_WITHIN, &mut async || {
        report = log.verify(None).await?;
        Ok(report.holds() && report.past_retention == PLANTED)
    })
    .await?;
    must(
        report.holds() && report.past_retention == PLANTED,
        || format!("after the rule, the log does not verify: {report}"),
        "[audit] keep",
    )?;
    let mut tx = stores.db.begin().await?;
    for sql in [
        "DROP TRIGGER audit_event_refuse_update",
        "UPDATE audit_event SET outcome = 'allowed' WHERE action = 'login.failed'",
    ] {
        tx.execute(sql, &[]).await?;
    }
    tx.commit().await?;
    let report = log.verify(None).await.map_err(|error| trail(&error))?;
    must(
        !report.holds(),
        || "a row that was changed behind the triggers is not found".to_owned(),
        "this program is not the one that was released",
    )?;
    Ok(format!(
        "in rehearsal `audit.keep` takes {PLANTED} events of {OLD} ago and leaves the rest, the log verifies, and a row changed behind the triggers is found"
    ))
}
