//! Earlier responses: which of them a request names, the conversation that they are put together to, and what is told
//! of them.
//!
//! Source: <https://platform.openai.com/docs/guides/conversation-state>. Instructions are those of each request alone.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::ids;
use crate::kept::{Earlier, KeptAnswer, KeptCall};
use crate::lenient::Str;
use crate::surrogates::mended;
use crate::{Body, Malformed, ModelPlace, exact};

/// What is in every body that names something kept: the words themselves, or an escape that may stand for a letter of
/// them.
static NAMES: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    ["previous_response_id", "item_reference", "\"conversation\"", "\\u00"].map(Finder::new)
});
/// Most items of one request that are put in by name.
const MOST_ITEMS: usize = 256;
/// How many items a list holds unless the client says so, and the most.
const PAGE: (usize, usize) = (20, 100);

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    previous_response_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference<'a> {
    #[serde(borrow, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow)]
    id: Str<'a>,
    /// Without a type, an object with nothing but an identity is a reference too.
    #[serde(borrow)]
    role: Str<'a>,
}

/// The kept things that a request names.
///
/// # Errors
/// A body that cannot be read, or that names one twice; a conversation, of which nobody knows whose it is.
pub(crate) fn earlier(body: &[u8]) -> Result<Earlier, Malformed> {
    if !NAMES.iter().any(|name| name.find(body).is_some()) {
        return Ok(Earlier::default());
    }
    let body = mended(body);
    let named: Named<'_> = serde_json::from_slice(&body)
        .map_err(|error| Malformed::new(format!("the request body cannot be read: {error}")))?;
    if named.conversation.is_some_and(|value| value.get() != "null") {
        let what = "conversations are not kept here: go on with previous_response_id, or send all items";
        return Err(Malformed::at("conversation", what));
    }
    let list = named.input.map(RawValue::get).filter(|input| input.starts_with('['));
    let items: Vec<&RawValue> = list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    let mut referred = Vec::new();
    for item in items {
        let Ok(item) = serde_json::from_str::<Reference<'_>>(item.get()) else { continue };
        let is_reference = match item.kind.full() {
            Some(kind) => kind == "item_reference",
            None => item.role.full().is_none() && item.id.full().is_some(),
        };
        if is_reference {
            referred.push(item.id.owned().unwrap_or_default());
        }
    }
    if referred.len() > MOST_ITEMS {
        return Err(Malformed::at("input", format!("more than {MOST_ITEMS} items are named by their ids")));
    }
    let answer = named.previous_response_id.filter(|id| !id.is_empty()).map(Cow::into_owned);
    Ok(Earlier { answer, items: referred })
}

/// The name of a response.
pub(crate) fn name_of(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(borrow)]
        id: Str<'a>,
    }
    serde_json::from_slice::<Response<'_>>(answer).ok()?.id.owned()
}

/// A request with the conversation before it: what was asked, what was answered, what is asked now. `answers` are the
/// one that it goes on from, if any, then those of the items that it names.
///
/// # Errors
/// A body that cannot be read, an item that no answer has.
pub(crate) fn going_on(
    body: &[u8],
    earlier: &Earlier,
    answers: &[Arc<KeptAnswer>],
) -> Result<(Body, ModelPlace), Malformed> {
    let unreadable = |_| Malformed::new("the request body must be a JSON object");
    let mut map: Map<String, Value> = exact::read(body).map_err(unreadable)?;
    map.shift_remove("previous_response_id");
    let mut items = Vec::new();
    if earlier.answer.is_some()
        && let Some(before) = answers.first()
    {
        items.extend(input_of(&before.request));
        items.extend(output_of(&before.answer));
    }
    for item in listed(map.shift_remove("input").unwrap_or_default()) {
        let kind = item.get("type").and_then(Value::as_str);
        let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
        if kind != Some("item_reference") && !(kind.is_none() && item.get("role").is_none()) {
            items.push(item);
            continue;
        }
        let all = || {
            answers.iter().flat_map(|kept| output_of(&kept.answer).into_iter().chain(input_of(&kept.request)))
        };
        let found = all().find(|item| item.get("id").and_then(Value::as_str) == Some(id));
        let missing = || Malformed::at("input", format!("Item with id '{id}' not found."));
        items.push(found.ok_or_else(missing)?);
    }
    // The model comes first, so that it is known where it stands.
    let model = map.shift_remove("model").unwrap_or_default();
    let model = model.to_string();
    let start = b"{\"model\":".len();
    map.insert("input".to_owned(), items.into());
    let rest = exact::json_bytes(&map);
    let mut written = Vec::with_capacity(start + model.len() + rest.len());
    written.extend_from_slice(b"{\"model\":");
    written.extend_from_slice(model.as_bytes());
    written.push(b',');
    written.extend_from_slice(&rest[1..]);
    Ok((Body::Json(written.into()), ModelPlace::Json(start..start + model.len())))
}

/// The items of a request's input.
fn input_of(request: &[u8]) -> Vec<Value> {
    let map: Map<String, Value> = exact::read(request).unwrap_or_default();
    map.into_iter().find(|(name, _)| name == "input").map(|(_, input)| listed(input)).unwrap_or_default()
}

/// An input as a list of items: a text is the user's one message.
fn listed(input: Value) -> Vec<Value> {
    match input {
        Value::Array(items) => items,
        Value::String(text) => {
            vec![
                json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] }),
            ]
        }
        _ => Vec::new(),
    }
}

/// The items of an answer.
fn output_of(answer: &[u8]) -> Vec<Value> {
    let mut map: Map<String, Value> = exact::read(answer).unwrap_or_default();
    map.shift_remove("output").map(listed).unwrap_or_default()
}

/// What a client is told of a kept response.
///
/// # Errors
/// What cannot be asked of it.
pub(crate) fn told_of_kept(
    call: KeptCall,
    name: &str,
    kept: &KeptAnswer,
    query: &str,
) -> Result<Bytes, Malformed> {
    match call {
        KeptCall::Read if parameter(query, "stream") == Some("true") => {
            Err(Malformed::at("stream", "this response is complete, and is given as a whole only"))
        }
        KeptCall::Read => Ok(kept.answer.clone()),
        KeptCall::Forget => {
            Ok(Bytes::from(json!({ "id": name, "object": "response", "deleted": true }).to_string()))
        }
        KeptCall::Cancel => {
            Err(Malformed::at("response_id", "Cannot cancel a synchronous response: this one is complete."))
        }
        KeptCall::Input => Ok(input_list(name, kept, query)),
    }
}

/// The input of a response as a list, in pages, the last item first unless the client says otherwise.
fn input_list(name: &str, kept: &KeptAnswer, query: &str) -> Bytes {
    let seed = ids::seed(name);
    let mut items = input_of(&kept.request);
    for (index, item) in items.iter_mut().enumerate() {
        if let Value::Object(item) = item {
            item.entry("type").or_insert_with(|| "message".into());
            item.entry("id").or_insert_with(|| format!("in_{seed}_{index}").into());
            // Lists hold messages in parts.
            if let Some(Value::String(text)) = item.get("content") {
                let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
                let mut part = json!({ "type": kind, "text": text });
                if kind == "output_text" {
                    part["annotations"] = json!([]);
                }
                item.insert("content".to_owned(), json!([part]));
            }
        }
    }
    if parameter(query, "order") != Some("asc") {
        items.reverse();
    }
    let id_of = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    if let Some(after) = parameter(query, "after") {
        let behind =
            items.iter().position(|item| id_of(item).as_deref() == Some(after)).map_or(0, |at| at + 1);
        items.drain(..behind);
    }
    let limit =
        parameter(query, "limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let (first, last) = (items.first().and_then(id_of), items.last().and_then(id_of));
    let mut list = Map::new();
    list.insert("object".to_owned(), "list".into());
    list.insert("data".to_owned(), items.into());
    list.insert("first_id".to_owned(), first.into());
    list.insert("last_id".to_owned(), last.into());
    list.insert("has_more".to_owned(), has_more.into());
    exact::json_bytes(&list).into()
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(body: &str) -> Earlier {
        earlier(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_request_names_is_found_however_it_is_written() {
        for body in [
            r#"{"previous_response_id":"resp_1","input":"x"}"#,
            r#"{"previous\u005fresponse_id":"resp_1","input":"x"}"#,
            r#"{"input":[],"previous_response_id":"resp\u005f1"}"#,
        ] {
            assert_eq!(named(body).answer.as_deref(), Some("resp_1"), "{body}");
        }
        for body in [
            r#"{"input":[{"type":"item_reference","id":"msg_1"},{"role":"user","content":"x"}]}"#,
            r#"{"input":[{"type":"item\u005freference","id":"msg_1"}]}"#,
            r#"{"input":[{"id":"msg_1","x":"item_reference"}]}"#,
        ] {
            assert_eq!(named(body).items, ["msg_1"], "{body}");
        }
        for body in [
            r#"{"input":"previous_response_id"}"#,
            r#"{"previous_response_id":null,"input":[{"role":"user","content":"item_reference"}]}"#,
            r#"{"input":"x"}"#,
        ] {
            assert!(named(body).is_empty(), "{body}");
        }
    }

    #[test]
    fn what_nobody_knows_whose_it_is_is_refused() {
        for body in [
            r#"{"conversation":"conv_1","input":"x"}"#,
            r#"{"conversation":{"id":"conv_1"},"input":"x"}"#,
            r#"{"previous_response_id":"a","previous_response_id":"b"}"#,
            r#"{"previous_response_id":7}"#,
        ] {
            assert!(earlier(body.as_bytes()).is_err(), "{body}");
        }
        assert!(named(r#"{"conversation":null,"input":"x"}"#).is_empty());
    }

    fn kept() -> Arc<KeptAnswer> {
        let request = r#"{"model":"m","input":"one","instructions":"I"}"#;
        let answer = r#"{"id":"resp_uniapi_a","output":[{"id":"msg_uniapi_a_0","type":"message","role":"assistant",
            "content":[{"type":"output_text","text":"two","annotations":[]}]}]}"#;
        Arc::new(KeptAnswer::new(request, answer))
    }

    #[test]
    fn a_conversation_is_put_together_from_what_was_asked_and_answered() {
        let body = r#"{"input":"three","previous_response_id":"resp_uniapi_a","model":"n","x":123456789012345678901}"#;

        let (whole, place) = going_on(body.as_bytes(), &named(body), &[kept()]).unwrap();

        let json = whole.json().unwrap();
        let ModelPlace::Json(span) = place else { panic!("no place") };
        assert_eq!(&json[span], b"\"n\"");
        assert!(json.ends_with(b"}") && memchr::memmem::find(json, b"123456789012345678901").is_some());
        let value: Value = serde_json::from_slice(json).unwrap();
        let said: Vec<&str> = value["input"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["content"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(said, ["one", "two", "three"]);
        assert!(value.get("previous_response_id").is_none() && value.get("instructions").is_none());
    }

    #[test]
    fn an_item_by_its_name_is_the_item_and_one_that_nobody_has_is_refused() {
        let body = |id: &str| {
            json!({ "model": "m", "input": [{ "type": "item_reference", "id": id }, { "role": "user", "content": "x" }] })
                .to_string()
        };
        let found = body("msg_uniapi_a_0");

        let (whole, _) = going_on(found.as_bytes(), &named(&found), &[kept()]).unwrap();

        let value: Value = serde_json::from_slice(whole.json().unwrap()).unwrap();
        assert_eq!(value["input"][0]["content"][0]["text"], "two");
        let missing = body("msg_uniapi_a_1");
        assert!(going_on(missing.as_bytes(), &named(&missing), &[kept()]).is_err());
    }

    #[test]
    fn the_input_is_listed_in_pages() {
        let items: Vec<Value> =
            (0..30).map(|n| json!({ "role": "user", "content": n.to_string() })).collect();
        let kept = KeptAnswer::new(json!({ "input": items }).to_string(), "{}");
        let list = |query: &str| -> Value {
            let told = told_of_kept(KeptCall::Input, "resp_uniapi_a", &kept, query).unwrap();
            serde_json::from_slice(&told).unwrap()
        };
        let texts = |list: &Value| -> Vec<String> {
            let text = |item: &Value| item["content"][0]["text"].as_str().unwrap().to_owned();
            list["data"].as_array().unwrap().iter().map(text).collect()
        };

        let first = list("");
        let next = list(&format!("after={}", first["last_id"].as_str().unwrap()));
        let ascending = list("order=asc&limit=2");

        assert_eq!(
            (texts(&first).len(), texts(&first)[0].as_str(), &first["has_more"]),
            (20, "29", &json!(true))
        );
        assert_eq!(
            (texts(&next).len(), texts(&next)[0].as_str(), &next["has_more"]),
            (10, "9", &json!(false))
        );
        assert_eq!(texts(&ascending), ["0", "1"]);
    }

    #[test]
    fn what_is_complete_can_be_read_and_not_be_cancelled() {
        let told = |call, query| told_of_kept(call, "resp_1", &kept(), query);

        assert_eq!(told(KeptCall::Read, ""), Ok(kept().answer.clone()));
        assert!(told(KeptCall::Read, "stream=true").is_err() && told(KeptCall::Cancel, "").is_err());
        assert!(told(KeptCall::Forget, "").is_ok());
    }
}
