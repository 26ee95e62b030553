//! Reads the streamed answers of this dialect; whole ones are read item by item with the same functions.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>.

use serde_json::Value;
use serde_json::value::RawValue;

use super::model;
use super::told::{Kind, Told, Voice, rest};
use super::wire::{Annotation, Answer, BETWEEN, Envelope, Item, Part, arguments, error_of, logprobs};
use super::words::failure;
use crate::ir::{self, CitationKind, Error, Event, FinishReason, Maker, Raw, Seal};
use crate::lenient::Str;
use crate::surrogates::mended;
use crate::{Correspondence, DecodeEvents, Dialect, Frame, Malformed, media, names};

/// Most items of one answer.
const MOST_ITEMS: usize = 16_384;

/// A decoder of events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    correspondence: Correspondence,
    started: bool,
    ended: bool,
    /// Prefix of identities that the upstream left out.
    seed: String,
    /// What the model's name says of that.
    maker: Option<Maker>,
    /// The items, in the order in which they came.
    items: Vec<Told>,
    /// Calls of the client's tools.
    calls: usize,
    /// Calls of the provider's own.
    server_calls: u64,
    /// Blocks of text that are complete, and whether one is under way.
    texts: u32,
    in_text: bool,
    sound: media::Pieces,
}

impl Decoder {
    pub(crate) fn new(correspondence: Correspondence) -> Self {
        Self { correspondence, ..Self::default() }
    }

    fn event(&mut self, name: &str, mut event: Envelope<'_>, payload: &[u8], out: &mut Vec<Event>) {
        match name {
            "response.output_text.delta" | "response.refusal.delta" => {
                let Some(at) = self.speaking(&event, out) else { return };
                self.say(at, owned(&mut event.delta), name == "response.refusal.delta", out);
                self.weigh(at, event.logprobs, out);
            }
            "response.output_text.done" | "response.refusal.done" => {
                let Some(at) = self.speaking(&event, out) else { return };
                let refuses = name == "response.refusal.done";
                let whole = if refuses { event.refusal.text() } else { event.text.text() };
                let left = rest(whole, self.items[at].in_part).to_owned();
                self.say(at, left, refuses, out);
                if !self.items[at].likely {
                    self.weigh(at, event.logprobs, out);
                }
            }
            "response.content_part.done" => {
                let Some(part) = event.part.0.take().filter(|part| part.kind.text() != "reasoning_text")
                else {
                    return;
                };
                let Some(at) = self.speaking(&event, out) else { return };
                self.part(at, &part, out);
                self.end_part(at, out);
            }
            "response.output_text.annotation.added" => {
                let Some(at) = self.speaking(&event, out) else { return };
                // Before its words it would point to nothing; it comes again behind them.
                if self.items[at].in_part > 0 {
                    self.cite(at, event.annotation, out);
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                let Some(at) = self.thinking(name, &event) else { return };
                self.think(at, owned(&mut event.delta), out);
            }
            "response.reasoning_summary_text.done" | "response.reasoning_text.done" => {
                let Some(at) = self.thinking(name, &event) else { return };
                let left = rest(event.text.text(), self.items[at].in_part).to_owned();
                self.think(at, left, out);
            }
            "response.function_call_arguments.delta" => {
                let Some(at) = self.find(&event) else { return };
                self.give(at, event.delta.text(), out);
            }
            "response.function_call_arguments.done" => {
                let Some(at) = self.find(&event) else { return };
                let left = arguments(event.arguments);
                self.give(at, rest(&left, self.items[at].bytes), out);
            }
            "response.output_item.added" => {
                let Some(item) = event.item.and_then(Item::read) else { return };
                self.held(&event, &item, out);
            }
            "response.output_item.done" => {
                let Some((item, json)) = event.item.and_then(|json| Item::read(json).zip(Some(json))) else {
                    return;
                };
                if let Some(at) = self.held(&event, &item, out) {
                    self.complete(at, item, json, out);
                }
            }
            "response.audio.delta" => {
                let data = self.sound.push(event.delta.text().as_bytes());
                self.hear(data, String::new(), out);
            }
            "response.audio.transcript.delta" => self.hear(Vec::new(), owned(&mut event.delta), out),
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(answer) = event.response.and_then(|json| Answer::read(json.get())) {
                    self.start(&answer, out);
                }
            }
            "response.completed" | "response.incomplete" | "response.done" => {
                let Some(json) = event.response.map(RawValue::get) else { return self.close(None, out) };
                match Answer::read(json) {
                    Some(answer) => self.whole(&answer, json, out),
                    None => self.close(None, out),
                }
            }
            "response.failed" | "response.cancelled" => {
                let json = event.response.map(RawValue::get).unwrap_or_default();
                self.fail(failure(json.as_bytes()), out);
            }
            "error" => self.fail(failure(payload), out),
            "keepalive" | "ping" => out.push(Event::KeepAlive),
            // The beginnings of parts, the steps of tools that run at the provider, and kinds to come.
            _ => {}
        }
    }

    /// Who can read the seals of this answer; none where nobody can.
    fn maker(&self) -> Option<Maker> {
        if self.started { self.maker } else { model::maker("") }
    }

    fn start(&mut self, answer: &Answer<'_>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        answer.id.text().clone_into(&mut self.seed);
        self.maker = model::maker(answer.model.text());
        let created = Some(answer.created_at.0).filter(|created| *created > 0);
        out.push(Event::Start { id: answer.id.owned(), model: answer.model.owned(), created });
    }

    /// Reads a response that is over, and tells what of it was not told: all of it, where nothing came before.
    pub(crate) fn whole(&mut self, answer: &Answer<'_>, json: &str, out: &mut Vec<Event>) {
        self.start(answer, out);
        let finish = match answer.status.text() {
            "completed" => None,
            "" => match error_of(json.as_bytes()) {
                Some(error) => return self.fail(error, out),
                None => None,
            },
            "incomplete" => {
                let reason = answer.incomplete_details.0.as_ref().map(|details| details.reason.text());
                let reason = reason.unwrap_or_default();
                Some((FinishReason::from_incomplete(reason), reason.to_owned()))
            }
            "in_progress" | "queued" => return self.fail(Error::truncated(), out),
            _ => return self.fail(failure(json.as_bytes()), out),
        };
        // Neither places nor names can be trusted here: the first item of a kind is the first that was told.
        let mut seen = [0; Kind::COUNT];
        for json in answer.items() {
            let Some(item) = Item::read(json) else { continue };
            let kind = Kind::of(&item).place();
            let told =
                (0..self.items.len()).filter(|at| self.items[*at].kind.place() == kind).nth(seen[kind]);
            seen[kind] += 1;
            if let Some(at) = told.or_else(|| self.begin(None, &item, out)) {
                self.complete(at, item, json, out);
            }
        }
        self.end_items(out);
        if let Some(usage) = answer.usage(self.server_calls) {
            out.push(Event::Usage(usage));
        }
        self.close(finish, out);
    }

    /// Ends the answer after its terminal event.
    fn close(&mut self, finish: Option<(FinishReason, String)>, out: &mut Vec<Event>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.end_items(out);
        let data = self.sound.finish();
        if !data.is_empty() {
            self.hear(data, String::new(), out);
        }
        let (reason, raw) = match finish {
            Some((reason, raw)) => (reason, Some(raw).filter(|raw| !raw.is_empty())),
            None if self.calls > 0 => (FinishReason::ToolCalls, None),
            None => (FinishReason::Stop, None),
        };
        out.push(Event::Finish { reason, raw, stop_sequence: None });
    }

    fn fail(&mut self, error: Error, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Event::Error(error));
        }
    }

    fn end_items(&mut self, out: &mut Vec<Event>) {
        for at in 0..self.items.len() {
            self.end_item(at, out);
        }
    }
}

// === items ===

impl Kind {
    const COUNT: usize = 4;

    fn of(item: &Item<'_>) -> Self {
        match item.kind.text() {
            "message" => Self::Message,
            "reasoning" => Self::Reasoning,
            "function_call" => Self::Call { place: None, initial: item.arguments().into_owned() },
            _ => Self::Other,
        }
    }

    /// Its place among the kinds.
    fn place(&self) -> usize {
        match self {
            Self::Message => 0,
            Self::Reasoning => 1,
            Self::Call { .. } => 2,
            Self::Other => 3,
        }
    }
}

impl Decoder {
    /// The item that an event is about.
    fn find(&self, event: &Envelope<'_>) -> Option<usize> {
        self.place(event.output_index.map(|index| index.0), event.item_id.text())
    }

    fn place(&self, index: Option<u64>, id: &str) -> Option<usize> {
        match index {
            // Names are less to be trusted than places.
            Some(_) => self.items.iter().rposition(|item| item.index == index),
            None if !id.is_empty() => self.items.iter().rposition(|item| item.id == id),
            None => self.items.len().checked_sub(1),
        }
    }

    /// The item that an event is about, which need not have been announced; none when it is complete, or another.
    fn under_way(&mut self, event: &Envelope<'_>, kind: Kind) -> Option<usize> {
        let (index, id) = (event.output_index.map(|index| index.0), event.item_id.text());
        let is_named = index.is_some() || !id.is_empty();
        match self.place(index, id) {
            Some(at) if self.items[at].kind == kind => (!self.items[at].closed).then_some(at),
            Some(_) if is_named => None,
            _ => self.put(Told::new(index, id, kind)),
        }
    }

    /// The message that an event is about, turned to its part; none when that is complete.
    fn speaking(&mut self, event: &Envelope<'_>, out: &mut Vec<Event>) -> Option<usize> {
        let at = self.under_way(event, Kind::Message)?;
        let number = event.content_index.0;
        if self.items[at].part != Some((Voice::Content, number)) {
            if self.items[at].is_over(number) {
                return None;
            }
            self.end_part(at, out);
            self.items[at].begin((Voice::Content, number));
        }
        Some(at)
    }

    /// The reasoning that an event is about, turned to its part.
    fn thinking(&mut self, name: &str, event: &Envelope<'_>) -> Option<usize> {
        let at = self.under_way(event, Kind::Reasoning)?;
        let part = match name.starts_with("response.reasoning_summary") {
            true => (Voice::Summary, event.summary_index.0),
            false => (Voice::Content, event.content_index.0),
        };
        if self.items[at].part != Some(part) {
            // The whole of a part that is not under way comes again with the whole item.
            if name.ends_with(".done") && self.items[at].bytes > 0 {
                return None;
            }
            self.items[at].begin(part);
        }
        Some(at)
    }

    fn put(&mut self, item: Told) -> Option<usize> {
        if self.items.len() == MOST_ITEMS {
            return None;
        }
        self.items.push(item);
        Some(self.items.len() - 1)
    }

    /// Begins an item.
    fn begin(&mut self, index: Option<u64>, item: &Item<'_>, out: &mut Vec<Event>) -> Option<usize> {
        let at = self.put(Told::new(index, item.id.text(), Kind::of(item)))?;
        self.announce(at, item, out);
        Some(at)
    }

    /// The item that an event holds, begun unless it was before.
    fn held(&mut self, event: &Envelope<'_>, item: &Item<'_>, out: &mut Vec<Event>) -> Option<usize> {
        let (index, id) = (event.output_index.map(|index| index.0), item.id.text());
        let known = (index.is_some() || !id.is_empty()).then(|| self.place(index, id)).flatten();
        known.or_else(|| self.begin(index, item, out))
    }

    /// Tells what of an item was not told, and ends it.
    fn complete(&mut self, at: usize, item: Item<'_>, json: &RawValue, out: &mut Vec<Event>) {
        if self.items[at].closed {
            return;
        }
        match &self.items[at].kind {
            Kind::Message => {
                let parts = item.parts();
                for part in parts.iter().skip(self.items[at].parts) {
                    if self.items[at].part.is_none() {
                        let number = self.items[at].parts as u64;
                        self.items[at].begin((Voice::Content, number));
                    }
                    self.part(at, part, out);
                    self.end_part(at, out);
                }
            }
            Kind::Reasoning => {
                let thoughts = item.thoughts();
                let left = rest(&thoughts, self.items[at].bytes);
                if !left.is_empty() {
                    self.items[at].tell(left);
                    out.push(Event::Thinking(left.to_owned()));
                }
                // What stands in its beginning may be another one.
                if let Some((data, maker)) = item.encrypted_content.owned().zip(self.maker()) {
                    self.items[at].sealed = true;
                    out.push(Event::Seal(Seal { maker, data }));
                }
            }
            Kind::Call { .. } => {
                self.announce(at, &item, out);
                let whole = item.arguments();
                let left = rest(&whole, self.items[at].bytes);
                self.give(at, left, out);
            }
            Kind::Other => self.other(&item, json, out),
        }
        self.end_item(at, out);
    }

    /// Ends an item: nothing of it comes behind this.
    fn end_item(&mut self, at: usize, out: &mut Vec<Event>) {
        let item = &mut self.items[at];
        if std::mem::replace(&mut item.closed, true) {
            return;
        }
        match &mut item.kind {
            Kind::Message => self.end_part(at, out),
            Kind::Reasoning if item.bytes > 0 || item.sealed => out.push(Event::BlockEnd),
            Kind::Call { place: Some(index), initial } => {
                let (index, initial) = (*index, std::mem::take(initial));
                if item.bytes == 0 {
                    let fragment = if initial.is_empty() { "{}".to_owned() } else { initial };
                    out.push(Event::ToolArgs { index, fragment });
                }
                out.push(Event::ToolEnd { index });
            }
            Kind::Reasoning | Kind::Call { .. } | Kind::Other => {}
        }
    }

    /// Gives out a call's start as soon as its name is known.
    fn announce(&mut self, at: usize, item: &Item<'_>, out: &mut Vec<Event>) {
        let (Kind::Call { place: place @ None, .. }, Some(name)) =
            (&mut self.items[at].kind, item.name.full())
        else {
            return;
        };
        let index = self.calls;
        self.calls += 1;
        *place = Some(index);
        let id = item.call_id.owned().or_else(|| item.id.owned());
        let id = id.unwrap_or_else(|| names::call_id(&self.seed, index));
        let name = self.correspondence.tool(name).to_owned();
        out.push(Event::ToolStart { index, id, name, seal: None });
    }

    /// Gives out more of a call's arguments.
    fn give(&mut self, at: usize, fragment: &str, out: &mut Vec<Event>) {
        let item = &mut self.items[at];
        if let (Kind::Call { place: Some(index), .. }, false, false) =
            (&item.kind, item.closed, fragment.is_empty())
        {
            out.push(Event::ToolArgs { index: *index, fragment: fragment.to_owned() });
            item.bytes += fragment.len();
        }
    }

    /// An item that is neither words nor a call of the client's tools: a picture, or what the provider did by itself.
    fn other(&mut self, item: &Item<'_>, json: &RawValue, out: &mut Vec<Event>) {
        let kind = item.kind.text();
        if kind.ends_with("_call") {
            self.server_calls += 1;
        }
        if kind == "image_generation_call"
            && let Some(data) = item.result.owned()
        {
            let mime = format!("image/{}", item.output_format.full().unwrap_or("png"));
            return out.push(Event::Image { mime, data: data.into(), seal: None });
        }
        if let Ok(json) = serde_json::from_str::<Value>(json.get()) {
            out.push(Event::Opaque { dialect: Dialect::Responses, json });
        }
    }
}

// === words ===

impl Decoder {
    /// Tells what of a whole part was not told.
    fn part(&mut self, at: usize, part: &Part<'_>, out: &mut Vec<Event>) {
        let refuses = part.kind.text() == "refusal";
        let whole = if refuses { part.refusal.text() } else { part.text.text() };
        let left = rest(whole, self.items[at].in_part).to_owned();
        self.say(at, left, refuses, out);
        if !self.items[at].likely {
            self.weigh(at, part.logprobs, out);
        }
        for annotation in part.annotations().into_iter().skip(self.items[at].cited) {
            self.cite(at, Some(annotation), out);
        }
        if part.kind.text() == "output_audio" && self.items[at].in_part == 0 {
            let data = media::decode(part.data.text().as_bytes());
            self.hear(data, part.transcript.text().to_owned(), out);
        }
    }

    fn say(&mut self, at: usize, text: String, refuses: bool, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        self.items[at].tell(&text);
        self.in_text |= !refuses;
        out.push(if refuses { Event::Refusal(text) } else { Event::Text(text) });
    }

    fn think(&mut self, at: usize, text: String, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let item = &mut self.items[at];
        if item.in_part == 0 && item.bytes > 0 {
            item.bytes += BETWEEN.len();
            out.push(Event::Thinking(BETWEEN.to_owned()));
        }
        item.tell(&text);
        out.push(Event::Thinking(text));
    }

    fn weigh(&mut self, at: usize, json: Option<&RawValue>, out: &mut Vec<Event>) {
        let found = logprobs(json);
        if !found.is_empty() {
            self.items[at].likely = true;
            out.push(Event::Logprobs(found));
        }
    }

    fn cite(&mut self, at: usize, json: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some((source, json)) = json.and_then(Annotation::read) else { return };
        self.items[at].cited += 1;
        let index =
            |count: Option<crate::lenient::Count>| count.and_then(|count| u32::try_from(count.0).ok());
        out.push(Event::Citation(ir::Citation {
            kind: match source.kind.text() {
                "url_citation" => CitationKind::Web,
                _ => CitationKind::Document,
            },
            block: self.texts,
            span: index(source.start_index).zip(index(source.end_index)).map(|(start, end)| start..end),
            url: source.url.owned(),
            title: source.title.owned().or_else(|| source.filename.owned()),
            cited_text: None,
            raw: Some(Raw { dialect: Dialect::Responses, json }),
        }));
    }

    fn end_part(&mut self, at: usize, out: &mut Vec<Event>) {
        if !self.items[at].end() {
            return;
        }
        self.texts += u32::from(std::mem::take(&mut self.in_text));
        out.push(Event::BlockEnd);
    }

    fn hear(&mut self, data: Vec<u8>, transcript: String, out: &mut Vec<Event>) {
        if data.is_empty() && transcript.is_empty() {
            return;
        }
        let mime = self.correspondence.sound.clone().unwrap_or_else(|| media::audio_mime(""));
        out.push(Event::Audio { id: None, mime, data: data.into(), transcript, expires_at: None });
    }
}

fn owned(text: &mut Str<'_>) -> String {
    text.0.take().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

impl DecodeEvents for Decoder {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let payload = frame.payload();
        if self.ended {
            return Ok(());
        }
        match payload {
            b"" => out.push(Event::KeepAlive),
            // Some relays close streams with OpenAI's older marker.
            b"[DONE]" => self.marked(out),
            _ => {
                let text = mended(payload);
                let malformed = || Malformed::new("upstream sent an event that is no response event");
                let mut event = Envelope::read(&text).ok_or_else(malformed)?;
                let kind = std::mem::take(&mut event.kind);
                // Some relays leave the name to the line before.
                match kind.full().or_else(|| std::str::from_utf8(frame.event).ok()) {
                    None | Some("") => self.fail(error_of(&text).ok_or_else(malformed)?, out),
                    Some(name) => self.event(name, event, &text, out),
                }
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.ended
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.fail(Error::truncated(), out);
    }
}

impl Decoder {
    /// Ends the answer after a marker that tells no reason: what was begun must be complete, and be something.
    fn marked(&mut self, out: &mut Vec<Event>) {
        let told = |item: &&Told| matches!(item.kind, Kind::Message | Kind::Call { .. });
        let is_whole = self.items.iter().all(|item| item.closed) && self.items.iter().any(|item| told(&item));
        match is_whole {
            true => self.close(None, out),
            false => self.fail(Error::truncated(), out),
        }
    }
}
