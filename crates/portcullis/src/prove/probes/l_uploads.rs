//! l. Uploads. All in rehearsal: what a user may upload in an hour is theirs.

use std::os::unix::fs::PermissionsExt as _;

use super::g_limits::{text_file, upload_route, uploads_of_one};
use super::routes;
use super::stored::below;
use crate::prove::Scene;
use crate::prove::probe::{ALWAYS, Held, Place, Probed, Short, must};
use crate::prove::wire::{Browser, Reply};
use crate::prove::world::World;

/// The test file that every scanner finds, in two parts, so that none finds it in this program.
const TEST_FILE: [&[u8]; 2] = [
    br"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-",
    b"ANTIVIRUS-TEST-FILE!$H+H*",
];

fn route(w: &World) -> Result<String, Short> {
    upload_route(w).ok_or_else(|| Short::not_configured("route.upload (for users)"))
}

async fn send(
    browser: &Browser,
    path: &str,
    name: &str,
    kind: &str,
    content: &[u8],
) -> anyhow::Result<Reply> {
    let mut body = format!("--prove\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: {kind}\r\n\r\n").into_bytes();
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n--prove--\r\n");
    browser
        .change("POST", path)
        .body("multipart/form-data; boundary=prove", body)
        .send()
        .await
}

/// U1
pub(super) async fn size_and_kind(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let path = route(w)?;
    let browser = w.signed_in(&w.people.plain).await?;
    let before = w.product()?.count(&path);
    let samples = routes::of_policy(w);
    let config = samples
        .iter()
        .find(|sample| sample.path == path)
        .and_then(|sample| sample.route.upload.clone())
        .unwrap_or_default();
    let largest = usize::try_from(config.max_size.as_u64()).unwrap_or(usize::MAX);
    let mut seen = Vec::new();
    for (what, name, kind, content) in [
        (
            "a program",
            "a.exe",
            "application/octet-stream",
            &b"MZ\x90\x00"[..],
        ),
        (
            "text that calls itself PDF",
            "a.pdf",
            "application/pdf",
            b"no pdf at all",
        ),
        (
            "a page of HTML",
            "a.html",
            "text/html",
            b"<script>1</script>",
        ),
        ("a name that leads out", "../a.txt", "text/plain", b"text"),
    ] {
        let reply = send(&browser, &path, name, kind, content).await?;
        must(
            (400..500).contains(&reply.status) && reply.status != 429,
            || format!("{what} is answered {}", reply.said()),
            "[route.upload] types",
        )?;
        seen.push(reply.said());
    }
    if largest <= 64 * 1024 * 1024 {
        let large = vec![b'a'; largest.saturating_add(1)];
        let reply = send(&browser, &path, "large.txt", "text/plain", &large).await;
        // A refusal may close the connection while the rest is still being sent.
        let said = reply.map_or_else(|_| "closed".to_owned(), |reply| reply.said());
        must(
            said == "closed" || said.starts_with("413"),
            || format!("a file of {} bytes is answered {said}", large.len()),
            "[route.upload] max-size",
        )?;
        seen.push(said);
    }
    must(
        w.product()?.count(&path) == before,
        || "the product saw one of them".to_owned(),
        ALWAYS,
    )?;
    let good = text_file(&browser, &path, 1).send().await?;
    must(
        good.passed(),
        || format!("a plain text file is answered {}", good.said()),
        "[route.upload] types",
    )?;
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "{}: refused ({}), the product saw none; a text file passes",
            "a program, text as PDF, HTML, a name that leads out, one byte too many",
            seen.join(", ")
        ),
    ))
}

/// U2
pub(super) async fn scanned_and_sealed(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let path = route(w)?;
    let browser = w.signed_in(&w.people.plain).await?;
    let reply = send(
        &browser,
        &path,
        "test.txt",
        "text/plain",
        &TEST_FILE.concat(),
    )
    .await?;
    must(
        reply.problem() == "upload-infected",
        || format!("the test file of scanners is answered {}", reply.said()),
        "[uploads] scanner",
    )?;
    let marker = format!("marker-{}", uuid::Uuid::new_v4().simple());
    let kept = send(&browser, &path, "kept.txt", "text/plain", marker.as_bytes()).await?;
    must(
        kept.passed(),
        || format!("a clean file is answered {}", kept.said()),
        "[uploads]",
    )?;
    let copy = w
        .copy
        .as_ref()
        .ok_or_else(|| Short::not_proven("there is no copy"))?;
    let (mut files, mut bytes) = (0_usize, 0_usize);
    for folder in ["uploads", "quarantine"] {
        for file in below(&copy.folder.path().join(folder)) {
            let content = std::fs::read(&file)?;
            files = files.saturating_add(1);
            bytes = bytes.saturating_add(content.len());
            let clear = content
                .windows(marker.len())
                .any(|part| part == marker.as_bytes());
            must(
                !clear,
                || format!("`{folder}` holds a file in the clear"),
                ALWAYS,
            )?;
            let mode = std::fs::metadata(&file)?.permissions().mode();
            must(
                mode.trailing_zeros() >= 6,
                || format!("a file of `{folder}` has mode {:o}", mode & 0o777),
                ALWAYS,
            )?;
        }
    }
    let stores = routes::of_policy(w).iter().any(|sample| {
        sample.path == path
            && sample
                .route
                .upload
                .as_ref()
                .is_some_and(|upload| upload.store)
    });
    must(
        !stores || files > 0,
        || "the route keeps files, and none is there".to_owned(),
        "[upload-store]",
    )?;
    let body = w
        .product()?
        .last(&path)
        .map(|seen| seen.body)
        .unwrap_or_default();
    let given = if body
        .windows(marker.len())
        .any(|part| part == marker.as_bytes())
    {
        "the product got the bytes"
    } else {
        "the product got an id"
    };
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "the scanners' test file: upload-infected; a clean one: {given}, {files} files of {bytes} bytes lie here, sealed, for the gate's user alone"
        ),
    ))
}

/// A text in a file that the gate was given to keep; nothing where the policy keeps none.
pub(super) async fn kept(w: &World, browser: &Browser) -> Result<Option<String>, Short> {
    let keeping = routes::of_policy(w).into_iter().find(|sample| {
        let upload = sample.route.upload.as_ref();
        upload.is_some_and(|upload| upload.store)
    });
    let (Some(sample), Ok(path)) = (keeping, route(w)) else {
        return Ok(None);
    };
    if sample.path != path {
        return Ok(None);
    }
    let marker = format!("marker-{}", uuid::Uuid::new_v4().simple());
    let kept = send(browser, &path, "kept.txt", "text/plain", marker.as_bytes()).await?;
    if !kept.passed() {
        let why = format!("a clean file is answered {}", kept.said());
        return Err(Short::not_proven(why));
    }
    Ok(Some(marker))
}

/// U3
pub(super) async fn often(scene: &Scene) -> Probed {
    let w = scene.rehearsal()?;
    let (passed, rates, _) = uploads_of_one(w).await?;
    let rates: Vec<String> = rates.iter().map(ToString::to_string).collect();
    Ok(Held::at(
        Place::Rehearsal,
        format!(
            "`uploads` is {}: {passed} within a moment, then 429",
            rates.join(" and ")
        ),
    ))
}
