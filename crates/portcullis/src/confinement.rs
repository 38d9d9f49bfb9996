//! What this process may do to the machine that it runs on: as little as it can.
//!
//! Read from the kernel and not from a configuration, and told by the metrics, so that "it runs as nobody" is
//! something that monitoring and `prove` see of the very process that answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// `CAP_NET_BIND_SERVICE`: ports below 1024. It is the only capability that a gate may want.
const BIND_LOW_PORTS: u64 = 1 << 10;

/// By what a process is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// It is not root.
    User,
    /// It has no capability but that of low ports.
    Capabilities,
    /// It can gain nothing more by what it starts (`no_new_privs`).
    Privileges,
    /// The root of its file system cannot be written to.
    Root,
}

impl By {
    const ALL: [By; 4] = [By::User, By::Capabilities, By::Privileges, By::Root];

    const fn as_str(self) -> &'static str {
        match self {
            By::User => "user",
            By::Capabilities => "capabilities",
            By::Privileges => "privileges",
            By::Root => "root",
        }
    }
}

/// Everything that a process is held by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confinement(BTreeSet<By>);

impl Confinement {
    /// Of this process; nothing where the kernel does not say (it is not Linux).
    pub(crate) fn of_this_process() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::parse(&status, &mounts)
    }

    #[cfg(test)]
    pub(crate) fn of(held: &[By]) -> Self {
        Confinement(held.iter().copied().collect())
    }

    /// Of `/proc/PID/status` and `/proc/PID/mountinfo` (proc(5)).
    fn parse(status: &str, mounts: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        // Real, effective, saved, and that of file access: none of them root's.
        let users = field("Uid")?.split_whitespace();
        let privileges = field("NoNewPrivs")?;
        let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
        // Mounts on one place lie above each other: the last one counts.
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace().skip(4);
                (fields.next()? == "/").then(|| fields.next())?
            })
            .next_back()?;
        let is_held = |by: &By| match by {
            By::User => users.clone().all(|user| user != "0"),
            By::Capabilities => capabilities & !BIND_LOW_PORTS == 0,
            By::Privileges => privileges == "1",
            By::Root => root.split(',').any(|option| option == "ro"),
        };
        Some(Confinement(By::ALL.into_iter().filter(is_held).collect()))
    }

    pub(crate) fn is_held(&self, by: By) -> bool {
        self.0.contains(&by)
    }

    /// In the exposition format.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!(
            "# HELP {METRIC} Whether the process is held: it is not root, has no capabilities, can gain no privileges, cannot write to the root of its file system.\n# TYPE {METRIC} gauge\n"
        );
        for by in By::ALL {
            let (name, held) = (by.as_str(), u8::from(self.is_held(by)));
            let _ = writeln!(text, "{METRIC}{{by=\"{name}\"}} {held}");
        }
        text
    }

    /// Of the page that [`encode`](Self::encode) wrote; nothing where it does not say.
    pub(crate) fn decode(page: &str) -> Option<Self> {
        let mut held = BTreeSet::new();
        for by in By::ALL {
            let name = format!("{METRIC}{{by=\"{}\"}} ", by.as_str());
            let value = page.lines().find_map(|line| line.strip_prefix(&name))?;
            if value == "1" {
                held.insert(by);
            }
        }
        Some(Confinement(held))
    }
}

const METRIC: &str = "portcullis_process_confined";

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "21 26 0:19 / /proc rw,nosuid - proc proc rw\n26 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";

    fn status(user: &str, capabilities: &str, privileges: &str) -> String {
        format!(
            "Name:\tportcullis\nUid:\t{user}\nCapInh:\t0000000000000000\nCapEff:\t{capabilities}\nNoNewPrivs:\t{privileges}\n"
        )
    }

    #[test]
    fn root_in_any_of_its_ids_is_root_and_low_ports_are_no_privilege() {
        let of = |user, capabilities, privileges| {
            Confinement::parse(&status(user, capabilities, privileges), MOUNTS).unwrap()
        };
        assert_eq!(of("0\t0\t0\t0", "000001ffffffffff", "0").0, BTreeSet::new());
        let in_part = of("10001\t10001\t0\t10001", "0000000000000000", "1");
        assert!(!in_part.is_held(By::User));
        let nobody = of("10001\t10001\t10001\t10001", "0000000000000400", "1");
        assert_eq!(
            nobody.0,
            BTreeSet::from([By::User, By::Capabilities, By::Privileges])
        );
        assert!(!of("1\t1\t1\t1", "0000000000000401", "1").is_held(By::Capabilities));
    }

    #[test]
    fn the_uppermost_mount_of_the_root_counts() {
        let above = format!("{MOUNTS}30 26 0:30 / / ro,relatime - overlay overlay ro\n");
        let status = status("1\t1\t1\t1", "0000000000000000", "1");
        assert!(
            Confinement::parse(&status, &above)
                .unwrap()
                .is_held(By::Root)
        );
        assert_eq!(
            Confinement::parse(&status, "21 26 0:19 / /proc rw - proc proc rw\n"),
            None
        );
        assert_eq!(Confinement::parse("Name:\tx\n", MOUNTS), None);
    }

    #[test]
    fn what_is_told_is_read_back() {
        for number in 0..16_u8 {
            let held = By::ALL.into_iter().enumerate();
            let held = held.filter(|(place, _)| number >> place & 1 == 1);
            let told = Confinement(held.map(|(_, by)| by).collect());
            assert_eq!(Confinement::decode(&told.encode()), Some(told));
        }
        assert_eq!(Confinement::decode("portcullis_up 1\n"), None);
    }
}
