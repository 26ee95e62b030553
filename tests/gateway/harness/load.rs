//! Many requests over few connections, and what came of them: for promises about shares and about
//! "none", which a handful of requests cannot show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ask, Gateway};

/// What came of many requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers by the channel that served.
    pub(crate) served: BTreeMap<String, usize>,
    /// Answers other than 200, by status, with one text of each.
    pub(crate) failed: BTreeMap<u16, (usize, String)>,
}

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
                    if answer.status == 200 && answer.complete {
                        *outcome.served.entry(answer.channel().to_owned()).or_default() += 1;
                    } else {
                        let failed = outcome.failed.entry(answer.status).or_default();
                        *failed = (failed.0 + 1, answer.text());
                    }
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

impl Outcome {
    /// How many this channel served.
    pub(crate) fn of(&self, channel: &str) -> usize {
        self.served.get(channel).copied().unwrap_or(0)
    }

    /// Stops the test unless every request was served.
    #[track_caller]
    pub(crate) fn all_served(self) -> Self {
        assert!(self.failed.is_empty(), "{self:?}");
        self
    }

    /// Stops the test unless the channels served exactly this often.
    #[track_caller]
    pub(crate) fn shares(self, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> =
            expected.iter().map(|(channel, count)| ((*channel).to_owned(), *count)).collect();
        assert_eq!(self.all_served().served, expected);
    }

    /// Stops the test when the channels' shares differ from these weights by more than chance does
    /// once in a hundred thousand runs.
    #[track_caller]
    pub(crate) fn shares_like(self, weights: &[(&str, usize)]) {
        /// Quantiles of chi-square at 1 − 10⁻⁵, for one to five degrees of freedom.
        const LIMITS: [f64; 5] = [19.51, 23.03, 25.90, 28.47, 30.86];
        let outcome = self.all_served();
        let total: usize = outcome.served.values().sum();
        let heft: usize = weights.iter().map(|(_, weight)| weight).sum();
        let known: usize = weights.iter().map(|(channel, _)| outcome.of(channel)).sum();
        assert_eq!(known, total, "somebody else served: {outcome:?}");
        let chi: f64 = weights
            .iter()
            .map(|(channel, weight)| {
                let due = (total * weight) as f64 / heft as f64;
                (outcome.of(channel) as f64 - due).powi(2) / due
            })
            .sum();
        assert!(chi < LIMITS[weights.len() - 2], "chi-square {chi} of {outcome:?}");
    }
}
