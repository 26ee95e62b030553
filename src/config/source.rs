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
use super::file;
use super::load::Origin;
use super::settings::SecretText;

pub use super::file::{Unusable, decoded};

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
    /// A text of the program's own: the demo's.
    BuiltIn(String),
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
    /// Nothing names one, and a file stands there whose name is nearly right.
    #[error(
        "no configuration: {0} is there, but the file has to be called api.yaml (or name it with --config)"
    )]
    Misnamed(PathBuf),
    /// The file is there or named, and cannot be used.
    #[error("{} {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: Unusable,
    },
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
            Self::BuiltIn(text) => f.debug_tuple("BuiltIn").field(&text.len()).finish(),
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
        if file::is_claimed(&local) {
            return Ok(Self::File(local));
        }
        if let Some(url) = &env.config_url {
            return Self::from_url(url, folder);
        }
        Err(match (file::text(&local), file::misnamed(&local)) {
            (Err(Unusable::Absent), Some(other)) => SourceError::Misnamed(other),
            (Err(Unusable::Absent) | Ok(_), _) => SourceError::Missing,
            (Err(reason), _) => SourceError::File { path: local, reason },
        })
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
            Self::Inline(_) | Self::BuiltIn(_) | Self::Url(_) => None,
        }
    }

    /// What logs call it, without credentials.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Inline(_) => "API_YAML_CONTENT".to_owned(),
            Self::BuiltIn(_) => "the demo's own".to_owned(),
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
            Self::Inline(text) | Self::BuiltIn(text) => (text.clone(), Origin::Inline, None),
            Self::File(path) => (file::read(path).await?, Origin::File(path.clone()), None),
            Self::Url(url) => match fetch.fetch(url, known).await {
                Err(reason) => return Err(self.unreachable(reason)),
                Ok(Fetched::Unchanged) => return Ok(None),
                Ok(Fetched::Text { text, .. }) if text.trim().is_empty() => {
                    return Err(self.unreachable("an empty answer".to_owned()));
                }
                Ok(Fetched::Text { text, .. }) if is_page(&text) => {
                    let reason = "this is a web page; use the raw address of the file";
                    return Err(self.unreachable(reason.to_owned()));
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
            let Some(pause) = pauses.next() else { return Err(error) };
            tracing::warn!(%error, again_in = ?pause, "The configuration cannot be fetched; it is tried again.");
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether a text is a page for people: no configuration begins like one.
pub(super) fn is_page(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('<')
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
        file::text(&self.path).ok()
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
        let file = |reason| SourceError::File { path: local.clone(), reason };
        std::fs::write(&local, "").unwrap();
        assert_eq!(find(), file(Unusable::Empty));
        std::fs::remove_file(&local).unwrap();
        std::fs::create_dir(&local).unwrap();
        assert_eq!(find(), file(Unusable::Directory));
        std::fs::remove_dir(&local).unwrap();
        std::os::unix::fs::symlink("nowhere", &local).unwrap();
        assert_eq!(find(), file(Unusable::Dangling));
    }

    #[test]
    fn a_file_with_the_other_ending_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api.yml"), "a: 1").unwrap();

        let error = Source::find(None, &env(&[]), folder.path()).unwrap_err();

        assert_eq!(error, SourceError::Misnamed(folder.path().join("api.yml")));
    }

    #[test]
    fn what_stands_in_the_file_s_place_and_cannot_be_read_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("api.yaml");
        let url = env(&[("CONFIG_URL", "https://host/api.yaml")]);
        file::tests::pipe(&local);

        let found = Source::find(None, &url, folder.path());

        assert_eq!(found, Ok(Source::File(local)), "reading it says what it is, without waiting for it");
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
        assert!(read(&folder.path().join("absent.yaml")).await.contains("absent.yaml is not there"));
        let pipe = folder.path().join("pipe");
        file::tests::pipe(&pipe);
        assert!(read(&pipe).await.contains("is a pipe, not a file"));
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

    #[tokio::test]
    async fn a_web_page_in_the_configuration_s_place_is_told_as_one() {
        let page = "\n<!DOCTYPE html><html>a: 1</html>";
        let upstream = Upstream { failures: 0, asked: AtomicUsize::new(0), text: page };

        let error = Source::Url("https://host/blob/api.yaml".into()).read(&upstream).await.unwrap_err();

        assert!(error.to_string().contains("this is a web page; use the raw address"), "{error}");
    }
}
