//! The audit log as tiles (A7, c2sp.org/tlog-tiles), read by a client of its own: it takes the signed checkpoint
//! and tiles, and computes root and proofs from the definitions in RFC 6962 section 2.1.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Browser, Gateway, Upstream, database, eventually_asked};

const ALL: &str = "/.portcullis/admin/v1/audit";
const BYTES: &str = "application/octet-stream";

pub(crate) type Hash = Vec<u8>;

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}

fn leaf(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

pub(crate) fn node(left: &[u8], right: &[u8]) -> Hash {
    sha256(&[&[1], left, right])
}

/// The largest power of two below `count`.
fn split(count: usize) -> usize {
    let mut split = 1;
    while split * 2 < count {
        split *= 2;
    }
    split
}

/// MTH.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [one] => one.clone(),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node(&root(left), &root(right))
        }
    }
}

/// PATH.
fn path(at: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if at < left.len() {
        (path(at, left), root(right))
    } else {
        (path(at - left.len(), right), root(left))
    };
    path.push(sibling);
    path
}

/// `x001/x234/067`, or what stands for a part of such a tile.
fn name(index: usize, width: usize) -> String {
    let mut name = format!("{:03}", index % 1000);
    let mut above = index / 1000;
    while above > 0 {
        name = format!("x{:03}/{name}", above % 1000);
        above /= 1000;
    }
    if width < 256 {
        name = format!("{name}.p/{width}");
    }
    name
}

struct Reader {
    browser: Browser,
    prefix: String,
}

impl Reader {
    /// Size and root of the newest checkpoint.
    async fn checkpoint(&self) -> (usize, Hash) {
        let answer = self.browser.get(&format!("{}/checkpoint", self.prefix));
        let answer = answer.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let text = answer.text();
        let lines: Vec<&str> = text.lines().collect();
        (
            lines[1].parse().unwrap(),
            STANDARD.decode(lines[2]).unwrap(),
        )
    }

    async fn status(&self, tile: &str) -> u16 {
        let answer = self.browser.get(&format!("{}/tile/{tile}", self.prefix));
        answer.send().await.status.as_u16()
    }

    /// All hashes of a level, for a log of so many entries.
    async fn level(&self, level: u32, size: usize) -> Vec<Hash> {
        let count = size / 256_usize.pow(level);
        let mut hashes = Vec::new();
        while hashes.len() < count {
            let width = (count - hashes.len()).min(256);
            let tile = name(hashes.len() / 256, width);
            let target = format!("{}/tile/{level}/{tile}", self.prefix);
            let answer = self.browser.get(&target).send().await;
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some(BYTES));
            assert_eq!(
                answer.header("cache-control"),
                Some("private, max-age=31536000, immutable")
            );
            assert_eq!(answer.body.len(), width * 32, "{target}");
            hashes.extend(answer.body.chunks(32).map(<[u8]>::to_vec));
        }
        hashes
    }

    async fn entries(&self, index: usize, width: usize) -> Vec<Vec<u8>> {
        let tile = name(index, width);
        let target = format!("{}/tile/entries/{tile}", self.prefix);
        let answer = self.browser.get(&target).send().await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(BYTES));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let (mut bytes, mut entries) = (&answer.body[..], Vec::new());
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            bytes = rest;
        }
        assert_eq!(entries.len(), width);
        entries
    }
}

/// Events as somebody with write access may add them before they have a place: quicker than acts.
async fn plant(gateway: &Gateway, count: usize) {
    const COLUMNS: &str = "INSERT INTO audit_event (id, at, actor_kind, action, outcome, metadata)";
    database::execute_either(
        &gateway.folder,
        &format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {count}) {COLUMNS} SELECT randomblob(16), 1700000000000000 + n, 'system', 'gate.started', 'allowed', '{{}}' FROM n"),
        &format!("{COLUMNS} SELECT gen_random_uuid(), 1700000000000000 + n, 'system', 'gate.started', 'allowed', '{{}}' FROM generate_series(1, {count}) AS n"),
    )
    .await;
}

async fn gate() -> (Gateway, Reader, Reader, Upstream) {
    let upstream = Upstream::start().await;
    let builder = crate::secrets::builder(&upstream).await;
    let gateway = builder
        .replace("\"manage:secrets\"", "\"manage:secrets\", \"manage:audit\"")
        .start()
        .await;
    assert!(gateway.cli(&["tenants", "create", "acme"]).status.success());
    let join = ["tenants", "set-roles", "acme", "ana@corp.test", "admin"];
    assert!(gateway.cli(&join).status.success());
    plant(&gateway, 600).await;
    let reader = async |email: &str, prefix: &str| Reader {
        browser: gateway.signed_in(email).await,
        prefix: prefix.to_owned(),
    };
    let root = reader(crate::secrets::ROOT, ALL).await;
    let ana = reader("ana@corp.test", "/.portcullis/admin/v1/tenants/acme/audit").await;
    eventually_asked("what was planted is signed", async || {
        root.checkpoint().await.0 > 600
    })
    .await;
    (gateway, root, ana, upstream)
}

#[tokio::test]
async fn the_root_and_a_proof_are_computed_from_tiles_alone() {
    let (gateway, reader, tenant, _upstream) = gate().await;
    for reader in [&reader, &tenant] {
        let (size, signed) = reader.checkpoint().await;
        let leaves = reader.level(0, size).await;
        assert_eq!(root(&leaves), signed);
        let above = reader.level(1, size).await;
        assert_eq!(
            above,
            leaves.chunks_exact(256).map(root).collect::<Vec<_>>()
        );
    }
    let (size, signed) = reader.checkpoint().await;
    let leaves = reader.level(0, size).await;
    let entries = reader.entries(1, 256).await;
    let hashes: Vec<Hash> = entries.iter().map(|entry| leaf(entry)).collect();
    assert_eq!(hashes, leaves[256..512]);
    // An event of the second bundle, from the bottom up.
    let at = 300;
    let mut hash = leaf(&entries[at - 256]);
    let (mut low, mut high) = (at, size - 1);
    for sibling in path(at, &leaves) {
        // RFC 9162 section 2.1.3.2.
        if low % 2 == 1 || low == high {
            hash = node(&sibling, &hash);
            while low % 2 == 0 && low != 0 {
                (low, high) = (low / 2, high / 2);
            }
        } else {
            hash = node(&hash, &sibling);
        }
        (low, high) = (low / 2, high / 2);
    }
    assert_eq!(hash, signed);
    // The newest bundle, as wide as the log is.
    let last = reader.entries(size / 256, size % 256).await;
    assert_eq!(leaf(last.last().unwrap()), leaves[size - 1]);

    // Somebody changes what is kept of the second tile.
    let whole = "level = 0 AND position = 1";
    database::execute_either(
        &gateway.folder,
        &format!("UPDATE audit_tile SET hashes = zeroblob(length(hashes)) WHERE {whole}"),
        &format!("UPDATE audit_tile SET hashes = decode(repeat('00', length(hashes)), 'hex') WHERE {whole}"),
    )
    .await;
    let (size, signed) = reader.checkpoint().await;
    assert_ne!(root(&reader.level(0, size).await), signed);
}

#[tokio::test]
async fn a_tile_is_no_wider_than_what_was_signed_and_has_one_name() {
    let (gateway, reader, tenant, _upstream) = gate().await;
    let (size, _) = reader.checkpoint().await;
    let last = size / 256;
    for (tile, status) in [
        ("0/000".to_owned(), 200),
        ("0/000.p/7".to_owned(), 200),
        ("1/000.p/2".to_owned(), 200),
        ("1/000".to_owned(), 404),
        (format!("0/{last:03}"), 404),
        (format!("0/{last:03}.p/255"), 404),
        ("1/000.p/3".to_owned(), 404),
        ("2/000.p/1".to_owned(), 404),
        ("9/000".to_owned(), 404),
        ("0/0".to_owned(), 404),
        ("0/x000/000".to_owned(), 404),
        ("0/000.p/256".to_owned(), 404),
        ("0/000.p/07".to_owned(), 404),
        ("entries/000".to_owned(), 200),
        ("entries/000.p/256".to_owned(), 404),
        (format!("entries/{last:03}"), 404),
        // In no path of the gate is an escaped slash one.
        ("0%2F000".to_owned(), 400),
    ] {
        assert_eq!(reader.status(&tile).await, status, "{tile}");
    }
    // Other tenants' events stand in a bundle.
    assert_eq!(tenant.status("0/000").await, 200);
    assert_eq!(tenant.status("entries/000").await, 404);
    // Who may not read the trail reads nothing of this either.
    let eve = gateway.signed_in("eve@corp.test").await;
    for prefix in [&reader.prefix, &tenant.prefix] {
        let target = format!("{prefix}/tile/0/000");
        let refused = eve.get(&target).send().await.status.as_u16();
        assert!([403, 404].contains(&refused), "{target}: {refused}");
        let anonymous = gateway.client().get(&target).send().await;
        assert_eq!(anonymous.status, 401, "{target}");
        assert_eq!(anonymous.header("cache-control"), Some("no-store"));
    }
}
