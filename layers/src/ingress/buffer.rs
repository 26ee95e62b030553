//! What has come of a body, bounded and never joined by doubling.
//!
//! A JSON object has to lie in one piece to be read. Its room is reserved once, when a mebibyte has
//! really come: what the client announced, or else steps of many mebibytes. Reserved memory that
//! was not written to is none of the process's, so a long body is held once and moved never. A form
//! is read where it lies, in the chunks in which it came.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dialect::{Body, Form};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;

use crate::body::decode::{Coding, DecodeError, Decoded, Undecodable};
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
    pub(super) fn take<E: Into<tower::BoxError>>(
        &mut self,
        frame: Option<Result<Frame<Bytes>, E>>,
        held: &mut Held,
        most: usize,
    ) -> Result<bool, Failure> {
        let Some(frame) = frame else { return Ok(false) };
        let frame = frame.map_err(|error| broken(error.into(), most))?;
        let Ok(data) = frame.into_data() else { return Ok(true) };
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
        B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Unpin,
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

    /// Waits for all of a body that comes in this coding. What is kept is what it was before it was
    /// encoded, and that is what counts.
    pub(super) async fn take_decoded<B>(
        &mut self,
        body: &mut B,
        coding: Coding,
        held: &mut Held,
        most: usize,
    ) -> Result<(), Failure>
    where
        B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Unpin,
    {
        // Of the decoder's own memory, and only while it works.
        let mut window = held.another();
        window.grow(coding.window())?;
        self.announced = 0;
        let mut decoded = Decoded::new(body.map_err(Into::<tower::BoxError>::into), coding, most as u64);
        self.take_rest(&mut decoded, held, most).await
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

/// What it means that a body broke: mostly that its client left; but chunks that are none are the
/// client's mistake, and it waits for an answer.
fn broken(error: tower::BoxError, most: usize) -> Failure {
    let error = match error.downcast::<DecodeError<tower::BoxError>>().map(|error| *error) {
        Ok(DecodeError::Body(error)) => error,
        Ok(DecodeError::Undecodable(Undecodable::TooLong(_) | Undecodable::Bomb(_))) => {
            return Failure::BodyTooLarge { limit: most };
        }
        Ok(DecodeError::Undecodable(why)) => {
            return Failure::invalid(format!("the request body cannot be decoded: {why}"), None);
        }
        Err(error) => error,
    };
    let mut causes =
        std::iter::successors(Some(&*error as &(dyn std::error::Error + 'static)), |e| e.source());
    let malformed = causes.any(|cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(kind, Some(ErrorKind::InvalidInput | ErrorKind::InvalidData))
    });
    if malformed {
        Failure::invalid("the request body is malformed: its chunks are none", None)
    } else {
        Failure::ClientGone
    }
}

/// Reads the body of a request that becomes no exchange, within the same bounds: at most `most`
/// bytes, which `held` holds, decoded.
///
/// # Errors
/// [`Failure::BodyTooLarge`], [`Failure::BodyTimeout`], [`Failure::UnknownCoding`],
/// [`Failure::Invalid`], [`Failure::Overloaded`] and [`Failure::ClientGone`].
pub async fn read<B>(
    headers: &HeaderMap,
    mut body: B,
    most: usize,
    mut held: Held,
) -> Result<(Bytes, Held), Failure>
where
    B: http_body::Body<Data = Bytes, Error: Into<tower::BoxError>> + Unpin,
{
    let mut buffer = Buffer::new(RequestForm::Json, &body, most)?;
    match coding(headers)? {
        Some(coding) => buffer.take_decoded(&mut body, coding, &mut held, most).await?,
        None => buffer.take_rest(&mut body, &mut held, most).await?,
    }
    Ok((buffer.join(), held))
}

/// The coding of a body; none where it is plain.
///
/// # Errors
/// [`Failure::UnknownCoding`].
pub(super) fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Failure> {
    Coding::of(headers).map_err(|why| match why {
        Undecodable::Unknown(coding) => Failure::UnknownCoding { coding },
        other => Failure::invalid(other.to_string(), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(announced: usize, chunks: usize, length: usize) -> Buffer {
        let mut buffer = Buffer { announced, ..Buffer::default() };
        for _ in 0..chunks {
            let frame = Frame::data(Bytes::from(vec![b'x'; length]));
            let more =
                buffer.take(Some(Ok::<_, std::convert::Infallible>(frame)), &mut Held::default(), 64 << 20);
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
            buffer
                .take(Some(Ok::<_, std::convert::Infallible>(frame)), &mut Held::default(), 64 << 20)
                .unwrap();
        }

        assert_eq!(buffer.joined.as_ptr(), place);
    }

    #[test]
    fn the_chunks_of_a_form_stay_apart() {
        let mut buffer = Buffer { apart: true, ..Buffer::default() };
        for part in ["--b\r\nContent-Disposition: form-data; name=\"mo", "del\"\r\n\r\nm\r\n--b--"] {
            let frame = Frame::data(Bytes::from(part));
            buffer.take(Some(Ok::<_, std::convert::Infallible>(frame)), &mut Held::default(), 1000).unwrap();
        }

        let body = buffer.into_body(RequestForm::Multipart, "multipart/form-data; boundary=b").unwrap();

        let Body::Form(form) = body else { panic!("no form") };
        assert_eq!((form.chunks().len(), form.text(0, 10).as_deref()), (2, Some("m")));
    }
}
