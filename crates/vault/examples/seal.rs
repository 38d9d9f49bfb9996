//! What sealing and opening a field costs beside the bare cipher of the library, on one core.
//!
//! `cargo run --release --package portcullis-vault --example seal`
//!
//! The bare cipher copies the value as well, for it works in place. A field is bound to its place besides, and as
//! text it is written in base64url.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for a person who measures"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use portcullis_core::time::SystemClock;
use portcullis_core::{Clock, Secret, Span};
use portcullis_store::Db;
use portcullis_vault::fields::{Config, Fields, Place};
use portcullis_vault::kek::{KekKind, Keks, Settings};
use portcullis_vault::keys::Keys;

const ROUNDS: usize = 9;
/// Of each round, so that a small value is repeated as often as it takes.
const BYTES: usize = 64 * 1024 * 1024;
const MOST_TIMES: usize = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let fields = vault(&folder.path().join("vault.db").display().to_string()).await;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    println!(
        "| field | seal ÷ bare, as bytes | open ÷ bare, as bytes | seal ÷ bare, as text | open ÷ bare, as text | seals/s | aim |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (size, name, aim) in [
        (64, "64 B", "-"),
        (4096, "4 KiB", "1.30"),
        (1024 * 1024, "1 MiB", "1.05"),
    ] {
        let plain = vec![0x61; size];
        let times = (BYTES / size).clamp(1, MOST_TIMES);
        let mut columns: [Vec<f64>; 5] = Default::default();
        for _ in 0..ROUNDS {
            let bare = bare(&key, &plain, times);
            let bytes = as_bytes(&fields, &plain, times).await;
            let text = as_text(&fields, &plain, times).await;
            let over = |ours: Duration, bare: Duration| ours.as_secs_f64() / bare.as_secs_f64();
            let measured = [
                over(bytes[0], bare[0]),
                over(bytes[1], bare[1]),
                over(text[0], bare[0]),
                over(text[1], bare[1]),
                f64::from(u32::try_from(times).unwrap()) / text[0].as_secs_f64(),
            ];
            for (column, value) in columns.iter_mut().zip(measured) {
                column.push(value);
            }
        }
        let [seal, open, seal_text, open_text, rate] = columns.map(median);
        println!(
            "| {name} | {seal:.2} | {open:.2} | {seal_text:.2} | {open_text:.2} | {rate:.0} | {aim} |"
        );
    }
}

fn bare(key: &LessSafeKey, plain: &[u8], times: usize) -> [Duration; 2] {
    let nonce = || Nonce::assume_unique_for_key([0; 12]);
    let mut sealed = Vec::new();
    let began = Instant::now();
    for _ in 0..times {
        sealed = black_box(plain).to_vec();
        key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)
            .unwrap();
    }
    let sealing = began.elapsed();
    let began = Instant::now();
    for _ in 0..times {
        let mut text = black_box(&sealed).clone();
        black_box(key.open_in_place(nonce(), Aad::empty(), &mut text).unwrap());
    }
    [sealing, began.elapsed()]
}

const PLACE: Place<'static> = Place {
    tenant: None,
    table: "users",
    field: "email",
    row: "42",
};

async fn as_text(fields: &Fields, plain: &[u8], times: usize) -> [Duration; 2] {
    let mut sealed = String::new();
    let began = Instant::now();
    for _ in 0..times {
        sealed = fields.seal(&PLACE, None, black_box(plain)).await.unwrap();
    }
    let sealing = began.elapsed();
    let began = Instant::now();
    for _ in 0..times {
        black_box(fields.open(&PLACE, black_box(&sealed)).await.unwrap());
    }
    [sealing, began.elapsed()]
}

async fn as_bytes(fields: &Fields, plain: &[u8], times: usize) -> [Duration; 2] {
    let mut sealed = Vec::new();
    let began = Instant::now();
    for _ in 0..times {
        sealed = fields
            .seal_bytes(&PLACE, None, black_box(plain))
            .await
            .unwrap();
    }
    let sealing = began.elapsed();
    let began = Instant::now();
    for _ in 0..times {
        let copy = black_box(&sealed).clone();
        black_box(fields.open_bytes(&PLACE, copy).await.unwrap());
    }
    [sealing, began.elapsed()]
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

async fn vault(file: &str) -> Fields {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = Secret::new(format!("sqlite://{file}"));
    let config = portcullis_store::Config::default();
    let db = Db::open(&config, &url, clock.now()).await.unwrap();
    let keys = Keys::new(Secret::new("of the benchmark alone".repeat(3)), Vec::new());
    let under = Keks::new(&Settings::of(KekKind::Master), &[], &keys, &clock).unwrap();
    Fields::new(db, under, clock, &Config::default(), Span::from_minutes(15))
}
