//! Reads and writes the headers of an event stream's messages.

use bytes::{BufMut, BytesMut};

/// The value of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// Yes or no.
    Bool(bool),
    /// One byte with sign.
    Byte(i8),
    /// Two bytes with sign.
    Short(i16),
    /// Four bytes with sign.
    Int(i32),
    /// Eight bytes with sign.
    Long(i64),
    /// Bytes of any kind.
    Bytes(&'a [u8]),
    /// Text, which is not checked to be UTF-8.
    String(&'a [u8]),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// A unique identifier.
    Uuid([u8; 16]),
}

/// The headers in these bytes, up to the first that cannot be read.
pub fn headers(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], HeaderValue<'_>)> {
    std::iter::from_fn(move || header(&mut bytes))
}

/// Takes the first header off `bytes`; `None` for one that cannot be read.
pub(super) fn header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], HeaderValue<'a>)> {
    let length = usize::from(*bytes.split_off_first()?);
    let name = bytes.split_off(..length)?;
    let value = match bytes.split_off_first()? {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Byte(i8::from_be_bytes(array(bytes)?)),
        3 => HeaderValue::Short(i16::from_be_bytes(array(bytes)?)),
        4 => HeaderValue::Int(i32::from_be_bytes(array(bytes)?)),
        5 => HeaderValue::Long(i64::from_be_bytes(array(bytes)?)),
        kind @ (6 | 7) => {
            let length = usize::from(u16::from_be_bytes(array(bytes)?));
            let value = bytes.split_off(..length)?;
            if *kind == 6 { HeaderValue::Bytes(value) } else { HeaderValue::String(value) }
        }
        8 => HeaderValue::Timestamp(i64::from_be_bytes(array(bytes)?)),
        9 => HeaderValue::Uuid(array(bytes)?),
        _ => return None,
    };
    Some((name, value))
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}

/// Appends a header; `None` when it is too long to be told, and then only a part of it is there.
pub(super) fn put(name: &str, value: HeaderValue<'_>, out: &mut BytesMut) -> Option<()> {
    out.put_u8(u8::try_from(name.len()).ok()?);
    out.put_slice(name.as_bytes());
    let put_long = |kind: u8, value: &[u8], out: &mut BytesMut| {
        out.put_u8(kind);
        out.put_u16(u16::try_from(value.len()).ok()?);
        out.put_slice(value);
        Some(())
    };
    let mut put_short = |kind: u8, value: &[u8]| {
        out.put_u8(kind);
        out.put_slice(value);
    };
    match value {
        HeaderValue::Bool(value) => put_short(u8::from(!value), b""),
        HeaderValue::Byte(value) => put_short(2, &value.to_be_bytes()),
        HeaderValue::Short(value) => put_short(3, &value.to_be_bytes()),
        HeaderValue::Int(value) => put_short(4, &value.to_be_bytes()),
        HeaderValue::Long(value) => put_short(5, &value.to_be_bytes()),
        HeaderValue::Bytes(value) => put_long(6, value, out)?,
        HeaderValue::String(value) => put_long(7, value, out)?,
        HeaderValue::Timestamp(value) => put_short(8, &value.to_be_bytes()),
        HeaderValue::Uuid(value) => put_short(9, &value),
    }
    Some(())
}
