//! Notices that the configuration changed and hands on the new text.
//!
//! File events are a hint only: the parent folder is watched, so that renames over the file and the
//! `..data` links of Kubernetes volumes are seen, and a poll compares the content in any case, for
//! file systems that send no events. A text is handed on when it has been the same for a moment,
//! since editors write in steps. Who asks for a reload gets the text anew, changed or not: files and
//! variables that it names may have changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::source::{Fetch, Source, Text};

/// How often the file's content is compared when no event came.
pub const POLL: Duration = Duration::from_secs(2);
/// How long a text must stay the same before it is handed on.
const SETTLE: Duration = Duration::from_millis(200);
/// A file that never comes to rest is handed on after this.
const SETTLE_AT_MOST: Duration = Duration::from_secs(5);

type Hash = [u8; 32];

/// Sends each new text of `source` until `stop` ends or nobody listens.
///
/// `known` is the text that is being served; only others are sent, each once. A text that cannot be
/// read, or a file that is gone or empty for a moment, sends nothing. A URL is asked each `poll`,
/// for what differs from the version that is known. `API_YAML_CONTENT` never changes. `reload` sends
/// the text at once, also one that is known.
pub async fn watch(
    source: Source,
    known: &Text,
    poll: Duration,
    reload: &Notify,
    fetch: Arc<dyn Fetch>,
    texts: mpsc::Sender<String>,
    stop: impl Future<Output = ()>,
) {
    let mut last = hash(&known.text);
    let work = async {
        match &source {
            Source::Inline(text) => loop {
                reload.notified().await;
                if texts.send(text.clone()).await.is_err() {
                    return;
                }
            },
            Source::File(path) => follow_file(path, &mut last, reload, &texts).await,
            Source::Url(_) => {
                let mut url = Url { source: &source, tag: known.tag.clone(), fetch: &*fetch };
                url.follow(poll, &mut last, reload, &texts).await;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = stop => {}
        () = texts.closed() => {}
    }
}

/// A URL, and which version of its text came last.
struct Url<'a> {
    source: &'a Source,
    tag: Option<String>,
    fetch: &'a dyn Fetch,
}

impl Url<'_> {
    async fn follow(
        &mut self,
        poll: Duration,
        last: &mut Hash,
        reload: &Notify,
        texts: &mpsc::Sender<String>,
    ) {
        loop {
            let asked = timeout(poll, reload.notified()).await.is_ok();
            let tag = self.tag.as_deref().filter(|_| !asked);
            let text = match self.source.read_unless(tag, self.fetch).await {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(error) => {
                    warn!(%error, "The configuration could not be fetched; the last one serves on.");
                    continue;
                }
            };
            self.tag = text.tag;
            let now = hash(&text.text);
            if now == *last && !asked {
                continue;
            }
            *last = now;
            if texts.send(text.text).await.is_err() {
                return;
            }
        }
    }
}

async fn follow_file(path: &Path, last: &mut Hash, reload: &Notify, texts: &mpsc::Sender<String>) {
    let touched = Arc::new(Notify::new());
    let mut events = listen(path, &touched);
    loop {
        let asked = tokio::select! {
            biased;
            () = reload.notified() => true,
            () = touched.notified() => {
                // Other files of a busy folder must not make this read without end.
                sleep(SETTLE / 2).await;
                false
            }
            () = sleep(POLL) => false,
        };
        if events.is_none() {
            // The folder may have come back, or watches may have become free.
            events = listen(path, &touched);
        }
        let Some(text) = read(path).await else {
            if asked {
                warn!(path = %path.display(), "The configuration file cannot be read; the last one serves on.");
            }
            continue;
        };
        if hash(&text) == *last && !asked {
            continue;
        }
        let Some(text) = settled(path, text).await else {
            continue;
        };
        let now = hash(&text);
        if now == *last && !asked {
            continue;
        }
        *last = now;
        if texts.send(text).await.is_err() {
            return;
        }
    }
}

/// Reads until the content stays the same; none when it went away meanwhile.
async fn settled(path: &Path, mut text: String) -> Option<String> {
    let deadline = Instant::now() + SETTLE_AT_MOST;
    loop {
        sleep(SETTLE).await;
        let again = read(path).await?;
        if again == text || Instant::now() >= deadline {
            return Some(again);
        }
        text = again;
    }
}

/// The file's text, if it is there and holds something.
async fn read(path: &Path) -> Option<String> {
    // Blocking on a slow mount would hold up the runtime's worker.
    match tokio::fs::read(path).await {
        Ok(bytes) => String::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty()),
        Err(error) => {
            debug!(%error, "The configuration file cannot be read just now.");
            None
        }
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
        texts: mpsc::Receiver<String>,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    }

    async fn watched(prepare: impl FnOnce(&Path) -> PathBuf, known: &str) -> Watched {
        let folder = tempfile::tempdir().unwrap();
        let path = prepare(folder.path());
        let (sender, texts) = mpsc::channel(4);
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
        Watched { folder, texts, stop, task }
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
            timeout(Duration::from_secs(6), self.texts.recv()).await.ok().flatten()
        }

        async fn quiet(&mut self) -> bool {
            timeout(Duration::from_millis(2600), self.texts.recv()).await.is_err()
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
    async fn a_file_that_is_gone_or_empty_sends_nothing() {
        let mut watched = plain().await;

        std::fs::write(watched.path(), "").unwrap();
        sleep(Duration::from_millis(300)).await;
        std::fs::remove_file(watched.path()).unwrap();

        assert!(watched.quiet().await);
        std::fs::write(watched.path(), "back").unwrap();
        assert_eq!(watched.next().await.as_deref(), Some("back"));
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

        drop(watched.texts);

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
    async fn a_url_is_asked_for_what_differs_and_only_new_texts_are_sent() {
        let (sender, mut texts) = mpsc::channel(4);
        let versions = vec![(2, Ok("one")), (2, Ok("two")), (1, Err(500)), (1, Ok("two")), (1, Ok("three"))];
        let fetch = Arc::new(Versioned { versions, asked: std::sync::Mutex::default() });
        let source = Source::Url("https://host/a".into());
        let asking = fetch.clone();
        let began = Instant::now();
        let task = tokio::spawn(async move {
            let known = Text { text: "one".into(), origin: Origin::Url, tag: None, stale: None };
            watch(source, &known, POLL_URL, &Notify::new(), asking, sender, std::future::pending()).await;
        });

        assert_eq!(texts.recv().await.as_deref(), Some("two"));
        assert_eq!(began.elapsed().as_secs(), 3 * POLL_URL.as_secs());
        assert_eq!(texts.recv().await.as_deref(), Some("three"));
        let asked: Vec<_> = fetch.asked.lock().unwrap().iter().map(Option::is_some).collect();
        assert_eq!(asked, [false, true, true, true, true, true, true]);
        let known = fetch.asked.lock().unwrap()[3].clone();
        assert_eq!(known.as_deref(), Some("two"), "the tag is that of the last version");
        task.abort();
    }
}
