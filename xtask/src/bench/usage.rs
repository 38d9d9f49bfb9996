//! What a process tree has used, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// User and system time of the process and of its children that have ended, in clock ticks.
    ticks: u64,
}

/// CPU time of a process, its descendants, and those of them that have ended.
pub(super) fn cpu_time(root: u32) -> Duration {
    let all = stats();
    let tree = tree(&all, root);
    let ticks: u64 = all
        .iter()
        .filter(|stat| tree.contains(&stat.pid))
        .map(|stat| stat.ticks)
        .sum();
    Duration::from_micros(
        ticks.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second().max(1),
    )
}

/// Memory of a process and its descendants in KiB, each shared page counted once (proportional set size).
pub(super) fn memory(root: u32) -> u64 {
    let kib = |pid: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| {
            line.strip_prefix("Pss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
    };
    tree(&stats(), root).iter().filter_map(kib).sum()
}

fn stats() -> Vec<Stat> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| parse(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

fn parse(stat: &str) -> Option<Stat> {
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (before, after) = stat.rsplit_once(')')?;
    let pid = before.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), which counts from 1 and has two before these.
    let ticks = fields
        .get(11..15)?
        .iter()
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Some(Stat { pid, parent, ticks })
}

fn tree(all: &[Stat], root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let children = all
            .iter()
            .filter(|stat| found.contains(&stat.parent))
            .map(|stat| stat.pid);
        let more: Vec<u32> = children.filter(|pid| !found.contains(pid)).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_an_odd_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 0 0";
        assert_eq!(
            parse(line),
            Some(Stat {
                pid: 42,
                parent: 7,
                ticks: 100
            })
        );
        assert_eq!(parse("42 (short) S 7"), None);
    }

    #[test]
    fn a_tree_holds_grandchildren_and_no_strangers() {
        let stat = |pid, parent| Stat {
            pid,
            parent,
            ticks: 0,
        };
        let all = [stat(5, 4), stat(2, 1), stat(3, 2), stat(4, 2), stat(9, 1)];
        assert_eq!(tree(&all, 2), BTreeSet::from([2, 3, 4, 5]));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(memory(std::process::id()) > 0);
    }
}
