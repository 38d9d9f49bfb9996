//! i. Data keys: what they seal under, when they are replaced, and what somebody has who has the database alone (E5).

use portcullis_core::Span;
use portcullis_identity::tenants::register::Tenant;
use portcullis_vault::fields::{self, MARK};
use portcullis_vault::kek::KekKind;
use portcullis_vault::tokens::random;
use serde_json::{Value, json};

use super::d_api_keys::{field, vault, vault_key};
use crate::config::document::Environment;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::rehearsal::{Copy, Folder, program};
use crate::prove::world::World;
use crate::vault_api::{OPEN, SEAL};
use crate::verbs::{self, Stores, now};

const ON: &str = "[vault] rotate-keys-after";
/// What a sealed value says of its key in the open: 16 bytes in base64url, whole letters.
const NAME: usize = 21;
/// Whose value is destroyed: the running gate forgets every key that it remembers, and reads the table again.
const GONE: &str = "prove-e5";

/// One value, sealed over the wire.
pub(super) struct Sealed {
    text: String,
    value: &'static str,
}

impl Sealed {
    /// The key that sealed it.
    fn key(&self) -> String {
        self.text
            .chars()
            .take(MARK.len().saturating_add(NAME))
            .collect()
    }
}

/// One item of a call, with what else is said of it.
fn item(more: &[(&str, &str)]) -> Value {
    let mut item = json!({ "table": "prove", "field": "e5", "row": "1" });
    for (name, value) in more {
        if let Some(item) = item.as_object_mut() {
            item.insert((*name).to_owned(), json!(value));
        }
    }
    item
}

/// What asks a gate to seal and to open.
pub(super) struct Desk<'w> {
    w: &'w World,
    key: String,
}

impl<'w> Desk<'w> {
    /// In one tenant.
    pub(super) async fn at(w: &'w World, tenant: &Tenant) -> Result<Self, Short> {
        // What the policy lacks for it is told by this.
        vault_key(w).await?;
        let made = w.key(&[SEAL, OPEN], Some(tenant)).await?;
        let key = made.text.expose().clone();
        Ok(Desk { w, key })
    }

    pub(super) async fn seal(
        &self,
        value: &'static str,
        subject: Option<&str>,
    ) -> Result<Sealed, Short> {
        let mut more = vec![("value", value)];
        more.extend(subject.map(|subject| ("subject", subject)));
        let reply = vault(self.w, &self.key, "seal", &item(&more)).await?;
        let text = field(&reply, "sealed");
        must(
            text.starts_with(MARK),
            || format!("sealing is answered {}", reply.said()),
            "[vault]",
        )?;
        Ok(Sealed { text, value })
    }

    pub(super) async fn opens(&self, sealed: &Sealed) -> anyhow::Result<bool> {
        let item = item(&[("sealed", &sealed.text)]);
        let reply = vault(self.w, &self.key, "open", &item).await?;
        Ok(field(&reply, "value") == sealed.value)
    }

    /// Destroys the keys of somebody, as an operator does, and sees that the running gate has heard of it.
    async fn destroys(&self) -> Result<(), Short> {
        let sealed = self.seal("somebody who goes", Some(GONE)).await?;
        must(
            self.opens(&sealed).await?,
            || "what was sealed for somebody does not open".to_owned(),
            ALWAYS,
        )?;
        let tenant = self.w.a.id.to_string();
        let copy = self.w.copy.as_ref();
        let copy = copy.ok_or_else(|| Short::not_proven("there is no copy"))?;
        let output = program(&copy.config())?
            .args(["vault", "destroy", "--tenant", &tenant])
            .args(["--subject", GONE, "--yes"])
            .output()
            .await?;
        must(
            output.status.success(),
            || {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                format!("`vault destroy`: {}", why.trim())
            },
            ALWAYS,
        )?;
        let lost = self.w.until(async || Ok(!self.opens(&sealed).await?));
        must(
            lost.await?,
            || "what a destroyed key sealed still opens".to_owned(),
            ALWAYS,
        )
    }
}

/// E5
pub(super) async fn data_keys(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let desk = Desk::at(w, &w.a).await?;
    let first = desk.seal("before the rotation", None).await?;
    let fields = &w.stores.identity.vault.fields;
    let rotated = fields.rotate(Some(w.a.id)).await;
    let rotated = rotated.map_err(|error| Short::not_proven(error.to_string()))?;
    must(rotated > 0, || "no key was replaced".to_owned(), ALWAYS)?;
    desk.destroys().await?;
    let second = desk.seal("after the rotation", None).await?;
    must(
        second.key() != first.key(),
        || "after a rotation the old key seals on".to_owned(),
        ALWAYS,
    )?;
    let after = scheduled(&desk, &second).await?;
    let third = desk.seal("by a new key", None).await?;
    for sealed in [&first, &second, &third] {
        must(
            desk.opens(sealed).await?,
            || {
                format!(
                    "after two rotations the value of `{}` does not open",
                    sealed.value
                )
            },
            ALWAYS,
        )?;
    }
    let wrapped = Box::pin(wrapped(w, &third)).await?;
    let live = at_the_gate(&scene.live).await?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "a key is replaced by command, and by itself when it has sealed for {after}; what all of them sealed opens, and what a destroyed one sealed does not; {wrapped}; {live}"
        ),
    ))
}

/// A key that has sealed for as long as it may, by the row that says so, seals no more.
async fn scheduled(desk: &Desk<'_>, before: &Sealed) -> Result<Span, Short> {
    const AGE: &str = "UPDATE data_key SET created_at = created_at - $2 WHERE tenant = $1";
    let w = desk.w;
    let after = w
        .config()
        .vault
        .clone()
        .unwrap_or_default()
        .rotate_keys_after;
    let same = desk.seal("by the same key", None).await?;
    must(
        same.key() == before.key(),
        || "keys are replaced before their time".to_owned(),
        ON,
    )?;
    let tenant = w.a.id.to_string();
    let ago = after
        .as_micros()
        .saturating_add(Span::from_minutes(1).as_micros());
    let mut tx = w.stores.db.begin().await?;
    tx.execute(AGE, &[(&tenant).into(), ago.into()]).await?;
    tx.commit().await?;
    desk.destroys().await?;
    let next = desk.seal("when its time is over", None).await?;
    must(
        next.key() != before.key(),
        || format!("a key that has sealed for more than {after} seals on"),
        ON,
    )?;
    Ok(after)
}

/// Whoever has every file but the master secret opens nothing; with it, everything.
async fn wrapped(w: &World, sealed: &Sealed) -> Result<String, Short> {
    let copy = w.copy.as_ref();
    let copy = copy.ok_or_else(|| Short::not_proven("there is no copy"))?;
    let folder = Folder::new()?;
    {
        // Nobody writes meanwhile: the copy is of one moment.
        let _still = w.stores.db.begin().await?;
        files(copy, &folder)?;
    }
    let place = fields::Place {
        tenant: Some(w.a.id),
        table: "prove",
        field: "e5",
        row: "1",
    };
    let opens = async || {
        let file = folder.path().join("portcullis.toml");
        let (loaded, keys) = verbs::sound(&file, Environment::default())?;
        let stores = Stores::open(loaded, &keys).await?;
        let opened = stores
            .identity
            .vault
            .fields
            .open(&place, &sealed.text)
            .await;
        stores.close().await;
        anyhow::Ok(opened.is_ok_and(|text| text.expose() == sealed.value.as_bytes()))
    };
    if !Box::pin(opens()).await? {
        return Err(Short::not_proven(
            "a copy of the files does not open what they sealed",
        ));
    }
    let other = random::<32>().map_err(|error| Short::not_proven(error.to_string()))?;
    folder.write("master", &hex::encode(other))?;
    must(
        !Box::pin(opens()).await?,
        || "a copy of the database opens without the master secret".to_owned(),
        ALWAYS,
    )?;
    Ok("a copy of the database opens with the master secret, and not with another: the keys in it are wrapped".to_owned())
}

fn files(copy: &Copy, to: &Folder) -> std::io::Result<()> {
    for entry in std::fs::read_dir(copy.folder.path())? {
        let entry = entry?;
        // What SQLite shares in memory is for those who have this very file open.
        let is_shared = entry.file_name().to_string_lossy().ends_with("-shm");
        if entry.file_type()?.is_file() && !is_shared {
            std::fs::copy(entry.path(), to.path().join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What the gate itself seals with now.
async fn at_the_gate(live: &World) -> Result<String, Short> {
    const NEWEST: &str = "SELECT created_at FROM data_key WHERE tenant = $1 AND subject = '' AND purpose = 'seal' ORDER BY version DESC LIMIT 1";
    let desk = Desk::at(live, &live.a).await?;
    desk.seal("at the gate", None).await?;
    let tenant = live.a.id.to_string();
    let args = [(&tenant).into()];
    let row = live.stores.db.fetch_optional(NEWEST, &args).await?;
    let row = row.ok_or_else(|| Short::not_proven("what the gate seals with is in no row"))?;
    let since = row.timestamp("created_at")?;
    let after = live
        .config()
        .vault
        .clone()
        .unwrap_or_default()
        .rotate_keys_after;
    // A node takes the newest key that it knows for the newest there is, for a minute.
    must(
        now() - Span::from_minutes(2) < since + after,
        || format!("the gate seals with a key of {since}, older than {after}"),
        ON,
    )?;
    let kek = live.config().kek.kind;
    // A rehearsal has no service to ask, and a secret of its own.
    let unseen = match kek {
        KekKind::Master | KekKind::Secret => "",
        KekKind::Transit | KekKind::AwsKms => {
            ", which holds its key where no probe sees it: `doctor` wraps and unwraps with it"
        }
    };
    Ok(format!(
        "the gate itself seals with a key of {since}, under the KEK `{kek}`, for {after}{unseen}"
    ))
}
