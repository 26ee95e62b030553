use bytes::Bytes;

use super::{Block, Citation, Content, Error, Event, FinishReason, Logprob, Source, Usage};
use crate::media;

/// A whole answer: the fold of its events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The upstream's name of it.
    pub id: Option<String>,
    /// The model: the upstream's name after decoding; callers set the client's alias before encoding.
    pub model: Option<String>,
    /// Unix seconds.
    pub created: Option<u64>,
    /// What was counted, where it was.
    pub usage: Option<Usage>,
    /// The candidates, at least one.
    pub choices: Vec<Choice>,
}

/// One candidate of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Content in the order in which it was produced.
    pub blocks: Vec<Block>,
    /// Sources of the text.
    pub citations: Vec<Citation>,
    /// How likely its words were.
    pub logprobs: Vec<Logprob>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The upstream's own word for that.
    pub raw_finish: Option<String>,
    /// The stop sequence that was met.
    pub stop_sequence: Option<String>,
    /// The upstream's id of spoken output, with the time until which it is kept.
    pub audio: Option<(String, Option<u64>)>,
}

impl Response {
    /// Folds the events of one answer.
    ///
    /// # Errors
    /// The error among the events, or [`Error::truncated`] when a candidate has no `Finish`.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Result<Self, Error> {
        let mut answer = Self::default();
        let mut folds: Vec<(u32, Fold)> = Vec::new();
        let mut place = 0;
        for event in events {
            match event {
                Event::Start { id, model, created } => {
                    answer.id = id.or(answer.id);
                    answer.model = model.or(answer.model);
                    answer.created = created.or(answer.created);
                }
                Event::Choice(number) => {
                    let known = folds.iter().position(|(known, _)| *known == number);
                    place = known.unwrap_or_else(|| {
                        folds.push((number, Fold::new()));
                        folds.len() - 1
                    });
                }
                Event::Usage(usage) => answer.usage.get_or_insert_default().merge(usage),
                Event::Error(error) => return Err(error),
                Event::KeepAlive => {}
                event => {
                    if folds.is_empty() {
                        folds.push((0, Fold::new()));
                    }
                    folds[place].1.add(event);
                }
            }
        }
        if folds.is_empty() {
            return Err(Error::truncated());
        }
        folds.sort_by_key(|(number, _)| *number);
        answer.choices = folds.into_iter().map(|(_, fold)| fold.finish()).collect::<Result<_, Error>>()?;
        Ok(answer)
    }

    /// The events of which this answer is the fold: for clients that want a stream from an upstream that gave none.
    pub fn events(&self) -> Vec<Event> {
        let mut events =
            vec![Event::Start { id: self.id.clone(), model: self.model.clone(), created: self.created }];
        let several = self.choices.len() > 1;
        for (number, choice) in (0..).zip(&self.choices) {
            if several {
                events.push(Event::Choice(number));
            }
            choice.events(&mut events);
        }
        events.extend(self.usage.map(Event::Usage));
        for (number, choice) in (0..).zip(&self.choices) {
            if several {
                events.push(Event::Choice(number));
            }
            events.push(Event::Finish {
                reason: choice.finish,
                raw: choice.raw_finish.clone(),
                stop_sequence: choice.stop_sequence.clone(),
            });
        }
        events
    }
}

impl Choice {
    fn events(&self, events: &mut Vec<Event>) {
        let (mut calls, mut texts) = (0, 0);
        let mut citations: Vec<&Citation> = self.citations.iter().collect();
        for block in &self.blocks {
            match &block.content {
                Content::Text(text) => {
                    events.push(Event::Text(text.clone()));
                    events.extend(block.seal.clone().map(Event::Seal));
                    citations.retain(|citation| {
                        let here = citation.block == texts;
                        if here {
                            events.push(Event::Citation((*citation).clone()));
                        }
                        !here
                    });
                    texts += 1;
                    events.push(Event::BlockEnd);
                }
                Content::Thinking { text } => {
                    if !text.is_empty() {
                        events.push(Event::Thinking(text.clone()));
                    }
                    events.extend(block.seal.clone().map(Event::Seal));
                    events.push(Event::BlockEnd);
                }
                Content::RedactedThinking { data } => events.push(Event::RedactedThinking(data.clone())),
                Content::ToolCall { id, name, arguments } => {
                    let index = calls;
                    calls += 1;
                    let (id, name, seal) = (id.clone(), name.clone(), block.seal.clone());
                    events.push(Event::ToolStart { index, id, name, seal });
                    events.push(Event::ToolArgs { index, fragment: arguments.clone() });
                    events.push(Event::ToolEnd { index });
                }
                Content::Image { source: Source::Base64 { mime, data }, .. } => events.push(Event::Image {
                    mime: mime.clone(),
                    data: data.clone(),
                    seal: block.seal.clone(),
                }),
                Content::Image { source: Source::Url(url), .. } => events.push(Event::ImageUrl(url.clone())),
                Content::Audio { source: Source::Base64 { mime, data } } => {
                    let (id, expires_at) = self.audio.clone().unzip();
                    events.push(Event::Audio {
                        id,
                        mime: mime.clone(),
                        data: media::decode(data).into(),
                        transcript: String::new(),
                        expires_at: expires_at.flatten(),
                    });
                }
                Content::Audio { source: Source::Text(words) } => events.push(Event::Audio {
                    id: self.audio.as_ref().map(|(id, _)| id.clone()),
                    mime: String::new(),
                    data: Bytes::new(),
                    transcript: words.clone(),
                    expires_at: None,
                }),
                Content::Refusal(text) => events.push(Event::Refusal(text.clone())),
                Content::Opaque { dialect, json } => {
                    events.push(Event::Opaque { dialect: *dialect, json: json.clone() });
                }
                // No answer holds these: they are parts of requests.
                Content::Image { .. }
                | Content::Audio { .. }
                | Content::Document { .. }
                | Content::ToolResult { .. } => {}
            }
        }
        events.extend(citations.into_iter().cloned().map(Event::Citation));
        if !self.logprobs.is_empty() {
            events.push(Event::Logprobs(self.logprobs.clone()));
        }
    }
}

/// A candidate that is being folded.
struct Fold {
    choice: Choice,
    finished: bool,
    /// The last block is complete.
    closed: bool,
    /// Where each tool call landed among the blocks; calls may interleave.
    calls: Vec<(usize, usize)>,
    /// Where sound landed among the blocks, and its bytes so far.
    sound: Option<(usize, Vec<u8>)>,
}

impl Fold {
    fn new() -> Self {
        let choice = Choice {
            blocks: Vec::new(),
            citations: Vec::new(),
            logprobs: Vec::new(),
            finish: FinishReason::Stop,
            raw_finish: None,
            stop_sequence: None,
            audio: None,
        };
        Self { choice, finished: false, closed: false, calls: Vec::new(), sound: None }
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Text(text) => match self.open() {
                Some(Block { content: Content::Text(before), .. }) => before.push_str(&text),
                _ => self.push(Content::Text(text)),
            },
            Event::Thinking(more) => match self.open() {
                Some(Block { content: Content::Thinking { text }, seal: None, .. }) => text.push_str(&more),
                _ => self.push(Content::Thinking { text: more }),
            },
            Event::Seal(more) => {
                if !matches!(
                    self.open().map(|block| &block.content),
                    Some(Content::Text(_) | Content::Thinking { .. })
                ) {
                    self.push(Content::Thinking { text: String::new() });
                }
                if let Some(block) = self.open() {
                    match &mut block.seal {
                        Some(seal) if seal.maker == more.maker => seal.data.push_str(&more.data),
                        seal => *seal = Some(more),
                    }
                }
            }
            Event::BlockEnd => self.closed = true,
            Event::RedactedThinking(data) => self.push(Content::RedactedThinking { data }),
            Event::ToolStart { index, id, name, seal } => {
                self.calls.push((index, self.choice.blocks.len()));
                let content = Content::ToolCall { id, name, arguments: String::new() };
                self.put(Block { content, cache: None, seal });
            }
            Event::ToolArgs { index, fragment } => {
                let place = self.calls.iter().rev().find(|(call, _)| *call == index);
                if let Some(block) = place.and_then(|(_, at)| self.choice.blocks.get_mut(*at))
                    && let Content::ToolCall { arguments, .. } = &mut block.content
                {
                    arguments.push_str(&fragment);
                }
            }
            Event::Image { mime, data, seal } => {
                let content = Content::Image { source: Source::Base64 { mime, data }, detail: None };
                self.put(Block { content, cache: None, seal });
            }
            Event::ImageUrl(url) => self.push(Content::Image { source: Source::Url(url), detail: None }),
            Event::Audio { id, mime, data, transcript, expires_at } => {
                self.hear(id, mime, &data, &transcript, expires_at);
            }
            Event::Citation(citation) => self.choice.citations.push(citation),
            Event::Refusal(text) => match self.open() {
                Some(Block { content: Content::Refusal(before), .. }) => before.push_str(&text),
                _ => self.push(Content::Refusal(text)),
            },
            Event::Logprobs(more) => self.choice.logprobs.extend(more),
            Event::Opaque { dialect, json } => self.push(Content::Opaque { dialect, json }),
            Event::Finish { reason, raw, stop_sequence } => {
                self.finished = true;
                self.choice.finish = reason;
                self.choice.raw_finish = raw;
                self.choice.stop_sequence = stop_sequence;
            }
            Event::ToolEnd { .. }
            | Event::Start { .. }
            | Event::Choice(_)
            | Event::Usage(_)
            | Event::Error(_)
            | Event::KeepAlive => {}
        }
    }

    /// The last block, while more may be added to it.
    fn open(&mut self) -> Option<&mut Block> {
        if self.closed { None } else { self.choice.blocks.last_mut() }
    }

    fn push(&mut self, content: Content) {
        self.put(Block::new(content));
    }

    fn put(&mut self, block: Block) {
        self.closed = false;
        self.choice.blocks.push(block);
    }

    /// Sound is kept as one block of bytes and one of spoken words, whatever the order of its pieces.
    fn hear(
        &mut self,
        id: Option<String>,
        mime: String,
        data: &[u8],
        transcript: &str,
        expires_at: Option<u64>,
    ) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.choice.audio.get_or_insert((id, None));
        }
        if let (Some((_, until)), Some(_)) = (&mut self.choice.audio, expires_at) {
            *until = expires_at;
        }
        if !data.is_empty() {
            let at = self.choice.blocks.len();
            let first = self.sound.is_none();
            self.sound.get_or_insert((at, Vec::new())).1.extend_from_slice(data);
            if first {
                self.push(Content::Audio { source: Source::Base64 { mime, data: Bytes::new() } });
            }
        }
        if !transcript.is_empty() {
            let found = self.choice.blocks.iter_mut().find_map(|block| match &mut block.content {
                Content::Audio { source: Source::Text(text) } => Some(text),
                _ => None,
            });
            match found {
                Some(before) => before.push_str(transcript),
                None => self.push(Content::Audio { source: Source::Text(transcript.to_owned()) }),
            }
        }
    }

    fn finish(mut self) -> Result<Choice, Error> {
        if !self.finished {
            return Err(Error::truncated());
        }
        for block in &mut self.choice.blocks {
            // Clients parse arguments as JSON, and a call without any means none.
            if let Content::ToolCall { arguments, .. } = &mut block.content
                && arguments.trim().is_empty()
            {
                *arguments = "{}".to_owned();
            }
        }
        if let Some((at, bytes)) = self.sound
            && let Some(Block { content: Content::Audio { source: Source::Base64 { data, .. } }, .. }) =
                self.choice.blocks.get_mut(at)
        {
            *data = media::encode(&bytes).into();
        }
        Ok(self.choice)
    }
}
