//! Virus scanners: the one of the test set-up, one of a test's own to be stopped and frozen, and what only
//! calls itself one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{eventually, required, signal};

/// The test file of EICAR.
pub(crate) const EICAR: &[u8] =
    br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";

/// Where the test set-up's scanner listens.
pub(crate) fn shared() -> String {
    required("PORTCULLIS_TEST_CLAMD")
}

/// A clamd that nobody else uses.
pub(crate) struct Clamd {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Clamd {
    /// With the signatures of the test set-up, and these lines beside its configuration.
    pub(crate) async fn start(more: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let common = std::fs::read_to_string(required("PORTCULLIS_TEST_CLAMD_CONFIG")).unwrap();
        let kept = |line: &&str| {
            let key = line.split(' ').next().unwrap_or_default();
            !more.contains(key)
        };
        let common: Vec<&str> = common.lines().filter(kept).collect();
        let file = folder.path().join("clamd.conf");
        let text = format!(
            "{}\n{more}\nTCPSocket {}\n",
            common.join("\n"),
            address.port()
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new(required("PORTCULLIS_TEST_CLAMD_SERVER"))
            .arg("--config-file")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let clamd = Clamd {
            child,
            address,
            _folder: folder,
        };
        eventually("clamd takes connections", || {
            TcpStream::connect(address).is_ok()
        })
        .await;
        clamd
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    pub(crate) fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Clamd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an impostor does once it is asked to scan.
#[derive(Clone, Copy)]
pub(crate) enum Says {
    /// Nothing, and it keeps the connection.
    Nothing,
    /// This, when it has read everything.
    AtTheEnd(&'static [u8]),
    /// This, before it has read anything, and then it closes.
    AtOnce(&'static [u8]),
}

/// What answers this to the question for clamd's version, and says something about files.
pub(crate) async fn impostor(version: &'static [u8], says: Says) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(stream, version, says));
        }
    });
    address.to_string()
}

async fn speak(mut stream: tokio::net::TcpStream, version: &[u8], says: Says) {
    let mut asked = [0; 9];
    if stream.read_exact(&mut asked).await.is_err() {
        return;
    }
    if asked.starts_with(b"zVERSION") {
        let _ = stream.write_all(version).await;
        return;
    }
    let mut read = Vec::new();
    match says {
        Says::AtOnce(words) => {
            let _ = stream.write_all(words).await;
            return;
        }
        Says::Nothing => {}
        Says::AtTheEnd(words) => {
            while !read.ends_with(&[0; 4]) {
                if stream
                    .read_buf(&mut read)
                    .await
                    .is_ok_and(|count| count == 0)
                {
                    return;
                }
            }
            let _ = stream.write_all(words).await;
        }
    }
    while stream
        .read_buf(&mut read)
        .await
        .is_ok_and(|count| count > 0)
    {}
}
