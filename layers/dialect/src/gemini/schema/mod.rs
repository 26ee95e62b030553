//! JSON schemas in the grammar that Google's API understands, which is a part of OpenAPI 3.0.
//!
//! Source: <https://ai.google.dev/api/caching#Schema>, and the refusals of unknown keywords, any of which spoils the
//! whole request. Nothing is left out: references are written out, choices and types are put into the forms there are,
//! and what has none is put into words beside the description. Names of properties are no keywords.

mod choices;
mod merge;
mod types;
mod words;

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use self::choices::Branches;
use self::types::{Kind, Kinds};
use self::words::Words;

/// Most values that are written out and gone through: references may name each other many times over.
const MOST: usize = 50_000;
/// Branches of a choice of which no two may be the same.
const MOST_COMPARED: usize = 256;
/// Deepest nesting.
const DEEPEST: usize = 48;

/// A schema in Google's grammar. `ordered` tells the order of properties, which answers keep.
pub(super) fn sanitised(schema: &Value, ordered: bool) -> Value {
    let mut sanitiser = Sanitiser { root: schema, left: MOST, open: vec!["#".to_owned()], ordered };
    sanitiser.schema(schema.clone(), 0)
}

/// A rewriter of one schema.
struct Sanitiser<'a> {
    root: &'a Value,
    /// Values that may still be written out or gone through.
    left: usize,
    /// The references that lead to what is being written.
    open: Vec<String>,
    ordered: bool,
}

impl Sanitiser<'_> {
    fn schema(&mut self, given: Value, depth: usize) -> Value {
        let mut map = match given {
            Value::Object(map) => map,
            Value::Bool(false) => return json!({ "type": "string", "description": "(never given)" }),
            _ => Map::new(),
        };
        if self.left == 0 || depth > DEEPEST {
            return json!({ "type": "object", "description": "(nested too deep to be told)" });
        }
        self.left -= 1;
        let opened = self.open.len();
        let mut words = Words::default();
        self.expand(&mut map, &mut words, 0);
        let written = self.settled(map, words, depth);
        self.open.truncate(opened);
        written
    }

    /// A schema without references and parts that hold all together.
    fn settled(&mut self, mut map: Map<String, Value>, mut words: Words, depth: usize) -> Value {
        if let Some(value) = map.shift_remove("const") {
            map.insert("enum".into(), json!([value]));
        }
        let mut nullable = map.shift_remove("nullable") == Some(Value::Bool(true));
        loop {
            match Branches::of(&mut map, &mut words, &mut nullable, &mut self.left) {
                Branches::None => break,
                // What is left of a choice is no choice.
                Branches::One(branch) => {
                    if let Value::Object(branch) = branch {
                        self.all(&mut map, branch, &mut words, 0);
                    }
                    if let Some(value) = map.shift_remove("const") {
                        map.insert("enum".into(), json!([value]));
                    }
                    nullable |= map.shift_remove("nullable") == Some(Value::Bool(true));
                }
                Branches::Several(branches) => {
                    return self.several(map, branches, nullable, &words, depth);
                }
            }
        }
        let kinds = Kinds::of(&mut map);
        nullable |= kinds.nullable;
        match kinds.list.as_slice() {
            [] => {
                let Value::Object(any) = anything() else { return anything() };
                finished(any, map, nullable, &words)
            }
            [kind] => {
                let written = self.plain(*kind, &mut map, &mut words, depth);
                finished(written, map, nullable, &words)
            }
            several => {
                let branches = several.iter().map(|kind| kind.part_of(&map)).collect();
                several
                    .iter()
                    .for_each(|kind| kind.keywords().iter().for_each(|key| drop(map.shift_remove(*key))));
                map.shift_remove("enum");
                self.several(map, branches, nullable, &words, depth)
            }
        }
    }

    /// A choice among schemas.
    fn several(
        &mut self,
        map: Map<String, Value>,
        branches: Vec<Value>,
        nullable: bool,
        words: &Words,
        depth: usize,
    ) -> Value {
        let mut list: Vec<Value> = Vec::new();
        for branch in branches {
            let mut written = self.schema(branch, depth + 1);
            let nested = written.as_object_mut().filter(|map| map.len() == 1);
            let more = match nested.and_then(|map| map.get_mut("anyOf")) {
                Some(Value::Array(nested)) => std::mem::take(nested),
                _ => vec![written],
            };
            more.into_iter().for_each(|more| {
                if list.len() > MOST_COMPARED || !list.contains(&more) {
                    list.push(more);
                }
            });
        }
        let mut written = Map::new();
        match list.len() {
            1 => {
                let Some(Value::Object(only)) = list.pop() else { return anything() };
                written = only;
            }
            _ => drop(written.insert("anyOf".into(), list.into())),
        }
        finished(written, map, nullable, words)
    }

    /// A schema of one type.
    fn plain(
        &mut self,
        kind: Kind,
        map: &mut Map<String, Value>,
        words: &mut Words,
        depth: usize,
    ) -> Map<String, Value> {
        let mut written = Map::new();
        written.insert("type".into(), kind.word().into());
        types::values(kind, map, &mut written, words);
        match kind {
            Kind::Object => self.object(map, &mut written, words, depth),
            Kind::Array => self.array(map, &mut written, words, depth),
            _ => {}
        }
        written
    }

    fn object(
        &mut self,
        map: &mut Map<String, Value>,
        written: &mut Map<String, Value>,
        words: &mut Words,
        depth: usize,
    ) {
        let mut properties = match map.shift_remove("properties") {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let required = match map.shift_remove("required") {
            Some(Value::Array(names)) => names,
            _ => Vec::new(),
        };
        let mut known = HashSet::new();
        let names: Vec<Value> = required
            .into_iter()
            .filter(|name| name.as_str().is_some_and(|name| known.insert(name.to_owned())))
            .collect();
        for name in names.iter().filter_map(Value::as_str) {
            // What has to be there is something.
            properties.entry(name).or_insert(Value::Bool(true));
        }
        match map.shift_remove("additionalProperties") {
            None | Some(Value::Bool(_) | Value::Null) => {}
            Some(Value::Object(schema)) if schema.is_empty() => {}
            Some(schema) => words.add(format!("the value of any further key matches {schema}")),
        }
        if properties.is_empty() {
            return;
        }
        let order: Vec<Value> = properties.keys().map(|name| name.as_str().into()).collect();
        let properties: Map<String, Value> =
            properties.into_iter().map(|(name, schema)| (name, self.schema(schema, depth + 1))).collect();
        written.insert("properties".into(), properties.into());
        if !names.is_empty() {
            written.insert("required".into(), names.into());
        }
        if self.ordered && order.len() > 1 {
            written.insert("propertyOrdering".into(), order.into());
        }
    }

    fn array(
        &mut self,
        map: &mut Map<String, Value>,
        written: &mut Map<String, Value>,
        words: &mut Words,
        depth: usize,
    ) {
        let first = match map.shift_remove("prefixItems") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let items = match map.shift_remove("items") {
            // The older form of a tuple.
            Some(Value::Array(list)) if first.is_empty() => Err(list),
            Some(items) => Ok(Some(items)),
            None => Ok(None),
        };
        let (first, rest) = match items {
            Err(list) => (list, map.shift_remove("additionalItems")),
            Ok(items) => (first, items),
        };
        let items = if first.is_empty() {
            self.schema(rest.unwrap_or(Value::Bool(true)), depth + 1)
        } else {
            words.add(format!("in this order: {}", Value::from(first.as_slice())));
            let rest = rest.filter(|rest| !rest.is_boolean());
            let branches = first.into_iter().chain(rest).collect();
            self.several(Map::new(), branches, false, &Words::default(), depth)
        };
        written.insert("items".into(), items);
    }
}

/// How many values there are in one, up to `most`.
fn weight(value: &Value, most: usize) -> usize {
    /// Whether there was room for all of it.
    fn fits(value: &Value, left: &mut usize) -> bool {
        let Some(less) = left.checked_sub(1) else { return false };
        *left = less;
        match value {
            Value::Array(list) => list.iter().all(|value| fits(value, left)),
            Value::Object(map) => map.values().all(|value| fits(value, left)),
            _ => true,
        }
    }
    let mut left = most;
    fits(value, &mut left);
    most - left
}

/// Any value at all.
fn anything() -> Value {
    json!({ "anyOf": [
        { "type": "string" },
        { "type": "number" },
        { "type": "boolean" },
        { "type": "object" },
        { "type": "array", "items": { "type": "string" } },
    ] })
}

/// What was written, with what is said of every schema and what has to be told in words.
fn finished(
    mut written: Map<String, Value>,
    mut map: Map<String, Value>,
    nullable: bool,
    words: &Words,
) -> Value {
    if nullable {
        written.insert("nullable".into(), true.into());
    }
    if let Some(title @ Value::String(_)) = map.shift_remove("title") {
        written.entry("title").or_insert(title);
    }
    let inner = written.shift_remove("description");
    let own = map.shift_remove("description");
    let texts = [&own, &inner].map(|text| text.as_ref().and_then(Value::as_str).unwrap_or_default());
    if let Some(description) = words.told(texts, &map) {
        written.insert("description".into(), description.into());
    }
    written.into()
}

#[cfg(test)]
mod tests;
