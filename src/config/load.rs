//! Turns text into settings, or into everything that is wrong with it.

use std::path::PathBuf;
use std::sync::Arc;

use layers::policy::Triggers;

use super::amount;
use super::caller;
use super::channel::{Channels, limit, proxy};
use super::environment::Environment;
use super::expand::expand;
use super::problem::{Path, Problem, Report};
use super::schema::{Item, PREFERENCES, Section, TOP};
use super::settings::{COOLDOWN, ChannelSettings, Globals, Settings};
use super::timeouts;
use super::tree::{self, Node, Value};

/// The place that a text came from, which decides what may be expanded in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A local file; `${file:…}` may read below its folder.
    File(PathBuf),
    /// `API_YAML_CONTENT`.
    Inline,
    /// `http(s)://`: only variables that are allowed by name are expanded.
    Url,
}

/// A configuration that can be served.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What is probably not meant.
    pub warnings: Vec<Problem>,
}

/// Reads a configuration. The problems are all there are, errors first.
pub fn load(text: &str, origin: Origin, env: &Environment) -> Result<Loaded, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if super::source::is_page(text) {
        let accepted = "the text of a configuration: use the raw address of the file";
        return Err(vec![Problem::error("", "a web page", accepted)]);
    }
    let mut tree = tree::parse(text).map_err(|problem| vec![*problem])?;
    let mut report = Report::default();
    tree::settle(&mut tree, Path::ROOT, &mut report);
    expand(&mut tree, Path::ROOT, &origin, env, &mut report);
    // Half-expanded values would be reported twice.
    if report.has_errors() {
        return Err(report.into_problems(text));
    }
    let settings = settings(&tree, env, &mut report);
    let refused = report.has_errors();
    let problems = report.into_problems(text);
    match settings {
        Some(settings) if !refused => Ok(Loaded { settings, warnings: problems }),
        _ => Err(problems),
    }
}

fn settings(tree: &Node, env: &Environment, report: &mut Report) -> Option<Settings> {
    let root = Item { node: tree, path: Path::ROOT };
    if tree.is_null() {
        let problem = Problem::error("", "an empty text", "a map with providers and api_keys");
        report.add(None, problem.with_hint("api.yaml.example shows every key"));
        return None;
    }
    let top = Section::open(root, &TOP, report)?;
    let globals = Arc::new(globals(&top, env, report));
    let mut channels = Channels::new(globals.clone());
    match top.get("providers") {
        Some(list) if is_list(&list, report) => {
            for (entry, item) in list.items().into_iter().enumerate() {
                channels.add(entry, item, report);
            }
        }
        Some(_) | None => {}
    }
    refuse_without_providers(&top, &channels.read, report);
    let list = top.get("api_keys");
    let none = list.as_ref().is_none_or(|list| list.items().is_empty());
    if none {
        report.error(
            top.id,
            top.path.key("api_keys"),
            "no client key",
            "a list with at least one `api`; without it nobody may call",
        );
    }
    let callers = match &list {
        Some(list) if is_list(list, report) => caller::read(*list, &channels, report),
        _ => Vec::new(),
    };
    Some(Settings { channels: channels.read, callers, globals })
}

/// Refuses a configuration of which nothing can ever be served.
fn refuse_without_providers(top: &Section<'_>, channels: &[ChannelSettings], report: &mut Report) {
    // Of entries that could not be read it is not known.
    if report.has_errors() || !channels.is_empty() {
        return;
    }
    let id = top.get("providers").map_or(top.id, |list| list.node.id);
    report.error(
        id,
        top.path.key("providers"),
        "no provider",
        "at least one that can be asked; nothing can be served",
    );
}

/// Whether a list of maps is there; one map alone counts as a list of one.
fn is_list(list: &Item<'_>, report: &mut Report) -> bool {
    match &list.node.value {
        Value::List(_) => true,
        Value::Map(_) => {
            list.warn("a map", "a list, each entry with a dash; taken as a list of one", report);
            true
        }
        _ => {
            list.refuse("a list of maps", report);
            false
        }
    }
}

fn globals(top: &Section<'_>, env: &Environment, report: &mut Report) -> Globals {
    let empty = Node { id: top.id, value: Value::Null, typed: None };
    let nothing = Item { node: &empty, path: top.path };
    let preferences = Section::open(top.get("preferences").unwrap_or(nothing), &PREFERENCES, report)
        .or_else(|| Section::open(nothing, &PREFERENCES, report))
        .expect("null is an empty map");
    let rate_limit = preferences.get("rate_limit").and_then(|item| {
        if item.pairs().is_some() {
            item.refuse(
                "one limit for everything; limits per model stand at client keys and providers",
                report,
            );
            return None;
        }
        let quota = limit(item, &mut std::collections::HashMap::new(), report)?;
        if quota.tokens_per_request.is_some() {
            item.warn("tpr", "tpr under api_key_rate_limit of a provider; it has no effect here", report);
        }
        Some(quota)
    });
    Globals {
        rate_limit: rate_limit.filter(|quota| !quota.windows.is_empty()),
        triggers: Triggers::new(preferences.texts("error_triggers", report)),
        prices: amount::prices(preferences.get("model_price"), report),
        proxy: proxy(&preferences, report),
        cooldown: preferences.seconds("cooldown_period", report).unwrap_or(COOLDOWN),
        timeouts: timeouts::timeouts(preferences.get("model_timeout"), report),
        keepalive: timeouts::keepalive(preferences.get("keepalive_interval"), report),
        policy: timeouts::policy(preferences.get("timeout_policy"), report),
        timeout: env.timeout,
    }
}
