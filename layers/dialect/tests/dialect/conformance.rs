//! Cases of others that are run where they are and do not stand here: `make conformance`.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use dialect::Framing;
use dialect::framing::event_stream::{HeaderValue, headers};

/// One message of a case: what it holds, as the case tells it, and its bytes.
struct Message {
    headers: Vec<(String, String, String)>,
    body: Option<String>,
    bytes: Vec<u8>,
}

/// The messages of the cases of event streams in Smithy's model of them.
fn messages(model: &str) -> Vec<Message> {
    let mut found = Vec::new();
    let (mut told, mut body, mut inside) = (Vec::new(), None, false);
    let mut lines = model.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let text = |line: &str| line.trim().trim_matches('"').to_owned();
        if line == "headers: {" {
            (told, body, inside) = (Vec::new(), None, true);
        } else if line == "}" {
            inside = false;
        } else if let Some(bytes) = line.strip_prefix("bytes: ") {
            let bytes = STANDARD.decode(text(bytes)).expect("base64");
            found.push(Message { headers: std::mem::take(&mut told), body: body.take(), bytes });
        } else if line == "body: \"\"\"" {
            let mut block = Vec::new();
            for line in lines.by_ref() {
                let last = line.strip_suffix("\"\"\"");
                block.push(last.unwrap_or(line));
                if last.is_some() {
                    break;
                }
            }
            body = Some(block.join("\n"));
        } else if let Some(said) = line.strip_prefix("body: ") {
            body = Some(text(said).replace("\\\"", "\""));
        } else if inside && let Some((name, value)) = line.split_once(": {") {
            let (kind, value) = value.trim_end_matches('}').split_once(':').expect("a typed value");
            told.push((text(name), kind.trim().to_owned(), text(value)));
        }
    }
    found
}

/// Whether a header is what a case tells of it.
fn is_told(value: &HeaderValue<'_>, kind: &str, told: &str) -> bool {
    match (kind, *value) {
        ("boolean", HeaderValue::Bool(flag)) => flag.to_string() == told,
        ("byte", HeaderValue::Byte(number)) => number.to_string() == told,
        ("short", HeaderValue::Short(number)) => number.to_string() == told,
        ("integer", HeaderValue::Int(number)) => number.to_string() == told,
        ("long", HeaderValue::Long(number)) => number.to_string() == told,
        ("string", HeaderValue::String(text)) => text == told.as_bytes(),
        // Written as text or in base64, and as seconds or as text.
        ("blob", HeaderValue::Bytes(bytes)) => {
            bytes == told.as_bytes() || STANDARD.decode(told).is_ok_and(|told| told == bytes)
        }
        ("timestamp", HeaderValue::Timestamp(_)) => true,
        _ => false,
    }
}

#[test]
fn the_messages_of_smithy_s_cases_are_cut_and_read_as_they_say() {
    let folder = PathBuf::from(std::env::var_os("AWS_WIRE").expect("AWS_WIRE names the folder of the cases"));
    let file = folder.join("event-stream/rest-json-event-stream.smithy");
    let messages = messages(&fs::read_to_string(file).expect("the cases are there"));
    assert_eq!(messages.len(), 92);
    let mut told_headers = 0;
    for (number, message) in messages.iter().enumerate() {
        let bytes = &message.bytes;
        let mut framer = Framing::EventStream.framer(1 << 16);
        let mut whole = Vec::new();
        for byte in bytes {
            whole.extend(framer.push(Bytes::copy_from_slice(&[*byte])));
        }
        assert_eq!((whole.concat(), framer.fault()), (bytes.clone(), None), "{number}");
        let frames: Vec<_> = Framing::EventStream.frames(bytes).collect();
        let [frame] = &frames[..] else { panic!("{number}: {} frames", frames.len()) };

        let length = u32::from_be_bytes(bytes[4..8].try_into().expect("four bytes")) as usize;
        let read: Vec<_> = headers(&bytes[12..12 + length]).collect();
        for (name, kind, told) in &message.headers {
            let (_, value) = read
                .iter()
                .find(|(found, _)| *found == name.as_bytes())
                .unwrap_or_else(|| panic!("{number}: {name}"));
            assert!(is_told(value, kind, told), "{number}: {name} {kind} {told}: {value:?}");
            told_headers += 1;
            match name.as_str() {
                ":event-type" | ":exception-type" | ":error-code" if kind == "string" => {
                    assert_eq!(frame.event, told.as_bytes());
                }
                _ => {}
            }
        }
        // What does not say as text that it is an event is none.
        let is_event = message.headers.iter().all(|(name, kind, told)| match name.as_str() {
            ":message-type" => kind == "string" && told == "event",
            ":event-type" => kind == "string",
            _ => true,
        });
        assert_eq!(frame.exception, !is_event, "{number}");
        if let Some(body) = &message.body {
            let data = frame.data.as_deref().unwrap_or_default();
            let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
            let equal =
                data == body.as_bytes() || (json(data).is_some() && json(data) == json(body.as_bytes()));
            assert!(equal, "{number}: {body}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut framer = Framing::EventStream.framer(1 << 16);
            assert_eq!(framer.push(flipped.into()), None, "{number}: bit {bit}");
            assert!(framer.fault().is_some(), "{number}: bit {bit}");
        }
    }
    assert!(told_headers > 150, "{told_headers}");
}
