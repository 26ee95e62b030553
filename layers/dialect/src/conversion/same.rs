//! Equal dialects: the client's bytes go on as they came, and answers are only watched.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use serde_json::{Map, Value};

use super::repaired::Repaired;
use super::wrapped::unwrapped;
use super::{Answered, Ask, Conversion, JSON, Kept, Refused, Sent, SentBody, Transcode, Whole, chat};
use crate::aim::{Betas, Place};
use crate::codec::{Addition, Mend, Probe};
use crate::{
    Aim, AnswerForm, Body, Depth, Envelope, ErrorShape, Frame, Framing, Kind, Malformed, ModelPlace, Repairs,
    Sighting, anthropic, exact, ir, moderation,
};

/// Bodies up to this are joined: copying them costs less than more buffers on the wire.
const JOINED: usize = 32 << 10;

/// The way between equal dialects.
#[derive(Clone, Copy, Debug)]
pub struct Same;

impl Conversion for Same {
    fn up(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<Sent>, Refused> {
        let mut kept = ask.kept(aim, ask.client);
        let added = ask.body.json().and_then(|json| addition(json, ask, aim));
        kept.hide_usage = added.is_some();
        let (body, content_type) = match ask.body {
            Body::Json(json) => (json_body(json, ask, aim, added.as_ref())?, Some(JSON)),
            Body::Form(form) => {
                let parts = match ask.model_place {
                    ModelPlace::Form(part) => {
                        form.with_value(*part, Bytes::copy_from_slice(aim.model.as_bytes()))
                    }
                    _ => form.chunks().to_vec(),
                };
                let content_type = HeaderValue::from_str(form.content_type())
                    .map_err(|_| Malformed::new("the content type of the form cannot be passed on"))?;
                (SentBody::Bytes(parts), Some(content_type))
            }
            Body::Empty => (SentBody::Bytes(Vec::new()), None),
        };
        Ok(vec![Sent { body, content_type, kept }])
    }

    fn whole(&self, answers: &[Answered], kept: &Kept) -> Result<Whole, ir::Error> {
        let [answer] = answers else {
            return Err(Malformed::new("upstream sent more than one answer").into_answer_error());
        };
        let is_events = matches!(answer.form, AnswerForm::Events(_));
        // Only conversations have both forms; what other kinds of calls are answered with is passed on.
        if kept.kind == Kind::Chat
            && is_events != kept.stream
            && (is_events || answer.form == AnswerForm::Json)
        {
            return kept.tell(chat::read(answer, kept)?);
        }
        let mut bytes = answer.unmarked();
        let sighting = match answer.form {
            AnswerForm::Json => {
                let sighting = sighted(&bytes, kept);
                if let Some(mended) = mender(kept).and_then(|mut mender| mender.whole(&bytes)) {
                    bytes = mended.into();
                }
                sighting
            }
            AnswerForm::Events(framing) => watched(&answer.bytes, framing, kept),
            AnswerForm::Bytes => Sighting {
                content: !answer.bytes.is_empty(),
                finished: true,
                done: true,
                ..Sighting::default()
            },
            AnswerForm::Page => Sighting::default(),
        };
        let content_type = match answer.form {
            AnswerForm::Json => JSON,
            AnswerForm::Events(framing) => HeaderValue::from_static(framing.content_type()),
            AnswerForm::Bytes | AnswerForm::Page => {
                answer.content_type.clone().unwrap_or(HeaderValue::from_static("application/octet-stream"))
            }
        };
        Ok(Whole { bytes, content_type, sighting })
    }

    fn events(&self, kept: &Kept) -> Option<Box<dyn Transcode>> {
        let (probe, to) = (watch(kept)?, kept.framing());
        if let Some(mender) = mender(kept) {
            let (hide_usage, want_text) = (kept.hide_usage, kept.want_text);
            return Some(Box::new(Repaired { probe, mender, hide_usage, want_text }));
        }
        Some(Box::new(Reframe {
            probe,
            shape: kept.client.error_shape(),
            to,
            begun: false,
            opened: false,
            hide_usage: kept.hide_usage,
            want_text: kept.want_text,
            wrapped: kept.wrapped,
        }))
    }

    fn probe(&self, kept: &Kept) -> Option<Box<dyn Probe>> {
        // What is repaired cannot go on as it is.
        if kept.repairs.is_empty() || mender(kept).is_none() { watch(kept) } else { None }
    }
}

/// The probe for one stream.
fn watch(kept: &Kept) -> Option<Box<dyn Probe>> {
    kept.upstream.codec().upstream.watch.as_ref().map(|watch| (watch.probe)(kept.framing))
}

/// What repairs the answer, where anything does.
fn mender(kept: &Kept) -> Option<Box<dyn Mend>> {
    if kept.repairs.is_empty() {
        return None;
    }
    kept.upstream.codec().upstream.watch.as_ref().and_then(|watch| (watch.mender)(kept.repairs))
}

/// What a whole JSON answer tells.
fn sighted(bytes: &[u8], kept: &Kept) -> Sighting {
    if kept.kind == Kind::Stored {
        // Whatever it is, also an answer that failed: it is what was asked for, and was counted when it was made.
        let is_json = bytes.trim_ascii_start().starts_with(b"{");
        return Sighting { content: is_json, finished: is_json, done: is_json, ..Sighting::default() };
    }
    let Some(watch) = &kept.upstream.codec().upstream.watch else { return Sighting::default() };
    let mut sighting = (watch.whole)(bytes, kept.want_text);
    // A client may read any shape of judgement; who must know the verdict looks whether there is one.
    if kept.kind == Kind::Moderate
        && let Some(flagged) = moderation::is_flagged(bytes)
    {
        sighting.detail().flagged = Some(flagged);
    }
    sighting
}

/// What the events of an answer tell that was collected.
fn watched(bytes: &Bytes, framing: Framing, kept: &Kept) -> Sighting {
    let mut all = Sighting::machinery();
    if let Some(mut probe) = watch(kept) {
        let depth = Depth::Opening { want_text: kept.want_text };
        for frame in framing.frames(bytes) {
            let seen = match kept.wrapped {
                false => probe.observe(frame, depth),
                true => unwrapped(frame, |frame| Ok(probe.observe(frame, depth)), failed).unwrap_or_default(),
            };
            all.merge(seen);
        }
    }
    all
}

fn json_body(
    json: &Bytes,
    ask: &Ask<'_>,
    aim: &Aim<'_>,
    added: Option<&Addition>,
) -> Result<SentBody, Refused> {
    let untouched = !aim.as_json
        && aim.tools
        && aim.image
        && ask.stream == aim.stream
        && *aim.envelope == Envelope::PLAIN
        && !(aim.quirks.repairs != Repairs::NONE
            && ask.client.concerns_quirks(ask.kind, json, aim.subject()))
        && !raw(ask).is_some_and(|raw| raw.may_hold_foreign(json));
    if untouched {
        return Ok(SentBody::Bytes(splice(json, ask, aim, added)));
    }
    let map = change(json, ask, aim, added)?;
    if aim.as_json {
        return Ok(SentBody::Json(map));
    }
    Ok(SentBody::Bytes(vec![exact::json_bytes(&map).into()]))
}

/// The client's bytes with the upstream's name of the model in place of the alias, and with what is added.
fn splice(json: &Bytes, ask: &Ask<'_>, aim: &Aim<'_>, added: Option<&Addition>) -> Vec<Bytes> {
    let model = match ask.model_place {
        ModelPlace::Json(span) if json[span.clone()] != **aim.model_json => {
            Some((span.clone(), aim.model_json.clone()))
        }
        ModelPlace::Json(_) | ModelPlace::Form(_) | ModelPlace::Path | ModelPlace::Nowhere => None,
    };
    let added = added.map(|added| {
        let (text, span) = added.spliced(json);
        (span, Bytes::from(text))
    });
    let changes = match (model, added) {
        (None, None) => return vec![json.clone()],
        (Some(model), Some(added)) if added.0.start < model.0.start => [Some(added), Some(model)],
        (model, added) => [model, added],
    };
    let mut parts = Vec::with_capacity(5);
    let mut from = 0;
    for (span, text) in changes.into_iter().flatten() {
        parts.push(json.slice(from..span.start));
        parts.push(text);
        from = span.end;
    }
    parts.push(json.slice(from..));
    if json.len() <= JOINED {
        return vec![Bytes::from(parts.concat())];
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// What asks for the usage of a stream, where it is to be asked for and the client did not ask itself.
fn addition(json: &[u8], ask: &Ask<'_>, aim: &Aim<'_>) -> Option<Addition> {
    if aim.ask_usage { raw(ask)?.ask_usage(json) } else { None }
}

fn raw(ask: &Ask<'_>) -> Option<&'static dyn crate::codec::RawRequest> {
    ask.client.codec().client.as_ref().map(|client| client.raw)
}

/// The client's body as a value, with the model's name and whatever the channel does not take changed.
fn change(
    json: &[u8],
    ask: &Ask<'_>,
    aim: &Aim<'_>,
    added: Option<&Addition>,
) -> Result<Map<String, Value>, Refused> {
    let mut map: Map<String, Value> = exact::read(json)
        .map_err(|error| Malformed::new(format!("the request body must be a JSON object: {error}")))?;
    let envelope = aim.envelope;
    match (ask.model_place, envelope.model) {
        // Who counts has one path for all models.
        (_, Place::Path) if ask.kind == Kind::CountTokens => {
            map.insert("model".to_owned(), aim.model.into());
        }
        (_, Place::Path) => drop(map.shift_remove("model")),
        (ModelPlace::Json(_), Place::Body) => drop(map.insert("model".to_owned(), aim.model.into())),
        _ => {}
    }
    if let Some(raw) = raw(ask) {
        if ask.stream != aim.stream {
            raw.set_stream(&mut map, aim.stream);
        }
        if let Some(added) = added {
            map.insert(added.name.to_owned(), serde_json::from_str(added.value).unwrap_or_default());
        }
        if !aim.tools {
            raw.without_tools(&mut map);
        }
        if !aim.image {
            raw.without_images(&mut map);
        }
        if ask.kind == Kind::Chat && aim.quirks.repairs != Repairs::NONE {
            raw.mend(&mut map, aim.subject());
        }
        if raw.may_hold_foreign(json) {
            raw.without_foreign(&mut map);
        }
        raw.fit(&mut map, envelope);
    }
    if envelope.stream == Place::Path {
        map.shift_remove("stream");
    }
    let adds = if ask.kind == Kind::CountTokens { &[] } else { envelope.adds };
    for (name, value) in adds {
        map.entry(*name).or_insert_with(|| Value::from(*value));
    }
    if envelope.flags.is_some() {
        anthropic::without_locked(&mut map, aim.betas);
    }
    if envelope.betas == Betas::Body && !aim.betas.is_empty() {
        map.insert(anthropic::BETAS.to_owned(), aim.betas.into());
    }
    Ok(map)
}

/// What an error tells that the framing itself tells.
fn failed(error: ir::Error) -> Sighting {
    let mut sighting = Sighting::default();
    sighting.detail().error = Some(error);
    sighting
}

/// A stream of the same events in the client's framing.
struct Reframe {
    probe: Box<dyn Probe>,
    shape: ErrorShape,
    to: Framing,
    /// What stands before the first frame was written.
    begun: bool,
    /// A frame was written.
    opened: bool,
    hide_usage: bool,
    want_text: bool,
    /// Events come wrapped.
    wrapped: bool,
}

impl Reframe {
    /// Writes a frame of the dialect, and tells what it tells.
    fn relay(&mut self, frame: &Frame<'_>, depth: Depth, out: &mut BytesMut) -> Sighting {
        let sighting = self.probe.observe(frame.clone(), depth);
        let hidden = self.hide_usage && sighting.usage_only;
        if !hidden && sighting.error().is_none() {
            self.open(out);
            self.opened |= self.to.write(frame, !self.opened, out);
        }
        sighting
    }

    /// What stands before the first frame, once.
    fn open(&mut self, out: &mut BytesMut) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(self.to.open());
        }
    }
}

impl Transcode for Reframe {
    fn frame(&mut self, frame: Frame<'_>, depth: Depth, out: &mut BytesMut) -> Result<Sighting, Malformed> {
        let depth = match depth {
            Depth::Opening { .. } => Depth::Opening { want_text: self.want_text },
            Depth::Relay => Depth::Relay,
        };
        if !self.wrapped {
            return Ok(self.relay(&frame, depth, out));
        }
        unwrapped(frame, |frame| Ok(self.relay(&frame, depth, out)), failed)
    }

    fn end(&mut self, _out: &mut BytesMut) -> Sighting {
        Sighting::machinery()
    }

    fn trailer(&mut self, out: &mut BytesMut) {
        self.open(out);
        out.extend_from_slice(self.to.close());
    }

    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut) {
        if self.to == Framing::Sse {
            return self.probe.fail(error, out);
        }
        let body = self.shape.body(error);
        let frame = Frame { data: Some(Cow::Borrowed(&body)), ..Frame::default() };
        self.open(out);
        self.opened |= self.to.write(&frame, !self.opened, out);
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        match self.to {
            Framing::Sse => self.probe.keepalive(out),
            other => out.extend_from_slice(other.comment().unwrap_or_default()),
        }
    }
}
