//! Who served many requests: for promises about shares and about "none", which a handful of
//! requests cannot show.

use std::collections::BTreeMap;

use super::Answer;

/// What came of many requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Answers by the channel that served.
    pub(crate) served: BTreeMap<String, usize>,
    /// Answers other than 200, by status, with one text of each.
    pub(crate) failed: BTreeMap<u16, (usize, String)>,
}

impl Outcome {
    /// Counts one answer.
    pub(crate) fn note(&mut self, answer: &Answer) {
        if answer.status == 200 && answer.complete {
            *self.served.entry(answer.channel().to_owned()).or_default() += 1;
        } else {
            let failed = self.failed.entry(answer.status).or_default();
            *failed = (failed.0 + 1, answer.text());
        }
    }

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
