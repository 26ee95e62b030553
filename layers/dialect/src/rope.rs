//! JSON that is being written: a tree whose large texts are borrowed and whose media are slices of what was received,
//! and the rope of buffers that comes of it.
//!
//! A picture of many megabytes is held once, in the buffer in which it was parsed, and goes out from there.

use std::borrow::Cow;
use std::io::{self, Write};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

use crate::{SentBody, exact};

/// Why writing into one cannot fail.
const TAKES: &str = "a rope takes everything";
/// Media up to this are copied: that costs less than one more buffer on the wire.
const SMALL: usize = 8 << 10;
/// Room of one buffer of written text. Longer texts get a buffer of their own, because growing would copy them.
const ROOM: usize = 64 << 10;

/// A JSON value that is being written.
#[derive(Clone, Debug)]
pub(crate) enum Node<'a> {
    /// A value with nothing large in it.
    Value(Value),
    /// A string.
    Text(Cow<'a, str>),
    /// A string that is base64 behind a short beginning.
    Media { before: String, data: Bytes },
    /// An array.
    List(Vec<Node<'a>>),
    /// An object, in the order of its fields.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// An object of these fields.
    pub(crate) fn object<const N: usize>(fields: [(&'static str, Node<'a>); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, node)| (name.into(), node)).collect())
    }

    /// Adds a field behind the others. Nothing is added to what is no object.
    pub(crate) fn insert(&mut self, name: &'a str, value: impl Into<Node<'a>>) {
        match self {
            Self::Object(fields) => fields.push((name.into(), value.into())),
            Self::Value(Value::Object(map)) => {
                map.insert(name.to_owned(), value.into().into_value());
            }
            _ => {}
        }
    }

    /// Adds a field that has a value.
    pub(crate) fn insert_some(&mut self, name: &'a str, value: Option<impl Into<Node<'a>>>) {
        if let Some(value) = value {
            self.insert(name, value);
        }
    }

    /// The text of a field.
    pub(crate) fn str(&self, name: &str) -> Option<&str> {
        match self {
            Self::Object(fields) => match &fields.iter().find(|(key, _)| key == name)?.1 {
                Node::Text(text) => Some(text),
                Node::Value(value) => value.as_str(),
                _ => None,
            },
            Self::Value(value) => value.get(name)?.as_str(),
            _ => None,
        }
    }

    /// Whether there is such a field.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::Object(fields) => fields.iter().any(|(key, _)| key == name),
            Self::Value(value) => value.get(name).is_some(),
            _ => false,
        }
    }

    /// Takes a field out of an object and gives it back.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Node<'a>> {
        match self {
            Self::Object(fields) => {
                let place = fields.iter().position(|(key, _)| key == name)?;
                Some(fields.remove(place).1)
            }
            Self::Value(Value::Object(map)) => map.shift_remove(name).map(Node::Value),
            _ => None,
        }
    }

    /// Whether its `type` is this.
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.str("type") == Some(kind)
    }

    /// Takes a field out of an object; null when there is none.
    pub(crate) fn take(self, name: &str) -> Node<'a> {
        match self {
            Self::Object(fields) => {
                let found = fields.into_iter().find(|(key, _)| key == name);
                found.map_or(Node::Value(Value::Null), |(_, node)| node)
            }
            Self::Value(mut value) => Node::Value(value.get_mut(name).map(Value::take).unwrap_or_default()),
            _ => Node::Value(Value::Null),
        }
    }

    /// A field that is a plain value.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(fields) => match &fields.iter().find(|(key, _)| key == name)?.1 {
                Node::Value(value) => Some(value),
                _ => None,
            },
            Self::Value(value) => value.get(name),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn value_mut(&mut self, name: &str) -> Option<&mut Value> {
        match self {
            Self::Object(fields) => match &mut fields.iter_mut().find(|(key, _)| key == name)?.1 {
                Node::Value(value) => Some(value),
                _ => None,
            },
            Self::Value(value) => value.get_mut(name),
            _ => None,
        }
    }

    /// The field of an object, to be changed.
    pub(crate) fn field_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        match self {
            Self::Object(fields) => fields.iter_mut().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The same as a tree of its own, media copied.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Value(value) => value,
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Media { mut before, data } => {
                before.push_str(std::str::from_utf8(&data).unwrap_or_default());
                Value::String(before)
            }
            Self::List(list) => list.into_iter().map(Node::into_value).collect::<Vec<_>>().into(),
            Self::Object(fields) => {
                let fields = fields.into_iter().map(|(name, node)| (name.into_owned(), node.into_value()));
                Value::Object(fields.collect())
            }
        }
    }

    /// A whole body, as what it is wanted.
    pub(crate) fn into_body(self, as_json: bool) -> SentBody {
        if as_json {
            return match self.into_value() {
                Value::Object(map) => SentBody::Json(map),
                _ => SentBody::Json(Map::new()),
            };
        }
        let mut rope = Rope::default();
        self.write(&mut rope);
        SentBody::Bytes(rope.into_parts())
    }

    fn write(&self, rope: &mut Rope) {
        match self {
            Self::Value(value) => exact::write(rope, value).expect(TAKES),
            Self::Text(text) => json(rope, text),
            Self::Media { before, data } => {
                rope.tail.put_u8(b'"');
                rope.tail.extend_from_slice(before.as_bytes());
                rope.media(data);
                rope.tail.put_u8(b'"');
            }
            Self::List(list) => {
                rope.tail.put_u8(b'[');
                for (at, node) in list.iter().enumerate() {
                    if at > 0 {
                        rope.tail.put_u8(b',');
                    }
                    node.write(rope);
                }
                rope.tail.put_u8(b']');
            }
            Self::Object(fields) => {
                rope.tail.put_u8(b'{');
                for (at, (name, node)) in fields.iter().enumerate() {
                    if at > 0 {
                        rope.tail.put_u8(b',');
                    }
                    json(rope, name);
                    rope.tail.put_u8(b':');
                    node.write(rope);
                }
                rope.tail.put_u8(b'}');
            }
        }
    }
}

fn json(rope: &mut Rope, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(rope, value).expect(TAKES);
}

impl From<Value> for Node<'_> {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl<'a> From<&'a str> for Node<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Node<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<Vec<Node<'a>>> for Node<'a> {
    fn from(list: Vec<Node<'a>>) -> Self {
        Self::List(list)
    }
}

impl From<bool> for Node<'_> {
    fn from(flag: bool) -> Self {
        Self::Value(flag.into())
    }
}

impl From<u64> for Node<'_> {
    fn from(number: u64) -> Self {
        Self::Value(number.into())
    }
}

impl From<Map<String, Value>> for Node<'_> {
    fn from(map: Map<String, Value>) -> Self {
        Self::Value(Value::Object(map))
    }
}

/// Buffers in a row.
#[derive(Debug, Default)]
struct Rope {
    done: Vec<Bytes>,
    tail: BytesMut,
}

impl Rope {
    fn media(&mut self, data: &Bytes) {
        if data.len() <= SMALL {
            self.tail.extend_from_slice(data);
        } else {
            self.close();
            self.done.push(data.clone());
        }
    }

    /// Ends the buffer that is being written.
    fn close(&mut self) {
        if !self.tail.is_empty() {
            self.done.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    fn into_parts(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }
}

impl Write for Rope {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.write_all(text).map(|()| text.len())
    }

    fn write_all(&mut self, text: &[u8]) -> io::Result<()> {
        if text.len() > ROOM {
            self.close();
            self.done.push(Bytes::copy_from_slice(text));
            return Ok(());
        }
        if self.tail.len() + text.len() > ROOM {
            self.close();
        }
        self.tail.extend_from_slice(text);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(node: Node<'_>) -> Vec<Bytes> {
        match node.into_body(false) {
            SentBody::Bytes(parts) => parts,
            SentBody::Json(map) => panic!("{map:?}"),
        }
    }

    #[test]
    fn a_tree_is_written_as_its_value_is() {
        let node = Node::object([
            ("text", Node::from("a \"b\"\n")),
            ("list", vec![Node::from(1), Node::Value(json!({ "c": null })), Node::from(true)].into()),
            ("media", Node::Media { before: "data:image/png;base64,".into(), data: "AAAA".into() }),
            ("none", Node::Object(Vec::new())),
        ]);

        let written = parts(node.clone()).concat();

        let value: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(value, node.into_value());
        assert_eq!(value["media"], "data:image/png;base64,AAAA");
    }

    #[test]
    fn large_media_are_slices_and_large_texts_have_buffers_of_their_own() {
        let data = Bytes::from(vec![b'A'; 100_000]);
        let text = "é\"".repeat(100_000);
        let node = Node::object([
            ("data", Node::Media { before: String::new(), data: data.clone() }),
            ("text", text.as_str().into()),
        ]);

        let parts = parts(node);

        let place = data.as_ptr();
        assert!(parts.iter().any(|part| part.as_ptr() == place && part.len() == data.len()));
        assert!(parts.iter().all(|part| part.len() <= 100_000));
        let value: Value = serde_json::from_slice(&parts.concat()).unwrap();
        assert_eq!(value["text"], text.as_str());
    }
}
