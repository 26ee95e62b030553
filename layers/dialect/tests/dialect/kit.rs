//! One exchange as layers would make it, and the codecs of a dialect by short names.

use bytes::{Bytes, BytesMut};
use dialect::{
    Aim, Answered, Ask, Body, Conversion, Correspondence, Depth, Dialect, Envelope, FetchedMedia, Framing,
    Identity, Inbound, Kept, Kind, Malformed, Manner, ModelPlace, Neutral, Outbound, Probe, Quirks, Received,
    SentBody, Sighting, Unsupported, Watch, between, frames, ir,
};
use serde_json::Value;

use crate::cuts::play;

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
    let model_json = Value::from(model).to_string().into();
    let aim = aim(alias, model, &model_json, false);
    let written = outbound(upstream).request(request, &aim, &FetchedMedia::default())?;
    let SentBody::Bytes(parts) = written.body else { panic!("bytes were asked for") };
    Ok((serde_json::from_slice(&parts.concat()).expect("JSON"), written.correspondence))
}

/// Writes a whole answer.
pub(crate) fn response(client: Dialect, answer: &ir::Response) -> Value {
    let bytes = inbound(client).response(answer, &Manner::default(), &Identity::default());
    serde_json::from_slice(&bytes).expect("JSON")
}

fn aim<'a>(alias: &'a str, model: &'a str, model_json: &'a Bytes, stream: bool) -> Aim<'a> {
    const QUIRKS: Quirks = Quirks { stream_options: true };
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
        quirks: &QUIRKS,
    }
}

/// One exchange between a client and an upstream.
pub(crate) struct Exchange {
    way: &'static dyn Conversion,
    /// What the upstream is sent.
    pub(crate) sent: Value,
    kept: Kept,
}

impl Exchange {
    /// The exchange of a request under its own model's name, whose client wants events or none.
    pub(crate) fn new(client: Dialect, upstream: Dialect, body: &[u8], stream: bool) -> Self {
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let model = value["model"].as_str().expect("a model");
        let body = Body::Json(Bytes::copy_from_slice(body));
        let ask = Ask {
            kind: Kind::Chat,
            client,
            body: &body,
            query: "",
            model_place: &ModelPlace::Nowhere,
            stream,
            want_text: false,
            id: "fallback",
            created: 1_700_000_000,
            neutral: &Neutral::default(),
            media: &FetchedMedia::default(),
            conversation: None,
            seals: None,
        };
        let model_json = Value::from(model).to_string().into();
        let way = between(Kind::Chat, client, upstream).expect("a way");
        let sent = way.up(&ask, &aim(model, model, &model_json, value["stream"] == true));
        let sent = sent.unwrap_or_else(|refused| panic!("{refused}")).remove(0);
        let SentBody::Bytes(parts) = sent.body else { panic!("bytes were asked for") };
        Self { way, sent: serde_json::from_slice(&parts.concat()).expect("JSON"), kept: sent.kept }
    }

    /// What the client gets of a stream that comes in these pieces, without pings, which tell when and not what.
    pub(crate) fn stream(&self, answer: &[u8], cuts: &[usize]) -> String {
        let mut transcode = self.way.events(&self.kept).expect("events");
        let (mut out, mut seen) = (BytesMut::new(), Sighting::machinery());
        play(answer, cuts, |frame| {
            let sighting = transcode.frame(frame, Depth::Opening { want_text: false }, &mut out);
            seen.merge(sighting.expect("readable"));
        });
        seen.merge(transcode.end(&mut out));
        match seen.error() {
            Some(error) => transcode.fail(error, &mut out),
            None => transcode.trailer(&mut out),
        }
        let told = frames(&out).filter(|frame| !frame.is_comment()).map(|frame| frame.raw);
        String::from_utf8(told.collect::<Vec<_>>().concat()).expect("text")
    }

    /// What the client gets of an answer that was collected.
    pub(crate) fn whole(&self, answer: &[u8], form: dialect::AnswerForm) -> Result<Bytes, ir::Error> {
        let bytes = Bytes::copy_from_slice(answer);
        self.way.whole(&[Answered { bytes, form, content_type: None }], &self.kept).map(|whole| whole.bytes)
    }
}
