//! The class of service in which an answer was served, as far as the provider tells it.

use dialect::{AnswerForm, Dialect};
use serde_json::{Value, json};

use crate::kit::Exchange;

/// A whole answer of an upstream that tells its class by this word; none where there is no such thing.
fn answer(upstream: Dialect, word: &str) -> Option<Value> {
    Some(match upstream {
        Dialect::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "hi" }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 3, "output_tokens": 5, "service_tier": word },
        }),
        Dialect::Gemini => json!({
            "candidates": [{ "content": { "parts": [{ "text": "hi" }] }, "finishReason": "STOP", "index": 0 }],
            "usageMetadata": { "promptTokenCount": 3, "candidatesTokenCount": 5, "serviceTier": word },
        }),
        Dialect::Responses | Dialect::DoubaoTranslation => json!({
            "id": "r", "object": "response", "status": "completed", "service_tier": word,
            "output": [{ "type": "message", "content": [{ "type": "output_text", "text": "hi" }] }],
            "usage": { "input_tokens": 3, "output_tokens": 5 },
        }),
        Dialect::Converse => json!({
            "output": { "message": { "role": "assistant", "content": [{ "text": "hi" }] } },
            "stopReason": "end_turn", "serviceTier": { "type": word },
            "usage": { "inputTokens": 3, "outputTokens": 5, "totalTokens": 8 },
        }),
        // Newer models of Workers AI answer as OpenAI's do.
        Dialect::Cloudflare => json!({ "success": true, "result": {
            "id": "c", "object": "chat.completion", "service_tier": word,
            "choices": [{ "index": 0, "message": { "content": "hi" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 5 },
        } }),
        // Between equal dialects it passes as it is; Cohere has none.
        Dialect::OpenAiChat | Dialect::CohereV2 | Dialect::CohereV1 => return None,
    })
}

#[test]
fn the_class_of_service_is_told_in_openai_s_words_whole_and_at_the_end_of_a_stream() {
    let request = json!({
        "model": "m", "stream_options": { "include_usage": true },
        "messages": [{ "role": "user", "content": "hi" }],
    });
    for upstream in Dialect::ALL {
        for (word, told) in [("standard", Some("default")), ("PRIORITY", Some("priority")), ("new", None)] {
            let Some(answer) = answer(upstream, word) else { continue };
            let given = |stream| {
                let exchange =
                    Exchange::new(Dialect::OpenAiChat, upstream, request.to_string().as_bytes(), stream);
                exchange.whole(answer.to_string().as_bytes(), AnswerForm::Json).expect("an answer")
            };

            let whole: Value = serde_json::from_slice(&given(false)).expect("JSON");
            let stream = String::from_utf8(given(true).to_vec()).expect("text");

            assert_eq!(whole["service_tier"].as_str(), told, "{upstream:?} {word}");
            let events = stream
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
            let seen: Vec<Value> = events.filter(|event| !event["service_tier"].is_null()).collect();
            let seen: Vec<&str> = seen.iter().filter_map(|event| event["service_tier"].as_str()).collect();
            assert_eq!(seen, Vec::from_iter(told), "{upstream:?} {word}: {stream}");
        }
    }
}
