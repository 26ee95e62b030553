//! What the gateway tells about itself: metrics, one line per request, traces, and its own
//! log.

pub mod logging;
pub mod metrics;
pub mod output;
mod plain;
mod request_line;
pub mod request_log;
mod semconv;
mod throttle;
pub mod traces;
mod visit_line;
