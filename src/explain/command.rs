//! `uni-api explain`: asks a running gateway, or the configuration alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use layers::endpoint::{self, CHAT_COMPLETIONS};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Counts, Explanation, Question, table};
use crate::config::source::Source;
use crate::config::{Environment, load};
use crate::snapshot::{Discovered, compile};
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Fetcher;

/// Longest body that is read.
const LONGEST: u64 = 256 << 20;

/// Arguments of `uni-api explain`.
pub struct ExplainArguments {
    /// Whose request.
    pub key: String,
    /// For which model.
    pub model: Option<String>,
    /// On which path; that of chat when absent.
    pub endpoint: Option<String>,
    /// Where its body is.
    pub body: Option<PathBuf>,
    /// Which running gateway is asked.
    pub url: Option<String>,
    /// With which key that one is asked.
    pub admin_key: Option<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// JSON instead of a table.
    pub json: bool,
}

/// What to print, and the exit code: 0 when the request would be sent somewhere, 1 when it would
/// be refused, 2 when the question cannot be answered.
pub async fn run(asked: ExplainArguments, env: &Environment, folder: &Path) -> (String, i32) {
    match answer(&asked, env, folder).await {
        Ok(explanation) => {
            let code = i32::from(explanation.verdict.channel.is_none());
            let text = if asked.json {
                serde_json::to_string_pretty(&explanation).unwrap_or_default() + "\n"
            } else {
                table::render(&explanation)
            };
            (text, code)
        }
        Err(reason) => (format!("uni-api explain: {reason}\n"), 2),
    }
}

async fn answer(asked: &ExplainArguments, env: &Environment, folder: &Path) -> Result<Explanation, String> {
    if let Some(endpoint) = &asked.endpoint
        && endpoint::on_path(endpoint).next().is_none()
    {
        return Err(format!("{endpoint} is no path that requests are sent to"));
    }
    let body = match &asked.body {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let named = || {
        let body: Value = serde_json::from_slice(body.as_deref()?).ok()?;
        Some(body["model"].as_str()?.to_owned())
    };
    let model = asked.model.clone().or_else(named);
    let model = model.ok_or("name a model with --model, or give a body that does with --body")?;
    match &asked.url {
        Some(url) => remote(asked, url, &model, body).await,
        None => local(asked, env, folder, &model, body.as_deref()).await,
    }
}

/// Reads a file or standard input. Blocking: nothing else is going on in this process.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(LONGEST).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(bytes)
}

/// Compiles the configuration as a start would, without asking anybody for model lists.
async fn local(
    asked: &ExplainArguments,
    env: &Environment,
    folder: &Path,
    model: &str,
    body: Option<&[u8]>,
) -> Result<Explanation, String> {
    let source = Source::find(asked.config.as_deref(), env, folder).map_err(|error| error.to_string())?;
    let text = source.read(&Fetcher::new(None)).await.map_err(|error| error.to_string())?;
    let loaded = load(&text.text, text.origin, env).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{} cannot be used:\n{}", source.describe(), problems.join("\n"))
    })?;
    let runtime = Runtime::new(None);
    let snapshot = compile(loaded.settings.into(), &Discovered::new(), &runtime, &Metrics::new());
    let callers = snapshot.callers_called(&asked.key);
    let caller = match callers.as_slice() {
        [caller] => caller,
        [] => return Err("no client key is this, has this fingerprint or this role".to_owned()),
        _ => return Err("several client keys have this role: name one by its fingerprint".to_owned()),
    };
    let endpoint = asked.endpoint.as_deref().and_then(|path| endpoint::on_path(path).next());
    let endpoint = endpoint.unwrap_or(&CHAT_COMPLETIONS);
    let question = Question { caller, model, endpoint, body, most_body: env.max_body_bytes };
    let counts = Counts { windows: runtime.windows(), accounts: runtime.accounts() };
    let mut explanation = super::explain(&snapshot, counts, question, Instant::now());
    explanation.fresh = true;
    Ok(explanation)
}

/// Asks a running gateway.
async fn remote(
    asked: &ExplainArguments,
    url: &str,
    model: &str,
    body: Option<Vec<u8>>,
) -> Result<Explanation, String> {
    let mut question = json!({ "model": model });
    if asked.admin_key.is_some() {
        question["key"] = json!(asked.key);
    }
    if let Some(endpoint) = &asked.endpoint {
        question["endpoint"] = json!(endpoint);
    }
    let mut question = question.to_string();
    if let Some(body) = body {
        // As it is: its length counts.
        let body = String::from_utf8(body).map_err(|_binary| "the body is no text")?;
        let body = RawValue::from_string(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        question.pop();
        question = format!("{question},\"request\":{}}}", body.get());
    }
    let key = asked.admin_key.as_ref().unwrap_or(&asked.key);
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_invalid| "the key has characters that cannot be sent")?;
    bearer.set_sensitive(true);
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer)]);
    let url = format!("{}/v1/route/explain", url.trim_end_matches('/').trim_end_matches("/v1"));
    let (status, answer) = Fetcher::new(None)
        .post(&url, headers, question.into_bytes())
        .await
        .map_err(|reason| format!("the gateway gave no answer: {reason}"))?;
    if !status.is_success() {
        let error: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let message = error["error"]["message"].as_str().unwrap_or("no reason is given");
        return Err(format!("the gateway answered {}: {message}", status.as_u16()));
    }
    serde_json::from_slice(&answer).map_err(|_other| "the answer is no explanation".to_owned())
}
