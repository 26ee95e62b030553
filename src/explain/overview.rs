//! All models of a key in short: where a request for each would go, and what rests.

use std::fmt::Write as _;
use std::sync::Arc;

use layers::endpoint::CHAT_COMPLETIONS;
use layers::policy::Caller;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Counts, Decision, Explanation, KeyName, OneKey, Question, explain, span, table};
use crate::config::problem::count as plural;
use crate::snapshot::Snapshot;

/// Models that are looked at; all are counted.
const MOST_MODELS: usize = 1000;

/// Answer to where the requests of a key would go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overview {
    /// Whose requests.
    pub key: KeyName,
    /// Whether nothing had happened yet: the plan of a process that has just started.
    pub fresh: bool,
    /// Every model that the key may use, up to a thousand.
    pub models: Vec<ModelLine>,
    /// How many there are beyond those.
    pub more: usize,
}

/// One model of an [`Overview`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelLine {
    /// Its name.
    pub model: String,
    /// What would come of a request for it.
    pub verdict: Decision,
    /// Its channels, in the order in which they would be tried.
    pub channels: Vec<ChannelLine>,
}

/// One channel of a [`ModelLine`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChannelLine {
    /// Its name, with the place where it has several.
    pub channel: String,
    /// How it stands; see [`Candidate`](super::Candidate).
    pub standing: String,
    /// How long it still cools after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooling_seconds: Option<f64>,
    /// How many keys it has.
    pub keys: usize,
    /// How many of them could be used now.
    pub usable_keys: usize,
    /// Keys that rest, or are over their limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resting: Vec<OneKey>,
}

/// Looks at every model that a key may use.
pub fn overview(
    snapshot: &Snapshot,
    counts: Counts<'_>,
    caller: &Arc<Caller>,
    most_body: u64,
    now: Instant,
) -> Overview {
    let models = snapshot.models(caller);
    let line = |model: &Arc<str>| {
        let question = Question { caller, model, endpoint: &CHAT_COMPLETIONS, body: None, most_body };
        model_line(explain(snapshot, counts, question, now))
    };
    Overview {
        key: KeyName {
            alias: caller.alias.as_ref().to_owned(),
            fingerprint: caller.fingerprint.as_str().to_owned(),
        },
        fresh: false,
        models: models.iter().take(MOST_MODELS).map(line).collect(),
        more: models.len().saturating_sub(MOST_MODELS),
    }
}

fn model_line(explanation: Explanation) -> ModelLine {
    let channels = explanation.candidates.into_iter().map(|candidate| ChannelLine {
        channel: candidate.name(),
        keys: candidate.keys.total,
        usable_keys: candidate.keys.usable,
        resting: candidate.keys.list.into_iter().filter(|key| key.seconds.is_some()).collect(),
        standing: candidate.standing,
        cooling_seconds: candidate.cooling_seconds,
    });
    ModelLine { model: explanation.model, channels: channels.collect(), verdict: explanation.verdict }
}

impl Overview {
    /// Lines for a terminal.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let count = self.models.len() + self.more;
        writeln!(text, "{} may use {}.", self.key.alias, plural(count, "model"))?;
        if self.fresh {
            write!(text, "{}", table::FRESH)?;
        }
        writeln!(text)?;
        let mut rows = vec![["MODEL", "GOES TO", "THEN", "RESTS"].map(str::to_owned)];
        rows.extend(self.models.iter().map(ModelLine::row));
        table::columns(text, &rows)?;
        if self.more > 0 {
            writeln!(text, "… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl ModelLine {
    fn row(&self) -> [String; 4] {
        let first = self.verdict.channel.as_deref();
        let goes_to = match (first, self.verdict.status) {
            (Some(channel), _) => channel.to_owned(),
            (None, Some(status)) => format!("nobody ({status}): {}", self.verdict.reason),
            (None, None) => "nobody".to_owned(),
        };
        let standby = self.channels.iter().filter(|line| line.standing == "standby");
        let then: Vec<&str> = standby.map(|line| &*line.channel).collect();
        let rests: Vec<String> = self.channels.iter().filter_map(ChannelLine::rest).collect();
        let or_none = |list: String| if list.is_empty() { "-".to_owned() } else { list };
        [self.model.clone(), goes_to, or_none(then.join(", ")), or_none(rests.join("; "))]
    }
}

impl ChannelLine {
    /// What of it rests, and for how long.
    fn rest(&self) -> Option<String> {
        if let Some(left) = self.cooling_seconds {
            return Some(format!("{} for {}", self.channel, span(left)));
        }
        let resting = self.keys.saturating_sub(self.usable_keys);
        let first = self.resting.iter().filter_map(|key| key.seconds).min_by(f64::total_cmp);
        let back = first.map_or_else(String::new, |left| format!(", the first for {}", span(left)));
        (resting > 0).then(|| format!("{resting} of {} keys of {}{back}", self.keys, self.channel))
    }
}
