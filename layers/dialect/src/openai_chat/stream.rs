//! Reads the streamed answers of OpenAI chat.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>.

use super::wire::{self, Chunk, Function, Message, Part};
use crate::ir::{Citation, CitationKind, Error, Event, FinishReason, Raw, Seal, Source};
use crate::lenient::{Count, TextOr};
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Dialect, Frame, Malformed, media, names};

/// Most candidates of one answer; further ones are not read.
const MOST_CHOICES: usize = 128;

/// A decoder of chunks, and of whole answers as a chunk of their own.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    correspondence: Correspondence,
    started: bool,
    ended: bool,
    /// Prefix of identities that the upstream left out.
    seed: String,
    /// The candidates, in the order in which they came.
    choices: Vec<Candidate>,
    /// The number of the candidate that the last event was about.
    current: u32,
    /// The sources that are told beside the text, as JSON: many tell them with every chunk.
    sources: String,
}

/// A candidate under way.
#[derive(Debug, Default)]
struct Candidate {
    number: u32,
    /// It has said something.
    said: bool,
    calls: Vec<Call>,
    finish: Option<(FinishReason, String)>,
    /// A source was told within the text.
    cited: bool,
    sound: media::Pieces,
}

/// A tool call under way. Its place in the list is its dense index.
#[derive(Debug, Default)]
struct Call {
    /// The index the upstream gives it, if any.
    index: Option<u64>,
    id: String,
    name: String,
    /// Arguments that came before the name.
    early: String,
    seal: Option<Seal>,
    announced: bool,
    any_arguments: bool,
}

impl Decoder {
    pub(crate) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    /// Reads what a chunk, or a whole answer, says.
    pub(crate) fn read(&mut self, chunk: &Chunk<'_>, out: &mut Vec<Event>) {
        // Azure opens with a chunk that has neither id nor choices.
        if !self.started && (chunk.id.full().is_some() || !chunk.choices.0.is_empty()) {
            self.started = true;
            self.seed = chunk.id.text().to_owned();
            let created = Some(chunk.created.0).filter(|created| *created > 0);
            out.push(Event::Start { id: chunk.id.owned(), model: chunk.model.owned(), created });
        }
        if let Some(sources) = chunk.sources().filter(|sources| sources.len() != self.sources.len()) {
            sources.clone_into(&mut self.sources);
        }
        for choice in &chunk.choices.0 {
            let Some(place) = self.choice(choice.index.0, out) else { continue };
            let said = self.choices[place].said;
            if let Some(message) = choice.message(said) {
                self.choices[place].said |= !message.is_empty();
                self.read_message(place, message, out);
            }
            push_text(choice.text.text(), out, Event::Text);
            let logprobs = choice.logprobs();
            if !logprobs.is_empty() {
                out.push(Event::Logprobs(logprobs));
            }
            match FinishReason::from_openai(choice.finish_reason.text()) {
                Some(FinishReason::Error) => return self.fail(super::failed_choice(), out),
                Some(reason) => {
                    self.choices[place].finish = Some((reason, choice.finish_reason.text().to_owned()));
                }
                None => {}
            }
        }
        out.extend(chunk.usage().map(Event::Usage));
    }

    /// The place of a candidate, to which the events behind this belong; none when there are too many.
    fn choice(&mut self, number: u64, out: &mut Vec<Event>) -> Option<usize> {
        let number = u32::try_from(number).ok()?;
        let known = self.choices.iter().position(|choice| choice.number == number);
        let place = match known {
            Some(place) => place,
            None if self.choices.len() == MOST_CHOICES => return None,
            None => {
                self.choices.push(Candidate { number, ..Candidate::default() });
                self.choices.len() - 1
            }
        };
        self.switch(number, out);
        Some(place)
    }

    fn switch(&mut self, number: u32, out: &mut Vec<Event>) {
        if self.current != number {
            self.current = number;
            out.push(Event::Choice(number));
        }
    }

    fn read_message(&mut self, place: usize, message: &Message<'_>, out: &mut Vec<Event>) {
        push_text(message.thinking(), out, Event::Thinking);
        match &message.content {
            TextOr::Text(text) => push_text(text, out, Event::Text),
            TextOr::Parts(parts) => parts.iter().for_each(|part| read_part(part, out)),
            TextOr::Absent => {}
        }
        push_text(message.refusal.text(), out, Event::Refusal);
        message.images.0.iter().for_each(|image| read_part(image, out));
        if let Some(audio) = message.audio.0.as_ref().filter(|audio| !audio.is_empty()) {
            let data = self.choices[place].sound.push(audio.data.text().as_bytes());
            out.push(Event::Audio {
                id: audio.id.owned(),
                mime: self.mime(),
                data: data.into(),
                transcript: audio.transcript.text().to_owned(),
                expires_at: Some(audio.expires_at.0).filter(|until| *until > 0),
            });
        }
        let candidate = &mut self.choices[place];
        let naming = Naming { correspondence: &self.correspondence, seed: &self.seed };
        for call in &message.tool_calls.0 {
            let Some(function) = &call.function.0 else { continue };
            let at = candidate.place(call.index.map(|index| index.0), call.id.text(), function);
            if let Some(extra) = call.extra_content {
                candidate.calls[at].seal = super::seals::beside(extra);
            }
            candidate.advance(at, call.id.text(), function, &naming, out);
        }
        // The form before tool calls; there is at most one.
        // Snowflake gives an empty one to every message.
        if let Some(function) = message.function_call.0.as_ref().filter(|function| !function.is_empty()) {
            let at = candidate.place(Some(u64::MAX), "", function);
            candidate.advance(at, "", function, &naming, out);
        }
        for (annotation, json) in message.annotations() {
            let Some(source) = &annotation.url_citation.0 else { continue };
            self.choices[place].cited = true;
            let index = |count: Option<Count>| count.and_then(|count| u32::try_from(count.0).ok());
            out.push(Event::Citation(Citation {
                kind: CitationKind::Web,
                // Indexes are those of all the text, which is one block here.
                block: 0,
                span: index(source.start_index).zip(index(source.end_index)).map(|(start, end)| start..end),
                url: source.url.owned(),
                title: source.title.owned(),
                cited_text: source.content.owned(),
                raw: Some(Raw { dialect: Dialect::OpenAiChat, json }),
            }));
        }
    }

    fn mime(&self) -> String {
        self.correspondence.sound.clone().unwrap_or_else(|| media::audio_mime(""))
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        self.ended = true;
        out.push(Event::Error(error));
    }

    /// Ends the answer: with what the upstream said, or, after its terminal marker, with a plain stop.
    pub(crate) fn end(&mut self, marked: bool, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.choices.is_empty() {
            self.choices.push(Candidate::default());
        }
        if !marked && self.choices.iter().any(|choice| choice.finish.is_none()) {
            return out.push(Event::Error(Error::truncated()));
        }
        let sources = std::mem::take(&mut self.sources);
        for mut candidate in std::mem::take(&mut self.choices) {
            self.switch(candidate.number, out);
            // Told at their places they need not be told once more.
            if !candidate.cited {
                tell_sources(&sources, out);
            }
            let data = candidate.sound.finish();
            if !data.is_empty() {
                let (mime, data) = (self.mime(), data.into());
                out.push(Event::Audio { id: None, mime, data, transcript: String::new(), expires_at: None });
            }
            candidate.end(&Naming { correspondence: &self.correspondence, seed: &self.seed }, out);
        }
    }
}

/// The means of naming the calls of an answer.
struct Naming<'a> {
    correspondence: &'a Correspondence,
    seed: &'a str,
}

impl Candidate {
    /// Which call a fragment belongs to. Some providers number no calls, or all of them 0.
    fn place(&mut self, index: Option<u64>, id: &str, function: &Function<'_>) -> usize {
        let known = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if function.name.full().is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        let same = |place: &usize| {
            let call = &self.calls[*place];
            id.is_empty() || call.id.is_empty() || call.id == id
        };
        known.filter(same).unwrap_or_else(|| {
            self.calls.push(Call { index, ..Call::default() });
            self.calls.len() - 1
        })
    }

    fn advance(
        &mut self,
        place: usize,
        id: &str,
        function: &Function<'_>,
        naming: &Naming<'_>,
        out: &mut Vec<Event>,
    ) {
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        // A provider that repeats the name in every fragment must not start the call again.
        if !call.announced {
            call.name.push_str(function.name.text());
        }
        call.early.push_str(&function.arguments());
        if !call.name.is_empty() {
            self.announce(place, naming, out);
        }
    }

    /// Gives out a call's start, and the arguments that have come.
    fn announce(&mut self, place: usize, naming: &Naming<'_>, out: &mut Vec<Event>) {
        let call = &mut self.calls[place];
        if !call.announced {
            call.announced = true;
            if call.id.is_empty() {
                // Candidates of one answer must not share identities.
                let seed = match self.number {
                    0 => naming.seed.to_owned(),
                    number => format!("{}/{number}", naming.seed),
                };
                call.id = names::call_id(&seed, place);
            }
            out.push(Event::ToolStart {
                index: place,
                id: call.id.clone(),
                name: naming.correspondence.tool(&call.name).to_owned(),
                seal: call.seal.take(),
            });
        }
        if !call.early.is_empty() {
            call.any_arguments = true;
            out.push(Event::ToolArgs { index: place, fragment: std::mem::take(&mut call.early) });
        }
    }

    fn end(&mut self, naming: &Naming<'_>, out: &mut Vec<Event>) {
        let (reason, raw) = match self.finish.take() {
            Some((reason, raw)) => (reason, Some(raw)),
            None => (FinishReason::Stop, None),
        };
        for place in 0..self.calls.len() {
            self.announce(place, naming, out);
            if !self.calls[place].any_arguments {
                out.push(Event::ToolArgs { index: place, fragment: "{}".to_owned() });
            }
            out.push(Event::ToolEnd { index: place });
        }
        let reason = match reason {
            FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
            reason => reason,
        };
        out.push(Event::Finish { reason, raw, stop_sequence: None });
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        match payload {
            b"" => out.push(Event::KeepAlive),
            b"[DONE]" => self.end(true, out),
            _ => match Chunk::read(&mended(payload)) {
                Ok(Some(chunk)) => self.read(&chunk, out),
                Ok(None) => return Err(Malformed::new("upstream sent an event that is no chat chunk")),
                Err(error) => self.fail(error, out),
            },
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended || !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.end(false, out);
    }
}

/// The sources that were told beside the text. Where in it they are meant is not said.
fn tell_sources(sources: &str, out: &mut Vec<Event>) {
    /// More are not told.
    const MOST: usize = 256;
    let sources: Vec<wire::Source> = serde_json::from_str(sources).unwrap_or_default();
    for source in sources.into_iter().take(MOST) {
        let (url, title, cited_text) = match source {
            wire::Source::Address(url) => (url, None, None),
            wire::Source::Result { url, title, snippet } => (url, title, snippet),
            wire::Source::Other(_) => continue,
        };
        let (kind, url, span, raw) = (CitationKind::Web, Some(url), None, None);
        out.push(Event::Citation(Citation { kind, block: 0, span, url, title, cited_text, raw }));
    }
}

fn push_text(text: &str, out: &mut Vec<Event>, event: impl FnOnce(String) -> Event) {
    if !text.is_empty() {
        out.push(event(text.to_owned()));
    }
}

fn read_part(part: &Part<'_>, out: &mut Vec<Event>) {
    push_text(&part.thoughts(), out, Event::Thinking);
    push_text(part.text.text(), out, Event::Text);
    push_text(part.refusal.text(), out, Event::Refusal);
    if let Some(address) = &part.image_url.0 {
        match media::source(address.url.text().to_owned(), "image/png") {
            Ok(Source::Base64 { mime, data }) => out.push(Event::Image { mime, data, seal: None }),
            Ok(Source::Url(url)) => out.push(Event::ImageUrl(url)),
            _ => {}
        }
    }
}
