//! What is taken, as the product gets it.

use serde_json::{Value, json};

use super::{
    BOUNDARY, JPEG, PDF, PNG, Part, assert_refused, audited, builder, field, file, gateway, part,
    post_form, post_raw,
};
use crate::support::{Client, Gateway, Received, Upstream, clamd, required, zip};
use crate::webhooks::verified;

pub(crate) fn sha256(content: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        content,
    ))
}

/// The claims of the receipt that came along.
pub(super) async fn receipt(gateway: &Gateway, received: &Received) -> Value {
    let receipt = received.header("x-portcullis-upload").expect("a receipt");
    assert_eq!(
        jsonwebtoken::decode_header(receipt).unwrap().typ.as_deref(),
        Some("portcullis-upload+jwt")
    );
    verified(gateway, receipt).await
}

/// A form as a product reads it: head and content of each part.
pub(super) fn read_form(received: &Received) -> Vec<(String, Vec<u8>)> {
    let kind = received.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = &received.body;
    let mark = format!("--{boundary}");
    let find = |from: usize, what: &[u8]| {
        text[from..]
            .windows(what.len())
            .position(|part| part == what)
            .map(|at| from + at)
    };
    let mut parts = Vec::new();
    let mut at = 0;
    assert_eq!(find(0, mark.as_bytes()), Some(0));
    loop {
        at += mark.len();
        if &text[at..] == b"--\r\n" {
            return parts;
        }
        let end_of_head = find(at, b"\r\n\r\n").unwrap();
        let end = find(end_of_head, format!("\r\n{mark}").as_bytes()).unwrap();
        let head = String::from_utf8(text[at + 2..end_of_head].to_vec()).unwrap();
        parts.push((head, text[end_of_head + 4..end].to_vec()));
        at = end + 2;
    }
}

#[tokio::test]
async fn a_form_goes_on_written_anew_with_a_receipt() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let parts = [
        field("title", "Grüße\r\n--not a boundary"),
        file("Übersicht.pdf", "application/pdf", PDF),
        part(
            "form-data; name=\"more\"; filename=\"\"",
            Some("application/octet-stream"),
            b"",
        ),
        part(
            "form-data; name=\"meta\"",
            Some("application/json"),
            b"{\"a\":1}",
        ),
    ];
    let answer = post_form(&gateway.client(), "/upload?a=b", &parts)
        .header("content-md5", "of the form that came")
        .header("x-portcullis-upload", "forged")
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    assert_eq!(received.target, "/upload?a=b");
    assert_eq!(
        received
            .headers
            .get_all("x-portcullis-upload")
            .iter()
            .count(),
        1
    );
    assert!(received.header("content-md5").is_none());
    let length: usize = received.header("content-length").unwrap().parse().unwrap();
    assert_eq!(length, received.body.len());
    assert!(!String::from_utf8_lossy(&received.body).contains(BOUNDARY));
    let form = read_form(&received);
    assert_eq!(
        form,
        [
            ("Content-Disposition: form-data; name=\"title\"".to_owned(), "Grüße\r\n--not a boundary".as_bytes().to_vec()),
            ("Content-Disposition: form-data; name=\"file\"; filename=\"Übersicht.pdf\"\r\nContent-Type: application/pdf".to_owned(), PDF.to_vec()),
            ("Content-Disposition: form-data; name=\"more\"; filename=\"\"".to_owned(), Vec::new()),
            ("Content-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json".to_owned(), b"{\"a\":1}".to_vec()),
        ]
    );
    let claims = receipt(&gateway, &received).await;
    assert_eq!(claims["verdict"], "clean");
    assert!(
        claims["scanner"].as_str().unwrap().starts_with("ClamAV "),
        "{claims}"
    );
    assert_eq!(claims["request"], received.header("x-request-id").unwrap());
    assert_eq!(
        claims["files"],
        json!([{
            "field": "file", "name": "Übersicht.pdf", "type": "pdf", "media_type": "application/pdf",
            "size": PDF.len(), "sha256": sha256(PDF),
        }])
    );
}

#[tokio::test]
async fn one_file_as_the_whole_body_goes_on_as_it_is() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    let document = zip::zip(&zip::document());
    for (name, kind, content, told, disposition) in [
        (
            Some("a b.pdf"),
            "application/pdf",
            PDF,
            "application/pdf",
            Some("attachment; filename=\"a b.pdf\""),
        ),
        (
            None,
            "text/plain; charset=UTF-8",
            "Grüße".as_bytes(),
            "text/plain; charset=utf-8",
            None,
        ),
        (
            Some("x.md"),
            "application/octet-stream",
            b"# Title\n<div>",
            "text/markdown; charset=utf-8",
            Some("attachment; filename=\"x.md\""),
        ),
        (
            Some("a.docx"),
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            &document[..],
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Some("attachment; filename=\"a.docx\""),
        ),
    ] {
        let answer = post_raw(&client, name, kind, content).send().await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let received = upstream.last();
        assert_eq!(&received.body[..], content);
        assert_eq!(received.header("content-type"), Some(told));
        assert_eq!(received.header("content-disposition"), disposition);
        let claims = receipt(&gateway, &received).await;
        assert_eq!(claims["files"][0]["sha256"], sha256(content));
        assert_eq!(claims["files"][0]["name"], json!(name));
        assert_eq!(claims["files"][0]["size"], content.len());
    }
    // A name in other letters has one spelling that all know.
    let answer = client
        .post("/upload")
        .header("content-type", "application/pdf")
        .header(
            "content-disposition",
            "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe.pdf",
        )
        .body(PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        upstream.last().header("content-disposition"),
        Some("attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%2Epdf")
    );
}

#[tokio::test]
async fn several_files_go_where_several_are_taken() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let (png, jpeg) = (PNG, JPEG);
    let parts = [
        file("a.png", "image/png", png),
        file("b.JPG", "image/jpeg", jpeg),
        file("c.txt", "text/plain", b"text"),
    ];
    let answer = post_form(&gateway.client(), "/many", &parts).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    let form = read_form(&received);
    assert_eq!(form.len(), 3);
    assert_eq!(
        (&form[0].1[..], &form[1].1[..], &form[2].1[..]),
        (png, jpeg, &b"text"[..])
    );
    let claims = receipt(&gateway, &received).await;
    let digests: Vec<&str> = claims["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["sha256"].as_str().unwrap())
        .collect();
    assert_eq!(digests, [sha256(png), sha256(jpeg), sha256(b"text")]);
}

#[tokio::test]
async fn the_receipt_says_who_it_was() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared())
        .await
        .replace(
            "allow = \"public\"\nupload = {}",
            "allow = \"user\"\nupload = {}",
        )
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    assert_eq!(
        post_form(
            &gateway.client(),
            "/upload",
            &[file("a.pdf", "application/pdf", PDF)]
        )
        .send()
        .await
        .status,
        401
    );
    assert_eq!(upstream.requests(), 0);
    let ana = gateway.signed_in("ana@corp.test").await;
    let answer = ana
        .post("/upload")
        .header("content-type", "application/pdf")
        .body(PDF)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    let claims = receipt(&gateway, &received).await;
    let assertion = verified(&gateway, received.header("x-portcullis-assertion").unwrap()).await;
    assert_eq!(
        (&claims["sub"], &claims["kind"]),
        (&assertion["sub"], &json!("user"))
    );
}

#[tokio::test]
async fn what_has_no_body_passes_without_a_receipt_and_what_has_one_is_screened() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared())
        .await
        .replace("methods = [\"POST\", \"PUT\"]\n", "")
        .start()
        .await;
    let client = gateway.client();
    for method in ["GET", "DELETE"] {
        let request = client.request(method.parse().unwrap(), "/upload");
        let answer = request.header("x-portcullis-upload", "forged").send().await;
        assert_eq!(answer.status, 200);
        assert!(upstream.last().header("x-portcullis-upload").is_none());
    }
    let seen = upstream.requests();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let request = client.request(method.parse().unwrap(), "/upload");
        let answer = request.body("anything").send().await;
        assert_refused(&answer, 415, "upload-type-refused", method);
    }
    let answer = client.post("/upload").send().await;
    assert_refused(&answer, 415, "upload-type-refused", "nothing");
    assert_eq!(upstream.requests(), seen);
}

#[tokio::test]
async fn ten_an_hour_are_taken_of_one_caller_and_no_more() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream, &clamd::shared())
        .await
        .replace("\n[limits.uploads]\nrate = \"100000/minute\"\n", "")
        .start()
        .await;
    let client = gateway.client();
    for _ in 0..10 {
        assert_eq!(
            post_raw(&client, None, "application/pdf", PDF)
                .send()
                .await
                .status,
            200
        );
    }
    let answer = post_raw(&client, None, "application/pdf", PDF).send().await;
    assert_refused(&answer, 429, "rate-limited", "the eleventh");
    // Of the same budget, whatever the route.
    let answer = post_form(&client, "/many", &[file("a.pdf", "application/pdf", PDF)])
        .send()
        .await;
    assert_refused(&answer, 429, "rate-limited", "another route");
    assert_eq!(upstream.requests(), 10);
    assert_eq!(client.get("/elsewhere").send().await.status, 200);
}

#[tokio::test]
async fn uploads_are_recorded_and_counted_without_their_names() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    let taken = file("Ana-Muster-Diagnosis.pdf", "application/pdf", PDF);
    assert_eq!(
        post_form(&client, "/upload", &[taken]).send().await.status,
        200
    );
    let refused = file("Ana-Muster-Diagnosis.pdf", "application/pdf", b"no pdf");
    assert_eq!(
        post_form(&client, "/upload", &[refused])
            .send()
            .await
            .status,
        422
    );
    let infected = file("Ana-Muster-Diagnosis.txt", "text/plain", clamd::EICAR);
    assert_eq!(
        post_form(&client, "/upload", &[infected])
            .send()
            .await
            .status,
        422
    );

    let event = &audited(&gateway, "upload.accepted", 1).await[0];
    assert_eq!(event["metadata"]["sha256-begins"], sha256(PDF)[..24]);
    assert_eq!(
        (&event["metadata"]["verdict"], &event["metadata"]["bytes"]),
        (&json!("clean"), &json!(PDF.len()))
    );
    assert_eq!(audited(&gateway, "upload.refused", 1).await.len(), 1);
    let event = &audited(&gateway, "upload.infected", 1).await[0];
    assert!(
        event["metadata"]["reason"]
            .as_str()
            .unwrap()
            .contains("Eicar"),
        "{event}"
    );
    let metrics = Client::to(gateway.admin)
        .get("/metrics")
        .send()
        .await
        .text();
    for line in [
        "portcullis_uploads_total{outcome=\"accepted\"} 1",
        "portcullis_uploads_total{outcome=\"refused\"} 1",
        "portcullis_uploads_total{outcome=\"infected\"} 1",
        "portcullis_dependency_up{dependency=\"scanner\"} 1",
        &format!("portcullis_uploaded_bytes_total {}", PDF.len()),
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let all = gateway.cli(&["--output", "json", "audit", "list"]);
    for text in [
        String::from_utf8_lossy(&all.stdout).into_owned(),
        gateway.printed(),
    ] {
        assert!(!text.contains("Muster"), "{text}");
    }
}

#[tokio::test]
async fn documents_of_another_program_are_taken() {
    // What Python's zipfile writes, to a file and to a pipe: with sizes before the data, and after it.
    const PROGRAM: &str = "
import io, sys, zipfile
class Pipe(io.RawIOBase):
    def __init__(self, to): self.to = to
    def writable(self): return True
    def write(self, data): return self.to.write(data)
parts = eval(sys.stdin.read())
out = io.BytesIO()
with zipfile.ZipFile(Pipe(out) if sys.argv[1] == 'pipe' else out, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, data in parts: archive.writestr(name, data)
sys.stdout.buffer.write(out.getvalue())
";
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let parts: Vec<String> = zip::document()
        .iter()
        .map(|entry| {
            let (name, data) = (
                String::from_utf8_lossy(&entry.name),
                hex::encode(entry.data()),
            );
            format!("('{name}', bytes.fromhex('{data}'))")
        })
        .collect();
    for to in ["file", "pipe"] {
        let document = run_python(PROGRAM, to, format!("[{}]", parts.join(",")).as_bytes());
        assert_eq!(document[6] & 8 != 0, to == "pipe", "sizes after the data");
        let part = file("a.docx", "application/octet-stream", &document);
        let answer = post_form(&gateway.client(), "/upload", &[part])
            .send()
            .await;
        assert_eq!(answer.status, 200, "{to}: {}", answer.text());
    }
}

fn run_python(program: &str, argument: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(required("PORTCULLIS_TEST_PYTHON"))
        .args(["-c", program, argument])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn pieces_of_any_size_make_the_same_form() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let parts: [Part; 2] = [field("a", "b"), file("a.pdf", "application/pdf", PDF)];
    let body = super::form(&parts);
    for size in [1, 7, 64] {
        let mut request = format!(
            "POST /upload HTTP/1.1\r\nHost: {}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            gateway.address
        )
        .into_bytes();
        for piece in body.chunks(size) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let answer = gateway.client().raw(&request).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200"), "{size}: {answer}");
        assert_eq!(read_form(&upstream.last())[1].1, PDF);
    }
}

/// The check that the page gives to the product, as it stands there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_s_check_of_a_receipt_holds() {
    let upstream = Upstream::start().await;
    let gateway = gateway(&upstream).await;
    let client = gateway.client();
    assert_eq!(
        post_raw(&client, None, "application/pdf", PDF)
            .send()
            .await
            .status,
        200
    );
    let received = upstream.last();
    let receipt = received.header("x-portcullis-upload").unwrap().to_owned();
    let assertion = received
        .header("x-portcullis-assertion")
        .unwrap()
        .to_owned();

    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/uploads.md"
    ))
    .unwrap();
    let (_, code) = page.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let code = code.replace("127.0.0.1:8080", &gateway.address.to_string());
    let program = format!(
        "{code}\nimport sys\ncase, receipt, content = sys.stdin.buffer.read().split(b' ', 2)\ntry:\n    sys.stdout.write(check(receipt.decode(), content)['files'][0]['type'])\nexcept Exception as error:\n    sys.stdout.write('refused')\n"
    );
    let run = |receipt: &str, content: &[u8]| {
        let input = [b"x ", receipt.as_bytes(), b" ", content].concat();
        String::from_utf8(run_python(&program, "", &input)).unwrap()
    };
    assert_eq!(run(&receipt, PDF), "pdf");
    assert_eq!(run(&receipt, b"another file"), "refused");
    assert_eq!(run(&assertion, PDF), "refused", "another kind of token");
    let mut forged = receipt.clone();
    let middle = forged.len() / 2;
    let other = if forged.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    forged.replace_range(middle..=middle, other);
    assert_eq!(run(&forged, PDF), "refused");
}
