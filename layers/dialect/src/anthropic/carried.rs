//! Seals of other makers within the blocks of this dialect, which has a place for Anthropic's own alone.
//!
//! A client of this dialect sends thoughts back as they came, with their signature, and what is redacted too. So the
//! seal of another maker travels there, behind a mark and its maker's name: `uni-api:google:own:…`. On its way back
//! the mark tells whose it is, and no upstream is given the seal of another. Signatures of Anthropic's are base64 and
//! never begin so.

use serde_json::{Map, Value};

use crate::ir::{Maker, Seal};

/// What no signature of Anthropic's begins with.
pub(super) const MARK: &str = "uni-api:";
/// The mark as a text in JSON begins with it.
const MARK_IN_JSON: &[u8] = b"\"uni-api:";
/// The signature of a thought that nobody has sealed: clients want one.
pub(super) const UNSEALED: &str = "uni-api:none";

/// The makers by the names that are written.
const MAKERS: [(Maker, &str); 4] = [
    (Maker::Anthropic, "anthropic"),
    (Maker::Google, "google"),
    (Maker::OpenAi, "openai"),
    (Maker::Xai, "xai"),
];

/// The block whose seal is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The thought that carries it.
    Own,
    /// The block behind: a call.
    Next,
    /// The block before: a text.
    Last,
}

/// The places by the names that are written.
const PLACES: [(Place, &str); 3] = [(Place::Own, "own"), (Place::Next, "next"), (Place::Last, "last")];

/// The content of a signature, or of the data of a redacted thought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// Anthropic's own words.
    Native(String),
    /// The seal of a maker, and of which block.
    Seal(Place, Seal),
    /// Nothing that anybody could believe.
    Nothing,
}

/// The text in which a seal travels: Anthropic's own as it is, on a thought.
pub(super) fn written(seal: &Seal, place: Place) -> String {
    if seal.maker == Maker::Anthropic && place == Place::Own {
        return seal.data.clone();
    }
    let maker = MAKERS.iter().find(|(maker, _)| *maker == seal.maker).map_or("", |(_, name)| name);
    let place = PLACES.iter().find(|(one, _)| *one == place).map_or("", |(_, name)| name);
    format!("{MARK}{maker}:{place}:{}", seal.data)
}

/// Reads such a text.
pub(super) fn read(text: String) -> Carried {
    let Some(marked) = text.strip_prefix(MARK) else {
        return if text.is_empty() { Carried::Nothing } else { Carried::Native(text) };
    };
    let mut parts = marked.splitn(3, ':');
    let (maker, place) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let maker = MAKERS.iter().find(|(_, name)| *name == maker).map(|(maker, _)| *maker);
    let place = PLACES.iter().find(|(_, name)| *name == place).map(|(place, _)| *place);
    match (maker, place, parts.next().filter(|data| !data.is_empty())) {
        (Some(maker), Some(place), Some(data)) => Carried::Seal(place, Seal { maker, data: data.to_owned() }),
        _ => Carried::Nothing,
    }
}

/// Whether a body may hold what Anthropic would refuse: something that was written here on behalf of others.
pub(super) fn may_be_in(body: &[u8]) -> bool {
    memchr::memmem::find(body, MARK_IN_JSON).is_some()
}

/// Takes out of a body what Anthropic would refuse: thoughts of others, and sources that others have named. Thinking
/// is turned off where the turn that is under way has lost the thoughts before its calls, as it would be refused.
pub(super) fn take_out(body: &mut Map<String, Value>) {
    let mut took = false;
    let Some(Value::Array(messages)) = body.get_mut("messages") else { return };
    for blocks in messages.iter_mut().filter_map(|message| message.get_mut("content")?.as_array_mut()) {
        let before = blocks.len();
        blocks.retain(|block| {
            let field = if block["type"] == "redacted_thinking" { "data" } else { "signature" };
            !block.get(field).is_some_and(is_marked)
        });
        took |= blocks.len() < before;
        for block in blocks.iter_mut().filter_map(Value::as_object_mut) {
            let Some(Value::Array(citations)) = block.get_mut("citations") else { continue };
            citations.retain(|citation| !citation.get("encrypted_index").is_some_and(is_marked));
            if citations.is_empty() {
                block.shift_remove("citations");
            }
        }
    }
    // A turn may not be empty.
    messages.retain(|message| message["content"].as_array().is_none_or(|blocks| !blocks.is_empty()));
    if took && lacks_its_thinking(messages) && body.get("thinking").is_some_and(has_budget) {
        body.shift_remove("thinking");
    }
}

fn is_marked(text: &Value) -> bool {
    text.as_str().is_some_and(|text| text.starts_with(MARK))
}

fn has_budget(thinking: &Value) -> bool {
    thinking["type"] == "enabled"
}

/// Whether the last turn of the model has calls, no thought before them, and their results behind it.
fn lacks_its_thinking(messages: &[Value]) -> bool {
    let [.., answer, last] = messages else { return false };
    let holds = |message: &Value, kind: &str| {
        message["content"].as_array().is_some_and(|blocks| blocks.iter().any(|block| block["type"] == kind))
    };
    let first = &answer["content"][0]["type"];
    answer["role"] == "assistant"
        && holds(answer, "tool_use")
        && holds(last, "tool_result")
        && first != "thinking"
        && first != "redacted_thinking"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seal(maker: Maker) -> Seal {
        Seal { maker, data: "c2ln:bmF0dXJl==".to_owned() }
    }

    #[test]
    fn a_seal_of_every_maker_comes_back_as_it_was_and_anthropic_s_is_written_as_it_is() {
        for (maker, _) in MAKERS {
            for (place, _) in PLACES {
                let text = written(&seal(maker), place);
                let native = maker == Maker::Anthropic && place == Place::Own;

                assert_eq!(text.starts_with(MARK), !native, "{text}");
                let expected = match native {
                    true => Carried::Native(seal(maker).data),
                    false => Carried::Seal(place, seal(maker)),
                };
                assert_eq!(read(text), expected);
            }
        }
    }

    #[test]
    fn what_is_no_seal_is_nothing_to_anybody() {
        for text in
            ["", UNSEALED, "uni-api:", "uni-api:nobody:own:x", "uni-api:google:own:", "uni-api:google:x:y"]
        {
            assert_eq!(read(text.to_owned()), Carried::Nothing, "{text}");
        }
        assert_eq!(read("EqQB".to_owned()), Carried::Native("EqQB".to_owned()));
    }

    fn taken(body: Value) -> Value {
        let text = body.to_string();
        assert!(may_be_in(text.as_bytes()));
        let Value::Object(mut map) = body else { panic!("an object") };
        take_out(&mut map);
        Value::Object(map)
    }

    #[test]
    fn anthropic_is_sent_no_thought_and_no_source_of_others() {
        let thought =
            |signature: &str| json!({ "type": "thinking", "thinking": "T", "signature": signature });
        let web = |index: &str| json!({ "type": "web_search_result_location", "encrypted_index": index });
        let said = |citations: Value| json!({ "type": "text", "text": "A", "citations": citations });

        let body = taken(json!({ "messages": [
            { "role": "user", "content": "uni-api: is a name" },
            { "role": "assistant", "content": [
                thought("uni-api:none"), thought("EqQB"),
                { "type": "redacted_thinking", "data": "uni-api:google:next:x" },
                { "type": "redacted_thinking", "data": "Eq" },
                said(json!([web("uni-api:"), web("Eo8")])), said(json!([web("uni-api:")])),
            ]},
            { "role": "user", "content": [] },
            { "role": "assistant", "content": [thought("uni-api:openai:own:x")] },
        ]}));

        assert_eq!(
            body,
            json!({ "messages": [
                { "role": "user", "content": "uni-api: is a name" },
                { "role": "assistant", "content": [
                    thought("EqQB"), { "type": "redacted_thinking", "data": "Eq" },
                    said(json!([web("Eo8")])), { "type": "text", "text": "A" },
                ]},
            ]})
        );
    }

    #[test]
    fn a_call_that_has_lost_its_thoughts_is_gone_on_from_without_thinking() {
        let loop_after = |first: Value, last: Value| {
            let body = json!({
                "thinking": { "type": "enabled", "budget_tokens": 2000 },
                "messages": [
                    { "role": "user", "content": "U" },
                    { "role": "assistant", "content": [
                        { "type": "thinking", "thinking": "", "signature": "uni-api:none" }, first,
                        { "type": "tool_use", "id": "t", "name": "f", "input": {} },
                    ]},
                    { "role": "user", "content": [last] },
                ],
            });
            taken(body).get("thinking").is_some()
        };
        let text = json!({ "type": "text", "text": "A" });
        let result = json!({ "type": "tool_result", "tool_use_id": "t" });

        assert!(!loop_after(text.clone(), result.clone()));
        assert!(loop_after(json!({ "type": "redacted_thinking", "data": "Eq" }), result));
        assert!(loop_after(text.clone(), text));
    }
}
