//! Reads YAML into a tree whose nodes can be found again in the text.
//!
//! Every node gets its ordinal in reading order. The parser does not tell the position of a good
//! value, but it does stamp one on an error; so a position is found by reading the text again and
//! failing on purpose at that ordinal. Only problems pay for it, and it is exact, through anchors
//! and flow style alike. Ordinals also survive `<<`, which is applied here because the parser
//! leaves it as an ordinary key.
//!
//! Nor does it tell how a number was typed, and `0xdeadbeef`, `12e5` and `4.10` may be keys or the
//! names of models. Where a text has any such, it is read once more for what stands there.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::problem::{Path, Problem, Report, shown};
use super::syntax::complaint;

/// A configuration larger than this is a mistake.
const MAX_TEXT: usize = 16 << 20;
/// Aliases can multiply a small text; this many nodes are enough for any configuration.
const MAX_NODES: u32 = 2_000_000;

/// A YAML node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its ordinal in reading order.
    pub(super) id: u32,
    pub(super) value: Value,
    /// What was typed, where a number or flag is not written as it was.
    pub(super) typed: Option<Box<str>>,
}

/// The content of a node.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// Numbers and the like as text.
    pub(super) key: String,
    pub(super) key_id: u32,
    pub(super) value: Node,
}

/// Reads the text; the one problem is a syntax error.
pub(super) fn parse(text: &str) -> Result<Node, Box<Problem>> {
    if text.len() > MAX_TEXT {
        let found = format!("{} bytes of text", text.len());
        return Err(Box::new(Problem::error("", found, "a configuration of at most 16 MiB")));
    }
    let notes = Notes { all: has_odd_spellings(text), ..Notes::default() };
    let mut node = read(text, &notes, None).map_err(|error| Box::new(complaint(text, &error)))?;
    let wanted = notes.doubtful.into_inner();
    if !wanted.is_empty() {
        let again = Notes::wanting(wanted);
        // It was read before, so there is nothing to fail at.
        if read(text, &again, None).is_ok() {
            restore(&mut node, &mut again.typed.into_inner());
        }
    }
    Ok(node)
}

/// Line and column, both from 1, of the node or key with this ordinal.
pub(super) fn locate(text: &str, id: u32) -> Option<(usize, usize)> {
    let notes = Notes::default();
    let error = read(text, &notes, Some(id)).err()?;
    // An error before the ordinal was reached is about something else.
    if notes.seen.get() != id + 1 {
        return None;
    }
    error.location().map(|at| (at.line(), at.column()))
}

/// Whether whole numbers or flags of this text may be spelt in another way than they are printed.
/// Fractions always may.
fn has_odd_spellings(text: &str) -> bool {
    ["0x", "0o", "0b", "+", "True", "TRUE", "False", "FALSE"].iter().any(|odd| text.contains(odd))
}

/// Puts what was typed to the nodes and keys that it is not the print of.
fn restore(node: &mut Node, typed: &mut HashMap<u32, Box<str>>) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| restore(item, typed)),
        Value::Map(pairs) => {
            for pair in pairs {
                if let Some(text) = typed.remove(&pair.key_id) {
                    pair.key = text.into();
                }
                restore(&mut pair.value, typed);
            }
        }
        _ => node.typed = typed.remove(&node.id),
    }
}

/// Applies `<<` everywhere and reports keys that occur twice in one map.
pub(super) fn settle(node: &mut Node, path: Path<'_>, report: &mut Report) {
    match &mut node.value {
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                settle(item, path.index(index), report);
            }
        }
        Value::Map(pairs) => {
            for pair in pairs.iter_mut() {
                settle(&mut pair.value, path.key(&pair.key), report);
            }
            let mut seen = HashSet::with_capacity(pairs.len());
            for pair in pairs.iter() {
                if !seen.insert(&*pair.key) {
                    let at = path.key(&pair.key);
                    report.error(pair.key_id, at, "a key that occurs twice", "each key once per map");
                }
            }
            if let Some(at) = pairs.iter().position(|pair| pair.key == "<<") {
                let merge = pairs.remove(at);
                let sources = match merge.value.value {
                    Value::List(items) => items,
                    _ => vec![merge.value],
                };
                let mut present: HashSet<String> = pairs.iter().map(|pair| pair.key.clone()).collect();
                for source in sources {
                    match source.value {
                        Value::Map(inherited) => {
                            pairs.extend(
                                inherited.into_iter().filter(|pair| present.insert(pair.key.clone())),
                            );
                        }
                        Value::Null => {}
                        _ => report.error(
                            source.id,
                            path.key("<<"),
                            "no map",
                            "a map, usually *name of an anchor",
                        ),
                    }
                }
            }
        }
        _ => {}
    }
}

impl Node {
    /// A node as a problem shows it.
    pub(super) fn describe(&self) -> String {
        if let Some(typed) = &self.typed {
            return shown(typed);
        }
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Text(text) => format!("{:?}", shown(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(pairs) => format!("a map of {}", pairs.len()),
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The node as JSON, for request bodies.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Int(number) => serde_json::Number::from_i128(*number)
                .map_or(serde_json::Value::Null, serde_json::Value::Number),
            Value::Float(number) => serde_json::Number::from_f64(*number)
                .map_or(serde_json::Value::Null, serde_json::Value::Number),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(pairs) => pairs
                .iter()
                .map(|pair| (pair.key.clone(), pair.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

fn read(text: &str, notes: &Notes, fail_at: Option<u32>) -> Result<Node, serde_yaml::Error> {
    // The first document decides; what follows a `---` would be lost without a word.
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(Node { id: 0, value: Value::Null, typed: None });
    };
    let node = Reading { notes, fail_at }.deserialize(first)?;
    match documents.next() {
        Some(_) => Err(de::Error::custom("a second document after `---`")),
        None => Ok(node),
    }
}

/// The findings of one pass over a text.
#[derive(Default)]
struct Notes {
    /// How many nodes and keys were met.
    seen: Cell<u32>,
    /// Whether whole numbers and flags are doubtful too.
    all: bool,
    /// Scalars that may have been typed in another way than they are printed.
    doubtful: RefCell<Vec<u32>>,
    /// Those of which the text is wanted, with what it is.
    typed: RefCell<HashMap<u32, Box<str>>>,
}

impl Notes {
    fn wanting(ids: Vec<u32>) -> Self {
        let typed = ids.into_iter().map(|id| (id, Box::default())).collect();
        Self { typed: RefCell::new(typed), ..Self::default() }
    }

    fn wants(&self, id: u32) -> bool {
        self.typed.borrow().contains_key(&id)
    }

    /// Notes a scalar that is no text.
    fn note(&self, id: u32, value: &Value) {
        if matches!(value, Value::Float(_)) || self.all && matches!(value, Value::Int(_) | Value::Bool(_)) {
            self.doubtful.borrow_mut().push(id);
        }
    }
}

/// A reader of one node, which counts it.
#[derive(Clone, Copy)]
struct Reading<'a> {
    notes: &'a Notes,
    fail_at: Option<u32>,
}

/// A receiver of the value of the node with this ordinal.
struct Receiver<'a> {
    reading: Reading<'a>,
    id: u32,
}

/// A receiver of what was typed as the scalar with this ordinal.
struct AsTyped<'a> {
    notes: &'a Notes,
    id: u32,
}

/// A reader of a map's key, which counts it like a node.
struct KeyReading<'a>(Reading<'a>);

impl<'a> Reading<'a> {
    fn count<E: de::Error>(self) -> Result<Receiver<'a>, E> {
        let id = self.notes.seen.get();
        if id >= MAX_NODES {
            return Err(E::custom("more values than a configuration can have"));
        }
        self.notes.seen.set(id + 1);
        Ok(Receiver { reading: self, id })
    }

    /// Reads a node or key and tells its ordinal.
    fn one<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<(u32, Value), D::Error> {
        let receiver = self.count()?;
        let id = receiver.id;
        if self.notes.wants(id) {
            return Ok((id, deserializer.deserialize_str(AsTyped { notes: self.notes, id })?));
        }
        let value = deserializer.deserialize_any(receiver)?;
        self.notes.note(id, &value);
        Ok((id, value))
    }
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let (id, value) = self.one(deserializer)?;
        Ok(Node { id, value, typed: None })
    }
}

impl<'de> DeserializeSeed<'de> for KeyReading<'_> {
    type Value = (String, u32);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(String, u32), D::Error> {
        let (id, value) = self.0.one(deserializer)?;
        let key = match value {
            Value::Text(text) => text,
            Value::Null => "null".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::List(_) | Value::Map(_) => return Err(de::Error::custom("a key that is a list or a map")),
        };
        Ok((key, id))
    }
}

impl Visitor<'_> for AsTyped<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a flag")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.notes.typed.borrow_mut().insert(self.id, text.into());
        Ok(Value::Null)
    }
}

impl Receiver<'_> {
    fn take<E: de::Error>(&self, value: Value) -> Result<Value, E> {
        if self.reading.fail_at == Some(self.id) { Err(E::custom("located")) } else { Ok(value) }
    }
}

impl<'de> Visitor<'de> for Receiver<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.take(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.take(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.take(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.take(Value::Int(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.take(Value::Int(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        self.take(Value::Int(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        self.take(i128::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Int))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.take(Value::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.take(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.take(Value::Null)?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.reading)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.take(Value::Null)?;
        let mut pairs = Vec::new();
        while let Some((key, key_id)) = map.next_key_seed(KeyReading(self.reading))? {
            let value = map.next_value_seed(self.reading)?;
            pairs.push(Pair { key, key_id, value });
        }
        Ok(Value::Map(pairs))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::custom("a `!` tag; put quotes around a text that begins with `!`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(text: &str) -> (Node, Vec<Problem>) {
        let mut node = parse(text).unwrap();
        let mut report = Report::default();
        settle(&mut node, Path::ROOT, &mut report);
        (node, report.into_problems(text))
    }

    fn at<'a>(node: &'a Node, path: &[&str]) -> &'a Node {
        path.iter().fold(node, |node, step| match &node.value {
            Value::Map(pairs) => &pairs.iter().find(|pair| pair.key == *step).unwrap().value,
            Value::List(items) => &items[step.parse::<usize>().unwrap()],
            _ => panic!("no child {step}"),
        })
    }

    #[test]
    fn every_kind_of_node_is_located_exactly() {
        let text = "# comment\na: 1\nb:\n  - x\n  - {c: [1, two]}\n  -   deep: \"q\"\nd: |\n  block\n";
        let (tree, _) = settled(text);

        let place = |path: &[&str]| locate(text, at(&tree, path).id);
        assert_eq!(place(&["a"]), Some((2, 4)));
        assert_eq!(place(&["b"]), Some((4, 3)));
        assert_eq!(place(&["b", "0"]), Some((4, 5)));
        assert_eq!(place(&["b", "1", "c", "1"]), Some((5, 13)));
        assert_eq!(place(&["b", "2", "deep"]), Some((6, 13)));
        assert_eq!(place(&["d"]), Some((7, 4)));
        let Value::Map(pairs) = &tree.value else { panic!("a map") };
        assert_eq!(locate(text, pairs[2].key_id), Some((7, 1)));
        assert_eq!(locate(text, 10_000), None);
    }

    #[test]
    fn a_merged_value_is_located_at_its_anchor() {
        let text = "base: &base\n  x: 1\n  y: 2\nuse:\n  <<: *base\n  y: 3\n";
        let (tree, problems) = settled(text);

        assert_eq!(problems, []);
        assert_eq!(locate(text, at(&tree, &["use", "x"]).id), Some((2, 6)));
        assert!(matches!(at(&tree, &["use", "y"]).value, Value::Int(3)));
        let Value::Map(pairs) = &at(&tree, &["use"]).value else { panic!("a map") };
        assert_eq!(pairs.len(), 2);
    }

    #[test]
    fn a_list_of_merges_lets_the_first_win() {
        let (tree, problems) = settled("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n");

        assert_eq!(problems, []);
        assert!(matches!(at(&tree, &["c", "x"]).value, Value::Int(1)));
        assert!(matches!(at(&tree, &["c", "y"]).value, Value::Int(2)));
    }

    #[test]
    fn a_key_that_occurs_twice_is_an_error_with_its_place() {
        let (_, problems) = settled("a: 1\nb:\n  c: 1\n  c: 2\n");

        assert_eq!(
            (problems[0].path.as_str(), problems[0].line, problems[0].column),
            ("b.c", Some(4), Some(3))
        );
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
        }

        assert!(parse(&text).is_err());
    }

    #[test]
    fn a_deeply_nested_text_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn words_and_numbers_keep_their_meaning() {
        let (tree, _) = settled("[yes, True, 017, 1_000, 2024-01-01, '5', 18446744073709551616, null, ~]");
        let Value::List(items) = &tree.value else { panic!("a list") };

        assert!(matches!(&items[0].value, Value::Text(text) if text == "yes"));
        assert!(matches!(items[1].value, Value::Bool(true)));
        assert!(matches!(&items[2].value, Value::Text(text) if text == "017"));
        assert!(matches!(&items[4].value, Value::Text(text) if text == "2024-01-01"));
        assert!(matches!(&items[5].value, Value::Text(text) if text == "5"));
        assert!(items[7].is_null() && items[8].is_null());
    }
}
