//! Finds the texts of a request that no model has answered yet: what moderation looks at.
//!
//! That is everything since the last turn of the model, whoever says it (users, systems, tools) and however it is
//! wrapped (text, lists of parts, results within parts). A turn of the model behind the last turn of anybody else ends
//! nothing: clients write it themselves, as the beginning of an answer, so it is looked at too. What tools are called
//! and described as goes to the model with each request, so it counts each time. Turns of the model may be the
//! client's own, too, from the first to the last: who distrusts them has all turns looked at.
//!
//! One pass over the borrowed body. What could be read in two ways is read in both: a field that stands twice gives
//! both of its texts, and unknown shapes are walked rather than refused. Pictures and sound have no text and are left
//! out, as are addresses and encoded files.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::lenient::{Str, TextOr};
use crate::surrogates::mended;
use crate::{Form, Malformed};

/// Values without text.
macro_rules! none {
    ($value:ty, $none:expr) => {
        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok($none)
        }
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok($none)
        }
        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok($none)
        }
        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok($none)
        }
        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok($none)
        }
    };
}

/// Fields in which texts stand, at any depth of a turn.
const TEXTUAL: [&str; 12] = [
    "content", "text", "parts", "refusal", "input", "output", "result", "title", "context", "source",
    "thinking", "name",
];

/// Fields in which tools are described, at any depth.
const DESCRIBING: [&str; 3] = ["name", "description", "title"];

/// A part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TextScope {
    /// What no model has answered yet.
    #[default]
    Fresh,
    /// Everything.
    All,
}

/// The places in which a dialect's requests hold texts.
pub(crate) struct Layout {
    /// The list of turns.
    pub(crate) turns: &'static str,
    /// The `role` of the model's own turns.
    pub(crate) answerer: &'static str,
    /// Fields beside the turns that stand before the first of them.
    pub(crate) before: &'static [&'static str],
    /// Fields that may stand in place of turns.
    pub(crate) beside: &'static [&'static str],
    /// Lists of tools.
    pub(crate) tools: &'static [&'static str],
}

/// The texts of a request, in order, as far as they are of this scope.
///
/// # Errors
/// A body that is no JSON object.
pub(crate) fn read<'a>(
    body: &'a [u8],
    layout: &Layout,
    scope: TextScope,
) -> Result<Vec<Cow<'a, str>>, Malformed> {
    parse(body, layout, scope).or_else(|malformed| match mended(body) {
        Cow::Borrowed(_) => Err(malformed),
        Cow::Owned(text) => {
            Ok(parse(&text, layout, scope)?.into_iter().map(|text| Cow::Owned(text.into_owned())).collect())
        }
    })
}

fn parse<'a>(body: &'a [u8], layout: &Layout, scope: TextScope) -> Result<Vec<Cow<'a, str>>, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = Request(layout, scope)
        .deserialize(&mut deserializer)
        .and_then(|found| deserializer.end().map(|()| found))
        .map_err(|error| Malformed::new(format!("the texts of the request cannot be read: {error}")))?;
    Ok(found.into_iter().filter(|text| !text.trim().is_empty()).collect())
}

/// The role of the last of the `messages` of a body, and the types of its parts. Read only when an answer is empty,
/// which is rare. A body that cannot be read has none.
pub(crate) fn last_turn(body: &[u8]) -> Option<(String, Vec<String>)> {
    #[derive(Deserialize)]
    struct Conversation<'a> {
        #[serde(borrow)]
        messages: Vec<Message<'a>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Message<'a> {
        #[serde(borrow)]
        role: Str<'a>,
        #[serde(borrow)]
        content: TextOr<'a, Part<'a>>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Part<'a> {
        #[serde(borrow, rename = "type")]
        kind: Str<'a>,
    }
    let body = mended(body);
    let last = serde_json::from_slice::<Conversation<'_>>(&body).ok()?.messages.pop()?;
    let parts = match &last.content {
        TextOr::Parts(parts) => parts.iter().filter_map(|part| part.kind.owned()).collect(),
        TextOr::Absent | TextOr::Text(_) => Vec::new(),
    };
    Some((last.role.owned()?, parts))
}

/// The texts of a form: the short values of the parts that stand in place of turns.
///
/// # Errors
/// A text longer than 1 MiB, or one that is no UTF-8.
pub(crate) fn read_form<'a>(form: &Form, layout: &Layout) -> Result<Vec<Cow<'a, str>>, Malformed> {
    const LONGEST: usize = 1 << 20;
    let parts = form.parts().iter().enumerate();
    let texts = parts.filter(|(_, part)| layout.beside.contains(&part.name.as_str())).map(|(at, part)| {
        form.text(at, LONGEST)
            .map(|text| -> Cow<'a, str> { Cow::Owned(text) })
            .ok_or_else(|| Malformed::at(&part.name, format!("the text of {} cannot be read", part.name)))
    });
    texts.filter(|text| !text.as_ref().is_ok_and(|text| text.trim().is_empty())).collect()
}

type Found<'a> = Vec<Cow<'a, str>>;

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A whole request.
struct Request<'l>(&'l Layout, TextScope);

impl<'de> DeserializeSeed<'de> for Request<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Request<'_> {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let Self(layout, scope) = self;
        let (mut before, mut turns, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        let mut tools = Vec::new();
        let mut from_the_first = true;
        while let Some(Name(name)) = map.next_key()? {
            if name == layout.turns {
                let said = map.next_value::<Turns<'de>>()?.0;
                let since = match scope {
                    TextScope::Fresh => since_the_answer(&said, layout.answerer),
                    TextScope::All => 0,
                };
                from_the_first &= since == 0;
                turns.extend(said.into_iter().skip(since).flat_map(|turn| turn.texts));
            } else if layout.before.contains(&&*name) {
                before.extend(map.next_value::<Texts<'de>>()?.0);
            } else if layout.beside.contains(&&*name) {
                beside.extend(map.next_value::<Texts<'de>>()?.0);
            } else if layout.tools.contains(&&*name) {
                tools.extend(map.next_value::<Descriptions<'de>>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let mut found = if from_the_first { before } else { Vec::new() };
        found.append(&mut turns);
        found.append(&mut beside);
        found.append(&mut tools);
        Ok(found)
    }
}

/// The position of the first turn that no turn of the model follows, but for those at the very end.
fn since_the_answer(turns: &[Turn<'_>], answerer: &str) -> usize {
    let answers = |turn: &Turn<'_>| turn.is_of(answerer);
    let Some(last) = turns.iter().rposition(|turn| !answers(turn)) else { return 0 };
    turns[..last].iter().rposition(answers).map_or(0, |answer| answer + 1)
}

/// One turn.
#[derive(Default)]
struct Turn<'a> {
    /// Every `role` it has.
    roles: Vec<Cow<'a, str>>,
    texts: Found<'a>,
}

impl Turn<'_> {
    /// Whether all readers agree on this role.
    fn is_of(&self, role: &str) -> bool {
        !self.roles.is_empty() && self.roles.iter().all(|own| own == role)
    }
}

/// A list of turns, or something in its place.
struct Turns<'a>(Vec<Turn<'a>>);

impl<'de> Deserialize<'de> for Turns<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Turns<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of turns")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Turns<'de>, E> {
                Ok(Turns(vec![Turn { texts: vec![text.into()], ..Turn::default() }]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Turns<'de>, E> {
                Ok(Turns(vec![Turn { texts: vec![text.to_owned().into()], ..Turn::default() }]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Turns<'de>, A::Error> {
                let mut turns = Vec::new();
                while let Some(turn) = seq.next_element::<Turn<'de>>()? {
                    turns.push(turn);
                }
                Ok(Turns(turns))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Turns<'de>, A::Error> {
                Ok(Turns(vec![walk(map)?]))
            }
            none!(Turns<'de>, Turns(Vec::new()));
        }
        deserializer.deserialize_any(List)
    }
}

impl<'de> Deserialize<'de> for Turn<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Turns(mut turns) = Turns::deserialize(deserializer)?;
        match turns.pop() {
            Some(turn) if turns.is_empty() => Ok(turn),
            _ => Err(D::Error::custom("a turn must be an object")),
        }
    }
}

/// The texts of a value, at any depth.
struct Texts<'a>(Found<'a>);

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Texts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything that may hold text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![text.into()]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Texts<'de>, E> {
                Ok(Texts(vec![text.to_owned().into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(Texts(texts)) = seq.next_element()? {
                    found.extend(texts);
                }
                Ok(Texts(found))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Texts<'de>, A::Error> {
                Ok(Texts(walk(map)?.texts))
            }
            none!(Texts<'de>, Texts(Vec::new()));
        }
        deserializer.deserialize_any(Any)
    }
}

/// The texts that describe tools, at any depth.
struct Descriptions<'a>(Found<'a>);

impl<'de> Deserialize<'de> for Descriptions<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Descriptions<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything that may describe tools")
            }
            fn visit_str<E>(self, _: &str) -> Result<Descriptions<'de>, E> {
                Ok(Descriptions(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Descriptions<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(Descriptions(texts)) = seq.next_element()? {
                    found.extend(texts);
                }
                Ok(Descriptions(found))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Descriptions<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    match DESCRIBING.contains(&&*name) {
                        // A parameter may have such a name, too: then a schema stands there.
                        true => found.extend(map.next_value::<Described<'de>>()?.0),
                        false => found.extend(map.next_value::<Descriptions<'de>>()?.0),
                    }
                }
                Ok(Descriptions(found))
            }
            none!(Descriptions<'de>, Descriptions(Vec::new()));
        }
        deserializer.deserialize_any(Any)
    }
}

/// A text that describes a tool, or what describes a parameter with a telling name.
struct Described<'a>(Found<'a>);

impl<'de> Deserialize<'de> for Described<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Described<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a description")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Described<'de>, E> {
                Ok(Described(vec![text.into()]))
            }
            fn visit_str<E>(self, text: &str) -> Result<Described<'de>, E> {
                Ok(Described(vec![text.to_owned().into()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Described<'de>, A::Error> {
                let list = serde::de::value::SeqAccessDeserializer::new(seq);
                Ok(Described(Texts::deserialize(list)?.0))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Described<'de>, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                Ok(Described(Descriptions::deserialize(map)?.0))
            }
            none!(Described<'de>, Described(Vec::new()));
        }
        deserializer.deserialize_any(Any)
    }
}

/// The texts of an object, and the roles that it names.
fn walk<'de, A: MapAccess<'de>>(mut map: A) -> Result<Turn<'de>, A::Error> {
    let mut turn = Turn::default();
    // `{"type": "text", "data": …}` is text; with any other type `data` is an encoded file.
    let (mut data, mut plain) = (Vec::new(), false);
    while let Some(Name(name)) = map.next_key()? {
        match &*name {
            "role" => turn.roles.push(map.next_value::<Texts<'de>>()?.0.join(" ").into()),
            "type" => plain |= map.next_value::<Texts<'de>>()?.0.iter().any(|kind| kind == "text"),
            "data" => data.extend(map.next_value::<Texts<'de>>()?.0),
            name if TEXTUAL.contains(&name) => turn.texts.extend(map.next_value::<Texts<'de>>()?.0),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
    }
    if plain {
        turn.texts.append(&mut data);
    }
    Ok(turn)
}

#[cfg(test)]
mod tests {
    use crate::{Body, Dialect, Malformed, TextScope};

    fn fresh(dialect: Dialect, body: &[u8]) -> Result<Vec<String>, Malformed> {
        let body = Body::Json(bytes::Bytes::copy_from_slice(body));
        dialect
            .texts(&body, TextScope::Fresh)
            .map(|texts| texts.into_iter().map(std::borrow::Cow::into_owned).collect())
    }

    fn chat(body: &str) -> Vec<String> {
        fresh(Dialect::OpenAiChat, body.as_bytes()).unwrap()
    }

    #[test]
    fn everything_since_the_last_answer_counts_and_nothing_before_it() {
        let body = r#"{"model":"m","messages":[
            {"role":"system","content":"be kind"},{"role":"user","content":"old"},
            {"role":"assistant","content":"answer","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"a result"},
            {"role":"user","content":[{"type":"text","text":"one"},
              {"type":"image_url","image_url":{"url":"https://a.example/x.png"}},{"type":"text","text":"two"}]}]}"#;

        assert_eq!(chat(body), ["a result", "one", "two"]);
    }

    #[test]
    fn names_count_and_what_tools_are_called_and_described_as() {
        let body = r#"{"messages":[{"role":"user","name":"who","content":"hi"}],
            "tools":[{"type":"function","function":{"name":"look","description":"looks","parameters":{
              "type":"object","properties":{"at":{"type":"string","description":"a place","enum":["x"]},
              "name":{"type":"string","description":"a name"}}}}}],
            "functions":[{"name":"old","description":"of old"}]}"#;

        assert_eq!(chat(body), ["who", "hi", "look", "looks", "a place", "a name", "old", "of old"]);
    }

    #[test]
    fn of_a_whole_conversation_the_answers_count_too() {
        let body = br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
        let body = Body::Json(bytes::Bytes::from_static(body));

        assert_eq!(Dialect::OpenAiChat.texts(&body, TextScope::All).unwrap(), ["a", "b", "c"]);
        assert_eq!(Dialect::OpenAiChat.texts(&body, TextScope::Fresh).unwrap(), ["c"]);
    }

    #[test]
    fn without_an_answer_all_turns_count() {
        let body = r#"{"messages":[{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"user","content":"u"}]}"#;

        assert_eq!(chat(body), ["s", "d", "u"]);
    }

    #[test]
    fn an_answer_that_the_client_begins_hides_nothing() {
        let body = r#"{"messages":[{"role":"user","content":"old"},{"role":"assistant","content":"a"},
            {"role":"user","content":"new"},{"role":"assistant","content":"Sure,"},{"role":"assistant","content":""}]}"#;

        assert_eq!(chat(body), ["new", "Sure,"]);
        assert_eq!(chat(r#"{"messages":[{"role":"assistant","content":"alone"}]}"#), ["alone"]);
    }

    #[test]
    fn what_stands_twice_is_read_twice() {
        let twice = r#"{"messages":[{"role":"user","content":"a","content":"b"},{"role":"assistant","role":"user","content":"c"}],
            "messages":[{"role":"user","content":"d"}]}"#;

        assert_eq!(chat(twice), ["a", "b", "c", "d"]);
    }

    #[test]
    fn texts_are_found_escaped_nested_and_in_place_of_lists() {
        assert_eq!(chat(r#"{"messages":[{"ro\u006ce":"user","cont\u0065nt":"b\u0061d"}]}"#), ["bad"]);
        assert_eq!(chat(r#"{"messages":[{"role":"user","content":{"text":"in a map"}}]}"#), ["in a map"]);
        assert_eq!(chat(r#"{"messages":["bare"],"prompt":["p","q"],"input":"i"}"#), ["bare", "p", "q", "i"]);
        assert_eq!(
            chat(
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"text","text":"deep"}]}]}]}"#
            ),
            ["deep"]
        );
    }

    #[test]
    fn blank_texts_and_encoded_files_are_left_out() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"text","text":" \n"},
            {"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}},
            {"type":"document","source":{"type":"base64","data":"JVBERi0="}},
            {"type":"document","source":{"type":"text","data":"plain"}}]}]}"#;

        assert_eq!(chat(body), ["plain"]);
    }

    #[test]
    fn a_system_prompt_beside_the_turns_counts_before_the_first_answer_only() {
        let read = |body: &str| fresh(Dialect::Anthropic, body.as_bytes()).unwrap();

        let first = r#"{"messages":[{"role":"user","content":"u"}],"system":[{"type":"text","text":"s"}]}"#;
        let later = r#"{"system":"s","messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"r"}]}]}"#;

        assert_eq!(read(first), ["s", "u"]);
        assert_eq!(read(later), ["r"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_rather_than_passed() {
        let deep = format!(
            r#"{{"messages":[{{"role":"user","content":{}"x"{}}}]}}"#,
            "[".repeat(500),
            "]".repeat(500)
        );
        for body in ["", "[]", "7", r#"{"messages":[null]}"#, r#"{"messages":[]"#, "{} {}", &deep] {
            assert!(fresh(Dialect::OpenAiChat, body.as_bytes()).is_err(), "{body}");
        }
        assert!(fresh(Dialect::OpenAiChat, b"{\"messages\":[{\"content\":\"\xff\"}]}").is_err());
    }
}
