//! Texts that must not leave, and the search for them.
//!
//! Two kinds. What is surely a secret (a key, a password) is looked for in every byte that an upstream sends; what may
//! be a word as well (a key named `ollama`, a configured header) in errors only, where hiding a word does no harm.
//!
//! The search has two steps. Of every text the longest run is taken that no writer of JSON, addresses or pages ever
//! changes; looking for it costs one pass, and mostly that is all. Only where it is found, and in errors always, the
//! forms are undone ([`super::plain_form`]) and the text itself is looked for.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memchr3;
use memchr::memmem::{Finder, find_iter};

use super::plain_form::{PlainForm, torn_form};

/// Shorter texts are words: hiding them would only make an error unreadable.
const SHORTEST: usize = 6;
/// Most bytes that one letter of a text is written with.
const LONGEST_FORM: usize = 12;
/// As much of a text as gives it away: errors that an upstream cut hold its beginning.
const TELLING: usize = 12;

/// Texts that must not leave. Cheap where there are none.
#[derive(Default)]
pub struct Secrets {
    texts: Vec<Text>,
    /// The bytes that any of them is written with: behind any other byte none has begun.
    alphabet: Alphabet,
}

struct Text {
    /// Its plain form.
    plain: Box<[u8]>,
    /// The run by which it is found.
    anchor: Finder<'static>,
    /// Whether it is a secret for sure.
    is_sure: bool,
}

/// The kind of bytes that are looked through: what is looked for in them, and how closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// Events of an answer: what is surely a secret, as writers write it.
    Events,
    /// A whole answer: the same, also where every letter of it is escaped.
    Whole,
    /// What says nothing that is known: the same in any form.
    Odd,
    /// An error: everything, also what may be a word, and what its upstream has cut.
    Error,
}

impl Secrets {
    /// A key, a token, a password.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        // A PEM has lines, a header may name a scheme before the key.
        let words = || key.split(|letter: char| letter.is_whitespace() || letter.is_control());
        if words().count() > 1 && words().any(is_key) {
            words().filter(|word| is_key(word)).for_each(|word| self.add(word, true));
        } else {
            self.add(key, is_key(key));
        }
        self
    }

    /// A header that was configured: errors never tell its value, whatever it is.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.add(value, false);
        if is_name_of_secret(name) {
            return self.with_key(value);
        }
        if !is_public(name) {
            value.split_whitespace().filter(|word| is_random(word)).for_each(|word| self.add(word, true));
        }
        self
    }

    /// A field of a body that was configured, if it looks like a secret: most are settings.
    #[must_use]
    pub fn with_field(self, name: &str, value: &str) -> Self {
        let is_secret = is_name_of_secret(name) || (!is_public(name) && is_random(value));
        if is_secret { self.with_key(value) } else { self }
    }

    /// The credentials in a URL: its user and password, and what in its path and query is none of its address.
    #[must_use]
    pub fn with_url(mut self, url: &str) -> Self {
        let rest = url.split_once("://").map_or(url, |(_scheme, rest)| rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // A password that was not encoded may hold a slash: then the last `@` tells.
        let end = rest.rfind('@').filter(|at| *at > end && !rest[..*at].contains('?')).unwrap_or(end);
        let (authority, rest) = rest.split_at(end);
        let login = authority.rsplit_once('@').map(|(login, _host)| login);
        let login = login.or(rest.starts_with('@').then_some(authority));
        if let Some(login) = login {
            let password = login.split_once(':').map_or(login, |(_user, password)| password);
            self = self.with_key(password).with_key(&base64_of(login));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        for pair in query.split(['&', '#']) {
            let (name, value) = pair.split_once('=').unwrap_or(("", pair));
            if is_name_of_secret(name) || is_random(value) {
                self = self.with_key(value);
            }
        }
        for part in path.split('/').filter(|part| part.len() >= 16 && is_random(part)) {
            self.add(part, false);
        }
        self
    }

    fn add(&mut self, text: &str, is_sure: bool) {
        let letters = PlainForm::letters(text.as_bytes());
        let plain = letters.to_ascii_lowercase();
        if plain.len() < SHORTEST {
            return;
        }
        if let Some(known) = self.texts.iter_mut().find(|known| *known.plain == *plain) {
            known.is_sure |= is_sure;
            return;
        }
        self.alphabet.add(text);
        self.texts.push(Text {
            plain: plain.into(),
            anchor: Finder::new(anchor(&letters)).into_owned(),
            is_sure,
        });
    }

    /// The length of the shortest: nothing shorter can hold one.
    pub fn shortest(&self) -> usize {
        self.texts.iter().map(|text| text.plain.len()).min().unwrap_or(usize::MAX)
    }

    /// Whether `bytes` hold one of them as it is mostly written.
    pub fn may_stand_in(&self, bytes: &[u8], care: Care) -> bool {
        self.of(care).any(|text| text.anchor.find(bytes).is_some())
    }

    /// Whether one may begin in `bytes` and end behind them. Cheap; [`open_end`] knows better.
    pub fn may_begin_in(&self, bytes: &[u8]) -> bool {
        bytes.last().is_some_and(|&last| self.alphabet.has(last))
    }

    fn of(&self, care: Care) -> impl Iterator<Item = &Text> {
        self.texts.iter().filter(move |text| care == Care::Error || text.is_sure)
    }
}

/// Whether `bytes` may hold a secret that has no run of its own left.
pub fn may_be_written_oddly(bytes: &[u8], care: Care) -> bool {
    static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br"\u00"));
    match care {
        Care::Events => false,
        Care::Whole => ESCAPED.find(bytes).is_some(),
        Care::Odd => memchr3(b'\\', b'%', b'&', bytes).is_some(),
        Care::Error => true,
    }
}

/// `bytes` with `[hidden]` in place of each secret; `None` when they hold none. JSON stays JSON.
pub fn hide<'a>(secrets: impl Iterator<Item = &'a Secrets>, bytes: &[u8], care: Care) -> Option<Vec<u8>> {
    hide_until(secrets, bytes, care, usize::MAX)
}

/// The same of bytes behind which more may come: what may go on there is [`open_end`]'s.
pub fn hide_in_part<'a>(
    secrets: impl Iterator<Item = &'a Secrets>,
    bytes: &[u8],
    care: Care,
) -> Option<Vec<u8>> {
    hide_until(secrets, bytes, care, torn_form(bytes))
}

/// Hides all but what is cut at `open`.
fn hide_until<'a>(
    secrets: impl Iterator<Item = &'a Secrets>,
    bytes: &[u8],
    care: Care,
    open: usize,
) -> Option<Vec<u8>> {
    let mut plain = None;
    let mut found: Vec<(Range<usize>, bool)> = Vec::new();
    for text in secrets.flat_map(|secrets| secrets.of(care)) {
        let plain = plain.get_or_insert_with(|| PlainForm::of(bytes));
        let whole = &*text.plain;
        let telling = match care {
            Care::Events | Care::Whole | Care::Odd => whole,
            Care::Error => &whole[..whole.len().min(TELLING.max(whole.len() / 2))],
        };
        for at in find_iter(&plain.bytes, telling) {
            let more = plain.bytes[at..].iter().zip(whole).take_while(|(one, other)| one == other).count();
            let span = plain.start(at)..plain.start(at + more);
            if more == whole.len() || span.end < open {
                found.push((span, whole.iter().all(u8::is_ascii_digit)));
            }
        }
    }
    if found.is_empty() {
        return None;
    }
    found.sort_by_key(|(span, _)| (span.start, span.end));
    let mut clean = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for (span, number) in found {
        if span.start >= at {
            clean.extend_from_slice(&bytes[at..span.start]);
            // A number of digits only may stand where JSON has a number.
            clean.extend_from_slice(if number { b"1" } else { b"[hidden]" });
        }
        at = at.max(span.end);
    }
    clean.extend_from_slice(&bytes[at..]);
    Some(clean)
}

/// Where a secret begins that may go on behind `bytes`; their length where none does.
pub fn open_end<'a>(secrets: impl Iterator<Item = &'a Secrets> + Clone, bytes: &[u8], care: Care) -> usize {
    let longest = secrets.clone().flat_map(|secrets| secrets.of(care)).map(|text| text.plain.len()).max();
    let Some(longest) = longest else { return bytes.len() };
    let first = bytes.len().saturating_sub(longest * LONGEST_FORM);
    let may_belong = |byte: &u8| secrets.clone().any(|secrets| secrets.alphabet.has(*byte));
    let run =
        bytes[first..].iter().rposition(|byte| !may_belong(byte)).map_or(first, |last| first + last + 1);
    let tail = &bytes[run..];
    let torn = torn_form(tail);
    let plain = PlainForm::of(&tail[..torn]);
    let begins = |at: &usize| {
        let rest = &plain.bytes[*at..];
        secrets.clone().flat_map(|secrets| secrets.of(care)).any(|text| text.plain.starts_with(rest))
    };
    let from = plain.bytes.len().saturating_sub(longest);
    (from..plain.bytes.len()).find(begins).map_or(run + torn, |at| run + plain.start(at))
}

/// What is left of bytes that were held back as the beginning of a secret, when nothing follows.
pub fn end_of<'a>(secrets: impl Iterator<Item = &'a Secrets>, held: &[u8], care: Care) -> Vec<u8> {
    let plain = PlainForm::of(held).bytes;
    let mut texts = secrets.flat_map(|secrets| secrets.of(care));
    if plain.len() >= SHORTEST && texts.any(|text| text.plain.starts_with(&plain)) {
        return b"[hidden]".to_vec();
    }
    held.to_vec()
}

/// A set of bytes.
#[derive(Default)]
struct Alphabet([u64; 4]);

impl Alphabet {
    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    fn add(&mut self, text: &str) {
        /// What forms are written with.
        const FORMS: &[u8] = br"\ux%&#;0123456789abcdefABCDEFXmpltgtquos";
        let letters = text.bytes().flat_map(|byte| [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()]);
        for byte in letters.chain(FORMS.iter().copied()) {
            self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
    }
}

/// The longest run of a text that is written as it is wherever it is written.
fn anchor(text: &[u8]) -> &[u8] {
    /// More of it finds nothing more.
    const LONGEST: usize = 32;
    let is_changed = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"-_.~".contains(byte));
    let runs = text.split(is_changed);
    let run = runs.max_by_key(|run| run.len()).unwrap_or_default();
    // What is common to all keys of a provider stands in front.
    &run[run.len().saturating_sub(LONGEST)..]
}

/// Whether a key is surely one: servers that ask for none are given words like `ollama`.
fn is_key(text: &str) -> bool {
    let has = |what: fn(&u8) -> bool| text.as_bytes().iter().any(what);
    text.len() >= 16 || (text.len() >= 8 && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic))
}

/// Whether a text looks drawn at random: words, dates, versions and names of models do not.
fn is_random(text: &str) -> bool {
    const PREFIXES: [&str; 6] = ["sk-", "AIza", "gsk_", "xai-", "ya29.", "hf_"];
    let mixed = |run: &[u8]| {
        let digits = run.iter().filter(|byte| byte.is_ascii_digit()).count();
        run.len() >= 8 && digits >= 2 && run.len() - digits >= 2
    };
    !text.contains(char::is_whitespace)
        && (text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric()).any(mixed)
            || (text.len() >= 12 && PREFIXES.iter().any(|prefix| text.starts_with(prefix))))
}

/// Whether what goes by this name is kept secret.
fn is_name_of_secret(name: &str) -> bool {
    const PARTS: [&str; 9] =
        ["key", "token", "secret", "password", "passwd", "auth", "cookie", "credential", "signature"];
    let name = name.to_ascii_lowercase();
    // `max_tokens` is a number of other tokens, and a cache key is a name.
    !name.contains("tokens") && !name.contains("cache_key") && PARTS.iter().any(|part| name.contains(part))
}

/// Whether what goes by this name is known to everybody.
fn is_public(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["model", "models", "user-agent", "referer", "http-referer", "x-title", "host", "origin", "content-type"]
        .contains(&name.as_str())
        || ["accept", "anthropic-", "openai-beta"].iter().any(|family| name.starts_with(family))
}

/// As a login travels in a header.
fn base64_of(login: &str) -> String {
    use base64::Engine as _;
    let login = percent_encoding::percent_decode_str(login).collect::<Vec<u8>>();
    base64::engine::general_purpose::STANDARD.encode(login)
}

#[cfg(test)]
mod tests;
