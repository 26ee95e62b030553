//! The rules for Prometheus: what they say of known series, and whether somebody knows what to do then.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::objects::{documents, list};
use crate::{read, run};

const FILES: [&str; 2] = ["grafana/rules/recording.yaml", "grafana/rules/alerts.yaml"];
const TESTS: [&str; 2] = ["tests/cluster/rules/recording.yaml", "tests/cluster/rules/alerts.yaml"];

/// All rules.
pub(crate) fn rules() -> Vec<Value> {
    let groups = FILES.map(|file| documents(&read(file)).remove(0)["groups"].take());
    groups.iter().flat_map(list).flat_map(|group| list(&group["rules"])).cloned().collect()
}

/// The names under this field.
fn names(field: &str) -> BTreeSet<String> {
    rules().iter().filter_map(|rule| Some(rule[field].as_str()?.to_owned())).collect()
}

#[test]
fn every_rule_says_of_known_series_what_its_test_expects() {
    let (valid, printed) = run("promtool", &[["check", "rules"], FILES].concat());
    assert!(valid, "{printed}");

    let (valid, printed) = run("promtool", &[["test", "rules"], TESTS].concat());

    assert!(valid, "{printed}");
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_quiet() {
    let (mut fires, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    let tests = documents(&read(TESTS[1])).remove(0);
    for test in list(&tests["tests"]).flat_map(|test| list(&test["alert_rule_test"])) {
        let name = test["alertname"].as_str().unwrap().to_owned();
        let expected = test["exp_alerts"].as_array().unwrap();
        if expected.is_empty() {
            quiet.insert(name)
        } else {
            fires.insert(name)
        };
    }

    assert_eq!(fires, names("alert"));
    assert_eq!(quiet, names("alert"));
}

#[test]
fn every_recorded_series_has_a_test() {
    let tests = read(TESTS[0]);

    for name in names("record") {
        assert!(tests.contains(&name), "{name}");
    }
}

#[test]
fn every_alert_has_a_severity_and_says_what_it_means_and_the_page_says_what_to_do() {
    let page = read("docs/monitoring.md");
    for alert in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = alert["alert"].as_str().unwrap();

        assert!(page.contains(&format!("\n| `{name}` |")), "{name} is not in docs/monitoring.md");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for text in ["summary", "description"] {
            assert!(
                alert["annotations"][text].as_str().is_some_and(|text| text.ends_with('.')),
                "{name}: {text}"
            );
        }
    }
    let explained = page.lines().filter(|line| line.starts_with("| `UniApi")).count();
    assert_eq!(explained, names("alert").len(), "the page explains those that there are");
}
