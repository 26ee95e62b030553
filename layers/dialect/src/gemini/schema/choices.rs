//! Choices among schemas.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::weight;
use super::words::Words;

/// The keywords of a choice.
const CHOICES: [&str; 2] = ["anyOf", "oneOf"];
/// Keywords that say nothing about which values match.
const NOTES: [&str; 8] =
    ["title", "description", "default", "examples", "example", "nullable", "deprecated", "$comment"];

/// The branches of a choice, when all that holds for all of them was written into each.
#[derive(Debug)]
pub(super) enum Branches {
    /// There is no choice.
    None,
    /// There is but one.
    One(Value),
    /// There are several.
    Several(Vec<Value>),
}

impl Branches {
    /// Takes the choice out of a schema.
    pub(super) fn of(
        map: &mut Map<String, Value>,
        words: &mut Words,
        nullable: &mut bool,
        left: &mut usize,
    ) -> Self {
        let mut lists = CHOICES.into_iter().filter_map(|choice| match map.shift_remove(choice) {
            Some(Value::Array(list)) if !list.is_empty() => Some(list),
            _ => None,
        });
        let Some(mut branches) = lists.next() else { return Self::None };
        if let Some(second) = lists.next() {
            words.add(format!("oneOf: {}", Value::from(second)));
        }
        let before = branches.len();
        branches.retain(|branch| !is_null(branch));
        *nullable |= branches.len() < before;
        let told = only_required(&branches);
        if let Some(told) = told {
            words.add(told);
            return Self::None;
        }
        if let Some(choice) = as_words(&branches, words) {
            map.insert("type".into(), "string".into());
            map.insert("enum".into(), choice);
            return Self::None;
        }
        match branches.len() {
            0 => {
                map.insert("type".into(), "null".into());
                Self::None
            }
            1 => branches.pop().map_or(Self::None, Self::One),
            count => {
                let shared: Vec<String> =
                    map.keys().filter(|key| !NOTES.contains(&key.as_str())).cloned().collect();
                let weights = shared.iter().filter_map(|key| map.get(key)).map(|value| weight(value, *left));
                let once = weights.sum::<usize>();
                let all = once.saturating_mul(count);
                if all > *left {
                    *left = left.saturating_sub(once);
                    words.add(format!("one of {}", Value::from(branches)));
                    return Self::None;
                }
                *left -= all;
                Self::Several(spread(map, shared, branches))
            }
        }
    }
}

fn is_null(branch: &Value) -> bool {
    branch.is_null()
        || branch.get("type").is_some_and(|kind| kind == "null")
        || branch.get("const").is_some_and(Value::is_null)
        || branch.get("enum").is_some_and(|list| *list == json!([null]))
}

/// What is told of branches that only demand properties; none where they say more.
fn only_required(branches: &[Value]) -> Option<String> {
    let mut forms = Vec::new();
    for branch in branches {
        let branch = branch.as_object()?;
        let more = |key: &String| key != "required" && key != "type" && !NOTES.contains(&key.as_str());
        let names = branch.get("required")?.as_array()?;
        if branch.keys().any(more) {
            return None;
        }
        let names: Vec<String> =
            names.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        forms.push(names.join(" and "));
    }
    (!forms.is_empty()).then(|| format!("at least one of these must be given: {}", forms.join("; ")))
}

/// The list of words that branches are, each of which may be explained.
fn as_words(branches: &[Value], words: &mut Words) -> Option<Value> {
    let (mut list, mut known): (Vec<Value>, HashSet<String>) = (Vec::new(), HashSet::new());
    let mut notes = Vec::new();
    for branch in branches {
        let branch = branch.as_object()?;
        let plain =
            |key: &String| matches!(key.as_str(), "const" | "enum" | "type" | "title" | "description");
        let own = match (branch.get("const"), branch.get("enum")) {
            (Some(word), None) => vec![word.clone()],
            (None, Some(Value::Array(own))) => own.clone(),
            _ => return None,
        };
        if !branch.keys().all(plain) || !own.iter().all(Value::is_string) {
            return None;
        }
        if let Some(note) = branch.get("description").or(branch.get("title")).and_then(Value::as_str) {
            notes.push(format!(
                "{}: {note}",
                Value::from(own.as_slice()).to_string().trim_matches(['[', ']'])
            ));
        }
        list.extend(own.into_iter().filter(|word| known.insert(word.to_string())));
    }
    if list.is_empty() {
        return None;
    }
    notes.into_iter().for_each(|note| words.add(note));
    Some(list.into())
}

/// Writes what holds for all branches into each of them.
fn spread(map: &mut Map<String, Value>, shared: Vec<String>, branches: Vec<Value>) -> Vec<Value> {
    let shared: Map<String, Value> =
        shared.into_iter().filter_map(|key| map.shift_remove(&key).map(|value| (key, value))).collect();
    if shared.is_empty() {
        return branches;
    }
    branches.into_iter().map(|branch| json!({ "allOf": [branch, shared] })).collect()
}
