//! `uni-api doctor`: asks every channel whether it answers, and tells what stands in the way.
//!
//! It asks as the gateway does, by the same addresses, signatures, proxies and lists of models, and puts what costs
//! money through the same pipeline. It is a process of its own: what it finds out cools nothing in a gateway that runs
//! beside it, and is booked nowhere.

mod channel;
mod gateway;
mod paid;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dialect::{Care, Secrets};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::channel::Examined;
use self::gateway::{Gateway, Wish};
use self::paid::Paid;
use self::report::{Finding, Report};
use crate::cli::DoctorArguments;
use crate::config::source::Source;
use crate::config::{Environment, Settings, Severity, load};
use crate::providers;
use crate::snapshot::Discovered;
use crate::state::Runtime;
use crate::upstream::{Aside, Fetcher, Upstream, certificate_problems};

/// Most questions at once.
const AT_ONCE: usize = 8;

/// What to print, and the exit code: 0 when all is well, 1 when something is wrong, 2 when there is nothing to look at.
pub async fn doctor(asked: DoctorArguments, env: &Environment, folder: &Path) -> (String, i32) {
    let told = |reason: String, code| (format!("uni-api doctor: {reason}\n"), code);
    let source = match Source::find(asked.source.config.as_deref(), env, folder) {
        Ok(source) => source,
        Err(error) => return told(error.to_string(), 2),
    };
    let text = match source.read(&Fetcher::new(None)).await {
        Ok(text) => text,
        Err(error) => return told(error.to_string(), 2),
    };
    let settings = match load(&text.text, text.origin, env) {
        Ok(loaded) => Arc::new(loaded.settings),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return told(format!("{} cannot be served:\n{}", source.describe(), problems.join("\n")), 1);
        }
    };
    let chosen = match chosen(&settings, &asked.channel) {
        Ok(chosen) => chosen,
        Err(reason) => return told(reason, 2),
    };
    let gateway = asked.url.as_ref().map(|url| Gateway::at(url, asked.key.as_deref(), &settings));
    let gateway = match gateway.transpose() {
        Ok(gateway) => gateway,
        Err(reason) => return told(reason, 2),
    };
    let mut report = Report::of(source.describe());
    surroundings(&settings, env, &mut report);
    let turns = Turns::new(Duration::from_secs(asked.timeout));
    let runtime = Arc::new(Runtime::new(None));
    let upstream = Upstream::new(providers::inside);
    let renewing = tokio::spawn(runtime.tokens().clone().renew(Arc::new(Aside::new(upstream.clone()))));
    let mut examined = channels(&settings, &chosen, &runtime, &turns).await;
    if asked.paid {
        let discovered = discovered(&settings, &examined);
        let paid = Arc::new(Paid::new(&settings, &discovered, env, &runtime, upstream));
        answers(&paid, &settings, asked.model.as_deref(), &turns, &mut examined).await;
    }
    renewing.abort();
    report.tell_channels(&settings, &examined, asked.paid);
    examined.into_iter().flat_map(|one| one.findings).for_each(|finding| report.tell(finding));
    if let Some(gateway) = gateway {
        let wish = Wish { model: asked.model.as_deref(), paid: asked.paid };
        if let Err(reason) = gateway.examine(wish, &settings, &turns, &mut report).await {
            return told(reason, 2);
        }
    }
    let (text, code) = report.render();
    (hidden(&settings, asked.key.as_deref(), text), code)
}

/// The positions of the channels that are meant.
fn chosen(settings: &Settings, names: &[String]) -> Result<Vec<usize>, String> {
    let of = |name: &String| {
        let is_meant = |at: &usize| {
            let channel = &settings.channels[*at];
            *channel.written_name == **name || channel.name.as_str() == name
        };
        let found: Vec<usize> = (0..settings.channels.len()).filter(is_meant).collect();
        if found.is_empty() { Err(format!("no channel is called {name:?}")) } else { Ok(found) }
    };
    if names.is_empty() {
        return Ok((0..settings.channels.len()).collect());
    }
    let mut chosen: Vec<usize> = names.iter().map(of).collect::<Result<Vec<_>, _>>()?.concat();
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// What is odd around the channels.
fn surroundings(settings: &Settings, env: &Environment, report: &mut Report) {
    for problem in certificate_problems(env.var("SSL_CERT_FILE"), env.var("SSL_CERT_DIR")) {
        report.tell(Finding::new(Severity::Warning, "certificates", problem));
    }
    let has_proxy = settings.channels.iter().any(|channel| channel.proxy.is_some());
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let set = names.into_iter().find(|name| env.var(name).is_some_and(|value| !value.trim().is_empty()));
    if let Some(name) = set.filter(|_| !has_proxy) {
        let told =
            format!("{name} is in the environment and not used: channels go through preferences.proxy");
        report.tell(Finding::new(Severity::Note, "proxies", told));
    }
}

/// Examines all of these at once, as far as the turns let them.
async fn channels(
    settings: &Arc<Settings>,
    chosen: &[usize],
    runtime: &Arc<Runtime>,
    turns: &Turns,
) -> Vec<Examined> {
    let mut tasks = JoinSet::new();
    for &at in chosen {
        let (settings, runtime, turns) = (settings.clone(), runtime.clone(), turns.clone());
        tasks.spawn(async move { channel::examine(at, &settings.channels[at], &runtime, &turns).await });
    }
    let mut examined = tasks.join_all().await;
    examined.sort_by_key(|examined| examined.at);
    examined
}

/// The lists that came, for the models that are asked.
fn discovered(settings: &Settings, examined: &[Examined]) -> Discovered {
    let lists = examined.iter().filter(|examined| settings.channels[examined.at].discover);
    lists.map(|one| (settings.channels[one.at].name.clone(), one.models.clone().into())).collect()
}

/// Has every channel answer one short question.
async fn answers(
    paid: &Arc<Paid>,
    settings: &Settings,
    wanted: Option<&str>,
    turns: &Turns,
    examined: &mut [Examined],
) {
    let mut tasks = JoinSet::new();
    for one in examined.iter() {
        let Some(model) = paid::model(&settings.channels[one.at], &one.models, wanted) else { continue };
        let (paid, turns, at) = (paid.clone(), turns.clone(), one.at);
        tasks.spawn(async move {
            let answered = turns.take(paid.ask(at, &model)).await;
            (at, model, answered)
        });
    }
    let mut answered = tasks.join_all().await;
    for one in examined.iter_mut() {
        let found = answered.iter().position(|(at, ..)| *at == one.at);
        match found.map(|at| answered.swap_remove(at)) {
            Some((_, model, answer)) => one.answered(&model, answer, turns, &settings.channels[one.at]),
            None => one.unasked(wanted, &settings.channels[one.at]),
        }
    }
}

/// The report without anything that only the channels, or the clients, may know.
fn hidden(settings: &Settings, key: Option<&str>, text: String) -> String {
    let own = settings.callers.iter().map(|caller| caller.key.expose()).chain(key);
    let theirs = settings.channels.iter().flat_map(|channel| {
        let accounts = channel.accounts.iter().map(|account| &account.private_key);
        let pair = channel.aws_secret_key.iter().chain(&channel.aws_session_token);
        channel.keys.iter().chain(accounts).chain(pair).map(crate::config::settings::SecretText::expose)
    });
    let secrets: Vec<Secrets> = own.chain(theirs).map(|key| Secrets::default().with_key(key)).collect();
    match dialect::hide(secrets.iter(), text.as_bytes(), Care::Whole) {
        Some(clean) => String::from_utf8_lossy(&clean).into_owned(),
        None => text,
    }
}

/// A number of questions that may be open at once, and how long each may be.
#[derive(Clone)]
struct Turns {
    open: Arc<Semaphore>,
    limit: Duration,
}

impl Turns {
    fn new(limit: Duration) -> Self {
        Self { open: Arc::new(Semaphore::new(AT_ONCE)), limit }
    }

    /// Waits for a turn and for the answer. Tells how long that took; nothing where none came in time.
    async fn take<T>(&self, question: impl Future<Output = T>) -> Option<(T, Duration)> {
        let _turn = self.open.acquire().await.ok()?;
        let began = Instant::now();
        let answer = tokio::time::timeout(self.limit, question).await.ok()?;
        Some((answer, began.elapsed()))
    }

    /// What is told of a question that got no answer.
    fn silence(&self) -> String {
        format!("nothing came for {} s", self.limit.as_secs())
    }
}
