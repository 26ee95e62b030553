//! The grammar as a whole: the examples that people start from, and the slips that they make.

use std::sync::Arc;
use std::time::Duration;

use dialect::TextScope;
use layers::policy::{Retries, Role};
use serde_json::json;

use super::settings::*;
use super::*;
use crate::values::*;

fn read(text: &str) -> Result<Loaded, Vec<Problem>> {
    load(text, Origin::Inline, &Environment::default())
}

fn good(text: &str) -> Loaded {
    read(text).unwrap_or_else(|problems| panic!("{}", printed(&problems)))
}

fn printed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// A provider named `a` with these further lines, and one client key.
fn provider(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "providers:\n  - provider: a\n    base_url: https://a.example/v1/chat/completions\n    api: k\n{lines}api_keys:\n  - api: sk-1\n"
    )
}

/// Two plain providers and one client key with these further lines.
fn caller(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "providers:\n  - {{provider: a, base_url: 'https://a/v1', api: k, model: [m, x/y]}}\n  - {{provider: b, base_url: 'https://b/v1', api: k, model: [m, n]}}\napi_keys:\n  - api: sk-1\n{lines}"
    )
}

/// An entry that can be served, for texts whose others cannot.
const SERVED: &str = "{provider: served, engine: mock, model: [m]}";

fn channel(lines: &str) -> ChannelSettings {
    good(&provider(lines)).settings.channels.remove(0)
}

fn model(lines: &str) -> ModelSettings {
    channel(lines).models.remove(0)
}

/// The one problem with a text: whether it is an error, its path and line, and all it prints.
fn sole(text: &str) -> (bool, String, Option<usize>, String) {
    let problems = match read(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    assert_eq!(problems.len(), 1, "{}", printed(&problems));
    let problem = &problems[0];
    (problem.is_error(), problem.path.clone(), problem.line, problem.to_string())
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/config/", $name, ".yaml"))
    };
}

// === the examples of the requirement document ===

#[test]
fn the_minimal_example_is_clean_and_discovers() {
    let loaded = good(fixture!("readme-minimal"));

    assert_eq!(loaded.warnings, []);
    assert!(loaded.settings.channels[0].discover);
    assert_eq!(loaded.settings.callers[0].role, Role::Admin);
    assert_eq!(loaded.settings.callers[0].rules[0].matcher, RuleMatch::All);
}

#[test]
fn the_advanced_example_has_no_unknown_key() {
    let loaded = good(fixture!("readme-advanced"));

    assert!(!printed(&loaded.warnings).contains("unknown key"), "{}", printed(&loaded.warnings));
    let engines: Vec<&str> = loaded.settings.channels.iter().map(|channel| channel.engine.name()).collect();
    assert_eq!(
        engines,
        [
            "gpt",
            "claude",
            "gemini",
            "vertex",
            "cloudflare",
            "azure",
            "azure-databricks",
            "aws",
            "vertex-express",
            "openrouter",
            "doubao",
        ]
    );
}

#[test]
fn the_advanced_example_means_what_it_says() {
    let settings = good(fixture!("readme-advanced")).settings;
    let gemini = &settings.channels[2];
    let vertex = &settings.channels[3];
    let find = |channel: &ChannelSettings, alias: &str| {
        channel.models.iter().find(|model| &*model.alias == alias).unwrap().clone()
    };

    let search = find(gemini, "gemini-2.5-pro-search");
    assert_eq!(&*search.upstream, "gemini-pro-latest");
    assert_eq!(search.timeouts.idle, Duration::from_secs(500));
    assert_eq!(search.keepalive, Some(Duration::from_secs(50)));
    assert_eq!(gemini.key_cooldown, Some(Duration::from_secs(60)));
    assert_eq!(find(gemini, "gemini-3-pro").timeouts.idle, Duration::from_secs(10));
    assert_eq!(find(vertex, "claude-opus-4-5").engine.name(), "vertex-claude");
    let flash = find(vertex, "gemini-2.5-flash").overrides.unwrap();
    assert_eq!(flash.steps[0].merge["generationConfig"]["thinkingConfig"]["includeThoughts"], json!(true));
    let azure = &settings.channels[5];
    assert_eq!(azure.cooldown, Duration::ZERO);
    assert_eq!(azure.models[0].overrides.as_ref().unwrap().steps[0].merge["key1"], json!("value1"));
    assert!(!settings.channels[9].tools);
    let weighted = &settings.callers[2];
    assert_eq!(
        weighted.rules.iter().map(|rule| rule.weight).collect::<Vec<_>>(),
        [Some(5), Some(3), Some(2)]
    );
    assert_eq!(weighted.credits.unwrap().amount, 10_000_000_000_000);
    assert_eq!(weighted.credits.unwrap().since, Some(1_704_038_400));
    assert_eq!(settings.callers[1].rules[3].matcher, RuleMatch::NestedAll(2));
    assert_eq!(settings.callers[0].role, Role::Admin);
    assert!(settings.globals.rate_limit.is_none());
    assert_eq!(settings.globals.price("claude-sonnet-4-5").input, 120_000);
}

#[test]
fn the_priority_example_keeps_its_order() {
    let loaded = good(fixture!("readme-priority"));

    assert_eq!(loaded.warnings, []);
    let ordinals: Vec<usize> = loaded.settings.callers[0]
        .rules
        .iter()
        .map(|rule| match &rule.matcher {
            RuleMatch::ChannelAll(channel) => channel[0],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ordinals, [1, 0]);
}

#[test]
fn the_group_example_nests_one_key_in_another() {
    let channels = "providers:\n  - {provider: aws, aws_access_key: a, aws_secret_key: b, model: [claude-sonnet-4-5]}\n  - {provider: anthropic, base_url: 'https://api.anthropic.com/v1/messages', api: k, model: [claude-sonnet-4-5]}\n  - {provider: openrouter, base_url: 'https://openrouter.ai/api/v1/chat/completions', api: k, model: [claude-sonnet-4-5]}\n";
    let loaded = good(&format!("{channels}{}", fixture!("readme-groups")));

    assert_eq!(loaded.warnings.len(), 1, "{}", printed(&loaded.warnings));
    assert_eq!(loaded.settings.callers[0].role, Role::Steward);
    assert_eq!(loaded.settings.callers[0].rules[0].matcher, RuleMatch::NestedAll(1));
    assert_eq!(loaded.settings.callers[1].algorithm, Algorithm::Random);
}

#[test]
fn the_fragments_read_as_their_text_says() {
    let rename = fixture!("readme-rename-fragment").replace(
        "    model:",
        "    base_url: https://api.openai.com/v1/chat/completions\n    api: k\n    model:",
    );
    let renamed = good(&format!("{rename}api_keys: [{{api: sk-1}}]\n"));
    assert_eq!(&*renamed.settings.channels[0].models[0].upstream, "gpt-5.2-2025-12-11");

    let preferences = |fragment: &str| {
        let lines: String = fragment.lines().map(|line| format!("  {line}\n")).collect();
        channel(&format!("preferences:\n{lines}"))
    };
    let timeout = preferences(fixture!("readme-timeout-fragment"));
    assert_eq!(timeout.model("gpt-5.2-2025-12-11", "x").timeouts.idle, Duration::from_secs(20));
    let one = preferences(fixture!("readme-key-limit-fragment"));
    assert_eq!(one.model("x", "gemini-1.5-pro-latest").key_quota.unwrap().windows[0].count, 1000);
    let two = preferences(fixture!("readme-key-limits-fragment"));
    assert_eq!(two.model("x", "gemini-1.5-pro-002").key_quota.unwrap().windows[0].count, 500);
    assert_eq!(two.model("x", "gemini-1.5-pro-001").key_quota.unwrap().windows[0].count, 1000);
    assert!(two.model("x", "gpt").key_quota.is_none());
}

// === api.yaml.example ===

const EXAMPLE: &str = include_str!("../../api.yaml.example");

/// The example with all of it live: a `#` at the margin stands before what is not, and a blank
/// behind it makes it a remark.
fn whole_example() -> String {
    let live = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with("  ") || !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(live).collect()
}

#[test]
fn the_shipped_example_has_not_one_problem() {
    for text in [EXAMPLE, &whole_example()] {
        let loaded = good(text);

        assert_eq!(loaded.warnings, [], "{}", printed(&loaded.warnings));
    }
}

#[test]
fn the_shipped_example_serves_one_provider_as_it_stands_and_all_of_them_when_wanted() {
    let (live, whole) = (good(EXAMPLE).settings, good(&whole_example()).settings);

    assert_eq!((live.channels.len(), live.callers.len()), (1, 1));
    assert!(live.globals.proxy.is_none() && live.channels[0].proxy.is_none());
    assert_eq!((whole.channels.len(), whole.callers.len()), (15, 3));
    assert!(whole.globals.proxy.is_some());
}

#[test]
fn the_shipped_example_shows_every_key() {
    let keys: std::collections::HashSet<&str> = EXAMPLE
        .lines()
        .flat_map(|line| line.split(['{', ' ', ',']))
        .filter_map(|word| word.strip_suffix(':'))
        .collect();

    for section in schema::ALL {
        for key in section.known {
            assert!(keys.contains(key), "{key} of {} is missing in api.yaml.example", section.name);
        }
    }
}

// === what could not be served ===

#[test]
fn every_mistake_names_its_path_and_line() {
    let cases = [
        (provider("engine: gtp"), "providers[0].engine", 5),
        (provider("tools: perhaps"), "providers[0].tools", 5),
        (
            provider("preferences: {model_timeout: {gpt-5: soon}}"),
            "providers[0].preferences.model_timeout[\"gpt-5\"]",
            5,
        ),
        (
            provider("preferences:\n  api_key_rate_limit: 15/fortnight"),
            "providers[0].preferences.api_key_rate_limit",
            6,
        ),
        (
            provider("preferences:\n  headers:\n    'bad name': x"),
            "providers[0].preferences.headers[\"bad name\"]",
            7,
        ),
        (provider("preferences: [1]"), "providers[0].preferences", 5),
        (provider("model:\n  - [a]"), "providers[0].model[0]", 6),
        (provider("max_request_body_bytes: big"), "providers[0].max_request_body_bytes", 5),
        (caller("model:\n  - a/*: heavy"), "api_keys[0].model[0][\"a/*\"]", 7),
        (caller("preferences: {rate_limit: 15}"), "api_keys[0].preferences.rate_limit", 6),
        (caller("preferences: {rate_limit: {m: 1/eon}}"), "api_keys[0].preferences.rate_limit.m", 6),
        (caller("preferences: {credits: much}"), "api_keys[0].preferences.credits", 6),
        (caller("preferences: {credits: 1, created_at: once}"), "api_keys[0].preferences.created_at", 6),
        (caller("preferences: {AUTO_RETRY: often}"), "api_keys[0].preferences.AUTO_RETRY", 6),
        (format!("{}preferences: {{rate_limit: {{a: 1/min}}}}\n", caller("")), "preferences.rate_limit", 6),
        (format!("{}preferences: {{cooldown_period: long}}\n", caller("")), "preferences.cooldown_period", 6),
        ("providers:\n  - {provider: a, api: k}\napi_keys: [{api: k}]\n".into(), "providers[0]", 2),
        ("providers:\n  - {base_url: 'https://a/v1'}\napi_keys: [{api: k}]\n".into(), "providers[0]", 2),
        (
            "providers:\n  - {provider: a, base_url: a.example}\napi_keys: [{api: k}]\n".into(),
            "providers[0].base_url",
            2,
        ),
        (caller("").replace("  - api: sk-1", "  - role: x"), "api_keys[0]", 5),
        (caller("").replace("  - api: sk-1", "  - api: [a, b]"), "api_keys[0].api", 5),
    ];

    for (text, path, line) in cases {
        let (is_error, found, at, printed) = sole(&text);
        assert!(is_error, "{printed}");
        assert_eq!((found.as_str(), at), (path, Some(line)), "{printed}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = provider("engine: gtp")
        .replace("api: k\n", "api: 'a b'\n")
        .replace("sk-1\n", "sk-1\n    preferences: {rate_limit: x}\n");

    let problems = read(&text).unwrap_err();

    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["providers[0].api", "providers[0].engine", "api_keys[0].preferences.rate_limit"]);
}

#[test]
fn a_text_that_is_no_configuration_is_refused() {
    for (text, word) in [
        ("", "empty text"),
        ("# only a comment\n", "empty text"),
        ("- a\n- b\n", "a list of 2"),
        ("hello", "\"hello\""),
        ("providers: 5\napi_keys: [{api: k}]\n", "5"),
        ("providers: []\n", "no client key"),
        ("providers: []\napi_keys: []\n", "no client key"),
        ("providers:\n\t- a\n", "tabs"),
    ] {
        let problems = read(text).unwrap_err();
        assert!(printed(&problems).contains(word), "{text:?}: {}", printed(&problems));
    }
}

#[test]
fn an_engine_slip_comes_with_the_right_name() {
    assert!(sole(&provider("engine: antropic")).3.contains("did you mean anthropic?"));
}

#[test]
fn keys_that_lead_in_a_circle_are_printed() {
    let text = "providers: [{provider: a, base_url: 'https://a/v1', api: k, model: [m]}]\napi_keys:\n  - {api: sk-a, role: admin, model: [sk-b/*]}\n  - {api: sk-b, role: two, model: [a/*, sk-c/m]}\n  - {api: sk-c, model: [sk-b/*]}\n";

    let (is_error, path, line, printed) = sole(text);

    assert!(is_error);
    assert_eq!((path.as_str(), line), ("api_keys[1].model", Some(4)));
    assert!(printed.contains("two (api_keys[1]) -> "), "{printed}");
    assert!(printed.contains("(api_keys[2]) -> two (api_keys[1])"), "{printed}");
    assert!(!printed.contains("sk-c"), "{printed}");
}

#[test]
fn a_key_that_names_itself_is_a_circle() {
    assert!(sole(&caller("model: [sk-1/*]")).3.contains("back to themselves"));
}

/// Keys in levels, of which each names every key of the next level; the last may use everything.
fn levels(count: usize, width: usize) -> String {
    let mut text = "providers: [{provider: a, base_url: 'https://a/v1', api: k, model: [m]}]\napi_keys:\n  - {api: sk-admin, role: admin}\n".to_owned();
    for level in 0..count {
        let next: Vec<String> = (0..width).map(|at| format!("sk-{}-{at}/*", level + 1)).collect();
        let rules = if level + 1 == count { "all".to_owned() } else { next.join(", ") };
        for at in 0..width {
            text.push_str(&format!("  - {{api: sk-{level}-{at}, model: [{rules}]}}\n"));
        }
    }
    text
}

#[test]
fn keys_may_be_sixty_four_levels_deep_and_not_one_more() {
    assert_eq!(good(&levels(64, 1)).warnings, []);

    for (count, line) in [(65, 4), (10_000, 9_939)] {
        let (is_error, path, at, printed) = sole(&levels(count, 1));
        assert!(
            is_error && printed.contains("65 levels deep") && printed.contains("at most 64"),
            "{printed}"
        );
        assert_eq!((path, at), (format!("api_keys[{}].model", line - 3), Some(line)), "{printed}");
    }
}

#[test]
fn keys_that_lead_to_the_same_keys_in_too_many_ways_are_refused_where_it_becomes_too_much() {
    assert_eq!(good(&levels(11, 2)).warnings, []);

    let problems = read(&levels(22, 2)).unwrap_err();

    // Both keys of one level, and none above them.
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["api_keys[19].model", "api_keys[20].model"], "{}", printed(&problems));
    assert!(problems[0].line == Some(22) && problems[0].found.contains("8191"), "{}", problems[0]);
    assert_eq!(problems[0].accepted, "at most 4096");
}

#[test]
fn two_keys_may_share_a_third() {
    let text = "providers: [{provider: a, base_url: 'https://a/v1', api: k, model: [m]}]\napi_keys:\n  - {api: sk-a, role: admin, model: [sk-b/*, sk-c/*]}\n  - {api: sk-b, model: [sk-c/*]}\n  - {api: sk-c}\n";

    assert_eq!(good(text).warnings, []);
}

// === texts that YAML takes for something else ===

/// Scalars that a reader of YAML makes a number, a flag or a date of.
const ODD_TEXTS: [&str; 19] = [
    "0xdeadbeef",
    "12e5",
    "4.10",
    "0o17",
    "0b101",
    "1_000",
    "+42",
    "007",
    ".5",
    "5.",
    "1.0",
    "1E3",
    "123456789012345678901234567890",
    "yes",
    "on",
    "True",
    "FALSE",
    "2024-01-01",
    "12:30:45",
];

#[test]
fn keys_and_names_are_what_was_typed_and_not_what_yaml_makes_of_it() {
    for odd in ODD_TEXTS {
        let text = format!(
            "providers:\n  - provider: {odd}\n    base_url: https://a/v1\n    api: [{odd}, k]\n    model: [{odd}, {{up: 1{odd}}}, {{2{odd}: alias}}]\n    preferences: {{model_timeout: {{{odd}: 7, default: 8}}}}\napi_keys:\n  - api: {odd}\n    role: {odd}\n    model: [{odd}/*]\n"
        );
        let loaded = good(&text);

        assert_eq!(loaded.warnings, [], "{odd}: {}", printed(&loaded.warnings));
        let (channel, caller) = (&loaded.settings.channels[0], &loaded.settings.callers[0]);
        let names: Vec<&str> =
            channel.models.iter().flat_map(|model| [&*model.alias, &*model.upstream]).collect();
        let (first, second) = (format!("1{odd}"), format!("2{odd}"));
        assert_eq!(names, [odd, odd, &first, "up", "alias", &second], "{odd}");
        assert_eq!(channel.name.as_str(), odd);
        assert_eq!(channel.keys[0].expose(), odd);
        assert_eq!((caller.key.expose(), &*caller.alias), (odd, odd));
        assert_eq!(caller.rules[0].matcher, RuleMatch::ChannelAll([0].into()), "{odd}");
        assert_eq!(channel.models[0].timeouts.idle, Duration::from_secs(7), "{odd}");
    }
}

#[test]
fn numbers_are_numbers_however_they_are_typed() {
    let lines = "model: [m]\npreferences:\n  cooldown_period: 0x10\n  model_timeout: 1.5e1\n  max_request_body_bytes: 1e6\n  post_body_parameter_overrides: {a: 0x10, b: 4.10, c: True}";
    let channel = channel(lines);

    assert_eq!(channel.cooldown, Duration::from_secs(16));
    assert_eq!(channel.models[0].timeouts.idle, Duration::from_secs(15));
    assert_eq!(channel.max_request_body_bytes, Some(1_000_000));
    let body = &channel.models[0].overrides.as_ref().unwrap().steps[0].merge;
    assert_eq!((&body["a"], &body["b"], &body["c"]), (&json!(16), &json!(4.1), &json!(true)));
    let money = |text: &str| {
        let text = caller(&format!("preferences: {{credits: {text}, AUTO_RETRY: 0x2}}"));
        let caller = good(&text).settings.callers.remove(0);
        assert_eq!(caller.retries, Retries::AtMost(2));
        caller.credits.unwrap().amount
    };
    assert_eq!(money("1.5e-3"), 1_500_000_000);
    assert_eq!(money("0x10"), 16_000_000_000_000);
    // More digits than a floating-point number has.
    assert_eq!(money("123456789.123456789012"), 123_456_789_123_456_789_012);
}

#[test]
fn what_was_typed_is_kept_through_anchors_and_merges() {
    let text = "x-base: &base\n  base_url: https://a/v1\n  api: &key 4.10\nproviders:\n  - {<<: *base, provider: a, model: [&name 1.0, *key]}\n  - {<<: *base, provider: *name, model: [m]}\napi_keys: [{api: sk-1}]\n";
    let settings = good(text).settings;

    assert_eq!(settings.channels[0].keys[0].expose(), "4.10");
    assert_eq!(settings.channels[1].name.as_str(), "1.0");
    assert_eq!(
        settings.channels[0].models.iter().map(|model| &*model.alias).collect::<Vec<_>>(),
        ["1.0", "4.10"]
    );
}

// === what starts with a warning ===

#[test]
fn slips_that_can_be_served_are_warnings_with_a_place() {
    let cases = [
        (provider("modle: [m]"), "providers[0].modle", "did you mean model?"),
        (provider("rate_limit: 1/min"), "providers[0].rate_limit", "write api_key_rate_limit"),
        (provider("proxy: 'http://h:1'"), "providers[0].proxy", "belongs to"),
        (provider("model: gpt"), "providers[0].model", "list of one"),
        (provider("model: [x: m, y: m]"), "providers[0].model[1].y", "earlier model"),
        (provider("discover: false"), "providers[0]", "nothing reaches"),
        (
            provider("preferences: {proxy: 'host:1'}"),
            "providers[0].preferences.proxy",
            "requests through this one fail",
        ),
        (provider("preferences: {model_timeout: 0}"), "providers[0].preferences.model_timeout", "ignored"),
        (
            provider("preferences: {api_key_schedule_algorithm: rondom}"),
            "providers[0].preferences.api_key_schedule_algorithm",
            "random",
        ),
        (
            provider("preferences: {passthrough_request_headers: cookie}"),
            "providers[0].preferences.passthrough_request_headers",
            "not passed",
        ),
        (provider("preferences: {quirks: [x]}"), "providers[0].preferences.quirks[0]", "stream_options"),
        (
            provider("preferences: {api_key_quota_cooldown_period: 1}"),
            "providers[0].preferences.api_key_quota_cooldown_period",
            "no effect",
        ),
        (
            provider("model: [m]\npreferences: {keepalive_interval: 100}"),
            "providers[0].preferences.keepalive_interval",
            "below the model's timeout",
        ),
        (
            provider("model: [gpt-5]\npreferences: {post_body_parameter_overrides: {gpt-6: {a: 1}}}"),
            "providers[0].preferences.post_body_parameter_overrides[\"gpt-6\"]",
            "gpt-5",
        ),
        (
            provider("engine: codex").replace("api_keys", &format!("  - {SERVED}\napi_keys")),
            "providers[0].engine",
            "responses",
        ),
        (caller("model: m"), "api_keys[0].model", "list of one"),
        (caller("model: [c/*]"), "api_keys[0].model[0]", "does not exist"),
        (caller("model: [x/y]"), "api_keys[0].model[0]", "write <x/y>"),
        (caller("model: [a/mm]"), "api_keys[0].model[0]", "did you mean a/m?"),
        (caller("model: [mm]"), "api_keys[0].model[0]", "did you mean m?"),
        (caller("model: [a/m*]"), "api_keys[0].model[0]", "whole model names"),
        (caller("model: [sk-none/*]"), "api_keys[0].model[0]", "no entry has"),
        (caller("model: [sk-1]"), "api_keys[0].model[0]", "by itself"),
        (
            caller("model: [a/*: 0]\npreferences: {SCHEDULING_ALGORITHM: lottery}"),
            "api_keys[0].model[0][\"a/*\"]",
            "dropped",
        ),
        (caller("model: [a/*: 2]"), "api_keys[0].model", "do nothing"),
        (
            caller("preferences: {SCHEDULING_ALGORITHM: priority}"),
            "api_keys[0].preferences.SCHEDULING_ALGORITHM",
            "round_robin",
        ),
        (
            caller("preferences: {scheduling_algorithm: random}"),
            "api_keys[0].preferences.scheduling_algorithm",
            "SCHEDULING_ALGORITHM",
        ),
        (caller("preferences: {created_at: 2024-01-01}"), "api_keys[0].preferences.created_at", "credits"),
        (
            caller("preferences: {rate_limit: '1/min,5/tpr'}"),
            "api_keys[0].preferences.rate_limit",
            "api_key_rate_limit",
        ),
        (format!("{}video: {{}}\n", caller("")), "video", "no effect"),
        (
            format!("{}preferences: {{model_price: {{a: x}}}}\n", caller("")),
            "preferences.model_price.a",
            "1,2",
        ),
    ];

    for (text, path, word) in cases {
        let (is_error, found, line, printed) = sole(&text);
        assert!(!is_error, "{printed}");
        assert_eq!(found, path, "{printed}");
        assert!(line.is_some() && printed.contains(word), "{word}: {printed}");
    }
}

#[test]
fn words_of_other_programs_come_with_the_key_that_is_meant() {
    let cases = [
        (provider("url: x"), "providers[0].url", "write base_url"),
        (provider("API_KEY: x"), "providers[0].API_KEY", "write api"),
        (provider("name: x"), "providers[0].name", "write provider"),
        (provider("type: gpt"), "providers[0].type", "write engine"),
        (provider("timeout: 5"), "providers[0].timeout", "model_timeout under preferences"),
        (provider("cooldown: 5"), "providers[0].cooldown", "cooldown_period under preferences"),
        (
            provider("preferences: {cooldown: 5}"),
            "providers[0].preferences.cooldown",
            "write cooldown_period",
        ),
        (provider("preferences: {timeout: 5}"), "providers[0].preferences.timeout", "write model_timeout"),
        (caller("name: x"), "api_keys[0].name", "write role"),
        (
            caller("preferences: {USE_ROUND_ROBIN: true}"),
            "api_keys[0].preferences.USE_ROUND_ROBIN",
            "write SCHEDULING_ALGORITHM: round_robin",
        ),
        (
            caller("preferences: {max_retry_count: 3}"),
            "api_keys[0].preferences.max_retry_count",
            "AUTO_RETRY",
        ),
        (
            format!("{}preferences: {{timeout: 5}}\n", caller("")),
            "preferences.timeout",
            "write model_timeout",
        ),
        (format!("{}preferences: {{price: {{}}}}\n", caller("")), "preferences.price", "write model_price"),
        (format!("{}settings: {{}}\n", caller("")), "settings", "write preferences"),
    ];
    for (text, path, hint) in cases {
        let (is_error, found, line, printed) = sole(&text);

        assert!(!is_error && line.is_some(), "{printed}");
        assert!(
            found == path && printed.contains(&format!("hint: {hint}")) || printed.contains(hint),
            "{printed}"
        );
    }
}

#[test]
fn a_key_that_is_missing_under_another_word_is_refused_with_that_word() {
    let provider = |entry: &str| format!("providers:\n  - {entry}\napi_keys: [{{api: sk-1}}]\n");
    for (text, hint) in [
        (provider("{name: a, base_url: 'https://a/v1', api: k}"), "name is called provider here"),
        (provider("{provider: a, url: 'https://a/v1', api: k}"), "url is called base_url here"),
        (provider("{provider: a, base_url: 'https://a/v1', api_key: k}"), "api_key is called api here"),
        (caller("").replace("- api: sk-1", "- key: sk-1"), "key is called api here"),
    ] {
        let problems = read(&text).unwrap_err();
        assert!(problems[0].hint.as_deref() == Some(hint), "{}", printed(&problems));
    }
}

#[test]
fn a_map_in_place_of_a_key_is_refused_without_showing_the_key() {
    for (entry, hint) in [
        ("[{key: sk-hidden-1}]", "write `- sk-…`: the key alone, without `key:`"),
        ("[{sk-hidden-1: x}]", "write `- sk-…`: the key alone"),
    ] {
        let text = provider("model: [m]").replace("api: k\n", &format!("api: {entry}\n"));
        let (is_error, path, line, printed) = sole(&text);

        assert!(is_error && path == "providers[0].api[0]" && line == Some(4), "{printed}");
        assert!(printed.ends_with(&format!("hint: {hint}")) && !printed.contains("hidden"), "{printed}");
    }
}

#[test]
fn an_ignored_word_says_what_it_lets_through() {
    let all = "this key may use every model";
    for (text, consequence) in [
        (caller("modle: [m]"), all),
        (caller("models: [m]"), all),
        (caller("rate_limit: 1/min"), "this key has no rate limit"),
        (caller("preferences: {RATE_LIMIT: 1/min}"), "this key has no rate limit"),
        (caller("preferences: {credit: 5}"), "this key may spend without limit"),
        (caller("credits: 5"), "this key may spend without limit"),
        (caller("preferences: {ENABLE_MODERATON: true}"), "its texts are judged by nobody"),
        (caller("enable: false"), "it is in use"),
        (caller("preference: {rate_limit: 1/min}"), "this key has no limits of its own"),
        (provider("preferences: {Proxy: 'socks5://h:1'}"), "no proxy is used for it"),
        (provider("rate_limit: 1/min"), "its keys have no rate limit"),
        (
            format!("{}preferences: {{rate_limits: 1/min}}\n", caller("")),
            "there is no limit over all requests",
        ),
    ] {
        let (is_error, _, line, printed) = sole(&text);
        assert!(!is_error && line.is_some(), "{printed}");
        assert!(printed.contains(&format!("this one is ignored: {consequence}")), "{printed}");
    }
    // The key itself is there too: nothing is let through.
    assert!(!sole(&caller("modle: [m]\nmodel: [a/*]")).3.contains(all));
}

#[test]
fn settings_that_do_nothing_are_told() {
    let masked = "this one is masked";
    let cases = [
        (
            provider("preferences: {model_timeout: {gpt-4*: 180}}"),
            "providers[0].preferences.model_timeout[\"gpt-4*\"]",
            "write gpt-4",
        ),
        (
            provider("preferences: {keepalive_interval: {'*': 20}}"),
            "providers[0].preferences.keepalive_interval[\"*\"]",
            "write default",
        ),
        (
            provider("preferences: {api_key_rate_limit: {gpt-4*: 1/min}}"),
            "providers[0].preferences.api_key_rate_limit[\"gpt-4*\"]",
            "write gpt-4",
        ),
        (
            caller("preferences: {rate_limit: {gpt-4*: 1/min}}"),
            "api_keys[0].preferences.rate_limit[\"gpt-4*\"]",
            "write gpt-4",
        ),
        (
            format!("{}preferences: {{model_price: {{gpt-4*: 1}}}}\n", caller("")),
            "preferences.model_price[\"gpt-4*\"]",
            "write gpt-4",
        ),
        (
            provider("preferences: {timeout_policy: {rules: [{match: {model: '*gpt'}, timeout: 5}]}}"),
            "providers[0].preferences.timeout_policy.rules[0].match.model",
            "at its end",
        ),
        (provider("model: [gpt-*]"), "providers[0].model[0]", "without `model`"),
        (caller("model: [gpt-*]"), "api_keys[0].model[0]", "that very name"),
        (
            provider("preferences: {passthrough_request_headers: [x-*]}"),
            "providers[0].preferences.passthrough_request_headers[0]",
            "stands for itself",
        ),
        (provider("exclude_endpoints: /v1/images/*"), "providers[0].exclude_endpoints", "excludes nothing"),
        (provider("model: [{name: org/model}]"), "providers[0].model[0].name", "write `- org/model`"),
        (provider("model: [{id: x}]"), "providers[0].model[0].id", "write `- x`"),
        (
            provider("preferences: {proxy: 'socks5://u:p@host:abc'}"),
            "providers[0].preferences.proxy",
            "a port from 1 to 65535",
        ),
        (
            provider("preferences: {proxy: 'socks5://u:p@host:0'}"),
            "providers[0].preferences.proxy",
            "a port from 1 to 65535",
        ),
        (
            provider("preferences: {proxy: 'socks5://****:****@****:****'}"),
            "providers[0].preferences.proxy",
            masked,
        ),
        (provider("model: [m]").replace("//a.example", "//****"), "providers[0].base_url", masked),
        (provider("model: [m]").replace("api: k\n", "api: sk-****\n"), "providers[0].api", "masked key"),
        (
            format!("{}preferences: {{proxy: 'http://h:99999'}}\n", caller("")),
            "preferences.proxy",
            "a port from 1 to 65535",
        ),
    ];
    for (text, path, word) in cases {
        let (is_error, found, line, printed) = sole(&text);
        assert!(!is_error && line.is_some(), "{printed}");
        assert_eq!(found, path, "{printed}");
        assert!(printed.contains(word), "{word}: {printed}");
        assert!(!printed.contains("u:p@"), "{printed}");
    }
    for proxy in ["socks5://h", "socks5h://[::1]:1080", "http://[::1]", "HTTP://u:p%40@h:8080/"] {
        let text = provider(&format!("preferences: {{proxy: '{proxy}'}}"));
        assert_eq!(good(&text).warnings, [], "{proxy}");
    }
}

#[test]
fn rules_without_a_weight_beside_rules_with_one_are_noted_and_no_fault() {
    let lines = "model: [all, a/*: 9]\npreferences: {SCHEDULING_ALGORITHM: weighted_round_robin}";

    let notes = good(&caller(lines)).warnings;

    assert_eq!(notes.len(), 1, "{}", printed(&notes));
    assert_eq!((notes[0].severity, &*notes[0].path), (Severity::Note, "api_keys[0].model"));
    assert!(notes[0].line == Some(6) && notes[0].to_string().starts_with("note: "), "{}", notes[0]);
    let even = lines.replace("all, a/*: 9", "a/*: 9, b/*: 1");
    assert_eq!(good(&caller(&even)).warnings, []);
}

#[test]
fn an_empty_list_of_rules_is_noted_because_it_means_everything() {
    let loaded = good(&caller("model: []"));

    let note = &loaded.warnings[0];
    assert_eq!((note.severity, &*note.path, note.line), (Severity::Note, "api_keys[0].model", Some(6)));
    assert!(note.accepted.contains("every model"), "{note}");
    assert_eq!(loaded.settings.callers[0].rules[0].matcher, RuleMatch::All);
}

#[test]
fn a_key_in_the_wrong_place_comes_with_the_right_one() {
    for (text, hint) in [
        (caller("preferences: {model: [m]}"), "model belongs to a client key"),
        (provider("preferences: {tools: false}"), "tools belongs to a provider"),
        (provider("model_price: {a: 1}"), "model_price belongs to the global preferences"),
        (provider("model_timeout: 5"), "model_timeout belongs to a provider's preferences"),
        (
            format!("{}model_timeout: 5\n", caller("")),
            "model_timeout belongs to a provider's preferences or the global preferences",
        ),
    ] {
        let (is_error, _, _, printed) = sole(&text);
        assert!(!is_error && printed.ends_with(&format!("hint: {hint}")), "{hint}: {printed}");
    }
}

#[test]
fn what_is_accepted_is_said_completely() {
    for (text, accepted) in [
        (caller("preferences: {AUTO_RETRY: often}"), "true, false or a number of retries"),
        (provider("preferences: {model_timeout: soon}"), "or a map of models"),
        (provider("preferences: {keepalive_interval: soon}"), "or a map of models"),
    ] {
        let (is_error, _, _, printed) = sole(&text);
        assert!(is_error && printed.contains(accepted), "{printed}");
    }
}

#[test]
fn channels_of_one_name_are_both_meant_by_a_rule() {
    let text = "providers:\n  - {provider: a, base_url: 'https://a/v1', api: k, model: [m]}\n  - {provider: a, base_url: 'https://b/v1', api: l, model: [m]}\n  - {provider: a~2, base_url: 'https://c/v1', api: l, model: [m]}\napi_keys: [{api: sk-1, model: [a/*, a~2/m]}]\n";

    let loaded = good(text);

    let names: Vec<&str> = loaded.settings.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["a", "a~2", "a~2~2"]);
    let ordinals = |rule: usize| match &loaded.settings.callers[0].rules[rule].matcher {
        RuleMatch::ChannelAll(channel) | RuleMatch::ChannelModel(channel, _) => channel.to_vec(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ordinals(0), [0, 1]);
    assert_eq!(ordinals(1), [2]);
    assert_eq!(loaded.warnings.len(), 2);
}

#[test]
fn what_is_turned_off_is_not_there() {
    let text = "providers:\n  - {provider: a, enabled: false}\n  - {provider: b, base_url: 'https://b/v1', api: l, model: [m]}\napi_keys:\n  - {api: sk-1, role: admin, model: [a/*, b/*, sk-2/*]}\n  - {api: sk-2, enabled: false}\n";

    let loaded = good(text);

    assert_eq!(loaded.warnings, []);
    assert_eq!((loaded.settings.channels.len(), loaded.settings.callers.len()), (1, 1));
    assert_eq!(loaded.settings.callers[0].rules.len(), 2);
}

// === what the keys mean ===

#[test]
fn one_of_several_keys_is_steward_and_none_of_two_with_an_admin() {
    let roles = |lines: &str| {
        good(&caller(lines)).settings.callers.iter().map(|caller| caller.role).collect::<Vec<_>>()
    };

    assert_eq!(roles(""), [Role::Admin]);
    assert_eq!(caller("").matches("api_keys").count(), 1);
    let two = |role: &str| format!("{}  - api: sk-2\n    role: {role}\n", caller(""));
    let loaded = good(&two("my-admin-x"));
    assert_eq!(
        (loaded.settings.callers[0].role, loaded.settings.callers[1].role),
        (Role::Steward, Role::User)
    );
    assert_eq!(loaded.warnings.len(), 2);
    assert_eq!(good(&two("' admin '")).settings.callers[1].role, Role::User, "written otherwise");
    let loaded = good(&two("ADMIN"));
    assert_eq!((loaded.settings.callers[0].role, loaded.settings.callers[1].role), (Role::User, Role::Admin));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_scope_of_moderation_is_one_of_two_words_and_does_nothing_alone() {
    let scope = |lines: &str| good(&caller(&format!("preferences:\n{lines}"))).settings.callers[0].moderation;
    let on = "  ENABLE_MODERATION: true\n";

    assert_eq!(scope(on), Some(TextScope::Fresh));
    assert_eq!(scope(&format!("{on}  moderation_scope: ALL\n")), Some(TextScope::All));
    assert_eq!(scope("  moderation_scope: all\n"), None);
    let problems = read(&caller(&format!("preferences:\n{on}  moderation_scope: some\n"))).unwrap_err();
    assert!(problems.iter().any(|problem| problem.path.ends_with("moderation_scope")), "{problems:?}");
}

#[test]
fn turning_a_key_off_gives_its_rights_to_nobody() {
    let roles = |first: &str| {
        let text = caller(first) + "  - {api: sk-2}\n  - {api: sk-3}\n";
        good(&text).settings.callers.iter().map(|caller| caller.role).collect::<Vec<_>>()
    };

    assert_eq!(roles(""), [Role::Steward, Role::User, Role::User]);
    assert_eq!(roles("enabled: false"), [Role::User, Role::User]);
    assert_eq!(roles("enabled: false\nrole: admin"), [Role::User, Role::User]);
}

#[test]
fn rules_are_read_in_order_and_kind() {
    let text = caller(
        "model:\n  - all\n  - '*'\n  - m\n  - <x/y>\n  - a/*\n  - a/x/y: 3\n  - b/m:\n    b/n: 2\npreferences: {SCHEDULING_ALGORITHM: lottery}",
    );
    let loaded = good(&text);
    let rules = &loaded.settings.callers[0].rules;

    assert!(loaded.warnings.iter().all(|problem| problem.severity == Severity::Note));
    assert!(matches!(rules[0].matcher, RuleMatch::All) && matches!(rules[1].matcher, RuleMatch::All));
    assert_eq!(rules[2].matcher, RuleMatch::Model("m".into()));
    assert_eq!(rules[3].matcher, RuleMatch::Model("x/y".into()));
    assert!(matches!(&rules[4].matcher, RuleMatch::ChannelAll(channel) if **channel == [0]));
    assert!(matches!(&rules[5].matcher, RuleMatch::ChannelModel(_, model) if &**model == "x/y"));
    assert_eq!(
        rules.iter().map(|rule| rule.weight).collect::<Vec<_>>(),
        [None, None, None, None, None, Some(3), None, Some(2)]
    );
}

#[test]
fn retries_are_a_flag_or_a_number() {
    let retries = |value: &str| {
        good(&caller(&format!("preferences: {{AUTO_RETRY: {value}}}"))).settings.callers[0].retries
    };

    assert_eq!(good(&caller("")).settings.callers[0].retries, Retries::Budget);
    assert_eq!(retries("true"), Retries::Budget);
    assert_eq!(retries("false"), Retries::Never);
    assert_eq!(retries("0"), Retries::Never);
    assert_eq!(retries("3"), Retries::AtMost(3));
    assert_eq!(retries("'false'"), Retries::Never);
}

#[test]
fn credits_are_exact_and_zero_is_a_balance() {
    let credits = |value: &str| {
        good(&caller(&format!("preferences: {{credits: {value}, created_at: 2024-01-01 00:00:00 +08:00}}")))
            .settings
            .callers[0]
            .credits
    };

    assert_eq!(credits("0.1").unwrap().amount, 100_000_000_000);
    assert_eq!(credits("0").unwrap().amount, 0);
    assert_eq!(credits("0").unwrap().since, Some(1_704_038_400));
    assert!(credits("-1").is_none());
    for (text, since) in [
        ("2024-01-01", 1_704_067_200),
        ("2024-01-01T00:00:00Z", 1_704_067_200),
        ("1704067200", 1_704_067_200),
        ("'2024-01-01 12:00:00'", 1_704_110_400),
    ] {
        let loaded = good(&caller(&format!("preferences: {{credits: 1, created_at: {text}}}")));
        assert_eq!(loaded.settings.callers[0].credits.unwrap().since, Some(since), "{text}");
    }
}

#[test]
fn a_client_limit_is_one_window_or_one_per_model() {
    let limit = |value: &str| {
        good(&caller(&format!("preferences: {{rate_limit: {value}}}"))).settings.callers[0].rate_limit.clone()
    };

    assert!(matches!(limit("999999/min"), CallerLimit::None));
    assert!(matches!(limit("15/min"), CallerLimit::Single(quota) if quota.windows[0].count == 15));
    let CallerLimit::PerModel(table) = limit("{m: 999999/min, default: 4/min}") else { panic!("a table") };
    assert!(table.get("m").unwrap().is_unlimited());
    assert_eq!(table.get("other").unwrap().windows[0].count, 4);
    assert!(matches!(limit("{m: 999999/min}"), CallerLimit::None));
}

#[test]
fn timeouts_follow_channel_then_globals_then_the_environment() {
    let text = format!(
        "{}preferences:\n  model_timeout: {{glob: 7, default: 8}}\n",
        provider("model: [up: alias, x: alias-2, y: glob, z: none]\npreferences: {model_timeout: {up: 5}}")
    );
    let models = good(&text).settings.channels.remove(0).models;

    let idle: Vec<u64> = models.iter().map(|model| model.timeouts.idle.as_secs()).collect();
    assert_eq!(idle, [5, 8, 7, 8]);
    let env = Environment::from_vars([("TIMEOUT".to_owned(), "42".to_owned())]).unwrap();
    let loaded = load(&provider("model: [m]"), Origin::Inline, &env).unwrap();
    assert_eq!(loaded.settings.channels[0].models[0].timeouts.idle, Duration::from_secs(42));
}

#[test]
fn an_opening_is_waited_for_at_least_ten_minutes() {
    assert_eq!(model("model: [m]").timeouts.opening, Duration::from_secs(600));
    assert_eq!(
        model("model: [m]\npreferences: {model_timeout: 900}").timeouts.opening,
        Duration::from_secs(900)
    );
}

#[test]
fn the_strongest_timeout_rule_wins_and_the_channels_comes_last() {
    let text = format!(
        "{}preferences:\n  timeout_policy:\n    default: {{total: 50}}\n    rules:\n      - {{match: {{model: m*}}, timeout: 20}}\n      - {{match: {{model: m*, stream: true}}, timeout: 30}}\n",
        provider(
            "model: [m, n]\npreferences:\n  timeout_policy:\n    default: {idle: 11, connect: 3}\n    rules:\n      - {match: {endpoint: /v1/responses, role: [BATCH, x]}, timeout: {total: 99}}"
        )
    );
    let channel = good(&text).settings.channels.remove(0);
    let (m, n) = (&channel.models[0], &channel.models[1]);

    let seconds = |timeouts: layers::policy::Timeouts| {
        (timeouts.idle.as_secs(), timeouts.opening.as_secs(), timeouts.total.as_secs())
    };
    assert_eq!(seconds(m.timeouts), (11, 20, 50));
    assert_eq!(seconds(n.timeouts), (11, 600, 50));
    let facts =
        RequestFacts { stream: true, endpoint: "/v1/responses", role: "batch", ..RequestFacts::default() };
    assert_eq!(seconds(m.timeouts_for(&facts)), (11, 30, 99));
    assert_eq!(seconds(m.timeouts_for(&RequestFacts::default())), (11, 20, 50));
    assert_eq!(channel.connect_timeout, Duration::from_secs(3));
}

#[test]
fn a_timeout_rule_with_an_unknown_condition_applies_to_nothing() {
    let text =
        provider("model: [m]\npreferences: {timeout_policy: {rules: [{match: {modle: x}, timeout: 1}]}}");

    assert_eq!(good(&text).settings.channels[0].models[0].timeouts.opening, Duration::from_secs(600));
}

#[test]
fn keepalive_must_be_below_the_timeout() {
    let keepalive = |seconds: u32| {
        model(&format!("model: [m]\npreferences: {{model_timeout: 50, keepalive_interval: {seconds}}}"))
            .keepalive
    };

    assert_eq!(keepalive(49), Some(Duration::from_secs(49)));
    assert_eq!(keepalive(50), None);
    assert_eq!(keepalive(0), None);
}

#[test]
fn overrides_go_from_the_channel_to_the_model() {
    let channel = channel(
        "model: [up: alias, up: alias-2, other, up-3: up-alias]\npreferences:\n  post_body_parameter_overrides:\n    user: x\n    stream: true\n    __remove__: seed\n    alias: {top_p: 1, stream: false}\n    up: {top_k: 2}\n",
    );
    let of = |alias: &str| channel.models.iter().find(|model| &*model.alias == alias).unwrap();
    let steps = |alias: &str| {
        let overrides = of(alias).overrides.clone().unwrap();
        overrides.steps.iter().map(|step| json!(step.merge)).collect::<Vec<_>>()
    };

    assert_eq!(steps("alias"), [json!({"user": "x"}), json!({"top_k": 2}), json!({"top_p": 1})]);
    assert_eq!(steps("alias-2"), [json!({"user": "x"}), json!({"top_k": 2})]);
    assert_eq!(steps("other"), [json!({"user": "x"})]);
    assert_eq!((of("alias").forced_stream, of("alias-2").forced_stream), (Some(false), Some(true)));
    assert_eq!(of("other").overrides.as_ref().unwrap().steps[0].remove[0].path, ["seed"]);
}

#[test]
fn an_entry_named_like_an_alias_is_not_for_its_namesake_upstream() {
    let channel = channel(
        "model: [flash, flash: flash-think]\npreferences:\n  post_body_parameter_overrides:\n    flash: {a: 1}\n",
    );

    assert!(channel.models[0].overrides.is_some());
    assert!(channel.models[1].overrides.is_none());
}

#[test]
fn discovered_models_are_resolved_by_the_same_rules() {
    let channel = channel(
        "preferences:\n  model_timeout: {o3: 7}\n  post_body_parameter_overrides:\n    o3: {a: 1}\n    user: x\n",
    );
    let list: Vec<(Arc<str>, Arc<str>)> = ["o3", "gpt"].map(|name| (name.into(), name.into())).into();

    let models = channel.with_models(&list);

    let steps = |model: &ModelSettings| {
        model.overrides.as_ref().unwrap().steps.iter().map(|step| json!(step.merge)).collect::<Vec<_>>()
    };
    assert_eq!(steps(&models[0]), [json!({"user": "x"}), json!({"a": 1})]);
    assert_eq!(steps(&models[1]), [json!({"user": "x"})]);
    assert_eq!(models[0].timeouts.idle, Duration::from_secs(7));
    assert_eq!(steps(&channel.model("o3", "o3")), steps(&models[0]));
}

#[test]
fn numbers_and_single_values_stand_for_texts_and_lists() {
    let channel = channel(
        "model: [5, {6: 7}, {up: [one, two]}, null]\nexclude_endpoints: v1/embeddings/\nregion: us-east5, global\npreferences: {max_request_body_bytes: 1KiB, exclude_endpoints: [/a], headers: {X-N: 5}}",
    );

    let aliases: Vec<&str> = channel.models.iter().map(|model| &*model.alias).collect();
    assert_eq!(aliases, ["5", "7", "one", "two"]);
    let paths: Vec<&str> = channel.exclude_endpoints.iter().map(|path| &**path).collect();
    assert_eq!(paths, ["/v1/embeddings", "/a"]);
    assert_eq!(channel.max_request_body_bytes, Some(1024));
    assert_eq!(channel.regions, ["us-east5", "global"]);
    assert_eq!(channel.headers["x-n"], "5");
    let number = good(
        "providers: [{provider: 302, base_url: 'https://a/v1', api: 12345, model: [m]}]\napi_keys: [{api: 67890}]\n",
    );
    assert_eq!(number.settings.channels[0].name.as_str(), "302");
    assert_eq!(number.settings.callers[0].key.expose(), "67890");
}

#[test]
fn null_is_an_absent_key() {
    let text = provider("model:\npreferences:\nengine: ~\ntools: null");

    let loaded = good(&text);

    assert_eq!(loaded.warnings, []);
    assert!(loaded.settings.channels[0].tools && loaded.settings.channels[0].discover);
}

#[test]
fn without_a_setting_a_failed_model_rests_three_hundred_seconds_and_keys_on_a_hint_only() {
    let channel = channel("model: [m]");

    assert_eq!(channel.models[0].cooldown, Duration::from_secs(300));
    assert_eq!(channel.key_cooldown, None);
    assert_eq!(channel.models[0].timeouts.idle, Duration::from_secs(100));
}

#[test]
fn a_channel_s_own_settings_come_before_the_global_ones() {
    let text = format!(
        "{}preferences: {{cooldown_period: 5, proxy: 'http://global:1'}}\n",
        provider("model: [m]\npreferences: {cooldown_period: 0, proxy: 'http://own:1'}")
    );
    let plain =
        format!("{}preferences: {{cooldown_period: 5, proxy: 'http://global:1'}}\n", provider("model: [m]"));
    let (own, inherited) =
        (good(&text).settings.channels.remove(0), good(&plain).settings.channels.remove(0));

    assert_eq!((own.cooldown, own.models[0].cooldown), (Duration::ZERO, Duration::ZERO));
    assert_eq!(own.proxy.unwrap().expose(), "http://own:1");
    assert_eq!(inherited.cooldown, Duration::from_secs(5));
    assert_eq!(inherited.proxy.unwrap().expose(), "http://global:1");
}

#[test]
fn an_address_beside_account_data_wins_and_keeps_the_engine() {
    let engine = |lines: &str| {
        let text =
            format!("providers:\n  - {{provider: a, {lines}}}\n  - {SERVED}\napi_keys: [{{api: sk-1}}]\n");
        let channel = good(&text).settings.channels.remove(0);
        (channel.engine.name(), channel.base_url)
    };
    let local = "base_url: 'http://127.0.0.1:9'";

    assert_eq!(engine("project_id: p, private_key: k, client_email: e"), ("vertex", None));
    assert_eq!(engine(&format!("project_id: p, private_key: k, client_email: e, {local}")).0, "vertex");
    assert_eq!(engine("project_id: [p, q], api: [k, l]"), ("vertex-express", None));
    assert_eq!(
        engine(&format!("cf_account_id: c, api: k, {local}")),
        ("cloudflare", Some("http://127.0.0.1:9".into()))
    );
    assert_eq!(engine("aws_access_key: a, aws_secret_key: b, region: eu-west-1").0, "aws");
    assert_eq!(engine("engine: MOCK").0, "mock");
    assert_eq!(engine("cf_account_id: c, api: k"), ("cloudflare", None));
    for (url, found) in [
        ("https://a.test/v1/chat", "cohere-v1"),
        ("https://a.test/compatibility/v1", "gpt"),
        ("https://a.test", "cohere"),
    ] {
        assert_eq!(engine(&format!("engine: cohere, api: k, base_url: '{url}'")).0, found, "{url}");
    }
    assert_eq!(engine(&format!("engine: claude, api: k, {local}")).0, "claude");
}

#[test]
fn a_text_of_which_nothing_can_ever_be_served_is_an_error() {
    let off = "{provider: a, base_url: 'https://a.test/v1', api: k, enabled: false}";
    for (providers, found) in [
        (String::new(), "no provider"),
        ("providers: []\n".to_owned(), "no provider"),
        (format!("providers: [{off}]\n"), "no provider"),
    ] {
        let (is_error, path, _, printed) = sole(&format!("{providers}api_keys: [{{api: sk-1}}]\n"));

        assert!(is_error && printed.contains(&format!("found: {found}\n")), "{providers}: {printed}");
        assert_eq!(path, "providers");
    }
    assert!(read(&format!("providers: [{off}, {SERVED}]\napi_keys: [{{api: sk-1}}]\n")).is_ok());
}

#[test]
fn a_repeated_key_takes_its_project_along() {
    let text = format!(
        "providers: [{{provider: a, project_id: [p, q, r], api: [k, k, l], model: [m]}}, {SERVED}]\napi_keys: [{{api: sk-1}}]\n"
    );
    let channel = good(&text).settings.channels.remove(0);

    assert_eq!(channel.keys.iter().map(SecretText::expose).collect::<Vec<_>>(), ["k", "l"]);
    assert_eq!(channel.project_ids, ["p", "r"]);
}

#[test]
fn merge_keys_and_variables_reach_every_value() {
    let env = Environment::from_vars([("KEY".to_owned(), "from-env".to_owned())]).unwrap();
    let text = "x-base: &base\n  base_url: https://a/v1\n  api: ${KEY}\nproviders:\n  - <<: *base\n    provider: a\n    model: [m]\n  - <<: *base\n    provider: b\n    api: own\n    model: ['${NAME:-n}']\napi_keys: [{api: '${CLIENT:-sk-1}'}]\n";

    let loaded = load(text, Origin::Inline, &env).unwrap();

    assert_eq!(loaded.warnings, []);
    let channels = &loaded.settings.channels;
    assert_eq!((channels[0].keys[0].expose(), channels[1].keys[0].expose()), ("from-env", "own"));
    assert_eq!(&*channels[1].models[0].alias, "n");
}

#[test]
fn an_undefined_variable_names_its_path() {
    let (is_error, path, line, printed) = sole(&provider("preferences: {headers: {a: '${NOPE}'}}"));

    assert!(is_error);
    assert_eq!((path.as_str(), line), ("providers[0].preferences.headers.a", Some(5)));
    assert!(printed.contains("NOPE"));
}

#[test]
fn no_secret_is_in_what_is_printed() {
    let secret = "sk-VerySecretVerySecret123456789";
    let text = format!(
        "providers:\n  - {{provider: a, base_url: 'https://a/v1', api: [{secret}, {secret}, '{secret} x'], model: [m], preferences: {{proxy: '{secret}', headers: {{authorization: '{secret}'}}}}}}\napi_keys:\n  - {{api: {secret}, model: [{secret}/*, {secret}9/*, {secret}]}}\n  - {{api: {secret}}}\n{secret}: 1\n"
    );
    let problems = read(&text).unwrap_err();

    assert!(problems.len() > 4);
    assert!(!printed(&problems).contains("VerySecret"), "{}", printed(&problems));
    let settings = good(&provider("").replace("api: k", &format!("api: {secret}"))).settings;
    assert!(!format!("{settings:?}").contains("VerySecret"));
}

#[test]
fn many_keys_over_many_models_load() {
    let mut text = String::from("providers:\n");
    for channel in 0..20 {
        text.push_str(&format!("  - provider: c{channel}\n    base_url: https://c{channel}.example/v1/chat/completions\n    api: k\n    model:\n"));
        for model in 0..25 {
            text.push_str(&format!("      - up-{channel}-{model}: model-{}\n", channel * 25 + model));
        }
    }
    text.push_str("api_keys:\n");
    for key in 0..1000 {
        let role = if key == 0 { "admin" } else { "user" };
        text.push_str(&format!("  - api: sk-{key}\n    role: {role}\n    model: [all, c{}/*, model-{}]\n    preferences: {{rate_limit: {{model-1: 5/min, default: 60/min}}}}\n", key % 20, key % 500));
    }

    let loaded = good(&text);

    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.settings.callers.len(), 1000);
    assert_eq!(loaded.settings.channels.iter().map(|channel| channel.models.len()).sum::<usize>(), 500);
    // Equal tables are one table.
    let tables: std::collections::HashSet<*const lookup::Patterns<Arc<layers::policy::Quota>>> = loaded
        .settings
        .callers
        .iter()
        .map(|caller| match &caller.rate_limit {
            CallerLimit::PerModel(table) => Arc::as_ptr(table),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tables.len(), 1);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in "(providers|api_keys|preferences|- |  |\n|: |api|model|all|[*&!@{}\\[\\]#'\"0-9a-z.,$/-]){0,40}") {
        let _ = read(&text);
    }
}

#[test]
fn a_service_account_is_read_from_its_parts_or_from_its_whole_file() {
    let accounts = |lines: &str| {
        let text =
            format!("providers:\n  - {{provider: a, {lines}}}\n  - {SERVED}\napi_keys: [{{api: sk-1}}]\n");
        let loaded = good(&text);
        let channel = &loaded.settings.channels[0];
        let told = channel.accounts.iter().map(|account| {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let AccountSettings { private_key, key_id, email, project, token_uri } = account;
            let parts = [key_id, email, project, token_uri].map(text).join(" ");
            format!("{} {parts}", private_key.expose().escape_debug())
        });
        (channel.engine.name(), told.collect::<Vec<_>>(), printed(&loaded.warnings))
    };
    let file = r#"{"type":"service_account","project_id":"fp","private_key_id":"i","private_key":"k\nl","client_email":"fe","token_uri":"https://t.test"}"#;

    let (engine, parts, _) = accounts(r"project_id: p, client_email: e, private_key: 'k\nl'");
    assert_eq!((engine, parts), ("vertex", vec![r"k\nl - e p -".to_owned()]));
    for whole in [format!("'{file}'"), file.replace(':', ": ").replace("https: ", "https:")] {
        let (engine, parts, told) = accounts(&format!("private_key: {whole}"));
        assert_eq!((engine, parts), ("vertex", vec![r"k\nl i fe fp https://t.test".to_owned()]), "{told}");
    }
    let (_, beside, _) = accounts(&format!("private_key: '{file}', project_id: own, client_email: mine"));
    assert_eq!(beside, [r"k\nl i mine own https://t.test"]);
    let (_, several, _) =
        accounts("private_key: [k, l], client_email: [e, f], project_id: p, token_uri: 'https://t.test'");
    assert_eq!(several, ["k - e p https://t.test", "l - f p https://t.test"]);
}

#[test]
fn a_private_key_that_cannot_sign_is_told_without_the_key() {
    let told = |key: &str| {
        let lines = format!("provider: a, project_id: p, client_email: e, private_key: {key}");
        let text = format!("providers:\n  - {{{lines}}}\n  - {SERVED}\napi_keys: [{{api: sk-1}}]\n");
        printed(&good(&text).warnings)
    };

    for (key, found) in [
        (
            "'-----BEGIN PRIVATE KEY-----\\nsecret!\\n-----END PRIVATE KEY-----'",
            "a key that cannot be used: it is no PEM: its lines are no base64",
        ),
        ("c2VjcmV0", "a key that cannot be used: it is no RSA key of 2048 bits or more"),
        (r#"'{"type":"authorized_user","refresh_token":"secret"}'"#, "the credentials of a user"),
        ("'{secret'", "JSON that cannot be read"),
        ("{secret: x}", "a map without private_key"),
    ] {
        let told = told(key);
        assert!(told.contains("providers[0].private_key") && told.contains(found), "{told}");
        assert!(!told.contains("secret") && !told.contains("c2VjcmV0"), "{told}");
    }
}

#[test]
fn affinity_is_a_flag_or_prefix() {
    use layers::policy::Affinity;
    let read = |line: &str| read(&caller(&format!("preferences:\n{line}")));
    let affinity = |line: &str| read(line).unwrap().settings.callers[0].affinity;

    assert_eq!(affinity("  expose_route: true\n"), Affinity::Named);
    for (written, meant) in [
        ("true", Affinity::Named),
        ("named", Affinity::Named),
        ("PREFIX", Affinity::Prefix),
        ("false", Affinity::Off),
        ("off", Affinity::Off),
    ] {
        assert_eq!(affinity(&format!("  affinity: {written}\n")), meant, "{written}");
    }
    let problems = read("  affinity: sticky\n").unwrap_err();
    assert!(problems.iter().any(|problem| problem.path.ends_with("affinity")), "{problems:?}");
}

#[test]
fn the_length_of_a_context_is_a_number_for_all_models_or_one_by_name() {
    let lengths = |line: &str| {
        let loaded =
            good(&provider(&format!("model: [gpt-5.2, {{gpt-5-mini: small}}, o3]\npreferences:\n  {line}")));
        let models = &loaded.settings.channels[0].models;
        models.iter().map(|model| model.context).collect::<Vec<_>>()
    };

    assert_eq!(lengths("http2: false"), [None; 3]);
    assert_eq!(lengths("context_length: 1000"), [Some(1000); 3]);
    let by_name = lengths("context_length: {gpt-5: 400000, gpt-5.2: 4e5, default: 128000}");
    assert_eq!(by_name, [Some(400_000), Some(400_000), Some(128_000)]);
    for wrong in ["much", "0", "-1", "{o3: much}"] {
        assert!(read(&provider(&format!("preferences: {{context_length: {wrong}}}"))).is_err(), "{wrong}");
    }
}
