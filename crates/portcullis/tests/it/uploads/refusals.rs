//! What is not taken, and that the product sees nothing of it.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{
    BOUNDARY, JPEG, PDF, PNG, Part, assert_all_refused, assert_refused, audited, builder, field,
    file, gateway, part, post_form, post_raw,
};
use crate::support::{Gateway, Upstream, clamd, eventually, sockets};

const TYPE: (u16, &str) = (415, "upload-type-refused");
const NAME: (u16, &str) = (422, "upload-name-refused");
const CONTENT: (u16, &str) = (422, "upload-content-refused");
const BODY: (u16, &str) = (400, "malformed-body");
const SIZE: (u16, &str) = (413, "body-too-large");

/// Sends each form; nothing of it reaches the product.
async fn all_refused(cases: Vec<(&str, Vec<Part>, (u16, &str))>) {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let mut answers = Vec::new();
    for (what, parts, expected) in cases {
        let answer = post_form(&gateway.client(), "/upload", &parts).send().await;
        answers.push((what, answer, expected));
    }
    assert_all_refused(&upstream, &answers);
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let named = |name: &str| vec![file(name, "application/pdf", PDF)];
    all_refused(vec![
        ("a path", named("../../etc/a.pdf"), NAME),
        ("a drive", named("C:x.pdf"), NAME),
        ("a hidden end", named("a.exe%00.pdf"), NAME),
        ("an encoded path", named("..%2f..%2fa.pdf"), NAME),
        (
            "letters that turn the name",
            named("a\u{202e}fdp.pdf"),
            NAME,
        ),
        ("a control", named("a\tb.pdf"), NAME),
        ("a second ending", named("a.php.pdf"), NAME),
        ("a device", named("con.pdf"), NAME),
        (
            "a long name",
            named(&format!("{}.pdf", "a".repeat(250))),
            NAME,
        ),
        ("a name that begins with a dot", named(".htaccess"), NAME),
        (
            "no name",
            vec![part(
                "form-data; name=\"f\"; filename=\"\"",
                Some("application/pdf"),
                PDF,
            )],
            NAME,
        ),
        ("an unknown ending", named("a.exe"), TYPE),
        ("no ending", named("a"), TYPE),
        (
            "an ending that the route does not take",
            vec![file("a.png", "image/png", b"\x89PNG")],
            TYPE,
        ),
    ])
    .await;
}

#[tokio::test]
async fn pictures_that_are_none_or_more_than_that_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let changed = |picture: &[u8], at: usize, bytes: &[u8]| {
        let mut picture = picture.to_vec();
        picture[at..at + bytes.len()].copy_from_slice(bytes);
        picture
    };
    let huge = [0, 1, 0, 0];
    let cases = [
        (
            "a page named so",
            "a.png",
            b"<script>alert(1)</script>".to_vec(),
        ),
        ("a JPEG named so", "a.png", JPEG.to_vec()),
        ("a page behind it", "a.png", [PNG, b"<script>"].concat()),
        ("cut short", "a.png", PNG[..PNG.len() - 4].to_vec()),
        (
            "more pixels than a viewer has memory",
            "a.png",
            changed(PNG, 16, &[huge, huge].concat()),
        ),
        (
            "a page named so",
            "a.jpg",
            b"<script>alert(1)</script>".to_vec(),
        ),
        ("a PNG named so", "a.jpg", PNG.to_vec()),
        (
            "a zip file behind it",
            "a.jpg",
            [
                JPEG,
                &crate::support::zip::zip(&crate::support::zip::document()),
            ]
            .concat(),
        ),
        ("cut short", "a.jpg", JPEG[..JPEG.len() - 2].to_vec()),
        (
            "more pixels than a viewer has memory",
            "a.jpg",
            changed(JPEG, 13, &[0xff; 4]),
        ),
    ];
    let mut answers = Vec::new();
    for (what, name, content) in &cases {
        let is_png = name.ends_with("png");
        let kind = if is_png { "image/png" } else { "image/jpeg" };
        let parts = [file(name, kind, content)];
        let answer = post_form(&gateway.client(), "/many", &parts).send().await;
        answers.push((*what, answer, CONTENT));
    }
    assert_all_refused(&upstream, &answers);
}

#[tokio::test]
async fn what_is_not_what_it_says_is_refused() {
    let pdf = |content: &[u8]| vec![file("a.pdf", "application/pdf", content)];
    let text = |content: &[u8]| vec![file("a.txt", "text/plain", content)];
    let md = |content: &[u8]| vec![file("a.md", "text/markdown", content)];
    let zip = crate::support::zip::zip(&crate::support::zip::document());
    let with_zip = [PDF, &zip].concat();
    let around_zip = [&PDF[..PDF.len() - 6], &zip[..], b"\n%%EOF\n"].concat();
    all_refused(vec![
        ("empty", pdf(b""), CONTENT),
        ("a program", pdf(b"MZ\x90\0"), CONTENT),
        (
            "a header further on",
            pdf(&[b"GIF89a".as_slice(), PDF].concat()),
            CONTENT,
        ),
        ("no end", pdf(b"%PDF-1.7\nand nothing else"), CONTENT),
        (
            "another file behind the end",
            pdf(&[PDF, b"<script>"].concat()),
            CONTENT,
        ),
        ("a zip file behind the end", pdf(&with_zip), CONTENT),
        ("a zip file before the end", pdf(&around_zip), CONTENT),
        ("text with a zero", text(b"a\0b"), CONTENT),
        ("text with an escape", text(b"\x1b[2J"), CONTENT),
        ("text in another encoding", text(b"Gr\xfc\xdfe"), CONTENT),
        ("half a letter", text(b"Gr\xc3"), CONTENT),
        ("UTF-16", text(b"\xff\xfea\0"), CONTENT),
        (
            "a page",
            text(b"\xef\xbb\xbf  \n<!DOCTYPE html><script>alert(1)</script>"),
            CONTENT,
        ),
        ("a tag", text(b"<script >"), CONTENT),
        ("a page as Markdown", md(b"\n<HTML><body>"), CONTENT),
        (
            "a picture with a script",
            md(b"<svg onload=alert(1)>"),
            CONTENT,
        ),
        ("PDF as text", text(b"%PDF-1.7 ..."), CONTENT),
        (
            "a document that is none",
            vec![file("a.docx", "application/octet-stream", PDF)],
            CONTENT,
        ),
        (
            "text that is called PDF",
            vec![file("a.txt", "application/pdf", b"text")],
            TYPE,
        ),
        (
            "PDF that is called a page",
            vec![file("a.pdf", "text/html", PDF)],
            TYPE,
        ),
        (
            "text in UTF-7",
            vec![file(
                "a.txt",
                "text/plain; charset=utf-7",
                b"+ADw-script+AD4-",
            )],
            TYPE,
        ),
    ])
    .await;
}

#[tokio::test]
async fn forms_with_two_readings_are_refused() {
    all_refused(vec![
        (
            "two names",
            vec![part(
                "form-data; name=\"f\"; filename=\"a.pdf\"; filename=\"a.exe\"",
                Some("application/pdf"),
                PDF,
            )],
            BODY,
        ),
        (
            "a second spelling",
            vec![part(
                "form-data; name=\"f\"; filename=\"a.pdf\"; filename*=UTF-8''a.exe",
                Some("application/pdf"),
                PDF,
            )],
            BODY,
        ),
        (
            "a quoted quote",
            vec![part(
                "form-data; name=\"f\"; filename=\"a\\\".exe\\\".pdf\"",
                Some("application/pdf"),
                PDF,
            )],
            BODY,
        ),
        (
            "two dispositions",
            vec![
                file("a.pdf", "application/pdf", PDF)
                    .header("Content-Disposition: form-data; name=\"f\"; filename=\"a.exe\""),
            ],
            TYPE,
        ),
        (
            "two types",
            vec![file("a.pdf", "application/pdf", PDF).header("Content-Type: text/html")],
            TYPE,
        ),
        (
            "a transfer encoding",
            vec![
                file("a.txt", "text/plain", b"PGh0bWw+")
                    .header("Content-Transfer-Encoding: base64"),
            ],
            BODY,
        ),
        (
            "no field",
            vec![part("attachment; filename=\"a.pdf\"", None, PDF)],
            BODY,
        ),
        (
            "a field without a name",
            vec![part("form-data; filename=\"a.pdf\"", None, PDF)],
            BODY,
        ),
        ("a charset for all", vec![field("_charset_", "utf-7")], BODY),
        ("a field with a zero", vec![field("a", "b\0c")], BODY),
        (
            "a file without a name",
            vec![part("form-data; name=\"f\"", Some("application/pdf"), PDF)],
            TYPE,
        ),
        (
            "fields without end",
            (0..300).map(|_| field("a", "b")).collect(),
            BODY,
        ),
        ("much text", vec![field("a", &"b".repeat(70_000))], SIZE),
        (
            "two files",
            vec![
                file("a.pdf", "application/pdf", PDF),
                file("b.pdf", "application/pdf", PDF),
            ],
            SIZE,
        ),
    ])
    .await;
}

#[tokio::test]
async fn bodies_that_are_not_what_was_looked_at_are_refused() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    let pdf = || post_raw(&client, Some("a.pdf"), "application/pdf", PDF);
    let mut answers = Vec::new();
    for (what, request, expected) in [
        ("packed", pdf().header("content-encoding", "gzip"), TYPE),
        (
            "a part of a file",
            pdf().header("content-range", "bytes 0-9/100"),
            BODY,
        ),
        // Refused on the wire already.
        (
            "two types",
            pdf().header("content-type", "text/html"),
            (400, "malformed-request"),
        ),
        (
            "two names",
            pdf().header("content-disposition", "attachment; filename=\"b.exe\""),
            BODY,
        ),
        (
            "another name",
            post_raw(&client, Some("a.exe"), "application/pdf", PDF),
            TYPE,
        ),
        (
            "another type",
            post_raw(&client, Some("a.pdf"), "text/plain", PDF),
            TYPE,
        ),
        ("no type", client.post("/upload").body(PDF), TYPE),
        (
            "neither name nor type",
            post_raw(&client, None, "application/octet-stream", PDF),
            TYPE,
        ),
        (
            "JSON",
            post_raw(&client, None, "application/json", b"{}"),
            TYPE,
        ),
        (
            "another kind of form",
            post_raw(&client, None, "multipart/mixed; boundary=a", b"--a--"),
            TYPE,
        ),
        (
            "a form of text",
            post_raw(&client, None, "application/x-www-form-urlencoded", b"a=b"),
            TYPE,
        ),
        (
            "a form without a boundary",
            post_raw(&client, None, "multipart/form-data", b"--a--"),
            BODY,
        ),
        (
            "another content",
            post_raw(&client, Some("a.pdf"), "application/pdf", b"text"),
            CONTENT,
        ),
        (
            "infected",
            post_raw(&client, Some("a.txt"), "text/plain", clamd::EICAR),
            (422, "upload-infected"),
        ),
    ] {
        answers.push((what, request.send().await, expected));
    }
    assert_all_refused(&upstream, &answers);
    // A channel in place of a body.
    let handshake = format!(
        "GET /channel HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.address
    );
    let twin = builder(&upstream, &clamd::shared())
        .await
        .replace(
            "path = \"/upload\"\nmethods = [\"POST\", \"PUT\"]",
            "path = \"/channel\"",
        )
        .start()
        .await;
    let handshake = handshake.replace(&gateway.address.to_string(), &twin.address.to_string());
    let mut stream = TcpStream::connect(twin.address).await.unwrap();
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let answer = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_the_scanner_finds_is_refused_wherever_it_is() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    let marker = b"some text, portcullis-test-marker-not-a-virus, more text";
    let document = crate::support::zip::document_with(&[crate::support::zip::deflated(
        "word/media/a.txt",
        clamd::EICAR,
    )]);
    let clean = || file("a.txt", "text/plain", b"clean");
    for (what, path, parts) in [
        (
            "a file",
            "/upload",
            vec![file("a.txt", "text/plain", clamd::EICAR)],
        ),
        (
            "within a file",
            "/upload",
            vec![file("a.md", "text/markdown", marker)],
        ),
        (
            "in a document",
            "/upload",
            vec![file("a.docx", "application/octet-stream", &document)],
        ),
        (
            "the last of three",
            "/many",
            vec![clean(), clean(), file("a.txt", "text/plain", clamd::EICAR)],
        ),
    ] {
        let answer = post_form(&client, path, &parts).send().await;
        assert_refused(&answer, 422, "upload-infected", what);
        assert!(
            !answer.text().contains("Eicar"),
            "what was found is not told"
        );
    }
    assert_eq!(upstream.requests(), 0);
    assert_eq!(audited(&gateway, "upload.infected", 4).await.len(), 4);
}

#[tokio::test]
async fn size_is_counted_while_it_comes_in() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    // Told beforehand.
    let host = gateway.address;
    let head = format!(
        "POST /many HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/pdf\r\nContent-Length: 1000000\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // A file that is too large, in a body that is not.
    let large = vec![b'a'; 64 * 1024 + 1];
    let answer = post_form(&client, "/many", &[file("a.txt", "text/plain", &large)])
        .send()
        .await;
    assert_refused(&answer, 413, "body-too-large", "a file");
    let answer = post_form(
        &client,
        "/many",
        &[file("a.txt", "text/plain", &large[1..])],
    )
    .send()
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Without end: the gate does not wait for it.
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "POST /many HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut piece = b"4000\r\n".to_vec();
    piece.extend_from_slice(&[b'a'; 0x4000]);
    piece.extend_from_slice(b"\r\n");
    for _ in 0..6 {
        stream.write_all(&piece).await.unwrap();
    }
    let answer = sockets::read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn the_head_of_a_part_has_an_end() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let endless = part(
        &format!("form-data; name=\"a\"; x=\"{}\"", "y".repeat(200_000)),
        None,
        b"",
    );
    let answer = post_form(&gateway.client(), "/upload", &[endless])
        .send()
        .await;
    assert_refused(&answer, 400, "malformed-body", "a head");
    let before_all = [vec![b'x'; 200_000], super::form(&[field("a", "b")])].concat();
    let answer = gateway
        .client()
        .post("/upload")
        .header(
            "content-type",
            &format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(before_all)
        .send()
        .await;
    assert_refused(&answer, 400, "malformed-body", "what lies before");
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let whole = super::form(&[file("a.pdf", "application/pdf", PDF)]);
    for (what, keep) in [
        ("in the file", whole.len() / 2),
        ("before the last byte", whole.len() - 1),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
            gateway.address,
            whole.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&whole[..keep]).await.unwrap();
        if keep < whole.len() - 1 {
            eventually("the upload is in quarantine", || held(&gateway) == 1).await;
        }
        drop(stream);
        eventually(&format!("nothing is held: {what}"), || held(&gateway) == 0).await;
    }
    // One without its last boundary, and whole for HTTP.
    let answer = gateway
        .client()
        .post("/upload")
        .header(
            "content-type",
            &format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(whole[..whole.len() - 8].to_vec())
        .send()
        .await;
    assert_refused(&answer, 400, "malformed-body", "no last boundary");
    assert_eq!(upstream.requests(), 0);
}

/// Quarantined files that the gate has open.
pub(crate) fn held(gateway: &Gateway) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains("/quarantine/"))
        .count()
}

#[tokio::test]
async fn the_quarantine_is_for_the_gate_alone_and_its_files_have_no_names() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let folder = gateway.folder.join("quarantine");
    let answer = post_raw(&gateway.client(), None, "application/pdf", PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);

    // One that is under way: open, and in no folder.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {}\r\nContent-Type: application/pdf\r\nContent-Length: 1000\r\n\r\n%PDF",
        gateway.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the upload is in quarantine", || held(&gateway) == 1).await;
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    // Killed: nothing is left behind, nothing needs to be swept.
    let again = gateway.kill();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    drop(stream);

    // Open to others: refused until it is not.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = again.start().await;
    let answer = post_raw(&gateway.client(), None, "application/pdf", PDF)
        .send()
        .await;
    assert_refused(&answer, 503, "temporarily-unavailable", "a folder for all");
    gateway.wait_until_printed("chmod 700").await;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let answer = post_raw(&gateway.client(), None, "application/pdf", PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.requests(), 2);
}

#[tokio::test]
async fn more_at_once_than_may_be_are_told_to_come_back() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared())
        .await
        .replace("[uploads]\n", "[uploads]\nat-once = 1\n")
        .start()
        .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {}\r\nContent-Type: application/pdf\r\nContent-Length: 1000\r\n\r\n%PDF",
        gateway.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the upload is in quarantine", || held(&gateway) == 1).await;
    let answer = post_raw(&gateway.client(), None, "application/pdf", PDF)
        .send()
        .await;
    assert_refused(&answer, 503, "overloaded", "the second");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(gateway.client().get("/elsewhere").send().await.status, 200);
    drop(stream);
    eventually("nothing is held", || held(&gateway) == 0).await;
    let answer = post_raw(&gateway.client(), None, "application/pdf", PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn beside_a_proxy_such_a_route_is_closed() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared())
        .await
        .replace(
            "[listen]\n",
            "[listen]\ntrusted-proxies = [\"127.0.0.1/32\"]\n",
        )
        .replace(
            "[admin]",
            "[forward-auth]\nproxies = [\"127.0.0.1/32\"]\n\n[admin]",
        )
        .start()
        .await;
    for (target, status) in [("/upload", 404), ("/elsewhere", 200)] {
        let answer = gateway
            .client()
            .get("/.portcullis/forward-auth")
            .header("x-forwarded-method", "POST")
            .header("x-forwarded-uri", target)
            .header("x-forwarded-host", &gateway.address.to_string())
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-for", "192.0.2.1")
            .send()
            .await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
}
