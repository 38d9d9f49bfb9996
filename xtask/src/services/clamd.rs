//! A virus scanner of our own, with three signatures that need no download.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Listening, start};
use crate::process::tethered;

/// The test file of EICAR, by its hash; the same within other files; and a beginning that no file has by
/// chance. `md5:size:name`, and `name:any kind of file:anywhere:hexadecimal`.
const BY_HASH: &str = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test-File\n";
const BY_BYTES: &str = "\
Eicar-Test-Signature:0:*:58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a
Portcullis-Test-Marker:0:*:706f727463756c6c69732d746573742d6d61726b65722d6e6f742d612d7669727573
";

/// A running scanner; stopped when dropped.
pub(crate) struct Clamd {
    pub(crate) server: Listening,
    /// Its configuration, for tests that start one of their own: all but the port.
    pub(crate) config: PathBuf,
}

impl Clamd {
    pub(crate) fn start(server: &Path, folder: &Path) -> Result<Self> {
        let signatures = folder.join("clamd");
        fs::create_dir_all(&signatures)?;
        fs::write(signatures.join("local.hdb"), BY_HASH)?;
        fs::write(signatures.join("local.ndb"), BY_BYTES)?;
        let common = config(&signatures);
        let shared = folder.join("clamd.common.conf");
        fs::write(&shared, &common)?;
        let file = folder.join("clamd.conf");
        let server = start("clamd", folder, |port| {
            fs::write(&file, format!("{common}TCPSocket {port}\n"))?;
            let mut command = tethered(server, None)?;
            command.arg("--config-file").arg(&file);
            Ok(command)
        })?;
        Ok(Self {
            server,
            config: shared,
        })
    }
}

fn config(signatures: &Path) -> String {
    let folder = signatures.display();
    format!(
        "Foreground yes
DatabaseDirectory {folder}
TemporaryDirectory {folder}
TCPAddr 127.0.0.1
MaxThreads 8
AlertExceedsMax yes
StreamMaxLength 24M
MaxFileSize 24M
MaxScanSize 100M
"
    )
}
