//! The items of an answer: which of them an event is about, and what of it is told.
//!
//! Items come one behind the other, each in pieces, then whole. Relays leave out beginnings, ends and names.

use serde_json::Value;
use serde_json::value::RawValue;

use super::stream::Decoder;
use super::told::{Kind, Told, Voice, rest};
use super::wire::{Annotation, BETWEEN, Envelope, Item, Part, logprobs};
use crate::ir::{self, CitationKind, Event, Raw, Seal};
use crate::lenient::Count;
use crate::{Dialect, media, names};

/// Most items of one answer; further ones are not read.
const MOST_ITEMS: usize = 16_384;

impl Kind {
    pub(super) const COUNT: usize = 4;

    pub(super) fn of(item: &Item<'_>) -> Self {
        match item.kind.text() {
            "message" => Self::Message,
            "reasoning" => Self::Reasoning,
            "function_call" => Self::Call { place: None, initial: item.arguments().into_owned() },
            _ => Self::Other,
        }
    }

    /// Its place among the kinds.
    pub(super) fn place(&self) -> usize {
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
    pub(super) fn find(&self, event: &Envelope<'_>) -> Option<usize> {
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
    pub(super) fn speaking(&mut self, event: &Envelope<'_>, out: &mut Vec<Event>) -> Option<usize> {
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
    pub(super) fn thinking(&mut self, name: &str, event: &Envelope<'_>) -> Option<usize> {
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
    pub(super) fn begin(
        &mut self,
        index: Option<u64>,
        item: &Item<'_>,
        out: &mut Vec<Event>,
    ) -> Option<usize> {
        let at = self.put(Told::new(index, item.id.text(), Kind::of(item)))?;
        self.announce(at, item, out);
        Some(at)
    }

    /// The item that an event holds, begun unless it was before.
    pub(super) fn held(
        &mut self,
        event: &Envelope<'_>,
        item: &Item<'_>,
        out: &mut Vec<Event>,
    ) -> Option<usize> {
        let (index, id) = (event.output_index.map(|index| index.0), item.id.text());
        let known = (index.is_some() || !id.is_empty()).then(|| self.place(index, id)).flatten();
        known.or_else(|| self.begin(index, item, out))
    }

    /// Tells what of an item was not told, and ends it.
    pub(super) fn complete(&mut self, at: usize, item: Item<'_>, json: &RawValue, out: &mut Vec<Event>) {
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
    pub(super) fn end_item(&mut self, at: usize, out: &mut Vec<Event>) {
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
    pub(super) fn give(&mut self, at: usize, fragment: &str, out: &mut Vec<Event>) {
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
    pub(super) fn part(&mut self, at: usize, part: &Part<'_>, out: &mut Vec<Event>) {
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

    pub(super) fn say(&mut self, at: usize, text: String, refuses: bool, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        self.items[at].tell(&text);
        self.in_text |= !refuses;
        out.push(if refuses { Event::Refusal(text) } else { Event::Text(text) });
    }

    pub(super) fn think(&mut self, at: usize, text: String, out: &mut Vec<Event>) {
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

    pub(super) fn weigh(&mut self, at: usize, json: Option<&RawValue>, out: &mut Vec<Event>) {
        let found = logprobs(json);
        if !found.is_empty() {
            self.items[at].likely = true;
            out.push(Event::Logprobs(found));
        }
    }

    pub(super) fn cite(&mut self, at: usize, json: Option<&RawValue>, out: &mut Vec<Event>) {
        let Some((source, json)) = json.and_then(Annotation::read) else { return };
        self.items[at].cited += 1;
        let index = |count: Option<Count>| count.and_then(|count| u32::try_from(count.0).ok());
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

    pub(super) fn end_part(&mut self, at: usize, out: &mut Vec<Event>) {
        if !self.items[at].end() {
            return;
        }
        self.texts += u32::from(std::mem::take(&mut self.in_text));
        out.push(Event::BlockEnd);
    }

    pub(super) fn hear(&mut self, data: Vec<u8>, transcript: String, out: &mut Vec<Event>) {
        if data.is_empty() && transcript.is_empty() {
            return;
        }
        let mime = self.correspondence.sound.clone().unwrap_or_else(|| media::audio_mime(""));
        out.push(Event::Audio { id: None, mime, data: data.into(), transcript, expires_at: None });
    }
}
