//! What an upload costs the gate: the same for a large one as for a small one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Gateway, Upstream, sockets};

const MIB: u64 = 1024 * 1024;

/// The most memory that a process has had, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// A product that counts what it gets and keeps nothing.
async fn counting() -> Upstream {
    let address = sockets::bytes_product(async |mut stream| {
        let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
        let (head, early) = head.split_once("\r\n\r\n").unwrap();
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        let length: u64 = length.parse().unwrap();
        let mut seen = early.len() as u64;
        let mut buffer = vec![0; 256 * 1024];
        while seen < length {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "cut short");
            seen += count as u64;
        }
        let text = seen.to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    Upstream::at(address.await)
}

/// A PDF file of this size, as the whole body or in a form, which all of it goes on to the product.
async fn upload(gateway: &Gateway, size: u64, in_form: bool) {
    let answer = send(gateway, size, in_form).await;
    let seen: u64 = answer.rsplit("\r\n").next().unwrap().parse().unwrap();
    assert!(seen >= size && seen < size + 1000, "{answer}");
}

async fn send(gateway: &Gateway, size: u64, in_form: bool) -> String {
    let (kind, before, behind) = if in_form {
        let before =
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.pdf\"\r\n\r\n";
        ("multipart/form-data; boundary=b", before, "\r\n--b--\r\n")
    } else {
        ("application/pdf", "", "")
    };
    let length = size + (before.len() + behind.len()) as u64;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /large HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{before}",
        gateway.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"%PDF-1.7\n").await.unwrap();
    let piece = vec![b' '; 256 * 1024];
    let mut left = size - 9 - 6;
    while left > 0 {
        let count = left.min(piece.len() as u64);
        stream
            .write_all(&piece[..usize::try_from(count).unwrap()])
            .await
            .unwrap();
        left -= count;
    }
    stream.write_all(b"%%EOF\n").await.unwrap();
    stream.write_all(behind.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Reads what was kept last, and forgets it.
async fn read_back(gateway: &Gateway, key: &str, size: u64) {
    let output = gateway.cli(&["--output", "json", "uploads", "list", "--limit", "1"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[0]["size"], size, "{list}");
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "GET /.portcullis/uploads/{}/content HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n",
        list[0]["id"].as_str().unwrap(),
        gateway.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let head = sockets::read_until(&mut stream, "\r\n\r\n").await;
    let (head, early) = head.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut seen = early.len() as u64;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            count => seen += count as u64,
        }
    }
    assert_eq!(seen, size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_costs_the_memory_of_ten_megabytes() {
    let upstream = counting().await;
    let route = "[[route]]\npath = \"/large\"\nmethods = [\"POST\"]\nallow = \"public\"\nupload = { max-size = \"2GiB\" }\n\n[uploads]\nscanner = \"none\"\n";
    let gateway = Gateway::builder(&upstream, route).await.start().await;
    for in_form in [false, true, false, true] {
        upload(&gateway, 10 * MIB, in_form).await;
    }
    let small = peak(gateway.pid());
    upload(&gateway, 1024 * MIB, false).await;
    upload(&gateway, 512 * MIB, true).await;
    let grown = peak(gateway.pid()).saturating_sub(small);
    assert!(
        grown < 8 * MIB,
        "{grown} bytes more for a hundred times the size"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_that_is_kept_costs_the_memory_of_a_small_one_in_and_out() {
    let upstream = Upstream::start().await;
    let route = "[upload-store]\n\n[roles.service]\npermissions = [\"open:uploads\"]\n\n[[route]]\npath = \"/large\"\nmethods = [\"POST\"]\nallow = \"public\"\nupload = { max-size = \"2GiB\", store = true }\n\n[uploads]\nscanner = \"none\"\n";
    let gateway = Gateway::builder(&upstream, route).await.start().await;
    let key = crate::vault::key(&gateway, &["open:uploads"], None);
    for in_form in [false, true, false, true] {
        send(&gateway, 10 * MIB, in_form).await;
        read_back(&gateway, &key, 10 * MIB).await;
    }
    let small = peak(gateway.pid());
    send(&gateway, 300 * MIB, true).await;
    read_back(&gateway, &key, 300 * MIB).await;
    let grown = peak(gateway.pid()).saturating_sub(small);
    assert!(
        grown < 8 * MIB,
        "{grown} bytes more for thirty times the size"
    );
}
