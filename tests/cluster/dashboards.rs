//! The dashboards: what their script writes, and what Grafana reads.

use serde_json::{Value, json};

use crate::harness::With as _;
use crate::{installed, read, run};

/// The dashboards by name.
pub(crate) fn boards() -> Vec<(&'static str, Value)> {
    let parsed = |name| serde_json::from_str(&read(&format!("grafana/dashboards/{name}.json"))).unwrap();
    ["overview", "channels", "money"].map(|name| (name, parsed(name))).to_vec()
}

/// What Grafana's types say of dashboards.
fn types(boards: &[Value]) -> (bool, String) {
    installed("node/node_modules/.schema.json");
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["tests/cluster/node/dashboards.js".to_owned()];
    for (n, board) in boards.iter().enumerate() {
        let file = folder.path().join(format!("{n}.json"));
        std::fs::write(&file, board.to_string()).unwrap();
        arguments.push(file.to_str().unwrap().to_owned());
    }
    run("node", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn what_is_generated_is_what_the_script_would_write() {
    let (same, printed) = run("python3", &["grafana/dashboards.py", "--check"]);

    assert!(same, "write it anew with: make dashboards\n{printed}");
    let folder = crate::files("grafana/dashboards");
    assert_eq!(folder.len(), boards().len(), "{folder:?}");
}

#[test]
fn every_dashboard_and_every_option_of_a_panel_has_a_type_that_grafana_knows() {
    let boards: Vec<Value> = boards().into_iter().map(|(_, board)| board).collect();
    let count: usize = boards.iter().map(|board| board["panels"].as_array().unwrap().len()).sum();

    let (valid, printed) = types(&boards);

    assert!(valid, "{printed}");
    assert!(printed.contains(&format!("{count} panels")), "{printed}");
}

#[test]
fn a_dashboard_with_an_unknown_option_is_an_error() {
    let board = boards().remove(0).1;
    let at = |kind: &str| {
        board["panels"].as_array().unwrap().iter().position(|panel| panel["type"] == kind).unwrap()
    };
    let lines = format!("/panels/{}", at("timeseries"));
    let broken = [
        ("/colour".to_owned(), json!("red"), "must NOT have additional properties"),
        ("/graphTooltip".to_owned(), json!(9), "must be equal to one of the allowed values"),
        (format!("{lines}/options/legend/placement"), json!("somewhere"), "must be equal to one of"),
        (format!("{lines}/fieldConfig/defaults/custom/lineWidht"), json!(1), "must NOT have additional"),
        (format!("{lines}/targets/0/expression"), json!("up"), "must NOT have additional"),
        (format!("{lines}/type"), json!("lines"), "no type for panels of this kind"),
        (format!("/panels/{}/options/colorMode", at("stat")), json!("loud"), "must be equal to one of"),
    ];
    let boards: Vec<Value> =
        broken.iter().map(|(pointer, value, _)| board.clone().with(pointer, value.clone())).collect();

    let (valid, printed) = types(&boards);

    assert!(!valid);
    for (n, (pointer, _, told)) in broken.iter().enumerate() {
        let found = printed.lines().any(|line| line.contains(&format!("/{n}.json")) && line.contains(told));
        assert!(found, "{pointer}: {told}: {printed}");
    }
}

/// Grafana asks which one is meant when two have the same.
#[test]
fn ids_and_places_are_given_once() {
    for (name, board) in boards() {
        let panels = board["panels"].as_array().unwrap();
        let mut taken = std::collections::HashSet::new();
        for panel in panels {
            assert!(taken.insert(panel["id"].as_u64().unwrap()), "{name}: {}", panel["id"]);
        }
        let mut cells = std::collections::HashSet::new();
        for place in panels.iter().map(|panel| &panel["gridPos"]) {
            let number = |side: &str| place[side].as_u64().unwrap();
            assert!(number("x") + number("w") <= 24, "{name}: {place}");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(cells.insert((x, y)), "{name}: {place} lies on another panel");
                }
            }
        }
    }
}
