//! How tokens are drawn, what the answer is made of, and what is filtered: `generationConfig` and what stands beside it.
//!
//! Source: <https://ai.google.dev/api/generate-content#generationconfig>. Limits are in tokens.

use serde_json::{Map, Number, Value, json};

use super::extras::Extras;
use crate::aim::Google;
use crate::gemini::model::{Answers, Model};
use crate::gemini::schema;
use crate::gemini::sound::SAMPLES;
use crate::ir::{Request, ResponseFormat};
use crate::{Aim, Unsupported};

/// Most strings that end an answer.
const MOST_STOPS: usize = 5;
/// Most candidates of one answer.
const MOST_CANDIDATES: u64 = 8;
/// Most likely tokens that are told in the place of one.
const MOST_LOGPROBS: u64 = 20;
/// The voice where the client names none.
const VOICE: &str = "Kore";
/// Voices of OpenAI's, and one of Google's that is like it.
const VOICES: [(&str, &str); 13] = [
    ("alloy", "Kore"),
    ("ash", "Orus"),
    ("ballad", "Algieba"),
    ("cedar", "Iapetus"),
    ("coral", "Aoede"),
    ("echo", "Charon"),
    ("fable", "Puck"),
    ("marin", "Sulafat"),
    ("nova", "Leda"),
    ("onyx", "Alnilam"),
    ("sage", "Vindemiatrix"),
    ("shimmer", "Zephyr"),
    ("verse", "Fenrir"),
];

/// The form that an answer is to have, and what of that has to be told in words.
pub(super) struct Form {
    mime: Option<&'static str>,
    schema: Option<Value>,
    pub(super) words: Option<String>,
}

impl Form {
    /// The form of the answer. Beside functions older models know none, and pictures and speech have none.
    pub(super) fn of(request: &Request, model: &Model, calls: bool) -> Self {
        let takes = model.answers == Answers::Text && (!calls || model.is_third);
        let unless_called = if calls { "Unless you call a tool, respond" } else { "Respond" };
        match &request.response_format {
            None | Some(ResponseFormat::Text) => Self { mime: None, schema: None, words: None },
            Some(ResponseFormat::JsonObject) if takes => {
                Self { mime: Some("application/json"), schema: None, words: None }
            }
            Some(ResponseFormat::JsonObject) => {
                let words = format!("{unless_called} with a single JSON object and nothing else.");
                Self { mime: None, schema: None, words: Some(words) }
            }
            Some(ResponseFormat::JsonSchema { schema, description, .. }) if takes => {
                let mut schema = schema::sanitised(schema, true);
                if let (Some(words), Some(map)) = (description, schema.as_object_mut()) {
                    map.entry("description").or_insert_with(|| words.as_str().into());
                }
                Self { mime: Some("application/json"), schema: Some(schema), words: None }
            }
            Some(ResponseFormat::JsonSchema { schema, .. }) => {
                let words = format!(
                    "{unless_called} with a single JSON value and nothing else. It must match this JSON schema: {schema}"
                );
                Self { mime: None, schema: None, words: Some(words) }
            }
        }
    }
}

/// Refuses what no request of this dialect can say.
pub(super) fn check(request: &Request, model: &Model) -> Result<(), Unsupported> {
    let sampling = &request.sampling;
    if stops(request).count() > MOST_STOPS {
        return Err(Unsupported::at("stop", "this upstream takes at most 5 stop sequences"));
    }
    if sampling.n.is_some_and(|n| n > MOST_CANDIDATES) {
        return Err(Unsupported::at("n", "this upstream gives at most 8 answers at a time"));
    }
    if sampling.logit_bias.as_ref().is_some_and(|bias| bias.as_object().is_some_and(|bias| !bias.is_empty()))
    {
        return Err(Unsupported::at("logit_bias", "this upstream takes no weights of tokens"));
    }
    if speaks(request, model) && sound(request).is_none() {
        return Err(Unsupported::at("audio.format", "this upstream speaks in wav or pcm16"));
    }
    Ok(())
}

/// The form of sound that the client wants, as far as there is a choice; none where it cannot be had.
pub(super) fn sound(request: &Request) -> Option<Option<&'static str>> {
    let format = request.audio.as_ref().and_then(|audio| audio.get("format")).and_then(Value::as_str);
    match format {
        None | Some("wav" | "") => Some(None),
        Some("pcm16" | "pcm") => Some(Some(SAMPLES)),
        Some(_) => None,
    }
}

fn speaks(request: &Request, model: &Model) -> bool {
    model.answers == Answers::Speech
        || request.audio.is_some()
        || request.modalities.iter().any(|form| form.eq_ignore_ascii_case("audio"))
}

fn stops(request: &Request) -> impl Iterator<Item = &str> {
    request.sampling.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty())
}

/// `generationConfig`.
pub(super) fn generation(
    request: &Request,
    aim: &Aim<'_>,
    model: &Model,
    form: Form,
    thinking: Option<Map<String, Value>>,
    extras: &mut Extras,
) -> Map<String, Value> {
    let sampling = &request.sampling;
    let mut config = Map::new();
    let mut insert = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    insert("temperature", sampling.temperature.clone().map(Value::Number));
    insert("topP", sampling.top_p.clone().map(Value::Number));
    insert("topK", sampling.top_k.map(Value::from));
    insert("maxOutputTokens", model.limit(sampling.max_tokens, aim.envelope.google).map(Value::from));
    let stops: Vec<&str> = stops(request).collect();
    insert("stopSequences", (!stops.is_empty()).then(|| stops.into()));
    insert("seed", sampling.seed.as_ref().and_then(seed));
    insert("candidateCount", sampling.n.filter(|n| *n > 1).map(Value::from));
    if model.penalties {
        let penalty =
            |penalty: &Option<Number>| penalty.clone().filter(|penalty| penalty.as_f64() != Some(0.0));
        insert("presencePenalty", penalty(&sampling.presence_penalty).map(Value::Number));
        insert("frequencyPenalty", penalty(&sampling.frequency_penalty).map(Value::Number));
    }
    if sampling.logprobs == Some(true) {
        insert("responseLogprobs", Some(true.into()));
        let most = sampling.top_logprobs.filter(|count| *count > 0);
        insert("logprobs", most.map(|count| count.min(MOST_LOGPROBS).into()));
    }
    insert("responseMimeType", form.mime.map(Value::from));
    insert("responseSchema", form.schema);
    insert("responseModalities", modalities(request, model));
    insert("speechConfig", speaks(request, model).then(|| speech(request)));
    insert("imageConfig", extras.take_pictures());
    insert("mediaResolution", extras.take_resolution());
    insert("thinkingConfig", extras.take_thinking().or(thinking.map(Value::Object)));
    config
}

/// A seed of 32 bits; of a larger one those that are left.
fn seed(seed: &Number) -> Option<Value> {
    let whole = seed.as_i64().or_else(|| seed.as_f64().map(|seed| seed as i64))?;
    Some(i32::try_from(whole).map_or_else(|_| (whole & i64::from(i32::MAX)).into(), Value::from))
}

/// `responseModalities`; none where text is all.
fn modalities(request: &Request, model: &Model) -> Option<Value> {
    if model.answers == Answers::Speech {
        return Some(json!(["AUDIO"]));
    }
    let mut forms: Vec<String> = Vec::new();
    for form in &request.modalities {
        let form = form.to_ascii_uppercase();
        if matches!(form.as_str(), "TEXT" | "IMAGE" | "AUDIO") && !forms.contains(&form) {
            forms.push(form);
        }
    }
    if request.audio.is_some() && !forms.iter().any(|form| form == "AUDIO") {
        forms.push("AUDIO".to_owned());
    }
    if forms.is_empty() && model.answers == Answers::Pictures {
        forms = vec!["TEXT".to_owned(), "IMAGE".to_owned()];
    }
    // Sound comes alone: what is said is its text.
    if forms.iter().any(|form| form == "AUDIO") {
        forms.retain(|form| form == "AUDIO");
    }
    (!forms.is_empty() && forms != ["TEXT"]).then(|| forms.into())
}

fn speech(request: &Request) -> Value {
    let voice = request.audio.as_ref().and_then(|audio| audio.get("voice"));
    let voice = voice.and_then(|voice| voice.get("id").unwrap_or(voice).as_str());
    let voice = voice.filter(|voice| !voice.is_empty()).unwrap_or(VOICE);
    let known = VOICES.iter().find(|(theirs, _)| voice.eq_ignore_ascii_case(theirs));
    let voice = known.map_or(voice, |(_, ours)| ours);
    json!({ "voiceConfig": { "prebuiltVoiceConfig": { "voiceName": voice } } })
}

/// `safetySettings` where the client gives none: nothing is filtered, as with other providers.
pub(super) fn safety(model: &Model) -> Value {
    let threshold = if model.turns_filters_off() { "OFF" } else { "BLOCK_NONE" };
    let setting = |category: &str, threshold: &str| json!({ "category": category, "threshold": threshold });
    json!([
        setting("HARM_CATEGORY_HARASSMENT", threshold),
        setting("HARM_CATEGORY_HATE_SPEECH", threshold),
        setting("HARM_CATEGORY_SEXUALLY_EXPLICIT", threshold),
        setting("HARM_CATEGORY_DANGEROUS_CONTENT", threshold),
        setting("HARM_CATEGORY_CIVIC_INTEGRITY", "BLOCK_NONE"),
    ])
}

/// `serviceTier`, which Vertex AI has in a header; none where the provider decides.
pub(super) fn tier(request: &Request, google: Google) -> Option<String> {
    let tier = request.service_tier.as_deref().filter(|_| google == Google::AiStudio)?;
    match tier {
        "" | "auto" => None,
        "default" | "standard_only" => Some("standard".to_owned()),
        tier => Some(tier.to_ascii_lowercase()),
    }
}
