//! The way of a request to an upstream and of its answer back, chosen per attempt: all that layers see of a dialect.
//!
//! Takes the cheapest way that is right. [`Same`]: equal dialects, the bytes go on as they came with the model's name
//! spliced in, and answers are only watched. [`ThroughChat`]: by way of [`ir`], both ways. The kinds of calls beside
//! conversations get a way of their own each (`through_embed.rs` over `ir/embed.rs`, `through_rerank.rs` …): one
//! file, one small intermediate form, and an arm in [`between`].

mod chat;
mod counted;
mod form;
mod neutral;
mod repaired;
mod same;
mod tags;
mod wrapped;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use serde_json::{Map, Value};

pub use chat::ThroughChat;
pub use form::{AnswerForm, answer_form, tells_its_form};
pub use neutral::Neutral;
pub use same::Same;

use crate::codec::{Correspondence, Identity, Manner, Probe, Received};
use crate::kept::AnswerKeeper;
use crate::seals::learn::Keeper;
use crate::{
    Aim, AnswersOf, Body, Depth, Dialect, Frame, Framing, Inbound, Kind, Malformed, ModelPlace, Repairs,
    SealsOf, Sighting, Unsupported, ir, media,
};

/// The way between a client's dialect and an upstream's for calls of a kind; none where there is none.
pub fn between(kind: Kind, client: Dialect, upstream: Dialect) -> Option<&'static dyn Conversion> {
    let speaks = client.codec().client.as_ref()?;
    // What is no conversation is asked of a whole family alike.
    if client == upstream || kind != Kind::Chat && client == upstream.family() {
        return Some(&Same);
    }
    match kind {
        Kind::Chat if speaks.inbound.is_some() => Some(&upstream.codec().upstream.through_chat),
        Kind::CountTokens if speaks.inbound.is_some() && speaks.estimate.is_some() => {
            counted::way(upstream).map(|way| -> &dyn Conversion { way })
        }
        _ => None,
    }
}

/// A way up and down again.
pub trait Conversion: Send + Sync {
    /// The addresses of media that must be fetched before [`Conversion::up`], because the provider does not follow
    /// them: to be put into [`Ask::media`]. Those that are there already are left out.
    ///
    /// # Errors
    /// A request that cannot be read.
    fn fetches(&self, _ask: &Ask<'_>, _aim: &Aim<'_>) -> Result<Vec<String>, Refused> {
        Ok(Vec::new())
    }

    /// What the upstream is sent. Several are sent side by side, and their answers are joined by
    /// [`Conversion::whole`], in the same order.
    ///
    /// # Errors
    /// What the client did wrong, or what this upstream cannot be asked.
    fn up(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<Sent>, Refused>;

    /// The client's answer from whole ones, of whatever form: JSON, text, sound, events that were collected. `kept`
    /// is that of the first. Where the client wants events these are they, all of them.
    ///
    /// An answer that cannot be recognised as one comes back with neither `done` nor an error in its sighting.
    ///
    /// # Errors
    /// The error that an answer itself reports, or a 502 for one that cannot be read.
    fn whole(&self, answers: &[Answered], kept: &Kept) -> Result<Whole, ir::Error>;

    /// The transcription of one stream of events for a client that wants events; none where there is no such thing.
    fn events(&self, kept: &Kept) -> Option<Box<dyn Transcode>>;

    /// The probe for one stream of events that may be forwarded as it is: always to be preferred to
    /// [`Conversion::events`], as long as the framing of the answer is that of the client ([`Kept::framing`]). It
    /// costs no copy.
    fn probe(&self, _kept: &Kept) -> Option<Box<dyn Probe>> {
        None
    }
}

/// A transcription of one stream: frames in, the client's bytes and a sighting out.
pub trait Transcode: Send {
    /// Reads one frame and appends what the client is told of it. An error in it is only sighted: before the answer
    /// is accepted it is a reason to go elsewhere, after that it ends the stream in other words.
    ///
    /// # Errors
    /// A frame that cannot be read; the stream cannot be trusted any further.
    fn frame(&mut self, frame: Frame<'_>, depth: Depth, out: &mut BytesMut) -> Result<Sighting, Malformed>;

    /// The body has ended. Without a terminal event before, the sighting holds an error.
    fn end(&mut self, out: &mut BytesMut) -> Sighting;

    /// Appends the trailer of an answer that ended well.
    fn trailer(&mut self, out: &mut BytesMut);

    /// Appends an error behind what was said so far, and no trailer.
    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut);

    /// Appends bytes that keep the stream alive and mean nothing.
    fn keepalive(&mut self, out: &mut BytesMut);
}

/// The request of a client, the same for all attempts.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The kind of call.
    pub kind: Kind,
    /// How the client speaks.
    pub client: Dialect,
    /// Its body.
    pub body: &'a Body,
    /// The query of its target, without the question mark and without credentials; empty where there is none.
    pub query: &'a str,
    /// Where in the body the model is named.
    pub model_place: &'a ModelPlace,
    /// Whether it wants events.
    pub stream: bool,
    /// Whether sightings carry the text of the answer, for triggers that look for words in it.
    pub want_text: bool,
    /// The request's identity, for answers that have none of their own.
    pub id: &'a str,
    /// When it came, in unix seconds.
    pub created: u64,
    /// The body in neutral form, read at most once.
    pub neutral: &'a Neutral,
    /// Media that were fetched.
    pub media: &'a FetchedMedia,
    /// A digest of the conversation's name, where it has one: the same for each of its requests.
    pub conversation: Option<u64>,
    /// What models have sealed for this client key; none where nothing is remembered.
    pub seals: Option<SealsOf<'a>>,
    /// Where answers are kept that the client may name later; none where they are not.
    pub answers: Option<AnswersOf<'a>>,
    /// The answer from which the request goes on, where that was kept here.
    pub previous: Option<&'a Arc<str>>,
}

impl<'a> Ask<'a> {
    fn received(&self) -> Received<'a> {
        Received { body: self.body, query: self.query }
    }

    fn kept(&self, aim: &Aim<'_>, upstream: Dialect) -> Box<Kept> {
        Box::new(Kept {
            kind: self.kind,
            client: self.client,
            upstream,
            stream: self.stream,
            want_text: self.want_text,
            hide_usage: false,
            wrapped: wrapped::wraps(aim, upstream),
            repairs: match self.kind {
                Kind::Chat => aim.quirks.repairs.of_answers(),
                _ => Repairs::NONE,
            },
            framing: match inbound(self.client) {
                Some(inbound) => inbound.framing(self.query),
                None => self.client.codec().upstream.framing,
            },
            identity: Identity { id: self.id.to_owned(), created: self.created, model: aim.alias.to_owned() },
            correspondence: Correspondence::default(),
            manner: Wish::In(self.body.clone(), self.query.into()),
            seals: None,
            answers: None,
        })
    }
}

/// A refusal to go this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The client's request cannot be understood (400).
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// This upstream cannot be asked that; another channel may.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// A request on its way to an upstream.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The body.
    pub body: SentBody,
    /// Its content type; none where there is no body.
    pub content_type: Option<HeaderValue>,
    /// What must be remembered for the way down. Boxed, because it is large and changes hands often.
    pub kept: Box<Kept>,
}

/// The body of a request on its way to an upstream.
#[derive(Clone, Debug)]
pub enum SentBody {
    /// Bytes in their order; large ones are slices of what was received, and are never joined.
    Bytes(Vec<Bytes>),
    /// A value that more is merged into: see [`Aim::as_json`].
    Json(Map<String, Value>),
}

/// The memory of a request for the way down, opaque to layers.
#[derive(Clone, Debug)]
pub struct Kept {
    pub(crate) kind: Kind,
    pub(crate) client: Dialect,
    pub(crate) upstream: Dialect,
    /// The client wants events.
    pub(crate) stream: bool,
    pub(crate) want_text: bool,
    /// The usage of the stream was asked for by us.
    pub(crate) hide_usage: bool,
    /// What is repaired in the answer.
    pub(crate) repairs: Repairs,
    /// How a stream for the client is cut into frames.
    pub(crate) framing: Framing,
    /// The upstream wraps its events in messages of another framing.
    pub(crate) wrapped: bool,
    pub(crate) identity: Identity,
    pub(crate) correspondence: Correspondence,
    pub(crate) manner: Wish,
    /// Where what is sealed in the answer is remembered.
    pub(crate) seals: Option<Keeper>,
    /// Where the answer is kept, to be named later.
    pub(crate) answers: Option<AnswerKeeper>,
}

/// The client's wishes for the writing of its answer: known, or to be read when they are needed, which they rarely
/// are between equal dialects.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Known(Manner),
    In(Body, Box<str>),
}

impl Kept {
    /// Whether the usage chunk of the stream is ours, to be kept from the client.
    pub fn hides_usage(&self) -> bool {
        self.hide_usage
    }

    /// How a stream for the client is cut into frames.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    pub(crate) fn manner(&self) -> Manner {
        match &self.manner {
            Wish::Known(manner) => manner.clone(),
            Wish::In(body, query) => {
                let received = Received { body, query };
                inbound(self.client).map(|inbound| inbound.manner(received)).unwrap_or_default()
            }
        }
    }

    /// Keeps an answer, if it is to be kept.
    fn keep(&self, told: impl FnOnce() -> Option<Bytes>) {
        if let Some(keeper) = &self.answers
            && let Some(answer) = told()
        {
            keeper.clone().keep(answer);
        }
    }

    /// A neutral answer as the client wants it: whole, or as events.
    pub(crate) fn tell(&self, mut answer: ir::Response) -> Result<Whole, ir::Error> {
        let Some(inbound) = inbound(self.client) else {
            return Err(Malformed::new(match self.stream {
                true => "upstream answered without the events that were asked for",
                false => "upstream answered with events that were not asked for",
            })
            .into_answer_error());
        };
        let (mut manner, events) = (self.manner(), answer.events());
        manner.keeps_name = self.client == self.upstream;
        let mut sighting = Sighting::machinery();
        events.iter().for_each(|event| sighting.merge(Sighting::of(event, self.want_text)));
        if self.stream {
            let mut encoder = inbound.events(&manner, &self.identity);
            let mut out = BytesMut::new();
            events.iter().for_each(|event| encoder.encode(event, &mut out));
            encoder.finish(&mut out);
            self.keep(|| encoder.told());
            let content_type = HeaderValue::from_static(self.framing.content_type());
            return Ok(Whole { bytes: out.freeze(), content_type, sighting });
        }
        answer.model = Some(self.identity.model.clone());
        let bytes = inbound.response(&answer, &manner, &self.identity);
        self.keep(|| Some(bytes.clone()));
        Ok(Whole { bytes, content_type: JSON, sighting })
    }
}

/// How clients of a dialect are understood, where any are.
fn inbound(client: Dialect) -> Option<&'static dyn Inbound> {
    client.codec().client.as_ref()?.inbound
}

/// A whole answer of an upstream.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Its bytes.
    pub bytes: Bytes,
    /// What they are.
    pub form: AnswerForm,
    /// Its content type, where it has one.
    pub content_type: Option<HeaderValue>,
}

impl Answered {
    /// Its bytes, without the mark that may stand before JSON and that no parser has to know.
    pub(crate) fn unmarked(&self) -> Bytes {
        match self.form {
            AnswerForm::Json => self.bytes.slice_ref(form::unmarked(&self.bytes)),
            _ => self.bytes.clone(),
        }
    }
}

/// A whole answer for the client.
#[derive(Clone, Debug)]
pub struct Whole {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its content type.
    pub content_type: HeaderValue,
    /// What it tells.
    pub sighting: Sighting,
}

/// Media that were fetched for one exchange: each address once, for all attempts. A clone shares their bytes.
#[derive(Clone, Debug, Default)]
pub struct FetchedMedia(HashMap<String, ir::Source>);

impl FetchedMedia {
    /// Adds the bytes behind an address, under the type that they were served with.
    pub fn insert(&mut self, address: impl Into<String>, mime: &str, bytes: &[u8]) {
        self.0.insert(address.into(), media::of_bytes(mime, bytes));
    }

    /// What is behind an address, where it was fetched.
    pub(crate) fn get(&self, address: &str) -> Option<&ir::Source> {
        self.0.get(address)
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests;
