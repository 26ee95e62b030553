//! Frees texts of what could forge lines of the log or steer the terminal that shows it.
//!
//! Names of models and words of upstreams are written by others. Beside control characters (both sets: a terminal
//! obeys U+009B as it obeys an escape) those are the separators at which viewers break lines, and the marks that
//! turn the direction of writing, behind which a line reads as another.

use std::fmt::{self, Write};

use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};

/// Stands for a character that steers.
const INSTEAD: char = '·';

/// Whether a character is no text.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text without characters that steer.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| f.write_char(if steers(letter) { INSTEAD } else { letter }))
    }
}

/// Escapes characters that steer in the JSON that stands from here on. Outside of strings JSON has none of them.
pub(super) fn escape_json(line: &mut Vec<u8>, from: usize) {
    if line[from..].iter().all(|byte| (b' '..0x7f).contains(byte)) {
        return;
    }
    let text = String::from_utf8_lossy(&line[from..]).into_owned();
    line.truncate(from);
    for letter in text.chars() {
        let mut units = [0; 2];
        if steers(letter) && letter != '\n' {
            for unit in letter.encode_utf16(&mut units) {
                let digits = format!("\\u{unit:04x}");
                line.extend_from_slice(digits.as_bytes());
            }
        } else {
            line.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// A writer of an event's fields for reading, without characters that steer.
pub(super) struct PlainFields;

impl<'w> FormatFields<'w> for PlainFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut plain = PlainWriter(&mut writer);
        DefaultFields::new().format_fields(Writer::new(&mut plain), fields)
    }
}

struct PlainWriter<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for PlainWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write!(self.0, "{}", Plain(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEERING: &str =
        "a\r\nb\u{1b}[31mc\u{9b}2Jd\u{7}\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}é中";

    #[test]
    fn nothing_that_steers_is_shown_and_letters_stay() {
        let plain = Plain(STEERING).to_string();
        assert_eq!(plain, "a··b·[31mc·2Jd········é中");
    }

    #[test]
    fn json_says_the_same_in_escapes() {
        let mut line = b"x".to_vec();
        serde_json::to_writer(&mut line, STEERING).unwrap();
        escape_json(&mut line, 1);
        let text = std::str::from_utf8(&line[1..]).unwrap();
        assert!(!text.chars().any(steers), "{text}");
        assert_eq!(serde_json::from_str::<String>(text).unwrap(), STEERING);
    }
}
