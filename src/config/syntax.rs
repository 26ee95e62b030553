//! Says what is wrong with a text that is no YAML, in words for a person.
//!
//! The parser's own words are those of its states. Here they become what somebody did, with the
//! line, a mark below the place, and advice for the usual slips. The line is shown without its
//! values: any of them may be a key.

use super::problem::{Problem, Severity};
use super::schema::ALL;

/// What the parser says, what it means, and what to do about it.
const WORDS: &[(&str, &str, &str)] = &[
    (
        "mapping values are not allowed in this context",
        "a colon where no key can stand",
        "indent the line as its neighbours are, or quote a value that holds a colon and a space",
    ),
    (
        "did not find expected '-' indicator",
        "a line that is no item of the list above it",
        "begin it with `- `, or indent it as far as what it belongs to",
    ),
    (
        "did not find expected key",
        "a line that fits neither the map nor the list above it",
        "all keys of a map stand in the same column, and so do all dashes of a list",
    ),
    (
        "could not find expected ':'",
        "a key without a colon, or a quote that is not closed",
        "write `key: value`, with a space behind the colon",
    ),
    (
        "block sequence entries are not allowed in this context",
        "a dash where no list can begin",
        "put the list on lines of its own below the key",
    ),
    (
        "block mapping is not allowed in this context",
        "a key where no map can begin",
        "put the map on lines of its own below the key",
    ),
    (
        "mapping keys are not allowed in this context",
        "a key where no map can begin",
        "put the map on lines of its own below the key",
    ),
    ("found unexpected end of stream", "an end inside quotes", "close the quote"),
    (
        "did not find expected ',' or ']'",
        "a list that is not closed",
        "close it with ], items apart by commas",
    ),
    (
        "did not find expected ',' or '}'",
        "a map that is not closed",
        "close it with }, entries apart by commas",
    ),
    (
        "found character that cannot start any token",
        "a character that cannot begin a value",
        "quote the value",
    ),
    ("unknown anchor", "a * that names no anchor", "quote it, or define &name before it"),
    ("found undefined alias", "a * that names no anchor", "quote it, or define &name before it"),
    ("control characters are not allowed", "a control character", "save the file as plain UTF-8 text"),
];

/// The parser's complaint with its position, and advice for the usual slips.
pub(super) fn complaint(text: &str, error: &serde_yaml::Error) -> Problem {
    let message = bare(error);
    let known = WORDS.iter().find(|(said, ..)| message.contains(said));
    let found = known.map_or(message, |(_, means, _)| (*means).to_owned());
    let mut problem = Problem::new(Severity::Error, "", found, "valid YAML");
    problem.hint = known.map(|(.., advice)| (*advice).to_owned());
    let Some(location) = error.location() else {
        return problem;
    };
    problem.line = Some(location.line());
    problem.column = Some(location.column());
    let line = text.lines().nth(location.line().saturating_sub(1)).unwrap_or_default();
    problem.hint = advice(line, location.column()).or(problem.hint);
    problem.excerpt = excerpt(line, location.line(), location.column());
    problem
}

/// What the parser says, without the position, which stands beside it.
fn bare(error: &serde_yaml::Error) -> String {
    let mut message = error.to_string();
    if let Some(at) = message.find(" at line ") {
        let end = message[at + 9..].find([',', ' ']).map_or(message.len(), |end| at + 9 + end);
        // " at line 3 column 5" reads twice beside the position of the problem itself.
        let end = match message[end..].strip_prefix(" column ") {
            Some(rest) => message.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len(),
            None => end,
        };
        message.replace_range(at..end, "");
    }
    message
}

/// The line with a mark below the column: keys that are known and punctuation as they are, of
/// everything else only how long it is.
fn excerpt(line: &str, number: usize, column: usize) -> Option<String> {
    const LONGEST: usize = 100;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut shown = String::new();
    let mut word = String::new();
    for c in line.chars().chain([' ']) {
        if is_word(c) {
            word.push(c);
            continue;
        }
        match ALL.iter().any(|keys| keys.known.contains(&&*word)) && c == ':' {
            true => shown.push_str(&word),
            false => shown.extend(word.chars().map(|_| '.')),
        }
        word.clear();
        shown.push(if c == '\t' { ' ' } else { c });
    }
    let shown: String = shown.trim_end().chars().take(LONGEST).collect();
    if shown.is_empty() || column > LONGEST {
        return None;
    }
    let margin = " ".repeat(number.to_string().len());
    let before = " ".repeat(column.saturating_sub(1));
    Some(format!("  {number} | {shown}\n  {margin} | {before}^"))
}

fn advice(line: &str, column: usize) -> Option<String> {
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    if indent.contains('\t') {
        return Some("indent with spaces; YAML takes no tabs".to_owned());
    }
    let at = line.chars().nth(column.saturating_sub(1));
    let value = value_part(line);
    // What is before the value cannot be its fault.
    let is_in_value = column > line.chars().count() - value.chars().count();
    if at == Some('\t') {
        return Some("use spaces; YAML takes no tabs".to_owned());
    }
    match value.chars().next() {
        Some('*') => {
            Some("quote it: \"*\" (or write the word all); an unquoted * begins a YAML alias".to_owned())
        }
        Some('@') => Some("quote it: '@cf/…'; an unquoted @ cannot begin a value".to_owned()),
        Some(c @ ('`' | '%' | '&' | '!' | '|' | '>' | '[' | '{')) if is_in_value => {
            Some(format!("quote it; an unquoted {c} has a meaning of its own at the beginning of a value"))
        }
        _ if is_in_value && value.contains(": ") => {
            Some("quote the value; it holds a colon followed by a space".to_owned())
        }
        _ => None,
    }
}

/// What follows the dashes and the key of a line.
fn value_part(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start();
    }
    if rest.starts_with(['*', '@', '`', '%', '\'', '"']) {
        return rest;
    }
    rest.split_once(": ").map_or(rest, |(_, value)| value.trim_start())
}

#[cfg(test)]
mod tests {
    use super::super::tree::parse;
    use super::*;

    fn problem(text: &str) -> Problem {
        *parse(text).unwrap_err()
    }

    #[test]
    fn slips_of_syntax_come_with_advice() {
        let star = problem("api_keys:\n  - api: k\n    model:\n      - *\n");
        assert!(star.hint.unwrap().contains("quote it"), "{:?}", star.found);
        assert_eq!(star.line, Some(4));
        assert!(problem("model:\n  - @cf/meta: x\n").hint.unwrap().contains("quote it"));
        assert!(problem("model:\n\t- x\n").hint.unwrap().contains("tabs"));
        assert!(problem("a: b\nc: *x/y\n").hint.unwrap().contains("quote it"));
        assert!(problem("a: 1\n---\nb: 2\n").found.contains("second document"));
        assert!(problem("a: [1\n").found.matches("at line").count() <= 1);
    }

    #[test]
    fn the_parser_s_words_become_what_somebody_did() {
        for (text, line, found, hint) in [
            ("providers:\n  - provider: a\n     api: k\n", 3, "a colon where no key can stand", "indent"),
            ("providers:\n  - provider: a\n  api: k\n", 3, "no item of the list", "`- `"),
            ("a:\n   b: 1\n  c: 2\n", 3, "fits neither", "column"),
            ("providers: - a\n", 1, "a dash where no list", "lines of its own"),
            (
                "providers:\n  - provider: a\n    api\n    model: [m]\n",
                4,
                "a key without a colon",
                "key: value",
            ),
            ("a: \"x\n", 2, "an end inside quotes", "close"),
            ("a: [x\nb: y\n", 2, "list that is not closed", "]"),
            ("a: *nobody\n", 1, "names no anchor", "quote it"),
            ("a: x\u{1}\n", 1, "a control character", "UTF-8"),
        ] {
            let problem = problem(text);

            assert!(problem.found.contains(found), "{text:?}: {problem}");
            assert!(problem.hint.as_deref().unwrap_or_default().contains(hint), "{text:?}: {problem}");
            assert!(problem.line.is_some_and(|at| at.abs_diff(line) <= 1), "{text:?}: {problem}");
        }
    }

    #[test]
    fn the_line_is_shown_with_a_mark_and_without_its_values() {
        let problem = problem("providers:\n  - provider: secret-name\n     api: sk-secret\n");

        let shown = problem.to_string();
        assert!(shown.contains("  3 |      api: ..-......\n    |         ^\n"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        // A key of the text that is called like a value must not open it.
        assert_eq!(excerpt("api: api x", 1, 1).unwrap(), "  1 | api: ... .\n    | ^");
        assert_eq!(excerpt("", 1, 1), None);
    }
}
