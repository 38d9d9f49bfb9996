//! How spans leave: through the library's thread, its batches and its protocol, and the house's way out.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use portcullis_edge::outbound::{self, Outbound, Target};
use tokio::runtime::Handle;

use super::{Asked, Error};
use crate::Metrics;
use crate::metrics::SpanMark;

const SERVICE_NAME: &str = "service.name";
/// What the library says where nobody named the service.
const UNNAMED: &str = "unknown_service";

/// What makes spans, with everything behind it.
pub(super) fn provider(
    asked: &Asked,
    metrics: &Arc<Metrics>,
    back: &Handle,
) -> Result<SdkTracerProvider, Error> {
    let failing = Arc::new(AtomicBool::new(false));
    let client = Client {
        failing: Arc::clone(&failing),
        outbound: Outbound::new(asked.timeout, asked.authorities.clone()),
        target: asked.target.clone(),
        back: back.clone(),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(asked.target.url())
        .with_timeout(asked.timeout)
        .build()
        .map_err(|error| Error(Box::new(error)))?;
    let waiting = Arc::new(AtomicUsize::new(0));
    let counted = Counted {
        exporter,
        waiting: Arc::clone(&waiting),
        failing,
        metrics: Arc::clone(metrics),
    };
    let bounded = Bounded {
        batches: BatchSpanProcessor::builder(counted).build(),
        waiting,
        most: asked.queue,
        metrics: Arc::clone(metrics),
    };
    Ok(SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(bounded)
        .build())
}

/// Of which service spans are: what the variables say, or the program's name.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&SERVICE_NAME.into());
    let is_named = name.is_some_and(|name| !name.as_str().starts_with(UNNAMED));
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if !is_named {
        resource = resource.with_service_name("portcullis");
    }
    resource.build()
}

/// Drops what there is no room for, and counts it. The library would drop it too, and tell nobody.
#[derive(Debug)]
struct Bounded {
    batches: BatchSpanProcessor,
    /// Spans that were taken in and not handed over yet.
    waiting: Arc<AtomicUsize>,
    most: usize,
    metrics: Arc<Metrics>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.spans_ended(SpanMark::Dropped, 1);
            return;
        }
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what was handed over, and what was not.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    waiting: Arc<AtomicUsize>,
    /// Told once, until it is over.
    failing: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let outcome = self.exporter.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        match &outcome {
            Ok(()) => {
                self.metrics.spans_ended(SpanMark::Exported, count);
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("spans are handed over again");
                }
            }
            Err(error) => {
                self.metrics.spans_ended(SpanMark::Failed, count);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "spans could not be handed over");
                }
            }
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The house's way out, for the library. It is called from a thread without a runtime, so that the exchange
/// itself happens on the back runtime.
struct Client {
    outbound: Outbound,
    target: Target,
    back: Handle,
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

impl Client {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut headers = head.headers;
        headers.remove(header::CONTENT_TYPE);
        let (outbound, target) = (self.outbound.clone(), self.target.clone());
        let answer = self
            .back
            .spawn(async move {
                let kind = "application/x-protobuf";
                outbound.post_with(&target, headers, kind, body).await
            })
            .await?
            .inspect_err(|error| self.tell(error))?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        Ok(response)
    }

    /// The library would say "network error" and no more.
    fn tell(&self, error: &outbound::Error) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, source, "the collector of spans cannot be reached");
        }
    }
}
