//! The few fields of a body that decide where a request goes: `model` and `stream`.
//!
//! The body is read once, and whole: a scanner that stops at the first `model` would let a client be
//! authorised for one model and send another one behind it, so duplicates are refused. A walk over it
//! is enough for nearly all; what that cannot tell a parser does, and says what is wrong.

use std::borrow::Cow;
use std::sync::Arc;

use dialect::{Body, Form, Head, ModelPlace};
use serde::Deserialize;

use crate::conversation;
use crate::failure::Failure;

/// Longest model name; longer ones cannot be configured and would bloat logs.
const LONGEST_MODEL: usize = 512;

/// The fields that decide.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) model: String,
    pub(super) model_place: ModelPlace,
    pub(super) stream: bool,
    /// What the body calls the conversation, if anything.
    pub(super) conversation: Option<u64>,
}

impl Fields {
    /// Reads them of a body; `path_model` is the model that the path names, which then counts.
    ///
    /// # Errors
    /// [`Failure::Invalid`] for anything but an object, or a form, with one non-empty `model` and a
    /// boolean `stream`, if any.
    pub(super) fn read(body: &Body, path_model: Option<Arc<str>>) -> Result<Self, Failure> {
        match (body, path_model) {
            (Body::Json(body), None) => peek(body),
            (Body::Json(body), Some(model)) => {
                let head = parse(body)?;
                let stream = head.stream.unwrap_or(false);
                Ok(Self { conversation: named(&head), ..Self::of_path(&model, stream)? })
            }
            (Body::Form(form), path_model) => of_form(form, path_model),
            (Body::Empty, Some(model)) => Self::of_path(&model, false),
            (Body::Empty, None) => Ok(Self {
                model: String::new(),
                model_place: ModelPlace::Nowhere,
                stream: false,
                conversation: None,
            }),
        }
    }

    fn of_path(model: &str, stream: bool) -> Result<Self, Failure> {
        Ok(Self {
            model: checked(model)?.to_owned(),
            model_place: ModelPlace::Path,
            stream,
            conversation: None,
        })
    }
}

/// A model's name of a length that can be configured.
fn checked(model: &str) -> Result<&str, Failure> {
    if model.is_empty() || model.len() > LONGEST_MODEL {
        return Err(Failure::invalid("model must be a name of 1 to 512 bytes", Some("model")));
    }
    Ok(model)
}

/// The fields of a form, each a part with a text.
fn of_form(form: &Form, path_model: Option<Arc<str>>) -> Result<Fields, Failure> {
    let find =
        |name| form.position(name).map_err(|malformed| Failure::invalid(malformed.message, Some(name)));
    let stream = match find("stream")? {
        None => false,
        Some(part) => match form.text(part, 16).as_deref().map(str::trim) {
            Some("true" | "True" | "1") => true,
            Some("false" | "False" | "0" | "") => false,
            _ => return Err(Failure::invalid("stream must be a boolean", Some("stream"))),
        },
    };
    if let Some(model) = path_model {
        return Fields::of_path(&model, stream);
    }
    let Some(part) = find("model")? else {
        return Err(Failure::invalid("you must provide a model parameter", Some("model")));
    };
    let model = form.text(part, LONGEST_MODEL).unwrap_or_default();
    let model = checked(&model)?.to_owned();
    Ok(Fields { model, model_place: ModelPlace::Form(part), stream, conversation: None })
}

/// The conversation that a body names.
fn named(head: &Head<'_>) -> Option<u64> {
    head.conversation().map(|name| conversation::name_of(name.as_bytes()))
}

fn parse(body: &[u8]) -> Result<Head<'_>, Failure> {
    match Head::glance(body) {
        Some(head) => Ok(head),
        None => parse_whole(body),
    }
}

fn parse_whole(body: &[u8]) -> Result<Head<'_>, Failure> {
    // JSON is UTF-8 (RFC 8259 §8.1), and the parser looks at nothing that it skips. Most bodies are
    // ASCII, which is told far faster.
    if !body.is_ascii()
        && let Err(error) = std::str::from_utf8(body)
    {
        let at = error.valid_up_to();
        let message =
            format!("We could not parse the JSON body of your request: it is no UTF-8 at byte {at}");
        return Err(Failure::invalid(message, None));
    }
    Head::read(body).map_err(|error| refusal(body, &error))
}

/// Reads the deciding fields of a JSON object; everything else is only validated.
///
/// # Errors
/// [`Failure::Invalid`] for anything but an object with one non-empty string `model` and a
/// boolean `stream`, if any.
fn peek(body: &[u8]) -> Result<Fields, Failure> {
    let head = parse(body)?;
    let Some(text) = head.model else {
        return Err(Failure::invalid("you must provide a model parameter", Some("model")));
    };
    let model: Cow<'_, str> = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => plain.into(),
        _ => {
            serde_json::from_str::<Text<'_>>(text)
                .map_err(|_not_text| Failure::invalid("model must be a string", Some("model")))?
                .0
        }
    };
    checked(&model)?;
    // The text borrows from the body, so its place in it is the distance of two pointers.
    let start = text.as_ptr().addr() - body.as_ptr().addr();
    Ok(Fields {
        model: model.into_owned(),
        model_place: ModelPlace::Json(start..start + text.len()),
        stream: head.stream.unwrap_or(false),
        conversation: named(&head),
    })
}

/// A string, borrowed when it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn refusal(body: &[u8], error: &serde_json::Error) -> Failure {
    let text = error.to_string();
    if !error.is_data() {
        return Failure::invalid(format!("We could not parse the JSON body of your request: {text}"), None);
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Failure::invalid("the request body must be a JSON object", None);
    }
    let param =
        ["model", "stream"].into_iter().find(|field| text.starts_with(&format!("duplicate field `{field}`")));
    match param {
        Some(field) => Failure::invalid(format!("{field} is given twice"), Some(field)),
        None => Failure::invalid(format!("stream must be a boolean: {text}"), Some("stream")),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn param_of(body: &str) -> Option<&'static str> {
        match peek(body.as_bytes()) {
            Err(Failure::Invalid { param: Some(Cow::Borrowed(param)), .. }) => Some(param),
            Err(Failure::Invalid { param: None, .. }) => None,
            other => panic!("{body} gave {other:?}"),
        }
    }

    #[test]
    fn the_span_covers_the_value_with_its_quotes() {
        let body = br#" { "messages": [{"model":"no"}], "model" : "gpt-4o" , "stream":true}"#;

        let fields = peek(body).unwrap();

        let ModelPlace::Json(span) = fields.model_place.clone() else { panic!("{fields:?}") };
        assert_eq!(&body[span], br#""gpt-4o""#);
        assert_eq!((fields.model.as_str(), fields.stream), ("gpt-4o", true));
    }

    #[test]
    fn an_escaped_model_is_unescaped() {
        assert_eq!(peek(br#"{"model":"gpt\u002d4"}"#).unwrap().model, "gpt-4");
    }

    #[test]
    fn a_second_model_is_refused_also_when_it_is_escaped() {
        assert_eq!(param_of(r#"{"model":"a","model":"b"}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","mod\u0065l":"b"}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","stream":true,"stream":false}"#), Some("stream"));
    }

    #[test]
    fn what_is_not_an_object_with_a_model_is_refused() {
        assert_eq!(param_of(r#"{"messages":[]}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":7}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":null}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":""}"#), Some("model"));
        assert_eq!(param_of(r#"{"model":"a","stream":"yes"}"#), Some("stream"));
        for body in ["", "[]", "7", "null", "{", r#"{"model":"a"} x"#, "\u{feff}{}", r#""text""#] {
            assert_eq!(param_of(body), None, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_no_utf_8_is_refused_wherever_that_is() {
        for text in ["\"model\":\"m\",\"x\":\"\u{e9}?\"", "\"x\":{\"?\":1},\"model\":\"m\""] {
            let bytes: Vec<u8> =
                format!("{{{text}}}").bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();

            let Err(Failure::Invalid { message, param: None }) = peek(&bytes) else { panic!("{text}") };

            let at = bytes.iter().position(|&byte| byte == 0xff).unwrap();
            assert!(message.ends_with(&format!("no UTF-8 at byte {at}")), "{message}");
        }
    }

    #[test]
    fn a_model_in_the_path_counts_and_the_body_needs_none() {
        let body = Body::Json(bytes::Bytes::from_static(br#"{"contents":[],"stream":true}"#));

        let fields = Fields::read(&body, Some("gemini".into())).unwrap();

        assert_eq!(
            (fields.model.as_str(), fields.model_place, fields.stream),
            ("gemini", ModelPlace::Path, true)
        );
    }

    #[test]
    fn a_form_names_its_model_in_a_part() {
        let field = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let read = |fields: &[(&str, &str)]| {
            let text: String = fields.iter().map(|(name, value)| field(name, value)).collect();
            let form = Form::read(vec![(text + "--b--").into()], "multipart/form-data; boundary=b").unwrap();
            Fields::read(&Body::Form(form), None)
        };

        let fields = read(&[("file", "RIFF"), ("model", "whisper-1"), ("stream", "true")]).unwrap();

        assert_eq!(
            (fields.model.as_str(), fields.model_place, fields.stream),
            ("whisper-1", ModelPlace::Form(1), true)
        );
        for wrong in [
            &[("file", "RIFF")][..],
            &[("model", "a"), ("model", "b")],
            &[("model", "")],
            &[("model", "a"), ("stream", "x")],
        ] {
            assert!(matches!(read(wrong), Err(Failure::Invalid { .. })), "{wrong:?}");
        }
    }
}
