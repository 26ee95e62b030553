//! Conversations by way of the neutral form.

use bytes::BytesMut;

use super::tags::Tags;
use super::wrapped::unwrapped;
use super::{Answered, Ask, Conversion, JSON, Kept, Refused, Sent, Transcode, Whole, Wish, inbound};
use crate::kept::AnswerKeeper;
use crate::seals::learn::{Keeper, Learner};
use crate::{
    Aim, AnswerForm, DecodeEvents, Depth, Dialect, EncodeEvents, Frame, Framing, Malformed, Sighting,
    Unsupported, ir, media,
};

/// The way to an upstream of this dialect from clients of any other.
#[derive(Clone, Copy, Debug)]
pub struct ThroughChat(pub(crate) Dialect);

impl ThroughChat {
    /// The client's conversation.
    fn read<'a>(ask: &Ask<'a>) -> Result<&'a (ir::Request, crate::Manner), Refused> {
        let Some(inbound) = inbound(ask.client) else {
            let message = "this request can only go to channels of its own format".to_owned();
            return Err(Unsupported { message, param: None }.into());
        };
        Ok(ask.neutral.chat(inbound, ask)?)
    }
}

impl Conversion for ThroughChat {
    fn fetches(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<String>, Refused> {
        if !aim.envelope.fetches_media {
            return Ok(Vec::new());
        }
        let (request, _) = Self::read(ask)?;
        let blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
        Ok(addresses(blocks, aim)
            .filter(|address| !media::is_for_provider(address) && !address.starts_with("s3://"))
            .filter(|address| ask.media.get(address).is_none())
            .map(str::to_owned)
            .collect())
    }

    fn up(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<Sent>, Refused> {
        let (request, manner) = Self::read(ask)?;
        if let Some((param, what)) = manner.own_only {
            let message = format!("{what} takes an upstream of the client's own format");
            return Err(Unsupported::at(param, message).into());
        }
        let written = self.0.codec().upstream.outbound.request(request, aim, ask.media)?;
        let mut kept = ask.kept(aim, self.0);
        kept.correspondence = written.correspondence;
        kept.manner = Wish::Known(manner.clone());
        kept.seals = ask.seals.map(Keeper::new);
        kept.answers = match (ask.answers.filter(|_| manner.keeps), ask.body.json()) {
            (Some(answers), Some(request)) => Some(AnswerKeeper::new(answers, request.clone())),
            _ => None,
        };
        Ok(vec![Sent { body: written.body, content_type: Some(JSON), kept }])
    }

    fn whole(&self, answers: &[Answered], kept: &Kept) -> Result<Whole, ir::Error> {
        let [answer] = answers else {
            return Err(Malformed::new("upstream sent more than one answer").into_answer_error());
        };
        let answer = read(answer, kept)?;
        if let (Some(seals), Some(choice)) = (&kept.seals, answer.choices.first()) {
            seals.learn(choice);
        }
        kept.tell(answer)
    }

    fn events(&self, kept: &Kept) -> Option<Box<dyn Transcode>> {
        let encoder = inbound(kept.client)?.events(&kept.manner(), &kept.identity);
        let decoder = self.0.codec().upstream.outbound.events(&kept.correspondence);
        let (tags, want_text, wrapped) = (Tags::of(kept.repairs), kept.want_text, kept.wrapped);
        let learner = kept.seals.clone().map(Learner::new);
        Some(Box::new(Transcription {
            decoder,
            encoder,
            tags,
            learner,
            answers: kept.answers.clone(),
            events: Vec::new(),
            want_text,
            wrapped,
        }))
    }
}

/// Addresses of media within blocks, those of tool results included.
fn addresses<'a>(
    blocks: impl Iterator<Item = &'a ir::Block> + 'a,
    aim: &Aim<'_>,
) -> Box<dyn Iterator<Item = &'a str> + 'a> {
    let image = aim.image;
    let found = blocks.flat_map(move |block| -> Vec<&'a str> {
        match &block.content {
            ir::Content::Image { source: ir::Source::Url(url), .. } if image => vec![url],
            ir::Content::Audio { source: ir::Source::Url(url) }
            | ir::Content::Document { source: ir::Source::Url(url), .. } => vec![url],
            ir::Content::ToolResult { blocks, .. } => blocks
                .iter()
                .filter_map(|block| match &block.content {
                    ir::Content::Image { source: ir::Source::Url(url), .. } if image => Some(url.as_str()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    });
    Box::new(found)
}

/// Reads a whole answer of the upstream, or the events of one.
pub(super) fn read(answer: &Answered, kept: &Kept) -> Result<ir::Response, ir::Error> {
    let outbound = kept.upstream.codec().upstream.outbound;
    let answer = match answer.form {
        AnswerForm::Events(framing) => fold(answer, framing, kept),
        // A page is no answer; whoever reads it says so.
        AnswerForm::Json | AnswerForm::Page | AnswerForm::Bytes => {
            outbound.response(&answer.unmarked(), &kept.correspondence)
        }
    }?;
    match Tags::of(kept.repairs) {
        Some(tags) => tags.of_whole(&answer),
        None => Ok(answer),
    }
}

/// Folds events that were collected.
fn fold(answer: &Answered, framing: Framing, kept: &Kept) -> Result<ir::Response, ir::Error> {
    let mut decoder = kept.upstream.codec().upstream.outbound.events(&kept.correspondence);
    let mut events = Vec::new();
    let mut framer = framing.framer(usize::MAX);
    let blocks = framer.push(answer.bytes.clone());
    // A last event without its blank line is whole when the body is.
    for block in blocks.into_iter().chain(framer.finish()) {
        for frame in framing.frames(&block) {
            let read = read_frame(&mut *decoder, frame, kept.wrapped, &mut events);
            read.map_err(Malformed::into_answer_error)?;
        }
    }
    if let Some(fault) = framer.fault() {
        return Err(Malformed::new(format!("upstream sent a stream that cannot be read: {fault}"))
            .into_answer_error());
    }
    decoder.finish(&mut events);
    ir::Response::fold(events)
}

/// Reads a frame, or the event that it wraps.
fn read_frame(
    decoder: &mut dyn DecodeEvents,
    frame: Frame<'_>,
    wrapped: bool,
    events: &mut Vec<ir::Event>,
) -> Result<(), Malformed> {
    if !wrapped {
        return decoder.decode(frame, events);
    }
    let mut failed = None;
    unwrapped(frame, |frame| decoder.decode(frame, events), |error| failed = Some(error))?;
    events.extend(failed.map(ir::Event::Error));
    Ok(())
}

/// A decoder and an encoder, back to back.
struct Transcription {
    decoder: Box<dyn DecodeEvents>,
    encoder: Box<dyn EncodeEvents>,
    tags: Option<Tags>,
    learner: Option<Learner>,
    answers: Option<AnswerKeeper>,
    /// Kept between frames for its room.
    events: Vec<ir::Event>,
    want_text: bool,
    /// Events come wrapped.
    wrapped: bool,
}

impl Transcription {
    /// Encodes the events that are there. An error event is only sighted.
    fn encode(&mut self, want_text: bool, out: &mut BytesMut) -> Sighting {
        let mut seen = Sighting::machinery();
        if let Some(tags) = &mut self.tags {
            tags.split(&mut self.events);
        }
        for event in self.events.drain(..) {
            let sighting = Sighting::of(&event, want_text);
            if let Some(learner) = &mut self.learner {
                learner.see(&event);
            }
            if sighting.error().is_none() {
                self.encoder.encode(&event, out);
            }
            seen.merge(sighting);
        }
        seen
    }
}

impl Transcode for Transcription {
    fn frame(&mut self, frame: Frame<'_>, depth: Depth, out: &mut BytesMut) -> Result<Sighting, Malformed> {
        let decoded = read_frame(&mut *self.decoder, frame, self.wrapped, &mut self.events);
        let mut seen = self.encode(self.want_text && depth != Depth::Relay, out);
        seen.finished |= self.decoder.is_over();
        decoded.map(|()| seen)
    }

    fn end(&mut self, out: &mut BytesMut) -> Sighting {
        self.decoder.finish(&mut self.events);
        self.encode(false, out)
    }

    fn trailer(&mut self, out: &mut BytesMut) {
        self.encoder.finish(out);
        if let Some(keeper) = self.answers.take()
            && let Some(answer) = self.encoder.told()
        {
            keeper.keep(answer);
        }
    }

    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut) {
        self.encoder.fail(error, out);
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        self.encoder.keepalive(out);
    }
}
