//! `uni-api explain` and `uni-api keys`: ask a running gateway, or the configuration alone.

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use layers::endpoint::{self, CHAT_COMPLETIONS};
use layers::policy::Role;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Counts, Explanation, Overview, Question, names, table};
use crate::cli::{ExplainArguments, KeysArguments};
use crate::config::source::Source;
use crate::config::{Environment, Settings, load};
use crate::snapshot::{Discovered, compile};
use crate::state::Runtime;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Fetcher;

/// Longest body that is read.
const LONGEST: u64 = 256 << 20;

/// What to print, and the exit code: 0 when the request would be sent somewhere, 1 when it would
/// be refused, 2 when the question cannot be answered.
pub async fn explain(asked: ExplainArguments, env: &Environment, folder: &Path) -> (String, i32) {
    let json = |answer: Result<String, serde_json::Error>| answer.unwrap_or_default() + "\n";
    match answer(&asked, env, folder).await {
        Ok(Answer::One(explanation)) => {
            let code = i32::from(explanation.verdict.channel.is_none());
            let text = match asked.json {
                true => json(serde_json::to_string_pretty(&*explanation)),
                false => table::render(&explanation),
            };
            (text, code)
        }
        Ok(Answer::All(overview)) => match asked.json {
            true => (json(serde_json::to_string_pretty(&overview)), 0),
            false => (overview.render(), 0),
        },
        Err(reason) => (format!("uni-api explain: {reason}\n"), 2),
    }
}

/// What to print, and the exit code: 2 when the keys cannot be listed.
pub async fn keys(asked: KeysArguments, env: &Environment, folder: &Path) -> (String, i32) {
    match list(&asked, env, folder).await {
        Ok(text) => (text, 0),
        Err(reason) => (format!("uni-api keys: {reason}\n"), 2),
    }
}

async fn list(asked: &KeysArguments, env: &Environment, folder: &Path) -> Result<String, String> {
    let settings = configuration(asked.source.config.as_deref(), env, folder).await?;
    let Some(url) = &asked.running.url else {
        return Ok(names::render(&settings, None));
    };
    let admin = || settings.callers.iter().find(|caller| caller.role == Role::Admin);
    let key = asked.running.admin_key.as_deref().or_else(|| Some(admin()?.key.expose()));
    let key = key.ok_or("no key of the configuration has role: admin; add --admin-key")?;
    let answer = ask(url, key, "{}".to_owned()).await?;
    let overview = serde_json::from_slice(&answer)
        .map_err(|_other| "the answer lists no models; the gateway may be of another version")?;
    Ok(names::render(&settings, Some(&overview)))
}

/// An answer to `uni-api explain`.
enum Answer {
    /// For one model.
    One(Box<Explanation>),
    /// For all models of the key.
    All(Overview),
}

async fn answer(asked: &ExplainArguments, env: &Environment, folder: &Path) -> Result<Answer, String> {
    if let Some(endpoint) = &asked.endpoint
        && endpoint::on_path(endpoint).next().is_none()
    {
        return Err(format!("{endpoint} is no path that requests are sent to"));
    }
    let body = match &asked.body {
        Some(path) => Some(read(path)?),
        None => None,
    };
    let model = match (&asked.model, &body) {
        (Some(model), _) => Some(model.clone()),
        (None, Some(body)) => Some(named(body)?),
        (None, None) => None,
    };
    match &asked.running.url {
        Some(url) => remote(asked, url, model.as_deref(), body).await,
        None => local(asked, env, folder, model.as_deref(), body.as_deref()).await,
    }
}

/// The model that a body names.
fn named(body: &[u8]) -> Result<String, String> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let model = body["model"].as_str().ok_or("the body names no model: name one with --model")?;
    Ok(model.to_owned())
}

/// Reads and checks the configuration.
async fn configuration(config: Option<&Path>, env: &Environment, folder: &Path) -> Result<Settings, String> {
    let source = Source::find(config, env, folder).map_err(|error| error.to_string())?;
    let text = source.read(&Fetcher::new(None)).await.map_err(|error| error.to_string())?;
    let loaded = load(&text.text, text.origin, env).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{} cannot be served:\n{}", source.describe(), problems.join("\n"))
    })?;
    Ok(loaded.settings)
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
    model: Option<&str>,
    body: Option<&[u8]>,
) -> Result<Answer, String> {
    let settings = configuration(asked.source.config.as_deref(), env, folder).await?;
    let runtime = Runtime::new(None);
    let snapshot = compile(settings.into(), &Discovered::new(), &runtime, &Metrics::new());
    let callers = snapshot.callers_called(&asked.key);
    let caller = match callers.as_slice() {
        [caller] => caller,
        [] => return Err("no client key is this, has this fingerprint or this role".to_owned()),
        _ => return Err("several client keys have this role: name one by its fingerprint".to_owned()),
    };
    let endpoint = asked.endpoint.as_deref().and_then(|path| endpoint::on_path(path).next());
    let endpoint = endpoint.unwrap_or(&CHAT_COMPLETIONS);
    let counts =
        Counts { windows: runtime.windows(), accounts: runtime.accounts(), affinity: runtime.affinity() };
    let now = Instant::now();
    let Some(model) = model else {
        let mut overview = super::overview(&snapshot, counts, caller, env.max_body_bytes, now);
        overview.fresh = true;
        return Ok(Answer::All(overview));
    };
    let question = Question { caller, model, endpoint, body, most_body: env.max_body_bytes };
    let mut explanation = super::explain(&snapshot, counts, question, now);
    explanation.fresh = true;
    Ok(Answer::One(Box::new(explanation)))
}

/// Asks a running gateway.
async fn remote(
    asked: &ExplainArguments,
    url: &str,
    model: Option<&str>,
    body: Option<Vec<u8>>,
) -> Result<Answer, String> {
    let mut question = serde_json::Map::new();
    if let Some(model) = model {
        question.insert("model".to_owned(), json!(model));
    }
    if asked.running.admin_key.is_some() {
        question.insert("key".to_owned(), json!(asked.key));
    }
    if let Some(endpoint) = &asked.endpoint {
        question.insert("endpoint".to_owned(), json!(endpoint));
    }
    let mut question = Value::Object(question).to_string();
    if let Some(body) = body {
        // As it is: its length counts.
        let body = String::from_utf8(body).map_err(|_binary| "the body is no text")?;
        let body = RawValue::from_string(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        question.pop();
        let comma = if question.len() > 1 { "," } else { "" };
        question = format!("{question}{comma}\"request\":{}}}", body.get());
    }
    let key = asked.running.admin_key.as_ref().unwrap_or(&asked.key);
    let answer = ask(url, key, question).await.map_err(|reason| {
        let hint = if reason.contains(" 403: ") && asked.running.admin_key.is_none() {
            " (this needs a key with role: admin; add --admin-key)"
        } else {
            ""
        };
        format!("{reason}{hint}")
    })?;
    let other = |_other| "the answer is no explanation".to_owned();
    match model {
        Some(_) => Ok(Answer::One(serde_json::from_slice(&answer).map_err(other)?)),
        None => Ok(Answer::All(serde_json::from_slice(&answer).map_err(other)?)),
    }
}

/// Puts a question to a running gateway.
async fn ask(url: &str, key: &str, question: String) -> Result<Bytes, String> {
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
    Ok(answer)
}
