use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::framing::event_stream::{HeaderValue as HeaderText, encode};
use crate::framing::wrap_invoke;
use crate::{Betas, Envelope, Form, Place, Quirks};

/// A client's request, and where it is aimed.
struct Case {
    client: Dialect,
    kind: Kind,
    body: Body,
    place: ModelPlace,
    stream: bool,
    neutral: Neutral,
    media: FetchedMedia,
}

const QUIRKS: Quirks = Quirks { stream_options: true, ..Quirks::NONE };
static MODEL_JSON: Bytes = Bytes::from_static(b"\"up\"");
const VERTEX: Envelope = Envelope::VERTEX_CLAUDE;
const BEDROCK: Envelope = Envelope {
    model: Place::Path,
    stream: Place::Path,
    adds: &[("anthropic_version", "bedrock-2023-05-31")],
    betas: Betas::Body,
    fetches_media: true,
    ..Envelope::PLAIN
};

impl Case {
    fn new(client: Dialect, json: &str) -> Self {
        let start = json.find("\"alias\"").expect("the alias");
        let stream = json.contains("\"stream\":true");
        Self {
            client,
            kind: Kind::Chat,
            body: Body::Json(Bytes::copy_from_slice(json.as_bytes())),
            place: ModelPlace::Json(start..start + "\"alias\"".len()),
            stream,
            neutral: Neutral::default(),
            media: FetchedMedia::default(),
        }
    }

    fn chat(json: &str) -> Self {
        Self::new(Dialect::OpenAiChat, json)
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            kind: self.kind,
            client: self.client,
            body: &self.body,
            query: "",
            model_place: &self.place,
            stream: self.stream,
            want_text: false,
            id: "r1",
            created: 7,
            neutral: &self.neutral,
            media: &self.media,
            conversation: None,
            seals: None,
            answers: None,
            previous: None,
        }
    }

    fn way(&self, upstream: Dialect) -> &'static dyn Conversion {
        between(self.kind, self.client, upstream).expect("a way")
    }

    fn sent(&self, upstream: Dialect, aim: Aim<'_>) -> Sent {
        let mut sent = self.way(upstream).up(&self.ask(), &aim).expect("expressible");
        assert_eq!(sent.len(), 1);
        sent.remove(0)
    }
}

fn aim(stream: bool) -> Aim<'static> {
    Aim {
        alias: "alias",
        model: "up",
        model_json: &MODEL_JSON,
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

fn parts(sent: &Sent) -> &[Bytes] {
    match &sent.body {
        SentBody::Bytes(parts) => parts,
        SentBody::Json(map) => panic!("{map:?}"),
    }
}

fn text(sent: &Sent) -> String {
    String::from_utf8(parts(sent).concat()).expect("text")
}

fn value(sent: &Sent) -> Value {
    serde_json::from_slice(&parts(sent).concat()).expect("JSON")
}

fn answered(bytes: &str, form: AnswerForm) -> [Answered; 1] {
    [Answered { bytes: Bytes::copy_from_slice(bytes.as_bytes()), form, content_type: None }]
}

// === equal dialects ===

#[test]
fn between_equal_dialects_only_the_model_changes() {
    let case = Case::chat(r#" {"x": 1.0, "model":"alias","messages":[] }"#);

    let sent = case.sent(Dialect::OpenAiChat, aim(false));

    assert_eq!(text(&sent), r#" {"x": 1.0, "model":"up","messages":[] }"#);
    assert_eq!(sent.content_type, Some(HeaderValue::from_static("application/json")));
}

#[test]
fn a_body_with_the_right_model_is_not_touched_and_a_long_one_not_copied() {
    let body = format!(r#"{{"model":"alias","pad":"{}"}}"#, "x".repeat(100_000));
    let case = Case::chat(&body);
    let place = case.body.json().expect("JSON").as_ptr().addr();
    let own = Aim { model: "alias", model_json: &Bytes::from_static(b"\"alias\""), ..aim(false) };

    let untouched = case.sent(Dialect::OpenAiChat, own);
    let spliced = case.sent(Dialect::OpenAiChat, aim(false));

    assert_eq!(parts(&untouched)[0].as_ptr().addr(), place);
    assert_eq!(text(&spliced), body.replace("alias", "up"));
    let last = parts(&spliced).last().expect("parts");
    assert_eq!(last.as_ptr().addr(), place + r#"{"model":"alias""#.len());
}

#[test]
fn usage_is_asked_for_and_hidden_where_the_aim_says_so() {
    let asking = Aim { ask_usage: true, ..aim(true) };
    let short = Case::chat(r#"{"model":"alias","stream":true}"#);
    let long = Case::chat(&format!(r#"{{"model":"alias","stream":true,"pad":"{}"}}"#, "x".repeat(40_000)));

    for case in [&short, &long] {
        let sent = case.sent(Dialect::OpenAiChat, asking);

        assert_eq!(value(&sent)["stream_options"], json!({ "include_usage": true }));
        assert_eq!(value(&sent)["model"], "up");
        assert!(sent.kept.hides_usage());
    }
    let merged = short.sent(Dialect::OpenAiChat, Aim { as_json: true, ..asking });
    let SentBody::Json(map) = merged.body else { panic!("a value") };
    assert_eq!(map["stream_options"], json!({ "include_usage": true }));
}

#[test]
fn a_wish_of_null_is_replaced_wherever_it_stands_and_the_word_elsewhere_is_none() {
    let asking = Aim { ask_usage: true, ..aim(true) };
    let pad = "x".repeat(40_000);
    for body in [
        r#"{"model":"alias","stream":true,"stream_options": null }"#.to_owned(),
        r#"{"stream_options":null,"model":"alias","stream":true}"#.to_owned(),
        format!(r#"{{"stream_options":null,"model":"alias","stream":true,"pad":"{pad}"}}"#),
        format!(r#"{{"model":"alias","stream":true,"pad":"{pad}","stream_options":null}}"#),
        r#"{"model":"alias","stream":true,"tools":[{"stream_options":null}]}"#.to_owned(),
    ] {
        let case = Case::chat(&body);
        let sent = case.sent(Dialect::OpenAiChat, asking);

        let mut expected: Value = serde_json::from_str(&body).expect("JSON");
        expected["stream_options"] = json!({ "include_usage": true });
        expected["model"] = json!("up");
        assert_eq!(value(&sent), expected, "{body}");
        let once = usize::from(body.contains("tools")) + 1;
        assert_eq!(text(&sent).matches("\"stream_options\"").count(), once, "{body}");
        assert!(sent.kept.hides_usage());
        let SentBody::Json(map) = case.sent(Dialect::OpenAiChat, Aim { as_json: true, ..asking }).body else {
            panic!("a value")
        };
        assert_eq!(Value::Object(map), expected);
    }
}

#[test]
fn a_wish_of_the_client_s_own_is_left_as_it_is() {
    let asking = Aim { ask_usage: true, ..aim(true) };
    for wish in [r#"{"include_usage":false}"#, r#"{"other":1}"#, "7", r#"null,"stream_options":null"#] {
        let body = format!(r#"{{"model":"alias","stream":true,"stream_options":{wish}}}"#);

        let sent = Case::chat(&body).sent(Dialect::OpenAiChat, asking);

        assert_eq!(text(&sent), body.replace("alias", "up"));
        assert!(!sent.kept.hides_usage());
    }
}

#[test]
fn what_a_channel_does_not_take_is_left_out_in_each_dialects_words() {
    let bare = Aim { tools: false, image: false, ..aim(false) };
    let chat = Case::chat(
        r#"{"model":"alias","tools":[{}],"tool_choice":"auto","messages":[
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","content":null,"tool_calls":[{}]},{"role":"tool","content":"r"}]}"#,
    );
    let messages = Case::new(
        Dialect::Anthropic,
        r#"{"model":"alias","tools":[{}],"tool_choice":{"type":"auto"},"messages":[
            {"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{}}]},
            {"role":"assistant","content":[{"type":"tool_use"}]},{"role":"user","content":[{"type":"tool_result"}]}]}"#,
    );

    let kept = json!([{ "role": "user", "content": [{ "type": "text", "text": "a" }] }]);
    assert_eq!(value(&chat.sent(Dialect::OpenAiChat, bare)), json!({ "model": "up", "messages": kept }));
    assert_eq!(value(&messages.sent(Dialect::Anthropic, bare)), json!({ "model": "up", "messages": kept }));
}

#[test]
fn a_stream_that_is_switched_off_takes_its_options_along() {
    let case = Case::chat(r#"{"model":"alias","stream":true,"stream_options":{"include_usage":true}}"#);

    assert_eq!(value(&case.sent(Dialect::OpenAiChat, aim(false))), json!({ "model": "up", "stream": false }));
}

#[test]
fn an_envelope_is_put_around_a_body_of_the_same_dialect() {
    let case = Case::new(Dialect::Anthropic, r#"{"model":"alias","stream":true,"messages":[]}"#);
    let betas = ["a-1".to_owned(), "b-2".to_owned()];
    let wrapped = Aim { envelope: &BEDROCK, betas: &betas, ..aim(true) };

    let sent = case.sent(Dialect::Anthropic, wrapped);

    assert_eq!(
        value(&sent),
        json!({ "messages": [], "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": betas })
    );
}

/// A message of the event stream.
fn message(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let label = if kind == "event" { ":event-type" } else { ":exception-type" };
    let headers = [
        (label, HeaderText::String(name.as_bytes())),
        (":message-type", HeaderText::String(kind.as_bytes())),
    ];
    let mut out = BytesMut::new();
    encode(&headers, payload.to_string().as_bytes(), &mut out);
    out.to_vec()
}

#[test]
fn events_that_are_wrapped_come_out_as_a_client_of_their_dialect_knows_them() {
    let body =
        r#"{"model":"alias","stream":true,"messages":[],"context_management":{},"service_tier":"auto"}"#;
    let case = Case::new(Dialect::Anthropic, body);
    let flags = Envelope { framing: Some(Framing::EventStream), flags: Some(&["known-"]), ..BEDROCK };
    let sent = case.sent(Dialect::Anthropic, Aim { envelope: &flags, ..aim(true) });
    // What no flag unlocks is refused there.
    assert_eq!(value(&sent).get("context_management"), None);
    let event = |json: &Value| {
        let mut out = BytesMut::new();
        wrap_invoke(json.to_string().as_bytes(), &mut out);
        out.to_vec()
    };
    let delta =
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "Hi" } });
    let stop = json!({ "type": "message_stop" });
    let stream = [event(&delta), event(&stop)].concat();
    let mut transcode = case.way(Dialect::Anthropic).events(&sent.kept).expect("events");
    let (mut out, mut seen) = (BytesMut::new(), Sighting::machinery());
    for frame in Framing::EventStream.frames(&stream) {
        seen.merge(transcode.frame(frame, Depth::Relay, &mut out).expect("readable"));
    }

    assert!(seen.content && seen.done);
    let expected =
        format!("event: content_block_delta\ndata: {delta}\n\nevent: message_stop\ndata: {stop}\n\n");
    assert_eq!(String::from_utf8_lossy(&out), expected);
    let throttled = message("exception", "throttlingException", &json!({ "message": "slow down" }));
    let frame = Framing::EventStream.frames(&throttled).next().expect("a frame");
    let sighting = transcode.frame(frame, Depth::Relay, &mut BytesMut::new()).expect("readable");
    assert_eq!(sighting.error().map(|error| error.status.as_u16()), Some(429));
    let odd = message("event", "chunk", &json!({ "bytes": 1 }));
    let frame = Framing::EventStream.frames(&odd).next().expect("a frame");
    assert!(transcode.frame(frame, Depth::Relay, &mut BytesMut::new()).is_err());
}

#[test]
fn a_form_keeps_its_bytes_but_for_the_model() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nalias\r\n\
                --b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\nsay\r\n--b--\r\n";
    let mut case = Case::chat(r#"{"model":"alias"}"#);
    let chunks = vec![Bytes::from_static(form.as_bytes())];
    case.body = Body::Form(Form::read(chunks, "multipart/form-data; boundary=b").expect("a form"));
    (case.kind, case.place) = (Kind::Transcribe, ModelPlace::Form(0));

    let sent = case.sent(Dialect::OpenAiChat, aim(false));

    assert_eq!(text(&sent), form.replace("alias", "up"));
    assert_eq!(sent.content_type, Some(HeaderValue::from_static("multipart/form-data; boundary=b")));
    assert_eq!(case.client.texts(&case.body, crate::TextScope::Fresh).expect("texts"), ["say"]);
}

const STREAM: &str = concat!(
    r#"data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"He"}}]}"#,
    "\n\n",
    r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"y"},"finish_reason":"stop"}]}"#,
    "\n\n",
    r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    "\n\ndata: [DONE]\n\n",
);
const ANSWER: &str = r#"{"id":"c","model":"m","choices":[{"index":0,"message":{"content":"Hey"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;

#[test]
fn events_are_folded_and_a_whole_answer_unfolded_between_equal_dialects_too() {
    let whole = Case::chat(r#"{"model":"alias"}"#);
    let streamed = Case::chat(r#"{"model":"alias","stream":true,"stream_options":{"include_usage":true}}"#);

    let kept = whole.sent(Dialect::OpenAiChat, aim(true)).kept;
    let folded = Same.whole(&answered(STREAM, AnswerForm::Events(Framing::Sse)), &kept).expect("whole");
    let kept = streamed.sent(Dialect::OpenAiChat, aim(false)).kept;
    let unfolded = Same.whole(&answered(ANSWER, AnswerForm::Json), &kept).expect("whole");

    let body: Value = serde_json::from_slice(&folded.bytes).expect("JSON");
    assert_eq!((&body["model"], &body["choices"][0]["message"]["content"]), (&json!("alias"), &json!("Hey")));
    assert_eq!(folded.content_type, "application/json");
    let events = String::from_utf8(unfolded.bytes.to_vec()).expect("text");
    assert!(events.contains(r#""content":"Hey""#) && events.contains(r#""prompt_tokens":1"#), "{events}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    assert_eq!(unfolded.content_type, "text/event-stream");
    for sighting in [folded.sighting, unfolded.sighting] {
        assert!(sighting.content && sighting.done);
        assert_eq!(sighting.usage().map(|usage| usage.total()), Some(3));
    }
}

#[test]
fn answers_of_equal_dialects_are_passed_on_as_they_are_whatever_they_are() {
    let kept = Case::chat(r#"{"model":"alias"}"#).sent(Dialect::OpenAiChat, aim(false)).kept;
    let sound = [Answered {
        bytes: Bytes::from_static(b"ID3\x04"),
        form: AnswerForm::Bytes,
        content_type: Some(HeaderValue::from_static("audio/mpeg")),
    }];

    let json = Same.whole(&answered(ANSWER, AnswerForm::Json), &kept).expect("whole");
    let sound = Same.whole(&sound, &kept).expect("whole");
    let page = Same.whole(&answered("<html>", AnswerForm::Page), &kept).expect("whole");

    assert_eq!(json.bytes, ANSWER);
    assert_eq!(
        (&sound.bytes[..], sound.content_type),
        (&b"ID3\x04"[..], HeaderValue::from_static("audio/mpeg"))
    );
    assert!(sound.sighting.content && sound.sighting.done);
    assert!(!page.sighting.done && page.sighting.error().is_none());
}

#[test]
fn only_conversations_are_folded_and_unfolded() {
    let mut case = Case::chat(r#"{"model":"alias","stream":true}"#);
    case.kind = Kind::Transcribe;
    let kept = case.sent(Dialect::OpenAiChat, aim(true)).kept;

    let whole = Same.whole(&answered(r#"{"text":"said"}"#, AnswerForm::Json), &kept).expect("whole");

    assert_eq!(whole.bytes, r#"{"text":"said"}"#);
    assert!(whole.sighting.content && whole.sighting.done);
}

#[test]
fn a_judgement_tells_its_verdict_and_other_answers_none() {
    let mut case = Case::chat(r#"{"model":"alias","input":"x"}"#);
    case.kind = Kind::Moderate;
    let kept = case.sent(Dialect::OpenAiChat, aim(false)).kept;
    let verdict =
        |body: &str| Same.whole(&answered(body, AnswerForm::Json), &kept).expect("whole").sighting.flagged();

    assert_eq!(verdict(r#"{"results":[{"flagged":true}]}"#), Some(true));
    assert_eq!(verdict(r#"{"results":[{"flagged":false}]}"#), Some(false));
    assert_eq!(verdict(r#"{"results":[{}]}"#), None);
}

#[test]
fn events_are_reframed_without_the_usage_chunk_that_was_ours() {
    let case = Case::chat(r#"{"model":"alias","stream":true}"#);
    let kept = case.sent(Dialect::OpenAiChat, Aim { ask_usage: true, ..aim(true) }).kept;
    let mut reframe = Same.events(&kept).expect("events");

    let mut out = BytesMut::new();
    for frame in Framing::Sse.frames(STREAM.as_bytes()) {
        reframe.frame(frame, Depth::Relay, &mut out).expect("readable");
    }
    reframe.trailer(&mut out);

    let text = String::from_utf8(out.to_vec()).expect("text");
    assert!(!text.contains("prompt_tokens"), "{text}");
    assert_eq!(Framing::Sse.frames(text.as_bytes()).count(), 3, "{text}");
}

// === texts and numbers that a value cannot hold ===

const CALLED: &str = r#"{"model":"alias","seed":12345678901234567890123,"temperature":0.30000000000000000001,"tools":[],"messages":[
    {"role":"user","content":"half \ud83d of it"},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"z\":12345678901234567890123,\"t\":\"\\ud83d\",\"d\":0.1234567890123456789}"}}]},
    {"role":"tool","tool_call_id":"c","content":"cut \uDE00 off"},{"role":"user","content":"go on"}]}"#;
const MESSAGES: &str = r#"{"model":"alias","max_tokens":9,"metadata":{"n":12345678901234567890123},"messages":[
    {"role":"user","content":"half \ud83d of it"},
    {"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"z":12345678901234567890123,"t":"\ud83d","d":0.1234567890123456789}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"cut \uDE00 off"}]}]}"#;

/// What goes up of this request on a channel of these settings, as the last bytes of it.
fn up(case: &Case, upstream: Dialect, aim: Aim<'_>) -> String {
    match case.sent(upstream, aim).body {
        SentBody::Bytes(parts) => String::from_utf8(parts.concat()).expect("text"),
        SentBody::Json(map) => String::from_utf8(crate::json_bytes(&map)).expect("text"),
    }
}

#[test]
fn halves_of_pairs_and_long_numbers_go_up_whatever_the_settings_of_the_channel() {
    let requests = [(Dialect::OpenAiChat, CALLED), (Dialect::Anthropic, MESSAGES)];
    for (client, request) in requests {
        let case = Case::new(client, request);
        for upstream in [Dialect::OpenAiChat, Dialect::Anthropic] {
            if between(Kind::Chat, client, upstream).is_none() {
                continue;
            }
            let plain = Aim { model: "claude-sonnet-4-5", ..aim(false) };
            for aim in [
                plain,
                Aim { as_json: true, ..plain },
                Aim { image: false, ..plain },
                Aim { as_json: true, image: false, ..plain },
                Aim { stream: true, ..plain },
                Aim { tools: false, ..plain },
            ] {
                let sent = up(&case, upstream, aim);
                let setting = format!("{client:?} {upstream:?} {aim:?}: {sent}");

                let untouched = client == upstream && aim.image && aim.tools && !aim.stream && !aim.as_json;
                assert_eq!(sent.contains(r"half \ud83d of it"), untouched, "{setting}");
                assert_eq!(sent.contains("half \u{fffd} of it"), !untouched, "{setting}");
                if aim.tools {
                    assert_eq!(
                        sent.matches("12345678901234567890123").count(),
                        if client == upstream { 2 } else { 1 },
                        "{setting}"
                    );
                    assert!(sent.contains("0.1234567890123456789"), "{setting}");
                }
                assert!(!sent.contains('\u{fdd0}'), "{setting}");
                assert!(serde_json::from_str::<Value>(&sent).is_ok() || untouched, "{setting}");
            }
        }
        assert!(case.client.size(Kind::Chat, &case.body).characters > 20, "{client:?}");
        let texts = case.client.texts(&case.body, crate::TextScope::Fresh).expect("texts");
        assert!(texts.iter().any(|text| text.contains("\u{fffd} off")), "{client:?} {texts:?}");
    }
}

#[test]
fn numbers_of_an_answer_come_down_with_their_digits() {
    let answer = r#"{"id":"m","type":"message","content":[{"type":"tool_use","id":"t","name":"f","input":{"z":12345678901234567890123,"t":"\ud83d"}}],"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":2}}"#;
    let case = Case::chat(r#"{"model":"alias","messages":[{"role":"user","content":"U"}]}"#);
    let claude = Aim { model: "claude-sonnet-4-5", ..aim(false) };
    let kept = case.sent(Dialect::Anthropic, claude).kept;

    let told = case.way(Dialect::Anthropic).whole(&answered(answer, AnswerForm::Json), &kept).expect("whole");

    let told: Value = serde_json::from_slice(&told.bytes).expect("JSON");
    let arguments = &told["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(arguments, r#"{"z":12345678901234567890123,"t":"\ufffd"}"#);
}

// === by way of the neutral form ===

#[test]
fn an_envelope_takes_the_model_out_and_adds_its_version() {
    let case = Case::chat(r#"{"model":"alias","stream":true,"messages":[{"role":"user","content":"U"}]}"#);
    let betas = ["a-1".to_owned()];
    let claude = Aim { model: "claude-sonnet-4-5", betas: &betas, ..aim(true) };
    let sent = |envelope: &Envelope| value(&case.sent(Dialect::Anthropic, Aim { envelope, ..claude }));

    let (plain, vertex, bedrock) = (sent(&Envelope::PLAIN), sent(&VERTEX), sent(&BEDROCK));

    assert_eq!((&plain["model"], &plain["stream"]), (&json!("claude-sonnet-4-5"), &json!(true)));
    assert_eq!((plain.get("anthropic_version"), plain.get("anthropic_beta")), (None, None));
    assert_eq!(vertex.get("model"), None);
    assert_eq!(vertex["stream"], true);
    assert_eq!(vertex["anthropic_version"], "vertex-2023-10-16");
    assert_eq!(vertex.get("anthropic_beta"), None);
    assert_eq!((bedrock.get("model"), bedrock.get("stream")), (None, None));
    assert_eq!(bedrock["anthropic_version"], "bedrock-2023-05-31");
    assert_eq!(bedrock["anthropic_beta"], json!(["a-1"]));
    assert_eq!((&bedrock["messages"], &bedrock["max_tokens"]), (&plain["messages"], &plain["max_tokens"]));
}

#[test]
fn tools_and_pictures_are_left_out_while_the_shared_request_stays_whole() {
    let case = Case::chat(
        r#"{"model":"alias","web_search_options":{},"tools":[{"type":"function","function":{"name":"f"}}],
            "messages":[{"role":"user","content":[{"type":"text","text":"U"},
            {"type":"image_url","image_url":{"url":"https://h/a.png"}}]}]}"#,
    );

    let bare = value(&case.sent(Dialect::Anthropic, Aim { tools: false, image: false, ..aim(false) }));
    let full = value(&case.sent(Dialect::Anthropic, aim(false)));

    assert_eq!((bare.get("tools"), bare.get("tool_choice")), (None, None));
    assert_eq!(bare["messages"][0]["content"], json!([{ "type": "text", "text": "U" }]));
    assert_eq!(full["tools"].as_array().map(Vec::len), Some(2));
    assert_eq!(full["messages"][0]["content"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_large_picture_goes_out_from_where_it_was_read() {
    let url = format!("data:image/png;base64,iVBORw0KGgo{}", "AAAA".repeat(50_000) + "A");
    let body = json!({ "model": "alias", "messages": [{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": url } },
    ] }] });
    let case = Case::chat(&body.to_string());

    let sent = case.sent(Dialect::Anthropic, aim(false));

    let inbound = case.client.codec().client.as_ref().and_then(|client| client.inbound).expect("convertible");
    let (request, _) = case.neutral.chat(inbound, &case.ask()).expect("it was read before");
    let ir::Content::Image { source: ir::Source::Base64 { data, .. }, .. } =
        &request.turns[0].blocks[0].content
    else {
        panic!("a picture");
    };
    let same = |part: &&Bytes| part.as_ptr() == data.as_ptr() && part.len() == data.len();
    assert_eq!(parts(&sent).iter().filter(same).count(), 1);
    let other: usize = parts(&sent).iter().filter(|part| !same(part)).map(Bytes::len).sum();
    assert!(other < 1_000, "{other}");
    assert_eq!(
        value(&sent)["messages"][0]["content"][0]["source"]["data"],
        &url["data:image/png;base64,".len()..]
    );
}

#[test]
fn media_are_fetched_for_upstreams_that_follow_no_addresses() {
    let mut case = Case::chat(
        r#"{"model":"alias","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://h/a"}}]}]}"#,
    );
    let vertex = Aim { envelope: &VERTEX, ..aim(false) };
    let way = case.way(Dialect::Anthropic);

    let missing = way.up(&case.ask(), &vertex);
    let wanted = way.fetches(&case.ask(), &vertex).expect("readable");
    let plain = way.fetches(&case.ask(), &aim(false)).expect("readable");
    case.media.insert("http://h/a", "image/jpeg; q=1", b"GIF89a..");
    let sent = case.sent(Dialect::Anthropic, vertex);

    assert!(matches!(missing, Err(Refused::Unsupported(_))));
    assert_eq!((wanted, plain), (vec!["http://h/a".to_owned()], Vec::new()));
    assert_eq!(way.fetches(&case.ask(), &vertex).expect("readable"), Vec::<String>::new());
    assert_eq!(
        value(&sent)["messages"][0]["content"][0]["source"],
        json!({ "type": "base64", "media_type": "image/gif", "data": "R0lGODlhLi4=" })
    );
}

#[test]
fn where_a_provider_binds_no_answer_to_a_schema_a_tool_does() {
    let case = Case::chat(
        r#"{"model":"alias","messages":[{"role":"user","content":"U"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}}"#,
    );
    let claude = Aim { model: "claude-sonnet-4-5@20250929", ..aim(false) };

    let own = value(&case.sent(Dialect::Anthropic, claude));
    let vertex = value(&case.sent(Dialect::Anthropic, Aim { envelope: &VERTEX, ..claude }));

    assert_eq!((&own["output_config"]["format"]["type"], own.get("tools")), (&json!("json_schema"), None));
    assert_eq!((vertex.get("output_config"), &vertex["tool_choice"]["name"]), (None, &json!("json")));
}

#[test]
fn a_refusal_says_whose_fault_it_is() {
    let bad = Case::chat(r#"{"model":"alias"}"#);
    let many = Case::chat(r#"{"model":"alias","n":2,"messages":[{"role":"user","content":"U"}]}"#);
    let up = |case: &Case| case.way(Dialect::Anthropic).up(&case.ask(), &aim(false));

    assert!(
        matches!(up(&bad), Err(Refused::Malformed(malformed)) if malformed.param.as_deref() == Some("messages"))
    );
    assert!(
        matches!(up(&many), Err(Refused::Unsupported(unsupported)) if unsupported.param.as_deref() == Some("n"))
    );
}

#[test]
fn there_is_no_way_where_nobody_built_one() {
    assert!(between(Kind::Embed, Dialect::OpenAiChat, Dialect::Anthropic).is_none());
    assert!(between(Kind::Embed, Dialect::OpenAiChat, Dialect::OpenAiChat).is_some());
    assert!(between(Kind::Chat, Dialect::Converse, Dialect::OpenAiChat).is_none());
}

#[test]
fn an_error_behind_the_first_words_is_told_by_the_voice_of_the_stream_and_only_once() {
    let case = Case::chat(r#"{"model":"alias","stream":true,"messages":[{"role":"user","content":"U"}]}"#);
    let kept = case.sent(Dialect::Anthropic, aim(true)).kept;
    let mut transcode = case.way(Dialect::Anthropic).events(&kept).expect("events");
    let mut out = BytesMut::new();
    let start = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"Hi\"}}\n\n";
    for frame in Framing::Sse.frames(start.as_bytes()) {
        transcode.frame(frame, Depth::Relay, &mut out).expect("readable");
    }

    let torn = transcode.end(&mut out);
    let told = out.len();
    transcode.fail(&ir::Error::truncated(), &mut out);
    transcode.fail(&ir::Error::truncated(), &mut out);
    transcode.trailer(&mut out);

    assert_eq!(torn.error().map(|error| error.status), Some(StatusCode::BAD_GATEWAY));
    let behind = String::from_utf8(out[told..].to_vec()).expect("text");
    assert_eq!(Framing::Sse.frames(behind.as_bytes()).count(), 1, "{behind}");
    assert!(behind.contains("\"error\"") && !behind.contains("[DONE]"), "{behind}");
}

// === the door for other kinds ===

/// A way for a kind of call whose upstream takes one text at a time and answers with bytes: what `through_embed.rs`
/// or `through_speech.rs` would be.
struct OneByOne;

impl Conversion for OneByOne {
    fn up(&self, ask: &Ask<'_>, aim: &Aim<'_>) -> Result<Vec<Sent>, Refused> {
        let texts = ask.client.texts(ask.body, crate::TextScope::Fresh)?;
        let sent = texts.iter().map(|text| Sent {
            body: SentBody::Bytes(vec![Bytes::copy_from_slice(text.as_bytes())]),
            content_type: Some(HeaderValue::from_static("text/plain")),
            kept: ask.kept(aim, Dialect::Anthropic),
        });
        Ok(sent.collect())
    }

    fn whole(&self, answers: &[Answered], _kept: &Kept) -> Result<Whole, ir::Error> {
        let bytes: Vec<&[u8]> = answers.iter().map(|answer| &answer.bytes[..]).collect();
        Ok(Whole {
            bytes: Bytes::from(bytes.concat()),
            content_type: HeaderValue::from_static("audio/pcm"),
            sighting: Sighting { content: true, done: true, ..Sighting::default() },
        })
    }

    fn events(&self, _kept: &Kept) -> Option<Box<dyn Transcode>> {
        None
    }
}

#[test]
fn several_requests_and_an_answer_of_bytes_fit_the_same_door() {
    let case = Case::chat(r#"{"model":"alias","input":["one","two"]}"#);
    let way: &dyn Conversion = &OneByOne;

    let sent = way.up(&case.ask(), &aim(false)).expect("expressible");
    let answers: Vec<Answered> = sent
        .iter()
        .map(|sent| Answered {
            bytes: parts(sent)[0].clone(),
            form: AnswerForm::Bytes,
            content_type: sent.content_type.clone(),
        })
        .collect();
    let whole = way.whole(&answers, &sent[0].kept).expect("whole");

    assert_eq!(sent.len(), 2);
    assert_eq!(
        (&whole.bytes[..], whole.content_type),
        (&b"onetwo"[..], HeaderValue::from_static("audio/pcm"))
    );
    assert!(way.events(&sent[0].kept).is_none() && way.probe(&sent[0].kept).is_none());
}
