//! What a process takes of the machine's memory.

/// Resident now, in KiB.
pub(crate) fn resident_kib(pid: u32) -> usize {
    status(pid, "VmRSS:")
}

/// The most that it had, in KiB.
pub(crate) fn peak_kib(pid: u32) -> usize {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
