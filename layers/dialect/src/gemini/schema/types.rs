//! The types of a schema, and the keywords that each of them takes.

use serde_json::{Map, Number, Value, json};

use super::words::Words;

/// A type that Google's grammar knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
}

/// The types of one schema, and whether it takes null.
#[derive(Debug)]
pub(super) struct Kinds {
    pub(super) list: Vec<Kind>,
    pub(super) nullable: bool,
}

impl Kind {
    /// Reads a type's name, also in the words of languages.
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "string" | "str" => Self::String,
            "number" | "float" | "double" => Self::Number,
            "integer" | "int" | "long" => Self::Integer,
            "boolean" | "bool" => Self::Boolean,
            "object" | "dict" | "map" => Self::Object,
            "array" | "list" | "tuple" => Self::Array,
            _ => return None,
        })
    }

    fn of_value(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        })
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
        }
    }

    /// The keywords that speak of values of this type alone.
    pub(super) fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::String => &["minLength", "maxLength", "pattern", "format"],
            Self::Number | Self::Integer => {
                &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
            }
            Self::Boolean => &[],
            Self::Object => &[
                "properties",
                "required",
                "additionalProperties",
                "patternProperties",
                "propertyNames",
                "minProperties",
                "maxProperties",
                "dependentRequired",
                "dependentSchemas",
            ],
            Self::Array => &[
                "items",
                "prefixItems",
                "additionalItems",
                "minItems",
                "maxItems",
                "uniqueItems",
                "contains",
                "minContains",
                "maxContains",
            ],
        }
    }

    /// The part of a schema of several types that speaks of this one.
    pub(super) fn part_of(self, map: &Map<String, Value>) -> Value {
        let mut part = Map::new();
        part.insert("type".into(), self.word().into());
        for key in self.keywords() {
            if let Some(value) = map.get(*key) {
                part.insert((*key).to_owned(), value.clone());
            }
        }
        if let Some(Value::Array(words)) = map.get("enum") {
            let own: Vec<Value> = words.iter().filter(|word| self.holds(word)).cloned().collect();
            if !own.is_empty() {
                part.insert("enum".into(), own.into());
            }
        }
        part.into()
    }

    fn holds(self, value: &Value) -> bool {
        let kind = Self::of_value(value);
        kind == Some(self) || self == Self::Number && kind == Some(Self::Integer)
    }
}

impl Kinds {
    /// The types that a schema names, else those that its keywords speak of; none where it takes anything.
    pub(super) fn of(map: &mut Map<String, Value>) -> Self {
        let named = match map.shift_remove("type") {
            Some(Value::Array(words)) => words,
            Some(word @ Value::String(_)) => vec![word],
            _ => Vec::new(),
        };
        let is_null = |word: &Value| word.as_str().is_some_and(|word| word.eq_ignore_ascii_case("null"));
        let mut nullable = named.iter().any(is_null);
        let mut list: Vec<Kind> = Vec::new();
        let mut add = |kind: Kind| {
            if !list.contains(&kind) {
                list.push(kind);
            }
        };
        let only_null = nullable && named.iter().all(is_null);
        named.iter().filter_map(Value::as_str).filter_map(Kind::of).for_each(&mut add);
        if let Some(Value::Array(words)) = map.get_mut("enum") {
            let before = words.len();
            words.retain(|word| !word.is_null());
            nullable |= words.len() < before;
            if words.is_empty() {
                map.shift_remove("enum");
            } else if named.is_empty() {
                words.iter().filter_map(Kind::of_value).for_each(&mut add);
            }
        }
        if list.is_empty() && !only_null {
            let kinds = [Kind::Object, Kind::Array, Kind::String, Kind::Number];
            // `format` and `required` stand beside other types too.
            let speaks =
                |kind: &Kind| kind.keywords().iter().any(|key| *key != "format" && map.contains_key(*key));
            list.extend(kinds.into_iter().find(speaks));
        }
        if list.is_empty() && only_null {
            map.entry("description").or_insert_with(|| "(always null)".into());
            list.push(Kind::String);
        }
        // A number is every integer.
        if list.contains(&Kind::Number) {
            list.retain(|kind| *kind != Kind::Integer);
        }
        Self { list, nullable }
    }
}

/// The keywords on values of one type, in Google's forms.
pub(super) fn values(
    kind: Kind,
    map: &mut Map<String, Value>,
    written: &mut Map<String, Value>,
    words: &mut Words,
) {
    if let Some(Value::Array(list)) = map.shift_remove("enum") {
        listed(kind, list, written, words);
    }
    if let Some(Value::String(format)) = map.get("format") {
        let known: &[&str] = match kind {
            Kind::String => &["enum", "date-time"],
            Kind::Number => &["float", "double"],
            Kind::Integer => &["int32", "int64"],
            _ => &[],
        };
        if known.contains(&format.as_str()) {
            written.extend(map.shift_remove("format").map(|format| ("format".to_owned(), format)));
        }
    }
    match kind {
        Kind::Number | Kind::Integer => limits(kind, map, written, words),
        Kind::String => {
            counts(map, written, &["minLength", "maxLength"]);
            if map.get("pattern").is_some_and(Value::is_string) {
                written.extend(map.shift_remove("pattern").map(|pattern| ("pattern".to_owned(), pattern)));
            }
        }
        Kind::Object => counts(map, written, &["minProperties", "maxProperties"]),
        Kind::Array => counts(map, written, &["minItems", "maxItems"]),
        Kind::Boolean => {}
    }
}

/// Only text can be chosen from a list, and not the empty one.
fn listed(kind: Kind, list: Vec<Value>, written: &mut Map<String, Value>, words: &mut Words) {
    let (own, others): (Vec<Value>, Vec<Value>) = list.into_iter().partition(|value| match kind {
        Kind::String => value.as_str().is_some_and(|word| !word.is_empty()),
        _ => false,
    });
    if own.is_empty() && !others.is_empty() {
        let told: Vec<String> = others.iter().map(Value::to_string).collect();
        words.add(match told.as_slice() {
            [only] => format!("always {only}"),
            several => format!("one of {}", several.join(", ")),
        });
    } else if others.iter().any(|value| value == "") {
        words.add("or the empty text");
    }
    if !own.is_empty() {
        written.insert("enum".into(), own.into());
    }
}

/// Limits that a number must not reach become those that it may.
fn limits(kind: Kind, map: &mut Map<String, Value>, written: &mut Map<String, Value>, words: &mut Words) {
    for (key, outer, step, told) in
        [("minimum", "exclusiveMinimum", 1, "greater than"), ("maximum", "exclusiveMaximum", -1, "less than")]
    {
        let own = match map.shift_remove(key) {
            Some(Value::Number(limit)) => Some(limit),
            _ => None,
        };
        let excluded = match map.shift_remove(outer) {
            Some(Value::Number(limit)) => Some(limit),
            // The older form, a flag beside the limit.
            Some(Value::Bool(true)) => own.clone(),
            _ => None,
        };
        let limit = match excluded {
            None => own,
            Some(limit) => match limit.as_i64().filter(|_| kind == Kind::Integer) {
                Some(whole) => Some(Number::from(whole.saturating_add(step))),
                None => {
                    words.add(format!("{told} {limit}"));
                    Some(limit)
                }
            },
        };
        if let Some(limit) = limit {
            written.insert(key.to_owned(), Value::Number(limit));
        }
    }
}

fn counts(map: &mut Map<String, Value>, written: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        if let Some(count) = map.get(*key).and_then(Value::as_u64) {
            map.shift_remove(*key);
            written.insert((*key).to_owned(), json!(count));
        }
    }
}
