//! What holds for every framing.

use proptest::prelude::*;

use super::*;

const ALL: [Framing; 4] = [Framing::Sse, Framing::JsonLines, Framing::JsonArray, Framing::EventStream];

/// Names and data of the frames that have data.
type Seen = Vec<(Vec<u8>, Vec<u8>)>;

fn seen(framing: Framing, block: &[u8]) -> Seen {
    framing.frames(block).filter_map(|frame| Some((frame.event.to_vec(), frame.data?.into_owned()))).collect()
}

/// What a framer makes of a stream that is cut at these places.
struct Cut {
    seen: Seen,
    /// All blocks and what was left.
    joined: Vec<u8>,
    fault: Option<&'static str>,
}

fn cut(framing: Framing, stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> Cut {
    let mut framer = framing.framer(1 << 20);
    let mut cut = Cut { seen: Seen::new(), joined: Vec::new(), fault: None };
    let mut from = 0;
    for to in cuts.into_iter().chain([stream.len()]) {
        if let Some(block) = framer.push(Bytes::copy_from_slice(&stream[from..to])) {
            assert!(!block.is_empty());
            cut.seen.extend(seen(framing, &block));
            cut.joined.extend_from_slice(&block);
        }
        from = to;
    }
    cut.fault = framer.fault();
    cut.joined.extend_from_slice(&framer.take_tail());
    cut
}

/// A whole stream of these events in a framing.
fn written(framing: Framing, events: &[Vec<u8>]) -> Vec<u8> {
    let mut out = BytesMut::from(framing.open());
    for (nth, data) in events.iter().enumerate() {
        let frame = Frame { event: b"e", data: Some(Cow::Borrowed(data)), ..Frame::default() };
        assert!(framing.write(&frame, nth == 0, &mut out));
        out.extend_from_slice(framing.comment().unwrap_or_default());
    }
    out.extend_from_slice(framing.close());
    out.to_vec()
}

#[test]
fn a_content_type_names_its_framing_whatever_its_case_and_parameters() {
    for framing in [Framing::Sse, Framing::JsonLines, Framing::EventStream] {
        let value = format!("{}; charset=utf-8", framing.content_type().to_uppercase());

        assert_eq!(Framing::of_content_type(value.as_bytes()), Some(framing));
    }
    for value in ["application/stream+json", "application/jsonl", " application/x-ndjson"] {
        assert_eq!(Framing::of_content_type(value.as_bytes()), Some(Framing::JsonLines));
    }
    for value in ["application/json", "text/event-streams", ""] {
        assert_eq!(Framing::of_content_type(value.as_bytes()), None);
    }
}

#[test]
fn an_array_without_elements_is_an_array() {
    assert_eq!(written(Framing::JsonArray, &[]), b"[]");
}

#[test]
fn comments_and_the_marker_of_the_end_are_no_elements() {
    let block = b": busy\n\ndata: [DONE]\n\ndata: {\"a\":1}\n\ndata:\n\n";
    let mut out = BytesMut::new();

    let written: Vec<bool> =
        Framing::Sse.frames(block).map(|frame| Framing::JsonArray.write(&frame, true, &mut out)).collect();

    assert_eq!(written, [false, false, true, false]);
    assert_eq!(out, &b"{\"a\":1}"[..]);
}

#[test]
fn json_on_several_lines_becomes_one_line_where_lines_count() {
    let block = b"[{\n  \"a\": \"x\\n y\",\r\n  \"b\": 1\n}";
    let frame = Framing::JsonArray.frames(block).next().expect("an element");

    for (framing, expected) in [
        (Framing::Sse, "data: {\"a\": \"x\\n y\",\"b\": 1}\n\n"),
        (Framing::JsonLines, "{\"a\": \"x\\n y\",\"b\": 1}\n"),
    ] {
        let mut out = BytesMut::new();
        framing.write(&frame, true, &mut out);
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn text_on_several_lines_becomes_several_data_lines() {
    let frame = Frame { data: Some(Cow::Borrowed(b"a\r\nb\n\rc")), ..Frame::default() };
    let mut out = BytesMut::new();

    Framing::Sse.write(&frame, true, &mut out);

    assert_eq!(out, &b"data: a\ndata: b\ndata: \ndata: c\n\n"[..]);
}

#[test]
fn a_name_with_a_line_end_cannot_add_a_field() {
    let frame = Frame { event: b"x\ndata: forged", data: Some(Cow::Borrowed(b"1")), ..Frame::default() };
    let mut out = BytesMut::new();

    Framing::Sse.write(&frame, true, &mut out);

    assert_eq!(out, &b"data: 1\n\n"[..]);
}

fn json() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(String::new()),
        Just("}{".to_owned()),
        Just("]\",[\\".to_owned()),
        Just("\u{1F600}漢\n\r\n\n".to_owned()),
        any::<String>(),
    ];
    let value = (text, any::<i32>(), any::<bool>()).prop_map(|(text, number, pretty)| {
        let value = serde_json::json!({ "t": text, "n": [number, [{}], null], text.clone(): { "x": text } });
        if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("JSON")
    });
    prop_oneof![
        4 => value,
        1 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => any::<String>().prop_map(|text| serde_json::to_vec(&text).expect("JSON")),
        1 => Just(b"[[],[1]]".to_vec()),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        events in prop::collection::vec(json(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        for framing in ALL {
            let stream = written(framing, &events);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let bytewise = 0..stream.len();

            for found in [cut(framing, &stream, []), cut(framing, &stream, cuts), cut(framing, &stream, bytewise)] {
                let values = |data: &[u8]| serde_json::from_slice::<serde_json::Value>(data).expect("JSON");
                let read: Vec<_> = found.seen.iter().map(|(_, data)| values(data)).collect();
                let sent: Vec<_> = events.iter().map(|data| values(data)).collect();
                let name = if matches!(framing, Framing::Sse | Framing::EventStream) { &b"e"[..] } else { b"" };
                prop_assert_eq!(read, sent, "{:?}", framing);
                prop_assert!(found.seen.iter().all(|(event, _)| event == name));
                prop_assert_eq!(&found.joined, &stream, "{:?}", framing);
                prop_assert_eq!(found.fault, None);
            }
        }
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_frames_and_the_same_fault(
        stream in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            // What looks like JSON gets further.
            prop::collection::vec(prop::sample::select(&b"[]{},\"\\ \n1a:"[..]), 0..24),
            prop::collection::vec(prop::sample::select(&b"[]{},\"\\ \n1a:"[..]), 0..24)
                .prop_map(|rest| [b"[1,{}", &rest[..]].concat()),
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        for framing in [Framing::JsonLines, Framing::JsonArray, Framing::EventStream] {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();

            let whole = cut(framing, &stream, []);
            for found in [cut(framing, &stream, cuts), cut(framing, &stream, 0..stream.len())] {
                prop_assert_eq!(&found.seen, &whole.seen, "{:?}", framing);
                prop_assert_eq!(found.fault, whole.fault, "{:?}", framing);
                // Behind a fault nothing is given out.
                prop_assert!(found.fault.is_some() || found.joined == stream);
                prop_assert!(stream.starts_with(&found.joined));
            }
        }
    }

    #[test]
    fn frames_lose_no_byte_of_any_block(block in prop::collection::vec(any::<u8>(), 0..80)) {
        for framing in [Framing::JsonLines, Framing::JsonArray, Framing::EventStream] {
            let joined: Vec<u8> = framing.frames(&block).flat_map(|frame| frame.raw.to_vec()).collect();

            prop_assert_eq!(&joined, &block, "{:?}", framing);
        }
    }
}
