//! One exchange as layers would make it, and the codecs of a dialect by short names.

use bytes::{Bytes, BytesMut};
use dialect::{
    Aim, Answered, Ask, Body, Conversion, Correspondence, Depth, Dialect, Envelope, FetchedMedia, Frame,
    Framing, Identity, Inbound, Kept, Kind, Malformed, Manner, ModelPlace, Neutral, Outbound, Probe, Quirks,
    Received, Refused, SentBody, Sighting, Unsupported, Watch, between, frames, framing::unwrap_invoke, ir,
};
use serde_json::Value;

use crate::cuts::play_as;
pub(crate) use crate::upstreams::UPSTREAMS;

/// How clients of a dialect are understood.
pub(crate) fn inbound(client: Dialect) -> &'static dyn Inbound {
    client.codec().client.as_ref().and_then(|client| client.inbound).expect("clients of it can be converted")
}

/// How upstreams of a dialect are spoken to.
pub(crate) fn outbound(upstream: Dialect) -> &'static dyn Outbound {
    upstream.codec().upstream.outbound
}

/// How answers of a dialect are watched.
pub(crate) fn watch(dialect: Dialect) -> &'static Watch {
    dialect.codec().upstream.watch.as_ref().expect("clients speak it")
}

/// A probe for one stream.
pub(crate) fn probe(dialect: Dialect) -> Box<dyn Probe> {
    (watch(dialect).probe)(Framing::Sse)
}

/// What a whole answer tells.
pub(crate) fn whole(dialect: Dialect, body: &[u8], want_text: bool) -> Sighting {
    (watch(dialect).whole)(body, want_text)
}

/// Reads a client's request.
pub(crate) fn read(client: Dialect, body: &[u8]) -> Result<ir::Request, Malformed> {
    let body = Body::Json(Bytes::copy_from_slice(body));
    inbound(client).request(Received { body: &body, query: "" }).map(|(request, _)| request)
}

/// Writes a request for a model that the client calls by an alias.
pub(crate) fn write(
    upstream: Dialect,
    request: &ir::Request,
    alias: &str,
    model: &str,
) -> Result<(Value, Correspondence), Unsupported> {
    let (body, correspondence) = write_bytes(upstream, request, alias, model)?;
    Ok((serde_json::from_slice(&body).expect("JSON"), correspondence))
}

/// The same, with the body as it goes out.
pub(crate) fn write_bytes(
    upstream: Dialect,
    request: &ir::Request,
    alias: &str,
    model: &str,
) -> Result<(Vec<u8>, Correspondence), Unsupported> {
    let model_json = Value::from(model).to_string().into();
    let mut aim = aim(alias, model, &model_json, false, &QUIRKS);
    aim.envelope = &upstream.codec().upstream.envelope;
    let written = outbound(upstream).request(request, &aim, &FetchedMedia::default())?;
    let SentBody::Bytes(parts) = written.body else { panic!("bytes were asked for") };
    Ok((parts.concat(), written.correspondence))
}

/// Writes a request for a provider that wraps and bends its dialect like this.
pub(crate) fn write_wrapped(
    upstream: Dialect,
    request: &ir::Request,
    (alias, model): (&str, &str),
    envelope: &Envelope,
    quirks: &Quirks,
) -> Result<Value, Unsupported> {
    let model_json = Value::from(model).to_string().into();
    let aim = Aim { envelope, ..aim(alias, model, &model_json, false, quirks) };
    let written = outbound(upstream).request(request, &aim, &FetchedMedia::default())?;
    let SentBody::Bytes(parts) = written.body else { panic!("bytes were asked for") };
    Ok(serde_json::from_slice(&parts.concat()).expect("JSON"))
}

/// Writes a whole answer.
pub(crate) fn response(client: Dialect, answer: &ir::Response) -> Value {
    let bytes = inbound(client).response(answer, &Manner::default(), &Identity::default());
    serde_json::from_slice(&bytes).expect("JSON")
}

/// What is taken for granted of an unknown upstream.
const QUIRKS: Quirks = Quirks { stream_options: true, ..Quirks::NONE };

fn aim<'a>(
    alias: &'a str,
    model: &'a str,
    model_json: &'a Bytes,
    stream: bool,
    quirks: &'a Quirks,
) -> Aim<'a> {
    Aim {
        alias,
        model,
        model_json,
        stream,
        tools: true,
        image: true,
        ask_usage: false,
        as_json: false,
        betas: &[],
        envelope: &Envelope::PLAIN,
        quirks,
    }
}

/// One exchange between a client and an upstream.
pub(crate) struct Exchange {
    way: &'static dyn Conversion,
    /// What the upstream is sent.
    pub(crate) sent: Value,
    kept: Box<Kept>,
}

/// How the frames of a stream come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coming {
    pub(crate) framing: Framing,
    /// Whether each is wrapped as an event of an invoked model.
    pub(crate) wrapped: bool,
}

impl Coming {
    pub(crate) const SSE: Self = Self { framing: Framing::Sse, wrapped: false };

    /// Gives the frames of a stream that comes in pieces to `see`.
    pub(crate) fn play(self, stream: &[u8], cuts: &[usize], mut see: impl FnMut(Frame<'_>)) {
        play_as(self.framing, stream, cuts, |frame| match self.wrapped {
            true => match unwrap_invoke(&frame).expect("an event") {
                Some(event) => see(event.frame()),
                None => see(frame),
            },
            false => see(frame),
        });
    }
}

impl Coming {
    /// A stream as server-sent events.
    pub(crate) fn as_sse(self, stream: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.play(stream, &[], |frame| _ = Framing::Sse.write(&frame, false, &mut out));
        out.to_vec()
    }
}

impl Exchange {
    /// The exchange of a request under its own model's name, whose client wants events or none.
    pub(crate) fn new(client: Dialect, upstream: Dialect, body: &[u8], stream: bool) -> Self {
        Self::asked(client, upstream, body, stream).unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// The same with an upstream that has quirks.
    pub(crate) fn with(
        client: Dialect,
        upstream: Dialect,
        body: &[u8],
        stream: bool,
        quirks: &Quirks,
    ) -> Self {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let model = value["model"].as_str().expect("a model");
        let envelope = &upstream.codec().upstream.envelope;
        Self::bent((envelope, quirks), (client, upstream), body, stream, model)
            .unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// The same, where the upstream may be unable to be asked that. What it cannot fetch itself is fetched.
    pub(crate) fn asked(
        client: Dialect,
        upstream: Dialect,
        body: &[u8],
        stream: bool,
    ) -> Result<Self, Refused> {
        Self::asked_in(&upstream.codec().upstream.envelope, client, upstream, body, stream)
    }

    /// The same at a provider that wraps the dialect so.
    pub(crate) fn asked_in(
        envelope: &Envelope,
        client: Dialect,
        upstream: Dialect,
        body: &[u8],
        stream: bool,
    ) -> Result<Self, Refused> {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let model = value["model"].as_str().expect("a model");
        Self::bent((envelope, &QUIRKS), (client, upstream), body, stream, model)
    }

    /// The same under another model's name.
    pub(crate) fn aimed(
        client: Dialect,
        upstream: Dialect,
        body: &[u8],
        stream: bool,
        model: &str,
    ) -> Result<Self, Refused> {
        let envelope = &upstream.codec().upstream.envelope;
        Self::bent((envelope, &QUIRKS), (client, upstream), body, stream, model)
    }

    /// The same at a provider that wraps and bends the dialect so.
    fn bent(
        (envelope, quirks): (&Envelope, &Quirks),
        (client, upstream): (Dialect, Dialect),
        body: &[u8],
        stream: bool,
        model: &str,
    ) -> Result<Self, Refused> {
        let body = Body::Json(Bytes::copy_from_slice(body));
        let (nothing, mut media) = (FetchedMedia::default(), FetchedMedia::default());
        let model_json = Value::from(model).to_string().into();
        let aim = Aim { envelope, ..aim(model, model, &model_json, stream, quirks) };
        let way = between(Kind::Chat, client, upstream).expect("a way");
        let neutral = Neutral::default();
        let ask = |media| Ask {
            kind: Kind::Chat,
            client,
            body: &body,
            query: "",
            model_place: &ModelPlace::Nowhere,
            stream,
            want_text: false,
            id: "fallback",
            created: 1_700_000_000,
            neutral: &neutral,
            media,
            conversation: None,
            seals: None,
            answers: None,
            previous: None,
        };
        for address in way.fetches(&ask(&nothing), &aim)? {
            media.insert(address, "image/png", b"\x89PNG\r\n\x1A\n");
        }
        let sent = way.up(&ask(&media), &aim)?.remove(0);
        let SentBody::Bytes(parts) = sent.body else { panic!("bytes were asked for") };
        Ok(Self { way, sent: serde_json::from_slice(&parts.concat()).expect("JSON"), kept: sent.kept })
    }

    /// Whether the client gets the very bytes of the upstream.
    pub(crate) fn passes(&self) -> bool {
        self.way.probe(&self.kept).is_some()
    }

    /// What the client gets of a stream that comes in these pieces, without pings, which tell when and not what.
    pub(crate) fn stream(&self, answer: &[u8], cuts: &[usize]) -> String {
        self.told(Coming::SSE, answer, cuts)
    }

    /// The same of a stream in any framing.
    pub(crate) fn told(&self, coming: Coming, answer: &[u8], cuts: &[usize]) -> String {
        let mut transcode = self.way.events(&self.kept).expect("events");
        let (mut out, mut seen) = (BytesMut::new(), Sighting::machinery());
        let mut torn = None;
        coming.play(answer, cuts, |frame| {
            if torn.is_none() {
                match transcode.frame(frame, Depth::Opening { want_text: false }, &mut out) {
                    Ok(sighting) => seen.merge(sighting),
                    Err(malformed) => torn = Some(malformed.into_answer_error()),
                }
            }
        });
        seen.merge(transcode.end(&mut out));
        match torn.as_ref().or(seen.error()) {
            Some(error) => transcode.fail(error, &mut out),
            None => transcode.trailer(&mut out),
        }
        let told =
            frames(&out).filter(|frame| !frame.is_comment() && frame.event != b"ping").map(|frame| frame.raw);
        String::from_utf8_lossy(&told.collect::<Vec<_>>().concat()).into_owned()
    }

    /// What the client gets of an answer that was collected.
    pub(crate) fn whole(&self, answer: &[u8], form: dialect::AnswerForm) -> Result<Bytes, ir::Error> {
        let bytes = Bytes::copy_from_slice(answer);
        self.way.whole(&[Answered { bytes, form, content_type: None }], &self.kept).map(|whole| whole.bytes)
    }
}
