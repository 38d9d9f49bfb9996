//! What somebody does to a stored file, in the folder or in the database: nobody gets it as a whole answer.

use std::path::PathBuf;

use super::audited;
use super::stored::{MAY, builder, content, keep, permit, stored};
use crate::support::{Gateway, Upstream, clamd, database};
use crate::vault::key;

const CHUNK: usize = 64 * 1024;
const SEALED: usize = CHUNK + 16;

struct Kept {
    gateway: Gateway,
    key: String,
    id: String,
    file: PathBuf,
    plain: Vec<u8>,
}

impl Kept {
    /// Four chunks, the last one short.
    async fn new() -> (Kept, Upstream) {
        let upstream = Upstream::start().await;
        let gateway = builder(&upstream, &clamd::shared(), "").await.start().await;
        let key = key(&gateway, &MAY, None);
        let plain: Vec<u8> = (0..3 * CHUNK + 1000)
            .map(|at| b'a' + u8::try_from(at / CHUNK).unwrap())
            .collect();
        let id = keep(&gateway, &upstream, &plain).await;
        let file = stored(&gateway).remove(0);
        let kept = Kept {
            gateway,
            key,
            id,
            file,
            plain,
        };
        assert_eq!(
            std::fs::read(&kept.file).unwrap().len(),
            kept.plain.len() + 4 * 16
        );
        kept.assert_whole().await;
        (kept, upstream)
    }

    async fn assert_whole(&self) {
        let answer = content(&self.gateway, &self.key, &self.id).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body[..] == self.plain[..]);
    }

    /// No answer that a client could take for the file.
    async fn assert_broken(&self, what: &str) {
        let target = format!("{}/content", self.id);
        let request = super::stored::asked(&self.gateway, &self.key, http::Method::GET, &target);
        if let Some(answer) = request.try_send().await {
            assert!(!answer.status.is_success(), "{what}: {}", answer.status);
        }
    }
}

#[tokio::test]
async fn a_file_that_was_changed_in_any_place_is_never_a_whole_answer() {
    let (kept, upstream) = Kept::new().await;
    let sound = std::fs::read(&kept.file).unwrap();
    let other = keep(&kept.gateway, &upstream, &kept.plain).await;
    let other = stored(&kept.gateway)
        .into_iter()
        .find(|path| path.ends_with(&other))
        .unwrap();
    let other = std::fs::read(other).unwrap();
    let mut wrong: Vec<(&str, Vec<u8>)> = Vec::new();
    for (what, at) in [
        ("its first byte", 0),
        ("a byte of the second chunk", SEALED + 5),
        ("a tag", 2 * SEALED - 1),
        ("its last byte", sound.len() - 1),
    ] {
        let mut changed = sound.clone();
        changed[at] ^= 1;
        wrong.push((what, changed));
    }
    let chunk = |at: usize| sound[at * SEALED..((at + 1) * SEALED).min(sound.len())].to_vec();
    wrong.push((
        "two chunks swapped",
        [chunk(0), chunk(2), chunk(1), chunk(3)].concat(),
    ));
    wrong.push((
        "a chunk twice",
        [chunk(0), chunk(1), chunk(1), chunk(3)].concat(),
    ));
    wrong.push(("without its end", sound[..3 * SEALED].to_vec()));
    wrong.push(("cut within a chunk", sound[..SEALED + 100].to_vec()));
    wrong.push(("with more behind it", [&sound[..], b"x"].concat()));
    wrong.push((
        "with its last chunk twice",
        [&sound[..], &chunk(3)[..]].concat(),
    ));
    wrong.push(("nothing", Vec::new()));
    wrong.push(("another file", other.clone()));
    let mixed = [
        &sound[..SEALED],
        &other[SEALED..2 * SEALED],
        &sound[2 * SEALED..],
    ]
    .concat();
    wrong.push(("a chunk of another file", mixed));
    wrong.push(("in the clear", kept.plain.clone()));
    let count = wrong.len();
    for (what, content) in wrong {
        std::fs::write(&kept.file, content).unwrap();
        kept.assert_broken(what).await;
    }
    std::fs::remove_file(&kept.file).unwrap();
    kept.assert_broken("not there").await;
    std::fs::write(&kept.file, &sound).unwrap();
    kept.assert_whole().await;
    audited(&kept.gateway, "upload.damaged", count + 1).await;
}

#[tokio::test]
async fn a_row_that_was_changed_or_moved_serves_nothing() {
    let (kept, upstream) = Kept::new().await;
    let size = kept.plain.len();
    keep(&kept.gateway, &upstream, b"another").await;
    let column = async |name: &str| {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM stored_upload WHERE size = {size}");
        database::text(&kept.gateway.folder, &sql).await
    };
    let sealed = column("sealed").await;
    let run = async |sql: String| database::execute(&kept.gateway.folder, &sql).await;
    let of = format!("WHERE id = (SELECT id FROM stored_upload WHERE sealed = '{sealed}')");
    for (what, change, back) in [
        (
            "another size",
            "size = 7".to_owned(),
            format!("size = {size}"),
        ),
        (
            "another kind",
            "kind = 'pdf'".to_owned(),
            "kind = 'txt'".to_owned(),
        ),
        (
            "another owner",
            "owner = 'user:x'".to_owned(),
            "owner = 'anonymous'".to_owned(),
        ),
        (
            "another verdict",
            "verdict = 'not-scanned'".to_owned(),
            "verdict = 'clean'".to_owned(),
        ),
        (
            "another state",
            "state = 'quarantined'".to_owned(),
            "state = 'kept'".to_owned(),
        ),
    ] {
        run(format!("UPDATE stored_upload SET {change} {of}")).await;
        kept.assert_broken(what).await;
        run(format!("UPDATE stored_upload SET {back} {of}")).await;
        kept.assert_whole().await;
    }
    // What is sealed in another row, and the digest of another file.
    for name in ["sealed", "sha256"] {
        let copy = format!("(SELECT {name} FROM stored_upload WHERE size = 7)");
        run(format!(
            "UPDATE stored_upload SET {name} = {copy} WHERE size = {size}"
        ))
        .await;
        kept.assert_broken(name).await;
    }
    let none = permit(
        &kept.gateway,
        &kept.key,
        &kept.id,
        &serde_json::json!({ "tenant": uuid::Uuid::now_v7() }),
    )
    .await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn a_row_of_one_tenant_does_not_open_for_another() {
    let (kept, _upstream) = Kept::new().await;
    let globex = crate::vault::tenant(&kept.gateway, "globex");
    let key = key(&kept.gateway, &MAY, Some(&globex));
    let sql = format!("UPDATE stored_upload SET tenant = '{globex}'");
    database::execute(&kept.gateway.folder, &sql).await;
    let answer = content(&kept.gateway, &key, &kept.id).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}
