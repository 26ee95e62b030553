use proptest::prelude::*;

use super::*;

const KEY: &str = "sk-provider-0123+abc/DEF==";

fn keys(keys: &[&str]) -> Secrets {
    keys.iter().fold(Secrets::default(), |secrets, key| secrets.with_key(key))
}

fn hidden_in(secrets: &Secrets, text: &str, care: Care) -> Option<String> {
    if !secrets.may_stand_in(text.as_bytes(), care) && !may_be_written_oddly(text.as_bytes(), care) {
        return None;
    }
    let clean = hide(std::iter::once(secrets), text.as_bytes(), care)?;
    Some(String::from_utf8(clean).unwrap())
}

/// The key as different writers write it.
fn forms() -> Vec<String> {
    let each = |form: fn(char) -> String| KEY.chars().map(form).collect::<String>();
    vec![
        KEY.to_owned(),
        KEY.replace('/', r"\/"),
        KEY.replace('/', r"\\\/"),
        KEY.replace('+', r"\u002B").replace('=', r"\u003d"),
        KEY.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"),
        KEY.replace('+', "%252B").replace('/', "%252F").replace('=', "%253D"),
        KEY.replace('/', "&#x2F;").replace('=', "&#x3D;").replace('+', "&#43;"),
        each(|letter| format!("\\u{:04x}", u32::from(letter))),
        each(|letter| format!("\\\\u{:04X}", u32::from(letter))),
        each(|letter| format!("%{:02x}", u32::from(letter))),
        each(|letter| format!("&#{};", u32::from(letter))),
        KEY.to_uppercase(),
    ]
}

#[test]
fn an_error_tells_a_key_in_no_form() {
    let secrets = keys(&[KEY]);
    for form in forms() {
        let text = format!(r#"{{"error":{{"param":"x {form} y"}}}}"#);
        let clean = hidden_in(&secrets, &text, Care::Error);
        assert_eq!(clean.as_deref(), Some(r#"{"error":{"param":"x [hidden] y"}}"#), "{form}");
    }
}

#[test]
fn an_answer_tells_a_key_in_no_form_that_writers_use() {
    let secrets = keys(&[KEY]);
    for form in &forms()[..7] {
        let clean = hidden_in(&secrets, &format!("x {form} y"), Care::Events);
        assert_eq!(clean.as_deref(), Some("x [hidden] y"), "{form}");
    }
    assert_eq!(hidden_in(&secrets, "x sk-provider-0123 y", Care::Events), None);
    let escaped = &forms()[7];
    assert_eq!(hidden_in(&secrets, escaped, Care::Whole).as_deref(), Some("[hidden]"));
    for form in &forms()[..11] {
        assert_eq!(hidden_in(&secrets, form, Care::Odd).as_deref(), Some("[hidden]"), "{form}");
    }
}

#[test]
fn an_error_that_the_upstream_cut_does_not_tell_most_of_a_key() {
    let secrets = keys(&[KEY]);
    for kept in 13..KEY.len() {
        let clean = hidden_in(&secrets, &format!("no: {}...", &KEY[..kept]), Care::Error);
        assert_eq!(clean.as_deref(), Some("no: [hidden]..."), "{kept}");
    }
}

#[test]
fn a_word_that_serves_as_a_key_is_hidden_in_errors_only() {
    let secrets = keys(&["ollama", "not-needed"]);
    assert_eq!(hidden_in(&secrets, "ollama is not-needed", Care::Events), None);
    assert_eq!(
        hidden_in(&secrets, "ollama is not-needed", Care::Error).as_deref(),
        Some("[hidden] is [hidden]")
    );
    assert!(keys(&["short"]).texts.is_empty());
}

#[test]
fn a_number_is_hidden_by_a_number() {
    let secrets = keys(&["1234567890123456"]);
    let clean = hidden_in(&secrets, r#"{"code":1234567890123456}"#, Care::Events);
    assert_eq!(clean.as_deref(), Some(r#"{"code":1}"#));
}

#[test]
fn keys_that_overlap_leave_nothing_of_each_other() {
    let secrets = keys(&["sk-0123456789", "sk-0123456789-second", "89-second-tail"]);
    let clean = hidden_in(&secrets, "a sk-0123456789-second-tail b", Care::Events);
    assert_eq!(clean.as_deref(), Some("a [hidden] b"));
}

#[test]
fn of_a_url_whatever_authorises_is_a_secret() {
    let url =
        "https://user:pass%40word1@a.test/v1/chat?api-version=2024-10-21&key=AIzaSyA1234&sig=a1b2c3d4e5";
    let secrets = Secrets::default().with_url(url);
    for secret in ["pass@word1", "pass%40word1", "AIzaSyA1234", "a1b2c3d4e5", "dXNlcjpwYXNzQHdvcmQx"] {
        assert_eq!(hidden_in(&secrets, secret, Care::Events).as_deref(), Some("[hidden]"), "{secret}");
    }
    for known in ["https", "a.test", "v1/chat", "api-version=2024-10-21", "user"] {
        assert_eq!(hidden_in(&secrets, known, Care::Error), None, "{known}");
    }
    for odd in ["", "@", "://@", "a:b@c", "http://u:p/w0rdpassword@h/x", "?", "x?y", "http://h?a=b@c"] {
        let _ = Secrets::default().with_url(odd);
    }
}

#[test]
fn of_headers_errors_tell_none_and_answers_what_everybody_knows() {
    let secrets = Secrets::default()
        .with_header("authorization", "Bearer first-secret-1")
        .with_header("x-mine", "0a1b2c3d4e5f")
        .with_header("anthropic-beta", "tools-2024-04-04,a1b2c3d4e5")
        .with_header("accept", "application/json");
    for (text, in_answer) in
        [("first-secret-1", true), ("0a1b2c3d4e5f", true), ("application/json", false), ("Bearer", false)]
    {
        assert_eq!(hidden_in(&secrets, text, Care::Events).is_some(), in_answer, "{text}");
        assert_eq!(hidden_in(&secrets, text, Care::Error).is_some(), text != "Bearer", "{text}");
    }
}

#[test]
fn of_configured_fields_those_that_look_like_a_secret_are() {
    let has = |name: &str, value: &str| !Secrets::default().with_field(name, value).texts.is_empty();
    for (name, value) in [("x", "sk-abcdefghijklmn"), ("api_key", "abcdefgh"), ("x", "body-0123456789abcdef")]
    {
        assert!(has(name, value), "{name} {value}");
    }
    for (name, value) in [
        ("model", "model8x7b22"),
        ("type", "web_search_20250305"),
        ("service_tier", "priority"),
        ("prompt_cache_key", "my-agents"),
        ("text", "Answer in 20250305ab words."),
        ("version", "gpt-4o-2024-08-06"),
    ] {
        assert!(!has(name, value), "{name} {value}");
    }
}

/// What leaves of `text` when it comes in these two parts.
fn in_parts(secrets: &Secrets, text: &[u8], at: usize, care: Care) -> Vec<u8> {
    let all = || std::iter::once(secrets);
    let first = hide_in_part(all(), &text[..at], care).unwrap_or_else(|| text[..at].to_vec());
    let end = open_end(all(), &first, care);
    let second = [&first[end..], &text[at..]].concat();
    let second = hide(all(), &second, care).unwrap_or(second);
    [&first[..end], &second].concat()
}

#[test]
fn a_key_is_found_wherever_it_is_cut() {
    let secrets = keys(&[KEY]);
    for form in forms() {
        let text = format!("data: x{form}y\n\n");
        for at in 0..text.len() {
            let clean = in_parts(&secrets, text.as_bytes(), at, Care::Error);
            let clean = String::from_utf8(clean).unwrap();
            assert!(
                clean.starts_with("data: x[hidden]") && clean.ends_with("y\n\n"),
                "{form} at {at}: {clean}"
            );
        }
    }
}

#[test]
fn what_begins_no_key_is_not_held_back() {
    let secrets = keys(&[KEY]);
    let held = |text: &str| text.len() - open_end(std::iter::once(&secrets), text.as_bytes(), Care::Events);
    for (text, length) in
        [("a word", 0), ("a sk-", 3), ("data: {}\n\n", 0), ("100%", 1), (r"a\u00", 4), ("pas", 1)]
    {
        assert_eq!(held(text), length, "{text}");
    }
    assert!(!secrets.may_begin_in(b"}\n\n") && !secrets.may_begin_in(b"") && secrets.may_begin_in(b"x sk"));
}

#[test]
fn most_of_a_key_at_the_end_is_hidden_and_a_letter_is_none() {
    let secrets = keys(&[KEY]);
    let left =
        |held: &str| String::from_utf8(end_of(std::iter::once(&secrets), held.as_bytes(), Care::Events));
    assert_eq!(left("sk-provider-").unwrap(), "[hidden]");
    assert_eq!(left("sk").unwrap(), "sk");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_no_cut_loses_a_byte(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        odd in r"[\\u0-9a-f%&#;x]{0,40}",
        at in 0usize..40,
    ) {
        let secrets = keys(&[KEY, "1234567890123456"]);
        let _ = hide(std::iter::once(&secrets), &bytes, Care::Error);
        let end = open_end(std::iter::once(&secrets), &bytes, Care::Error);
        prop_assert!(end <= bytes.len());
        let at = at.min(odd.len());
        let whole = hide(std::iter::once(&secrets), odd.as_bytes(), Care::Error);
        if whole.is_none() {
            prop_assert_eq!(in_parts(&secrets, odd.as_bytes(), at, Care::Error), odd.as_bytes());
        }
    }
}
