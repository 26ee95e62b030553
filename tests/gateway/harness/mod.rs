//! What the tests share: the running binary, scripted upstreams, a client that sees every byte,
//! the recorded cases, and the words that configurations and answers are made of.

pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod h2;
pub(crate) mod load;
pub(crate) mod proxy;
pub(crate) mod recorded;
pub(crate) mod secrets;
pub(crate) mod stats;
pub(crate) mod tls;
pub(crate) mod upstream;
#[path = "../../vocabulary/mod.rs"]
mod vocabulary;

pub(crate) use client::Client;
pub(crate) use gateway::{Gateway, Setup, run};
pub(crate) use h2::Http2Upstream;
pub(crate) use proxy::{Proxy, Speaks};
pub(crate) use recorded::Recorded;
pub(crate) use tls::Authority;
pub(crate) use upstream::{Upstream, refused_port};
pub(crate) use vocabulary::*;

use std::time::{Duration, Instant};

/// Waits until `ready` gives something; stops the test after `limit`, naming what it waited for.
pub(crate) async fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long a test waits for something that should come at once: generous, because many tests and
/// builds may share the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
