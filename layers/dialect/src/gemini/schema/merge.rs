//! References and parts that hold all together, written into the schema that has them.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::words::Words;
use super::{DEEPEST, Sanitiser, weight};

/// Tables of schemas that only references speak of.
const TABLES: [&str; 2] = ["$defs", "definitions"];

impl Sanitiser<'_> {
    /// Writes what a schema refers to into it, and its parts.
    pub(super) fn expand(&mut self, map: &mut Map<String, Value>, words: &mut Words, depth: usize) {
        TABLES.iter().for_each(|table| drop(map.shift_remove(*table)));
        if let Some(Value::String(reference)) = map.shift_remove("$ref") {
            self.refer(map, reference, words, depth);
        }
        if let Some(Value::Array(parts)) = map.shift_remove("allOf") {
            for part in parts {
                if let Value::Object(part) = part {
                    self.all(map, part, words, depth);
                }
            }
        }
    }

    fn refer(&mut self, map: &mut Map<String, Value>, reference: String, words: &mut Words, depth: usize) {
        let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
        let target = target(self.root, &reference);
        let is_loop = self.open.contains(&reference);
        let cost = target.filter(|_| !is_loop).map_or(0, |target| weight(target, self.left));
        self.left -= cost;
        match target {
            // With nothing left it was not gone through to its end.
            Some(target) if !is_loop && self.left > 0 => {
                self.open.push(reference);
                if let Value::Object(target) = target.clone() {
                    self.all(map, target, words, depth);
                }
            }
            _ => {
                let kind = target.and_then(|target| target.get("type")).and_then(Value::as_str);
                let kind = kind.filter(|kind| *kind != "array").unwrap_or("object");
                map.entry("type").or_insert_with(|| kind.into());
                if is_loop {
                    words.add(match name.as_str() {
                        "#" => "of the same form as the whole".to_owned(),
                        name => format!("of the same form as {name}, in which it stands"),
                    });
                } else {
                    words.add(format!("of the form {name}"));
                }
            }
        }
    }

    /// Merges a part into a schema, both of which have to hold.
    pub(super) fn all(
        &mut self,
        map: &mut Map<String, Value>,
        mut part: Map<String, Value>,
        words: &mut Words,
        depth: usize,
    ) {
        if depth > DEEPEST {
            return;
        }
        self.expand(&mut part, words, depth + 1);
        for (key, value) in part {
            match (key.as_str(), map.get_mut(&key)) {
                (_, None) => drop(map.insert(key, value)),
                (_, Some(known)) if *known == value => {}
                ("properties", Some(Value::Object(known))) => {
                    let Value::Object(more) = value else { continue };
                    for (name, schema) in more {
                        match known.get_mut(&name) {
                            None => drop(known.insert(name, schema)),
                            Some(known) if *known == schema => {}
                            Some(known) => *known = serde_json::json!({ "allOf": [known.take(), schema] }),
                        }
                    }
                }
                ("required", Some(Value::Array(known))) => {
                    // Names that stand twice are told once in the end.
                    if let Value::Array(more) = value {
                        known.extend(more);
                    }
                }
                // What is said of the nearer place holds; the general words of a part say no more.
                ("description" | "title" | "default" | "examples", Some(_)) => {}
                // Of types that both take the narrower is meant.
                ("type", Some(known)) => {
                    let narrower =
                        known == "number" && value == "integer" || known.is_array() && value.is_string();
                    if narrower {
                        *known = value;
                    }
                }
                ("enum", Some(Value::Array(known))) => {
                    if let Value::Array(more) = value {
                        let more: HashSet<String> = more.iter().map(Value::to_string).collect();
                        known.retain(|word| more.contains(&word.to_string()));
                    }
                }
                ("nullable" | "additionalProperties", Some(_)) => {}
                _ => words.add(format!("{key}: {value}")),
            }
        }
    }
}

/// What a reference within the whole schema leads to.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let path = reference.strip_prefix('#')?;
    let found = root.pointer(path).or_else(|| {
        // Names may be written as in an address.
        let path = percent_decoded(path)?;
        root.pointer(&path)
    });
    // Some write the name alone.
    found.or_else(|| {
        let name = path.rsplit('/').next()?;
        TABLES.iter().find_map(|table| root.get(table)?.get(name))
    })
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}
