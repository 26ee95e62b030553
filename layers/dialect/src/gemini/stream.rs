//! Reads the answers of Gemini, part by part: every frame of a stream has the shape of a whole answer.
//!
//! Source: <https://ai.google.dev/api/generate-content>. A stream has no terminal marker: it ends with its body, behind
//! a reason to end, and usage may follow that.

use http::StatusCode;

use super::calls::{Partial, arguments};
use super::grounding::Sources;
use super::sound::Sound;
use super::wire::{Call, Candidate, Chunk, Code, Likelihoods, Outcome, Part, Token};
use crate::ir::{Error, Event, FinishReason, Logprob, Maker, Seal, Usage};
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Frame, Malformed, names};

/// Most candidates of one answer; further ones are not read.
const MOST_CANDIDATES: usize = 128;

/// A decoder of frames, and of whole answers as a frame of their own.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    correspondence: Correspondence,
    started: bool,
    ended: bool,
    /// What makes identities of calls differ from answer to answer.
    seed: String,
    /// The candidates, in the order in which they came.
    candidates: Vec<Told>,
    /// The number of the candidate that the last event was about.
    current: u64,
}

/// A candidate under way.
#[derive(Debug, Default)]
struct Told {
    number: u64,
    /// It has said something that is an answer, which thoughts are not.
    said: bool,
    calls: usize,
    /// A call whose arguments come bit by bit.
    partial: Option<Partial>,
    /// The text that was told last is sealed.
    sealed: bool,
    sound: Sound,
    sources: Sources,
    searches: u64,
    finish: Option<(FinishReason, String, Option<String>)>,
}

impl Decoder {
    pub(super) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    /// Reads a frame, or a whole answer.
    pub(super) fn read(&mut self, chunk: &Chunk<'_>, whole: bool, out: &mut Vec<Event>) {
        let begins = chunk.response_id.full().is_some() || !chunk.candidates().is_empty();
        if begins && !std::mem::replace(&mut self.started, true) {
            self.seed = chunk.response_id.text().to_owned();
            let (id, model) = (chunk.response_id.owned(), chunk.model_version.owned());
            out.push(Event::Start { id, model, created: None });
        }
        for candidate in chunk.candidates() {
            self.candidate(candidate, whole, out);
        }
        if let Some(usage) = &chunk.usage_metadata.0 {
            let usage = usage.normal();
            if !usage.is_empty() {
                out.push(Event::Usage(usage));
            }
        }
        let blocked =
            chunk.prompt_feedback.0.as_ref().filter(|feedback| feedback.block_reason.full().is_some());
        if let Some(feedback) = blocked {
            self.block(feedback.block_reason.text(), feedback.block_reason_message.full(), out);
        }
    }

    /// The prompt is not answered. Nothing that was said before can be taken back.
    fn block(&mut self, reason: &str, message: Option<&str>, out: &mut Vec<Event>) {
        if self.candidates.iter().any(|told| told.said || told.finish.is_some()) {
            for told in self.candidates.iter_mut().filter(|told| told.finish.is_none()) {
                told.finish = Some((FinishReason::ContentFilter, reason.to_owned(), None));
            }
            return;
        }
        let told = message.map(|message| format!(": {message}")).unwrap_or_default();
        let message = format!("the prompt was blocked by the provider's filter ({reason}){told}");
        self.ended = true;
        out.push(Event::Error(Error::new(StatusCode::BAD_REQUEST, message).with_code("content_filter")));
    }

    fn candidate(&mut self, candidate: &Candidate<'_>, whole: bool, out: &mut Vec<Event>) {
        let Some(place) = self.place(candidate.index.0, out) else { return };
        let (told, known) = (&mut self.candidates[place], &self.correspondence);
        let parts = candidate.content.0.as_ref().map(|content| &*content.parts.0).unwrap_or_default();
        if whole {
            told.sound.expect(parts.iter().filter_map(|part| part.inline_data.0.as_ref()));
        }
        for part in parts {
            told.part(part, known, &self.seed, out);
        }
        if let Some(likelihoods) = candidate.logprobs_result {
            out.extend(logprobs(likelihoods.get()).map(Event::Logprobs));
        }
        if let Some(grounding) = &candidate.grounding_metadata.0 {
            told.sources.add(grounding);
            told.searches = told.searches.max(searches(grounding.web_search_queries));
        }
        if let Some(reason) = candidate.finish_reason.full() {
            let message = candidate.finish_message.owned();
            told.finish = Some((FinishReason::from_gemini(reason), reason.to_owned(), message));
        }
    }

    /// The place of a candidate, which what follows is about.
    fn place(&mut self, number: u64, out: &mut Vec<Event>) -> Option<usize> {
        let known = self.candidates.iter().position(|told| told.number == number);
        let place = match known {
            Some(place) => place,
            None if self.candidates.len() == MOST_CANDIDATES => return None,
            None => {
                self.candidates.push(Told { number, ..Told::default() });
                self.candidates.len() - 1
            }
        };
        self.turn_to(number, out);
        Some(place)
    }

    fn turn_to(&mut self, number: u64, out: &mut Vec<Event>) {
        if self.current != number {
            self.current = number;
            out.push(Event::Choice(u32::try_from(number).unwrap_or(u32::MAX)));
        }
    }

    /// Ends the answer, whose body has ended.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.candidates.is_empty() || self.candidates.iter().any(|told| told.finish.is_none()) {
            out.push(Event::Error(Error::truncated()));
            return;
        }
        let searches = self.candidates.iter().fold(0, |sum: u64, told| sum.saturating_add(told.searches));
        if searches > 0 {
            out.push(Event::Usage(Usage { server_calls: searches, ..Usage::default() }));
        }
        // A call that could not be read, and nothing else: another attempt may do better.
        let silent = self.candidates.iter().all(|told| !told.said && told.partial.is_none());
        if let Some(error) = silent.then(|| self.candidates.iter().find_map(Told::unreadable_call)).flatten()
        {
            out.push(Event::Error(error));
            return;
        }
        for place in 0..self.candidates.len() {
            self.turn_to(self.candidates[place].number, out);
            let (told, known) = (&mut self.candidates[place], &self.correspondence);
            told.end(known, &self.seed, out);
        }
    }
}

impl Told {
    fn part(&mut self, part: &Part<'_>, known: &Correspondence, seed: &str, out: &mut Vec<Event>) {
        let signature = part.thought_signature.full();
        if let Some(call) = &part.function_call.0 {
            self.call(call, signature, known, seed, out);
        } else if let Some(blob) = &part.inline_data.0 {
            // Pictures within thoughts are drafts.
            if !part.thought.0 {
                let seal = signature.map(seal);
                let before = out.len();
                self.sound.read(blob, known.sound.as_deref(), seal, seed, out);
                self.said |= out.len() > before;
                self.sealed = false;
            }
        } else if let Some(file) = &part.file_data.0 {
            if file.mime_type.text().starts_with("image/") && file.file_uri.full().is_some() {
                self.said = true;
                out.push(Event::ImageUrl(file.file_uri.text().to_owned()));
            }
        } else if let Some(code) = &part.executable_code.0 {
            self.text(&fenced_code(code), None, known, out);
        } else if let Some(outcome) = &part.code_execution_result.0 {
            self.text(&fenced_outcome(outcome), None, known, out);
        } else if part.thought.0 {
            if let Some(text) = part.text.full() {
                self.sealed = false;
                out.push(Event::Thinking(text.to_owned()));
            }
            out.extend(signature.map(|data| Event::Seal(seal(data))));
        } else {
            self.text(part.text.text(), signature, known, out);
        }
    }

    fn text(&mut self, text: &str, signature: Option<&str>, known: &Correspondence, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.said = true;
            self.sources.keep(text, known.cites);
            out.push(Event::Text(text.to_owned()));
        }
        // Of seals on one text the first is it: pieces of a stream repeat it.
        if let Some(data) = signature
            && !std::mem::replace(&mut self.sealed, true)
        {
            out.push(Event::Seal(seal(data)));
        }
    }

    fn call(
        &mut self,
        call: &Call<'_>,
        signature: Option<&str>,
        known: &Correspondence,
        seed: &str,
        out: &mut Vec<Event>,
    ) {
        self.sealed = false;
        let named = call.name.full().is_some();
        if named {
            self.close(known, seed, out);
        }
        if call.will_continue.0 || !call.partial_args.0.is_empty() || !named {
            if named {
                self.partial = Some(Partial::new(call.name.text(), call.id.owned(), signature.map(seal)));
            }
            if let Some(partial) = &mut self.partial {
                call.partial_args.0.iter().for_each(|piece| partial.add(piece));
            }
            if !call.will_continue.0 {
                self.close(known, seed, out);
            }
            return;
        }
        let arguments = arguments(call.args);
        self.tell(call.name.text(), call.id.owned(), signature.map(seal), &arguments, known, seed, out);
    }

    /// Tells the call whose arguments came bit by bit, if there is one.
    fn close(&mut self, known: &Correspondence, seed: &str, out: &mut Vec<Event>) {
        if let Some(partial) = self.partial.take() {
            let arguments = partial.arguments();
            self.tell(&partial.name, partial.id, partial.seal, &arguments, known, seed, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one call, which nothing else holds together")]
    fn tell(
        &mut self,
        name: &str,
        id: Option<String>,
        seal: Option<Seal>,
        arguments: &str,
        known: &Correspondence,
        seed: &str,
        out: &mut Vec<Event>,
    ) {
        let index = self.calls;
        self.calls += 1;
        self.said = true;
        // Vertex AI gives calls no identity. One of their own is made of what they say, so that it is never another's.
        let id = id
            .unwrap_or_else(|| names::call_id(&format!("{seed}/{}/{name}/{arguments}", self.number), index));
        let fragment = match known.parameters(name) {
            Some(keys) => keys.renamed(arguments),
            None => arguments.to_owned(),
        };
        out.push(Event::ToolStart { index, id, name: known.tool(name).to_owned(), seal });
        out.push(Event::ToolArgs { index, fragment });
        out.push(Event::ToolEnd { index });
    }

    fn end(&mut self, known: &Correspondence, seed: &str, out: &mut Vec<Event>) {
        self.close(known, seed, out);
        self.sound.end(out);
        out.extend(std::mem::take(&mut self.sources).citations().map(Event::Citation));
        let Some((reason, raw, _)) = self.finish.take() else { return };
        let reason = match reason {
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            reason => reason,
        };
        out.push(Event::Finish { reason, raw: Some(raw), stop_sequence: None });
    }

    /// The error of a candidate that ends with a call that cannot be read.
    fn unreadable_call(&self) -> Option<Error> {
        let (_, raw, message) =
            self.finish.as_ref().filter(|(reason, ..)| *reason == FinishReason::MalformedToolCall)?;
        let told = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let message = format!("the model wrote a tool call that cannot be read ({raw}){told}");
        Some(Error::new(StatusCode::BAD_GATEWAY, message).with_code("malformed_function_call"))
    }
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        // Some relays close streams with OpenAI's marker.
        if payload.is_empty() || payload == b"[DONE]" {
            out.push(Event::KeepAlive);
            return Ok(());
        }
        match Chunk::read(&mended(payload)) {
            Ok(Some(chunk)) => self.read(&chunk, false, out),
            Ok(None) => return Err(Malformed::new("upstream sent a frame that is no part of an answer")),
            Err(error) => {
                self.ended = true;
                out.push(Event::Error(error));
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended || !self.candidates.is_empty() && self.candidates.iter().all(|told| told.finish.is_some())
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.end(out);
    }
}

pub(super) fn seal(data: &str) -> Seal {
    Seal { maker: Maker::Google, data: data.to_owned() }
}

/// Code that ran at the provider, within the text: chat answers have no other place for it.
fn fenced_code(code: &Code<'_>) -> String {
    let Some(text) = code.code.full() else { return String::new() };
    let language = code.language.text().to_ascii_lowercase();
    let language = if language == "language_unspecified" { "" } else { &language };
    format!("\n```{language}\n{}\n```\n", text.trim_end_matches('\n'))
}

fn fenced_outcome(outcome: &Outcome<'_>) -> String {
    match (outcome.output.full(), outcome.outcome.text()) {
        (Some(output), _) => format!("\n```output\n{}\n```\n", output.trim_end_matches('\n')),
        (None, "" | "OUTCOME_OK" | "OUTCOME_UNSPECIFIED") => String::new(),
        (None, failed) => format!("\n```output\n{failed}\n```\n"),
    }
}

/// How many searches were made; the queries themselves are not told.
fn searches(queries: Option<&serde_json::value::RawValue>) -> u64 {
    let queries =
        queries.and_then(|queries| serde_json::from_str::<Vec<serde::de::IgnoredAny>>(queries.get()).ok());
    queries.map_or(0, |queries| queries.len() as u64)
}

/// The likelihoods of tokens, where they can be read.
fn logprobs(json: &str) -> Option<Vec<Logprob>> {
    let read: Likelihoods = serde_json::from_str(json).ok()?;
    let one = |token: Token, top| {
        Some(Logprob { token: token.token, logprob: token.log_probability?, bytes: None, top })
    };
    let mut tops = read.top_candidates.into_iter();
    let told: Vec<Logprob> = read
        .chosen_candidates
        .into_iter()
        .filter_map(|chosen| {
            let top = tops.next().map(|top| top.candidates).unwrap_or_default();
            one(chosen, top.into_iter().filter_map(|token| one(token, Vec::new())).collect())
        })
        .collect();
    (!told.is_empty()).then_some(told)
}
