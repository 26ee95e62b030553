//! What one event of an answer tells those who watch it: the only thing layers ever read of a body.

use crate::ir::{Error, Event, FinishReason, Usage};

/// The depth to which a probe looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Before the channel is accepted: every event is read, so that errors and emptiness are not mistaken for content.
    Opening {
        /// Whether the text is wanted too, for triggers that look for words in it.
        want_text: bool,
    },
    /// After that: ordinary content is recognised without being parsed.
    Relay,
}

/// The meaning of one event, or of one whole answer, to those who watch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sighting {
    /// Text, reasoning, a tool call, a picture, sound or a refusal.
    pub content: bool,
    /// Nothing but the machinery of a stream: starts, pings, comments, empty deltas.
    pub lifecycle: bool,
    /// A finish reason.
    pub finished: bool,
    /// The terminal marker: `[DONE]`, `message_stop`; for a whole answer, that it is one.
    pub done: bool,
    /// OpenAI's extra chunk with usage and no choices.
    pub usage_only: bool,
    /// Bytes of content text. While relaying they are counted as they stand on the wire, escapes included.
    pub delivered: u32,
    /// What is rarer; absent for ordinary content.
    pub detail: Option<Box<Detail>>,
}

/// The rarer parts of a [`Sighting`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    /// What was counted so far, complete as far as it is known.
    pub usage: Option<Usage>,
    /// An error in the band of a successful answer.
    pub error: Option<Error>,
    /// The content text, when it was asked for.
    pub text: Option<String>,
    /// The finish reason.
    pub finish: Option<FinishReason>,
    /// The upstream's name of the answer.
    pub id: Option<String>,
    /// The model as the upstream calls it.
    pub model: Option<String>,
    /// The upstream's names of the items in it, which it keeps like the answer.
    pub items: Vec<String>,
    /// Whether a judgement flags any of its inputs; none for what is no judgement.
    pub flagged: Option<bool>,
}

impl Sighting {
    /// A sighting of the machinery of a stream only.
    pub fn machinery() -> Self {
        Self { lifecycle: true, ..Self::default() }
    }

    /// What an event of the intermediate form tells: converted streams are watched through their events.
    pub fn of(event: &Event, want_text: bool) -> Self {
        let mut sighting = Self::default();
        match event {
            Event::Text(text) | Event::Thinking(text) | Event::Refusal(text) => {
                sighting.deliver(text, want_text);
            }
            Event::ToolArgs { fragment, .. } => sighting.deliver(fragment, want_text),
            Event::ToolStart { .. }
            | Event::Image { .. }
            | Event::ImageUrl(_)
            | Event::RedactedThinking(_) => sighting.content = true,
            Event::Audio { data, transcript, .. } => {
                sighting.deliver(transcript, want_text);
                sighting.content |= !data.is_empty();
            }
            Event::Start { id, model, .. } => {
                if id.is_some() || model.is_some() {
                    let detail = sighting.detail();
                    detail.id.clone_from(id);
                    detail.model.clone_from(model);
                }
            }
            Event::Usage(usage) => sighting.detail().usage = Some(*usage),
            Event::Finish { reason, .. } => {
                sighting.finished = true;
                sighting.done = true;
                sighting.detail().finish = Some(*reason);
            }
            Event::Error(error) => sighting.detail().error = Some(error.clone()),
            // What the provider did by itself is no answer yet.
            Event::Choice(_)
            | Event::Seal(_)
            | Event::BlockEnd
            | Event::ToolEnd { .. }
            | Event::Citation(_)
            | Event::Logprobs(_)
            | Event::Opaque { .. }
            | Event::KeepAlive => {}
        }
        sighting.settle();
        sighting
    }

    /// The usage, when there is one.
    pub fn usage(&self) -> Option<Usage> {
        self.detail.as_deref().and_then(|detail| detail.usage)
    }

    /// The in-band error, when there is one.
    pub fn error(&self) -> Option<&Error> {
        self.detail.as_deref().and_then(|detail| detail.error.as_ref())
    }

    /// Whether a judgement flags any of its inputs; none for what is no judgement.
    pub fn flagged(&self) -> Option<bool> {
        self.detail.as_deref().and_then(|detail| detail.flagged)
    }

    /// The content text, when it was asked for and there is some.
    pub fn text(&self) -> Option<&str> {
        self.detail.as_deref().and_then(|detail| detail.text.as_deref())
    }

    /// Adds what a later event tells, so that one sighting can stand for a block of events.
    pub fn merge(&mut self, later: Sighting) {
        self.content |= later.content;
        self.lifecycle &= later.lifecycle;
        self.finished |= later.finished;
        self.done |= later.done;
        self.usage_only &= later.usage_only;
        self.delivered = self.delivered.saturating_add(later.delivered);
        let Some(later) = later.detail else { return };
        let detail = self.detail();
        if let Some(usage) = later.usage {
            detail.usage.get_or_insert_default().merge(usage);
        }
        detail.error = detail.error.take().or(later.error);
        match (&mut detail.text, later.text) {
            (Some(text), Some(more)) => text.push_str(&more),
            (text @ None, more) => *text = more,
            _ => {}
        }
        detail.finish = later.finish.or(detail.finish);
        detail.id = detail.id.take().or(later.id);
        detail.model = detail.model.take().or(later.model);
        detail.items.extend(later.items);
        detail.flagged = later.flagged.or(detail.flagged);
    }

    pub(crate) fn detail(&mut self) -> &mut Detail {
        self.detail.get_or_insert_default()
    }

    /// Notes content text; empty text is not content.
    pub(crate) fn deliver(&mut self, text: &str, want_text: bool) {
        if text.is_empty() {
            return;
        }
        self.content = true;
        self.delivered = self.delivered.saturating_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
        if want_text {
            self.detail().text.get_or_insert_default().push_str(text);
        }
    }

    /// Decides whether all this was machinery only.
    pub(crate) fn settle(&mut self) {
        self.lifecycle = !self.content && !self.finished && self.error().is_none();
    }
}
