//! Merges the choices among schemas at the top of a tool's parameters, and words what a merged schema cannot say.

use serde_json::{Map, Value, json};

use crate::rekey::Keys;

/// Longest part of a rule that is told in JSON, in bytes.
const LONGEST_WORDS: usize = 1_000;
/// Most values that are looked at while alternatives are merged: they may name each other many times over.
const MOST_VALUES: usize = 20_000;
/// Deepest nesting of alternatives.
const DEEPEST: usize = 32;

/// The keywords of a choice among schemas.
pub(super) const CHOICES: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// The keywords of a condition.
const CONDITION: [&str; 3] = ["if", "then", "else"];
/// Keywords that say nothing about a value.
const NOTES: [&str; 8] =
    ["$defs", "definitions", "$schema", "$id", "$comment", "discriminator", "default", "examples"];

/// Merges the choices at the top of a schema into it, as far as one schema can say what they say. Gives back what has to
/// be told in words.
///
/// # Errors
/// What is wrong with them, as a clause about the parameters.
pub(super) fn merged(map: &mut Map<String, Value>, root: &Map<String, Value>) -> Result<Vec<Rule>, String> {
    match map.contains_key("$ref") || CHOICES.iter().any(|choice| map.contains_key(*choice)) {
        true => Merger { root, left: MOST_VALUES }.flatten(map, 0),
        false => Ok(Vec::new()),
    }
}

/// The word for a kind of value that is certainly no object; none for an object's, and for words that mean nothing.
pub(super) fn other_kind(kind: Option<&Value>) -> Option<String> {
    let other =
        |kind: &str| matches!(kind, "string" | "number" | "integer" | "boolean" | "array").then_some(());
    match kind? {
        Value::String(word) => other(word).map(|()| word.clone()),
        Value::Array(words) if words.iter().any(|word| word == "object") => None,
        list @ Value::Array(words) => {
            words.iter().filter_map(Value::as_str).find_map(other).map(|()| list.to_string())
        }
        _ => None,
    }
}

/// A rule about arguments that has to be told in words.
#[derive(Debug)]
pub(super) enum Rule {
    /// One of these forms, or at least one.
    Choice { exactly: bool, forms: Vec<Form> },
    /// Something else, as JSON.
    Also(String),
}

/// One of several forms that arguments may have.
#[derive(Debug, Default)]
pub(super) struct Form {
    required: Vec<String>,
    optional: Vec<String>,
    /// What else holds for it, in words.
    also: Vec<String>,
    note: Option<String>,
}

impl Rule {
    /// The rule in a sentence, with the names of parameters as they were fitted.
    pub(super) fn words(&self, fitted: &Keys) -> Option<String> {
        match self {
            Self::Also(json) => Some(format!("Arguments must also match {json}.")),
            // A form that demands nothing makes the rule empty.
            Self::Choice { exactly: false, forms } if forms.iter().any(Form::is_empty) => None,
            Self::Choice { exactly, forms } => {
                let forms: Vec<String> = forms.iter().map(|form| form.words(fitted)).collect();
                let count = if *exactly { "Exactly one" } else { "At least one" };
                Some(format!("{count} of these must be given: {}.", forms.join("; ")))
            }
        }
    }
}

impl Form {
    fn is_empty(&self) -> bool {
        self.required.is_empty() && self.also.is_empty()
    }

    fn words(&self, fitted: &Keys) -> String {
        let listed = |list: &[String], between: &str| {
            let list = list.iter().map(|name| format!("`{}`", fitted.get(name).unwrap_or(name)));
            list.collect::<Vec<_>>().join(between)
        };
        let mut words = match (self.required.is_empty(), self.optional.is_empty()) {
            (true, true) => "nothing more".to_owned(),
            (true, false) => format!("any of {}", listed(&self.optional, ", ")),
            (false, _) => listed(&self.required, " and "),
        };
        if !self.required.is_empty() && !self.optional.is_empty() {
            words.push_str(&format!(", with {} if wanted", listed(&self.optional, ", ")));
        }
        for also in &self.also {
            words.push_str(&format!(", matching {also}"));
        }
        if let Some(note) = &self.note {
            words.push_str(&format!(" ({note})"));
        }
        words
    }
}

/// An alternative without choices of its own, and what has to be told of it in words.
type Branch = (Map<String, Value>, Vec<Rule>);

/// A merger of alternatives into the object that holds them.
struct Merger<'a> {
    root: &'a Map<String, Value>,
    /// Values that may still be looked at.
    left: usize,
}

impl Merger<'_> {
    /// Takes the choices, and a reference, out of the top of a schema and merges what they say into it. Gives back what
    /// has to be told in words.
    fn flatten(&mut self, map: &mut Map<String, Value>, depth: usize) -> Result<Vec<Rule>, String> {
        if depth > DEEPEST {
            return Err("name each other without an end".to_owned());
        }
        let mut rules = Vec::new();
        if let Some(reference) = map.shift_remove("$ref") {
            let target = self.target(&reference).cloned();
            match target {
                Some(target) => self.all(map, vec![target], depth, &mut rules)?,
                None => return Err(format!("refer to {}, which is not there", cut(reference.to_string()))),
            }
        }
        for choice in CHOICES {
            match (choice, map.shift_remove(choice)) {
                (_, None) => {}
                ("allOf", Some(Value::Array(branches))) => self.all(map, branches, depth, &mut rules)?,
                (_, Some(Value::Array(branches))) => {
                    self.some(map, branches, choice == "oneOf", depth, &mut rules)?;
                }
                (_, Some(_)) => return Err(format!("must have an array as {choice}")),
            }
        }
        Ok(rules)
    }

    fn target(&self, reference: &Value) -> Option<&Value> {
        let (table, name) = reference.as_str()?.strip_prefix("#/")?.split_once('/')?;
        let name = name.replace("~1", "/").replace("~0", "~");
        self.root.get(table)?.get(&name)
    }

    /// An alternative whose own choices are merged into it; none for one that can be no object.
    fn branch(&mut self, branch: Value, depth: usize) -> Result<Option<Branch>, String> {
        self.weigh(&branch)?;
        let mut map = match branch {
            Value::Object(map) => map,
            Value::Bool(true) => Map::new(),
            _ => return Ok(None),
        };
        let is_null = map.get("type").is_some_and(|kind| kind == "null");
        if is_null || (!map.contains_key("properties") && other_kind(map.get("type")).is_some()) {
            return Ok(None);
        }
        let rules = self.flatten(&mut map, depth + 1)?;
        Ok(Some((map, rules)))
    }

    fn weigh(&mut self, value: &Value) -> Result<(), String> {
        self.left =
            self.left.checked_sub(1).ok_or_else(|| "have too many alternatives at their top".to_owned())?;
        match value {
            Value::Array(list) => list.iter().try_for_each(|value| self.weigh(value)),
            Value::Object(map) => map.values().try_for_each(|value| self.weigh(value)),
            _ => Ok(()),
        }
    }

    /// Merges what holds all together.
    fn all(
        &mut self,
        map: &mut Map<String, Value>,
        branches: Vec<Value>,
        depth: usize,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        for branch in branches {
            let Some((branch, more)) = self.branch(branch, depth)? else { continue };
            rules.extend(more);
            require(map, &required(&branch));
            let mut also = Map::new();
            // A condition and what follows from it go together.
            let conditional = CONDITION.iter().any(|word| map.contains_key(*word));
            for (key, value) in branch {
                match key.as_str() {
                    "properties" => both(map, value),
                    word if conditional && CONDITION.contains(&word) => drop(also.insert(key, value)),
                    "required" | "type" | "title" | "additionalProperties" => {}
                    note if NOTES.contains(&note) => {}
                    _ if !map.contains_key(&key) => drop(map.insert(key, value)),
                    "description" => {}
                    _ if map.get(&key) == Some(&value) => {}
                    _ => drop(also.insert(key, value)),
                }
            }
            if !also.is_empty() {
                rules.push(Rule::Also(cut(Value::from(also).to_string())));
            }
        }
        Ok(())
    }

    /// Merges what holds one by one: the parameters of all, of which those are required that all require.
    fn some(
        &mut self,
        map: &mut Map<String, Value>,
        branches: Vec<Value>,
        exactly: bool,
        depth: usize,
        rules: &mut Vec<Rule>,
    ) -> Result<(), String> {
        let given = branches.len();
        let (mut forms, mut merged) = (Vec::new(), Map::<String, Value>::new());
        let mut demanded: Option<Vec<String>> = None;
        let mut are_rules = true;
        for branch in branches {
            let Some((branch, more)) = self.branch(branch, depth)? else { continue };
            let mut form = Form { required: required(&branch), ..Form::default() };
            match &mut demanded {
                Some(demanded) => demanded.retain(|name| form.required.contains(name)),
                None => demanded = Some(form.required.clone()),
            }
            form.also.extend(more.iter().filter_map(|rule| rule.words(&Keys::default())));
            let mut also = Map::new();
            for (key, value) in branch {
                match (key.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        are_rules = false;
                        let own = properties.keys().filter(|name| !form.required.contains(name));
                        form.optional = own.cloned().collect();
                        properties.into_iter().for_each(|(name, schema)| either(&mut merged, name, schema));
                    }
                    ("title" | "description", Value::String(note)) => form.note = Some(cut(note)),
                    ("properties" | "required" | "type" | "additionalProperties", _) => {}
                    (note, _) if NOTES.contains(&note) => {}
                    (_, value) => drop(also.insert(key, value)),
                }
            }
            if !also.is_empty() {
                form.also.push(cut(Value::from(also).to_string()));
            }
            forms.push(form);
        }
        if forms.is_empty() {
            return match given == 0 || map.contains_key("properties") {
                true => Ok(()),
                false => {
                    Err("must be a JSON schema of type object; found none among their alternatives".into())
                }
            };
        }
        both(map, merged.into());
        let demanded = demanded.unwrap_or_default();
        require(map, &demanded);
        let told = are_rules
            || forms.len() > 1
                && forms.iter().any(|form| form.required.len() > demanded.len() || !form.also.is_empty());
        if told {
            rules.push(Rule::Choice { exactly, forms });
        }
        Ok(())
    }
}

fn required(map: &Map<String, Value>) -> Vec<String> {
    let names = map.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Requires these, too.
fn require(map: &mut Map<String, Value>, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let list = map.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        for name in names {
            if !list.iter().any(|known| known == name) {
                list.push(name.as_str().into());
            }
        }
    }
}

/// Adds parameters, each of which has to match what is said of it already.
fn both(map: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    if more.is_empty() {
        return;
    }
    if !map.get("properties").is_some_and(Value::is_object) {
        map.insert("properties".into(), json!({}));
    }
    let Some(Value::Object(properties)) = map.get_mut("properties") else { return };
    for (name, schema) in more {
        match properties.get_mut(&name) {
            Some(known) if *known == schema || is_open(&schema) => {}
            Some(known) if is_open(known) => *known = schema,
            Some(known) => *known = json!({ "allOf": [known.take(), schema] }),
            None => drop(properties.insert(name, schema)),
        }
    }
}

/// Adds a parameter that has to match this, or what is said of it already.
fn either(properties: &mut Map<String, Value>, name: String, schema: Value) {
    let Some(known) = properties.get_mut(&name) else {
        properties.insert(name, schema);
        return;
    };
    if *known == schema {
        return;
    }
    // What tells the forms apart is mostly a word of its own in each.
    if let (Some(mut words), Some(more)) = (words_of(known), words_of(&schema)) {
        for word in more {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        *known = json!({ "enum": words });
        return;
    }
    match known.get_mut("anyOf").and_then(Value::as_array_mut) {
        Some(list) if list.contains(&schema) => {}
        Some(list) => list.push(schema),
        None => *known = json!({ "anyOf": [known.take(), schema] }),
    }
}

/// The words of a schema that is nothing but words.
fn words_of(schema: &Value) -> Option<Vec<Value>> {
    let map = schema.as_object()?;
    let notes = ["const", "enum", "type", "title", "default"];
    match (map.get("const"), map.get("enum")) {
        _ if map.keys().any(|key| !notes.contains(&key.as_str())) => None,
        (Some(word), _) => Some(vec![word.clone()]),
        (None, Some(Value::Array(words))) => Some(words.clone()),
        _ => None,
    }
}

fn is_open(schema: &Value) -> bool {
    matches!(schema, Value::Bool(true)) || schema.as_object().is_some_and(Map::is_empty)
}

/// The beginning of a text that is told.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > LONGEST_WORDS {
        let end = text.floor_char_boundary(LONGEST_WORDS);
        text.truncate(end);
        text.push('…');
    }
    text
}
