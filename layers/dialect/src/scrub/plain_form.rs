//! Undoes the forms that JSON, addresses and pages give to a text.
//!
//! An upstream that repeats a key repeats it as its own writer puts it: PHP writes `\/`, .NET `\u002B`, a proxy that
//! quotes a URL `%2B`, a page `&#x3D;`, and an error that quotes another error all of it twice. Each byte of the plain
//! form knows where it came from, so that what is found in it can be taken out of the bytes as they are.

/// Bytes in their plain form: no escapes, no upper case, no zero bytes (which make ASCII of UTF-16).
pub(super) struct PlainForm {
    pub(super) bytes: Vec<u8>,
    /// Where the form of each byte begins, and behind the last one where that ends.
    starts: Vec<usize>,
}

impl PlainForm {
    /// Reads all of it. What is no known form stands for itself.
    pub(super) fn of(raw: &[u8]) -> Self {
        let mut plain = Self::read(raw);
        plain.bytes.make_ascii_lowercase();
        plain
    }

    /// The letters alone, as they are written.
    pub(super) fn letters(raw: &[u8]) -> Vec<u8> {
        Self::read(raw).bytes
    }

    fn read(raw: &[u8]) -> Self {
        let mut plain =
            Self { bytes: Vec::with_capacity(raw.len()), starts: Vec::with_capacity(raw.len() + 1) };
        let mut at = 0;
        while at < raw.len() {
            let (letter, length) = match raw[at] {
                b'\\' => escape(&raw[at..]),
                b'&' => entity(&raw[at..]),
                _ => None,
            }
            .unwrap_or((Letter::Byte(raw[at]), 1));
            match letter {
                Letter::Byte(byte) => plain.push(byte, at),
                Letter::Char(letter) => {
                    letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| plain.push(byte, at));
                }
            }
            at += length;
        }
        plain.starts.push(raw.len());
        plain
    }

    /// Where in the raw bytes the form of this byte begins.
    pub(super) fn start(&self, at: usize) -> usize {
        self.starts[at]
    }

    /// Adds a byte. Percent-encoding is undone here, as often as it was done.
    fn push(&mut self, byte: u8, start: usize) {
        if byte == 0 {
            return;
        }
        self.bytes.push(byte);
        self.starts.push(start);
        while let [.., b'%', high, low] = *self.bytes
            && let Some(byte) = hex(&[high, low])
        {
            let kept = self.bytes.len() - 3;
            self.bytes.truncate(kept);
            self.starts.truncate(kept + 1);
            match u8::try_from(byte) {
                Ok(byte @ 1..) => self.bytes.push(byte),
                _ => self.starts.truncate(kept),
            }
        }
    }
}

enum Letter {
    Byte(u8),
    Char(char),
}

/// The letter that a backslash begins, and the length of its form. Any number of backslashes is one: texts within
/// texts double them.
fn escape(raw: &[u8]) -> Option<(Letter, usize)> {
    if let Some((unit, length)) = utf16_unit(raw) {
        let is_pair = |low: u32| (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&low);
        return Some(match utf16_unit(&raw[length..]) {
            Some((low, more)) if is_pair(low) => {
                let code = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
                (Letter::Char(char::from_u32(code)?), length + more)
            }
            _ => (Letter::Char(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)), length),
        });
    }
    let run = backslashes(raw);
    let rest = &raw[run..];
    Some(match rest.first() {
        Some(b'x') if let Some(code) = rest.get(1..3).and_then(hex) => {
            (Letter::Byte(u8::try_from(code).ok()?), run + 3)
        }
        Some(&byte @ (b'/' | b'"' | b'\'')) => (Letter::Byte(byte), run + 1),
        _ => (Letter::Byte(b'\\'), run),
    })
}

/// The unit that an escape of JSON stands for, and the length of that.
fn utf16_unit(raw: &[u8]) -> Option<(u32, usize)> {
    let run = backslashes(raw);
    let digits = raw.get(run + 1..run + 5).filter(|_| run > 0 && raw[run] == b'u')?;
    Some((hex(digits)?, run + 5))
}

fn backslashes(raw: &[u8]) -> usize {
    raw.iter().take_while(|&&byte| byte == b'\\').count()
}

/// The letter that a character reference of HTML stands for, and its length.
fn entity(raw: &[u8]) -> Option<(Letter, usize)> {
    const LONGEST: usize = 10;
    let end = raw.iter().take(LONGEST).position(|&byte| byte == b';')?;
    let letter = match &raw[1..end] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(hex(digits)?)?,
        [b'#', digits @ ..] => {
            let code = std::str::from_utf8(digits).ok()?.parse().ok()?;
            char::from_u32(code)?
        }
        _ => return None,
    };
    Some((Letter::Char(letter), end + 1))
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 6 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| Some(number << 4 | char::from(digit).to_digit(16)?))
}

/// Where a form begins that `raw` breaks off in; its length where there is none.
pub(super) fn torn_form(raw: &[u8]) -> usize {
    const LONGEST: usize = 12;
    let from = raw.len().saturating_sub(LONGEST);
    let begins = |byte: &u8| matches!(byte, b'\\' | b'%' | b'&');
    let Some(at) = raw[from..].iter().rposition(begins).map(|at| from + at) else { return raw.len() };
    let (first, more) = (raw[at], &raw[at + 1..]);
    let torn = match (first, more) {
        (_, []) => true,
        (b'\\', [b'u', digits @ ..]) => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        (b'\\', [b'x', digits @ ..]) | (b'%', digits) => {
            digits.len() < 2 && digits.iter().all(u8::is_ascii_hexdigit)
        }
        (b'&', more) => more.iter().all(|byte| *byte == b'#' || byte.is_ascii_alphanumeric()),
        _ => false,
    };
    if !torn {
        return raw.len();
    }
    // The backslashes before it belong to it.
    raw[..at].iter().rposition(|&byte| byte != b'\\').map_or(0, |before| before + 1).min(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_letter_is_undone() {
        for raw in [
            r"a/b+c=",
            r"a\/b+c=",
            r"\u0061\u002Fb\u002bc\u003D",
            r"\\u0061\\/b+c=",
            r"\x61/b\x2bc=",
            "a%2Fb%2bc%3D",
            "a%252Fb%25252Bc=",
            "a&#x2F;b&#43;c&#x3d;",
            "A/B+C=",
            "a\0/\0b\0+\0c\0=\0",
        ] {
            let plain = PlainForm::of(raw.as_bytes());
            assert_eq!(String::from_utf8_lossy(&plain.bytes), "a/b+c=", "{raw}");
            assert_eq!(plain.start(6), raw.len(), "{raw}");
        }
    }

    #[test]
    fn what_is_no_form_stands_for_itself() {
        for raw in [r"\n\u12", "100% of 5%x", "a & b &nbsp; &;", r"\ud83d alone", "\u{fc}"] {
            let plain = PlainForm::of(raw.as_bytes());
            assert_eq!(plain.bytes.len() + 1, plain.starts.len(), "{raw}");
        }
        assert_eq!(PlainForm::of(br"\ud83d\ude00").bytes, "\u{1f600}".as_bytes());
    }

    #[test]
    fn a_form_that_breaks_off_is_found() {
        for (raw, at) in
            [(r"ab\", 2), (r"ab\\", 2), (r"ab\u00", 2), ("ab%", 2), ("ab%4", 2), ("ab&#x4", 2), (r"ab\x", 2)]
        {
            assert_eq!(torn_form(raw.as_bytes()), at, "{raw}");
        }
        for raw in [r"ab\u0073", "ab%41", "ab&amp;", "ab", "", r"ab\n"] {
            assert_eq!(torn_form(raw.as_bytes()), raw.len(), "{raw}");
        }
    }
}
