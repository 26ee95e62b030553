//! Asks a channel for its models once, with one of its credentials, and tells all that the answer shows.
//!
//! The question is the one that discovery asks; only who listens is another: a person, who wants to know what stands in
//! the way.

use std::time::SystemTime;

use bytes::Bytes;
use dialect::Care;
use http::header::DATE;
use http::{HeaderMap, StatusCode};
use layers::address::bare;
use layers::policy::Fingerprint;
use layers::ports::Secret;

use super::discovery::{Listed, Question, questions};
use crate::config::ChannelSettings;
use crate::state::Runtime;
use crate::upstream::Fetcher;

/// Longest message of a provider that is told, in characters.
const LONGEST: usize = 200;

/// The question for a channel's models, with one of its credentials.
pub struct ListProbe(Question);

/// The answer to it.
#[derive(Debug)]
pub struct Probed {
    /// The status; none where nobody answered.
    pub status: Option<StatusCode>,
    /// What the other side's clock says.
    pub date: Option<SystemTime>,
    /// The list, or what went wrong, without anything that only the upstream may know.
    pub list: Result<ModelList, String>,
}

/// The first page of a list of models.
#[derive(Debug)]
pub struct ModelList {
    /// The models on it.
    pub models: Vec<Listed>,
    /// Whether there is nothing more: neither a page nor another list.
    pub is_whole: bool,
}

/// The questions for the models of a channel, one for each of its first `most` credentials; none where the upstream has
/// no list.
pub fn list_probes(channel: &ChannelSettings, runtime: &Runtime, most: usize) -> Vec<ListProbe> {
    questions(channel, runtime, most).into_iter().map(|(_, question)| ListProbe(question)).collect()
}

/// What the other side's clock says.
pub fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

// === impl ListProbe ===

impl ListProbe {
    /// What stands for the credential; none where the channel has none.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        Some(self.0.credential.as_ref()?.fingerprint())
    }

    /// Where it goes, without query and credentials.
    pub fn url(&self) -> String {
        self.0.lists.first().map_or_else(String::new, |(uri, _)| bare(uri))
    }

    /// Asks.
    pub async fn ask(&self) -> Probed {
        let nobody =
            |reason: String| Probed { status: None, date: None, list: Err(self.clean(reason.as_bytes())) };
        let Some((uri, _)) = self.0.lists.first() else { return nobody("it has no list".to_owned()) };
        let request = match self.0.signed(uri.clone()).await {
            Ok(request) => request,
            Err(reason) => return nobody(reason),
        };
        let answer = match Fetcher::new(self.0.proxy.as_deref()).answer_signed(request).await {
            Ok(answer) => answer,
            Err(reason) => return nobody(reason),
        };
        let status = answer.status();
        let list = match status.is_success() {
            true => self
                .0
                .first_page(answer.body())
                .map(|(models, is_last)| ModelList { models, is_whole: is_last && self.0.lists.len() == 1 }),
            false => Err(self.refusal(status, answer.body())),
        };
        Probed { status: Some(status), date: date(answer.headers()), list }
    }

    /// What a provider says for a refusal.
    fn refusal(&self, status: StatusCode, body: &Bytes) -> String {
        // Before anything is cut, since half a key is one that nobody finds.
        let body = self.hidden(body).unwrap_or_else(|| body.to_vec());
        let message: String = dialect::normalise_error(status, &body).message.chars().take(LONGEST).collect();
        match message.trim() {
            "" => format!("answered {}", status.as_u16()),
            message => format!("answered {}: {}", status.as_u16(), message.replace(char::is_control, " ")),
        }
    }

    fn clean(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(self.hidden(text).as_deref().unwrap_or(text)).into_owned()
    }

    fn hidden(&self, text: &[u8]) -> Option<Vec<u8>> {
        let keys = self.0.credential.as_ref().map(layers::ports::Credential::secrets).unwrap_or_default();
        dialect::hide(keys.iter().map(Secret::secrets).chain([&self.0.secrets]), text, Care::Error)
    }
}
