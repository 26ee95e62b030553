//! Stop sequences for upstreams that know none: the answer is told up to the first of them, and ends there.
//!
//! The upstream goes on writing what nobody is told of, since only its end tells what was counted. Sequences are looked
//! for in text alone, as providers that know them do; one that lies across two blocks of text is none.

use crate::ir::{Error, Event, FinishReason, Response};
use crate::{DecodeEvents, Frame, Malformed};

/// A cutter of one answer.
#[derive(Clone, Debug)]
struct Stops {
    sequences: Vec<String>,
    /// The end of the text so far that may be the beginning of a sequence; not told yet.
    held: String,
    /// The sequence that was met.
    met: Option<String>,
}

impl Stops {
    fn new(sequences: &[String]) -> Self {
        Self { sequences: sequences.to_vec(), held: String::new(), met: None }
    }

    fn event(&mut self, event: Event, out: &mut Vec<Event>) {
        match event {
            Event::Text(text) if self.met.is_none() => self.text(&text, out),
            // Of what counted as an answer already a later failure takes nothing away.
            Event::Finish { .. } | Event::Error(_) if self.met.is_some() => out.push(Event::Finish {
                reason: FinishReason::StopSequence,
                raw: None,
                stop_sequence: self.met.clone(),
            }),
            Event::Start { .. } | Event::Usage(_) | Event::KeepAlive => out.push(event),
            _ if self.met.is_some() => {}
            // They are about the text before them, part of which is held.
            Event::Citation(_) | Event::Logprobs(_) | Event::Choice(_) => out.push(event),
            event => {
                self.release(out);
                out.push(event);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<Event>) {
        self.held.push_str(text);
        let found = self.sequences.iter().filter_map(|sequence| Some((self.held.find(sequence)?, sequence)));
        // The first to be complete, however the text is cut; of two with one end, the longer one.
        let first = found.min_by_key(|(at, sequence)| (at + sequence.len(), *at));
        if let Some((at, sequence)) = first {
            self.met = Some(sequence.clone());
            self.held.truncate(at);
            self.release(out);
            return out.push(Event::BlockEnd);
        }
        let open = self.open();
        let rest = self.held.split_off(self.held.len() - open);
        let certain = std::mem::replace(&mut self.held, rest);
        if !certain.is_empty() {
            out.push(Event::Text(certain));
        }
    }

    /// The length of the longest end of the text that is a beginning of a sequence.
    fn open(&self) -> usize {
        let longest = self.sequences.iter().map(String::len).max().unwrap_or(0).saturating_sub(1);
        let ends = (1..=longest.min(self.held.len())).rev();
        let is_open = |end: &usize| {
            let end = self.held.get(self.held.len() - end..);
            end.is_some_and(|end| self.sequences.iter().any(|sequence| sequence.starts_with(end)))
        };
        ends.into_iter().find(is_open).unwrap_or(0)
    }

    fn release(&mut self, out: &mut Vec<Event>) {
        if !self.held.is_empty() {
            out.push(Event::Text(std::mem::take(&mut self.held)));
        }
    }
}

/// A decoder whose answer ends at the first of these sequences.
pub(crate) fn decoder(inner: Box<dyn DecodeEvents>, sequences: &[String]) -> Box<dyn DecodeEvents> {
    if sequences.is_empty() {
        return inner;
    }
    Box::new(Stopped { inner, stops: Stops::new(sequences), events: Vec::new() })
}

/// A whole answer that ends at the first of these sequences.
pub(crate) fn whole(answer: Response, sequences: &[String]) -> Result<Response, Error> {
    if sequences.is_empty() {
        return Ok(answer);
    }
    let (mut stops, mut events) = (Stops::new(sequences), Vec::new());
    answer.events().into_iter().for_each(|event| stops.event(event, &mut events));
    Response::fold(events)
}

/// A decoder and a cutter behind it.
struct Stopped {
    inner: Box<dyn DecodeEvents>,
    stops: Stops,
    /// Kept between frames for its room.
    events: Vec<Event>,
}

impl Stopped {
    fn pass(&mut self, out: &mut Vec<Event>) {
        self.events.drain(..).for_each(|event| self.stops.event(event, out));
    }
}

impl DecodeEvents for Stopped {
    fn decode(&mut self, frame: Frame<'_>, out: &mut Vec<Event>) -> Result<(), Malformed> {
        let decoded = self.inner.decode(frame, &mut self.events);
        self.pass(out);
        decoded
    }

    fn is_over(&self) -> bool {
        self.inner.is_over()
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        self.inner.finish(&mut self.events);
        self.pass(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a text that comes in pieces, and the sequence that was met.
    fn told(sequences: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let sequences: Vec<String> = sequences.iter().map(|text| (*text).to_owned()).collect();
        let (mut stops, mut out) = (Stops::new(&sequences), Vec::new());
        pieces.iter().for_each(|piece| stops.event(Event::Text((*piece).to_owned()), &mut out));
        stops.event(Event::BlockEnd, &mut out);
        let end = Event::Finish { reason: FinishReason::Stop, raw: None, stop_sequence: None };
        stops.event(end, &mut out);
        let text = out.iter().filter_map(|event| match event {
            Event::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let Some(Event::Finish { reason, stop_sequence, .. }) = out.last() else { panic!("{out:?}") };
        assert_eq!(*reason == FinishReason::StopSequence, stop_sequence.is_some());
        (text.collect(), stop_sequence.clone())
    }

    #[test]
    fn a_text_is_told_up_to_the_first_sequence_however_it_is_cut() {
        for (sequences, text, told_text, met) in [
            (&["END"][..], "a ENE ENDb", "a ENE ", Some("END")),
            (&["END"], "a EN", "a EN", None),
            (&["aab"], "aaab", "a", Some("aab")),
            (&["é!", "!"], "xé!", "x", Some("é!")),
            (&["\n\nHuman:", "\n\n"], "hi\n\nHuman:", "hi", Some("\n\n")),
            (&["abcd", "bc"], "xabcd", "xa", Some("bc")),
            (&["x"], "", "", None),
        ] {
            let letters: Vec<String> = text.chars().map(String::from).collect();
            for size in 1..=letters.len().max(1) {
                let pieces: Vec<String> = letters.chunks(size).map(<[String]>::concat).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                let (found, stopped) = told(sequences, &pieces);
                assert_eq!((&*found, stopped.as_deref()), (told_text, met), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn nothing_but_counts_and_the_end_comes_behind_a_sequence() {
        let mut stops = Stops::new(&["END".to_owned()]);
        let mut out = Vec::new();
        let call = Event::ToolStart { index: 0, id: "c".into(), name: "f".into(), seal: None };
        let usage = Event::Usage(crate::ir::Usage { output_total: 9, ..Default::default() });
        let text = |text: &str| Event::Text(text.to_owned());
        let events = [
            text("aENDb"),
            text("c"),
            Event::BlockEnd,
            call,
            usage.clone(),
            Event::Error(Error::truncated()),
        ];
        events.into_iter().for_each(|event| stops.event(event, &mut out));

        let end = Event::Finish {
            reason: FinishReason::StopSequence,
            raw: None,
            stop_sequence: Some("END".to_owned()),
        };
        assert_eq!(out, [text("a"), Event::BlockEnd, usage, end]);
    }
}
