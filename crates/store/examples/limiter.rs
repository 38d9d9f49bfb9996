//! How many limit decisions one core makes in memory, by the number of keys that take turns.
//!
//! `cargo run --release --package portcullis-store --example limiter`

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use portcullis_core::Timestamp;
use portcullis_core::limit::Rate;
use portcullis_store::counters::{Charge, LimitId, Memory, Subject, WhenDegraded};

const DECISIONS: u64 = 4_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rate: Rate = "60/minute burst 1000000".parse()?;
    let limit = LimitId::named("example");
    for keys in [1_000_u64, 100_000, 1_000_000] {
        let memory = Memory::with_bound(2_000_000);
        let charge = |key: u64| Charge {
            limit,
            subject: Subject::address(IpAddr::V6(Ipv6Addr::from(u128::from(key)))),
            rate,
            when_degraded: WhenDegraded::Share,
        };
        // In an order that caches cannot guess, and by a clock that goes on like a real one.
        let mut key = 1_u64;
        let mut decide = |count: u64| {
            let mut refused = 0_u64;
            for turn in 0..count {
                key = key
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let micros = i64::try_from(turn / 4).unwrap_or(i64::MAX);
                let taken = memory.take(
                    Timestamp::from_micros(micros),
                    &[charge((key >> 20) % keys)],
                );
                refused = refused.saturating_add(u64::from(!taken.is_allowed()));
            }
            refused
        };
        decide(keys.saturating_mul(2));
        let began = Instant::now();
        let refused = decide(DECISIONS);
        let nanos = began.elapsed().as_nanos() / u128::from(DECISIONS);
        writeln!(
            std::io::stdout(),
            "{keys} keys: {nanos} ns a decision, {refused} refused of {DECISIONS}"
        )?;
    }
    Ok(())
}
