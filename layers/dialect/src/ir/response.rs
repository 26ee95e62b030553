use super::{Block, Citation, Content, Error, Event, FinishReason, Source, Usage};

/// A whole answer: the fold of its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The upstream's name of it. Callers may set their own before encoding.
    pub id: Option<String>,
    /// The model: the upstream's name after decoding; callers set the client's alias before encoding.
    pub model: Option<String>,
    /// Unix seconds.
    pub created: Option<u64>,
    /// Content in the order in which it was produced.
    pub blocks: Vec<Block>,
    /// Sources of the text.
    pub citations: Vec<Citation>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The upstream's own word for that.
    pub raw_finish: Option<String>,
    /// The stop sequence that was met.
    pub stop_sequence: Option<String>,
    /// What was counted, where it was.
    pub usage: Option<Usage>,
    /// The upstream's id of spoken output, with the time until which it is kept.
    pub audio: Option<(String, Option<u64>)>,
}

impl Response {
    /// Folds the events of one answer.
    ///
    /// # Errors
    /// The error among the events, or [`Error::truncated`] when there is no `Finish`.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Result<Self, Error> {
        let mut answer = Self {
            id: None,
            model: None,
            created: None,
            blocks: Vec::new(),
            citations: Vec::new(),
            finish: FinishReason::Stop,
            raw_finish: None,
            stop_sequence: None,
            usage: None,
            audio: None,
        };
        let mut finished = false;
        // Where each tool call landed among the blocks; calls may interleave.
        let mut calls: Vec<(usize, usize)> = Vec::new();
        for event in events {
            match event {
                Event::Start { id, model, created } => {
                    answer.id = id.or(answer.id);
                    answer.model = model.or(answer.model);
                    answer.created = created.or(answer.created);
                }
                Event::Text(text) => match answer.blocks.last_mut().map(|block| &mut block.content) {
                    Some(Content::Text(before)) => before.push_str(&text),
                    _ => answer.blocks.push(Block::text(text)),
                },
                Event::Thinking(more) => match answer.blocks.last_mut().map(|block| &mut block.content) {
                    Some(Content::Thinking { text, signature: None }) => text.push_str(&more),
                    _ => answer.push(Content::Thinking { text: more, signature: None }),
                },
                Event::ThinkingSignature(seal) => {
                    match answer.blocks.last_mut().map(|block| &mut block.content) {
                        Some(Content::Thinking { signature, .. }) => {
                            signature.get_or_insert_default().push_str(&seal);
                        }
                        _ => answer.push(Content::Thinking { text: String::new(), signature: Some(seal) }),
                    }
                }
                Event::RedactedThinking(data) => answer.push(Content::RedactedThinking { data }),
                Event::ToolStart { index, id, name, signature } => {
                    calls.push((index, answer.blocks.len()));
                    answer.push(Content::ToolCall { id, name, arguments: String::new(), signature });
                }
                Event::ToolArgs { index, fragment } => {
                    let place = calls.iter().rev().find(|(call, _)| *call == index);
                    if let Some(block) = place.and_then(|(_, at)| answer.blocks.get_mut(*at))
                        && let Content::ToolCall { arguments, .. } = &mut block.content
                    {
                        arguments.push_str(&fragment);
                    }
                }
                Event::ToolEnd { .. } | Event::KeepAlive => {}
                Event::Image { mime, base64, .. } => {
                    let source = Source::Base64 { mime, data: base64 };
                    answer.push(Content::Image { source, detail: None });
                }
                Event::ImageUrl(url) => {
                    answer.push(Content::Image { source: Source::Url(url), detail: None })
                }
                Event::Audio { id, base64, transcript, expires_at } => {
                    answer.hear(id, &base64, &transcript, expires_at);
                }
                Event::Citation(citation) => answer.citations.push(citation),
                Event::Refusal(text) => match answer.blocks.last_mut().map(|block| &mut block.content) {
                    Some(Content::Refusal(before)) => before.push_str(&text),
                    _ => answer.push(Content::Refusal(text)),
                },
                Event::Usage(usage) => answer.usage.get_or_insert_default().merge(usage),
                Event::Finish { reason, raw, stop_sequence } => {
                    finished = true;
                    answer.finish = reason;
                    answer.raw_finish = raw;
                    answer.stop_sequence = stop_sequence;
                }
                Event::Error(error) => return Err(error),
            }
        }
        // Clients parse arguments as JSON, and a call without any means none.
        for block in &mut answer.blocks {
            if let Content::ToolCall { arguments, .. } = &mut block.content
                && arguments.trim().is_empty()
            {
                *arguments = "{}".to_owned();
            }
        }
        if finished { Ok(answer) } else { Err(Error::truncated()) }
    }

    /// The events of which this answer is the fold: for clients that want a stream from an upstream that gave none.
    pub fn events(&self) -> Vec<Event> {
        let mut events =
            vec![Event::Start { id: self.id.clone(), model: self.model.clone(), created: self.created }];
        let mut calls = 0;
        for block in &self.blocks {
            match &block.content {
                Content::Text(text) => events.push(Event::Text(text.clone())),
                Content::Thinking { text, signature } => {
                    if !text.is_empty() {
                        events.push(Event::Thinking(text.clone()));
                    }
                    events.extend(signature.clone().map(Event::ThinkingSignature));
                }
                Content::RedactedThinking { data } => events.push(Event::RedactedThinking(data.clone())),
                Content::ToolCall { id, name, arguments, signature } => {
                    let index = calls;
                    calls += 1;
                    events.push(Event::ToolStart {
                        index,
                        id: id.clone(),
                        name: name.clone(),
                        signature: signature.clone(),
                    });
                    events.push(Event::ToolArgs { index, fragment: arguments.clone() });
                    events.push(Event::ToolEnd { index });
                }
                Content::Image { source: Source::Base64 { mime, data }, .. } => {
                    events.push(Event::Image { mime: mime.clone(), base64: data.clone(), signature: None })
                }
                Content::Image { source: Source::Url(url), .. } => events.push(Event::ImageUrl(url.clone())),
                Content::Audio { source: Source::Base64 { data, .. } } => {
                    let (id, expires_at) = self.audio.clone().unzip();
                    let expires_at = expires_at.flatten();
                    let transcript = String::new();
                    events.push(Event::Audio { id, base64: data.clone(), transcript, expires_at });
                }
                Content::Audio { source: Source::Text(words) } => events.push(Event::Audio {
                    id: self.audio.as_ref().map(|(id, _)| id.clone()),
                    base64: String::new(),
                    transcript: words.clone(),
                    expires_at: None,
                }),
                Content::Refusal(text) => events.push(Event::Refusal(text.clone())),
                // No answer holds these: they are parts of requests.
                Content::Image { .. }
                | Content::Audio { .. }
                | Content::Document { .. }
                | Content::ToolResult { .. }
                | Content::Opaque { .. } => {}
            }
        }
        events.extend(self.citations.iter().cloned().map(Event::Citation));
        events.extend(self.usage.map(Event::Usage));
        events.push(Event::Finish {
            reason: self.finish,
            raw: self.raw_finish.clone(),
            stop_sequence: self.stop_sequence.clone(),
        });
        events
    }

    fn push(&mut self, content: Content) {
        self.blocks.push(Block::new(content));
    }

    /// Sound is kept as one block of bytes and one of spoken words, whatever the order of its pieces.
    fn hear(&mut self, id: Option<String>, base64: &str, transcript: &str, expires_at: Option<u64>) {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.audio.get_or_insert((id, None));
        }
        if let (Some((_, until)), Some(_)) = (&mut self.audio, expires_at) {
            *until = expires_at;
        }
        for (piece, words) in [(base64, false), (transcript, true)] {
            if piece.is_empty() {
                continue;
            }
            let found = self.blocks.iter_mut().find_map(|block| match &mut block.content {
                Content::Audio { source: Source::Base64 { data, .. } } if !words => Some(data),
                Content::Audio { source: Source::Text(text) } if words => Some(text),
                _ => None,
            });
            match found {
                Some(before) => before.push_str(piece),
                None if words => self.push(Content::Audio { source: Source::Text(piece.to_owned()) }),
                None => self.push(Content::Audio {
                    source: Source::Base64 { mime: "audio/wav".into(), data: piece.to_owned() },
                }),
            }
        }
    }
}
