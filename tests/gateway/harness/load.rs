//! Many requests over few connections, and what came of them: for promises about shares and about
//! "none", which a handful of requests cannot show.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ask, Gateway, Outcome};

impl Gateway {
    /// The channels that serve the next requests of one client, in order, as one word.
    pub(crate) async fn sequence(&self, requests: usize, ask: &Ask) -> String {
        let mut channels = String::new();
        for _ in 0..requests {
            channels.push_str(self.ask(ask).await.expect(200).channel());
        }
        channels
    }

    /// Sends this request so many times, from so many clients at once, each on one connection.
    ///
    /// The clients share one count, so that the total is exact, whoever is faster.
    pub(crate) async fn load(&self, clients: usize, total: usize, ask: &Ask) -> Outcome {
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let (client, next, ask) = (self.client(), next.clone(), ask.clone());
            tasks.spawn(async move {
                let mut outcome = Outcome::default();
                let mut wire = client.connect().await;
                while next.fetch_add(1, Ordering::Relaxed) < total {
                    let (answer, back) = wire.open(&ask).await.rest_and_wire().await;
                    wire = back;
                    outcome.note(&answer);
                }
                outcome
            });
        }
        let mut whole = Outcome::default();
        for outcome in tasks.join_all().await {
            for (channel, count) in outcome.served {
                *whole.served.entry(channel).or_default() += count;
            }
            for (status, (count, text)) in outcome.failed {
                let failed = whole.failed.entry(status).or_default();
                *failed = (failed.0 + count, text);
            }
        }
        whole
    }
}
