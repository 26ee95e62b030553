//! The engines of the matrix: how each is configured, how strict it is, and what it cannot do, with the reason.

use serde_json::{Value, json};

use super::model::{BeforeCalls, Seals, Ways};
use super::speaks::{
    Anthropic, Chat, Cloudflare, Cohere, CohereV1, Converse, Doubao, Gemini, Host, Maker, Responses, Speaks,
};
use crate::harness::subjects::google::private_key;
use crate::harness::*;

/// What a cell is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Text,
    Tools,
    Reasoning,
    Images,
    JsonSchema,
    /// A request that the provider refuses.
    Refusal,
    /// A limit that is reached.
    Limit,
    /// A stream that fails after its first words.
    Torn,
    /// Three turns with parallel calls, and one after them.
    Loop,
}

/// Why a wish is not met, and what is seen instead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instead {
    /// The request is refused with 400 in words that hold these.
    Refused(&'static str),
    /// The answer comes without what was wished.
    Without,
}

/// One engine.
pub(crate) struct Row {
    /// Its name, and that of its channel and model.
    pub(crate) name: &'static str,
    pub(crate) speaks: Box<dyn Speaks>,
    pub(crate) ways: Ways,
    /// The channel, for an upstream at this origin; its name, key and model are added.
    pub(crate) channel: fn(&str) -> Value,
    /// The model at the provider.
    pub(crate) model: &'static str,
    /// The model that sees, where it is another.
    pub(crate) seeing: Option<&'static str>,
    /// What cannot be, with the reason, which lies with the provider.
    pub(crate) lacks: &'static [(Wish, Instead, &'static str)],
    /// What is told of a stream that fails, where the provider has no words for it.
    pub(crate) torn: &'static str,
    /// Whether thoughts are counted apart from the rest.
    pub(crate) counts_thoughts: bool,
}

impl Row {
    /// What it does instead of meeting a wish.
    pub(crate) fn instead(&self, wish: Wish) -> Option<Instead> {
        self.lacks.iter().find(|(lacked, ..)| *lacked == wish).map(|(_, instead, _)| *instead)
    }

    /// The name that clients use for the model.
    pub(crate) fn alias(&self, wish: Wish) -> String {
        match self.seeing {
            Some(_) if wish == Wish::Images => format!("{}-seeing", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// The channel in the configuration.
    pub(crate) fn entry(&self, origin: &str) -> Value {
        let mut entry = (self.channel)(origin);
        entry["provider"] = self.name.into();
        if ["aws_access_key", "private_key"].iter().all(|field| entry[*field].is_null()) {
            entry["api"] = format!("key-of-{}", self.name).into();
        }
        let mut models = vec![json!({ self.model: self.name })];
        models.extend(self.seeing.map(|seeing| json!({ seeing: self.alias(Wish::Images) })));
        entry["model"] = models.into();
        entry
    }
}

fn chat(origin: &str) -> Value {
    json!({ "engine": "gpt", "base_url": format!("{origin}/v1/chat/completions") })
}

fn quirks(origin: &str, quirks: &[&str]) -> Value {
    chat(origin).with("/preferences/quirks", json!(quirks))
}

fn at(engine: &str, base_url: String) -> Value {
    json!({ "engine": engine, "base_url": base_url })
}

fn vertex(origin: &str) -> Value {
    json!({
        "engine": "vertex", "base_url": origin, "project_id": "p", "region": "us-east5",
        "client_email": "me@p.test", "private_key": private_key(), "token_uri": format!("{origin}/token"),
    })
}

fn bedrock(engine: &str, origin: &str) -> Value {
    json!({
        "engine": engine, "base_url": origin, "region": "us-test-1",
        "aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    })
}

const HIDDEN: (Wish, Instead, &str) =
    (Wish::Reasoning, Instead::Without, "chat completions of OpenAI's count thoughts and do not show them");

/// All engines.
pub(crate) fn rows() -> Vec<Row> {
    let ways = |ids, seals| Ways {
        ids: Some(ids),
        seals,
        thinks: true,
        calls: true,
        before_calls: BeforeCalls::Text,
    };
    let plain = |name, speaks: Box<dyn Speaks>, model| Row {
        name,
        speaks,
        ways: ways("call", Seals::None),
        channel: chat,
        model,
        seeing: None,
        lacks: &[],
        torn: "the script tears",
        counts_thoughts: true,
    };
    let silent = Ways { ids: None, thinks: false, ..ways("", Seals::None) };
    vec![
        Row { lacks: &[HIDDEN], ..plain("openai", Box::new(Chat(Maker::OpenAi)), "gpt-5-mini") },
        Row {
            channel: |origin| at("azure", origin.to_owned()),
            lacks: &[HIDDEN],
            ..plain("azure", Box::new(Chat(Maker::Azure)), "gpt-5-mini")
        },
        Row {
            channel: |origin| {
                quirks(
                    origin,
                    &["system_role", "no_bookkeeping", "strip_thoughts", "reasoning_field", "think_tags"],
                )
            },
            ways: ways("call", Seals::Refused),
            ..plain("groq", Box::new(Chat(Maker::Groq)), "openai/gpt-oss-120b")
        },
        Row {
            channel: |origin| quirks(origin, &["system_role", "max_tokens", "require_thoughts"]),
            ways: ways("call", Seals::Any),
            lacks: &[
                (Wish::Images, Instead::Refused("unknown variant `image_url`"), "its models see no pictures"),
                (
                    Wish::JsonSchema,
                    Instead::Refused("This response_format type is unavailable now"),
                    "it knows JSON mode and no schemas",
                ),
            ],
            ..plain("deepseek", Box::new(Chat(Maker::DeepSeek)), "deepseek-reasoner")
        },
        Row {
            channel: |origin| {
                let known = [
                    "system_role",
                    "max_tokens",
                    "random_seed",
                    "no_bookkeeping",
                    "usage_unasked",
                    "nine_letter_ids",
                    "strip_thoughts",
                    "content_parts",
                ];
                quirks(origin, &known)
            },
            ways: ways("", Seals::Refused),
            ..plain("mistral", Box::new(Chat(Maker::Mistral)), "magistral-medium-2509")
        },
        Row {
            channel: |origin| at("databricks", origin.to_owned()),
            ways: ways("toolu_", Seals::Lost),
            ..plain("databricks", Box::new(Chat(Maker::Databricks)), "databricks-claude-sonnet-4")
        },
        Row {
            channel: |origin| at("responses", format!("{origin}/v1/responses")),
            ways: ways("call_", Seals::Whole),
            ..plain("responses", Box::new(Responses), "gpt-5-mini")
        },
        Row {
            channel: |origin| at("claude", format!("{origin}/v1/messages")),
            ways: ways("toolu_", Seals::Whole),
            counts_thoughts: false,
            ..plain("anthropic", Box::new(Anthropic(Host::Anthropic)), "claude-sonnet-4-5-20250929")
        },
        Row {
            channel: vertex,
            ways: ways("toolu_vrtx_", Seals::Whole),
            counts_thoughts: false,
            ..plain("vertex-claude", Box::new(Anthropic(Host::Vertex)), "claude-sonnet-4-5@20250929")
        },
        Row {
            channel: |origin| bedrock("bedrock", origin),
            ways: ways("toolu_bdrk_", Seals::Whole),
            counts_thoughts: false,
            ..plain(
                "bedrock-claude",
                Box::new(Anthropic(Host::Bedrock)),
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            )
        },
        Row {
            channel: |origin| bedrock("bedrock-converse", origin),
            ways: ways("tooluse_", Seals::Whole),
            counts_thoughts: false,
            ..plain("converse", Box::new(Converse), "us.anthropic.claude-sonnet-4-20250514-v1:0")
        },
        Row {
            channel: |origin| at("gemini", format!("{origin}/v1beta")),
            ways: ways("call_", Seals::Alone),
            ..plain("gemini", Box::new(Gemini::Studio), "gemini-3-pro-preview")
        },
        Row {
            channel: vertex,
            ways: Ways { ids: None, ..ways("", Seals::Alone) },
            ..plain("vertex-gemini", Box::new(Gemini::Vertex), "gemini-2.5-flash")
        },
        Row {
            channel: |origin| at("cohere", format!("{origin}/v2/chat")),
            ways: Ways { before_calls: BeforeCalls::Plan, ..ways("weather_", Seals::None) },
            seeing: Some("command-a-vision-07-2025"),
            counts_thoughts: false,
            ..plain("cohere", Box::new(Cohere), "command-a-reasoning-08-2025")
        },
        Row {
            channel: |origin| at("cohere", format!("{origin}/v1/chat")),
            ways: Ways { before_calls: BeforeCalls::Plan, ..silent },
            torn: "",
            lacks: &[
                (
                    Wish::Images,
                    Instead::Refused("a picture cannot be sent"),
                    "its first version takes no pictures",
                ),
                (Wish::Reasoning, Instead::Without, "its first version does not think"),
            ],
            ..plain("cohere-v1", Box::new(CohereV1), "command-r-plus-08-2024")
        },
        Row {
            channel: |origin| json!({ "engine": "cloudflare", "base_url": origin, "cf_account_id": "ID" }),
            ways: silent,
            torn: "",
            lacks: &[(Wish::Reasoning, Instead::Without, "the model does not think")],
            ..plain("cloudflare", Box::new(Cloudflare), "@cf/meta/llama-4-scout-17b-16e-instruct")
        },
        Row {
            channel: |origin| json!({ "engine": "cloudflare", "base_url": origin, "cf_account_id": "ID" }),
            ..plain("cloudflare-newer", Box::new(Chat(Maker::Cloudflare)), "@cf/moonshotai/kimi-k2.6")
        },
        Row {
            channel: |origin| at("doubao", format!("{origin}/api/v3/responses")),
            ways: Ways { calls: false, ..silent },
            lacks: &[
                (Wish::Tools, Instead::Without, "it translates and calls no tools"),
                (Wish::Loop, Instead::Without, "it translates and calls no tools"),
                (Wish::Reasoning, Instead::Without, "it translates and shows no thoughts"),
                (Wish::Images, Instead::Refused("it takes text only"), "it translates texts"),
                (Wish::JsonSchema, Instead::Refused("it answers with text"), "it translates texts"),
            ],
            ..plain("doubao", Box::new(Doubao), "doubao-seed-translation")
        },
    ]
}
