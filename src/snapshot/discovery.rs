//! Asks upstreams which models they have, for channels that do not list them.
//!
//! One round for all such channels at once when a configuration comes, then again on a timer:
//! soon and ever less often while a channel does not answer, daily once it has. What was learnt is
//! kept by channel, address and key, so that a reload asks only where one of them changed. The
//! configuration file is never written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialect::{Care, Secrets};
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{HeaderMap, Request, Uri};
use layers::address::{Address, bare};
use layers::policy::{ChannelName, Fingerprint};
use layers::ports::{Credential, Provider, Secret};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::access::{self, ChannelAccess};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::config::{ChannelSettings, Settings};
use crate::engine::{Listing, Numbered};
use crate::providers::with_path;
use crate::state::Runtime;
use crate::upstream::{AGENT, ANYTHING, Fetcher};

/// Pauses between attempts while a channel does not answer; the last one repeats.
const PAUSES: [u64; 6] = [2, 5, 15, 60, 300, 900];
/// When a list that is known is asked for again.
const REFRESH: Duration = Duration::from_secs(24 * 3600);
/// How long after the start a model may be on a list that has not come yet.
pub const FIRST_ROUND: Duration = Duration::from_secs(10);
/// Most pages of one list.
const MOST_PAGES: usize = 200;
/// Most models that are taken from one upstream.
const MOST_MODELS: usize = 20_000;

/// A model list that came.
#[derive(Debug)]
pub(super) struct Found {
    /// Whose.
    pub channel: ChannelName,
    /// The models, in the upstream's order, each once; none of a channel that has answered with no
    /// list.
    pub models: Arc<[Listed]>,
}

/// A model on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The upstream's name of it.
    pub name: Arc<str>,
    /// What the list says besides.
    pub told: Told,
}

/// The facts that an upstream tells of a model, as far as it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// How many tokens it can look at.
    pub context: Option<u64>,
    /// What it takes besides text, in the upstream's words: `image`, `audio`, `file` …; none where
    /// nothing is told.
    pub inputs: Vec<Arc<str>>,
}

/// The inputs of a channel's list: a change of one makes the list void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListRequest {
    url: String,
    fingerprint: Option<Fingerprint>,
    proxy: Option<Arc<str>>,
}

/// The question which models a channel has.
pub(super) struct Question {
    /// The lists, each with the address of its first page. There is one at least.
    pub(super) lists: Vec<(Uri, Listing)>,
    listed: for<'a> fn(&'a str, &Value) -> Option<&'a str>,
    numbered: Option<Numbered>,
    provider: Arc<dyn Provider>,
    pub(super) credential: Option<Credential>,
    /// The channel's own.
    headers: HeaderMap,
    pub(super) proxy: Option<Arc<str>>,
    /// What no name of a model may hold: an upstream that repeats its key would tell it to all clients.
    pub(super) secrets: Secrets,
}

/// Tasks that ask, as long as this lives.
pub(super) struct Discovery {
    tasks: JoinSet<()>,
    asking: HashMap<ChannelName, (ListRequest, tokio::task::AbortHandle)>,
    found: mpsc::Sender<Found>,
}

impl Discovery {
    /// Sends what it finds to `found`.
    pub(super) fn new(found: mpsc::Sender<Found>) -> Self {
        Self { tasks: JoinSet::new(), asking: HashMap::new(), found }
    }

    /// Asks for the channels of a configuration. Tells which channels' earlier answers are void.
    pub(super) fn follow(&mut self, settings: &Settings, runtime: &Runtime) -> Vec<ChannelName> {
        let mut void = Vec::new();
        let wanted: HashMap<ChannelName, (ListRequest, Question)> = settings
            .channels
            .iter()
            .filter(|channel| channel.discover)
            .filter_map(|channel| Some((channel.name.clone(), question(channel, runtime)?)))
            .collect();
        self.asking.retain(|name, (known, task)| {
            let same = wanted.get(name).is_some_and(|(list_request, _)| list_request == known);
            if !same {
                task.abort();
                void.push(name.clone());
            }
            same
        });
        for (name, (list_request, question)) in wanted {
            if !self.asking.contains_key(&name) {
                let task = self.tasks.spawn(ask(name.clone(), question, self.found.clone()));
                self.asking.insert(name, (list_request, task));
            }
        }
        void
    }

    /// How many channels are asked.
    pub(super) fn count(&self) -> usize {
        self.asking.len()
    }
}

async fn ask(channel: ChannelName, question: Question, found: mpsc::Sender<Found>) {
    let fetcher = Fetcher::new(question.proxy.as_deref());
    let mut failures = 0;
    // That there is an answer: the models follow, or nothing does.
    let mut told = false;
    loop {
        let span = tracing::info_span!(target: "process", "discovery", %channel, otel.status_code = Empty);
        let asked = question.ask(&fetcher).instrument(span.clone()).await;
        let result = if asked.is_ok() { "ok" } else { "failed" };
        if asked.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        drop(span);
        metrics::counter!("uni_api_discoveries_total", "result" => result).increment(1);
        let pause = match asked {
            Ok(models) => {
                (failures, told) = (0, true);
                tracing::info!(%channel, models = models.len(), "Model list of the channel is known.");
                if found.send(Found { channel: channel.clone(), models: models.into() }).await.is_err() {
                    return;
                }
                REFRESH
            }
            Err(Unlisted { cause, has_answered }) => {
                let pause = Duration::from_secs(PAUSES[failures.min(PAUSES.len() - 1)]);
                tracing::warn!(
                    %channel,
                    url = question.lists.first().map(|(uri, _)| bare(uri)),
                    reason = cause,
                    again_in = ?pause,
                    cure = "write the channel's models below `model:`",
                    "Model list of the channel cannot be had."
                );
                if has_answered && !std::mem::replace(&mut told, true) {
                    let nothing = Found { channel: channel.clone(), models: Arc::default() };
                    if found.send(nothing).await.is_err() {
                        return;
                    }
                }
                failures += 1;
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

// === impl Question ===

impl Question {
    /// Asks for all lists. One of several may fail: what the others name is served.
    async fn ask(&self, fetcher: &Fetcher) -> Result<Vec<Listed>, Unlisted> {
        let mut models: Vec<Listed> = Vec::new();
        let mut failed = None;
        for (uri, listing) in &self.lists {
            if let Err(unlisted) = self.ask_pages(fetcher, uri, listing, &mut models).await {
                failed.get_or_insert(unlisted);
            }
        }
        match failed {
            Some(unlisted) if models.is_empty() => Err(unlisted),
            None if models.is_empty() => Err(Unlisted::answered("the list is empty".to_owned())),
            _ => Ok(models),
        }
    }

    /// Asks for all pages of one list.
    async fn ask_pages(
        &self,
        fetcher: &Fetcher,
        first: &Uri,
        listing: &Listing,
        models: &mut Vec<Listed>,
    ) -> Result<(), Unlisted> {
        let mut seen: HashSet<Arc<str>> = models.iter().map(|listed| listed.name.clone()).collect();
        let mut uri = first.clone();
        for number in 2..MOST_PAGES + 2 {
            let request = self.signed(uri).await.map_err(Unlisted::unanswered)?;
            let body = fetcher.get_signed(request).await.map_err(|cause| {
                // A refusal is an answer too.
                let has_answered = cause.starts_with("answered");
                Unlisted { cause, has_answered }
            })?;
            let page = self.read(listing, number, &body).map_err(Unlisted::answered)?;
            for listed in page.models {
                if models.len() < MOST_MODELS && seen.insert(listed.name.clone()) {
                    models.push(listed);
                }
            }
            match page.next.filter(|_| models.len() < MOST_MODELS) {
                Some((parameter, token)) => {
                    uri = with_parameter(first, parameter, &token).map_err(Unlisted::answered)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The models on the first page of the first list, and whether it is the last page too.
    pub(super) fn first_page(&self, body: &[u8]) -> Result<(Vec<Listed>, bool), String> {
        let (_, listing) = self.lists.first().ok_or("it has no list")?;
        let Page { models, next } = self.read(listing, 2, body)?;
        Ok((models, next.is_none()))
    }

    /// Reads a page, without names that nobody may know; `number` is that of the next one.
    fn read(&self, listing: &Listing, number: usize, body: &[u8]) -> Result<Page, String> {
        let read = Reading { listing, listed: self.listed, numbered: self.numbered };
        let mut page = read.page(number, body)?;
        page.models.retain(|listed| !listed.name.is_empty() && !self.is_told_in(&listed.name));
        Ok(page)
    }

    /// Whether a name tells what only the upstream may know.
    fn is_told_in(&self, name: &str) -> bool {
        let keys = self.credential.as_ref().map(Credential::secrets).unwrap_or_default();
        let secrets = keys.iter().map(Secret::secrets).chain([&self.secrets]);
        dialect::hide(secrets, name.as_bytes(), Care::Whole).is_some()
    }

    /// The request for one page, signed last, as `dispatch` does it.
    pub(super) async fn signed(&self, uri: Uri) -> Result<Request<Vec<Bytes>>, String> {
        let address = Address::at(uri).ok_or_else(|| "the address names no host".to_owned())?;
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = address.uri;
        let headers = request.headers_mut();
        headers.insert(HOST, address.host);
        headers.insert(ACCEPT, ANYTHING);
        headers.insert(USER_AGENT, AGENT);
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let presented = match &self.credential {
            Some(credential) => Some(credential.present().await.map_err(|failure| failure.to_string())?),
            None => None,
        };
        self.provider
            .sign(&mut request, presented.as_ref())
            .map_err(|unsupported| unsupported.to_string())?;
        Ok(request)
    }
}

/// The reason why there is no list.
struct Unlisted {
    cause: String,
    /// Whether the channel has said so itself.
    has_answered: bool,
}

impl Unlisted {
    fn answered(cause: String) -> Self {
        Self { cause, has_answered: true }
    }

    fn unanswered(cause: String) -> Self {
        Self { cause, has_answered: false }
    }
}

/// One page of a list.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    models: Vec<Listed>,
    /// The query parameter that asks for the next one, and its value.
    next: Option<(&'static str, String)>,
}

/// The way in which the pages of a list are read.
struct Reading<'a> {
    listing: &'a Listing,
    listed: for<'e> fn(&'e str, &Value) -> Option<&'e str>,
    numbered: Option<Numbered>,
}

impl Reading<'_> {
    /// Reads a page; `number` is that of the next one.
    fn page(&self, number: usize, body: &[u8]) -> Result<Page, String> {
        let no_list = || "the answer is no model list".to_owned();
        let answer: Value = serde_json::from_slice(body).map_err(|_other| no_list())?;
        // Some who imitate others give the list itself, or call it and its names otherwise.
        let list = answer.pointer(self.listing.list).or(answer.get("models")).unwrap_or(&answer);
        let list = list.as_array().ok_or_else(no_list)?;
        let listed = |entry: &Value| {
            let names = ["/id", "/name", "/model"].map(|name| entry.pointer(name));
            let named = [entry.pointer(self.listing.name)].into_iter().chain(names).flatten();
            let name = named.filter_map(Value::as_str).next()?;
            let told = || Told::of(entry);
            Some((self.listed)(name, entry).map(|name| Listed { name: name.into(), told: told() }))
        };
        // Groq lists models that nobody can ask.
        let can_be_asked = |entry: &&Value| entry.get("active") != Some(&Value::Bool(false));
        let list = list.iter().filter(can_be_asked).take(MOST_MODELS);
        let models = list.map(listed).collect::<Option<Vec<_>>>().ok_or_else(no_list)?;
        // Anthropic names the last entry on the last page too.
        let ends = answer.get("has_more") == Some(&Value::Bool(false));
        let by_token = || {
            let pages = self.listing.pages?;
            let token = answer.pointer(pages.token)?.as_str().filter(|token| !token.is_empty() && !ends)?;
            Some((pages.parameter, token.to_owned()))
        };
        let by_number = || {
            let pages = self.numbered?;
            let total = usize::try_from(answer.pointer(pages.total)?.as_u64()?).ok()?;
            (total > (number - 1) * pages.size && !models.is_empty())
                .then(|| (pages.parameter, number.to_string()))
        };
        Ok(Page { next: by_token().or_else(by_number), models: models.into_iter().flatten().collect() })
    }
}

/// Where lists tell how many tokens a model can look at: OpenRouter, Together, Cohere and Moonshot; Groq; Mistral;
/// Gemini; Anthropic; vLLM; GitHub; Venice; llama.cpp.
const CONTEXTS: [&str; 9] = [
    "/context_length",
    "/context_window",
    "/max_context_length",
    "/inputTokenLimit",
    "/max_input_tokens",
    "/max_model_len",
    "/limits/max_input_tokens",
    "/model_spec/availableContextTokens",
    "/meta/n_ctx_train",
];
/// Where they tell what a model takes (OpenRouter and who lists as it does).
const INPUTS: [&str; 2] = ["/architecture/input_modalities", "/input_modalities"];
/// No model looks at more tokens: who says so counts something else.
const MOST_CONTEXT: u64 = 1_000_000_000;
/// Most kinds of input that are kept, and the longest name of one.
const MOST_INPUTS: usize = 8;

impl Told {
    /// What an entry of a list says.
    fn of(entry: &Value) -> Self {
        let written = CONTEXTS.iter().find_map(|place| count(entry.pointer(place)?));
        let inputs = INPUTS.iter().find_map(|place| entry.pointer(place)?.as_array());
        let words = inputs.into_iter().flatten().filter_map(Value::as_str).filter(|word| {
            *word != "text" && word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_lowercase())
        });
        Self {
            context: written.or_else(|| property(entry, "context_window")),
            inputs: words.take(MOST_INPUTS).map(Arc::from).collect(),
        }
    }

    /// Takes in what another channel tells of the same model: clients are told of the best of them.
    pub(super) fn add(&mut self, other: &Self) {
        self.context = self.context.max(other.context);
        for word in &other.inputs {
            if !self.inputs.contains(word) && self.inputs.len() < MOST_INPUTS {
                self.inputs.push(word.clone());
            }
        }
    }
}

/// A number of tokens, which some write with a fraction or as text.
fn count(value: &Value) -> Option<u64> {
    let count = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|count| count as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    count.filter(|count| (1..=MOST_CONTEXT).contains(count))
}

/// A fact that stands among others in a list of them (Cloudflare).
fn property(entry: &Value, name: &str) -> Option<u64> {
    let facts = entry.get("properties")?.as_array()?;
    let fact = facts.iter().find(|fact| fact.get("property_id").and_then(Value::as_str) == Some(name))?;
    count(fact.get("value")?)
}

/// A URL with one more query parameter.
fn with_parameter(uri: &Uri, name: &str, value: &str) -> Result<Uri, String> {
    let mark = if uri.query().is_some() { '&' } else { '?' };
    let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
    format!("{uri}{mark}{name}={value}").parse().map_err(|_invalid| "it is no URL".to_owned())
}

/// What a channel is asked, and what its list depends on; none for engines without a list.
fn question(channel: &ChannelSettings, runtime: &Runtime) -> Option<(ListRequest, Question)> {
    // The first of its keys asks; a channel may have tens of thousands.
    questions(channel, runtime, 1).into_iter().next()
}

/// The same with each of the channel's credentials, the first `most` of them.
pub(super) fn questions(
    channel: &ChannelSettings,
    runtime: &Runtime,
    most: usize,
) -> Vec<(ListRequest, Question)> {
    let engine = channel.engine;
    let access = ChannelAccess::new(channel, most);
    let base: Option<Uri> = match engine.lists_at {
        Some(lists_at) => lists_at(&access.spec(engine)),
        None => channel.base_url.as_deref().or(engine.base).and_then(|url| url.parse().ok()),
    };
    let Some(base) = base else { return Vec::new() };
    let first = channel.listing();
    let lists = first.iter().chain(engine.more_listings);
    let lists: Vec<(Uri, Listing)> = lists
        .filter_map(|listing| Some((with_path(&base, &(listing.path)(&base)).ok()?, *listing)))
        .collect();
    let Some((uri, _)) = lists.first() else { return Vec::new() };
    let proxy = channel.proxy.as_ref().map(crate::config::settings::SecretText::shared);
    let mut credentials: Vec<Option<Credential>> =
        access.credentials(engine, runtime).into_iter().take(most).map(Some).collect();
    if credentials.is_empty() {
        credentials.push(None);
    }
    let of = |credential: Option<Credential>| {
        let list_request = ListRequest {
            url: uri.to_string(),
            fingerprint: credential.as_ref().map(|credential| credential.fingerprint().clone()),
            proxy: proxy.clone(),
        };
        let question = Question {
            lists: lists.clone(),
            listed: engine.listed,
            numbered: engine.numbered,
            provider: access.provider(engine),
            credential,
            headers: channel.headers.clone(),
            proxy: proxy.clone(),
            secrets: access::secrets(channel, &[]),
        };
        (list_request, question)
    };
    credentials.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;
    use crate::engine::Pages;

    /// The list of a channel with this in its entry.
    fn asked(lines: &str) -> Option<Question> {
        let text = format!(
            "providers: [{{provider: a, {lines}}}, {{provider: b, engine: mock}}]\napi_keys: [{{api: sk-1}}]\n"
        );
        question(&settings(&text).channels[0], &Runtime::new(None)).map(|(_, question)| question)
    }

    const COHERE: Listing = Listing {
        path: |_| "/v1/models".to_owned(),
        list: "/models",
        name: "/name",
        pages: Some(Pages { token: "/next_page_token", parameter: "page_token" }),
    };

    #[test]
    fn what_lists_tell_of_a_model_is_read_wherever_it_stands() {
        for (entry, context) in [
            (r#"{"context_length":131072,"top_provider":{"context_length":8}}"#, Some(131_072)),
            (r#"{"context_window":8192}"#, Some(8192)),
            (r#"{"max_context_length":32768}"#, Some(32_768)),
            (r#"{"inputTokenLimit":1048576}"#, Some(1_048_576)),
            (r#"{"max_input_tokens":200000}"#, Some(200_000)),
            (r#"{"context_length":128000.0}"#, Some(128_000)),
            (
                r#"{"properties":[{"property_id":"x"},{"property_id":"context_window","value":"24000"}]}"#,
                Some(24_000),
            ),
            (r#"{"context_length":0}"#, None),
            (r#"{"context_length":-5}"#, None),
            (r#"{"context_length":1e300}"#, None),
            (r#"{"context_length":null,"context_window":7}"#, Some(7)),
            ("{}", None),
        ] {
            assert_eq!(Told::of(&serde_json::from_str(entry).unwrap()).context, context, "{entry}");
        }
        let told = Told::of(&serde_json::json!({
            "architecture": { "input_modalities": ["text", "image", 7, "<script>", "audio"] },
        }));
        assert_eq!(told.inputs.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["image", "audio"]);
    }

    #[test]
    fn a_list_with_numbered_pages_is_read_to_its_end() {
        let numbered = Some(Numbered { total: "/result_info/total_count", size: 2, parameter: "page" });
        let listing = Listing { path: |_| String::new(), list: "/result", name: "/name", pages: None };
        let body = |names: &str, total: u64| {
            format!(r#"{{"success":true,"result":[{names}],"result_info":{{"total_count":{total}}}}}"#)
        };
        let next = |number: usize, body: String| {
            let reading = Reading { listing: &listing, listed: |name, _| Some(name), numbered };
            reading.page(number, body.as_bytes()).unwrap().next.map(|(name, value)| format!("{name}={value}"))
        };

        assert_eq!(next(2, body(r#"{"name":"a"},{"name":"b"}"#, 3)), Some("page=2".to_owned()));
        assert_eq!(next(3, body(r#"{"name":"c"}"#, 3)), None);
        assert_eq!(next(2, body("", 3)), None, "an empty page is the last");
    }

    #[test]
    fn channels_that_are_known_by_an_account_are_asked_there() {
        let question = asked("cf_account_id: ID, api: k").unwrap();

        let [(uri, _)] = &question.lists[..] else { panic!("one list") };
        assert_eq!(uri.host(), Some("api.cloudflare.com"));
        assert!(uri.path().contains("/accounts/ID/"), "{uri}");
    }

    #[test]
    fn a_model_is_not_known_by_a_name_that_tells_a_key() {
        let question = asked(
            "base_url: 'https://a.test/v1?key=query-0a1b2c3d', api: sk-provider-0123, \
             preferences: {headers: {x-mine: header-0a1b2c3d}}",
        )
        .unwrap();

        for name in ["sk-provider-0123", "a/sk-provider-0123%20", "query-0a1b2c3d", "header-0a1b2c3d"] {
            assert!(question.is_told_in(name), "{name}");
        }
        assert!(!question.is_told_in("gpt-4o-2024-08-06"));
    }

    #[test]
    fn lists_of_every_form_are_read() {
        let openai = crate::providers::OPENAI.listing.unwrap();
        let page = |listing: &Listing, body: &str| {
            Reading { listing, listed: |name, _| Some(name), numbered: None }.page(2, body.as_bytes())
        };
        let names = |names: &[&str], next: Option<&str>| {
            let listed = |name: &&str| Listed { name: (*name).into(), told: Told::default() };
            Ok(Page {
                models: names.iter().map(listed).collect(),
                next: next.map(|token| ("page_token", token.to_owned())),
            })
        };

        assert_eq!(
            page(&openai, r#"{"data":[{"id":"a"},{"id":"b"}],"next_page_token":"x"}"#),
            names(&["a", "b"], None)
        );
        assert_eq!(
            page(&COHERE, r#"{"models":[{"name":"a"}],"next_page_token":"t/1"}"#),
            names(&["a"], Some("t/1"))
        );
        assert_eq!(page(&COHERE, r#"{"models":[],"next_page_token":""}"#), names(&[], None));
        assert_eq!(page(&COHERE, r#"{"models":[{"name":"a"}],"next_page_token":null}"#), names(&["a"], None));
        for odd in [
            r#"[{"id":"a"},{"id":"b","active":true}]"#,
            r#"{"models":[{"model":"a"},{"name":"b"}]}"#,
            r#"{"data":[{"name":"a"},{"id":"c","active":false},{"id":"b"}]}"#,
        ] {
            assert_eq!(page(&openai, odd), names(&["a", "b"], None), "{odd}");
        }
        for other in ["", "{}", r#"{"data":{}}"#, r#"{"data":[{"nick":"a"}]}"#, r#"{"data":["a"]}"#] {
            assert_eq!(page(&openai, other), Err("the answer is no model list".to_owned()), "{other}");
        }
    }

    #[test]
    fn the_next_page_is_asked_for_beside_the_query_that_is_there() {
        let next =
            |uri: &str| with_parameter(&uri.parse().unwrap(), "page_token", "t/1&x=").unwrap().to_string();

        assert_eq!(next("https://a.test/v1/models"), "https://a.test/v1/models?page_token=t%2F1%26x%3D");
        assert_eq!(next("https://a.test/models?k=v"), "https://a.test/models?k=v&page_token=t%2F1%26x%3D");
    }

    #[tokio::test]
    async fn a_list_is_asked_for_as_requests_are_signed() {
        let question =
            asked("base_url: 'https://a.test:8443/v1/messages', engine: claude, api: [k, l]").unwrap();
        let relayed = asked(
            "base_url: 'https://a.test/v1', api: k, preferences: {headers: {authorization: own, user-agent: me}}",
        );

        let plain = question.signed(question.lists[0].0.clone()).await.unwrap();
        let own =
            relayed.as_ref().unwrap().signed("https://a.test/v1/models".parse().unwrap()).await.unwrap();

        assert_eq!(plain.uri(), "https://a.test:8443/v1/models?limit=1000");
        assert_eq!(
            (&plain.headers()["x-api-key"], &plain.headers()["host"]),
            (&"k".parse().unwrap(), &"a.test:8443".parse().unwrap())
        );
        assert_eq!(own.headers()["authorization"], "own");
        assert_eq!(own.headers()["user-agent"], "me");
    }

    #[test]
    fn engines_without_a_list_are_not_asked() {
        assert!(asked("base_url: 'https://x.openai.azure.com', api: k").is_none());
    }
}
