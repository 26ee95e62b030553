//! Fills `${NAME}`, `${NAME:-default}` and `${file:PATH}` into the string values of a tree.
//!
//! Runs after parsing, so that a value can never break out of its place in the document. A text
//! from a URL gets only what the operator allowed by name: whoever writes that text must not be
//! able to read this machine's environment by sending it to an upstream of theirs. `$${` stands
//! for `${` itself.

use std::io::Read as _;
use std::path::{Path as FilePath, PathBuf};

use super::environment::Environment;
use super::load::Origin;
use super::problem::{Path, Problem, Report, Severity};
use super::tree::{Node, Value};

/// A secret file larger than this is something else.
const MAX_FILE: u64 = 64 << 10;

/// Expands every string value below `node`.
pub(super) fn expand(
    node: &mut Node,
    path: Path<'_>,
    origin: &Origin,
    env: &Environment,
    report: &mut Report,
) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => match expanded(text, origin, env) {
            Ok(full) => *text = full,
            Err(fault) => report.add(
                Some(node.id),
                Problem::new(Severity::Error, path.to_string(), fault.found, &fault.accepted),
            ),
        },
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand(item, path.index(index), origin, env, report);
            }
        }
        Value::Map(pairs) => {
            for pair in pairs {
                expand(&mut pair.value, path.key(&pair.key), origin, env, report);
            }
        }
        _ => {}
    }
}

struct Fault {
    found: String,
    accepted: String,
}

impl Fault {
    fn new(found: String, accepted: impl Into<String>) -> Self {
        Self { found, accepted: accepted.into() }
    }
}

fn expanded(text: &str, origin: &Origin, env: &Environment) -> Result<String, Fault> {
    let mut full = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            full.push_str(before);
            full.push_str("${");
            rest = &reference[2..];
            continue;
        }
        full.push_str(before);
        let Some(end) = reference.find('}') else {
            full.push_str(reference);
            return Ok(full);
        };
        match resolve(&reference[2..end], origin, env)? {
            Some(value) => full.push_str(&value),
            // No name: some template language of an upstream, kept as it is.
            None => full.push_str(&reference[..=end]),
        }
        rest = &reference[end + 1..];
    }
    full.push_str(rest);
    Ok(full)
}

fn resolve(reference: &str, origin: &Origin, env: &Environment) -> Result<Option<String>, Fault> {
    if let Some(path) = reference.strip_prefix("file:") {
        return file(path.trim(), origin, env).map(Some);
    }
    let (name, default) =
        reference.split_once(":-").map_or((reference, None), |(name, default)| (name, Some(default)));
    if !is_name(name) {
        return Ok(None);
    }
    let allowed =
        !matches!(origin, Origin::Url) || env.config_env_allow.iter().any(|allowed| allowed == name);
    let value = env.var(name).filter(|value| allowed && !(value.is_empty() && default.is_some()));
    match (value, default) {
        (Some(value), _) => Ok(Some(value.to_owned())),
        (None, Some(default)) => Ok(Some(default.to_owned())),
        (None, None) if !allowed => Err(Fault::new(
            format!("${{{name}}} in a configuration from a URL"),
            "variables that CONFIG_ENV_ALLOW names, since the URL's text could send any other one elsewhere",
        )),
        (None, None) => Err(Fault::new(
            format!("${{{name}}}, which is not set"),
            format!("a variable that is set, or a default: ${{{name}:-…}}"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn file(path: &str, origin: &Origin, env: &Environment) -> Result<String, Fault> {
    let found = |what: &str| format!("${{file:{path}}}, {what}");
    let folder = match origin {
        Origin::Url => {
            return Err(Fault::new(
                found("in a configuration from a URL"),
                "files only in a local configuration",
            ));
        }
        Origin::File(config) => {
            Some(config.parent().map_or_else(|| PathBuf::from("."), FilePath::to_path_buf))
        }
        Origin::Inline => None,
    };
    let folder = folder.map(|folder| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder });
    let asked = folder.as_deref().unwrap_or(FilePath::new("/run/secrets")).join(path);
    let real = asked
        .canonicalize()
        .map_err(|error| Fault::new(found(&reason(&error)), "a file that can be read"))?;
    let roots = [
        Some(PathBuf::from("/run/secrets")),
        Some(PathBuf::from("/var/run/secrets")),
        folder,
        env.secrets_dir.clone(),
    ];
    let inside = roots
        .into_iter()
        .flatten()
        .filter_map(|root| root.canonicalize().ok())
        // Everything lies below the root folder; a configuration there opens nothing.
        .any(|root| root.parent().is_some() && real.starts_with(root));
    if !inside {
        let accepted =
            "a file below /run/secrets, /var/run/secrets, the configuration's folder or SECRETS_DIR";
        return Err(Fault::new(found("which lies elsewhere"), accepted));
    }
    // A pipe or device would block or never end.
    if !real.is_file() {
        return Err(Fault::new(found("which is no regular file"), "a file that can be read"));
    }
    let mut text = String::new();
    let read = std::fs::File::open(&real).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(size) if size as u64 > MAX_FILE => {
            Err(Fault::new(found("which is larger than 64 KiB"), "a file of a secret"))
        }
        Ok(_) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Fault::new(found(&reason(&error)), "a file of UTF-8 text that can be read")),
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "which does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "which may not be read".to_owned(),
        std::io::ErrorKind::InvalidData => "which is no UTF-8 text".to_owned(),
        kind => format!("which cannot be read ({kind})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Environment {
        Environment::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .unwrap()
    }

    fn full(text: &str, origin: &Origin, env: &Environment) -> Result<String, String> {
        expanded(text, origin, env).map_err(|fault| fault.found)
    }

    #[test]
    fn names_and_defaults_are_filled_in() {
        let env = env(&[("KEY", "sk-1"), ("EMPTY", "")]);
        let full = |text: &str| full(text, &Origin::Inline, &env).unwrap();

        assert_eq!(full("a ${KEY} b ${KEY}"), "a sk-1 b sk-1");
        assert_eq!(full("${NONE:-x:-y}"), "x:-y");
        assert_eq!(full("${EMPTY:-x}"), "x");
        assert_eq!(full("[${EMPTY}]"), "[]");
        assert_eq!(full("${NONE:-}"), "");
    }

    #[test]
    fn what_is_no_reference_stays() {
        let env = env(&[("KEY", "x")]);
        let full = |text: &str| full(text, &Origin::Inline, &env).unwrap();

        assert_eq!(full("cost $5 ${"), "cost $5 ${");
        assert_eq!(full("${a b} ${}"), "${a b} ${}");
        assert_eq!(full("$${KEY}"), "${KEY}");
        assert_eq!(full("ü${KEY}ü"), "üxü");
    }

    #[test]
    fn a_value_is_not_expanded_again() {
        let env = env(&[("A", "${B}"), ("B", "secret")]);

        assert_eq!(full("${A}", &Origin::Inline, &env).unwrap(), "${B}");
    }

    #[test]
    fn an_undefined_name_is_an_error() {
        assert!(full("${NONE}", &Origin::Inline, &env(&[])).unwrap_err().contains("NONE"));
    }

    #[test]
    fn a_text_from_a_url_sees_only_what_is_allowed() {
        let env = env(&[("SECRET", "x"), ("OPEN", "y"), ("CONFIG_ENV_ALLOW", "OTHER, OPEN")]);

        assert_eq!(full("${OPEN}", &Origin::Url, &env).unwrap(), "y");
        assert_eq!(full("${SECRET:-d}", &Origin::Url, &env).unwrap(), "d");
        assert!(full("${SECRET}", &Origin::Url, &env).is_err());
        assert!(full("${file:/run/secrets/x}", &Origin::Url, &env).is_err());
    }

    #[test]
    fn files_are_read_from_the_allowed_folders_only() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "sk-1\n").unwrap();
        std::fs::write(secrets.path().join("key"), "sk-2").unwrap();
        std::fs::write(elsewhere.path().join("key"), "sk-3").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join("key"), folder.path().join("link")).unwrap();
        let origin = Origin::File(folder.path().join("api.yaml"));
        let env = env(&[("SECRETS_DIR", secrets.path().to_str().unwrap())]);
        let read = |path: &str| full(&format!("${{file:{path}}}"), &origin, &env);

        assert_eq!(read("key").unwrap(), "sk-1");
        assert_eq!(read("./key").unwrap(), "sk-1");
        assert_eq!(read(secrets.path().join("key").to_str().unwrap()).unwrap(), "sk-2");
        assert!(read(elsewhere.path().join("key").to_str().unwrap()).unwrap_err().contains("elsewhere"));
        assert!(read("link").unwrap_err().contains("elsewhere"));
        assert!(read("../../etc/hostname").is_err());
        assert!(read("absent").unwrap_err().contains("not exist"));
        assert!(read(".").unwrap_err().contains("regular"));
    }

    #[test]
    fn a_huge_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("big"), vec![b'x'; 70_000]).unwrap();
        let origin = Origin::File(folder.path().join("api.yaml"));

        assert!(full("${file:big}", &origin, &env(&[])).unwrap_err().contains("64 KiB"));
    }
}
