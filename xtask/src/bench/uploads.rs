//! What screening and keeping files costs: a plain proxy beside the gate, which forwards, screens or keeps them.
//!
//! One file after the other, each on a connection of its own, in interleaved rounds; no scanner, which would be
//! what is measured. The product behind them reads all that comes and answers 204.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::contestants::Stage;
use super::credentials::Also;
use super::request::HOST;
use super::{gate, nginx};
use crate::{interrupt, say};

/// What the gate needs beside the configuration of all contestants.
pub(super) const TABLES: &str = r#"
[uploads]
scanner = "none"

[upload-store]

[limits.uploads]
rate = "1000000/second"

[[route]]
path = "/bench/plain"
methods = ["POST"]
allow = "public"
max-body = "64MiB"

[[route]]
path = "/bench/screened"
methods = ["POST"]
allow = "public"
upload = { max-size = "64MiB" }

[[route]]
path = "/bench/kept"
methods = ["POST"]
allow = "public"
upload = { max-size = "64MiB", store = true }
"#;

const MIB: usize = 1024 * 1024;
const SIZE: usize = 32 * MIB;
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn run(stage: &Stage, rounds: u32) -> Result<()> {
    let product = product()?;
    let stage = Stage {
        upstream: product,
        ..*stage
    };
    let proxy = nginx::start_for_files(&stage)?;
    let folder = gate::furnish(&stage, "gate-uploads")?;
    let gate = gate::serve(&stage, &folder, "gate-uploads", Also::Uploads)?;
    let content = file();
    let mut rows = [
        (
            "nginx, forwarded",
            proxy.address,
            "/bench/plain",
            Vec::new(),
        ),
        ("gate, forwarded", gate.address, "/bench/plain", Vec::new()),
        (
            "gate, screened",
            gate.address,
            "/bench/screened",
            Vec::new(),
        ),
        ("gate, kept", gate.address, "/bench/kept", Vec::new()),
    ];
    for _ in 0..rounds.max(3) {
        for (_, address, path, times) in &mut rows {
            interrupt::check()?;
            times.push(send(*address, path, &content)?);
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let base = rows
        .first_mut()
        .map(|row| median(&mut row.3))
        .unwrap_or_default();
    say::line("| a file of 32 MiB, one after the other | MiB/s | time beside nginx |");
    say::line("|---|--:|--:|");
    for (name, _, _, times) in &mut rows {
        let time = median(times).as_secs_f64();
        let size = f64::from(u32::try_from(SIZE / MIB)?);
        say::line(format!(
            "| {name} | {:.0} | {:.2} |",
            size / time,
            time / base.as_secs_f64()
        ));
    }
    Ok(())
}

/// Text that is screened to its last byte.
fn file() -> Vec<u8> {
    let line = b"the quick brown fox jumps over the lazy dog, again and again.\n";
    line.iter().copied().cycle().take(SIZE).collect()
}

fn send(address: SocketAddr, path: &str, content: &[u8]) -> Result<Duration> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    let began = Instant::now();
    stream.write_all(head.as_bytes())?;
    stream.write_all(content)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = began.elapsed();
    if !answer.starts_with(b"HTTP/1.1 204") {
        bail!("{path}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(took)
}

/// It reads all that comes, a request for each connection or several on one.
fn product() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Whoever closes in the middle of a request has nothing more to say.
                let _ = serve(stream);
            });
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut seen = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = seen.windows(4).position(|part| part == b"\r\n\r\n") {
                break at + 4;
            }
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            seen.extend(buffer.get(..count).unwrap_or_default());
        };
        let head =
            String::from_utf8_lossy(seen.get(..end).unwrap_or_default()).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Ok(0), str::parse::<usize>)
            .context("a length")?;
        let mut left = (end + length).saturating_sub(seen.len());
        seen.clear();
        while left > 0 {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            left = left.saturating_sub(count);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
    }
}
