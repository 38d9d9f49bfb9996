use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;

use super::*;

const PLACEHOLDER: &str = "0123456789abcdef";

fn rewrite_with(plan: Plan) -> Rewrite {
    Rewrite {
        nonce: Nonce("NONCE".into()),
        plan,
    }
}

fn placeholder() -> Rewrite {
    rewrite_with(Plan::Placeholder(PLACEHOLDER.into()))
}

/// Streams these chunks through the rewriting: the text that comes out, and the largest chunk.
fn run(rewrite: &Rewrite, chunks: &[&[u8]]) -> (String, usize) {
    let frames: Vec<_> = chunks
        .iter()
        .map(|chunk| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(chunk))))
        .collect();
    let inner = StreamBody::new(futures_util::stream::iter(frames));
    let mut body = NonceBody::new(inner, rewrite);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut text, mut largest) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(!data.is_empty());
            largest = largest.max(data.len());
            text.extend_from_slice(&data);
        }
        (String::from_utf8(text).unwrap(), largest)
    })
}

fn text(rewrite: &Rewrite, page: &str) -> String {
    run(rewrite, &[page.as_bytes()]).0
}

#[test]
fn only_what_bears_the_placeholder_gets_the_nonce() {
    let page = format!(
        "<!doctype html><script nonce=\"{PLACEHOLDER}\">a</script><STYLE NONCE={PLACEHOLDER}></STYLE>\
         <p>{PLACEHOLDER}</p><script>evil</script><script nonce=\"guess\">evil</script>\
         <img onerror=evil nonce={PLACEHOLDER}>"
    );
    let text = text(&placeholder(), &page);
    assert_eq!(text.matches("NONCE\"").count(), 2, "{text}");
    assert!(
        text.contains("<script>evil</script><script nonce=\"guess\">evil</script>"),
        "{text}"
    );
    assert!(text.contains(&format!("<p>{PLACEHOLDER}</p>")));
}

#[test]
fn a_script_inside_text_is_text() {
    let page = format!(
        "<textarea><script nonce={PLACEHOLDER}></textarea><!-- <script nonce={PLACEHOLDER}> -->\
         <title><script nonce={PLACEHOLDER}></title>"
    );
    assert_eq!(text(&placeholder(), &page), page);
}

#[test]
fn all_means_every_script_and_style() {
    let page =
        "<script src=a></script><style>b</style><link rel=stylesheet><script nonce=old></script>";
    let text = text(&rewrite_with(Plan::All), page);
    assert_eq!(text.matches("nonce=\"NONCE\"").count(), 4, "{text}");
    assert!(!text.contains("old"));
}

#[test]
fn a_tag_too_large_for_memory_passes_untouched_with_everything_behind_it() {
    let huge = format!(
        "<script nonce={PLACEHOLDER}></script><script x=\"{}",
        "y".repeat(2 * MEMORY)
    );
    let tail = format!("\"></script><script nonce={PLACEHOLDER}></script>");
    let (text, _) = run(
        &placeholder(),
        &[huge.as_bytes(), tail.as_bytes(), b"<p>end"],
    );
    assert!(text.starts_with("<script nonce=\"NONCE\">"));
    assert_eq!(text.matches("NONCE").count(), 1);
    assert_eq!(
        text.len(),
        huge.len() + tail.len() + "<p>end".len() + "NONCE\"\"".len() - PLACEHOLDER.len()
    );
}

#[test]
fn a_page_streams_through_as_it_comes() {
    let chunk = "<p>text</p>".repeat(100);
    let chunks: Vec<&[u8]> = std::iter::repeat_n(chunk.as_bytes(), 50).collect();
    let (text, largest) = run(&placeholder(), &chunks);
    assert_eq!(text, chunk.repeat(50));
    assert!(largest <= chunk.len() + FIRST_BUFFER, "{largest}");
}

#[test]
fn trailers_follow_the_page() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    let frames = vec![
        Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"<p>a<scr"))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = NonceBody::new(
        StreamBody::new(futures_util::stream::iter(frames)),
        &placeholder(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let whole = runtime.block_on(body.collect()).unwrap();
    assert_eq!(whole.trailers().unwrap()["x-sum"], "1");
    assert_eq!(whole.to_bytes(), "<p>a<scr");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However a page is cut into chunks, the same page comes out.
    #[test]
    fn the_cuts_of_a_page_do_not_matter(cuts in proptest::collection::vec(0_usize..200, 0..6)) {
        let page = format!(
            "<!doctype html><p>é</p><script nonce='{PLACEHOLDER}'>if (a < b) {{}}</script>\
             <style nonce={PLACEHOLDER}>p {{}}</style><script>x</script>"
        );
        let whole = text(&placeholder(), &page);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(page.len())).collect();
        cuts.extend([0, page.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &page.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(run(&placeholder(), &chunks).0, whole);
    }
}
