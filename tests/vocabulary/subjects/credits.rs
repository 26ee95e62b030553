//! Keys with credits and models with prices.

use serde_json::{Value, json};

use super::super::super::*;

/// A configuration in which a usual answer costs seven dollars, and a key that may spend so much.
pub(crate) fn priced(upstream: &Upstream, credits: &Value) -> Value {
    config([channel("a", upstream)]).with("/preferences/model_price", json!({ "default": "0,1000000" })).with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": "sk-payer", "preferences": { "credits": credits } },
        ]),
    )
}

/// A request that is known beforehand to cost seven dollars at most.
pub(crate) fn seven_dollars() -> Ask {
    Ask::chat(&hello().with("/max_tokens", json!(7))).key("sk-payer")
}
