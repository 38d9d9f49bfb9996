//! What an intermediary MUST do with messages (RFC 9112, and RFC 9110 where it says what they mean).
//! Framing that is refused has its corpus in `attacks::request_smuggling`; here stands one test for
//! each sentence.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Answer, Gateway, Upstream, Wire, WireUpstream, answers, ok};

async fn gate(upstream: &WireUpstream) -> Gateway {
    Gateway::in_front_of(&upstream.as_upstream()).await
}

/// Sends a request, with `HOST` for the gate's own, and gives every answer until the connection ends.
async fn exchange(gateway: &Gateway, bytes: &str) -> Vec<Answer> {
    let host = gateway.address.to_string();
    answers(
        &gateway
            .client()
            .raw(bytes.replace("HOST", &host).as_bytes())
            .await,
    )
}

/// The one answer to a request that is refused with `400` and a closed connection.
async fn refused(bytes: &str) {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(&gateway, bytes).await;
    assert_eq!(all.len(), 1, "{bytes:?}");
    assert_eq!(all[0].status, 400, "{bytes:?}");
    assert_eq!(all[0].header("connection"), Some("close"), "{bytes:?}");
    assert_eq!(upstream.connections(), 0, "{bytes:?}");
}

/// RFC 9112 section 2.2: a bare CR is invalid or replaced; one empty line before is ignored.
#[tokio::test]
async fn lines_end_in_crlf_alone() {
    refused("GET /public HTTP/1.1\rhost: HOST\r\n\r\n").await;
    refused("GET /public HTTP/1.1\r\nhost: HOST\r\nx: a\rb\r\n\r\n").await;
    refused("GET /public HTTP/1.1\nhost: HOST\n\n").await;
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "\r\nGET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 200);
}

/// RFC 9112 section 2.2: white space between the start line and the first header is not skipped.
#[tokio::test]
async fn no_white_space_stands_before_the_first_header() {
    refused("GET /public HTTP/1.1\r\n host: HOST\r\nx: y\r\n\r\n").await;
}

/// RFC 9112 section 3: one SP on each side of the target, and a request line that is one.
#[tokio::test]
async fn a_request_line_has_three_parts() {
    for line in [
        "GET  /public HTTP/1.1",
        "GET /public  HTTP/1.1",
        "GET\t/public\tHTTP/1.1",
        "GET /pub lic HTTP/1.1",
        "GET HTTP/1.1",
        "/public HTTP/1.1",
    ] {
        refused(&format!("{line}\r\nhost: HOST\r\n\r\n")).await;
    }
}

/// RFC 9112 section 3.2: a request with no `Host`, two, or a malformed one gets 400.
#[tokio::test]
async fn one_proper_host_is_named() {
    for lines in [
        "",
        "host: HOST\r\nhost: HOST\r\n",
        "host: \r\n",
        "host: a b\r\n",
        "host: user@HOST\r\n",
        "host: HOST, HOST\r\n",
        "host: HOST/\r\n",
    ] {
        refused(&format!(
            "GET /public HTTP/1.1\r\n{lines}connection: close\r\n\r\n"
        ))
        .await;
    }
}

/// RFC 9112 section 3.2.2: absolute-form is accepted, and the host is that of the target. We refuse
/// where `Host` differs instead of replacing it.
#[tokio::test]
async fn absolute_form_is_accepted_for_the_host_that_both_name() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "GET http://HOST/public?a=b HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 200);
    assert!(
        upstream.text().starts_with("GET /public?a=b HTTP/1.1\r\n"),
        "{}",
        upstream.text()
    );
    refused("GET http://evil.test/public HTTP/1.1\r\nhost: HOST\r\n\r\n").await;
}

/// RFC 9112 section 3.2.4: asterisk-form is for `OPTIONS` alone.
#[tokio::test]
async fn asterisk_form_is_for_options_alone() {
    refused("GET * HTTP/1.1\r\nhost: HOST\r\n\r\n").await;
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "OPTIONS * HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(all[0].status.is_client_error());
    assert_eq!(upstream.connections(), 0);
}

/// RFC 9112 section 5.1: white space between name and colon gets 400.
#[tokio::test]
async fn no_white_space_stands_before_a_colon() {
    refused("GET /public HTTP/1.1\r\nhost: HOST\r\nx : y\r\n\r\n").await;
}

/// RFC 9112 section 5.2: obs-fold gets 400.
#[tokio::test]
async fn folded_lines_are_refused() {
    refused("GET /public HTTP/1.1\r\nhost: HOST\r\nx: a\r\n b\r\n\r\n").await;
    refused("GET /public HTTP/1.1\r\nhost: HOST\r\nx: a\r\n\tb\r\n\r\n").await;
}

/// RFC 9110 section 5.5: values with CR, LF or NUL are invalid.
#[tokio::test]
async fn values_hold_no_nul() {
    refused("GET /public HTTP/1.1\r\nhost: HOST\r\nx: a\0b\r\n\r\n").await;
}

/// RFC 9112 section 6.1: `Transfer-Encoding` and `Content-Length` together may be refused, and are.
#[tokio::test]
async fn two_lengths_are_refused() {
    refused("POST /public HTTP/1.1\r\nhost: HOST\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n").await;
}

/// RFC 9112 section 6.1: a coding that is not understood is not passed on; chunked is applied last and
/// once.
#[tokio::test]
async fn chunked_is_the_only_coding() {
    for coding in ["gzip, chunked", "chunked, gzip", "chunked, chunked", "gzip"] {
        refused(&format!(
            "POST /public HTTP/1.1\r\nhost: HOST\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
        ))
        .await;
    }
}

/// RFC 9112 section 6.1: HTTP/1.0 has no `Transfer-Encoding`: the framing is faulty.
#[tokio::test]
async fn chunks_in_an_old_version_are_refused() {
    refused("POST /public HTTP/1.0\r\nhost: HOST\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
}

/// RFC 9112 section 6.3: an invalid `Content-Length` is an unrecoverable error.
#[tokio::test]
async fn lengths_are_digits() {
    for length in ["5, 5", "+5", "0x5", "five", "99999999999999999999"] {
        refused(&format!(
            "POST /public HTTP/1.1\r\nhost: HOST\r\ncontent-length: {length}\r\n\r\nhello"
        ))
        .await;
    }
}

/// RFC 9112 section 6.3: what the product is sent has exactly one framing, and the same body.
#[tokio::test]
async fn a_message_goes_out_with_one_framing() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::in_front_of(&upstream).await;
    for body in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        exchange(
            &gateway,
            &format!("POST /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n{body}"),
        )
        .await;
        let received = upstream.last();
        assert_eq!(&received.body[..], b"hello");
        let lengths = received.headers.get_all("content-length").iter().count();
        let codings = received.headers.get_all("transfer-encoding").iter().count();
        assert_eq!(lengths + codings, 1);
    }
}

/// RFC 9110 section 6.5.1 and RFC 9112 section 7.1.2: trailers are not merged into headers.
#[tokio::test]
async fn trailers_are_never_headers() {
    let upstream = WireUpstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: set-cookie\r\n\r\n2\r\nok\r\n0\r\nset-cookie: planted=1\r\nx-planted: 1\r\n\r\n".to_vec()
    })
    .await;
    let gateway = gate(&upstream).await;
    let all = exchange(&gateway, "POST /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\ntrailer: x-forwarded-user\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-forwarded-user: root\r\nx-planted: 1\r\n\r\n").await;
    assert_eq!(all[0].text(), "ok");
    assert!(
        !all[0].headers.contains_key("set-cookie") && !all[0].headers.contains_key("x-planted")
    );
    assert!(!upstream.text().contains("root") && !upstream.text().contains("x-planted"));
}

/// RFC 9110 section 7.6.1: headers of one connection, and those that `Connection` names, end here.
#[tokio::test]
async fn headers_of_one_connection_end_here_both_ways() {
    let upstream = WireUpstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=1\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok".to_vec()
    })
    .await;
    let gateway = gate(&upstream).await;
    let all = exchange(&gateway, "GET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 1\r\nte: trailers\r\nproxy-connection: close\r\n\r\n").await;
    let seen = upstream.text();
    for gone in ["x-hop", "keep-alive", "te:", "proxy-connection"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    for gone in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(all[0].header(gone), None, "{gone}");
    }
}

/// RFC 9110 section 7.8: no upgrade that the client did not ask for; 101 only after the product's.
#[tokio::test]
async fn switching_protocols_needs_both_sides() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let upstream = WireUpstream::answering(move |_| switch.into()).await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "GET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 502);

    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(&gateway, "GET /public HTTP/1.1\r\nhost: HOST\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n").await;
    let statuses: Vec<u16> = all.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 200]);
}

/// RFC 9110 section 9.2.2: a request that is not idempotent is not sent again when the connection
/// fails; one that is may be.
#[tokio::test]
async fn what_is_not_idempotent_is_sent_once() {
    // The first request on each connection is answered, the second one kills it.
    let count = AtomicUsize::new(0);
    let upstream = WireUpstream::answering(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            ok("first")
        } else {
            Vec::new()
        }
    })
    .await;
    let gateway = gate(&upstream).await;
    assert_eq!(gateway.client().get("/public").send().await.text(), "first");
    // Lanes have pools of their own: a few tries find the one with the idle connection.
    for _ in 0..4 {
        let before = upstream.requests();
        let answer = gateway.client().post("/public").body("once").send().await;
        assert_eq!(answer.problem(), "upstream-broken");
        assert_eq!(upstream.requests(), before + 1);
    }
}

/// RFC 9110 section 9.3.2: the answer to `HEAD` has no content, whatever its length says.
#[tokio::test]
async fn an_answer_to_head_has_no_content() {
    let upstream = WireUpstream::answering(|request| {
        if request.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec()
        } else {
            ok("next")
        }
    })
    .await;
    let gateway = Gateway::builder(&upstream.as_upstream(), "[[route]]\npath = \"/public\"\nallow = \"public\"\n\n[[route]]\npath = \"/closed\"\nallow = \"closed\"\n").await.start().await;
    let host = gateway.address.to_string();
    for target in ["/public", "/closed", "/nowhere"] {
        let raw = gateway
            .client()
            .raw(format!("HEAD {target} HTTP/1.1\r\nhost: {host}\r\n\r\nGET /public HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
        let text = String::from_utf8_lossy(&raw).into_owned();
        let (first, rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(first.starts_with("HTTP/1.1 "), "{first}");
        assert!(
            rest.starts_with("HTTP/1.1 200 OK\r\n"),
            "{target} has content: {rest}"
        );
        assert!(rest.ends_with("next"));
    }
}

/// RFC 9112 section 6.3: 1xx, 204 and 304 have no content.
#[tokio::test]
async fn answers_without_content_have_none() {
    for status in ["204 No Content", "304 Not Modified"] {
        let upstream = WireUpstream::answering(move |_| {
            format!("HTTP/1.1 {status}\r\nx-a: b\r\n\r\n").into_bytes()
        })
        .await;
        let gateway = gate(&upstream).await;
        let all = exchange(&gateway, "GET /public HTTP/1.1\r\nhost: HOST\r\n\r\nGET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n").await;
        assert_eq!(all.len(), 2, "{status}");
        assert!(
            all.iter()
                .all(|answer| !answer.headers.contains_key("transfer-encoding"))
        );
    }
}

/// RFC 9110 section 15.2: interim answers do not take the place of the final one.
#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let upstream = WireUpstream::answering(|_| {
        let mut bytes =
            b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n".to_vec();
        bytes.extend(ok("final"));
        bytes
    })
    .await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "GET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all.last().unwrap().text(), "final");
}

/// RFC 9110 section 10.1.1: `100-continue` is answered before the body is asked for; other
/// expectations are refused.
#[tokio::test]
async fn an_expectation_is_met_or_refused() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let host = gateway.address;
    let mut wire = Wire::to(host).await;
    wire.send(format!(
        "POST /public HTTP/1.1\r\nhost: {host}\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    ))
    .await;
    assert_eq!(wire.answer().await.unwrap().status, 100);
    wire.send("hi").await;
    assert_eq!(wire.answer().await.unwrap().text(), "ok");
    refused("POST /public HTTP/1.1\r\nhost: HOST\r\nexpect: magic\r\ncontent-length: 0\r\n\r\n")
        .await;
}

/// RFC 9112 section 9.3: HTTP/1.0 connections close unless keep-alive was asked for, and are answered
/// in a version the client knows how to read.
#[tokio::test]
async fn an_old_client_is_answered_and_let_go() {
    let upstream = WireUpstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let gateway = gate(&upstream).await;
    let host = gateway.address.to_string();
    let raw = gateway
        .client()
        .raw(format!("GET /public HTTP/1.0\r\nhost: {host}\r\n\r\n").as_bytes())
        .await;
    let text = String::from_utf8_lossy(&raw).into_owned();
    // RFC 9112 section 6.1: no chunks to whoever did not say HTTP/1.1.
    assert!(
        !text.to_ascii_lowercase().contains("transfer-encoding"),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\nok"), "{text}");
    assert!(upstream.text().contains(" HTTP/1.1\r\n"));
}

/// RFC 9112 section 9.3.2: answers to pipelined requests come in the order of the requests.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = WireUpstream::answering(|request| ok(request.split(' ').nth(1).unwrap())).await;
    let gateway = gate(&upstream).await;
    let mut bytes = (0..9)
        .map(|number| format!("GET /public?{number} HTTP/1.1\r\nhost: HOST\r\n\r\n"))
        .collect::<Vec<_>>()
        .concat();
    bytes.push_str("GET /public?9 HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n");
    let told: Vec<String> = exchange(&gateway, &bytes)
        .await
        .iter()
        .map(Answer::text)
        .collect();
    let wanted: Vec<String> = (0..10).map(|number| format!("/public?{number}")).collect();
    assert_eq!(told, wanted);
}

/// RFC 9112 section 9.6: behind `Connection: close` nothing is answered.
#[tokio::test]
async fn nothing_is_answered_behind_close() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(&gateway, "GET /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\nGET /public?behind HTTP/1.1\r\nhost: HOST\r\n\r\n").await;
    assert_eq!(all.len(), 1);
    assert!(!upstream.text().contains("behind"));
}

/// RFC 9112 section 8: a body that ends early is an incomplete message, and is never completed here.
#[tokio::test]
async fn a_request_that_breaks_off_is_not_completed() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let host = gateway.address;
    for begun in [
        "content-length: 10\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "transfer-encoding: chunked\r\n\r\na\r\nhalf",
    ] {
        let mut wire = Wire::to(host).await;
        wire.send(format!("POST /public HTTP/1.1\r\nhost: {host}\r\n{begun}"))
            .await;
        drop(wire);
    }
    assert_eq!(gateway.client().get("/public").send().await.text(), "ok");
    assert!(
        !upstream.text().contains("0\r\n\r\n"),
        "{}",
        upstream.text()
    );
}

/// RFC 9110 sections 15.5.6 and 9.3.6 to 9.3.8: `CONNECT` and `TRACE` are not passed on, and 405 names
/// what is allowed.
#[tokio::test]
async fn connect_and_trace_end_here() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "TRACE /public HTTP/1.1\r\nhost: HOST\r\nmax-forwards: 5\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 405);
    assert!(all[0].header("allow").unwrap().contains("GET"));
    let all = exchange(&gateway, "CONNECT HOST HTTP/1.1\r\nhost: HOST\r\n\r\n").await;
    assert_eq!(all[0].status, 501);
    assert_eq!(upstream.connections(), 0);
}

/// RFC 9110 section 15.5.6: a 405 of a route names the methods of that route.
#[tokio::test]
async fn a_method_that_a_route_does_not_have_is_told_which_it_has() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "DELETE /public HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 405);
    let allow = all[0].header("allow").unwrap();
    assert!(
        allow.contains("GET") && allow.contains("POST") && !allow.contains("DELETE"),
        "{allow}"
    );
}

/// RFC 9110 section 11.6.1: a 401 bears `WWW-Authenticate`.
#[tokio::test]
async fn unauthorized_names_a_challenge() {
    let upstream = WireUpstream::ok().await;
    let gateway = gate(&upstream).await;
    let all = exchange(
        &gateway,
        "GET /admin HTTP/1.1\r\nhost: HOST\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(all[0].status, 401);
    assert!(
        all[0].headers.contains_key("www-authenticate"),
        "{:?}",
        all[0].headers
    );
}
