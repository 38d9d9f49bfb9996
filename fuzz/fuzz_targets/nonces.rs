//! Nonces into HTML: however the page is cut into pieces, what comes out is the same.
#![no_main]

use bytes::Bytes;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use libfuzzer_sys::fuzz_target;
use portcullis_core::{RequestId, Scheme};
use portcullis_guard::headers::{Config, CspChoice, NonceBody, Nonces, Source};

fuzz_target!(|page: &[u8]| {
    let config = Config {
        nonces: Nonces::All,
        ..Config::default()
    };
    let headers = config.compile().expect("the settings are good");
    let route = headers
        .for_route("route.0", None, &CspChoice::Gate)
        .expect("the settings are good");
    let response = Response::builder().header(header::CONTENT_TYPE, "text/html; charset=utf-8");
    let (mut head, ()) = response.body(()).expect("a response").into_parts();
    let rewrite = headers
        .harden(
            &route,
            Scheme::Https,
            Source::Upstream,
            &mut head,
            RequestId::new(),
        )
        .expect("random numbers");
    let Some(rewrite) = rewrite else {
        return;
    };
    let whole = NonceBody::new(Full::new(Bytes::copy_from_slice(page)), &rewrite);
    let whole = futures_executor::block_on(whole.collect())
        .expect("a page")
        .to_bytes();
    let middle = page.len() / 2;
    let pieces = [&page[..middle], &page[middle..]].map(Bytes::copy_from_slice);
    let stream = futures_util::stream::iter(
        pieces.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))),
    );
    let halves = NonceBody::new(StreamBody::new(stream), &rewrite);
    let halves = futures_executor::block_on(halves.collect())
        .expect("a page")
        .to_bytes();
    assert_eq!(whole, halves);
});
