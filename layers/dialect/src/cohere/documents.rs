//! Documents that a client gives beside its conversation, in the form of either version.
//!
//! Sources: <https://docs.cohere.com/reference/chat> and <https://docs.cohere.com/v1/reference/chat> (`documents`).

use serde_json::{Map, Value, json};

/// As version 2 has them: texts, or `{"id"?, "data": {…}}`.
pub(super) fn v2(documents: &Value) -> Value {
    each(documents, |document| match document {
        Value::Object(fields) if !fields.get("data").is_some_and(Value::is_object) => {
            let mut data = fields.clone();
            let mut written = Map::new();
            if let Some(id) = data.shift_remove("id") {
                written.insert("id".into(), id);
            }
            written.insert("data".into(), data.into());
            written.into()
        }
        other => other.clone(),
    })
}

/// As version 1 has them: `{"id"?, …}`, all of it text.
pub(super) fn v1(documents: &Value) -> Value {
    each(documents, |document| match document {
        Value::Object(fields) => {
            let mut written = Map::new();
            let inner = fields.get("data").and_then(Value::as_object);
            let outer = fields.iter().filter(|(name, _)| inner.is_none() || *name == "id");
            for (name, value) in outer.chain(inner.into_iter().flatten()) {
                let is_told = value.is_string() || name == "_excludes";
                let value = if is_told { value.clone() } else { value.to_string().into() };
                written.entry(name.as_str()).or_insert(value);
            }
            written.into()
        }
        Value::String(text) => json!({ "text": text }),
        other => other.clone(),
    })
}

fn each(documents: &Value, form: impl Fn(&Value) -> Value) -> Value {
    match documents {
        Value::Array(list) => list.iter().map(form).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_either_version_are_taken_by_the_other() {
        let given = json!([
            { "id": "a", "title": "T", "text": "X" },
            { "id": "b", "data": { "text": "Y", "year": 2026 } },
            "Z",
        ]);

        assert_eq!(
            v2(&given),
            json!([
                { "id": "a", "data": { "title": "T", "text": "X" } },
                { "id": "b", "data": { "text": "Y", "year": 2026 } },
                "Z",
            ])
        );
        assert_eq!(
            v1(&given),
            json!([
                { "id": "a", "title": "T", "text": "X" },
                { "id": "b", "text": "Y", "year": "2026" },
                { "text": "Z" },
            ])
        );
    }
}
