//! `uni-api check`: says everything about a configuration without serving it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::config::problem::count;
use crate::config::source::{Fetch, Source};
use crate::config::{Environment, Problem, Settings, Severity, load};
use crate::explain::columns;
use crate::snapshot::{ModelAddress, addresses};

/// Most models that are listed.
const MOST_LISTED: usize = 500;

/// The options of a check.
#[derive(Debug, Clone, Copy, Default)]
pub struct Check<'a> {
    /// The file that is named.
    pub config: Option<&'a Path>,
    /// `--strict`: warnings count as errors.
    pub strict: bool,
    /// `--fragment`: a part of a file, which may lack providers or client keys.
    pub fragment: bool,
}

/// What to print, and the exit code: 0 when it can be served, 1 for problems, 2 without a source.
pub async fn check(what: Check<'_>, env: &Environment, folder: &Path, fetch: &dyn Fetch) -> (String, i32) {
    let source = match Source::find(what.config, env, folder) {
        Ok(source) => source,
        Err(error) => return (format!("error: {error}\n"), 2),
    };
    let text = match source.read(fetch).await {
        Ok(text) => text,
        Err(error) => return (format!("error: {error}\n"), 2),
    };
    let (mut summary, mut listed) = (String::new(), String::new());
    let problems = match load(&text.text, text.origin, env) {
        Ok(loaded) => {
            summary = counts(&loaded.settings);
            listed = asked_at(&loaded.settings);
            loaded.warnings
        }
        Err(problems) => problems,
    };
    let problems = [env.warnings.clone(), problems].concat();
    let problems = problems.into_iter().filter(|problem| !(what.fragment && is_of_the_whole(problem)));
    let (told, code) = render(&source.describe(), problems.collect(), &summary, what.strict);
    (listed + &told, code)
}

/// Where each model is asked, and by which engine: one line for each, as far as a person reads on.
fn asked_at(settings: &Settings) -> String {
    let mut listed = addresses(settings);
    let row = |ModelAddress { channel, engine, model, url, more_places }: ModelAddress| {
        let more = match more_places {
            0 => String::new(),
            1 => " and 1 place more".to_owned(),
            more => format!(" and {more} places more"),
        };
        let url = url.unwrap_or_else(|reason| format!("nowhere: {reason}"));
        [channel, engine.to_owned(), model, url + &more]
    };
    let rows: Vec<[String; 4]> = listed.by_ref().take(MOST_LISTED).map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let titles = ["CHANNEL", "ENGINE", "MODEL", "ASKED AT"].map(str::to_owned);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = columns(&mut text, &[vec![titles], rows].concat());
    match listed.count() {
        0 => {}
        more => _ = writeln!(text, "and {more} more"),
    }
    text.push('\n');
    text
}

/// Whether a problem is only that a part of a file is no whole one.
fn is_of_the_whole(problem: &Problem) -> bool {
    let missing = matches!(&*problem.path, "providers" | "api_keys") && problem.found.starts_with("no");
    missing || problem.found.starts_with("channel ") && problem.found.ends_with("which does not exist")
}

/// The counts of a server that starts with these settings, and what it asks for first.
fn counts(settings: &Settings) -> String {
    let channels = &settings.channels;
    let models = channels.iter().flat_map(|channel| &channel.models).map(|model| &model.alias);
    let models = models.collect::<HashSet<_>>().len();
    let asked = channels.iter().filter(|channel| channel.discover).count();
    let asked = match asked {
        0 => String::new(),
        1 => "; 1 channel is asked for its models when serving".to_owned(),
        more => format!("; {more} channels are asked for their models when serving"),
    };
    format!(
        "{}, {}, {}{asked}",
        count(channels.len(), "channel"),
        count(models, "model"),
        count(settings.callers.len(), "client key")
    )
}

fn render(name: &str, mut problems: Vec<Problem>, summary: &str, strict: bool) -> (String, i32) {
    if strict {
        for problem in problems.iter_mut().filter(|problem| problem.severity == Severity::Warning) {
            problem.severity = Severity::Error;
        }
    }
    // What weighs most comes last, next to the sum: that is what is on the screen in the end.
    problems.sort_by_key(|problem| problem.severity);
    let mut text = String::new();
    for problem in &problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings, notes) = (of(Severity::Error), of(Severity::Warning), of(Severity::Note));
    let others = [(warnings, "warning"), (notes, "note")];
    let mut others: Vec<String> = others
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect();
    let summary = if summary.is_empty() { String::new() } else { format!(" ({summary})") };
    let _ = match errors {
        0 if others.is_empty() => writeln!(text, "{name}: ok{summary}"),
        0 => writeln!(text, "{name}: ok with {}{summary}", others.join(" and ")),
        errors => {
            others.insert(0, count(errors, "error"));
            writeln!(text, "{name}: {}", others.join(", "))
        }
    };
    (text, i32::from(errors > 0))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::config::source::Fetched;

    struct Fixed(Result<&'static str, &'static str>);

    #[async_trait]
    impl Fetch for Fixed {
        async fn fetch(&self, _: &str, _: Option<&str>) -> Result<Fetched, String> {
            let text = self.0.map(str::to_owned).map_err(str::to_owned)?;
            Ok(Fetched::Text { text, tag: None })
        }
    }

    const GOOD: &str = "providers: [{provider: a, base_url: https://a/v1/chat/completions, api: k, model: [m]}]\napi_keys: [{api: sk-1}]\n";

    async fn checked(text: &str, strict: bool) -> (String, i32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.yaml");
        std::fs::write(&path, text).unwrap();
        let what = Check { config: Some(&path), strict, fragment: false };
        check(what, &Environment::default(), folder.path(), &Fixed(Err("unused"))).await
    }

    #[tokio::test]
    async fn a_good_configuration_exits_with_zero() {
        let (text, code) = checked(GOOD, true).await;

        assert_eq!(code, 0, "{text}");
        assert!(text.ends_with("ok (1 channel, 1 model, 1 client key)\n"), "{text}");
    }

    #[tokio::test]
    async fn a_warning_fails_only_when_strict() {
        let odd = format!("{GOOD}colour: red\n");

        assert_eq!(checked(&odd, false).await.1, 0);
        assert_eq!(checked(&odd, true).await.1, 1);
    }

    #[tokio::test]
    async fn an_error_names_path_and_line() {
        let (text, code) = checked("providers: []\napi_keys:\n  - role: x\n", false).await;

        assert_eq!(code, 1);
        assert!(text.contains("error: api_keys[0] (line 3, column 5)"), "{text}");
    }

    #[tokio::test]
    async fn it_counts_as_the_server_does() {
        let text = "providers:
  - {provider: a, base_url: 'https://a/v1', api: k, model: [m, n]}
  - {provider: off, base_url: 'https://a/v1', api: k, enabled: false}
  - {provider: b, base_url: 'https://b/v1', api: k, model: [m]}
  - {provider: asked, base_url: 'https://b/v1', api: k}
api_keys: [{api: sk-1}]
";
        let (told, code) = checked(text, true).await;

        assert_eq!(code, 0, "{told}");
        assert!(
            told.ends_with(
                "ok (3 channels, 2 models, 1 client key; 1 channel is asked for its models when serving)\n"
            ),
            "{told}"
        );
    }

    #[tokio::test]
    async fn it_lists_where_each_model_is_asked() {
        let vertex =
            "{provider: v, project_id: p, private_key: k, client_email: e, model: [claude-opus-4@20250514]}";
        let (text, _) =
            checked(&GOOD.replace("providers: [", &format!("providers: [{vertex}, ")), false).await;

        let claude = "v  vertex-claude  claude-opus-4@20250514  https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-4@20250514:rawPredict and 2 places more";
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "CHANNEL ENGINE MODEL ASKED AT");
        assert_eq!(lines[1], claude.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(lines[2], "a gpt m https://a/v1/chat/completions");
    }

    #[tokio::test]
    async fn a_note_fails_nothing_and_is_counted() {
        let noted = GOOD
            .replace("sk-1}", "sk-1, model: [all, a/*: 2], preferences: {SCHEDULING_ALGORITHM: lottery}}");

        let (text, code) = checked(&noted, true).await;

        assert_eq!(code, 0, "{text}");
        assert!(text.contains("note: api_keys[0].model") && text.contains("ok with 1 note ("), "{text}");
    }

    #[tokio::test]
    async fn a_fragment_may_lack_what_only_a_whole_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.yaml");
        let fragment = async |text: &str| {
            std::fs::write(&path, text).unwrap();
            let what = Check { config: Some(&path), strict: false, fragment: true };
            check(what, &Environment::default(), folder.path(), &Fixed(Err("unused"))).await
        };
        let provider = "providers: [{provider: a, base_url: 'https://a/v1', api: k}]\n";

        assert_eq!(fragment(provider).await.1, 0);
        assert_eq!(fragment("api_keys: [{api: sk-1, model: [elsewhere/*]}]\n").await.1, 0);
        assert_eq!(fragment("preferences: {rate_limit: 1/min}\n").await.1, 0);
        assert_eq!(fragment("preferences: {rate_limit: 1/eon}\n").await.1, 1);
    }

    #[tokio::test]
    async fn the_list_ends_with_how_many_there_are() {
        let (text, _) = checked("providers: [{provider: a}, {x: 1}]\napi_keys: [{role: x}]\n", false).await;

        assert!(text.ends_with("api.yaml: 3 errors, 1 warning\n"), "{text}");
    }

    #[tokio::test]
    async fn no_source_exits_with_two() {
        let folder = tempfile::tempdir().unwrap();
        let no_file = check(Check::default(), &Environment::default(), folder.path(), &Fixed(Err("x"))).await;
        let env = Environment::from_vars([("CONFIG_URL".to_owned(), "https://h/a".to_owned())]).unwrap();
        let no_url = check(Check::default(), &env, folder.path(), &Fixed(Err("answered 404"))).await;
        let url = check(Check::default(), &env, folder.path(), &Fixed(Ok(GOOD))).await;

        assert_eq!((no_file.1, no_url.1, url.1), (2, 2, 0));
        assert!(no_url.0.contains("answered 404"));
    }
}
