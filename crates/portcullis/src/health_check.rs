//! `portcullis health`: asks a running gate how it is, for images that hold nothing else that could.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::document::Environment;
use crate::serve;

/// No answer within this time is a finding.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/health` of the admin listener. `Ok(false)` where the answer is not 200.
pub(crate) fn run(file: &Path) -> anyhow::Result<bool> {
    let loaded = serve::load(file, Environment::of_process())?;
    let mut address = loaded.config.admin.address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            let mut stream = TcpStream::connect(address).await?;
            let request =
                format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(64 * 1024).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        })
        .await
        .context("no answer in time")?
        .with_context(|| format!("the gate's admin listener at {address} (admin.address)"))
    })?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200 ") {
        return Ok(true);
    }
    bail!("{address} answers `{status}`")
}
