//! What the environment says about traces: whether, where and how they are sent.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Uri};
use layers::trace_context::Sampler;

/// The settings by which spans are sent. Without them none are made.
#[derive(Clone)]
pub struct TraceSettings {
    /// The receiver's URL, path included.
    pub endpoint: Uri,
    /// Sent with each request to it, marked sensitive: they may hold credentials.
    pub headers: HeaderMap,
    /// How long it may take to hand spans over, repeats included.
    pub timeout: Duration,
    /// Whether what is sent is compressed.
    pub gzip: bool,
    /// The name of this service.
    pub service: String,
    /// What else is told of it.
    pub resource: Vec<(String, String)>,
    /// Which traces are sent.
    pub sampler: Sampler,
    /// Records that may wait.
    pub queue: usize,
    /// Most spans in one request.
    pub batch: usize,
    /// How long spans wait for company.
    pub delay: Duration,
}

impl fmt::Debug for TraceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL and the headers may hold credentials.
        f.debug_struct("TraceSettings")
            .field("host", &self.endpoint.host())
            .field("service", &self.service)
            .field("sampler", &self.sampler)
            .finish_non_exhaustive()
    }
}
