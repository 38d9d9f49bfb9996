//! Spans of requests, in the names of OpenTelemetry's semantic conventions for HTTP.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use portcullis_core::Timestamp;
use tokio::runtime::Handle;

use super::{Asked, Ended, Error, TraceId, hand_over};
use crate::Metrics;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Where spans are begun. Cheap to clone: one per lane.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    speaks_w3c: bool,
}

impl Traces {
    /// Starts the thread that hands spans over, by way of `back`. Nothing where the program has no traces.
    pub fn start(
        asked: &Asked,
        metrics: &Arc<Metrics>,
        back: &Handle,
    ) -> Result<Option<Traces>, Error> {
        let provider = hand_over::provider(asked, metrics, back)?;
        Ok(Some(Traces {
            tracer: provider.tracer("portcullis"),
            provider,
            speaks_w3c: asked.speaks_w3c,
        }))
    }

    /// The span of a request whose head is `headers`, where it had any. Whether its `traceparent` is taken
    /// for more than a link is up to `is_trusted`.
    pub fn begin(
        &self,
        at: Timestamp,
        method: &Method,
        headers: Option<&HeaderMap>,
        is_trusted: bool,
    ) -> Trace {
        let told = headers.filter(|_| self.speaks_w3c).and_then(told);
        let name = method_name(method);
        let mut builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_start_time(time(at));
        let mut parent = Context::new();
        match told {
            None => {}
            // SECURITY: a stranger would choose what is recorded, and whose trace it becomes part of.
            Some(told) if !is_trusted => {
                builder = builder.with_links(vec![Link::with_context(told)]);
            }
            Some(told) => parent = parent.with_remote_span_context(told),
        }
        Trace {
            span: self.tracer.build_with_context(builder, &parent),
            traces: self.clone(),
        }
    }

    /// Hands over what waits, for at most `within`. Blocks.
    pub fn finish(&self, within: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(within) {
            tracing::warn!(%error, "the last spans could not be handed over");
        }
    }
}

/// What the head says of the trace that it is part of. Two values contradict each other, and say nothing
/// (W3C Trace Context, section 3.2).
fn told(headers: &HeaderMap) -> Option<SpanContext> {
    if headers.get_all(TRACEPARENT).iter().count() != 1 {
        return None;
    }
    let context = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let told = context.span().span_context().clone();
    told.is_valid().then_some(told)
}

/// The span of one request. One that is dropped without an [`end`](Trace::end) ends there and then: its
/// client went away.
#[derive(Debug)]
pub struct Trace {
    span: Span,
    traces: Traces,
}

impl Trace {
    pub fn id(&self) -> TraceId {
        TraceId(self.span.span_context().trace_id().to_bytes())
    }

    fn child(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        at: Timestamp,
    ) -> Span {
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(time(at));
        self.traces.tracer.build_with_context(builder, &parent)
    }

    /// A part of the work, which is over.
    pub fn part(&self, name: &'static str, began: Timestamp, ended: Timestamp) {
        if self.span.is_recording() {
            let mut part = self.child(name, SpanKind::Internal, began);
            part.end_with_timestamp(time(ended));
        }
    }

    /// The product is called: the call is the parent of whatever it does, as `headers` then say.
    pub fn call(
        &self,
        at: Timestamp,
        method: &Method,
        upstream: &str,
        headers: &mut HeaderMap,
    ) -> Call {
        let mut span = self.child(method_name(method), SpanKind::Client, at);
        if span.is_recording() {
            span.set_attributes([
                KeyValue::new("http.request.method", method_name(method)),
                KeyValue::new("portcullis.upstream", upstream.to_owned()),
            ]);
        }
        if self.traces.speaks_w3c {
            // What the client wrote there is not of this trace.
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
            let context = Context::new().with_remote_span_context(span.span_context().clone());
            TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
            if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
                headers.remove(TRACESTATE);
            }
        }
        Call(span)
    }

    pub fn end(mut self, ended: &Ended<'_>) {
        if self.span.is_recording() {
            describe(&mut self.span, ended);
        }
        self.span.end_with_timestamp(time(ended.at));
    }
}

/// The span of a call of the product.
#[derive(Debug)]
pub struct Call(Span);

impl Call {
    /// The product answered with a status, or the slug of a problem says why it did not.
    pub fn end(mut self, at: Timestamp, outcome: Result<u16, &'static str>) {
        if self.0.is_recording() {
            match outcome {
                Ok(status) => {
                    self.0.set_attribute(KeyValue::new(
                        "http.response.status_code",
                        i64::from(status),
                    ));
                    if status >= 400 {
                        fails(&mut self.0, status.to_string());
                    }
                }
                Err(problem) => fails(&mut self.0, problem.to_owned()),
            }
        }
        self.0.end_with_timestamp(time(at));
    }
}

fn describe(span: &mut Span, ended: &Ended<'_>) {
    let method = method_name(ended.method);
    if let Some(route) = ended.route {
        span.update_name(format!("{method} {route}"));
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
    }
    span.set_attributes([
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", ended.scheme.as_str()),
        KeyValue::new("http.response.status_code", i64::from(ended.status)),
        KeyValue::new("portcullis.request_id", ended.request.to_string()),
    ]);
    if let Some(problem) = ended.problem {
        span.set_attributes([
            KeyValue::new("portcullis.problem", problem),
            KeyValue::new("portcullis.stage", ended.stage),
        ]);
    }
    if let Some(denied) = ended.denied {
        span.set_attribute(KeyValue::new("portcullis.denied", denied.to_string()));
    }
    // A refusal is no error of the server (semantic conventions for HTTP spans, "Status").
    if ended.status >= 500 {
        fails(
            span,
            ended
                .problem
                .map_or_else(|| ended.status.to_string(), ToOwned::to_owned),
        );
    }
}

fn fails(span: &mut Span, error: String) {
    span.set_attribute(KeyValue::new("error.type", error));
    span.set_status(Status::error(""));
}

/// A method that is not of RFC 9110 or RFC 5789 is `_OTHER`, so that nobody makes new names.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

fn time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or_default();
    UNIX_EPOCH
        .checked_add(Duration::from_micros(micros))
        .unwrap_or(UNIX_EPOCH)
}
