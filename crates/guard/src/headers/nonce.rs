//! CSP nonces (CSP3 section 2.3.1) and how they get into the upstream's HTML as it streams.
//!
//! 1. A nonce is 128 random bits, another for each answer.
//! 2. SECURITY: by default a script gets it only if it bears the deployment's placeholder. Giving it
//!    to every script would also bless the script that an attacker stored in a comment, and the
//!    policy would stop nothing; `nonces = "all"` does that, for products whose templates cannot
//!    be changed, and `check` warns.
//! 3. HTML is rewritten only when it is uncompressed and in an encoding that holds ASCII as such.
//!    Everything else passes untouched under the same policy: its scripts do not run, which is the
//!    safe way to fail.
//! 4. Memory is bounded. A page that would need more (one huge tag) passes untouched from there.
//!
//! Deployment: an answer with nonces is the same for nobody else. The validators of the upstream
//! (`ETag`, `Last-Modified`) are removed and shared caches are told to keep away.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body, Frame, SizeHint};
use lol_html::errors::RewritingError;
use lol_html::html_content::Element;
use lol_html::send::{HtmlRewriter, Settings};
use lol_html::{MemorySettings, element};
use portcullis_vault::tokens::random;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A CSP nonce: 16 random bytes in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Nonce(Arc<str>);

impl Nonce {
    /// Nothing when the system has no random numbers.
    pub fn generate() -> Option<Self> {
        let bytes: [u8; 16] = random().ok()?;
        Some(Nonce(STANDARD.encode(bytes).into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(..)")
    }
}

/// What is done to the upstream's HTML.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Off,
    Placeholder(Arc<str>),
    All,
}

/// One answer's rewriting, for [`NonceBody::new`].
#[derive(Debug, Clone)]
pub struct Rewrite {
    nonce: Nonce,
    plan: Plan,
}

impl Plan {
    pub(super) const fn is_active(&self) -> bool {
        match self {
            Plan::Off => false,
            Plan::Placeholder(_) | Plan::All => true,
        }
    }

    /// The rewriting of an HTML answer, if it can be rewritten; its headers are adapted then.
    pub(super) fn start(&self, nonce: &Nonce, headers: &mut HeaderMap) -> Option<Rewrite> {
        if !self.is_active() || !is_plain(headers) || !holds_ascii(headers) {
            return None;
        }
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ETAG);
        headers.remove(header::LAST_MODIFIED);
        headers.remove(header::ACCEPT_RANGES);
        // A cached page and a nonce in a newer head would not fit; `no-store` of the upstream stays.
        let kept_nowhere = headers.get_all(header::CACHE_CONTROL).iter().any(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.to_ascii_lowercase().contains("no-store"))
        });
        if !kept_nowhere {
            headers.insert(
                header::CACHE_CONTROL,
                HeaderValue::from_static("private, no-cache"),
            );
        }
        Some(Rewrite {
            nonce: nonce.clone(),
            plan: self.clone(),
        })
    }
}

/// Whether the answer is a page that runs scripts. One that does not say what it is may be
/// taken for one.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let Ok(text) = value.to_str() else {
        return true;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/html")
        || essence.eq_ignore_ascii_case("application/xhtml+xml")
}

fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        && !headers.contains_key(header::CONTENT_RANGE)
}

/// Whether the encoding that is told holds ASCII as such: tags and the nonce can then be found and
/// written as bytes. Nothing told means UTF-8 or a relative.
fn holds_ascii(headers: &HeaderMap) -> bool {
    let Some(text) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let charset = text.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"'))
    });
    match charset {
        None => true,
        Some(label) => {
            let label = label.to_ascii_lowercase();
            matches!(
                label.as_str(),
                "utf-8" | "utf8" | "us-ascii" | "ascii" | "latin1"
            ) || label.starts_with("iso-8859-")
                || label.starts_with("windows-125")
        }
    }
}

/// The most that one page may hold back while a tag is incomplete.
const MEMORY: usize = 256 * 1024;
const FIRST_BUFFER: usize = 1024;

type Output = Arc<Mutex<BytesMut>>;
type Sink = Box<dyn FnMut(&[u8]) + Send>;

/// Streams HTML with the nonce written in. Cancel safe: what was read and not yet given out is
/// dropped with the body.
pub struct NonceBody<B> {
    inner: B,
    state: State,
    output: Output,
}

enum State {
    Rewriting(Box<HtmlRewriter<'static, Sink>>),
    /// The memory was not enough: the rest passes as it is.
    Passing,
    /// Data is out; trailers may follow.
    Ended(Option<HeaderMap>),
}

#[derive(Debug, thiserror::Error)]
#[error("the page could not be rewritten")]
pub struct RewriteFailed(#[source] RewritingError);

impl<B> NonceBody<B> {
    pub fn new(inner: B, rewrite: &Rewrite) -> Self {
        let output = Output::default();
        NonceBody {
            inner,
            state: State::Rewriting(Box::new(rewriter(rewrite, &output))),
            output,
        }
    }

    fn take_output(&self) -> Option<Bytes> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        (!output.is_empty()).then(|| output.split().freeze())
    }

    fn rewrite(&mut self, data: &[u8]) -> Result<Option<Bytes>, RewriteFailed> {
        match &mut self.state {
            State::Rewriting(rewriter) => {
                if let Err(error) = rewriter.write(data) {
                    self.give_up(error)?;
                }
                Ok(self.take_output())
            }
            State::Passing | State::Ended(_) => Ok(Some(Bytes::copy_from_slice(data))),
        }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Result<Option<Bytes>, RewriteFailed> {
        match std::mem::replace(&mut self.state, State::Ended(trailers)) {
            State::Rewriting(rewriter) => match rewriter.end() {
                Ok(()) | Err(RewritingError::MemoryLimitExceeded(_)) => {}
                Err(error) => return Err(RewriteFailed(error)),
            },
            State::Passing | State::Ended(_) => {}
        }
        Ok(self.take_output())
    }

    fn give_up(&mut self, error: RewritingError) -> Result<(), RewriteFailed> {
        self.state = State::Passing;
        match error {
            // What was held back has been put out as it was.
            RewritingError::MemoryLimitExceeded(_) => Ok(()),
            error => Err(RewriteFailed(error)),
        }
    }
}

fn rewriter(rewrite: &Rewrite, output: &Output) -> HtmlRewriter<'static, Sink> {
    let Rewrite { nonce, plan } = rewrite.clone();
    let wants = move |element: &Element<'_, '_, _>| match &plan {
        Plan::Off => false,
        Plan::All => true,
        Plan::Placeholder(text) => element
            .get_attribute("nonce")
            .is_some_and(|given| given == **text),
    };
    let settings = Settings::new_send()
        .append_element_content_handler(element!("script, style, link", move |element| {
            if wants(element) {
                element.set_attribute("nonce", nonce.as_str())?;
            }
            Ok(())
        }))
        // Where markup could be read in two ways, a guess is good enough: at worst a text gets a nonce.
        .with_strict(false)
        .with_memory_settings(
            MemorySettings::new()
                .with_preallocated_parsing_buffer_size(FIRST_BUFFER)
                .with_max_allowed_memory_usage(MEMORY)
                .with_graceful_bail_out_on_memory_limit_exceeded(true),
        );
    let output = Arc::clone(output);
    let sink: Sink = Box::new(move |chunk: &[u8]| {
        output
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(chunk);
    });
    HtmlRewriter::new(settings, sink)
}

impl<B> Body for NonceBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let State::Ended(trailers) = &mut self.state {
                return Poll::Ready(
                    trailers
                        .take()
                        .map(|trailers| Ok(Frame::trailers(trailers))),
                );
            }
            let data = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        let bytes = data.copy_to_bytes(data.remaining());
                        self.rewrite(&bytes)
                    }
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
                None => self.finish(None),
            };
            match data {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(error) => {
                    self.state = State::Ended(None);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
#[path = "nonce_tests.rs"]
mod tests;
