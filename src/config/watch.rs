//! Notices that the configuration changed and hands on the new text.
//!
//! File events are a hint only: the parent folder is watched, so that renames over the file and the
//! `..data` links of Kubernetes volumes are seen, and a poll compares the content in any case, for
//! file systems that send no events. A text is handed on when it has been the same for a moment,
//! since editors write in steps; a source that cannot be used is told when it has stayed so. Who
//! asks for a reload gets the text anew, changed or not: files and variables that it names may have
//! changed.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::file;
use super::source::{Fetch, Source, SourceError, Text};

/// How often the file's content is compared when no event came.
pub const POLL: Duration = Duration::from_secs(2);
/// How long a text must stay the same before it is handed on.
const SETTLE: Duration = Duration::from_millis(200);
/// A file that never comes to rest is handed on after this.
const SETTLE_AT_MOST: Duration = Duration::from_secs(5);
/// How long a file may be gone or empty before that is told: programs replace files in steps.
const GRACE: Duration = Duration::from_secs(5);
/// The same for what else may be wrong with it, such as a character of which the half is written.
const SHORT_GRACE: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

/// A change of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has a new text.
    Text(String),
    /// It has none, or none that can be read. The next text that can be is told, whichever it is.
    Unusable(SourceError),
}

/// Sends each change of `source` until `stop` ends or nobody listens.
///
/// `known` is the text that is being served; only others are sent, each once. A file that is gone
/// or empty for a moment sends nothing. A URL is asked each `poll`, for what differs from the
/// version that is known. What came with the process never changes. `reload` sends the text at once,
/// also one that is known, and tells at once that there is none.
pub async fn watch(
    source: Source,
    known: &Text,
    poll: Duration,
    reload: &Notify,
    fetch: Arc<dyn Fetch>,
    changes: mpsc::Sender<Change>,
    stop: impl Future<Output = ()>,
) {
    // A copy that stands in for its source is no text of the source's: the first one of its own is told.
    let last = known.stale.is_none().then(|| hash(&known.text));
    let mut watch = Watch { last, trouble: None, changes: changes.clone() };
    let work = async {
        // The error says that nobody listens any more.
        let _ended = match &source {
            Source::Inline(text) | Source::BuiltIn(text) => watch.repeat(text, reload).await,
            Source::File(path) => watch.follow_file(path, reload).await,
            Source::Url(_) => watch.follow_url(&source, known.tag.clone(), poll, reload, &*fetch).await,
        };
    };
    tokio::select! {
        () = work => {}
        () = stop => {}
        () = changes.closed() => {}
    }
}

/// A watch over one source.
struct Watch {
    /// The text that was handed on last; none while the source is in trouble, or a copy stands in.
    last: Option<Hash>,
    trouble: Option<Trouble>,
    changes: mpsc::Sender<Change>,
}

/// An error of the source.
struct Trouble {
    error: SourceError,
    since: Instant,
    told: bool,
}

type Ended = Result<Infallible, mpsc::error::SendError<Change>>;

impl Watch {
    /// Hands on the same text whenever it is asked for.
    async fn repeat(&mut self, text: &str, reload: &Notify) -> Ended {
        loop {
            reload.notified().await;
            self.changes.send(Change::Text(text.to_owned())).await?;
        }
    }

    /// Whatever comes next is told.
    fn forget(&mut self) {
        (self.last, self.trouble) = (None, None);
    }

    async fn follow_url(
        &mut self,
        source: &Source,
        mut tag: Option<String>,
        poll: Duration,
        reload: &Notify,
        fetch: &dyn Fetch,
    ) -> Ended {
        loop {
            if timeout(poll, reload.notified()).await.is_ok() {
                self.forget();
                tag = None;
            }
            match source.read_unless(tag.as_deref(), fetch).await {
                Ok(Some(text)) => {
                    tag = text.tag;
                    self.hand_on(text.text).await?;
                }
                Ok(None) => {}
                Err(error) => {
                    // Asked for whole, so that it is told that there is one again.
                    tag = None;
                    self.note(error, Duration::ZERO).await?;
                }
            }
        }
    }

    async fn follow_file(&mut self, path: &Path, reload: &Notify) -> Ended {
        let touched = Arc::new(Notify::new());
        let mut events = listen(path, &touched);
        loop {
            let is_open = self.trouble.as_ref().is_some_and(|trouble| !trouble.told);
            let pause = if is_open { SETTLE } else { POLL };
            let asked = tokio::select! {
                biased;
                () = reload.notified() => true,
                () = touched.notified() => {
                    // Other files of a busy folder must not make this read without end.
                    sleep(SETTLE / 2).await;
                    false
                }
                () = sleep(pause) => false,
            };
            if asked {
                self.forget();
            }
            if events.is_none() {
                // The folder may have come back, or watches may have become free.
                events = listen(path, &touched);
            }
            let read = match file::read(path).await {
                Ok(text) if self.last == Some(hash(&text)) => {
                    self.trouble = None;
                    continue;
                }
                Ok(text) => settled(path, text).await,
                Err(error) => Err(error),
            };
            match read {
                Ok(text) => self.hand_on(text).await?,
                Err(error) => {
                    let passing = matches!(&error, SourceError::File { reason, .. } if reason.may_pass());
                    let grace = match passing {
                        _ if asked => Duration::ZERO,
                        true => GRACE,
                        false => SHORT_GRACE,
                    };
                    self.note(error, grace).await?;
                }
            }
        }
    }

    /// Sends a text that is another one, or the first behind a trouble that was told.
    async fn hand_on(&mut self, text: String) -> Result<(), mpsc::error::SendError<Change>> {
        self.trouble = None;
        let now = Some(hash(&text));
        if now == self.last {
            return Ok(());
        }
        self.last = now;
        self.changes.send(Change::Text(text)).await
    }

    /// Notes an error and tells it, once, when it has lasted for `grace`.
    async fn note(
        &mut self,
        error: SourceError,
        grace: Duration,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        let now = Instant::now();
        let trouble = match &mut self.trouble {
            Some(trouble) if trouble.error == error => trouble,
            // Now gone, now empty: it is the same trouble until it is told.
            other => {
                let since =
                    other.as_ref().filter(|trouble| !trouble.told).map_or(now, |trouble| trouble.since);
                other.insert(Trouble { error, since, told: false })
            }
        };
        if trouble.told || now.duration_since(trouble.since) < grace {
            return Ok(());
        }
        trouble.told = true;
        self.last = None;
        self.changes.send(Change::Unusable(trouble.error.clone())).await
    }
}

/// Reads until the content stays the same.
async fn settled(path: &Path, mut text: String) -> Result<String, SourceError> {
    let deadline = Instant::now() + SETTLE_AT_MOST;
    loop {
        sleep(SETTLE).await;
        let again = file::read(path).await?;
        if again == text || Instant::now() >= deadline {
            return Ok(again);
        }
        text = again;
    }
}

/// Watches the folder of the file, and that of its target when it is a link.
fn listen(path: &Path, touched: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let sink = touched.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an access event itself: answering those would never end.
        if event.map_or(true, |event| !event.kind.is_access()) {
            sink.notify_one();
        }
    })
    .ok()?;
    let folder = parent(path);
    watcher.watch(&folder, RecursiveMode::NonRecursive).ok()?;
    if let Ok(target) = path.canonicalize() {
        let target = parent(&target);
        if folder.canonicalize().ok().as_deref() != Some(&target) {
            let _ = watcher.watch(&target, RecursiveMode::NonRecursive);
        }
    }
    Some(watcher)
}

fn parent(path: &Path) -> PathBuf {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .map_or_else(|| ".".into(), Path::to_path_buf)
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use async_trait::async_trait;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::load::Origin;
    use super::super::source::Fetched;
    use super::*;

    const POLL_URL: Duration = Duration::from_secs(30);

    struct NoNetwork;

    #[async_trait]
    impl Fetch for NoNetwork {
        async fn fetch(&self, _: &str, _: Option<&str>) -> Result<Fetched, String> {
            Err("no network".to_owned())
        }
    }

    struct Watched {
        folder: tempfile::TempDir,
        changes: mpsc::Receiver<Change>,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    }

    async fn watched(prepare: impl FnOnce(&Path) -> PathBuf, known: &str) -> Watched {
        let folder = tempfile::tempdir().unwrap();
        let path = prepare(folder.path());
        let (sender, changes) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel::<()>();
        let known = known.to_owned();
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            let origin = Origin::File(path.clone());
            let known = Text { text: known, origin, tag: None, stale: None };
            let reload = Notify::new();
            watch(Source::File(path), &known, POLL_URL, &reload, Arc::new(NoNetwork), sender, stopped).await;
        });
        // Lets the watch begin before the test writes.
        sleep(Duration::from_millis(50)).await;
        Watched { folder, changes, stop, task }
    }

    async fn plain() -> Watched {
        watched(
            |folder| {
                let path = folder.join("api.yaml");
                std::fs::write(&path, "one").unwrap();
                path
            },
            "one",
        )
        .await
    }

    impl Watched {
        fn path(&self) -> PathBuf {
            self.folder.path().join("api.yaml")
        }

        async fn next(&mut self) -> Option<String> {
            match self.change().await {
                Some(Change::Text(text)) => Some(text),
                _ => None,
            }
        }

        async fn change(&mut self) -> Option<Change> {
            timeout(Duration::from_secs(8), self.changes.recv()).await.ok().flatten()
        }

        /// The error that is told next.
        async fn trouble(&mut self) -> String {
            match self.change().await {
                Some(Change::Unusable(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        }

        async fn quiet(&mut self) -> bool {
            timeout(Duration::from_millis(2600), self.changes.recv()).await.is_err()
        }
    }

    #[tokio::test]
    async fn writing_in_place_is_noticed_once() {
        let mut watched = plain().await;

        std::fs::write(watched.path(), "two").unwrap();

        assert_eq!(watched.next().await.as_deref(), Some("two"));
        assert!(watched.quiet().await);
    }

    #[tokio::test]
    async fn a_rename_over_the_file_is_noticed_again_and_again() {
        let mut watched = plain().await;

        for text in ["two", "three"] {
            let draft = watched.folder.path().join("draft");
            std::fs::write(&draft, text).unwrap();
            std::fs::rename(&draft, watched.path()).unwrap();
            assert_eq!(watched.next().await.as_deref(), Some(text));
        }
    }

    #[tokio::test]
    async fn a_swapped_data_link_is_noticed() {
        let swap = |folder: &Path, version: &str| {
            std::fs::create_dir(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("api.yaml"), version).unwrap();
            symlink(version, folder.join("..data_tmp")).unwrap();
            std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
        };
        let mut watched = watched(
            |folder| {
                swap(folder, "v1");
                symlink("..data/api.yaml", folder.join("api.yaml")).unwrap();
                folder.join("api.yaml")
            },
            "v1",
        )
        .await;

        swap(watched.folder.path(), "v2");
        std::fs::remove_dir_all(watched.folder.path().join("v1")).unwrap();

        assert_eq!(watched.next().await.as_deref(), Some("v2"));
    }

    #[tokio::test]
    async fn a_text_written_in_steps_arrives_whole() {
        let mut watched = plain().await;

        let mut text = String::new();
        for step in 0..6 {
            text.push_str(&format!("line {step}\n"));
            std::fs::write(watched.path(), &text).unwrap();
            sleep(Duration::from_millis(60)).await;
        }

        assert_eq!(watched.next().await, Some(text));
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_empty_for_a_moment_sends_nothing() {
        let mut watched = plain().await;

        std::fs::write(watched.path(), "").unwrap();
        sleep(Duration::from_millis(300)).await;
        std::fs::remove_file(watched.path()).unwrap();

        assert!(watched.quiet().await);
        std::fs::write(watched.path(), "back").unwrap();
        assert_eq!(watched.next().await.as_deref(), Some("back"));
    }

    #[tokio::test]
    async fn a_file_that_stays_empty_is_told_once_and_any_text_after_it() {
        let mut watched = plain().await;

        std::fs::write(watched.path(), "").unwrap();

        assert!(watched.trouble().await.contains("is empty"));
        assert!(watched.quiet().await);
        std::fs::write(watched.path(), "one").unwrap();
        assert_eq!(watched.next().await.as_deref(), Some("one"), "though it is the text that is served");
    }

    #[tokio::test]
    async fn whatever_stands_in_the_file_s_place_is_told_and_a_good_file_is_taken_afterwards() {
        let mut watched = plain().await;
        let path = watched.path();

        std::fs::remove_file(&path).unwrap();
        file::tests::pipe(&path);
        assert!(watched.trouble().await.contains("is a pipe"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"a: \xe4").unwrap();
        assert!(watched.trouble().await.contains("save it as UTF-8"));
        std::fs::File::create(&path).unwrap().set_len(6 << 30).unwrap();
        assert!(watched.trouble().await.contains("larger than 16 MiB"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(watched.trouble().await.contains("is a directory"));

        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "two").unwrap();
        assert_eq!(watched.next().await.as_deref(), Some("two"));
    }

    #[tokio::test]
    async fn the_watch_ends_when_it_is_told_to() {
        let watched = plain().await;

        watched.stop.send(()).unwrap();

        timeout(Duration::from_secs(1), watched.task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_watch_ends_when_nobody_listens() {
        let watched = plain().await;

        drop(watched.changes);

        timeout(Duration::from_secs(1), watched.task).await.unwrap().unwrap();
    }

    /// Serves these versions, each to as many requests as it says, and knows what 304 means.
    struct Versioned {
        versions: Vec<(usize, Result<&'static str, u16>)>,
        asked: std::sync::Mutex<Vec<Option<String>>>,
    }

    #[async_trait]
    impl Fetch for Versioned {
        async fn fetch(&self, _: &str, known: Option<&str>) -> Result<Fetched, String> {
            let mut asked = self.asked.lock().unwrap();
            let mut left = asked.len();
            asked.push(known.map(str::to_owned));
            let version = self.versions.iter().find(|(times, _)| {
                let now = left < *times;
                left = left.saturating_sub(*times);
                now
            });
            match version {
                Some((_, Ok(text))) if known == Some(*text) => Ok(Fetched::Unchanged),
                Some((_, Ok(text))) => {
                    Ok(Fetched::Text { text: (*text).to_owned(), tag: Some((*text).to_owned()) })
                }
                Some((_, Err(status))) => Err(format!("answered {status}")),
                None => Err("answered 404".to_owned()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_text_that_a_copy_stood_in_for_is_told_though_it_is_the_same() {
        let (sender, mut changes) = mpsc::channel(4);
        let versions = vec![(1, Ok("one"))];
        let fetch = Arc::new(Versioned { versions, asked: std::sync::Mutex::default() });
        let source = Source::Url("https://host/a".into());
        let task = tokio::spawn(async move {
            let stale = Some("it was away at the start".to_owned());
            let known = Text { text: "one".into(), origin: Origin::Url, tag: None, stale };
            watch(source, &known, POLL_URL, &Notify::new(), fetch, sender, std::future::pending()).await;
        });

        assert_eq!(changes.recv().await, Some(Change::Text("one".to_owned())));
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_url_is_asked_for_what_differs_and_only_new_texts_and_errors_are_sent() {
        let (sender, mut changes) = mpsc::channel(4);
        let versions = vec![(2, Ok("one")), (2, Ok("two")), (1, Err(500)), (1, Ok("two")), (1, Ok("three"))];
        let fetch = Arc::new(Versioned { versions, asked: std::sync::Mutex::default() });
        let source = Source::Url("https://host/a".into());
        let asking = fetch.clone();
        let began = Instant::now();
        let task = tokio::spawn(async move {
            let known = Text { text: "one".into(), origin: Origin::Url, tag: None, stale: None };
            watch(source, &known, POLL_URL, &Notify::new(), asking, sender, std::future::pending()).await;
        });

        let text = |text: &str| Some(Change::Text(text.to_owned()));
        assert_eq!(changes.recv().await, text("two"));
        assert_eq!(began.elapsed().as_secs(), 3 * POLL_URL.as_secs());
        assert!(matches!(changes.recv().await, Some(Change::Unusable(SourceError::Unreachable { .. }))));
        assert_eq!(changes.recv().await, text("two"), "so that it is known to be there again");
        assert_eq!(changes.recv().await, text("three"));
        let asked: Vec<_> = fetch.asked.lock().unwrap().iter().map(Option::is_some).collect();
        assert_eq!(asked, [false, true, true, true, true, false, true]);
        let known = fetch.asked.lock().unwrap()[3].clone();
        assert_eq!(known.as_deref(), Some("two"), "the tag is that of the last version");
        task.abort();
    }
}
