//! Says what is wrong with a configuration, where, and what would be right.
//!
//! A problem is an error when something could not be served as written and a warning when it can
//! be but is probably not meant. Neither ever shows a key: texts that look like one, and the
//! passwords of URLs, are masked where a problem is made, so that no caller can forget it.

use std::fmt;

use super::tree;

/// More than this many problems help nobody; the rest is counted only.
const LISTED: usize = 500;
/// Finding a position costs a parse, so only the first problems get one.
const LOCATED: usize = 60;

/// The weight of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing: it works as it is written, which may not be what was expected.
    Note,
    /// Probably a slip; the configuration works without what it concerns.
    Warning,
    /// Could not be served; the configuration is refused.
    Error,
}

/// One finding about a configuration or the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// YAML path such as `providers[1].preferences.proxy`, or a variable's name; empty for the
    /// document as a whole.
    pub path: String,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// Column, from 1, where known.
    pub column: Option<usize>,
    /// What is there; never a secret.
    pub found: String,
    /// What may be there, or what happens instead.
    pub accepted: String,
    /// A likely remedy.
    pub hint: Option<String>,
    /// The line of the text, with a mark below the place; its values are made unreadable.
    pub excerpt: Option<String>,
}

impl Problem {
    /// A problem without a position.
    pub fn new(
        severity: Severity,
        path: impl Into<String>,
        found: impl Into<String>,
        accepted: &str,
    ) -> Self {
        Self {
            severity,
            path: path.into(),
            line: None,
            column: None,
            found: found.into(),
            accepted: accepted.to_owned(),
            hint: None,
            excerpt: None,
        }
    }

    /// An error without a position.
    pub fn error(path: impl Into<String>, found: impl Into<String>, accepted: &str) -> Self {
        Self::new(Severity::Error, path, found, accepted)
    }

    /// Adds a remedy.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the configuration is refused because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })?;
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " (line {line}, column {column})")?,
            (Some(line), None) => write!(f, " (line {line})")?,
            _ => {}
        }
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        write!(f, "\n  found: {}\n  accepted: {}", self.found, self.accepted)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// A place in the YAML tree, built on the stack while descending.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl Path<'_> {
    pub(super) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    pub(super) fn key<'a>(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let first = self.parent.is_none_or(|parent| matches!(parent.step, Step::Root));
        match self.step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key)
                if !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
            {
                write!(f, "{}{key}", if first { "" } else { "." })
            }
            Step::Key(key) => write!(f, "[{:?}]", shown(key)),
        }
    }
}

/// The problems of one pass over a tree, as they are found.
#[derive(Default)]
pub(super) struct Report {
    /// Each with the tree node that it is about, if any.
    problems: Vec<(Problem, Option<u32>)>,
    errors_unlisted: usize,
}

impl Report {
    pub(super) fn add(&mut self, node: Option<u32>, problem: Problem) {
        if self.problems.len() < LISTED {
            self.problems.push((problem, node));
        } else if problem.is_error() {
            self.errors_unlisted += 1;
        }
    }

    pub(super) fn error(&mut self, node: u32, path: Path<'_>, found: impl Into<String>, accepted: &str) {
        self.add(Some(node), Problem::new(Severity::Error, path.to_string(), found, accepted));
    }

    pub(super) fn warn(&mut self, node: u32, path: Path<'_>, found: impl Into<String>, accepted: &str) {
        self.add(Some(node), Problem::new(Severity::Warning, path.to_string(), found, accepted));
    }

    pub(super) fn note(&mut self, node: u32, path: Path<'_>, found: impl Into<String>, accepted: &str) {
        self.add(Some(node), Problem::new(Severity::Note, path.to_string(), found, accepted));
    }

    pub(super) fn hint(&mut self, hint: impl Into<String>) {
        if let Some((problem, _)) = self.problems.last_mut() {
            problem.hint = Some(hint.into());
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors_unlisted > 0 || self.problems.iter().any(|(problem, _)| problem.is_error())
    }

    /// The problems in document order, errors before warnings, positions filled in from `text`.
    pub(super) fn into_problems(mut self, text: &str) -> Vec<Problem> {
        self.problems.sort_by_key(|(problem, node)| (!problem.is_error(), node.unwrap_or(0)));
        let mut problems = Vec::with_capacity(self.problems.len());
        for (ordinal, (mut problem, node)) in self.problems.into_iter().enumerate() {
            if let Some((line, column)) =
                node.filter(|_| ordinal < LOCATED).and_then(|id| tree::locate(text, id))
            {
                problem.line = Some(line);
                problem.column = Some(column);
            }
            problems.push(problem);
        }
        if self.errors_unlisted > 0 {
            let more = format!("{} more errors", self.errors_unlisted);
            problems.push(Problem::error("", more, "fix those above first"));
        }
        problems
    }
}

/// A text as a problem may show it: short, and masked where it looks like a secret.
pub(super) fn shown(text: &str) -> String {
    let mut masked = mask_passwords(text);
    if looks_secret(text) {
        masked = mask(text);
    }
    if masked.chars().count() > 60 {
        masked = masked.chars().take(57).chain("...".chars()).collect();
    }
    masked
}

/// The beginning of a key, as much as tells it from its neighbours without giving it away.
pub(super) fn mask(text: &str) -> String {
    let length = text.chars().count();
    let kept = (length / 4).min(6);
    text.chars().take(kept).chain("***".chars()).collect()
}

fn looks_secret(text: &str) -> bool {
    ["sk-", "AIza", "-----BEGIN", "gsk_", "xai-", "ya29.", "AKIA"].iter().any(|start| text.contains(start))
        || text.len() >= 24
            && !text.contains([' ', '/', ',', ':'])
            && text.bytes().any(|b| b.is_ascii_digit())
            && !text.contains('-')
}

/// Hides what stands between `://` and `@`, and the values of query parameters.
fn mask_passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let rest = rest.rsplit_once('@').map_or(rest.to_owned(), |(_, host)| format!("***@{host}"));
    let rest = rest.split_once('?').map_or(rest.clone(), |(path, _)| format!("{path}?***"));
    format!("{scheme}://{rest}")
}

/// `1 channel`, `2 channels`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The known word that `word` is most likely a slip of.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().take(64).filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment distance: insertions, deletions, changes, neighbouring swaps.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_quotes_keys_that_are_no_plain_words() {
        let root = Path::ROOT;
        let providers = root.key("providers");
        let first = providers.index(0);
        let timeout = first.key("model_timeout");
        let path = timeout.key("gpt-5.2");

        assert_eq!(path.to_string(), r#"providers[0].model_timeout["gpt-5.2"]"#);
    }

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["rate_limit", "model_timeout", "SCHEDULING_ALGORITHM", "api"];

        assert_eq!(nearest("rate_limits", known), Some("rate_limit"));
        assert_eq!(nearest("scheduling_algorithm", known), Some("SCHEDULING_ALGORITHM"));
        assert_eq!(nearest("apt", known), Some("api"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn keys_and_passwords_are_never_shown() {
        let key = "sk-KjjI60Yf0JFWxfgRmXqFWyGtWUd9GZnmi3KlvowmRWpWpQRo";

        assert_eq!(shown(key), "sk-Kjj***");
        assert_eq!(shown("socks5://user:pass@host:1080"), "socks5://***@host:1080");
        assert_eq!(shown("https://host/v1?key=abc"), "https://host/v1?***");
        assert!(!shown("0123456789abcdef0123456789abcdef").contains("89abcdef"));
        assert_eq!(shown("gpt-5.2"), "gpt-5.2");
    }

    #[test]
    fn a_problem_prints_place_finding_and_remedy() {
        let mut problem = Problem::error("providers[0].engine", "\"gtp\"", "one of gpt, claude")
            .with_hint("did you mean gpt?");
        problem.line = Some(3);
        problem.column = Some(13);

        assert_eq!(
            problem.to_string(),
            "error: providers[0].engine (line 3, column 13)\n  found: \"gtp\"\n  accepted: one of gpt, claude\n  hint: did you mean gpt?"
        );
    }
}
