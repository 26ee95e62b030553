use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use async_compression::Level;
use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::flate::params::FlateEncoderParams;
use async_compression::codecs::{
    BrotliEncoder, DeflateEncoder, EncodeV2, GzipEncoder, ZlibEncoder, ZstdEncoder,
};
use async_compression::core::util::{PartialBuffer, WriteBuffer};
use async_compression::zstd::CParameter;
use http::HeaderValue;
use http_body_util::BodyExt;

use super::*;
use crate::body::Broken;
use crate::testing::body::Chunks;
use crate::testing::chunks;

const MOST: u64 = 1 << 30;
const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

/// Encodes parts, each of which can be read when it has come.
fn encoded(mut encoder: impl EncodeV2, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let whole: usize = parts.iter().map(|part| part.len()).sum();
    let mut room = vec![0; whole * 2 + 4096];
    let mut pieces = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let mut out = WriteBuffer::new_initialized(&mut room);
        let mut input = PartialBuffer::new(*part);
        while !input.unwritten().is_empty() {
            encoder.encode(&mut input, &mut out).unwrap();
        }
        let last = index + 1 == parts.len();
        while !(if last { encoder.finish(&mut out) } else { encoder.flush(&mut out) }).unwrap() {}
        pieces.push(out.written().to_vec());
    }
    pieces
}

fn flate() -> FlateEncoderParams {
    Level::Default.into()
}

fn pieces(coding: Coding, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    match coding {
        Coding::Gzip => encoded(GzipEncoder::new(flate()), parts),
        Coding::Deflate => encoded(ZlibEncoder::new(flate()), parts),
        Coding::Brotli => {
            encoded(BrotliEncoder::new(EncoderParams::default().quality(Level::Fastest)), parts)
        }
        Coding::Zstd => encoded(ZstdEncoder::new(3), parts),
    }
}

fn whole(coding: Coding, plain: &[u8]) -> Vec<u8> {
    pieces(coding, &[plain]).concat()
}

async fn decoded(body: Chunks, coding: Coding) -> Result<Bytes, DecodeError<Broken>> {
    Ok(Decoded::new(body, coding, MOST).collect().await?.to_bytes())
}

/// The reason why this cannot be decoded.
async fn reason(bytes: Vec<u8>, coding: Coding) -> String {
    decoded(chunks().now(bytes), coding).await.map(|plain| plain.len()).unwrap_err().to_string()
}

/// Text that shrinks as text does.
fn text() -> Vec<u8> {
    (0..20_000_u32)
        .flat_map(|n| format!("{} ", n.wrapping_mul(2_654_435_761) % 100_000).into_bytes())
        .collect()
}

#[tokio::test]
async fn every_coding_is_undone_however_it_is_cut() {
    let plain = text();
    for coding in CODINGS {
        let bytes = whole(coding, &plain);
        let by_byte = bytes.iter().fold(chunks(), |body, byte| body.now(vec![*byte]).now(Bytes::new()));

        assert!(decoded(chunks().now(bytes), coding).await.unwrap() == plain, "{coding:?}");
        assert!(decoded(by_byte.trailers(), coding).await.unwrap() == plain, "{coding:?} by byte");
    }
}

#[tokio::test]
async fn deflate_comes_with_and_without_its_wrapper() {
    let bare = encoded(DeflateEncoder::new(flate()), &[b"hello"]).concat();

    assert_eq!(decoded(chunks().now(bare), Coding::Deflate).await.unwrap(), "hello");
}

#[tokio::test]
async fn members_that_follow_each_other_are_one_body() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let two = chunks().now(whole(coding, b"one ")).now(whole(coding, b"two"));

        assert_eq!(decoded(two, coding).await.unwrap(), "one two", "{coding:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_flushed_is_given_before_more_comes() {
    for coding in CODINGS {
        let mut flushed = pieces(coding, &[b"data: one\n\n", b"data: two\n\n"]);
        let last = flushed.pop().unwrap();
        let later = std::time::Duration::from_secs(9);
        let body = chunks().now(flushed.concat()).after(later, last);
        let mut body = Decoded::new(body, coding, MOST);
        let began = tokio::time::Instant::now();

        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();

        assert_eq!((&first[..], began.elapsed().as_secs()), (&b"data: one\n\n"[..], 0), "{coding:?}");
        assert_eq!(body.collect().await.unwrap().to_bytes(), "data: two\n\n", "{coding:?}");
    }
}

#[test]
fn codings_are_known_by_their_names_in_any_case() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Coding::of(&headers)
    };
    let unknown = |list: &str| Err(Undecodable::Unknown(list.to_owned()));

    assert_eq!((of(&[]), of(&["identity"]), of(&[""])), (Ok(None), Ok(None), Ok(None)));
    for (name, coding) in [
        ("gzip", Coding::Gzip),
        ("GZIP", Coding::Gzip),
        ("X-GZip", Coding::Gzip),
        ("Deflate", Coding::Deflate),
        (" Br ", Coding::Brotli),
        ("ZSTD, identity", Coding::Zstd),
    ] {
        assert_eq!(of(&[name]), Ok(Some(coding)), "{name}");
    }
    assert_eq!((of(&["gzip, gzip"]), of(&["gzip", "br"])), (unknown("gzip, gzip"), unknown("gzip, br")));
    let told = of(&["snappy"]).unwrap_err().to_string();
    assert_eq!(told, r#"its content coding "snappy" is not one of gzip, deflate, br, zstd"#);
}

#[tokio::test]
async fn no_sender_gets_a_window_beyond_8_mib() {
    let window =
        |log| encoded(ZstdEncoder::new_with_params(3, &[CParameter::window_log(log)]), &[b"x"]).concat();

    assert_eq!(decoded(chunks().now(window(23)), Coding::Zstd).await.unwrap(), "x");
    assert!(reason(window(24), Coding::Zstd).await.contains("too much memory"));
    // "Large window brotli" may name a gibibyte, and is no `br`.
    assert_eq!(
        reason(vec![0x11, 30, 0, 0], Coding::Brotli).await,
        "its br coding is corrupt: its window is too large"
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_encoded_body_is_told() {
    for coding in CODINGS {
        let (name, bytes) = (coding.name(), whole(coding, &text()));
        let cut = bytes[..bytes.len() / 2].to_vec();
        let mut corrupt = bytes.clone();
        corrupt.splice(200..300, [0xff; 100]);
        let broken = decoded(chunks().now(cut.clone()).breaks(), coding).await;

        assert_eq!(reason(cut, coding).await, format!("its {name} coding ends early"));
        // The others come without a checksum.
        if matches!(coding, Coding::Gzip | Coding::Deflate) {
            let told = reason(corrupt, coding).await;
            assert!(told.starts_with(&format!("its {name} coding is corrupt: ")), "{told}");
        }
        let told = reason(b"{\"plain\":true}".to_vec(), coding).await;
        assert!(told.starts_with(&format!("its {name} coding ")), "{told}");
        assert_eq!(broken, Err(DecodeError::Body(Broken::Connection(None))), "{name}");
    }
    let tail = [whole(Coding::Brotli, b"hello"), b"tail".to_vec()].concat();
    assert_eq!(reason(tail, Coding::Brotli).await, "its br coding is corrupt: there is more behind its end");
}

#[tokio::test]
async fn nothing_at_all_is_nothing() {
    for coding in CODINGS {
        assert_eq!(decoded(chunks(), coding).await.unwrap(), "", "{coding:?}");
    }
}

#[tokio::test]
async fn length_and_ratio_of_what_is_decoded_are_bounded() {
    let zeros = vec![0; 10 << 20];
    let text = text();
    for coding in CODINGS {
        let bomb = reason(whole(coding, &zeros), coding).await;
        let below = decoded(chunks().now(whole(coding, &zeros[..7 << 20])), coding).await;
        let long = Decoded::new(chunks().now(whole(coding, &text)), coding, 50_000).collect().await;

        assert_eq!(bomb, format!("its {} coding becomes more than 200 times as long", coding.name()));
        assert_eq!(below.unwrap().len(), 7 << 20, "{coding:?}");
        assert_eq!(long.unwrap_err(), Undecodable::TooLong(50_000).into(), "{coding:?}");
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn others_get_turns_while_much_is_decoded_and_while_nothing_comes_of_much() {
    let empty_member = whole(Coding::Gzip, b"");
    let much = chunks().now(whole(Coding::Gzip, &vec![b'x'; 4 << 20]));
    let nothing = (0..20_000).fold(chunks(), |body, _| body.now(empty_member.clone()));
    for (body, least) in [(much, 4 << 20 >> 16), (nothing, 5)] {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        let mut body = pin!(Decoded::new(body, Coding::Gzip, MOST));
        let mut turns = 0;
        loop {
            match body.as_mut().poll_frame(&mut cx) {
                Poll::Ready(None) => break,
                Poll::Ready(Some(frame)) => assert!(frame.unwrap().into_data().unwrap().len() <= STEP),
                Poll::Pending => turns += 1,
            }
            assert_eq!(turns, wakes.0.load(Ordering::Relaxed), "who gives up a turn comes back");
        }

        assert!(turns >= least, "{turns} turns, {least} expected");
    }
}
