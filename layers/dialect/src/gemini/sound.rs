//! Pictures and sound in answers. Models speak in bare samples, which no player knows without a header.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/speech-generation> (`audio/L16;codec=pcm;rate=24000`), and the WAVE
//! format (RFC 2361 and the RIFF specification). Samples have 16 bits, little end first; rates are in hertz.

use bytes::Bytes;

use super::wire::Blob;
use crate::ir::{Event, Seal};
use crate::media::Pieces;
use crate::names;

/// The type of sound that clients want without a header.
pub(super) const SAMPLES: &str = "audio/pcm16";
/// The rate of samples where nothing tells it.
const DEFAULT_RATE: u32 = 24_000;
/// The length of what is still to come.
const UNKNOWN: u32 = u32::MAX;

/// The media of one candidate, as far as they came.
#[derive(Debug, Default)]
pub(super) struct Sound {
    pieces: Pieces,
    begun: bool,
    /// The bytes of all samples of a whole answer.
    expected: Option<u32>,
}

impl Sound {
    /// Learns how much sound a whole answer holds.
    pub(super) fn expect<'a>(&mut self, blobs: impl Iterator<Item = &'a Blob<'a>>) {
        let samples = blobs.filter(|blob| rate(blob.mime_type.text()).is_some());
        let length = samples.fold(0usize, |sum, blob| sum.saturating_add(decoded(blob.data.text())));
        self.expected = u32::try_from(length).ok();
    }

    /// Tells of a medium. Samples become a WAVE unless the client wants them bare.
    pub(super) fn read(
        &mut self,
        blob: &Blob<'_>,
        wanted: Option<&str>,
        seal: Option<Seal>,
        seed: &str,
        out: &mut Vec<Event>,
    ) {
        let (mime, data) = (blob.mime_type.text(), blob.data.text());
        if data.is_empty() {
            return;
        }
        if !mime.starts_with("audio/") {
            let mime = if mime.is_empty() { "image/png" } else { mime }.to_owned();
            out.push(Event::Image { mime, data: Bytes::copy_from_slice(data.as_bytes()), seal });
            return;
        }
        let begins = !std::mem::replace(&mut self.begun, true);
        let id = begins.then(|| format!("audio_{}", names::digest(seed)));
        let samples = self.pieces.push(data.as_bytes());
        let (mime, data) = match rate(mime) {
            None => (mime.split(';').next().unwrap_or_default().to_owned(), samples),
            Some(_) if wanted == Some(SAMPLES) => (SAMPLES.to_owned(), samples),
            Some(rate) if begins => {
                let mut wave = Vec::with_capacity(44 + samples.len());
                wave.extend_from_slice(&header(rate, channels(mime), self.expected.unwrap_or(UNKNOWN)));
                wave.extend_from_slice(&samples);
                ("audio/wav".to_owned(), wave)
            }
            Some(_) => ("audio/wav".to_owned(), samples),
        };
        let transcript = String::new();
        out.push(Event::Audio { id, mime, data: data.into(), transcript, expires_at: None });
    }

    /// What an end that was not padded still holds.
    pub(super) fn end(&mut self, out: &mut Vec<Event>) {
        let data = self.pieces.finish();
        if !data.is_empty() {
            let (mime, transcript) = (String::new(), String::new());
            out.push(Event::Audio { id: None, mime, data: data.into(), transcript, expires_at: None });
        }
    }
}

/// The rate of bare samples; none for sound of any other form.
fn rate(mime: &str) -> Option<u32> {
    let lower = mime.to_ascii_lowercase();
    let bare = ["audio/l16", "audio/pcm"].iter().any(|form| lower.starts_with(form));
    bare.then(|| parameter(&lower, "rate").filter(|rate| *rate > 0).unwrap_or(DEFAULT_RATE))
}

fn channels(mime: &str) -> u16 {
    let told = parameter(&mime.to_ascii_lowercase(), "channels").and_then(|count| u16::try_from(count).ok());
    told.filter(|count| (1..=8).contains(count)).unwrap_or(1)
}

fn parameter(mime: &str, name: &str) -> Option<u32> {
    mime.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim().parse().ok())?
    })
}

/// The length of what base64 holds.
fn decoded(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// The header of a WAVE with samples of 16 bits.
fn header(rate: u32, channels: u16, length: u32) -> [u8; 44] {
    let frame = channels * 2;
    let mut header = [0; 44];
    let fields: [(usize, &[u8]); 13] = [
        (0, b"RIFF"),
        (4, &length.saturating_add(36).to_le_bytes()),
        (8, b"WAVE"),
        (12, b"fmt "),
        (16, &16u32.to_le_bytes()),
        (20, &1u16.to_le_bytes()),
        (22, &channels.to_le_bytes()),
        (24, &rate.to_le_bytes()),
        (28, &rate.saturating_mul(u32::from(frame)).to_le_bytes()),
        (32, &frame.to_le_bytes()),
        (34, &16u16.to_le_bytes()),
        (36, b"data"),
        (40, &length.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mime: &str, data: &[&str], wanted: Option<&str>, whole: bool) -> (String, Vec<u8>) {
        let (mut sound, mut out) = (Sound::default(), Vec::new());
        let json: Vec<String> = data
            .iter()
            .map(|data| serde_json::json!({ "mimeType": mime, "data": data }).to_string())
            .collect();
        let blobs: Vec<Blob<'_>> = json.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        if whole {
            sound.expect(blobs.iter());
        }
        blobs.iter().for_each(|blob| sound.read(blob, wanted, None, "r", &mut out));
        sound.end(&mut out);
        let mut bytes = Vec::new();
        let mut first = String::new();
        for event in out {
            let Event::Audio { mime, data, .. } = event else { panic!("{event:?}") };
            if first.is_empty() {
                first = mime;
            }
            bytes.extend_from_slice(&data);
        }
        (first, bytes)
    }

    #[test]
    fn the_header_before_samples_tells_their_rate_and_length() {
        let (mime, wave) = told("audio/L16;codec=pcm;rate=16000", &["AAEC", "AwQF"], None, true);

        assert_eq!(mime, "audio/wav");
        assert_eq!(&wave[24..28], &16_000u32.to_le_bytes());
        assert_eq!(&wave[28..32], &32_000u32.to_le_bytes());
        assert_eq!((&wave[4..8], &wave[40..44]), (&42u32.to_le_bytes()[..], &6u32.to_le_bytes()[..]));
        assert_eq!(&wave[44..], [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_stream_has_one_header_of_unknown_length() {
        let (_, wave) = told("audio/L16", &["AAEC", "AwQ="], None, false);

        assert_eq!(&wave[40..44], &UNKNOWN.to_le_bytes());
        assert_eq!(&wave[24..28], &DEFAULT_RATE.to_le_bytes());
        assert_eq!(&wave[44..], [0, 1, 2, 3, 4]);
    }

    #[test]
    fn samples_stay_bare_where_they_are_wanted_so_and_other_sound_stays_what_it_is() {
        assert_eq!(
            told("audio/pcm;rate=24000", &["AAEC"], Some(SAMPLES), true),
            (SAMPLES.into(), vec![0, 1, 2])
        );
        assert_eq!(told("audio/mpeg", &["AAEC"], None, true), ("audio/mpeg".into(), vec![0, 1, 2]));
    }
}
