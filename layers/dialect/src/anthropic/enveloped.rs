//! What has to leave a client's body on its way to a provider that has Claude in an envelope of its own.
//!
//! Sources: <https://docs.anthropic.com/en/api/claude-on-amazon-bedrock>,
//! <https://docs.anthropic.com/en/api/claude-on-vertex-ai>.

use serde_json::{Map, Value};

use super::read_request::BILLING;
use crate::{Envelope, Lack};

/// Takes it out.
pub(crate) fn settle(body: &mut Map<String, Value>, envelope: &Envelope) {
    if *envelope == Envelope::PLAIN {
        return;
    }
    if let Some(Value::Array(system)) = body.get_mut("system") {
        // Only Anthropic reads it apart; others would read all of the prompt anew for it.
        system.retain(|block| !block["text"].as_str().is_some_and(|text| text.starts_with(BILLING)));
        if system.is_empty() {
            body.shift_remove("system");
        }
    }
    if envelope.lacks(Lack::Tiers) {
        body.shift_remove("service_tier");
    }
    if envelope.lacks(Lack::SingleCalls)
        && let Some(Value::Object(choice)) = body.get_mut("tool_choice")
    {
        choice.shift_remove("disable_parallel_tool_use");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settled(envelope: &Envelope) -> Value {
        let mut body = json!({
            "system": [
                { "type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=0f3;" },
                { "type": "text", "text": "S" },
            ],
            "service_tier": "auto",
            "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
        });
        settle(body.as_object_mut().unwrap(), envelope);
        body
    }

    #[test]
    fn the_billing_block_goes_to_anthropic_alone() {
        assert_eq!(settled(&Envelope::PLAIN)["system"].as_array().map(Vec::len), Some(2));

        let vertex = settled(&Envelope::VERTEX_CLAUDE);
        assert_eq!(vertex["system"], json!([{ "type": "text", "text": "S" }]));
        assert_eq!(vertex["tool_choice"]["disable_parallel_tool_use"], true);
        assert_eq!(vertex["service_tier"], "auto");
    }

    #[test]
    fn what_a_provider_lacks_is_left_out() {
        let lacking = Envelope { lacks: &[Lack::SingleCalls, Lack::Tiers], ..Envelope::PLAIN };

        let body = settled(&lacking);

        assert_eq!(body.get("service_tier"), None);
        assert_eq!(body["tool_choice"], json!({ "type": "auto" }));
    }
}
