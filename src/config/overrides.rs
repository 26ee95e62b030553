//! Reads `post_body_parameter_overrides`, `__remove__` included.

use layers::policy::{OverrideStep, Removal};
use serde_json::{Map, Value as Json};

use super::problem::Report;
use super::schema::Item;
use super::settings::{OverrideEntry, as_flag};
use super::tree::Value;

const REMOVE: &str = "__remove__";
const REMOVE_GRAMMAR: &str = "field names, or {path: a.b, where: …, where_any: […], drop_empty: true}";

/// The entries in written order, and the removals beside them.
pub(super) fn read(
    item: Option<Item<'_>>,
    report: &mut Report,
) -> (Vec<(Box<str>, OverrideEntry)>, Vec<Removal>) {
    let mut entries = Vec::new();
    let mut remove = Vec::new();
    let Some(item) = item else {
        return (entries, remove);
    };
    let Some(pairs) = item.pairs() else {
        item.refuse("a map of body fields, or of model names to such maps", report);
        return (entries, remove);
    };
    for (pair, item) in pairs {
        if pair.key == REMOVE {
            remove = removals(item, report);
            continue;
        }
        let step = step(item, report);
        entries.push((pair.key.as_str().into(), OverrideEntry { value: item.node.to_json(), step }));
    }
    (entries, remove)
}

/// A map read as the overrides of one model, `stream` lifted out.
fn step(item: Item<'_>, report: &mut Report) -> Option<(OverrideStep, Option<bool>)> {
    let mut merge = Map::new();
    let mut remove = Vec::new();
    let mut stream = None;
    for (pair, item) in item.pairs()? {
        match pair.key.as_str() {
            REMOVE => remove = removals(item, report),
            "stream" => stream = as_flag(&item.node.to_json()),
            key => {
                merge.insert(key.to_owned(), item.node.to_json());
            }
        }
    }
    Some((OverrideStep { merge, remove }, stream))
}

fn removals(item: Item<'_>, report: &mut Report) -> Vec<Removal> {
    let mut list = Vec::new();
    for item in item.items() {
        match &item.node.value {
            Value::Map(_) => list.extend(removal(item, report)),
            Value::List(_) => item.refuse(REMOVE_GRAMMAR, report),
            _ => list.extend(item.text(report).map(|name| Removal {
                path: vec![name],
                when: Vec::new(),
                drop_empty: false,
            })),
        }
    }
    list
}

fn removal(item: Item<'_>, report: &mut Report) -> Option<Removal> {
    let mut path = Vec::new();
    let mut all: Vec<(Vec<String>, Json)> = Vec::new();
    let mut any: Vec<Vec<(Vec<String>, Json)>> = Vec::new();
    let mut drop_empty = false;
    for (pair, item) in item.pairs()? {
        match pair.key.as_str() {
            "path" => path = dotted(&item.text(report)?),
            "where" => all = condition(item),
            "where_any" => any = item.items().into_iter().map(condition).collect(),
            "drop_empty" => drop_empty = item.flag(report).unwrap_or(false),
            _ => {
                item.refuse(REMOVE_GRAMMAR, report);
                return None;
            }
        }
    }
    if path.is_empty() {
        item.refuse("a map with `path`, the dotted name of what to remove", report);
        return None;
    }
    let when = match (all.is_empty(), any.is_empty()) {
        (true, true) => Vec::new(),
        (false, true) => vec![all],
        // `where` holds beside each of the alternatives.
        (_, false) => any.into_iter().map(|one| all.iter().cloned().chain(one).collect()).collect(),
    };
    Some(Removal { path, when, drop_empty })
}

/// A scalar is compared with the thing itself, a map with what is at its dotted names.
fn condition(item: Item<'_>) -> Vec<(Vec<String>, Json)> {
    match item.pairs() {
        Some(pairs) => pairs.map(|(pair, item)| (dotted(&pair.key), item.node.to_json())).collect(),
        None => vec![(Vec::new(), item.node.to_json())],
    }
}

fn dotted(text: &str) -> Vec<String> {
    text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::problem::Path;
    use crate::config::tree::parse;

    type Read = (Vec<(Box<str>, OverrideEntry)>, Vec<Removal>, usize);

    fn read_text(yaml: &str) -> Read {
        let tree = parse(yaml).unwrap();
        let mut report = Report::default();
        let (entries, remove) = read(Some(Item { node: &tree, path: Path::ROOT }), &mut report);
        (entries, remove, report.into_problems(yaml).len())
    }

    #[test]
    fn the_stream_field_is_lifted_out_of_a_models_entry() {
        let (entries, _, problems) = read_text("m: {stream: true, top_p: 0.5}\n");

        let (step, stream) = entries[0].1.step.clone().unwrap();
        assert_eq!((stream, problems), (Some(true), 0));
        assert_eq!(Json::Object(step.merge), json!({"top_p": 0.5}));
    }

    #[test]
    fn removals_take_names_paths_and_conditions() {
        let (_, remove, problems) = read_text(
            "__remove__:\n  - user\n  - path: tools.list\n    where: {function.name: x}\n    where_any: [{type: a}, {type: b}]\n    drop_empty: true\n  - {path: stop, where: END}\n",
        );

        let path = |dots: &str| dotted(dots);
        assert_eq!(problems, 0);
        assert_eq!(remove[0], Removal { path: path("user"), when: vec![], drop_empty: false });
        assert_eq!(
            remove[1].when,
            [
                vec![(path("function.name"), json!("x")), (path("type"), json!("a"))],
                vec![(path("function.name"), json!("x")), (path("type"), json!("b"))],
            ]
        );
        assert!(remove[1].drop_empty);
        assert_eq!(remove[2].when, [vec![(vec![], json!("END"))]]);
    }

    #[test]
    fn a_single_name_to_remove_needs_no_list() {
        let (_, remove, _) = read_text("__remove__: user\n");

        assert_eq!(remove[0].path, ["user"]);
    }

    #[test]
    fn an_odd_removal_is_a_problem() {
        assert_eq!(read_text("__remove__: [{where: x}]\n").2, 1);
        assert_eq!(read_text("__remove__: [{path: a, when: x}]\n").2, 1);
    }
}
