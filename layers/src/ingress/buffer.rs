//! What has come of a body, bounded and never joined by doubling.
//!
//! A JSON object has to lie in one piece to be read. Its room is reserved once, when a mebibyte has
//! really come: what the client announced, or else steps of many mebibytes. Reserved memory that
//! was not written to is none of the process's, so a long body is held once and moved never. A form
//! is read where it lies, in the chunks in which it came.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Body, Form};
use http_body::Frame;
use http_body_util::BodyExt;

use crate::capacity::Held;
use crate::endpoint::RequestForm;
use crate::failure::Failure;

/// Longest wait for the next bytes of a body.
const SILENCE: Duration = Duration::from_secs(30);
/// Longest time a whole body may take.
const WHOLE: Duration = Duration::from_secs(600);
/// Most that is reserved for a body on the client's word alone.
const ON_TRUST: usize = 1 << 20;
/// Room for more of a long body whose length was not announced.
const STEP: usize = 64 << 20;
/// A body up to this is copied, so that a request that waits long for its answer does not keep the
/// connection's whole read buffer, of which the body is a slice.
const SMALL: usize = 4 << 10;

/// The part of a body that has come.
#[derive(Default)]
pub(super) struct Buffer {
    /// The only chunk so far, or all of them where they stay apart.
    chunks: Vec<Bytes>,
    /// The chunks joined, once there are several.
    joined: BytesMut,
    len: usize,
    /// The length by the client's word; 0 without one.
    announced: usize,
    /// Whether chunks stay apart.
    apart: bool,
}

impl Buffer {
    /// A buffer for a body of this form.
    ///
    /// # Errors
    /// [`Failure::BodyTooLarge`] for one that is announced as longer than `most`.
    pub(super) fn new<B: http_body::Body>(form: RequestForm, body: &B, most: usize) -> Result<Self, Failure> {
        let announced = body.size_hint().lower();
        match usize::try_from(announced) {
            Ok(announced) if announced <= most => {
                Ok(Self { announced, apart: form == RequestForm::Multipart, ..Self::default() })
            }
            _ => Err(Failure::BodyTooLarge { limit: most }),
        }
    }

    /// How much has come.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes a frame; false at the end.
    pub(super) fn take<E>(
        &mut self,
        frame: Option<Result<Frame<Bytes>, E>>,
        held: &mut Held,
        most: usize,
    ) -> Result<bool, Failure> {
        let Some(frame) = frame else { return Ok(false) };
        let Ok(data) = frame.map_err(|_broken| Failure::ClientGone)?.into_data() else { return Ok(true) };
        if self.len + data.len() > most {
            return Err(Failure::BodyTooLarge { limit: most });
        }
        held.grow(data.len())?;
        self.len += data.len();
        if self.apart || self.len == data.len() {
            self.chunks.push(data);
            return Ok(true);
        }
        self.make_room(data.len(), most);
        for first in self.chunks.drain(..) {
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&data);
        Ok(true)
    }

    /// Makes room for what has just come, and for what is to come where that is known.
    fn make_room(&mut self, more: usize, most: usize) {
        if self.joined.capacity() - self.joined.len() >= more && !self.joined.is_empty() {
            return;
        }
        let whole = match (self.announced, self.len <= ON_TRUST) {
            (0, true) => self.len * 2,
            (0, false) => (self.len + STEP).min(most),
            (announced, true) => announced.min(ON_TRUST),
            (announced, false) => announced,
        };
        self.joined.reserve(whole.max(self.len) - self.joined.len());
    }

    /// Waits for the rest of it.
    pub(super) async fn take_rest<B>(
        &mut self,
        body: &mut B,
        held: &mut Held,
        most: usize,
    ) -> Result<(), Failure>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
    {
        let reading = async {
            loop {
                let frame = tokio::time::timeout(SILENCE, body.frame()).await;
                let frame = frame.map_err(|_elapsed| Failure::BodyTimeout)?;
                if !self.take(frame, held, most)? {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(WHOLE, reading).await.map_err(|_elapsed| Failure::BodyTimeout)?
    }

    /// The whole of it as a body of this form, of this content type.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for a form that is none.
    pub(super) fn into_body(self, form: RequestForm, content_type: &str) -> Result<Body, Failure> {
        match form {
            RequestForm::Json => Ok(Body::Json(self.join())),
            RequestForm::Multipart => Ok(Body::Form(Form::read(self.chunks, content_type)?)),
            RequestForm::Nothing => Ok(Body::Empty),
        }
    }

    fn join(mut self) -> Bytes {
        if !self.joined.is_empty() {
            return self.joined.freeze();
        }
        match self.chunks.pop() {
            Some(small) if small.len() <= SMALL => Bytes::copy_from_slice(&small),
            Some(chunk) => chunk,
            None => Bytes::new(),
        }
    }
}

/// Reads the body of a request that becomes no exchange, within the same bounds: at most `most`
/// bytes, which `held` holds.
///
/// # Errors
/// [`Failure::BodyTooLarge`], [`Failure::BodyTimeout`], [`Failure::Overloaded`] and
/// [`Failure::ClientGone`].
pub async fn read<B>(mut body: B, most: usize, mut held: Held) -> Result<(Bytes, Held), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut buffer = Buffer::new(RequestForm::Json, &body, most)?;
    buffer.take_rest(&mut body, &mut held, most).await?;
    Ok((buffer.join(), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(announced: usize, chunks: usize, length: usize) -> Buffer {
        let mut buffer = Buffer { announced, ..Buffer::default() };
        for _ in 0..chunks {
            let frame = Frame::data(Bytes::from(vec![b'x'; length]));
            let more = buffer.take(Some(Ok::<_, ()>(frame)), &mut Held::default(), 64 << 20);
            assert!(more.unwrap());
        }
        buffer
    }

    #[test]
    fn an_announced_body_gets_its_room_once_and_no_more() {
        let length = 16 << 20;

        let buffer = filled(length, 64, length / 64);

        assert_eq!(buffer.len(), length);
        assert!(buffer.joined.capacity() < length + (2 << 20), "{}", buffer.joined.capacity());
    }

    #[test]
    fn a_word_that_nothing_follows_reserves_little() {
        let buffer = filled(60 << 20, 2, 1000);

        assert!(buffer.joined.capacity() <= ON_TRUST + (1 << 16));
    }

    #[test]
    fn a_long_body_without_a_word_is_moved_once() {
        let mut buffer = filled(0, 2, ON_TRUST);
        let place = buffer.joined.as_ptr();
        for _ in 0..30 {
            let frame = Frame::data(Bytes::from(vec![b'x'; ON_TRUST]));
            buffer.take(Some(Ok::<_, ()>(frame)), &mut Held::default(), 64 << 20).unwrap();
        }

        assert_eq!(buffer.joined.as_ptr(), place);
    }

    #[test]
    fn the_chunks_of_a_form_stay_apart() {
        let mut buffer = Buffer { apart: true, ..Buffer::default() };
        for part in ["--b\r\nContent-Disposition: form-data; name=\"mo", "del\"\r\n\r\nm\r\n--b--"] {
            let frame = Frame::data(Bytes::from(part));
            buffer.take(Some(Ok::<_, ()>(frame)), &mut Held::default(), 1000).unwrap();
        }

        let body = buffer.into_body(RequestForm::Multipart, "multipart/form-data; boundary=b").unwrap();

        let Body::Form(form) = body else { panic!("no form") };
        assert_eq!((form.chunks().len(), form.text(0, 10).as_deref()), (2, Some("m")));
    }
}
