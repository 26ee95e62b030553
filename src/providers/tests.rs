use layers::policy::Fingerprint;
use layers::ports::Pair;

use super::testing::spec;
use super::*;
use crate::engine::{Listing, Need, ServiceAccount, Slot};

#[test]
fn a_base_url_tells_the_engine() {
    let cases = [
        ("https://ark.cn-beijing.volces.com/api/v3/responses", Some("doubao")),
        ("https://ark.cn-beijing.volces.com/api/v3/chat/completions", None),
        ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", Some("gpt")),
        ("https://generativelanguage.googleapis.com/v1beta", Some("gemini")),
        ("https://relay.example/v1beta/", Some("gemini")),
        (
            "https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1beta/openai/chat/completions",
            Some("gpt"),
        ),
        ("https://gateway.ai.cloudflare.com/v1/a/g/google-ai-studio/v1", Some("gemini")),
        ("https://gateway.ai.cloudflare.com/v1/a/g/google-vertex-ai", Some("vertex")),
        ("https://aiplatform.googleapis.com/", Some("vertex")),
        ("https://us-east5-aiplatform.googleapis.com", Some("vertex")),
        ("https://aiplatform.eu.rep.googleapis.com", Some("vertex")),
        ("https://proxy.example/aiplatform.googleapis.com/", Some("vertex")),
        ("https://api.anthropic.com/v1/messages", Some("claude")),
        ("https://api.anthropic.com/v1/chat/completions", None),
        ("https://x.services.ai.azure.com/anthropic/v1/messages", Some("claude")),
        ("https://models.inference.ai.azure.com/chat/completions", Some("gpt")),
        ("https://your-endpoint.openai.azure.com", Some("azure")),
        (
            "https://e.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            Some("azure"),
        ),
        ("https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview", Some("responses")),
        ("https://r.services.ai.azure.com/openai/v1/responses", Some("responses")),
        ("https://r.services.ai.azure.com/api/projects/p/openai/v1", Some("azure")),
        ("https://r.services.ai.azure.com/anthropic", Some("claude")),
        ("https://r.cognitiveservices.azure.com", Some("azure")),
        ("https://xxx.azuredatabricks.net", Some("azure-databricks")),
        ("https://api.cloudflare.com/", Some("cloudflare")),
        ("https://api.cloudflare.com/client/v4/accounts/a/ai/v1/chat/completions", Some("gpt")),
        ("https://bedrock-runtime.us-east-1.amazonaws.com", Some("aws")),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1/chat/completions", None),
        ("https://bedrock-mantle.us-east-1.api.aws/v1/chat/completions", None),
        ("https://gateway.ai.cloudflare.com/v1/a/g/aws-bedrock/bedrock-runtime/us-east-1", Some("aws")),
        ("https://api.cohere.com/v2/chat", Some("cohere")),
        ("https://api.cohere.com/v1/chat", Some("cohere-v1")),
        ("https://api.cohere.ai/compatibility/v1/chat/completions", None),
        ("https://openrouter.ai/api/v1/chat/completions", Some("openrouter")),
        ("https://api.openai.com/v1/responses", Some("responses")),
        ("https://api.groq.com/openai/v1/chat/completions", None),
        ("https://notazure.com/v1/chat/completions", None),
        ("https://models.github.ai/v1/messages", Some("claude")),
        ("https://aiplatform.googleapis.com/v1beta/openai", Some("gpt")),
        ("https://api.anthropic.com/v1beta/openai", Some("gpt")),
        ("https://api.cloudflare.com/v1/messages", Some("claude")),
        ("https://bedrock.amazonaws.com/v1/responses", Some("aws")),
    ];

    for (url, engine) in cases {
        assert_eq!(detect(&url.parse().unwrap()).map(Engine::name), engine, "{url}");
    }
}

#[test]
fn every_name_is_one_engine_s_and_is_known_in_any_case() {
    let known = names();
    let mut each_once = known.clone();
    each_once.dedup();

    assert_eq!(known, each_once);
    assert_eq!(known.len(), 23);
    for name in known {
        assert!(matches!(named(name), Named::Engine(_)), "{name}");
        assert_eq!(named(&name.to_uppercase()), named(name));
    }
    assert_eq!(named("codex"), Named::Old(&RESPONSES));
    assert_eq!(named("gtp"), Named::Unknown);
    assert_eq!(named("dalle"), Named::Operation);
}

#[test]
fn a_name_survives_the_round_trip() {
    for name in names() {
        let Named::Engine(engine) = named(name) else { panic!("{name}") };
        assert_eq!(named(engine.name()), Named::Engine(engine));
    }
}

#[test]
fn the_model_refines_the_engine_of_mixed_upstreams() {
    assert_eq!(VERTEX.refined("Claude-sonnet-4-5@20250929", false), &VERTEX_CLAUDE);
    assert_eq!(VERTEX.refined("text-embedding-004", true), &VERTEX_GEMINI);
    assert_eq!(DOUBAO.refined("doubao-seed-translation", false), &DOUBAO);
    assert_eq!(DOUBAO.refined("doubao-seed-1-6", false), &RESPONSES);
    assert_eq!(DOUBAO.refined("doubao-seed-1-6", true), &DOUBAO);
    assert_eq!(OPENAI.refined("claude", false), &OPENAI);
}

#[test]
fn a_setting_that_one_upstream_alone_has_tells_the_engine() {
    let hinted = |written: &[&str]| hinted(|setting| written.contains(&setting)).map(Engine::name);

    assert_eq!(hinted(&["api", "project_id"]), Some("vertex"));
    assert_eq!(hinted(&["cf_account_id"]), Some("cloudflare"));
    assert_eq!(hinted(&["aws_secret_key"]), Some("aws"));
    assert_eq!(hinted(&["api"]), None);
}

#[test]
fn every_engine_signs_for_an_address_that_is_one() {
    let account = ServiceAccount {
        email: "e".to_owned(),
        project: "p".to_owned(),
        private_key: Secret::new("k", Fingerprint::new("k")),
        key_id: None,
        token_uri: None,
    };
    let accounts = [account];
    for &engine in ENGINES {
        let provider = build(&ProviderSpec { accounts: &accounts, ..spec(engine, "https://a.test/v1") });

        let signed = provider.sign(&mut Request::new(Vec::new()), None);
        assert!(signed.is_ok(), "{engine:?}: {signed:?}");
        assert!(engine.needs.iter().all(|need| *need != Need::BaseUrl) || engine.inside.is_none());
    }
    let refusal = |engine, url| {
        let refused = build(&spec(engine, url)).sign(&mut Request::new(Vec::new()), None);
        refused.map_err(|unsupported| unsupported.to_string())
    };
    assert_eq!(refusal(&OPENAI, "no url"), Err("its base_url is no URL".to_owned()));
}

#[test]
fn an_account_and_a_pair_are_slots_as_keys_are() {
    let secret = |text: &str| Secret::new(text, Fingerprint::new(text));
    let keys = [secret("k"), secret("l")];
    let account = ServiceAccount {
        email: "e".to_owned(),
        project: "p".to_owned(),
        private_key: secret("private"),
        key_id: None,
        token_uri: None,
    };
    let (accounts, nobody) = ([account], []);
    let pair = Pair { id: secret("id"), secret: secret("signs"), session: None };
    let of = |engine: &'static Engine, accounts: &[ServiceAccount], pair| {
        let spec = ProviderSpec { keys: &keys, accounts, pair, ..spec(engine, "https://a.test") };
        let slots = (engine.credentials)(&spec);
        let shown = slots.into_iter().map(|slot| match slot {
            Slot::Key(key) => format!("key {}", key.fingerprint().as_str()),
            Slot::Account(issuer) => format!("account {}", issuer.account().as_str()),
            Slot::Pair(pair) => format!("pair {}", pair.secret.fingerprint().as_str()),
        });
        shown.collect::<Vec<_>>()
    };

    assert_eq!(of(&VERTEX, &accounts, None), ["account private"]);
    assert_eq!(of(&BEDROCK, &nobody, Some(&pair)), ["pair signs"]);
    assert_eq!(of(&BEDROCK, &nobody, None), ["key k", "key l"]);
    assert_eq!(of(&OPENAI, &accounts, Some(&pair)), ["key k", "key l"]);
}

#[test]
fn a_key_is_a_bearer_and_anthropic_s_own_header_at_anthropic() {
    let signed = |engine, key: &str| {
        let key = Secret::new(key, Fingerprint::new("print"));
        let mut request = Request::new(Vec::new());
        build(&spec(engine, "https://a.test")).sign(&mut request, Some(&Presented::Key(&key))).unwrap();
        request.headers().clone()
    };

    assert_eq!(signed(&OPENAI, "k")["authorization"], "Bearer k");
    assert_eq!(signed(&ANTHROPIC, "k")["x-api-key"], "k");
    assert_eq!(signed(&ANTHROPIC, "k")["anthropic-version"], "2023-06-01");
    assert_eq!(signed(&ANTHROPIC, "sk-ant-oat-k")["authorization"], "Bearer sk-ant-oat-k");
}

fn repairs(engine: &Engine, base_url: &str, changes: &[(&str, bool)]) -> (bool, Vec<&'static str>) {
    let changes: Vec<(Box<str>, bool)> = changes.iter().map(|(name, on)| ((*name).into(), *on)).collect();
    let quirks = quirks(engine, Some(base_url), &changes);
    (quirks.stream_options, quirks.repairs.iter().map(Repair::name).collect())
}

#[test]
fn an_unknown_host_has_no_quirk_but_the_question_for_usage() {
    assert_eq!(repairs(&OPENAI, "https://relay.example/v1/chat/completions", &[]), (true, vec![]));
    assert_eq!(repairs(&ANTHROPIC, "https://api.openai.com/v1/messages", &[]), (true, vec![]));
}

#[test]
fn a_known_host_has_its_quirks_and_a_channel_adds_or_removes_some() {
    let openai = "https://api.openai.com/v1/chat/completions";
    let mistral = "https://api.mistral.ai/v1/chat/completions";

    assert_eq!(repairs(&OPENAI, openai, &[]).1, ["max_completion_tokens", "fixed_sampling"]);
    assert_eq!(
        repairs(&OPENAI, openai, &[("fixed_sampling", false), ("think_tags", true)]).1,
        ["max_completion_tokens", "think_tags"]
    );
    let (asks_usage, of_mistral) = repairs(&OPENAI, mistral, &[]);
    assert!(!asks_usage && of_mistral.contains(&"nine_letter_ids"));
    let relay = "https://relay.example/v1";
    assert_eq!(repairs(&OPENAI, relay, &[("stream_options", false)]), (false, vec![]));
    assert_eq!(repairs(&OPENAI, relay, &[("usage_unasked", true)]), (false, vec!["usage_unasked"]));
    assert!(repairs(&DATABRICKS, "https://gateway.example", &[]).1.contains(&"content_parts"));
    assert_eq!(repairs(&OPENROUTER, "https://openrouter.ai/api/v1", &[]).1, ["reasoning_field"]);
}

#[test]
fn a_known_host_lists_its_models_in_its_own_way() {
    let path = |engine, base: &str| {
        let listing = listing(engine, Some(base))?;
        Some(((listing.path)(&base.parse().unwrap()), listing.list, listing.name))
    };

    assert_eq!(
        path(&OPENAI, "https://models.github.ai/inference/chat/completions"),
        Some(("/catalog/models".to_owned(), "", "/id"))
    );
    assert_eq!(
        path(&OPENAI, "https://models.inference.ai.azure.com/chat/completions"),
        Some(("/models".to_owned(), "", "/name"))
    );
    assert_eq!(path(&OPENAI, "https://api.perplexity.ai/chat/completions"), None);
    assert_eq!(path(&OPENAI, "https://a.test/v1"), Some(("/v1/models".to_owned(), "/data", "/id")));
    assert_eq!(
        path(&DATABRICKS, "https://xxx.azuredatabricks.net"),
        Some(("/api/2.0/serving-endpoints".to_owned(), "/endpoints", "/name"))
    );
}

#[test]
fn what_is_there_already_stays() {
    let key = Secret::new("generated", Fingerprint::new("print"));
    let mut request = Request::new(Vec::new());
    request.headers_mut().insert("authorization", HeaderValue::from_static("configured"));

    build(&spec(&OPENAI, "https://a.test")).sign(&mut request, Some(&Presented::Key(&key))).unwrap();

    assert_eq!(request.headers()["authorization"], "configured");
}

#[test]
fn models_are_listed_below_the_base_path() {
    let path = |engine: &Engine, base: &str| {
        let Listing { path, .. } = engine.listing.unwrap();
        path(&base.parse().unwrap())
    };

    assert_eq!(path(&OPENAI, "https://a.test/api/chat/completions"), "/api/models");
    assert_eq!(path(&ANTHROPIC, "https://a.test/x/v1/messages"), "/v1/models?limit=1000");
}

#[test]
fn the_example_lists_every_name() {
    let example =
        include_str!("../../api.yaml.example").replace("\n                                       #", "");
    let (_, list) = example.split_once("usually seen from base_url. One of ").unwrap();
    let (list, _) = list.split_once('\n').unwrap();

    let mut listed: Vec<&str> = list.split(", ").map(str::trim).collect();
    listed.sort_unstable();

    assert_eq!(listed, names());
}
