//! What a schema says and Google's grammar cannot, in words.

use serde_json::{Map, Value};

/// Longest part that is told, in bytes.
const LONGEST: usize = 1_000;

/// Most remarks on one schema.
const MOST: usize = 64;

/// Keywords without a meaning for who reads a schema, and those whose meaning is told elsewhere.
const SILENT: [&str; 26] = [
    "$schema",
    "$id",
    "id",
    "$comment",
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$vocabulary",
    "$defs",
    "definitions",
    "$ref",
    "readOnly",
    "writeOnly",
    "strict",
    "discriminator",
    "xml",
    "externalDocs",
    "propertyOrdering",
    "type",
    "enum",
    "nullable",
    "title",
    "additionalItems",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
];

/// Remarks on a schema.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Adds a remark, cut where it is long.
    pub(super) fn add(&mut self, remark: impl Into<String>) {
        let remark = cut(remark.into());
        if self.0.len() < MOST && !self.0.contains(&remark) {
            self.0.push(remark);
        }
    }

    /// The description: these texts, and behind them the remarks and what is left of the schema.
    pub(super) fn told(&self, texts: [&str; 2], rest: &Map<String, Value>) -> Option<String> {
        let mut remarks = self.0.clone();
        for (key, value) in rest {
            match (key.as_str(), value) {
                (silent, _) if SILENT.contains(&silent) || silent.starts_with("x-") => {}
                (_, Value::Null) | ("deprecated" | "uniqueItems", Value::Bool(false)) => {}
                ("deprecated", _) => remarks.push("deprecated".to_owned()),
                ("default", value) => remarks.push(cut(format!("default: {value}"))),
                ("examples" | "example", value) => remarks.push(cut(format!("for example: {value}"))),
                (key, value) => remarks.push(cut(format!("{key}: {value}"))),
            }
        }
        let mut told = texts.iter().filter(|text| !text.is_empty()).copied().collect::<Vec<_>>().join("\n");
        if !remarks.is_empty() {
            if !told.is_empty() {
                told.push(' ');
            }
            told.push_str(&format!("({})", remarks.join("; ")));
        }
        (!told.is_empty()).then_some(told)
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}
