use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::json;

use super::*;
use crate::Dialect;
use crate::ir::{CacheHint, Choice, Event, FinishReason, Request, Response, Role, Turn};

/// A memory without bounds.
#[derive(Default)]
struct Memory(Mutex<HashMap<(String, String), Arc<Sealed>>>);

impl Seals for Memory {
    fn find(&self, owner: &str, name: &str) -> Option<Arc<Sealed>> {
        self.0.lock().unwrap().get(&(owner.to_owned(), name.to_owned())).cloned()
    }

    fn keep(&self, owner: &str, name: &str, sealed: Sealed) {
        self.0.lock().unwrap().insert((owner.to_owned(), name.to_owned()), Arc::new(sealed));
    }

    fn holds_pictures(&self, owner: &str) -> bool {
        self.0.lock().unwrap().iter().any(|((of, _), sealed)| of == owner && sealed.is_picture())
    }
}

fn seal(data: &str) -> Seal {
    Seal { maker: Maker::Anthropic, data: data.to_owned() }
}

fn thought(text: &str, data: &str) -> Block {
    Block { seal: Some(seal(data)), ..Block::new(Content::Thinking { text: text.to_owned() }) }
}

fn call(id: &str, name: &str, arguments: &str) -> Block {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    Block::new(Content::ToolCall { id, name, arguments })
}

fn picture_of(bytes: &'static str) -> Block {
    let source = Source::Base64 { mime: "image/png".to_owned(), data: bytes.into() };
    Block::new(Content::Image { source, detail: None })
}

fn answer(blocks: Vec<Block>) -> Response {
    let choice = Choice {
        blocks,
        citations: Vec::new(),
        logprobs: Vec::new(),
        finish: FinishReason::ToolCalls,
        raw_finish: None,
        stop_sequence: None,
        audio: None,
    };
    Response { choices: vec![choice], ..Response::default() }
}

/// The model's turn as a client replays it to whom answered these blocks, learnt whole and from events.
fn replayed(answered: Vec<Block>, replay: Vec<Block>) -> Vec<Block> {
    let [whole, streamed] = [false, true].map(|streams| {
        let memory: Arc<dyn Seals> = Arc::new(Memory::default());
        let of = |owner| SealsOf { all: &memory, owner };
        let answer = answer(answered.clone());
        if streams {
            let mut learner = learn::Learner::new(learn::Keeper::new(of("a")));
            answer.events().iter().for_each(|event| learner.see(event));
        } else {
            learn::Keeper::new(of("a")).learn(&answer.choices[0]);
        }
        let attached = |owner| {
            let mut request = Request::new(Dialect::OpenAiChat);
            request.turns.push(Turn { role: Role::Assistant, blocks: replay.clone() });
            attach::attach(&mut request, of(owner));
            request.turns.remove(0).blocks
        };
        assert_eq!(attached("b"), replay, "another client key has none of it");
        attached("a")
    });
    assert_eq!(whole, streamed, "events tell what the whole answer tells");
    whole
}

#[test]
fn thoughts_come_back_before_the_call_they_led_to_and_in_the_text_where_they_stood() {
    let answered = vec![
        thought("first", "s1"),
        Block::text("Let me "),
        thought("second", "s2"),
        Block::text("see."),
        thought("third", "s3"),
        call("c1", "f", r#"{"a": 1, "b": [true, null]}"#),
        call("c2", "g", "{}"),
    ];
    let replay = vec![
        Block::new(Content::Thinking { text: "first second third".to_owned() }),
        Block::text("Let me see."),
        call("c1", "f", r#"{"b":[true,null],"a":1.0}"#),
        call("c2", "g", ""),
    ];

    let attached = replayed(answered.clone(), replay.clone());

    let mut expected = answered;
    expected[5..].clone_from_slice(&replay[2..]);
    assert_eq!(attached, expected);
}

#[test]
fn hidden_thoughts_and_seals_of_texts_and_calls_come_back_too() {
    let sealed_text = Block { seal: Some(seal("t")), ..Block::text("Hm.") };
    let sealed_call = |id: &str| Block { seal: Some(seal("own")), ..call(id, "f", "{}") };
    let hidden = Block::new(Content::RedactedThinking { data: "x".to_owned() });
    let answered = vec![hidden, sealed_text, Block::text(" So."), sealed_call("c1"), call("c2", "f", "{}")];

    let attached = replayed(
        answered.clone(),
        vec![Block::text("Hm. So."), call("c1", "f", "{}"), call("c2", "f", "{}")],
    );

    assert_eq!(attached, answered);
}

#[test]
fn thoughts_between_calls_come_back_between_them() {
    let answered =
        vec![thought("one", "s1"), call("c1", "f", "{}"), thought("two", "s2"), call("c2", "f", "{}")];

    assert_eq!(replayed(answered.clone(), vec![call("c1", "f", "{}"), call("c2", "f", "{}")]), answered);
}

#[test]
fn a_text_that_the_client_has_changed_stands_behind_the_thoughts() {
    let answered = vec![Block::text("Größe"), thought("t", "s"), call("c", "f", "{}")];

    for text in ["Gr", "", "ßßß and more"] {
        let replay = vec![Block::text(text), call("c", "f", "{}")];
        let attached = replayed(answered.clone(), replay.clone());

        let texts: Vec<_> = attached
            .iter()
            .filter_map(|block| match &block.content {
                Content::Text(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts.concat(), text);
        assert_eq!(attached.iter().filter(|block| block.seal.is_some()).count(), 1, "{attached:?}");
        assert_eq!(attached.last(), replay.last());
    }
}

#[test]
fn another_call_under_the_same_identity_gets_nothing() {
    let answered = vec![thought("t", "s"), call("call_0", "f", r#"{"a":1}"#)];

    for other in [
        call("call_0", "f", r#"{"a":2}"#),
        call("call_0", "g", r#"{"a":1}"#),
        call("call_1", "f", r#"{"a":1}"#),
    ] {
        assert_eq!(replayed(answered.clone(), vec![other.clone()]), [other]);
    }
}

#[test]
fn a_client_that_has_kept_its_seals_is_believed() {
    let kept = thought("kept", "own");
    let answered = vec![thought("t", "s"), call("c", "f", "{}")];

    let attached = replayed(answered, vec![kept.clone(), call("c", "f", "{}")]);

    assert_eq!(attached, [kept, call("c", "f", "{}")]);
}

#[test]
fn what_is_not_sealed_is_not_kept_and_neither_is_a_seal_that_is_too_long() {
    let plain = Block::new(Content::Thinking { text: "unsealed".to_owned() });
    let replay = vec![plain.clone(), call("c", "f", "{}")];
    assert_eq!(replayed(vec![plain, call("c", "f", "{}")], replay.clone()), replay);

    let long = "s".repeat(LONGEST_SEAL + 1);
    assert_eq!(replayed(vec![thought("t", &long), call("c", "f", "{}")], replay.clone()), replay);
}

#[test]
fn a_mark_at_the_end_of_a_text_stays_at_its_end() {
    let answered = vec![Block::text("one "), thought("t", "s"), Block::text("two"), call("c", "f", "{}")];
    let marked = Block { cache: Some(CacheHint::default()), ..Block::text("one two") };

    let attached = replayed(answered, vec![marked, call("c", "f", "{}")]);

    let marks: Vec<bool> = attached.iter().map(|block| block.cache.is_some()).collect();
    assert_eq!(marks, [false, false, true, false]);
}

#[test]
fn a_picture_gets_its_seal_back_by_its_bytes() {
    let sealed = Block { seal: Some(seal("p")), ..picture_of("aGk=") };

    let replay = replayed(vec![sealed.clone()], vec![picture_of("aGk=")]);
    assert_eq!(replay.as_slice(), std::slice::from_ref(&sealed));
    assert_eq!(replayed(vec![sealed], vec![picture_of("aGo=")]), [picture_of("aGo=")]);
}

#[test]
fn seals_that_come_in_pieces_are_one_and_other_candidates_are_none() {
    let memory: Arc<dyn Seals> = Arc::new(Memory::default());
    let mut learner = learn::Learner::new(learn::Keeper::new(SealsOf { all: &memory, owner: "a" }));
    let start =
        |index, id: &str| Event::ToolStart { index, id: id.to_owned(), name: "f".to_owned(), seal: None };
    let finish = Event::Finish { reason: FinishReason::ToolCalls, raw: None, stop_sequence: None };

    for event in [
        Event::Thinking("a".into()),
        Event::Thinking("b".into()),
        Event::Seal(seal("x")),
        Event::Seal(seal("y")),
        start(0, "c"),
        Event::Choice(1),
        Event::Seal(seal("z")),
        start(0, "other"),
        finish.clone(),
        Event::Choice(0),
    ] {
        learner.see(&event);
    }
    assert!(memory.find("a", "c").is_none(), "it may still be torn");
    learner.see(&finish);

    let kept = memory.find("a", "c").expect("it is sealed");
    assert_eq!(kept.parts, [Part { at: 0, length: 0, block: thought("ab", "xy") }]);
    assert!(kept.size() > 4 && memory.find("a", "other").is_none());
    assert_eq!(call_digest("f", ""), call_digest("f", &json!({}).to_string()));
}
