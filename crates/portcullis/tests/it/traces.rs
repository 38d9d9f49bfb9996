//! Traces over OTLP: a request's span, the product's parent, what strangers cannot choose, and a collector
//! that is away (M1). What arrives is read by OpenTelemetry's own definitions.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Verdict;
use prost::Message as _;

use crate::anomalies::metrics;
use crate::error_reports::away;
use crate::support::{Gateway, GatewayBuilder, Received, Upstream, eventually, eventually_asked};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const THEIR_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const THEIR_SPAN: &str = "b7ad6b7169203331";

/// A gate that hands its spans to `collector` soon.
async fn traced(product: &Upstream, collector: &Upstream) -> GatewayBuilder {
    Gateway::builder_usual(product)
        .await
        .environment(ENDPOINT, &collector.url())
        .environment(DELAY, "50")
}

/// One span that arrived, with the service that it is of.
#[derive(Debug, Clone)]
struct Arrived {
    span: Span,
    resource: Vec<KeyValue>,
}

impl Arrived {
    fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    fn says(&self, key: &str) -> Option<String> {
        value(&self.span.attributes, key)
    }

    fn is_failed(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code == Verdict::Error as i32)
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}

/// What a request bears, unpacked.
fn plain(request: &Received) -> Bytes {
    match request.header("content-encoding") {
        None => request.body.clone(),
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(&request.body[..])
                .read_to_end(&mut plain)
                .unwrap();
            plain.into()
        }
        Some(other) => panic!("packed by {other}"),
    }
}

/// Everything that the collector was handed.
fn arrived(collector: &Upstream) -> Vec<Arrived> {
    let requests = collector.received().into_iter().flat_map(|request| {
        assert_eq!(request.target, "/v1/traces");
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        ExportTraceServiceRequest::decode(plain(&request))
            .unwrap()
            .resource_spans
    });
    requests
        .flat_map(|of_one| {
            let resource = of_one.resource.unwrap_or_default().attributes;
            let spans = of_one.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(move |span| Arrived {
                span,
                resource: resource.clone(),
            })
        })
        .collect()
}

fn of_kind(spans: &[Arrived], kind: SpanKind) -> Vec<Arrived> {
    let of_it = spans
        .iter()
        .filter(|arrived| arrived.span.kind == kind as i32);
    of_it.cloned().collect()
}

/// The spans of requests, once there are so many.
async fn served(collector: &Upstream, count: usize) -> Vec<Arrived> {
    eventually("the spans arrive", || {
        of_kind(&arrived(collector), SpanKind::Server).len() >= count
    })
    .await;
    let spans = of_kind(&arrived(collector), SpanKind::Server);
    assert_eq!(spans.len(), count);
    spans
}

/// The one span of a request, and its children.
async fn the_one(collector: &Upstream) -> (Arrived, Vec<Arrived>) {
    let span = served(collector, 1).await.remove(0);
    let all = arrived(collector).into_iter();
    let children = all.filter(|other| other.parent() == span.id()).collect();
    (span, children)
}

#[tokio::test]
async fn a_request_is_a_span_and_the_product_continues_it() {
    let (product, collector) = (Upstream::start().await, Upstream::start().await);
    let gateway = traced(&product, &collector)
        .await
        .environment("OTEL_SERVICE_NAME", "the-gate")
        .environment(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .more("\n[log]\nformat = \"json\"\n")
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let browser = gateway.signed_in("ana@corp.test").await;
    let before = served(&collector, 1).await;
    assert_eq!(
        before[0].says("http.route").as_deref(),
        Some("/.portcullis/auth/login")
    );
    let answer = browser
        .get("/things?who=canary@corp.test")
        .header("x-note", "canary")
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK);

    let span = served(&collector, 2).await.remove(1);
    let request = answer.header("x-request-id").unwrap();
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.route", "/{*rest}"),
        ("http.response.status_code", "200"),
        ("url.scheme", "http"),
        ("portcullis.request_id", request),
    ] {
        assert_eq!(span.says(key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(span.span.name, "GET /{*rest}");
    assert_eq!(span.parent(), "");
    assert!(!span.is_failed());
    assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
    assert_eq!(
        value(&span.resource, "service.name").as_deref(),
        Some("the-gate")
    );
    assert_eq!(
        value(&span.resource, "deployment.environment.name").as_deref(),
        Some("test")
    );

    // The product's own spans hang on the call of it, which hangs on the request.
    let calls = of_kind(&arrived(&collector), SpanKind::Client);
    let [call] = &calls[..] else {
        panic!("{calls:#?}");
    };
    assert_eq!((call.trace(), call.parent()), (span.trace(), span.id()));
    assert_eq!(call.says("portcullis.upstream").as_deref(), Some("app"));
    let handed_on = format!("00-{}-{}-01", call.trace(), call.id());
    assert_eq!(
        product.last().header("traceparent"),
        Some(handed_on.as_str())
    );
    assert_eq!(product.last().header("tracestate"), None);

    // The access log knows the trace; no span knows who it was, or what they asked for.
    eventually("the line is written", || {
        gateway.printed().contains(&span.trace())
    })
    .await;
    let printed = gateway.printed();
    let line = printed
        .lines()
        .find(|line| line.contains(&span.trace()))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["request.id"], request);
    assert_eq!(line["trace.id"], span.trace());
    let told = format!("{:?}", arrived(&collector));
    for secret in ["canary", "ana@", "127.0.0.1", "things"] {
        assert!(!told.contains(secret), "{secret}");
    }
    assert!(
        metrics(&gateway)
            .await
            .contains("portcullis_trace_spans_total{outcome=\"exported\"}")
    );
}

#[tokio::test]
async fn a_refusal_says_why_and_a_failure_is_one() {
    let collector = Upstream::start().await;
    let gateway = traced(&away().await, &collector).await.start().await;
    let refused = gateway.client().get("/things").send().await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let (span, children) = the_one(&collector).await;
    for (key, expected) in [
        ("http.response.status_code", "401"),
        ("portcullis.problem", "authentication-required"),
        ("portcullis.stage", "authorize"),
        ("portcullis.denied", "nobody is signed in"),
    ] {
        assert_eq!(span.says(key).as_deref(), Some(expected), "{key}");
    }
    assert!(!span.is_failed(), "a refusal is no error of the server");
    assert!(children.is_empty(), "{children:#?}");

    let failed = gateway.client().get("/public").send().await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let span = served(&collector, 2).await.remove(1);
    assert!(span.is_failed());
    assert_eq!(
        span.says("error.type").as_deref(),
        Some("upstream-unreachable")
    );
    let calls = of_kind(&arrived(&collector), SpanKind::Client);
    assert!(calls.len() == 1 && calls[0].is_failed(), "{calls:#?}");

    // What is no HTTP has a span as well, and nobody makes names for them.
    let answer = gateway
        .client()
        .raw(b"BREW /pot HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n")
        .await;
    assert!(answer.starts_with(b"HTTP/1.1 400"));
    let odd = gateway
        .client()
        .request(http::Method::from_bytes(b"BREW").unwrap(), "/pot");
    assert!(odd.send().await.status.is_client_error());
    let spans = served(&collector, 4).await;
    assert_eq!(
        spans[2].says("http.response.status_code").as_deref(),
        Some("400")
    );
    assert_eq!(
        spans[3].says("http.request.method").as_deref(),
        Some("_OTHER")
    );
}

#[tokio::test]
async fn what_the_decision_looked_up_is_a_part_of_the_request() {
    let (product, collector) = (Upstream::start().await, Upstream::start().await);
    let gateway = traced(&product, &collector)
        .await
        .user("ana@corp.test", &["user"])
        .start()
        .await;
    let browser = gateway.signed_in("ana@corp.test").await;
    let cookie = format!("session={}", browser.cookie("session").unwrap());
    // One that has just started knows nobody by heart.
    let gateway = gateway.end().await.start().await;
    let seen = served(&collector, 1).await.len();
    let request = gateway.client().get("/things").header("cookie", &cookie);
    assert_eq!(request.send().await.status, StatusCode::OK);
    let span = served(&collector, seen + 1).await.remove(seen);
    let parts = of_kind(&arrived(&collector), SpanKind::Internal);
    let of_it: Vec<_> = parts
        .iter()
        .filter(|part| part.parent() == span.id())
        .collect();
    assert!(
        of_it.len() == 1 && of_it[0].span.name == "look up",
        "{parts:#?}"
    );
}

#[tokio::test]
async fn a_stranger_chooses_neither_the_trace_nor_what_is_recorded() {
    let (product, collector) = (Upstream::start().await, Upstream::start().await);
    let gateway = traced(&product, &collector).await.start().await;
    let theirs = gateway
        .client()
        .get("/public")
        .header("traceparent", THEIRS)
        .header("tracestate", "vendor=theirs")
        .send()
        .await;
    assert_eq!(theirs.status, StatusCode::OK);
    let (span, _) = the_one(&collector).await;
    assert_ne!(span.trace(), THEIR_TRACE);
    assert_eq!(span.parent(), "");
    let [link] = &span.span.links[..] else {
        panic!("{:#?}", span.span.links);
    };
    assert_eq!(
        (hex::encode(&link.trace_id), hex::encode(&link.span_id)),
        (THEIR_TRACE.to_owned(), THEIR_SPAN.to_owned())
    );
    let seen = product.last();
    assert!(seen.header("traceparent").unwrap().contains(&span.trace()));
    assert_eq!(seen.header("tracestate"), None);

    // Not to be recorded, says the stranger; recorded, says the gate.
    let not_sampled = THEIRS.replace("-01", "-00");
    gateway
        .client()
        .get("/public")
        .header("traceparent", &not_sampled)
        .send()
        .await;
    // Two of them, or garbage, say nothing.
    let both = gateway
        .client()
        .get("/public")
        .header("traceparent", THEIRS);
    both.header("traceparent", &THEIRS.replace("0af7", "0bf7"))
        .send()
        .await;
    gateway
        .client()
        .get("/public")
        .header("traceparent", "00-zz")
        .send()
        .await;
    let spans = served(&collector, 4).await;
    assert_eq!(spans[1].span.links.len(), 1);
    assert!(spans[2].span.links.is_empty() && spans[3].span.links.is_empty());
}

#[tokio::test]
async fn a_trusted_proxy_may_hand_its_trace_on() {
    let (product, collector) = (Upstream::start().await, Upstream::start().await);
    let gateway = traced(&product, &collector)
        .await
        .replace(
            "[listen]\naddress = \"127.0.0.1:0\"",
            "[listen]\naddress = \"127.0.0.1:0\"\ntrusted-proxies = [\"127.0.0.1/32\"]",
        )
        .start()
        .await;
    let client = gateway.client();
    let asked = |traceparent: &str| {
        client
            .get("/public")
            .header("traceparent", traceparent)
            .header("tracestate", "vendor=ours")
            .header("x-forwarded-for", "203.0.113.9")
            .send()
    };
    assert_eq!(asked(THEIRS).await.status, StatusCode::OK);
    let (span, _) = the_one(&collector).await;
    assert_eq!(
        (span.trace(), span.parent()),
        (THEIR_TRACE.into(), THEIR_SPAN.into())
    );
    let seen = product.last();
    assert!(
        seen.header("traceparent")
            .unwrap()
            .starts_with(&format!("00-{THEIR_TRACE}-"))
    );
    assert_eq!(seen.header("tracestate"), Some("vendor=ours"));

    // It also says what is recorded: this one is not, and the product is told so.
    assert_eq!(
        asked(&THEIRS.replace("-01", "-00")).await.status,
        StatusCode::OK
    );
    let told = product.last().header("traceparent").unwrap().to_owned();
    assert!(
        told.starts_with(&format!("00-{THEIR_TRACE}-")) && told.ends_with("-00"),
        "{told}"
    );
    assert_eq!(asked(THEIRS).await.status, StatusCode::OK);
    served(&collector, 2).await;
}

#[tokio::test]
async fn sampling_headers_and_other_endpoints_are_as_the_variables_say() {
    let (product, collector) = (Upstream::start().await, Upstream::start().await);
    let gateway = traced(&product, &collector)
        .await
        .environment("OTEL_TRACES_SAMPLER", "always_off")
        .start()
        .await;
    assert_eq!(
        gateway.client().get("/public").send().await.status,
        StatusCode::OK
    );
    let told = product.last().header("traceparent").unwrap().to_owned();
    assert!(told.ends_with("-00"), "{told}");
    assert_eq!(gateway.stop().await.code(), Some(0));
    assert_eq!(collector.requests(), 0);

    // A stop hands over what waits, however long the batches are.
    let gateway = traced(&product, &collector)
        .await
        .environment(DELAY, "600000")
        .environment(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-team=a%20team,authorization=Bearer%20canary-of-the-header",
        )
        .environment("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .environment("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .environment("OTEL_TRACES_SAMPLER_ARG", "1.0")
        .start()
        .await;
    assert_eq!(
        gateway.client().get("/public").send().await.status,
        StatusCode::OK
    );
    let folder = gateway.folder.clone();
    let printed = gateway.printed();
    assert_eq!(gateway.stop().await.code(), Some(0));
    let (span, _) = the_one(&collector).await;
    assert_eq!(
        value(&span.resource, "service.name").as_deref(),
        Some("portcullis")
    );
    let request = collector.last();
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("x-team"), Some("a team"));
    assert_eq!(
        request.header("authorization"),
        Some("Bearer canary-of-the-header")
    );
    assert!(
        !printed.contains("canary-of-the-header"),
        "{}",
        folder.display()
    );

    // Nothing is exported, and what a client brings is the product's to read.
    let quiet = Gateway::in_front_of(&product).await;
    let request = quiet.client().get("/public").header("traceparent", THEIRS);
    assert_eq!(request.send().await.status, StatusCode::OK);
    assert_eq!(product.last().header("traceparent"), Some(THEIRS));
}

#[tokio::test]
async fn a_collector_that_is_away_hangs_or_answers_garbage_changes_no_answer() {
    let product = Upstream::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = Upstream::at(silent.local_addr().unwrap());
    let refuses = Upstream::answering(|_| {
        let mut response =
            axum::http::Response::new(axum::body::Body::from("canary of the collector"));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    })
    .await;
    for (collector, told) in [
        (away().await, "the collector of spans cannot be reached"),
        (hangs, "the collector of spans cannot be reached"),
        (refuses, "spans could not be handed over"),
    ] {
        let gateway = traced(&product, &collector)
            .await
            .environment("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
            .environment("OTEL_BSP_MAX_QUEUE_SIZE", "4")
            .environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
            .start()
            .await;
        let client = gateway.client();
        eventually_asked(
            "spans are dropped or refused, and requests go on",
            async || {
                assert_eq!(client.get("/public").send().await.status, StatusCode::OK);
                let page = metrics(&gateway).await;
                // Several batches, so that what is told once could have been told again.
                count(&page, "failed") >= 6
            },
        )
        .await;
        gateway.wait_until_printed(told).await;
        let printed = gateway.printed();
        assert_eq!(printed.matches(told).count(), 1, "{printed}");
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(gateway.stop().await.code(), Some(0));
    }
    drop(silent);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_dropped_and_counted() {
    let product = Upstream::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = Upstream::at(silent.local_addr().unwrap());
    let gateway = traced(&product, &hangs)
        .await
        .environment("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .environment("OTEL_BSP_MAX_QUEUE_SIZE", "4")
        .environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        .start()
        .await;
    // Each is two spans: itself and the call of the product. Four wait for a collector that says nothing.
    let all = 40;
    for _ in 0..all {
        let answer = gateway.client().get("/public").send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let page = metrics(&gateway).await;
    assert_eq!(count(&page, "dropped"), 2 * all - 4, "{page}");
    assert_eq!(
        gateway.stop().await.code(),
        Some(0),
        "a stop does not wait for it"
    );
    drop(silent);
}

/// How many spans came to this end.
fn count(page: &str, outcome: &str) -> usize {
    let name = format!("portcullis_trace_spans_total{{outcome=\"{outcome}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |number| number.trim().parse().unwrap())
}

#[tokio::test]
async fn a_wrong_variable_is_named_before_anything_listens() {
    let product = Upstream::start().await;
    let headers = "OTEL_EXPORTER_OTLP_HEADERS";
    for (variables, named) in [
        (
            &[(ENDPOINT, "https://user:canary@collector.example")][..],
            ENDPOINT,
        ),
        // Credentials would cross the network in plain text.
        (
            &[
                (ENDPOINT, "http://10.0.0.7:4318"),
                (headers, "api-key=canary"),
            ],
            headers,
        ),
    ] {
        let mut builder = Gateway::builder_usual(&product).await;
        for (name, value) in variables {
            builder = builder.environment(name, value);
        }
        for command in ["check", "serve"] {
            let output = builder.cli(&[command]);
            assert_eq!(output.status.code(), Some(1), "{command}: {named}");
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(said.contains(&format!("`{named}`")), "{command}: {said}");
            assert!(!said.contains("canary"), "{command}: {said}");
        }
    }
}
