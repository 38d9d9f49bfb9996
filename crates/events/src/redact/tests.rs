use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

use super::*;

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl";

/// What `portcullis scrub` does by default.
fn usual() -> Engine {
    Engine::for_files(Rules::default())
}

fn only(kind: Kind) -> Engine {
    Engine::new(Rules {
        kinds: Kinds::default().with(kind),
        ..Rules::default()
    })
}

#[test]
fn what_gives_itself_away_is_masked() {
    for (input, output) in [
        ("password=hunter2", "password=[redacted]"),
        (
            r#"{"token": "a\"b", "n": 1}"#,
            r#"{"token": "[redacted]", "n": 1}"#,
        ),
        ("Authorization: Bearer abc", "Authorization: [redacted]"),
        ("sent bearer abc to us", "sent bearer [redacted] to us"),
        ("Cookie: a=b; c=d", "Cookie: [redacted]"),
        (JWT, "[redacted]"),
        ("key sk_live_abcdefgh1234 leaked", "key [redacted] leaked"),
        ("mail from alice@example.com", "mail from a***@example.com"),
        ("/reset/alice%40example.com", "/reset/a***%40example.com"),
        ("GET /a/b?code=1", "GET /a/b?[redacted]"),
        ("postgres://u:p@db/x", "postgres://[redacted]@db/x"),
        ("two\nlines", "two\u{fffd}lines"),
        ("a 404 at /api/v1/users/{id}", "a 404 at /api/v1/users/{id}"),
        (
            "session 01890a5d-ac96-774b-bcce-b302099a8057 ended",
            "session 01890a5d-ac96-774b-bcce-b302099a8057 ended",
        ),
    ] {
        assert_eq!(text(input), output);
    }
}

/// Lines of products, and what becomes of them.
const LINES: &[(&str, &str)] = &[
    // JSON stays JSON.
    (
        r#"{"user":"bo","password":"hun\"ter2","otp":123456,"ok":true}"#,
        r#"{"user":"bo","password":"[redacted]","otp":"[redacted]","ok":true}"#,
    ),
    (
        r#"{"credentials":{"a":"x}y","b":[1,2]},"n":1}"#,
        r#"{"credentials":"[redacted]","n":1}"#,
    ),
    (
        r#"{"body":"{\"api_key\":\"a\\\"b\",\"n\":1}","m":2}"#,
        r#"{"body":"{\"api_key\":\"[redacted]\",\"n\":1}","m":2}"#,
    ),
    (
        r#"{"body":"{\"tokens\":{\"a\":\"b\"},\"n\":1}","m":2}"#,
        r#"{"body":"{\"tokens\":\"[redacted]\",\"n\":1}","m":2}"#,
    ),
    (
        r#"{"h":"Cookie: a=b; c=d","m":2}"#,
        r#"{"h":"Cookie: [redacted]","m":2}"#,
    ),
    (
        r#"{"secret":null,"token":""}"#,
        r#"{"secret":null,"token":""}"#,
    ),
    (r#"{"max_tokens":4096}"#, r#"{"max_tokens":4096}"#),
    (
        r#"{"token":"x","h":"Cookie: a=b; c=d","m":"said \"pin: 12\" ?"}"#,
        r#"{"token":"[redacted]","h":"Cookie: [redacted]","m":"said \"pin: [redacted]\" ?"}"#,
    ),
    // logfmt and its kin
    (
        "level=info access_token=abc123 user=7",
        "level=info access_token=[redacted] user=7",
    ),
    (r#"pwd="a b c" x=1"#, r#"pwd="[redacted]" x=1"#),
    (
        "authorization=Bearer abc x=1",
        "authorization=[redacted] x=1",
    ),
    ("Password: correct horse battery", "Password: [redacted]"),
    // What was masked is not masked again, blanks behind it included.
    ("secret:Bearer `x`", "secret:[redacted] `x`"),
    ("secret:[redacted] `x`", "secret:[redacted] `x`"),
    (
        "{'api-key': 'abc', 'x': 1}",
        "{'api-key': '[redacted]', 'x': 1}",
    ),
    (
        ":password=>\"x\", :y=>1",
        ":password=>\"[redacted]\", :y=>1",
    ),
    (
        "user[password]=x&commit=1",
        "user[password]=[redacted]&commit=1",
    ),
    (
        "Server=db;Password=a!b;Port=1",
        "Server=db;Password=[redacted];Port=1",
    ),
    (
        "AccountKey=abc==;EndpointSuffix=x",
        "AccountKey=[redacted];EndpointSuffix=x",
    ),
    // Queries
    (
        "GET /x?a=1&token=b&c=2 200",
        "GET /x?a=1&token=[redacted]&c=2 200",
    ),
    ("GET /x?key=abc&c=2", "GET /x?key=[redacted]&c=2"),
    (
        "next=%2Fx%3Ftoken%3Dabc&d=1",
        "next=%2Fx%3Ftoken%3D[redacted]&d=1",
    ),
    // Headers
    (
        "-H 'Authorization: Basic YTpi' -v",
        "-H 'Authorization: [redacted]' -v",
    ),
    ("Set-Cookie: sid=1; Path=/", "Set-Cookie: [redacted]"),
    (
        "proxy sent Basic YTpi upstream",
        "proxy sent Basic [redacted] upstream",
    ),
    // URLs
    ("redis://:pa/ss@h:6379/0", "redis://[redacted]@h:6379/0"),
    (
        "https://me:tok@git.test/a/@b",
        "https://[redacted]@git.test/a/@b",
    ),
    ("https://example.test/@alice", "https://example.test/@alice"),
    // Addresses
    (
        "<bob.smith+x@mail.example.co.uk>",
        "<b***@mail.example.co.uk>",
    ),
    ("jo@example.com", "***@example.com"),
    (
        "nginx@sha256:abc npm@10.2.1 root@db",
        "nginx@sha256:abc npm@10.2.1 root@db",
    ),
    // One address runs into the next.
    ("first@one.two.j@corp.test", "f***@o***@corp.test"),
    // Cards
    ("card 4111 1111 1111 1111 ok", "card [redacted] ok"),
    ("card=4111-1111-1111-1111", "card=[redacted]"),
    ("378282246310005", "[redacted]"),
    ("3782 822463 10005.", "[redacted]."),
    ("4111111111111112", "4111111111111112"),
    (
        "ts=1700000000000000 0.4111111111111111",
        "ts=1700000000000000 0.4111111111111111",
    ),
    // Paths
    (
        "at /home/alice/app/x.py:3",
        "at /home/[redacted]/app/x.py:3",
    ),
    ("(/Users/alice/x)", "(/Users/[redacted]/x)"),
    ("GET /api/Users/7", "GET /api/Users/7"),
    (r"C:\Users\John Smith\x", r"C:\Users\[redacted]\x"),
    (r#""C:\\Users\\alice""#, r#""C:\\Users\\[redacted]""#),
    // Words
    (
        "the token is gone, no secret kept",
        "the token is gone, no secret kept",
    ),
    ("use token::parse(a)", "use token::parse(a)"),
    (
        "task-force-management at risk-adjusted-returns-of-it",
        "task-force-management at risk-adjusted-returns-of-it",
    ),
    ("basic authentication is off", "basic authentication is off"),
    (
        "ping=3 opinion: fine bypass=no",
        "ping=3 opinion: fine bypass=no",
    ),
    (
        "commit 0123456789abcdef0123456789abcdef01234567",
        "commit 0123456789abcdef0123456789abcdef01234567",
    ),
    // Somebody writes a mask before a secret.
    ("password=[redacted]hunter2 x", "password=[redacted] x"),
];

#[test]
fn lines_of_products_lose_their_secrets_and_nothing_else() {
    let engine = usual();
    for (input, output) in LINES {
        assert_eq!(engine.scrub(input), *output, "of {input}");
        assert_eq!(engine.scrub(output), *output, "a second time");
    }
}

/// A secret by its name may hold what ends a host; behind its mask the host goes on.
#[test]
fn what_was_redacted_is_redacted_no_further_where_a_secret_held_the_end_of_a_host() {
    let engine = usual();
    for (input, output) in [
        (
            "GET http://password=one/two,three@host/x",
            "GET http://[redacted]@host/x",
        ),
        ("wss://api_key=one#two;three@host", "wss://[redacted]@host"),
        (
            "redis://password=one?two,three@host",
            "redis://[redacted]@host",
        ),
        (
            "https://me@password=one/two&token=three/four,five@host",
            "https://[redacted]@host",
        ),
        // No host goes on here.
        (
            "http://password=one/two, mail or not",
            "http://password=[redacted], mail or not",
        ),
        (
            "http://host/password=one/two,three@corp",
            "http://host/password=[redacted],three@corp",
        ),
    ] {
        let once = engine.scrub(input);
        assert_eq!(once, output, "of {input}");
        assert_eq!(engine.scrub(&once), once, "a second time");
        for size in [1, 7, 64] {
            let (mut stream, mut out) = (Stream::new(&engine), Vec::new());
            for piece in input.as_bytes().chunks(size) {
                stream.push(piece, &mut out);
            }
            stream.finish(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), once, "in pieces of {size}");
        }
    }
}

#[test]
fn json_stays_json() {
    let engine = usual();
    for (input, _) in LINES.iter().filter(|(input, _)| input.starts_with('{')) {
        if serde_json::from_str::<Value>(input).is_ok() {
            let out = engine.scrub(input);
            assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
        }
    }
}

fn example(provider: &Provider) -> String {
    let body = "b1a2c3d4e5f6".chars().cycle().take(provider.least);
    let before = if provider.prefix.starts_with(':') {
        "123456789"
    } else {
        ""
    };
    format!("{before}{}{}", provider.prefix, body.collect::<String>())
}

#[test]
fn a_key_of_each_provider_is_masked_wherever_it_stands() {
    let engine = only(Kind::Keys);
    for provider in PROVIDERS {
        let key = example(provider);
        for (before, after) in [
            ("", ""),
            ("got ", " from them"),
            ("{\"x\":\"", "\"}"),
            ("?x=", "&y=1"),
            ("https://h/%20", ","),
            ("\\n", "\\n"),
        ] {
            let is_bot = provider.prefix.starts_with(':') && before.ends_with('0');
            if is_bot || (before == "\\n" && provider.is_short()) {
                continue;
            }
            let out = engine.scrub(&format!("{before}{key}{after}"));
            assert_eq!(out, format!("{before}{MASK}{after}"), "{}", provider.name);
        }
        assert_eq!(engine.scrub(provider.prefix), provider.prefix);
    }
}

#[test]
fn a_private_key_is_masked_over_its_lines() {
    let engine = usual();
    let dashes = "-----";
    let key = format!(
        "before\n{dashes}BEGIN RSA PRIVATE KEY{dashes}\nProc-Type: 4,ENCRYPTED\n\nMIIEpAIBAAKCAQEA1234\nabcd\n{dashes}END RSA PRIVATE KEY{dashes}\nafter\n"
    );
    let out = engine.scrub(&key);
    assert_eq!(
        out,
        "before\n[redacted]\n[redacted]\n\n[redacted]\n[redacted]\n[redacted]\nafter\n"
    );
    assert_eq!(engine.scrub(&out), out);
    // In one line of JSON; behind what a collector wrote; broken off.
    let escaped = key.replace('\n', "\\n");
    let out = engine.scrub(&format!("{{\"pem\":\"{escaped}\",\"n\":1}}"));
    assert_eq!(out, "{\"pem\":\"before\\n[redacted]\\nafter\\n\",\"n\":1}");
    let out = engine.scrub(&format!(
        "12:00 {dashes}BEGIN PRIVATE KEY{dashes}\n12:00 MIIEpAIBAAKCAQEA1234\n12:00 all is fine.\n"
    ));
    assert_eq!(
        out,
        "12:00 [redacted]\n12:00 [redacted]\n12:00 all is fine.\n"
    );
    // What stands before a line of it is judged as well.
    let out = engine.scrub(&format!(
        "{dashes}BEGIN PRIVATE KEY{dashes}\npassword=hunter2 MIIEpAIBAAKCAQEA1234\nat alice@shop.example {dashes}END PRIVATE KEY{dashes}\n"
    ));
    assert_eq!(
        out,
        "[redacted]\npassword=[redacted] [redacted]\nat a***@shop.example [redacted]\n"
    );
    let public = format!("{dashes}BEGIN CERTIFICATE{dashes}\nMIIEpAIBAAKCAQEA1234\n");
    assert_eq!(engine.scrub(&public), public);
}

#[test]
fn names_and_prefixes_of_the_product_are_masked_where_asked_for() {
    let engine = Engine::new(Rules {
        fields: vec!["iban".to_owned(), "customer_number".to_owned()],
        prefixes: vec!["acme_".to_owned()],
        ..Rules::default()
    });
    let input = r#"iban=DE12 "customer-number":"7" acme_abcdefgh acme_x"#;
    let output = r#"iban=[redacted] "customer-number":"[redacted]" [redacted] acme_x"#;
    assert_eq!(engine.scrub(input), output);
    assert_eq!(usual().scrub(input), input);
    let config = Config {
        fields: vec!["a".to_owned()],
        prefixes: vec!["sk".to_owned(), "a b c d".to_owned()],
    };
    let keys: Vec<String> = config.mistakes().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "redaction.fields.0",
            "redaction.prefixes.0",
            "redaction.prefixes.1"
        ]
    );
}

#[test]
fn what_is_not_asked_for_stays() {
    let input = "password=x alice@example.com 4111111111111111";
    assert_eq!(
        only(Kind::Emails).scrub(input),
        "password=x a***@example.com 4111111111111111"
    );
    assert_eq!(
        only(Kind::Cards).scrub(input),
        "password=x alice@example.com [redacted]"
    );
    assert_eq!("emails".parse(), Ok(Kind::Emails));
    assert!("e-mail".parse::<Kind>().unwrap_err().contains("emails"));
}

#[test]
fn values_of_telling_fields_are_masked_at_any_depth() {
    let masked = value(
        "request",
        json!({ "user": { "API-Key": "x1", "name": "Ada" } }),
    );
    assert_eq!(
        masked,
        json!({ "user": { "API-Key": MASK, "name": "Ada" } })
    );
    assert_eq!(value("otp", json!(123_456)), MASK);
}

#[test]
fn a_cut_leaves_no_half_of_a_key() {
    let input = format!("{} sk_live_abcdefgh1234", "x ".repeat(20));
    for bound in 40..64 {
        assert!(!bounded(&input, bound).contains("sk_l"), "{bound}");
    }
}

#[test]
fn addresses_keep_their_first_letter_and_domain() {
    assert_eq!(mask_email("alice@example.com"), "a***@example.com");
    assert_eq!(mask_email("@example.com"), "***@example.com");
    assert_eq!(mask_email("nobody"), "***");
}

#[test]
fn counts_say_what_was_found() {
    let engine = usual();
    let mut out = Vec::new();
    let mut stream = Stream::new(&engine);
    stream.push(b"token=a a@b.example 4111111111111111\n", &mut out);
    stream.finish(&mut out);
    let counts = stream.counts();
    assert_eq!(counts.of(Kind::Fields), 1);
    assert_eq!(counts.of(Kind::Cards), 1);
    assert_eq!(counts.total(), 3);
}

fn in_pieces(engine: &Engine, bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stream = Stream::new(engine);
    for piece in bytes.chunks(size.max(1)) {
        stream.push(piece, &mut out);
    }
    stream.finish(&mut out);
    out
}

/// Secrets, each with what of it must not be seen.
fn secret() -> impl Strategy<Value = (String, String)> {
    prop_oneof![
        "(sk_live_|sk_test_|whsec_|sk-ant-|ghp_|AIza|xoxb-|glpat-)[A-Za-z0-9]{24}"
            .prop_map(|text| (text.clone(), text)),
        "eyJhbGciOiJFZERTQSJ9\\.[A-Za-z0-9_-]{20,80}\\.[A-Za-z0-9_-]{20,43}"
            .prop_map(|text| (text.clone(), text)),
        "(password|api_key|X-Auth-Token|refresh_token|client_secret)(=|: |: \"|=')canary[a-z0-9]{8}"
            .prop_map(|text| {
                let at = text.find("canary").unwrap();
                (text.clone(), text.split_at(at).1.to_owned())
            }),
        "postgres://[a-z]{4}:canary[a-z0-9]{8}@db/x".prop_map(|text| {
            let at = text.find("canary").unwrap();
            let (_, hidden) = text.split_at(at);
            (text.clone(), hidden.replace("@db/x", ""))
        }),
        "canary[a-z0-9.]{4,20}x@example\\.com".prop_map(|text| (text.clone(), text)),
        Just(("4111 1111 1111 1111".to_owned(), "4111 1111 1111 1111".to_owned())),
        "Bearer [A-Za-z0-9]{20}".prop_map(|text| {
            let hidden = text.replace("Bearer ", "");
            (text, hidden)
        }),
    ]
}

/// Text that is full of beginnings.
fn thicket() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[ -~]{0,6}",
        1 => "[\\PC\n\r\t\\\\\"']{0,4}",
        1 => Just("4111111111111111".to_owned()),
        1 => prop::sample::select(vec![
            "password", "token", "cookie", "authorization", "otp", "=", ":", "\"", "'", "\\\"", "{", "}", "[", "]",
            "@", "%40", "://", "a.com", "Bearer ", "basic ", "eyJ", "sk-", "sk_live_", "AKIA", "SG.", "/home/",
            "C:\\Users\\", "?", "&key=", "%3D", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "\n",
            "[redacted]", "***", "abcdefghijklmnopqrstuvwxyz0123456789", "null", "12", "4111 ", "1111 ", "é",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    // The same cases in every run: what no run has met is for the fuzz target `redact` to find.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_is_taken_and_stays_on_one_line(input in any::<String>(), bound in 0_usize..200) {
        let out = bounded(&input, bound);
        prop_assert!(out.chars().all(|c| !c.is_control()));
        text(&input);
        mask_email(&input);
    }

    #[test]
    fn a_second_time_changes_nothing(input in thicket()) {
        for engine in [&usual(), own()] {
            let once = engine.scrub(&input);
            prop_assert_eq!(engine.scrub(&once), once.clone(), "of {:?}", once);
        }
    }

    #[test]
    fn pieces_of_any_size_come_out_as_the_whole(input in thicket(), size in 1_usize..64) {
        let engine = usual();
        let whole = engine.scrub_bytes(input.as_bytes());
        let pieces = in_pieces(&engine, input.as_bytes(), size);
        prop_assert_eq!(String::from_utf8_lossy(&pieces), String::from_utf8_lossy(&whole));
    }

    #[test]
    fn bytes_of_any_kind_are_taken(input in any::<Vec<u8>>(), size in 1_usize..64) {
        let engine = usual();
        prop_assert_eq!(in_pieces(&engine, &input, size), engine.scrub_bytes(&input));
    }

    #[test]
    fn a_planted_secret_never_survives(before in "[ -~]{0,40}[ \",;(]", (secret, hidden) in secret(), after in "[ \",;)][ -~]{0,40}") {
        let out = text(&format!("{before}{secret}{after}"));
        prop_assert!(!out.contains(&hidden), "{out}");
    }

    #[test]
    fn a_planted_token_never_survives(before in "[ -~]{0,40}[ \",;(]", secret in "[A-Za-z0-9_-]{43}", after in "[ \",;)][ -~]{0,40}") {
        let out = text(&format!("{before}{secret}{after}"));
        prop_assert!(!out.contains(&secret), "{out}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// A line of some hundred thousand bytes without an end, around whose cuts the secret lies.
    #[test]
    fn a_secret_that_a_cut_of_a_long_line_splits_is_found(
        filler in prop::sample::select(vec!["word ", "x/", "abc=1&", "{\"a\":1},", "-", "7", "lorem\tipsum,"]),
        near in 118_000_usize..136_000,
        (secret, hidden) in secret(),
        size in 1000_usize..200_000,
    ) {
        let engine = usual();
        let padding = filler.repeat(near / filler.len());
        let line = format!("{padding} {secret}'\" {}", filler.repeat(200_000 / filler.len()));
        let out = in_pieces(&engine, line.as_bytes(), size);
        let out = String::from_utf8(out).unwrap();
        prop_assert!(!out.contains(&hidden));
        prop_assert!(out.starts_with(padding.split_at(1000).0) && out.ends_with(filler));
    }
}

#[test]
fn a_secret_of_any_length_is_passed_over_in_constant_memory() {
    let engine = usual();
    for (open, close) in [
        ("token=", " end"),
        ("eyJ", " end"),
        ("\"secret\":\"", "\" end"),
        ("{\"credentials\":[\"", "\"]} end"),
    ] {
        let mut out = Vec::new();
        let mut stream = Stream::new(&engine);
        stream.push(b"a ", &mut out);
        stream.push(open.as_bytes(), &mut out);
        for _ in 0..100 {
            stream.push("abcdefgh".repeat(1000).as_bytes(), &mut out);
            assert!(out.len() < 1000, "{open}");
        }
        stream.push(close.as_bytes(), &mut out);
        stream.finish(&mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(out.len() < 60 && out.ends_with("end"), "{open}: {out}");
        assert!(out.contains(MASK) && !out.contains("abcdefgh"), "{out}");
    }
}

/// Whoever is told of an API key has to find it; what stands in the place of an id is scrubbed all the same.
#[test]
fn whom_something_is_about_keeps_its_id() {
    for known in [
        "api-key:018f0000-0000-7000-8000-000000000000",
        "account:018f0000-0000-7000-8000-000000000000",
        "address:203.0.113.7",
        "address:2001:db8:1:2::/64",
        "gate",
    ] {
        assert_eq!(subject(known), known);
    }
    for told in [
        "ana@corp.test",
        "account:ana@corp.test",
        "password=canary4711",
    ] {
        let scrubbed = subject(told);
        assert!(
            !scrubbed.contains("ana@") && !scrubbed.contains("canary"),
            "{scrubbed}"
        );
    }
}
