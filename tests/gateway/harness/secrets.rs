//! Looks for the secrets of a run in everything that the run left behind.

use super::Gateway;

/// What must not be found anywhere.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// These.
    pub(crate) fn new<S: Into<String>>(secrets: impl IntoIterator<Item = S>) -> Self {
        Self(secrets.into_iter().map(Into::into).collect())
    }

    /// Stops the test when one of them is in `text`, saying `place` and what is around it.
    #[track_caller]
    pub(crate) fn absent_from(&self, place: &str, text: &[u8]) {
        for secret in &self.0 {
            if let Some(at) = memchr::memmem::find(text, secret.as_bytes()) {
                let around = &text[at.saturating_sub(200)..(at + secret.len() + 100).min(text.len())];
                panic!("{secret:?} stands in {place}: …{}…", String::from_utf8_lossy(around));
            }
        }
    }

    /// Searches what the gateway printed, its metrics, and every file of its folder but its own
    /// configuration.
    pub(crate) async fn absent_from_run(&self, gateway: &Gateway) {
        self.absent_from("the log", gateway.printed().as_bytes());
        self.absent_from("the metrics", gateway.metrics().await.as_bytes());
        let mut folders = vec![gateway.folder().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path != gateway.api_yaml() {
                    self.absent_from(&path.display().to_string(), &std::fs::read(&path).unwrap());
                }
            }
        }
    }
}
