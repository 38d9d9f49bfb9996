//! Forms, names and files of every kind: whatever comes in, the gate says yes or no, and what it takes has the
//! digest of what it hands on.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use portcullis_core::size::ByteSize;
use portcullis_core::upload::{FileType, UploadConfig};
use portcullis_guard::uploads::{Chunk, Config, Rules, Shape, Taken, Uploads};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

const LARGEST: u64 = 256 * 1024;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).build().expect("a runtime")
});

static UPLOADS: LazyLock<Arc<Uploads>> = LazyLock::new(|| {
    let config = Config {
        scanner: Some("none".to_owned()),
        ..Config::default()
    };
    let folder = std::env::temp_dir().join("portcullis-fuzz-uploads");
    Arc::new(config.start(&folder))
});

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let config = UploadConfig {
        types: FileType::ALL.to_vec(),
        max_size: ByteSize::bytes(LARGEST),
        max_files: 4,
        store: false,
    };
    Rules::compile(&config, "route.0.upload").expect("good rules")
});

fuzz_target!(|input: (u8, String, Vec<Vec<u8>>)| {
    let (kind, name, pieces) = input;
    let called = match kind % 8 {
        0 => "application/pdf",
        1 => "application/octet-stream",
        2 => "text/plain",
        3 => "text/markdown",
        4 => "image/png",
        5 => "image/jpeg",
        _ => "multipart/form-data; boundary=b",
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let request = Request::post("/").header("content-type", called).header("content-disposition", disposition);
    let Ok(request) = request.body(()) else {
        return;
    };
    let (head, ()) = request.into_parts();
    let Ok(shape) = Shape::of(&head, &RULES) else {
        return;
    };
    RUNTIME.block_on(async {
        let (sender, chunks) = mpsc::channel(pieces.len() + 1);
        for piece in pieces {
            sender.send(Chunk::Data(Bytes::from(piece))).await.expect("room");
        }
        sender.send(Chunk::End).await.expect("room");
        let place = UPLOADS.place().expect("a place");
        let Ok(Taken::Accepted(accepted)) = UPLOADS.take(&RULES, shape, chunks, place).await else {
            return;
        };
        let files = accepted.files.clone();
        assert!(files.len() <= 4 && files.iter().all(|file| file.size > 0 && file.size <= LARGEST));
        let mut headers = http::HeaderMap::new();
        accepted.describe(&mut headers);
        let length: usize = headers["content-length"].to_str().expect("text").parse().expect("a number");
        let body = accepted.into_body(RUNTIME.handle()).collect().await.expect("a body").to_bytes();
        assert_eq!(body.len(), length);
    });
});
