//! Fields of Google's own that clients of OpenAI's format send: those of Google's own door for such clients, and bare.
//!
//! Source: <https://ai.google.dev/gemini-api/docs/openai> (`extra_body.google`). All others are left out, since an unknown
//! field spoils the whole request.

use serde_json::{Map, Value};

use crate::ir::Request;

/// The fields of a client that are in Google's words.
#[derive(Debug, Default)]
pub(super) struct Extras {
    thinking: Option<Value>,
    pictures: Option<Value>,
    resolution: Option<Value>,
    pub(super) safety: Option<Value>,
    pub(super) cached_content: Option<Value>,
    pub(super) labels: Option<Value>,
}

impl Extras {
    /// Reads the fields; what stands deeper comes first.
    pub(super) fn of(request: &Request) -> Self {
        let mut extras = Self::default();
        let extra = &request.extra;
        let wrapped = extra.get("extra_body").and_then(Value::as_object);
        let google = [wrapped.and_then(|body| body.get("google")), extra.get("google")];
        for fields in google.into_iter().flatten().filter_map(Value::as_object).chain(wrapped).chain([extra])
        {
            extras.read(fields);
        }
        extras
    }

    fn read(&mut self, fields: &Map<String, Value>) {
        let get = |names: [&str; 2]| {
            names.iter().find_map(|name| fields.get(*name)).filter(|value| !value.is_null())
        };
        let objects = |value: &&Value| value.is_object();
        for (place, names, is_nested) in [
            (&mut self.thinking, ["thinking_config", "thinkingConfig"], true),
            (&mut self.pictures, ["image_config", "imageConfig"], true),
            (&mut self.labels, ["labels", "labels"], false),
        ] {
            if place.is_none() {
                *place = get(names)
                    .filter(objects)
                    .map(|value| if is_nested { camel(value) } else { value.clone() });
            }
        }
        for (place, names) in [
            (&mut self.resolution, ["media_resolution", "mediaResolution"]),
            (&mut self.safety, ["safety_settings", "safetySettings"]),
            (&mut self.cached_content, ["cached_content", "cachedContent"]),
        ] {
            if place.is_none() {
                *place = get(names).cloned();
            }
        }
    }

    pub(super) fn take_thinking(&mut self) -> Option<Value> {
        self.thinking.take()
    }

    pub(super) fn take_pictures(&mut self) -> Option<Value> {
        self.pictures.take()
    }

    pub(super) fn take_resolution(&mut self) -> Option<Value> {
        self.resolution.take()
    }
}

/// An object with its names in Google's spelling.
fn camel(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let names = map.iter().map(|(name, value)| {
        let mut words = name.split('_');
        let mut camel = words.next().unwrap_or_default().to_owned();
        for word in words {
            let mut letters = word.chars();
            camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            camel.push_str(letters.as_str());
        }
        (camel, value.clone())
    });
    Value::Object(names.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Dialect;

    #[test]
    fn google_s_own_fields_are_read_in_all_their_places_and_no_others() {
        let mut request = Request::new(Dialect::OpenAiChat);
        let Value::Object(extra) = json!({
            "extra_body": { "google": { "thinking_config": { "thinking_budget": 7, "includeThoughts": true } } },
            "thinking_config": { "thinking_budget": 9 },
            "safetySettings": [{ "category": "c" }],
            "image_config": { "aspect_ratio": "1:1" },
            "enable_thinking": true,
        }) else {
            panic!("an object")
        };
        request.extra = extra;

        let mut extras = Extras::of(&request);

        assert_eq!(extras.take_thinking(), Some(json!({ "thinkingBudget": 7, "includeThoughts": true })));
        assert_eq!(extras.take_pictures(), Some(json!({ "aspectRatio": "1:1" })));
        assert_eq!(extras.safety, Some(json!([{ "category": "c" }])));
        assert_eq!(extras.cached_content, None);
    }
}
