use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;

use super::*;

fn head(length: Option<&str>) -> Parts {
    let mut request = http::Request::post("/");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn an_announced_length_is_checked_at_once() {
    let limit = ByteSize::bytes(10);
    for fits in [None, Some("0"), Some("10")] {
        assert_eq!(check_length(&head(fits), limit), Ok(()));
    }
    for over in ["11", "18446744073709551616", "-1", "1e1", ""] {
        let outcome = check_length(&head(Some(over)), limit);
        assert_eq!(outcome, Err(Error::TooLarge { limit: 10 }), "{over}");
    }
}

/// Reads chunks of these lengths through the limit: bytes that passed, and the overflow if any.
fn read(chunks: &[usize], limit: u64) -> (usize, Option<Overflow>) {
    let frames: Vec<_> = chunks
        .iter()
        .map(|length| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; *length]))))
        .collect();
    let mut body = LimitedBody::new(
        StreamBody::new(futures_util::stream::iter(frames)),
        ByteSize::bytes(limit),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut passed = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => passed += frame.data_ref().map_or(0, Bytes::len),
                Err(error) => {
                    assert!(body.frame().await.is_none(), "nothing follows an overflow");
                    return (passed, Overflow::find(&*error));
                }
            }
        }
        (passed, None)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a body is cut into chunks, at most the limit passes, and the rest is an error.
    #[test]
    fn a_streaming_body_is_cut_off_at_its_limit(chunks in proptest::collection::vec(0_usize..50, 0..8), limit in 0_u64..200) {
        let whole: usize = chunks.iter().sum();
        let (passed, overflow) = read(&chunks, limit);
        prop_assert!(passed as u64 <= limit);
        if whole as u64 > limit {
            prop_assert_eq!(overflow, Some(Overflow::Size { limit }));
        } else {
            prop_assert_eq!((passed, overflow), (whole, None));
        }
    }

    /// What is measured as sound is read as the same document, and what a parser takes is measured as
    /// sound, as long as the bounds hold.
    #[test]
    fn json_that_parses_is_within_wide_bounds(text in "[\\[\\]{}\",:a0 \\\\]{0,24}") {
        let wide = JsonBounds { max_depth: 64, max_keys: 64, ..JsonBounds::default() };
        if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            let outcome = wide.check(text.as_bytes());
            prop_assert!(matches!(outcome, Ok(()) | Err(JsonError::DuplicateKey)), "{} {:?}", text, outcome);
        }
    }
}

#[test]
fn json_is_bounded_in_depth_size_and_keys() {
    let bounds = JsonBounds {
        max_size: ByteSize::kib(1),
        max_depth: 3,
        max_keys: 4,
    };
    for good in [
        r"{}",
        r#"{"a":{"b":[1,"[[[["]}}"#,
        r#"{"a":1,"b":2,"c":3,"d":4}"#,
        r#"{"a":{"x":1},"b":{"x":2}}"#,
        r#"["a","a"]"#,
        r#"{"a":"a","b":"a"}"#,
        r#""\"{""#,
        "12",
    ] {
        assert_eq!(bounds.check(good.as_bytes()), Ok(()), "{good}");
    }
    let cases: &[(&[u8], JsonError)] = &[
        (b"[[[[1]]]]", JsonError::TooDeep(3)),
        (br#"{"a":[{"b":{}}]}"#, JsonError::TooDeep(3)),
        (
            br#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#,
            JsonError::TooManyKeys(4),
        ),
        (br#"{"a":1,"a":2}"#, JsonError::DuplicateKey),
        (br#"{"a":1, "\u0061":2}"#, JsonError::DuplicateKey),
        (br#"{"a":{"b":1,"b":2}}"#, JsonError::DuplicateKey),
        (br#"{"a":[1,{}],"a":2}"#, JsonError::DuplicateKey),
        (b"{", JsonError::Malformed),
        (b"]", JsonError::Malformed),
        (b"{]", JsonError::Malformed),
        (b"\"", JsonError::Malformed),
        (b"\xff", JsonError::Malformed),
        (br#"{"\q":1}"#, JsonError::Malformed),
    ];
    for (body, error) in cases {
        assert_eq!(bounds.check(body), Err(*error), "{}", body.escape_ascii());
    }
    let long = vec![b' '; 1025];
    assert_eq!(
        bounds.check(&long),
        Err(JsonError::TooLarge(ByteSize::kib(1)))
    );
}

#[test]
fn a_megabyte_of_brackets_is_refused_without_being_read() {
    let bounds = JsonBounds {
        max_size: ByteSize::mib(2),
        ..JsonBounds::default()
    };
    assert_eq!(
        bounds.check(&vec![b'['; 1 << 20]),
        Err(JsonError::TooDeep(16))
    );
}
