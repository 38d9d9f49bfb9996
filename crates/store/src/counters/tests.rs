//! What holds for counters in memory.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_core::limit::Rate;
use proptest::prelude::*;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn charge(limit: &str, subject: u64, rate: &str) -> Charge {
    Charge {
        limit: LimitId::named(limit),
        subject: Subject::digest(&subject.to_be_bytes()),
        rate: rate.parse::<Rate>().unwrap(),
        when_degraded: WhenDegraded::Share,
    }
}

#[test]
fn a_request_that_one_limit_refuses_costs_nothing_under_the_others() {
    let memory = Memory::default();
    let (wide, narrow) = (
        charge("wide", 1, "10/minute"),
        charge("narrow", 1, "2/minute"),
    );
    for _ in 0..2 {
        assert!(memory.take(at(0), &[wide, narrow]).is_allowed());
    }
    for _ in 0..20 {
        assert_eq!(memory.take(at(0), &[wide, narrow]).refused(), Some(1));
    }
    let Spent::Allowed { remaining, .. } = memory.take(at(0), &[wide]).spent()[0] else {
        panic!("refused")
    };
    assert_eq!(remaining, 7);
}

#[test]
fn the_longest_wait_is_the_one_that_is_told() {
    let memory = Memory::default();
    let charges = [charge("a", 1, "1/second"), charge("b", 1, "1/hour")];
    assert!(memory.take(at(0), &charges).is_allowed());
    assert_eq!(memory.take(at(0), &charges).refused(), Some(1));
}

#[test]
fn one_request_may_charge_one_counter_twice() {
    let memory = Memory::default();
    let one = charge("a", 1, "3/minute");
    assert!(memory.take(at(0), &[one, one]).is_allowed());
    assert_eq!(memory.take(at(0), &[one, one]).refused(), Some(1));
    assert!(memory.take(at(0), &[one]).is_allowed());
    assert!(!memory.take(at(0), &[one]).is_allowed());
}

#[test]
fn more_charges_than_can_be_taken_together_are_refused() {
    let memory = Memory::default();
    let charges = [charge("a", 1, "100/minute"); MAX_CHARGES + 1];
    assert!(!memory.take(at(0), &charges).is_allowed());
    assert!(memory.take(at(0), &charges[1..]).is_allowed());
    assert!(memory.take(at(0), &[]).is_allowed());
}

#[test]
fn limits_and_subjects_do_not_mix() {
    let memory = Memory::default();
    assert!(memory.take(at(0), &[charge("a", 1, "1/hour")]).is_allowed());
    assert!(memory.take(at(0), &[charge("b", 1, "1/hour")]).is_allowed());
    assert!(memory.take(at(0), &[charge("a", 2, "1/hour")]).is_allowed());
    assert!(!memory.take(at(0), &[charge("a", 1, "1/hour")]).is_allowed());
}

#[test]
fn a_flood_of_new_subjects_frees_nobody_and_stays_within_the_bound() {
    let bound = 2560;
    let memory = Memory::with_bound(bound);
    let limited = charge("login", 0, "1/hour");
    assert!(memory.take(at(0), &[limited]).is_allowed());
    let flood = 50_000;
    let passed = (1..=flood)
        .filter(|subject| {
            memory
                .take(at(0), &[charge("login", *subject, "1/hour")])
                .is_allowed()
        })
        .count();
    // Each shard has one more counter, which all newcomers share.
    assert!(memory.len() <= bound + 256, "{}", memory.len());
    assert!(passed <= bound + 256, "{passed}");
    assert!(!memory.take(at(0), &[limited]).is_allowed());
    // An hour later all are dead, and there is room again.
    let later = at(3_600_000_001);
    assert!((1..=100).all(|subject| {
        memory
            .take(later, &[charge("login", flood + subject, "1/hour")])
            .is_allowed()
    }));
}

#[test]
fn dead_keys_are_swept() {
    let memory = Memory::default();
    for subject in 0..200_000 {
        let now = at(i64::try_from(subject).unwrap() * 1000);
        assert!(
            memory
                .take(now, &[charge("a", subject, "1/second")])
                .is_allowed()
        );
    }
    // A thousand are alive at any time.
    assert!(memory.len() < 256 * 80, "{}", memory.len());
}

#[test]
fn a_clock_that_is_set_back_neither_frees_nor_locks() {
    let memory = Memory::default();
    let one = charge("a", 1, "1/minute");
    assert!(memory.take(at(0), &[one]).is_allowed());
    let back = -3_600_000_000;
    assert!(!memory.take(at(back), &[one]).is_allowed());
    assert!(!memory.take(at(back + 59_000_000), &[one]).is_allowed());
    assert!(memory.take(at(back + 60_000_000), &[one]).is_allowed());
}

#[test]
fn many_threads_together_pass_no_more_than_the_burst() {
    let memory = Memory::default();
    let passed = AtomicU32::new(0);
    let charges: Vec<Charge> = (0..8)
        .map(|subject| charge("a", subject, "100/hour"))
        .collect();
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (memory, passed, mut charges) = (&memory, &passed, charges.clone());
            scope.spawn(move || {
                // Each thread names the same counters in another order.
                charges.rotate_left(turn);
                for _ in 0..200 {
                    if memory.take(at(0), &charges).is_allowed() {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 100);
}

/// A request: how long after the last one, and its charges.
pub(super) type Request = (i64, Vec<Charge>);

pub(super) fn requests() -> impl Strategy<Value = Vec<Request>> {
    let rate = (1_u32..5, 1_u64..4, 1_u32..6).prop_map(|(count, seconds, burst)| {
        Rate::new(count, Span::from_seconds(seconds), burst).unwrap()
    });
    let charge = (0_u64..2, 0_u64..3, rate).prop_map(|(limit, subject, rate)| Charge {
        limit: LimitId::named(&limit.to_string()),
        subject: Subject::digest(&subject.to_be_bytes()),
        rate,
        when_degraded: WhenDegraded::Share,
    });
    prop::collection::vec(
        (
            0_i64..900_000,
            prop::collection::vec(charge, 0..=MAX_CHARGES),
        ),
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_does_what_plain_arithmetic_on_a_map_does(requests in requests()) {
        let memory = Memory::default();
        let mut model = std::collections::HashMap::new();
        let mut now = 0;
        for (gap, charges) in requests {
            now += gap;
            let mut pending = model.clone();
            let expected: Vec<Spent> = charges.iter().map(|charge| {
                let tat = pending.entry((charge.limit, charge.subject)).or_insert(0);
                let spent = charge.rate.take(*tat, at(now));
                if let Spent::Allowed { tat: next, .. } = spent { *tat = next; }
                spent
            }).collect();
            let allowed = expected.iter().all(|spent| matches!(spent, Spent::Allowed { .. }));
            if allowed { model = pending; }
            let taken = memory.take(at(now), &charges);
            prop_assert_eq!(taken.is_allowed(), allowed);
            prop_assert_eq!(taken.spent(), &expected[..]);
        }
    }
}
