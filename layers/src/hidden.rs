//! What an upstream may repeat and nobody else may learn, and the guard at the one place where all that it answers
//! comes in.
//!
//! `dispatch` cleans the headers of every answer and puts a [`Guard`] before its body. So whatever is done behind it
//! (relayed, torn, transcribed, held, judged, cut, logged, stored), it is done to bytes without secrets, and no path
//! goes round. What cannot be seen in bytes that a probe does not understand is looked at once more where that is
//! known: `judge` cleans an error field by field, and `body::tap` events that say nothing.

use std::sync::Arc;

use bytes::Bytes;
use dialect::{Care, Secrets, end_of, hide, hide_in_part, may_be_written_oddly, open_end};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::{Caller, Channel};
use crate::ports::{Credential, Secret};

/// The secrets of one answer: those of its channel, what it was asked with, and the client's key.
#[derive(Clone)]
pub struct Hidden {
    channel: Arc<Channel>,
    keys: Keys,
    caller: Option<Arc<Caller>>,
}

#[derive(Clone)]
enum Keys {
    None,
    One(Secret),
    Several(Arc<[Secret]>),
}

// === impl Hidden ===

impl Hidden {
    /// Those of an answer of `channel` that was asked with `credential`, for this caller.
    pub fn of(channel: &Arc<Channel>, credential: Option<&Credential>, caller: Option<&Arc<Caller>>) -> Self {
        let keys = match credential {
            None => Keys::None,
            Some(Credential::Key(key)) => Keys::One(key.clone()),
            Some(credential) => Keys::Several(credential.secrets().into()),
        };
        Self { channel: channel.clone(), keys, caller: caller.cloned() }
    }

    /// `bytes` without them; none when there is nothing to change.
    pub fn clean(&self, bytes: &[u8], care: Care) -> Option<Bytes> {
        self.suspects(bytes, care).then(|| hide(self.all(care), bytes, care))?.map(Bytes::from)
    }

    /// The same of bytes behind which more may come.
    fn clean_part(&self, bytes: &[u8], care: Care) -> Option<Bytes> {
        self.suspects(bytes, care).then(|| hide_in_part(self.all(care), bytes, care))?.map(Bytes::from)
    }

    fn suspects(&self, bytes: &[u8], care: Care) -> bool {
        self.all(care).any(|secrets| secrets.may_stand_in(bytes, care)) || may_be_written_oddly(bytes, care)
    }

    /// Cleans a text of an error.
    pub fn clean_text(&self, text: &mut String) {
        if let Some(clean) = hide(self.all(Care::Error), text.as_bytes(), Care::Error) {
            *text = String::from_utf8_lossy(&clean).into_owned();
        }
    }

    /// Cleans headers, names and values. One that cannot be cleaned is removed.
    pub fn clean_headers(&self, headers: &mut HeaderMap, care: Care) {
        let shortest = self.all(care).map(Secrets::shortest).min().unwrap_or(usize::MAX);
        let is_short = |(name, value): (&HeaderName, &HeaderValue)| {
            is_usual(name, value) || (value.len() < shortest && name.as_str().len() < shortest)
        };
        if headers.iter().all(is_short) {
            return;
        }
        let is_bad = |name: &&http::HeaderName| self.clean(name.as_str().as_bytes(), care).is_some();
        let bad: Vec<_> = headers.keys().filter(is_bad).cloned().collect();
        for name in bad {
            headers.remove(name);
        }
        for value in headers.values_mut().filter(|value| value.len() >= shortest) {
            if let Some(clean) = self.clean(value.as_bytes(), care) {
                *value =
                    HeaderValue::from_maybe_shared(clean).unwrap_or(HeaderValue::from_static("[hidden]"));
            }
        }
    }

    /// All that is looked for with this care. A client knows its own key: only what else is told of an error must
    /// not hold it.
    fn all(&self, care: Care) -> impl Iterator<Item = &Secrets> + Clone {
        let keys = match &self.keys {
            Keys::None => &[],
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        };
        let client =
            self.caller.as_deref().filter(|_| care == Care::Error).and_then(|caller| caller.key.as_ref());
        keys.iter().chain(client).map(Secret::secrets).chain([&self.channel.secrets])
    }
}

/// Whether every answer has this header, and nothing in it that anybody could have hidden.
fn is_usual(name: &HeaderName, value: &HeaderValue) -> bool {
    match *name {
        CONTENT_TYPE => matches!(value.as_bytes(), b"application/json" | b"text/event-stream"),
        CONTENT_LENGTH | TRANSFER_ENCODING | DATE => value.len() <= 29,
        _ => false,
    }
}

/// The cleaner of a body on its way in.
pub struct Guard {
    hidden: Hidden,
    care: Care,
    /// The end of what has come, where that may be the beginning of a secret.
    held: Vec<u8>,
}

// === impl Guard ===

impl Guard {
    /// Before an answer that is to be looked at with this care.
    pub fn new(hidden: Hidden, care: Care) -> Self {
        Self { hidden, care, held: Vec::new() }
    }

    /// What of the body may go on, now that `data` has come; possibly nothing yet.
    pub fn pass(&mut self, data: Bytes) -> Bytes {
        let may_hold =
            |secrets: &Secrets| secrets.may_stand_in(&data, self.care) || secrets.may_begin_in(&data);
        let is_clean = self.held.is_empty()
            && !self.hidden.all(self.care).any(may_hold)
            && !may_be_written_oddly(&data, self.care);
        if is_clean { data } else { self.look(data) }
    }

    #[cold]
    fn look(&mut self, data: Bytes) -> Bytes {
        let data = if self.held.is_empty() {
            data
        } else {
            self.held.extend_from_slice(&data);
            std::mem::take(&mut self.held).into()
        };
        let clean = self.hidden.clean_part(&data, self.care).unwrap_or(data);
        let end = open_end(self.hidden.all(self.care), &clean, self.care);
        self.held.extend_from_slice(&clean[end..]);
        clean.slice(..end)
    }

    /// What is left when the body has ended.
    pub fn end(self) -> Bytes {
        end_of(self.hidden.all(self.care), &self.held, self.care).into()
    }
}

#[cfg(test)]
mod tests;
