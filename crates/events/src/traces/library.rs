//! The library that makes and exports spans, where it is built in (the feature `otel`).
//!
//! It brings protocol buffers and their code, for what few need on a first day. A build without it has the
//! types, and nobody can have a value of one: [`Traces::start`] has none to give.

#[cfg(not(feature = "otel"))]
pub use absent::{Call, Trace, Traces};

#[cfg(feature = "otel")]
pub use super::spans::{Call, Trace, Traces};

/// Whether this build exports traces.
pub const IS_BUILT_IN: bool = cfg!(feature = "otel");

#[cfg(not(feature = "otel"))]
mod absent {
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderMap, Method};
    use portcullis_core::Timestamp;
    use tokio::runtime::Handle;

    use super::super::{Asked, Ended, Error, TraceId};
    use crate::Metrics;

    #[derive(Debug, Clone)]
    enum Never {}

    #[derive(Debug, Clone)]
    pub struct Traces(Never);

    #[derive(Debug)]
    pub struct Trace(Never);

    #[derive(Debug)]
    pub struct Call(Never);

    impl Traces {
        pub const fn start(
            _: &Asked,
            _: &Arc<Metrics>,
            _: &Handle,
        ) -> Result<Option<Traces>, Error> {
            Ok(None)
        }

        pub fn begin(&self, _: Timestamp, _: &Method, _: Option<&HeaderMap>, _: bool) -> Trace {
            match self.0 {}
        }

        pub fn finish(&self, _: Duration) {
            match self.0 {}
        }
    }

    impl Trace {
        pub fn id(&self) -> TraceId {
            match self.0 {}
        }

        pub fn part(&self, _: &'static str, _: Timestamp, _: Timestamp) {
            match self.0 {}
        }

        pub fn call(&self, _: Timestamp, _: &Method, _: &str, _: &mut HeaderMap) -> Call {
            match self.0 {}
        }

        pub fn end(self, _: &Ended<'_>) {
            match self.0 {}
        }
    }

    impl Call {
        pub fn end(self, _: Timestamp, _: Result<u16, &'static str>) {
            match self.0 {}
        }
    }
}
