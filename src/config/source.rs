//! Finds the configuration text and says where it came from.
//!
//! First that exists: `--config`, `API_YAML_CONTENT`, a filled `./api.yaml`, `CONFIG_URL`. A file
//! is read again on every change, a URL is polled; a URL that cannot be reached at the start is
//! replaced by the last text that could be served, kept beside the database. Fetching is left to
//! the caller, so that nothing here needs an HTTP client.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::environment::{Database, Environment};
use super::load::Origin;
use super::settings::SecretText;

/// A text longer than this is no configuration.
const MAX_TEXT: u64 = 16 << 20;
/// Pauses between attempts to reach a URL at the start.
const RETRIES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// The place that the configuration comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A local file.
    File(PathBuf),
    /// `API_YAML_CONTENT`.
    Inline(String),
    /// `http(s)://`.
    Url(String),
}

/// A configuration text with its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
    /// What the server calls this version of it: its `ETag`.
    pub tag: Option<String>,
    /// Set when the source could not be reached and the last good copy stands in: why.
    pub stale: Option<String>,
}

/// The reason why there is no configuration; each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing names one.
    #[error(
        "no configuration: put an api.yaml into the working directory, or name one with --config, CONFIG_URL or \
         API_YAML_CONTENT (`uni-api demo` starts without any)"
    )]
    Missing,
    /// A folder stands where the file should be: a container mount of a file that does not exist.
    #[error(
        "{0} is a directory, not a file: create the file before it is mounted (a missing one is mounted as a directory)"
    )]
    Directory(PathBuf),
    /// The named file is not there or cannot be read.
    #[error("{path} cannot be read ({reason}): check the path and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file holds nothing.
    #[error("{0} is empty: copy api.yaml.example into it and fill in a provider and a key")]
    Empty(PathBuf),
    /// The URL gave nothing.
    #[error("{url} gave no configuration ({reason}): check CONFIG_URL, or mount an api.yaml")]
    Unreachable {
        /// The URL without credentials and query.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// `CONFIG_URL` is neither a path nor a URL that is understood.
    #[error("CONFIG_URL {0:?} is not understood: use a path, file://, http:// or https://")]
    Scheme(String),
}

/// A fetcher of a configuration; implemented where an HTTP client is.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The body of a 2xx answer, at most 16 MiB of text, redirects followed. `known` is the tag of
    /// the version that is there already. The error is a clause without secrets, such as
    /// `answered 404`.
    async fn fetch(&self, url: &str, known: Option<&str>) -> Result<Fetched, String>;
}

/// A server's answer about a document.
#[derive(Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It is the version that is known already: 304.
    Unchanged,
    /// It is this.
    Text {
        /// The whole text.
        text: String,
        /// Its `ETag`, where it has one.
        tag: Option<String>,
    },
}

/// The last text from a URL that could be served, in a file that only its owner may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    path: PathBuf,
}

// === impl Source ===

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(text) => f.debug_tuple("Inline").field(&text.len()).finish(),
            Self::Url(url) => f.debug_tuple("Url").field(&bare(url)).finish(),
        }
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text")
            .field("length", &self.text.len())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Chooses the source; `folder` is the working directory.
    pub fn find(flag: Option<&Path>, env: &Environment, folder: &Path) -> Result<Self, SourceError> {
        if let Some(path) = flag {
            return Ok(Self::File(path.to_owned()));
        }
        if let Some(text) = &env.config_text {
            return Ok(Self::Inline(text.clone()));
        }
        let local = folder.join("api.yaml");
        if is_filled(&local) {
            return Ok(Self::File(local));
        }
        match &env.config_url {
            Some(url) => Self::from_url(url, folder),
            None if local.is_dir() => Err(SourceError::Directory(local)),
            None if local.exists() => Err(SourceError::Empty(local)),
            None => Err(SourceError::Missing),
        }
    }

    fn from_url(url: &str, folder: &Path) -> Result<Self, SourceError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Ok(Self::File(folder.join(url)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => Ok(Self::Url(url.to_owned())),
            // file:///path and file://localhost/path are the same.
            "file" => Ok(Self::File(rest.strip_prefix("localhost").unwrap_or(rest).into())),
            _ => Err(SourceError::Scheme(bare(url))),
        }
    }

    /// Whether changes can be watched for in the file system, and where.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) | Self::Url(_) => None,
        }
    }

    /// What logs call it, without credentials.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => "API_YAML_CONTENT".to_owned(),
            Self::Url(url) => bare(url),
        }
    }

    /// Reads the text once.
    pub async fn read(&self, fetch: &dyn Fetch) -> Result<Text, SourceError> {
        match self.read_unless(None, fetch).await? {
            Some(text) => Ok(text),
            None => Err(self.unreachable("answered 304 without being asked for changes".to_owned())),
        }
    }

    /// Reads the text unless it is the version that `known` is the tag of.
    pub async fn read_unless(
        &self,
        known: Option<&str>,
        fetch: &dyn Fetch,
    ) -> Result<Option<Text>, SourceError> {
        let (text, origin, tag) = match self {
            Self::Inline(text) => (text.clone(), Origin::Inline, None),
            Self::File(path) => (read_file(path).await?, Origin::File(path.clone()), None),
            Self::Url(url) => match fetch.fetch(url, known).await {
                Err(reason) => return Err(self.unreachable(reason)),
                Ok(Fetched::Unchanged) => return Ok(None),
                Ok(Fetched::Text { text, .. }) if text.trim().is_empty() => {
                    return Err(self.unreachable("an empty answer".to_owned()));
                }
                Ok(Fetched::Text { text, tag }) => (text, Origin::Url, tag),
            },
        };
        Ok(Some(Text { text, origin, tag, stale: None }))
    }

    fn unreachable(&self, reason: String) -> SourceError {
        SourceError::Unreachable { url: self.describe(), reason }
    }

    /// Reads the text at the start: a URL that cannot be reached is replaced by the last good copy,
    /// or tried again for half a minute.
    pub async fn read_first(&self, fetch: &dyn Fetch, copy: &LastGood) -> Result<Text, SourceError> {
        let mut pauses = RETRIES.into_iter();
        loop {
            let error = match self.read(fetch).await {
                Err(error @ SourceError::Unreachable { .. }) => error,
                other => return other,
            };
            if let Some(text) = copy.read() {
                return Ok(Text { text, origin: Origin::Url, tag: None, stale: Some(error.to_string()) });
            }
            match pauses.next() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }
}

/// A file whose text holds more than blanks.
fn is_filled(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(bytes) => bytes.iter().any(|b| !b.is_ascii_whitespace()),
        // There, but not to be read: that is worth an error rather than another source.
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

async fn read_file(path: &Path) -> Result<String, SourceError> {
    let unreadable = |reason: String| SourceError::Unreadable { path: path.to_owned(), reason };
    let facts = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.kind().to_string()))?;
    if facts.is_dir() {
        return Err(SourceError::Directory(path.to_owned()));
    }
    if facts.len() > MAX_TEXT {
        return Err(unreadable("larger than 16 MiB".to_owned()));
    }
    let bytes = tokio::fs::read(path).await.map_err(|error| unreadable(error.kind().to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("no UTF-8 text".to_owned()))?;
    if text.trim().is_empty() {
        return Err(SourceError::Empty(path.to_owned()));
    }
    Ok(text)
}

/// A URL without credentials and query.
fn bare(url: &str) -> String {
    let without_query = url.split(['?', '#']).next().unwrap_or_default();
    match without_query.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => without_query.to_owned(),
    }
}

// === impl LastGood ===

impl LastGood {
    /// The copy of this URL's text, beside the database; another URL has another copy.
    pub fn beside(database: &Database, url: &str, folder: &Path) -> Self {
        let place = match database {
            Database::Sqlite(path) => {
                path.parent().map_or_else(|| folder.to_owned(), |parent| folder.join(parent))
            }
            Database::Off | Database::Postgres(_) => folder.join("data"),
        };
        let name = format!("last-good-{}.yaml", SecretText::from(url).fingerprint().as_str());
        Self { path: place.join(name) }
    }

    /// The text, if one was kept.
    pub fn read(&self) -> Option<String> {
        let facts = std::fs::metadata(&self.path).ok()?;
        if facts.len() > MAX_TEXT {
            return None;
        }
        std::fs::read_to_string(&self.path).ok().filter(|text| !text.trim().is_empty())
    }

    /// Keeps a text that could be served; whole or not at all.
    pub fn store(&self, text: &str) -> std::io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let draft = self.path.with_extension("tmp");
        // The mode is set when the file is made: a leftover draft could be wider.
        let _ = std::fs::remove_file(&draft);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers with an error this often, then with the text.
    struct Upstream {
        failures: usize,
        asked: AtomicUsize,
        text: &'static str,
    }

    #[async_trait]
    impl Fetch for Upstream {
        async fn fetch(&self, _: &str, _: Option<&str>) -> Result<Fetched, String> {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            if asked < self.failures {
                return Err("answered 503".to_owned());
            }
            Ok(Fetched::Text { text: self.text.to_owned(), tag: None })
        }
    }

    fn failing(failures: usize) -> Upstream {
        Upstream { failures, asked: AtomicUsize::new(0), text: "fresh" }
    }

    fn env(vars: &[(&str, &str)]) -> Environment {
        Environment::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .unwrap()
    }

    #[test]
    fn the_first_source_that_exists_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("api.yaml");
        let all = env(&[("API_YAML_CONTENT", "a: 1"), ("CONFIG_URL", "https://host/api.yaml")]);
        let url = env(&[("CONFIG_URL", "https://host/api.yaml")]);
        let find =
            |flag: Option<&str>, env: &Environment| Source::find(flag.map(Path::new), env, folder.path());

        assert_eq!(find(Some("x.yaml"), &all), Ok(Source::File("x.yaml".into())));
        assert_eq!(find(None, &all), Ok(Source::Inline("a: 1".into())));
        assert_eq!(find(None, &url), Ok(Source::Url("https://host/api.yaml".into())));
        std::fs::write(&local, " \n").unwrap();
        assert_eq!(find(None, &url), Ok(Source::Url("https://host/api.yaml".into())));
        std::fs::write(&local, "a: 1").unwrap();
        assert_eq!(find(None, &url), Ok(Source::File(local)));
    }

    #[test]
    fn a_missing_an_empty_and_a_mounted_directory_each_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("api.yaml");
        let find = || Source::find(None, &env(&[]), folder.path()).unwrap_err();

        assert_eq!(find(), SourceError::Missing);
        std::fs::write(&local, "").unwrap();
        assert_eq!(find(), SourceError::Empty(local.clone()));
        std::fs::remove_file(&local).unwrap();
        std::fs::create_dir(&local).unwrap();
        assert_eq!(find(), SourceError::Directory(local));
    }

    #[test]
    fn a_config_url_may_be_a_path() {
        let folder = tempfile::tempdir().unwrap();
        let find = |url: &str| Source::find(None, &env(&[("CONFIG_URL", url)]), folder.path());

        assert_eq!(find("/etc/api.yaml"), Ok(Source::File("/etc/api.yaml".into())));
        assert_eq!(find("conf/api.yaml"), Ok(Source::File(folder.path().join("conf/api.yaml"))));
        assert_eq!(find("file:///etc/api.yaml"), Ok(Source::File("/etc/api.yaml".into())));
        assert_eq!(find("s3://key@bucket/x?y"), Err(SourceError::Scheme("s3://bucket/x".into())));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_an_error_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let latin = folder.path().join("latin.yaml");
        std::fs::write(&latin, b"a: \xe4").unwrap();
        let read = async |path: &Path| {
            Source::File(path.to_owned()).read(&failing(0)).await.unwrap_err().to_string()
        };

        assert!(read(&latin).await.contains("UTF-8"));
        assert!(read(folder.path()).await.contains("directory"));
        assert!(read(&folder.path().join("absent.yaml")).await.contains("cannot be read"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_that_fails_at_the_start_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let copy = LastGood::beside(&Database::Off, "https://host/a", folder.path());
        let source = Source::Url("https://user:pass@host/a?token=t".into());

        assert_eq!(source.read_first(&failing(3), &copy).await.unwrap().text, "fresh");
        let error = source.read_first(&failing(99), &copy).await.unwrap_err().to_string();
        assert!(error.contains("https://host/a gave no configuration (answered 503)"), "{error}");
    }

    #[tokio::test]
    async fn the_last_good_copy_stands_in_for_an_unreachable_url() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Url("https://host/a".into());
        let copy =
            LastGood::beside(&Database::Sqlite("data/stats.db".into()), "https://host/a", folder.path());
        let other =
            LastGood::beside(&Database::Sqlite("data/stats.db".into()), "https://host/b", folder.path());

        copy.store("old").unwrap();
        copy.store("kept").unwrap();
        let text = source.read_first(&failing(99), &copy).await.unwrap();

        assert_eq!((text.text.as_str(), text.stale.is_some()), ("kept", true));
        assert_eq!(other.read(), None);
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy.path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert!(copy.path.starts_with(folder.path().join("data")));
    }

    #[tokio::test]
    async fn an_empty_answer_is_no_configuration() {
        let upstream = Upstream { failures: 0, asked: AtomicUsize::new(0), text: " " };

        assert!(Source::Url("https://host/a".into()).read(&upstream).await.is_err());
    }
}
