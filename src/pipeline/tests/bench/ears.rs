//! Listens to what the program says of itself, as its log does.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;

/// The lines of the log since this was made, for as long as it is kept.
pub(crate) struct Ears {
    heard: Sink,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Ears {
    /// Listens in this thread, to lines of this level and those above it.
    pub(crate) fn open(level: tracing::Level) -> Self {
        let heard = Sink::default();
        let sink = heard.clone();
        let listener = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(level)
            .with_writer(move || sink.clone())
            .finish();
        Self { heard, _guard: tracing::subscriber::set_default(listener) }
    }

    /// The lines that say this, in order.
    pub(crate) fn saying(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.heard.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"].as_str().is_some_and(|said| said.contains(message))).collect()
    }
}
