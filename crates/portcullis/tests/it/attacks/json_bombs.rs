//! A body that is small on the wire is dear to read: deep nesting, many keys, keys that stand twice,
//! before anybody has signed in (CVE-2025-59043, CVE-2025-12044).

use super::{credentials, gate};
use crate::support::memory::resident_kib;
use crate::support::{PASSWORD, Upstream};

#[tokio::test]
async fn no_body_costs_more_than_its_refusal() {
    let upstream = Upstream::start().await;
    let gateway = gate(&upstream)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let before = resident_kib(gateway.pid());
    let keys: Vec<String> = (0..100_000)
        .map(|number| format!("\"k{number}\":0"))
        .collect();
    let few: Vec<String> = (0..1_000)
        .map(|number| format!("\"k{number}\":0"))
        .collect();
    for (name, body, statuses) in [
        ("deep", "[".repeat(1 << 20), &[413][..]),
        ("deep but small", "[".repeat(16_000), &[400, 422]),
        ("deep objects", "{\"a\":".repeat(3_000), &[400, 422]),
        ("many keys", format!("{{{}}}", keys.join(",")), &[413]),
        ("a thousand keys", format!("{{{}}}", few.join(",")), &[422]),
        (
            "a key twice",
            format!(
                "{{\"email\":\"a@corp.test\",\"email\":\"ana@corp.test\",\"password\":\"{PASSWORD}\"}}"
            ),
            &[422],
        ),
        (
            "a key twice, once escaped",
            format!(
                "{{\"email\":\"a@corp.test\",\"\\u0065mail\":\"ana@corp.test\",\"password\":\"{PASSWORD}\"}}"
            ),
            &[422],
        ),
        (
            "a long number",
            format!("{{\"email\":1{}}}", "0".repeat(15_000)),
            &[400, 422],
        ),
        (
            "a list",
            "[\"ana@corp.test\",\"x\"]".to_owned(),
            &[401, 403, 422],
        ),
        ("not UTF-8", "{\"email\":\"\u{0}\"}".to_owned(), &[400, 422]),
        (
            "two documents",
            format!("{0}{0}", credentials("ana@corp.test")),
            &[400],
        ),
        (
            "a byte order mark",
            format!("\u{feff}{}", credentials("ana@corp.test")),
            &[400],
        ),
        ("nothing", String::new(), &[400, 415]),
    ] {
        for path in ["login", "register"] {
            let answer = gateway
                .browser()
                .post(&format!("/.portcullis/auth/{path}"))
                .header("content-type", "application/json")
                .body(body.clone())
                .send()
                .await;
            assert!(
                statuses.contains(&answer.status.as_u16()),
                "{name}: {}",
                answer.text()
            );
            assert!(answer.cookies().is_empty());
        }
    }
    let grown = resident_kib(gateway.pid()).saturating_sub(before);
    // One of these is a sign-in: a password hash alone takes 19 MiB.
    assert!(grown < 64 * 1024, "{grown} KiB more");
    gateway.signed_in("ana@corp.test").await;
}
