//! What kind of client a `User-Agent` speaks of: enough to name a device to its owner, and to tell
//! another browser from the same one after an update. Nothing more is kept, and nothing is believed:
//! whoever steals a cookie can copy the header as well.
//!
//! Versions, builds and models are ignored, because they change under a session's feet.

use std::fmt;

/// A family of browsers, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    Unknown,
    Firefox,
    Chrome,
    Edge,
    Opera,
    Samsung,
    Safari,
    /// A client that is no browser: `curl`, a library, a crawler.
    Program,
}

/// An operating system, whatever its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Unknown,
    Windows,
    MacOs,
    Linux,
    ChromeOs,
    Android,
    Ios,
}

/// What can be told of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientKind {
    pub browser: Browser,
    pub system: System,
    /// It sends client hints (`Sec-CH-UA`), as browsers of Chromium's family do.
    pub has_hints: bool,
}

/// Tokens in the order in which they must be looked for: Edge and Opera call themselves Chrome, and
/// all but Firefox call themselves Safari.
const BROWSERS: &[(&str, Browser)] = &[
    ("Edg/", Browser::Edge),
    ("EdgA/", Browser::Edge),
    ("EdgiOS/", Browser::Edge),
    ("OPR/", Browser::Opera),
    ("OPT/", Browser::Opera),
    ("SamsungBrowser/", Browser::Samsung),
    ("FxiOS/", Browser::Firefox),
    ("Firefox/", Browser::Firefox),
    ("CriOS/", Browser::Chrome),
    ("Chrome/", Browser::Chrome),
    ("Chromium/", Browser::Chrome),
    ("Version/", Browser::Safari),
    ("AppleWebKit/", Browser::Safari),
];

/// As above: Android says Linux, and phones of Apple say "like Mac OS X".
const SYSTEMS: &[(&str, System)] = &[
    ("Android", System::Android),
    ("iPhone", System::Ios),
    ("iPad", System::Ios),
    ("iPod", System::Ios),
    ("Windows", System::Windows),
    ("CrOS", System::ChromeOs),
    ("Macintosh", System::MacOs),
    ("Linux", System::Linux),
    ("X11", System::Linux),
];

impl ClientKind {
    /// Reads a `User-Agent`. Never fails: what is not known is unknown.
    pub fn read(user_agent: &str, has_hints: bool) -> Self {
        let find = |table: &[(&str, _)]| {
            table
                .iter()
                .find(|(token, _)| user_agent.contains(token))
                .map(|(_, found)| *found)
        };
        let browser = if user_agent.is_empty() {
            Browser::Unknown
        } else if user_agent.starts_with("Mozilla/") {
            find(BROWSERS).unwrap_or(Browser::Unknown)
        } else {
            Browser::Program
        };
        let system = SYSTEMS
            .iter()
            .find(|(token, _)| user_agent.contains(token))
            .map_or(System::Unknown, |(_, found)| *found);
        ClientKind {
            browser,
            system,
            has_hints,
        }
    }

    /// As a number for the database and for memory. Never zero.
    pub const fn pack(self) -> u16 {
        let browser = match self.browser {
            Browser::Unknown => 1_u16,
            Browser::Firefox => 2,
            Browser::Chrome => 3,
            Browser::Edge => 4,
            Browser::Opera => 5,
            Browser::Samsung => 6,
            Browser::Safari => 7,
            Browser::Program => 8,
        };
        let system = match self.system {
            System::Unknown => 0x10_u16,
            System::Windows => 0x20,
            System::MacOs => 0x30,
            System::Linux => 0x40,
            System::ChromeOs => 0x50,
            System::Android => 0x60,
            System::Ios => 0x70,
        };
        browser | system | if self.has_hints { 0x100 } else { 0 }
    }

    /// Reads [`ClientKind::pack`]'s number; `None` for any other.
    pub const fn unpack(packed: u16) -> Option<Self> {
        let browser = match packed & 0xf {
            1 => Browser::Unknown,
            2 => Browser::Firefox,
            3 => Browser::Chrome,
            4 => Browser::Edge,
            5 => Browser::Opera,
            6 => Browser::Samsung,
            7 => Browser::Safari,
            8 => Browser::Program,
            _ => return None,
        };
        let system = match packed & 0xf0 {
            0x10 => System::Unknown,
            0x20 => System::Windows,
            0x30 => System::MacOs,
            0x40 => System::Linux,
            0x50 => System::ChromeOs,
            0x60 => System::Android,
            0x70 => System::Ios,
            _ => return None,
        };
        Some(ClientKind {
            browser,
            system,
            has_hints: packed & 0x100 != 0,
        })
    }

    /// Whether a session of this client may well be continued by `other`: the same family on the same
    /// system. What was unknown at sign-in says nothing; what was known and is not said any more does.
    ///
    /// A phone that asks for the desktop's page calls itself a desktop, and an iPad calls itself a
    /// Macintosh: those pass.
    pub fn admits(self, other: ClientKind) -> bool {
        let same_browser = match self.browser {
            Browser::Unknown => true,
            known => known == other.browser,
        };
        let same_system = match (self.system, other.system) {
            (System::Unknown, _)
            | (System::Android | System::Linux, System::Android | System::Linux)
            | (System::Ios | System::MacOs, System::Ios | System::MacOs) => true,
            (known, other) => known == other,
        };
        same_browser && same_system
    }
}

impl fmt::Display for Browser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Browser::Unknown => "Unknown browser",
            Browser::Firefox => "Firefox",
            Browser::Chrome => "Chrome",
            Browser::Edge => "Edge",
            Browser::Opera => "Opera",
            Browser::Samsung => "Samsung Internet",
            Browser::Safari => "Safari",
            Browser::Program => "A program",
        })
    }
}

/// `Firefox on Linux`.
impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.browser.fmt(f)?;
        match self.system {
            System::Unknown => Ok(()),
            System::Windows => f.write_str(" on Windows"),
            System::MacOs => f.write_str(" on macOS"),
            System::Linux => f.write_str(" on Linux"),
            System::ChromeOs => f.write_str(" on ChromeOS"),
            System::Android => f.write_str(" on Android"),
            System::Ios => f.write_str(" on iOS"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const FIREFOX_LINUX: &str =
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
    pub(crate) const CHROME_WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

    fn kind(user_agent: &str) -> ClientKind {
        ClientKind::read(user_agent, false)
    }

    #[test]
    fn devices_have_the_names_that_their_owners_use() {
        for (user_agent, name) in [
            (FIREFOX_LINUX, "Firefox on Linux"),
            (CHROME_WINDOWS, "Chrome on Windows"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
                "Safari on macOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
                "Safari on iOS",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1",
                "Chrome on iOS",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Samsung Internet on Android",
            ),
            (
                "Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
                "Firefox on Android",
            ),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 OPR/126.0.0.0",
                "Opera on ChromeOS",
            ),
            ("curl/8.14.1", "A program"),
            ("python-requests/2.32 Linux", "A program on Linux"),
            ("Mozilla/5.0", "Unknown browser"),
            ("", "Unknown browser"),
        ] {
            assert_eq!(kind(user_agent).to_string(), name, "{user_agent}");
        }
    }

    #[test]
    fn an_update_and_a_desktop_view_are_the_same_client_and_another_browser_is_not() {
        let firefox = kind(FIREFOX_LINUX);
        let chrome = kind(CHROME_WINDOWS);
        assert!(firefox.admits(kind(&FIREFOX_LINUX.replace("145", "146"))));
        assert!(chrome.admits(kind(&CHROME_WINDOWS.replace("142", "143"))));
        assert!(!firefox.admits(chrome) && !chrome.admits(firefox));
        assert!(!chrome.admits(kind(
            &CHROME_WINDOWS.replace("Windows NT 10.0", "X11; Linux")
        )));
        assert!(!firefox.admits(kind("curl/8.14.1")) && !firefox.admits(kind("")));
        let phone = kind("Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0");
        assert!(phone.admits(firefox), "a phone asks for the desktop's page");
        // Nothing was known at sign-in, so nothing can be told.
        assert!(kind("").admits(firefox) && kind("").admits(kind("curl/8.14.1")));
    }

    proptest! {
        #[test]
        fn every_kind_is_read_back_as_itself(user_agent in ".{0,200}", has_hints: bool) {
            let kind = ClientKind::read(&user_agent, has_hints);
            prop_assert_eq!(ClientKind::unpack(kind.pack()), Some(kind));
            prop_assert_ne!(kind.pack(), 0);
        }

        #[test]
        fn no_number_breaks_reading(packed: u16) {
            if let Some(kind) = ClientKind::unpack(packed) {
                prop_assert_eq!(kind.pack(), packed & 0x1ff);
            }
        }
    }
}
