//! Says what came in place of an answer, for whoever has to find out why.

use dialect::{AnswerForm, Answered};

use crate::hidden::Hidden;

/// What these answers are, as a clause: their label and how the first of them begins, without these texts.
pub(super) fn came(answers: &[Answered], hidden: &Hidden) -> String {
    let Some(answer) = answers.first() else { return "no answer".to_owned() };
    let label = answer.content_type.as_ref().map(|label| String::from_utf8_lossy(label.as_bytes()));
    let label = match &label {
        Some(label) => format!("labelled {}", beginning(label.as_bytes(), 64, hidden)),
        None => "without a label".to_owned(),
    };
    match beginning(&answer.bytes, 60, hidden) {
        start if start.is_empty() => format!("an empty answer {label}"),
        // Nobody is helped by its markup.
        _ if answer.form == AnswerForm::Page => format!("a page {label}"),
        start => format!("an answer {label} that begins with `{start}`"),
    }
}

/// The first words of a text on one line, so many characters at most.
///
/// A secret is looked for before anything is cut, and what is escaped, where none could be found, is left out.
fn beginning(text: &[u8], most: usize, hidden: &Hidden) -> String {
    const LOOKED_AT: usize = 4 << 10;
    let mut text = String::from_utf8_lossy(&text[..text.len().min(LOOKED_AT)]).into_owned();
    hidden.clean_text(&mut text);
    let clear = dialect::scrub(&text);
    let plain = clear.split(['\\', '%']).next().unwrap_or_default();
    let mut cut = plain.len() < clear.len();
    let mut words = String::new();
    for word in plain.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if !words.is_empty() && !word.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
        if words.len() > 4 * most {
            break;
        }
    }
    if let Some((end, _)) = words.char_indices().nth(most) {
        words.truncate(end);
        cut = true;
    }
    if cut {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::testing::channel;
    use crate::testing::policy::secret;

    fn told(label: Option<&'static str>, bytes: &'static [u8], form: AnswerForm) -> String {
        let answer =
            Answered { bytes: bytes.into(), form, content_type: label.map(HeaderValue::from_static) };
        came(&[answer], &Hidden::of(&channel("a").build(), Some(&secret("sk-hidden-key").into()), None))
    }

    #[test]
    fn what_came_is_told_by_its_label_and_its_first_words() {
        for (label, bytes, form, expected) in [
            (
                Some("application/json"),
                &b"data: {\"a\":1}"[..],
                AnswerForm::Json,
                "an answer labelled application/json that begins with `data: {\"a\":1}`",
            ),
            (
                None,
                b"upstream\n\tis  gone",
                AnswerForm::Bytes,
                "an answer without a label that begins with `upstream is gone`",
            ),
            (Some("application/json"), b" \n", AnswerForm::Json, "an empty answer labelled application/json"),
            (Some("text/html"), b"<html>x", AnswerForm::Page, "a page labelled text/html"),
        ] {
            assert_eq!(told(label, bytes, form), expected);
        }
    }

    #[test]
    fn it_is_short_and_holds_no_key_however_it_is_spelled() {
        let long = told(None, &[b'x'; 9000], AnswerForm::Json);
        assert!(long.len() < 120 && long.ends_with("x…`"), "{long}");
        let across = [&[b'x'; 50][..], b"sk-hidden-key and more"].concat().leak();
        assert!(!told(None, across, AnswerForm::Json).contains("sk-"), "cut within the key");
        for text in [&b"bad sk-hidden-key"[..], b"bad \\u0073k-hidden-key", b"bad sk%2Dhidden-key"] {
            let told = told(None, text, AnswerForm::Json);
            assert!(!told.contains("hidden-key"), "{told}");
        }
    }
}
