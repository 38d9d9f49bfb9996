use std::io::Write as _;

use age::x25519;
use portcullis_core::Secret;
use portcullis_store::dump::{Cell, Kind, Schema};
use portcullis_vault::keys::{Keys, Mac, Purpose};

use super::format::{Error, Header, Reader, Tallying, Writer};
use super::lock::of_reading;
use super::restore::SESSIONS;

fn keys(secret: &str) -> Mac {
    let keys = Keys::new(Secret::new(secret.to_owned()), Vec::new());
    keys.mac(Purpose::Backup).unwrap()
}

/// A backup with one row in each table.
fn backup(schema: &Schema, keys: &Mac) -> Vec<u8> {
    let header = Header::new(
        schema,
        keys,
        "2026-11-27T00:00:00Z".to_owned(),
        "sqlite",
        "master".to_owned(),
    );
    let mut writer = Writer::begin(Vec::new(), &header).unwrap();
    for table in &schema.tables {
        let row: Vec<Cell> = table
            .columns
            .iter()
            .enumerate()
            .map(|(position, column)| match column.kind {
                _ if position > 4 => Cell::Null,
                Kind::Int => Cell::Int(i64::MIN),
                Kind::Text => Cell::Text("\u{0}[\"ü\n".to_owned()),
                Kind::Bytes => Cell::Bytes((0..=255).collect()),
            })
            .collect();
        let mut tallying = Tallying::new();
        writer.table(table).unwrap();
        writer.row(tallying.row(&row).unwrap()).unwrap();
        writer.rows(&tallying.end()).unwrap();
    }
    writer.end(keys).unwrap()
}

/// Reads it to its end; how many rows.
fn read(input: impl std::io::BufRead, schema: &Schema, keys: &Mac) -> Result<usize, Error> {
    let mut reader = Reader::begin(input)?;
    if !reader.header.is_under_ours(keys) {
        return Err(Error::OtherMaster);
    }
    reader.header.fits(schema)?;
    let mut rows = 0;
    for table in &schema.tables {
        let mut tallying = Tallying::new();
        reader.table(table)?;
        while reader.row(table, &mut tallying)?.is_some() {
            rows += 1;
        }
        reader.rows(table, &tallying.end())?;
    }
    reader.end(Some(keys))?;
    Ok(rows)
}

#[tokio::test]
async fn a_backup_that_lacks_its_end_or_has_another_byte_anywhere_is_refused() {
    let (schema, keys) = (Schema::of(&[1, 2]).await.unwrap(), keys("one"));
    let whole = backup(&schema, &keys);
    assert_eq!(
        read(&whole[..], &schema, &keys).unwrap(),
        schema.tables.len()
    );
    for until in 0..whole.len() {
        assert!(read(&whole[..until], &schema, &keys).is_err(), "{until}");
    }
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        assert!(read(&other[..], &schema, &keys).is_err(), "{at}");
    }
    let longer = [&whole[..], b"\n"].concat();
    assert!(read(&longer[..], &schema, &keys).is_err());
    let refused = read(&whole[..], &schema, &super::tests::keys("two")).unwrap_err();
    assert!(matches!(refused, Error::OtherMaster), "{refused}");
}

#[tokio::test]
async fn an_age_file_that_is_cut_anywhere_is_refused() {
    let (schema, keys) = (Schema::of(&[2]).await.unwrap(), keys("one"));
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public();
    let encryptor =
        age::Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient));
    let mut whole = Vec::new();
    let mut writer = encryptor.unwrap().wrap_output(&mut whole).unwrap();
    writer.write_all(&backup(&schema, &keys)).unwrap();
    writer.finish().unwrap();
    let open = |bytes: &[u8]| -> Result<usize, Error> {
        let refused = |_| Error::Foreign;
        let decryptor = age::Decryptor::new(bytes).map_err(refused)?;
        let plain = decryptor
            .decrypt(std::iter::once(&identity as &dyn age::Identity))
            .map_err(refused)?;
        read(std::io::BufReader::new(plain), &schema, &keys)
    };
    assert_eq!(open(&whole).unwrap(), 1);
    for until in (0..whole.len())
        .step_by(3)
        .chain(whole.len() - 40..whole.len())
    {
        assert!(open(&whole[..until]).is_err(), "{until}");
    }
    for at in (0..whole.len()).step_by(7) {
        let mut other = whole.clone();
        other[at] ^= 0x10;
        assert!(open(&other).is_err(), "{at}");
    }
}

#[test]
fn what_a_disk_says_is_not_taken_for_a_torn_file() {
    let of = |kind| of_reading(std::io::Error::from(kind));
    assert!(matches!(of(std::io::ErrorKind::UnexpectedEof), Error::Torn));
    assert!(matches!(
        of(std::io::ErrorKind::InvalidData),
        Error::Broken(_)
    ));
    assert!(matches!(
        of(std::io::ErrorKind::PermissionDenied),
        Error::Io(_)
    ));
}

/// Nothing that stays may point to what is left out, and a new table that holds sessions belongs to them.
#[tokio::test]
async fn sessions_can_be_left_out_of_a_whole_database() {
    let schema = Schema::newest().await.unwrap();
    for name in SESSIONS {
        assert!(schema.table(name).is_some(), "there is no table `{name}`");
    }
    for table in &schema.tables {
        let is_left_out = SESSIONS.contains(&table.name.as_str());
        for other in table.refers_to() {
            let points_out = SESSIONS.contains(&other.as_str());
            assert!(is_left_out || !points_out, "`{}` -> `{other}`", table.name);
        }
    }
    let tokens = schema
        .tables
        .iter()
        .filter(|table| table.columns.iter().any(|one| one.name == "token_hash"));
    let left: Vec<&str> = tokens
        .map(|table| table.name.as_str())
        .filter(|name| !SESSIONS.contains(name))
        .collect();
    // Forms that were used, and invitations, let nobody in who has no session or account.
    assert_eq!(left, ["spent_form", "invitation"]);
}
