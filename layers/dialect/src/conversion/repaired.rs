//! Answers between equal dialects of which some events are repaired; all others go on as they came.

use std::borrow::Cow;

use bytes::BytesMut;

use super::Transcode;
use crate::codec::{Mend, Probe};
use crate::{Depth, Frame, Framing, Malformed, Sighting, ir};

/// A stream that is repaired where it needs it.
pub(super) struct Repaired {
    pub(super) probe: Box<dyn Probe>,
    pub(super) mender: Box<dyn Mend>,
    pub(super) hide_usage: bool,
    pub(super) want_text: bool,
}

impl Transcode for Repaired {
    fn frame(&mut self, frame: Frame<'_>, depth: Depth, out: &mut BytesMut) -> Result<Sighting, Malformed> {
        let depth = match depth {
            Depth::Opening { .. } => Depth::Opening { want_text: self.want_text },
            Depth::Relay => Depth::Relay,
        };
        let sighting = self.probe.observe(frame.clone(), depth);
        if sighting.error().is_some() {
            return Ok(sighting);
        }
        let hidden = self.hide_usage && sighting.usage_only;
        match self.mender.event(frame.payload()) {
            None if hidden => {}
            // In another framing it would not be an event.
            None if matches!(frame.raw.trim_ascii_start().first(), Some(b'{' | b'[' | b',' | b']')) => {
                Framing::Sse.write(&frame, false, out);
            }
            None => out.extend_from_slice(frame.raw),
            Some(mut events) => {
                // The event itself is the last of those in its place.
                if hidden {
                    events.pop();
                }
                for event in events {
                    let frame = Frame { data: Some(Cow::Owned(event)), ..Frame::default() };
                    Framing::Sse.write(&frame, false, out);
                }
            }
        }
        Ok(sighting)
    }

    fn end(&mut self, _out: &mut BytesMut) -> Sighting {
        Sighting::machinery()
    }

    fn trailer(&mut self, _out: &mut BytesMut) {}

    fn fail(&mut self, error: &ir::Error, out: &mut BytesMut) {
        self.probe.fail(error, out);
    }

    fn keepalive(&mut self, out: &mut BytesMut) {
        self.probe.keepalive(out);
    }
}
