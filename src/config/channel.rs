//! Reads one entry of `providers`.

mod account;
pub(super) mod fields;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Uri;
use layers::policy::{ChannelName, Quota};

use super::lookup::Patterns;
use super::overrides;
use super::problem::{Report, nearest, shown};
use super::quota;
use super::schema::{BY_PART, Item, PROVIDER, PROVIDER_PREFERENCES, Section, warn_of_star};
use super::settings::{CONNECT, ChannelSettings, ChannelTables, Globals, SecretText};
use super::timeouts;
use super::tree::Value;
use crate::engine::{Engine, Need};
use crate::providers::{self, Named};

use self::fields::{
    check_keepalive, check_overrides, exclude_endpoints, headers, key_algorithm, keys, models, passthrough,
    quirks,
};

/// The memory of what channels share while they are read one after the other.
pub(super) struct Channels {
    pub(super) globals: Arc<Globals>,
    pub(super) read: Vec<ChannelSettings>,
    /// Written names of channels that are turned off.
    pub(super) disabled: HashSet<String>,
    taken: HashSet<String>,
    quotas: HashMap<String, Arc<Quota>>,
}

impl Channels {
    pub(super) fn new(globals: Arc<Globals>) -> Self {
        Self {
            globals,
            read: Vec::new(),
            disabled: HashSet::new(),
            taken: HashSet::new(),
            quotas: HashMap::new(),
        }
    }

    /// Reads the entry and keeps it, unless it is turned off or has no name.
    pub(super) fn add(&mut self, entry: usize, item: Item<'_>, report: &mut Report) {
        let Some(section) = Section::open(item, &PROVIDER, report) else {
            return;
        };
        let Some(name) = section.text("provider", report) else {
            report.error(
                section.id,
                section.path,
                "a provider without a name",
                "provider: a name of your choice",
            );
            section.hint_at(&PROVIDER, "provider", report);
            return;
        };
        if !section.flag("enabled", true, report) {
            self.disabled.insert(name);
            return;
        }
        if let Some(channel) = self.channel(entry, &section, &name, report) {
            self.read.push(channel);
        }
    }

    fn channel(
        &mut self,
        entry: usize,
        section: &Section<'_>,
        name: &str,
        report: &mut Report,
    ) -> Option<ChannelSettings> {
        let unique = self.unique(section, name, report);
        let empty = super::tree::Node { id: section.id, value: Value::Null, typed: None };
        let preferences = section.get("preferences").unwrap_or(Item { node: &empty, path: section.path });
        let preferences = Section::open(preferences, &PROVIDER_PREFERENCES, report);
        let preferences = preferences.unwrap_or(Section::open(
            Item { node: &empty, path: section.path },
            &PROVIDER_PREFERENCES,
            report,
        )?);

        let mut project_ids = section.texts("project_id", report);
        let keys = keys(section, &mut project_ids, report);
        let accounts = account::accounts(section, report);
        let secret = |key: &str, report: &mut Report| {
            section.get(key).and_then(|item| item.secret(report)).map(|text| SecretText::from(text.as_str()))
        };
        let aws_access_key = secret("aws_access_key", report);
        let aws_secret_key = secret("aws_secret_key", report);
        let aws_session_token = secret("aws_session_token", report);
        let cf_account_id = section.text("cf_account_id", report);

        let base_url = base_url(section, report);
        let written: Vec<&str> = [
            ("api", !keys.is_empty()),
            ("project_id", !project_ids.is_empty()),
            ("cf_account_id", cf_account_id.is_some()),
            ("aws_access_key", aws_access_key.is_some()),
            ("aws_secret_key", aws_secret_key.is_some()),
        ]
        .into_iter()
        .chain(account::told(&accounts))
        .chain(["private_key", "client_email"].map(|setting| (setting, section.get(setting).is_some())))
        .filter_map(|(setting, is_written)| is_written.then_some(setting))
        .collect();
        let (engine, engine_is_explicit) = engine_of(section, base_url.as_ref(), &written, report)?;
        credentials(section, engine, &written, base_url.is_some(), report);

        let model_section = section.get("model");
        let models = models(model_section, report);
        let discover = section.flag("discover", models.is_empty(), report);
        if models.is_empty() && !discover {
            report.warn(
                section.id,
                section.path,
                "no models and discover: false",
                "a model list; nothing reaches this channel",
            );
        }

        let (overrides, remove) = overrides::read(preferences.get("post_body_parameter_overrides"), report);
        let tables = Arc::new(ChannelTables {
            globals: self.globals.clone(),
            timeouts: timeouts::timeouts(preferences.get("model_timeout"), report),
            keepalive: timeouts::keepalive(preferences.get("keepalive_interval"), report),
            policy: timeouts::policy(preferences.get("timeout_policy"), report),
            aliases: models.iter().map(|(alias, _)| alias.clone()).collect(),
            overrides,
            remove,
        });
        let mut channel = ChannelSettings {
            entry,
            name: ChannelName::from(&*unique),
            written_name: name.into(),
            base_url: base_url.map(|(text, _)| text),
            engine,
            engine_is_explicit,
            keys,
            models: Vec::new(),
            discover,
            key_quotas: self.key_quotas(&preferences, report),
            context_lengths: fields::context_lengths(&preferences, report),
            key_cooldown: preferences.seconds("api_key_cooldown_period", report),
            key_algorithm: key_algorithm(&preferences, report),
            cooldown: preferences.seconds("cooldown_period", report).unwrap_or(self.globals.cooldown),
            proxy: proxy(&preferences, report).or_else(|| self.globals.proxy.clone()),
            headers: headers(&preferences, report),
            passthrough_headers: passthrough(&preferences, report),
            tools: section.flag("tools", true, report),
            image: section.flag("image", true, report),
            quirks: quirks(&preferences, report),
            http2: preferences.flag("http2", false, report),
            connect_timeout: tables
                .policy
                .default
                .connect
                .or(self.globals.policy.default.connect)
                .unwrap_or(CONNECT),
            exclude_endpoints: exclude_endpoints(section, &preferences, report),
            max_request_body_bytes: preferences
                .size("max_request_body_bytes", report)
                .or_else(|| section.size("max_request_body_bytes", report)),
            project_ids,
            accounts,
            regions: section
                .texts("region", report)
                .iter()
                .flat_map(|text| text.split(','))
                .map(|region| region.trim().to_owned())
                .filter(|region| !region.is_empty())
                .collect(),
            cf_account_id,
            aws_access_key,
            aws_secret_key,
            aws_session_token,
            api_version: preferences
                .text("api_version", report)
                .or_else(|| section.text("api_version", report)),
            tables,
        };
        let resolved = channel.with_models(&models);
        channel.models = resolved;
        check_overrides(&channel, &models, &preferences, report);
        check_keepalive(&channel, &preferences, report);
        Some(channel)
    }

    fn unique(&mut self, section: &Section<'_>, name: &str, report: &mut Report) -> String {
        let (id, path) =
            section.get("provider").map_or((section.id, section.path), |item| (item.node.id, section.path));
        let path = path.key("provider");
        if name.contains('/') {
            report.warn(
                id,
                path,
                format!("{:?}, a name with a slash", shown(name)),
                "a name without /; rules cannot name this one",
            );
        }
        if name.starts_with("sk-") {
            report.warn(
                id,
                path,
                "a name that begins like a client key",
                "a name that does not begin with sk-",
            );
        }
        let mut unique = name.to_owned();
        let mut ordinal = 1;
        while !self.taken.insert(unique.clone()) {
            ordinal += 1;
            unique = format!("{name}~{ordinal}");
        }
        if ordinal > 1 {
            let found = format!("{:?}, a name that an earlier provider has", shown(name));
            let accepted =
                format!("a name of its own; this one is called {} and rules match both", shown(&unique));
            report.warn(id, path, found, &accepted);
        }
        unique
    }

    fn key_quotas(&mut self, preferences: &Section<'_>, report: &mut Report) -> Patterns<Arc<Quota>> {
        let Some(item) = preferences.get("api_key_rate_limit") else {
            return Patterns::default();
        };
        limit_table(item, &mut self.quotas, report)
    }
}

/// Limits by pattern, from a text for all or from a map.
pub(super) fn limit_table(
    item: Item<'_>,
    known: &mut HashMap<String, Arc<Quota>>,
    report: &mut Report,
) -> Patterns<Arc<Quota>> {
    let Some(pairs) = item.pairs() else {
        return limit(item, known, report).map(Patterns::only_default).unwrap_or_default();
    };
    let mut list = Vec::new();
    for (pair, item) in pairs {
        warn_of_star(pair, item.path, BY_PART, report);
        if !item.node.is_null()
            && let Some(quota) = limit(item, known, report)
        {
            list.push((pair.key.clone(), quota));
        }
    }
    Patterns::new(list)
}

/// One limit text; equal texts share one value.
pub(super) fn limit(
    item: Item<'_>,
    known: &mut HashMap<String, Arc<Quota>>,
    report: &mut Report,
) -> Option<Arc<Quota>> {
    let text = match &item.node.value {
        // `[15/min, 10/day]` says the same as `15/min,10/day`.
        Value::List(_) => item.texts(report).join(","),
        _ => match item.plain() {
            Some(text) => text,
            None => {
                item.refuse(quota::GRAMMAR, report);
                return None;
            }
        },
    };
    if let Some(quota) = known.get(&text) {
        return Some(quota.clone());
    }
    match quota::parse(&text) {
        Ok(quota) => {
            let quota = Arc::new(quota);
            known.insert(text, quota.clone());
            Some(quota)
        }
        Err(fault) => {
            report.error(
                item.node.id,
                item.path,
                format!("{:?}: {}", shown(&text), shown(&fault)),
                quota::GRAMMAR,
            );
            None
        }
    }
}

/// `proxy`, kept even when it is no URL that can be used.
pub(super) fn proxy(preferences: &Section<'_>, report: &mut Report) -> Option<SecretText> {
    let item = preferences.get("proxy")?;
    let text = item.secret(report)?;
    if let Some(accepted) = unusable_proxy(&text) {
        let found = format!("{:?}", shown(&text));
        item.warn(found, &format!("{accepted}; requests through this one fail"), report);
    }
    Some(SecretText::from(text.as_str()))
}

/// What a proxy would have to be that is none.
fn unusable_proxy(text: &str) -> Option<&'static str> {
    const GRAMMAR: &str = "socks5://, socks5h://, http:// or https:// with host and port";
    let known = |scheme: &str| {
        matches!(scheme.to_ascii_lowercase().as_str(), "socks5" | "socks5h" | "http" | "https")
    };
    let Some((_, rest)) = text.split_once("://").filter(|(scheme, _)| known(scheme)) else {
        return Some(GRAMMAR);
    };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split('/').next().unwrap_or_default();
    let port = place.rsplit_once(':').filter(|_| !place.ends_with(']')).map(|(_, port)| port);
    if text.contains("***") {
        return Some("the proxy's address as it is; this one is masked");
    }
    if port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) || port.is_none() {
        let is_url = format!("http://{place}").parse::<Uri>();
        let is_url = is_url.is_ok_and(|url| url.host().is_some_and(|host| !host.is_empty()));
        return (!is_url).then_some(GRAMMAR);
    }
    Some("a port from 1 to 65535 behind the host")
}

/// The engine of an entry in which these settings are written, and whether it is named there.
fn engine_of(
    section: &Section<'_>,
    base_url: Option<&(String, Uri)>,
    written: &[&str],
    report: &mut Report,
) -> Option<(&'static Engine, bool)> {
    if let Some(item) = section.get("engine")
        && let Some(text) = item.text(report)
    {
        match providers::named(&text) {
            Named::Engine(engine) => {
                let engine = base_url.map_or(engine, |(_, url)| engine.at(url));
                return needs_url(section, engine, base_url, report).map(|engine| (engine, true));
            }
            Named::Old(engine) => {
                item.warn(item.node.describe(), &format!("{}; taken as that", engine.name()), report);
                return needs_url(section, engine, base_url, report).map(|engine| (engine, true));
            }
            Named::Operation => item.warn(
                item.node.describe(),
                "a wire format; which operation it is comes with each request, so base_url decides",
                report,
            ),
            Named::Unknown => {
                let names = providers::names();
                item.refuse(&format!("one of {}", names.join(", ")), report);
                if let Some(known) = nearest(&text, names) {
                    report.hint(format!("did you mean {known}?"));
                }
                return None;
            }
        }
    }
    let is_written = |setting: &str| written.contains(&setting);
    let detected = base_url.and_then(|(_, url)| providers::detect(url));
    // A key beside an address that tells nothing: an upstream reached by a private way.
    let hinted = || {
        let engine = providers::hinted(is_written)?;
        Some(base_url.map_or(engine, |(_, url)| engine.at(url)))
    };
    let engine = detected.or_else(hinted).unwrap_or(&providers::OPENAI);
    let has_keys_only = is_written("api") && !is_written("private_key") && !is_written("client_email");
    let engine = engine.with_keys.filter(|_| has_keys_only).unwrap_or(engine);
    needs_url(section, engine, base_url, report).map(|engine| (engine, false))
}

fn needs_url(
    section: &Section<'_>,
    engine: &'static Engine,
    base_url: Option<&(String, Uri)>,
    report: &mut Report,
) -> Option<&'static Engine> {
    if base_url.is_none() && engine.needs_base_url() {
        // A base URL that cannot be read has its own problem.
        if section.get("base_url").is_none() {
            let accepted = "base_url: the upstream's full address, or project_id, cf_account_id or AWS keys";
            report.error(section.id, section.path, "a provider without base_url", accepted);
            section.hint_at(&PROVIDER, "base_url", report);
        }
        return None;
    }
    Some(engine)
}

/// Tells what the engine cannot do without and the entry, with these settings written, has not.
fn credentials(section: &Section<'_>, engine: &Engine, written: &[&str], has_url: bool, report: &mut Report) {
    let has_keys = written.contains(&"api");
    for need in engine.needs {
        match *need {
            Need::AccountOrKey { settings, told } => {
                if !has_keys && settings.iter().any(|setting| !written.contains(setting)) {
                    report.warn(section.id, section.path, "no credentials", told);
                }
            }
            Need::SettingOrBaseUrl(setting) => {
                if !has_url && !written.contains(&setting) {
                    report.warn(section.id, section.path, "no credentials", setting);
                }
            }
            Need::Key => {
                // A key that is refused for what it is has been reported already.
                let blank = |item: &Item<'_>| item.plain().is_some_and(|text| text.trim().is_empty());
                let absent = section.get("api").is_none_or(|item| item.items().iter().all(blank));
                if !has_keys && absent {
                    let accepted =
                        "api: the provider's key, or several; a server that asks for none takes any text";
                    let path = section.path.key("api");
                    report.error(section.id, path, "a channel without a key", accepted);
                    section.hint_at(&PROVIDER, "api", report);
                }
            }
            // Told where the engine was found.
            Need::BaseUrl => {}
        }
    }
}

fn base_url(section: &Section<'_>, report: &mut Report) -> Option<(String, Uri)> {
    let item = section.get("base_url")?;
    let text = item.text(report)?;
    let url = text.parse::<Uri>().ok().filter(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    });
    if text.contains("***") {
        item.warn(format!("{:?}", shown(&text)), "the address as it is; this one is masked", report);
    }
    if url.is_none() {
        item.refuse("an address that begins with https:// or http://", report);
    }
    Some((text, url?))
}
