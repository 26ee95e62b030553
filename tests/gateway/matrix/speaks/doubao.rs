//! Doubao translation: one text in, its translation out, in the form of Responses.

use serde_json::json;

use super::super::model::{Asked, Refusal, Spoken, Turn, refuse};
use super::{Responses, Speaks, bearer, list, only, path, text};
use crate::harness::*;

/// An upstream that translates.
pub(crate) struct Doubao;

impl Speaks for Doubao {
    fn read(&self, seen: &Seen) -> Result<Asked, Refusal> {
        path(seen, "/api/v3/responses")?;
        bearer(seen, "key-of-doubao")?;
        let body = seen.json();
        only(&body, &["model", "input", "stream"], "body")?;
        let [input] = list(&body, "input")?.as_slice() else { return refuse("one message is translated") };
        let [part] = list(input, "content")?.as_slice() else { return refuse("one text is translated") };
        only(part, &["type", "text", "translation_options"], "part")?;
        if part["translation_options"] != json!({ "target_language": "zh" }) {
            return refuse("no language to translate to");
        }
        let turns = vec![Turn::user(&text(part, "text")?)];
        Ok(Asked { stream: body["stream"] == true, turns, ..Asked::default() })
    }

    fn tell(&self, spoken: &Spoken, stream: bool) -> Script {
        Responses.tell(spoken, stream)
    }

    fn refuse(&self, refusal: &Refusal) -> Script {
        let code = if refusal.status == 429 { "RateLimitExceeded" } else { "InvalidParameter" };
        let error = json!({ "code": code, "message": refusal.message, "param": "", "type": "BadRequest" });
        Script::status(refusal.status, &json!({ "error": error }))
    }

    fn tear(&self) -> Script {
        Responses.tear()
    }
}
