//! `uni-api check`: says everything about a configuration without serving it.

use std::fmt::Write as _;
use std::path::Path;

use super::environment::Environment;
use super::load::load;
use super::problem::{Problem, Severity};
use super::source::{Fetch, Source};

/// The options of a check.
#[derive(Debug, Clone, Copy, Default)]
pub struct Check<'a> {
    /// `--config`.
    pub config: Option<&'a Path>,
    /// `--strict`: warnings count as errors.
    pub strict: bool,
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
    let mut summary = String::new();
    let problems = match load(&text.text, text.origin, env) {
        Ok(loaded) => {
            let models: usize = loaded.settings.channels.iter().map(|channel| channel.models.len()).sum();
            summary = format!(
                "{} channels, {models} models, {} client keys",
                loaded.settings.channels.len(),
                loaded.settings.callers.len()
            );
            loaded.warnings
        }
        Err(problems) => problems,
    };
    let problems = [env.warnings.clone(), problems].concat();
    render(&source.describe(), problems, &summary, what.strict)
}

fn render(name: &str, mut problems: Vec<Problem>, summary: &str, strict: bool) -> (String, i32) {
    if strict {
        for problem in &mut problems {
            problem.severity = Severity::Error;
        }
    }
    let mut text = String::new();
    for problem in &problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let _ = match (errors, warnings) {
        (0, 0) => writeln!(text, "{name}: ok ({summary})"),
        (0, _) => writeln!(text, "{name}: ok with {warnings} warnings ({summary})"),
        _ => writeln!(text, "{name}: {errors} errors, {warnings} warnings"),
    };
    (text, i32::from(errors > 0))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::source::Fetched;
    use super::*;

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
        let what = Check { config: Some(&path), strict };
        check(what, &Environment::default(), folder.path(), &Fixed(Err("unused"))).await
    }

    #[tokio::test]
    async fn a_good_configuration_exits_with_zero() {
        let (text, code) = checked(GOOD, true).await;

        assert_eq!(code, 0, "{text}");
        assert!(text.ends_with("ok (1 channels, 1 models, 1 client keys)\n"), "{text}");
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
