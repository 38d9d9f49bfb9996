//! What this process may do to the machine that it runs on: as little as it can.
//!
//! Read from the kernel and not from a configuration, and told by the metrics, so that "it runs as nobody" is
//! something that monitoring and `prove` see of the very process that answers.

use std::fmt::Write as _;

/// `CAP_NET_BIND_SERVICE`: ports below 1024. It is the only capability that a gate may want.
const BIND_LOW_PORTS: u64 = 1 << 10;

/// How a process is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Confinement {
    /// It is not root.
    pub(crate) user: bool,
    /// It has no capability but that of low ports.
    pub(crate) capabilities: bool,
    /// It can gain nothing more by what it starts (`no_new_privs`).
    pub(crate) privileges: bool,
    /// The root of its file system cannot be written to.
    pub(crate) root: bool,
}

impl Confinement {
    /// Of this process; nothing where the kernel does not say (it is not Linux).
    pub(crate) fn of_this_process() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        Self::parse(&status, &mounts)
    }

    /// Of `/proc/PID/status` and `/proc/PID/mountinfo` (proc(5)).
    fn parse(status: &str, mounts: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        // Real, effective, saved, and that of file access: none of them root's.
        let mut users = field("Uid")?.split_whitespace();
        let capabilities = u64::from_str_radix(field("CapEff")?, 16).ok()?;
        // Mounts on one place lie above each other: the last one counts.
        let root = mounts
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace().skip(4);
                (fields.next()? == "/").then(|| fields.next())?
            })
            .next_back()?;
        Some(Confinement {
            user: users.all(|user| user != "0"),
            capabilities: capabilities & !BIND_LOW_PORTS == 0,
            privileges: field("NoNewPrivs")? == "1",
            root: root.split(',').any(|option| option == "ro"),
        })
    }

    fn parts(self) -> [(&'static str, bool); 4] {
        let Confinement {
            user,
            capabilities,
            privileges,
            root,
        } = self;
        [
            ("user", user),
            ("capabilities", capabilities),
            ("privileges", privileges),
            ("root", root),
        ]
    }

    /// In the exposition format.
    pub(crate) fn encode(self) -> String {
        let mut text = format!(
            "# HELP {METRIC} Whether the process is held: it is not root, has no capabilities, can gain no privileges, cannot write to the root of its file system.\n# TYPE {METRIC} gauge\n"
        );
        for (by, is_held) in self.parts() {
            let _ = writeln!(text, "{METRIC}{{by=\"{by}\"}} {}", u8::from(is_held));
        }
        text
    }

    /// Of the page that [`encode`](Self::encode) wrote; nothing where it does not say.
    pub(crate) fn decode(page: &str) -> Option<Self> {
        let is_held = |by: &str| {
            let name = format!("{METRIC}{{by=\"{by}\"}} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&name))?;
            Some(value == "1")
        };
        Some(Confinement {
            user: is_held("user")?,
            capabilities: is_held("capabilities")?,
            privileges: is_held("privileges")?,
            root: is_held("root")?,
        })
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
        let root = of("0\t0\t0\t0", "000001ffffffffff", "0");
        assert!(!root.user && !root.capabilities && !root.privileges && !root.root);
        assert!(!of("10001\t10001\t0\t10001", "0000000000000000", "1").user);
        let nobody = of("10001\t10001\t10001\t10001", "0000000000000400", "1");
        assert!(nobody.user && nobody.capabilities && nobody.privileges);
        assert!(!of("1\t1\t1\t1", "0000000000000401", "1").capabilities);
    }

    #[test]
    fn the_uppermost_mount_of_the_root_counts() {
        let above = format!("{MOUNTS}30 26 0:30 / / ro,relatime - overlay overlay ro\n");
        let status = status("1\t1\t1\t1", "0000000000000000", "1");
        assert!(Confinement::parse(&status, &above).unwrap().root);
        assert_eq!(
            Confinement::parse(&status, "21 26 0:19 / /proc rw - proc proc rw\n"),
            None
        );
        assert_eq!(Confinement::parse("Name:\tx\n", MOUNTS), None);
    }

    #[test]
    fn what_is_told_is_read_back() {
        for number in 0..16 {
            let told = Confinement {
                user: number & 1 != 0,
                capabilities: number & 2 != 0,
                privileges: number & 4 != 0,
                root: number & 8 != 0,
            };
            assert_eq!(Confinement::decode(&told.encode()), Some(told));
        }
        assert_eq!(Confinement::decode("portcullis_up 1\n"), None);
    }
}
