//! Counting by an upstream of another dialect: the request that would be asked, in the wrapping in which the provider
//! counts it.
//!
//! Sources: <https://ai.google.dev/api/tokens>,
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>.

use serde_json::{Map, Value, json};

use super::{Answered, Ask, Conversion, JSON, Kept, Refused, Sent, SentBody, Transcode, Whole, inbound};
use crate::aim::Google;
use crate::{Aim, Dialect, Malformed, Sighting, Unsupported, exact, ir, surrogates};

/// The way to an upstream of this dialect that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThroughCount(Dialect);

/// The way to an upstream, where it counts.
pub(super) fn way(upstream: Dialect) -> Option<&'static ThroughCount> {
    match upstream {
        Dialect::Gemini => Some(&ThroughCount(Dialect::Gemini)),
        Dialect::Converse => Some(&ThroughCount(Dialect::Converse)),
        _ => None,
    }
}

impl Conversion for ThroughCount {
    fn up(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<Sent>, Refused> {
        let Some(inbound) = inbound(ask.client) else {
            let message = "this request can only go to channels of its own format".to_owned();
            return Err(Unsupported { message, param: None }.into());
        };
        if aim.as_json {
            // What a channel adds to requests has no place in this one.
            let message = "requests of this channel are changed in ways that are not counted".to_owned();
            return Err(Unsupported { message, param: None }.into());
        }
        let (request, _) = ask.neutral.chat(inbound, ask)?;
        let aimed = Aim { as_json: true, stream: false, ..*aim };
        let written = self.0.codec().upstream.outbound.request(request, &aimed, ask.media)?;
        let SentBody::Json(body) = written.body else {
            return Err(Malformed::new("the request is no JSON object").into());
        };
        let body = match self.0 {
            Dialect::Converse => converse(body),
            _ => gemini(body, aim),
        };
        let body = SentBody::Bytes(vec![exact::json_bytes(&body).into()]);
        Ok(vec![Sent { body, content_type: Some(JSON), kept: ask.kept(aim, self.0) }])
    }

    fn whole(&self, answers: &[Answered], kept: &Kept) -> Result<Whole, ir::Error> {
        let [answer] = answers else {
            return Err(Malformed::new("upstream sent more than one answer").into_answer_error());
        };
        let field = if self.0 == Dialect::Converse { "inputTokens" } else { "totalTokens" };
        let answer: Option<Value> = surrogates::read(&answer.unmarked()).ok();
        let count = answer.as_ref().and_then(|answer| answer.get(field)).and_then(Value::as_u64);
        let Some(count) = count else {
            return Err(Malformed::new("upstream sent no count of tokens").into_answer_error());
        };
        let told = match kept.client {
            Dialect::Gemini => json!({ "totalTokens": count }),
            Dialect::Responses => json!({ "object": "response.input_tokens", "input_tokens": count }),
            _ => json!({ "input_tokens": count }),
        };
        let sighting = Sighting { content: true, finished: true, done: true, ..Sighting::default() };
        Ok(Whole { bytes: told.to_string().into(), content_type: JSON, sighting })
    }

    fn events(&self, _kept: &Kept) -> Option<Box<dyn Transcode>> {
        None
    }
}

/// At AI Studio the whole request stands within another one and names its model again; on Vertex AI its fields do.
fn gemini(mut body: Map<String, Value>, aim: &Aim<'_>) -> Map<String, Value> {
    if aim.envelope.google == Google::Vertex {
        body.retain(|name, _| {
            matches!(name.as_str(), "contents" | "systemInstruction" | "tools" | "generationConfig")
        });
        return body;
    }
    let name = if aim.model.contains('/') { aim.model.to_owned() } else { format!("models/{}", aim.model) };
    body.insert("model".to_owned(), name.into());
    Map::from_iter([("generateContentRequest".to_owned(), Value::Object(body))])
}

fn converse(mut body: Map<String, Value>) -> Map<String, Value> {
    let known = ["messages", "system", "toolConfig", "additionalModelRequestFields"];
    body.retain(|name, _| known.contains(&name.as_str()));
    Map::from_iter([("input".to_owned(), json!({ "converse": body }))])
}
