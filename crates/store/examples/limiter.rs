//! How many limits one core decides in memory, by the number of keys that take turns: one limit at
//! a time, and four together as a request brings them (by address, user, session, and route).
//!
//! `cargo run --release --package portcullis-store --example limiter`

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use portcullis_core::Timestamp;
use portcullis_core::limit::Rate;
use portcullis_store::counters::{Charge, LimitId, Memory, Subject, WhenDegraded};

const DECISIONS: u64 = 4_000_000;

/// Limits of one request.
const TOGETHER: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rate: Rate = "60/minute burst 1000000".parse()?;
    let limit = LimitId::named("example");
    for keys in [1_000_u64, 100_000, 1_000_000] {
        let memory = Memory::with_bound(2_000_000);
        // In an order that caches cannot guess.
        let mut key = 1_u64;
        let mut charge = || {
            key = key
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let subject = Ipv6Addr::from(u128::from((key >> 20) % keys));
            Charge {
                limit,
                subject: Subject::address(IpAddr::V6(subject)),
                rate,
                when_degraded: WhenDegraded::Share,
            }
        };
        // By a clock that goes on like a real one.
        let mut turn = 0_i64;
        let mut decide = |charges: &[Charge]| {
            turn = turn.saturating_add(1);
            let taken = memory.take(Timestamp::from_micros(turn / 4), charges);
            u64::from(!taken.is_allowed())
        };
        for _ in 0..keys.saturating_mul(2) {
            decide(&[charge()]);
        }
        let began = on_cpu()?;
        let mut refused: u64 = (0..DECISIONS).map(|_| decide(&[charge()])).sum();
        let single = (on_cpu()? - began) / DECISIONS;
        let began = on_cpu()?;
        for _ in 0..DECISIONS / TOGETHER as u64 {
            let charges: [Charge; TOGETHER] = std::array::from_fn(|_| charge());
            refused = refused.saturating_add(decide(&charges));
        }
        let together = (on_cpu()? - began) / DECISIONS;
        writeln!(
            std::io::stdout(),
            "{keys} keys: {single} ns a decision, {together} ns in requests of {TOGETHER} limits; \
             {refused} refused"
        )?;
    }
    Ok(())
}

/// Nanoseconds that this program has had of a core, which is what holds where others use it too.
fn on_cpu() -> Result<u64, Box<dyn std::error::Error>> {
    let told = std::fs::read_to_string("/proc/self/schedstat")?;
    let first = told.split(' ').next().unwrap_or_default();
    Ok(first.parse()?)
}
