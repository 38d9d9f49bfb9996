//! A product behind the gate that remembers everything it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response};
use axum::{Router, response::IntoResponse};

/// One request as the product saw it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answers = Arc<dyn Fn(&Received) -> Response<Body> + Send + Sync>;

/// A real HTTP server on loopback.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Upstream {
    /// Answers `200` with a short text to everything.
    pub(crate) async fn start() -> Self {
        Upstream::answering(|_| "hello from the product".into_response()).await
    }

    pub(crate) async fn answering(
        answer: impl Fn(&Received) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let state = (Arc::clone(&received), Arc::new(answer) as Answers);
        let app = Router::new().fallback(record).with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Upstream { address, received }
    }

    /// Its answer is a stream of events that never ends.
    pub(crate) async fn endless() -> Self {
        Upstream::answering(|_| {
            let silence =
                futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::from_stream(silence))
                .unwrap()
        })
        .await
    }

    /// One that the test itself serves; nothing is recorded here.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Upstream {
            address,
            received: Arc::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Received {
        self.received()
            .pop()
            .expect("the product was asked something")
    }
}

async fn record(
    State((received, answer)): State<(Arc<Mutex<Vec<Received>>>, Answers)>,
    request: Request,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let target = head
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let request = Received {
        method: head.method,
        target,
        headers: head.headers,
        body,
    };
    received.lock().unwrap().push(request.clone());
    answer(&request)
}
