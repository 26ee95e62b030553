use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::policy::Target;
use crate::testing::stage::{CallBuilder, is_untouched, payload, payload_json};
use crate::testing::{Scripted, call, exchange, mount, target};

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no map"),
    }
}

fn applied(body: Value, merge: Value, remove: Vec<Removal>) -> Value {
    let mut body = map(body);
    apply(&OverrideStep { merge: map(merge), remove }, &mut body);
    Value::Object(body)
}

#[test]
fn maps_merge_and_everything_else_replaces() {
    let body = json!({"a": {"b": 1, "c": 2}, "tools": [1, 2], "model": "m"});

    let merged = applied(body, json!({"a": {"b": 9, "d": 3}, "tools": [3], "new": null}), vec![]);

    assert_eq!(merged, json!({"a": {"b": 9, "c": 2, "d": 3}, "tools": [3], "model": "m", "new": null}));
}

#[test]
fn removal_filters_lists_by_condition_and_drops_what_is_left_empty() {
    let search = Removal {
        path: vec!["tools".into()],
        when: vec![vec![(vec!["type".into()], json!("web_search"))]],
        drop_empty: true,
    };
    let two = json!({"tools": [{"type": "web_search"}, {"type": "function"}]});
    let one = json!({"tools": [{"type": "web_search"}]});

    assert_eq!(applied(two, json!({}), vec![search.clone()]), json!({"tools": [{"type": "function"}]}));
    assert_eq!(applied(one, json!({}), vec![search]), json!({}));
}

#[test]
fn removal_follows_a_path() {
    let deep = Removal { path: vec!["a".into(), "b".into()], when: vec![], drop_empty: true };

    assert_eq!(
        applied(json!({"a": {"b": 1, "c": 2}}), json!({}), vec![deep.clone()]),
        json!({"a": {"c": 2}})
    );
    assert_eq!(applied(json!({"a": {"b": 1}, "x": 1}), json!({}), vec![deep]), json!({"x": 1}));
}

type Calls = Scripted<Call, (), Failure>;

/// The body that goes on when a call with this target and this body passes the layer.
async fn passed(target: Arc<Target>, call_of: impl FnOnce(CallBuilder) -> CallBuilder) -> Call {
    let calls = Calls::new().answers(());
    let call = call_of(call(exchange().shared(), target)).build();
    mount(ApplyOverridesLayer, &calls).ask(call).await.unwrap();
    calls.request()
}

#[tokio::test(start_paused = true)]
async fn a_parsed_body_is_merged_channel_wide_entries_first() {
    let target = target("a")
        .overrides(json!({"temperature": 0, "extra": {"a": 1, "b": 1}}))
        .overrides(json!({"temperature": 1, "extra": {"b": 2}}))
        .build();

    let call = passed(target, |call| call.parsed(json!({"model": "up-m", "temperature": 9}))).await;

    let expected = json!({"model": "up-m", "temperature": 1, "extra": {"a": 1, "b": 2}});
    assert_eq!(payload_json(&call), expected);
}

#[tokio::test(start_paused = true)]
async fn without_overrides_the_very_bytes_of_the_client_pass() {
    let call = passed(target("a").build(), |call| call).await;

    assert!(is_untouched(&call));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_convert_has_finished_are_left_alone() {
    let target = target("a").overrides(json!({"temperature": 0})).build();

    let call = passed(target, |call| call.bytes(&[r#"{"model":"#, r#""x"}"#])).await;

    assert_eq!(payload(&call), r#"{"model":"x"}"#);
}
