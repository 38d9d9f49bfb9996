//! What the figures say: medians, ratios within a round, and the aims beside them.

use std::collections::BTreeMap;
use std::time::Duration;

/// The figures of one contestant.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// Microseconds of CPU per request, one per round.
    pub(super) cpu: Vec<f64>,
    /// Requests per second, one per round.
    pub(super) throughput: Vec<f64>,
    /// Microseconds, one per round.
    pub(super) p50: Vec<f64>,
    pub(super) p99: Vec<f64>,
    pub(super) cold_start: Duration,
    /// KiB.
    pub(super) idle_memory: u64,
}

/// Figures by the name of the contestant.
pub(super) type Results = BTreeMap<&'static str, Figures>;

/// What one contestant's cost should be, as a share of another's.
struct Aim {
    of: &'static str,
    against: &'static str,
    goal: f64,
    /// Above this the aim is missed altogether.
    least: Option<f64>,
}

const AIMS: &[Aim] = &[
    Aim {
        of: "gate",
        against: "nginx",
        goal: 1.0,
        least: Some(1.4),
    },
    Aim {
        of: "gate",
        against: "nginx-guarded",
        goal: 0.5,
        least: Some(0.65),
    },
    Aim {
        of: "gate",
        against: "floor",
        goal: 1.15,
        least: Some(1.4),
    },
    Aim {
        of: "gate",
        against: "caddy",
        goal: 0.1,
        least: None,
    },
    Aim {
        of: "gate",
        against: "fastapi",
        goal: 0.05,
        least: None,
    },
];

const COLD_START_AIM: Duration = Duration::from_millis(100);
const IDLE_MEMORY_AIM_KIB: u64 = 30_000;

/// The middle value; 0 of none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.get(middle.wrapping_sub(1))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => {
            f64::midpoint(*upper, *lower)
        }
        (Some(middle), _) => *middle,
        (None, _) => 0.0,
    }
}

/// The median of the ratios of each round: the two were measured within seconds of each other, so that a noisy
/// neighbour weighs on both.
fn ratio(of: &Figures, against: &Figures) -> f64 {
    let ratios: Vec<f64> = of
        .cpu
        .iter()
        .zip(&against.cpu)
        .map(|(of, against)| of / against)
        .collect();
    median(&ratios)
}

/// The table of contestants, in the given order.
pub(super) fn contestants(results: &Results, order: &[(&'static str, &str)]) -> Vec<String> {
    let floor = results.get("nginx");
    let mut lines = vec![
        "| what | CPU µs per request | ÷ nginx | requests/s | p50 ms | p99 ms | cold start ms | idle MiB |".to_owned(),
        "|---|--:|--:|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for (name, description) in order {
        let Some(figures) = results.get(name) else {
            continue;
        };
        let share = floor.map_or_else(
            || "-".to_owned(),
            |floor| format!("{:.2}", ratio(figures, floor)),
        );
        lines.push(format!(
            "| {description} | {:.1} | {share} | {:.0} | {:.2} | {:.2} | {:.0} | {:.1} |",
            median(&figures.cpu),
            median(&figures.throughput),
            median(&figures.p50) / 1000.0,
            median(&figures.p99) / 1000.0,
            figures.cold_start.as_secs_f64() * 1000.0,
            mib(figures.idle_memory),
        ));
    }
    lines
}

/// The table of aims, of those that were measured.
pub(super) fn aims(results: &Results) -> Vec<String> {
    let mut lines = vec![
        "| aim | measured | aim | least | |".to_owned(),
        "|---|--:|--:|--:|---|".to_owned(),
    ];
    for Aim {
        of,
        against,
        goal,
        least,
    } in AIMS
    {
        let (Some(of_figures), Some(against_figures)) = (results.get(of), results.get(against))
        else {
            continue;
        };
        let measured = ratio(of_figures, against_figures);
        let told = least.map_or_else(|| "-".to_owned(), |least| format!("{least:.2}"));
        let verdict = verdict(measured, *goal, *least);
        lines.push(format!(
            "| CPU of {of} ÷ {against} | {measured:.2} | {goal:.2} | {told} | {verdict} |"
        ));
    }
    if let Some(gate) = results.get("gate") {
        let (cold, aim) = (gate.cold_start.as_millis(), COLD_START_AIM.as_millis());
        lines.push(format!(
            "| cold start, ms | {cold} | {aim} | - | {} |",
            met(cold <= aim)
        ));
        let (memory, aim) = (mib(gate.idle_memory), mib(IDLE_MEMORY_AIM_KIB));
        lines.push(format!(
            "| idle memory, MiB | {memory:.1} | {aim:.1} | - | {} |",
            met(memory <= aim)
        ));
    }
    lines
}

/// What a request costs by each credential, and with spans, beside the floor.
pub(super) fn credentials(results: &Results, order: &[(&'static str, &str)]) -> Vec<String> {
    let Some(floor) = results.get("floor") else {
        return Vec::new();
    };
    let is_other = |name: &str| name.starts_with("by-") || name.starts_with("gate-traced");
    let is_one = |name: &str| name == "gate" || is_other(name);
    if !results.keys().any(|name| is_other(name)) {
        return Vec::new();
    }
    let mut lines = vec![
        "| CPU per request ÷ the gate's edge alone | measured |".to_owned(),
        "|---|--:|".to_owned(),
    ];
    for (name, told) in order.iter().filter(|(name, _)| is_one(name)) {
        if let Some(figures) = results.get(name) {
            lines.push(format!("| {told} | {:.2} |", ratio(figures, floor)));
        }
    }
    lines
}

/// What a million cost, beside a thousand.
pub(super) fn many(results: &Results) -> Vec<String> {
    let mut lines = vec![
        "| CPU per request with 1,000,000 ÷ with 1,000 | measured |".to_owned(),
        "|---|--:|".to_owned(),
    ];
    let head = lines.len();
    for (few, many, told) in [
        (
            "sessions-1k",
            "sessions-1m",
            "sessions, 1,000 of them at work",
        ),
        (
            "sessions-1k",
            "sessions-1m-even",
            "sessions, all of them at work",
        ),
        ("keys-1k", "keys-1m", "API keys, 1,000 of them at work"),
        ("keys-1k", "keys-1m-even", "API keys, all of them at work"),
        (
            "tenants-1k",
            "tenants-1m",
            "users in 10,000 tenants ÷ in 10, 1,000 of them at work",
        ),
    ] {
        if let (Some(few), Some(many)) = (results.get(few), results.get(many)) {
            lines.push(format!("| {told} | {:.2} |", ratio(many, few)));
        }
    }
    if lines.len() == head {
        return Vec::new();
    }
    lines
}

fn verdict(measured: f64, aim: f64, least: Option<f64>) -> &'static str {
    match least {
        Some(least) if measured > aim && measured <= least => "within the least",
        Some(_) | None => met(measured <= aim),
    }
}

fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "MISSED" }
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu: &[f64]) -> Figures {
        Figures {
            cpu: cpu.to_vec(),
            ..Figures::default()
        }
    }

    #[test]
    fn the_median_of_odd_even_and_no_values() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        // The machine was busy in the second round, for both.
        let (gate, nginx) = (figures(&[20.0, 60.0, 21.0]), figures(&[20.0, 60.0, 20.0]));
        assert!((ratio(&gate, &nginx) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_aim_is_met_nearly_met_or_missed() {
        assert_eq!(verdict(1.0, 1.0, Some(1.4)), "met");
        assert_eq!(verdict(1.2, 1.0, Some(1.4)), "within the least");
        assert_eq!(verdict(1.5, 1.0, Some(1.4)), "MISSED");
        assert_eq!(verdict(0.11, 0.1, None), "MISSED");
    }

    #[test]
    fn aims_of_what_was_not_measured_are_not_told() {
        let results = Results::from([("gate", figures(&[20.0])), ("nginx", figures(&[20.0]))]);
        assert_eq!(
            aims(&results)
                .iter()
                .filter(|line| line.contains("CPU of"))
                .count(),
            1
        );
    }
}
