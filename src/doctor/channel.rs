//! What a channel answers to questions that cost nothing.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use layers::address::{Address, bare};
use tokio::task::JoinSet;

use super::Turns;
use super::report::Finding;
use crate::config::problem::count;
use crate::config::{ChannelSettings, Severity};
use crate::snapshot::{Listed, ModelList, Probed, channel_addresses, date, list_probes};
use crate::state::Runtime;
use crate::upstream::{AGENT, ANYTHING, Fetcher};
use crate::values::seconds;

/// Most keys of a channel that are asked with.
const MOST_KEYS: usize = 32;
/// Most names in one sentence.
const MOST_NAMES: usize = 5;

/// A channel as it was found.
pub(super) struct Examined {
    /// Its position.
    pub(super) at: usize,
    /// Whether it can serve.
    pub(super) state: State,
    /// How long the first answer took.
    pub(super) took: Option<Duration>,
    /// How many credentials were asked with, and how many of them were good.
    pub(super) keys: Option<(usize, usize)>,
    /// The models that it has told.
    pub(super) models: Vec<Listed>,
    /// Whether those are all.
    pub(super) is_whole: bool,
    /// Where it was asked.
    pub(super) url: String,
    /// How far this machine's clock is before the other side's, and whose that is.
    pub(super) clock: Option<(i64, String)>,
    /// What it said to a short question.
    pub(super) answer: String,
    /// What a person should know.
    pub(super) findings: Vec<Finding>,
}

/// The standing of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// All of its keys are good.
    Fine,
    /// Somebody answers there; whether its keys are good is not known.
    Reached,
    /// It is inside this program.
    Inside,
    /// Some of it does not answer as it should.
    Failing,
}

/// Examines a channel.
pub(super) async fn examine(
    at: usize,
    channel: &ChannelSettings,
    runtime: &Runtime,
    turns: &Turns,
) -> Examined {
    let mut examined = Examined {
        at,
        state: State::Inside,
        took: None,
        keys: None,
        models: Vec::new(),
        is_whole: false,
        url: String::new(),
        clock: None,
        answer: String::new(),
        findings: Vec::new(),
    };
    if channel.engine.inside.is_some() {
        return examined;
    }
    examined.look_at_addresses(channel);
    let probes = list_probes(channel, runtime, MOST_KEYS);
    if probes.is_empty() {
        examined.reach(channel, turns).await;
        return examined;
    }
    examined.url = probes[0].url();
    let mut asking = JoinSet::new();
    for (at, probe) in probes.into_iter().enumerate() {
        let turns = turns.clone();
        asking.spawn(async move {
            let answer = turns.take(probe.ask()).await;
            let key = probe.fingerprint().map(|fingerprint| fingerprint.as_str().to_owned());
            Asked { at, key, answer }
        });
    }
    let mut asked = asking.join_all().await;
    asked.sort_by_key(|asked| asked.at);
    examined.read(channel, asked, turns);
    examined
}

/// A question for a list, with what came of it.
struct Asked {
    at: usize,
    key: Option<String>,
    answer: Option<(Probed, Duration)>,
}

impl Asked {
    /// What went wrong, if anything.
    fn fault(&self, turns: &Turns) -> Option<String> {
        match &self.answer {
            None => Some(turns.silence()),
            Some((Probed { list: Err(reason), .. }, _)) => Some(reason.clone()),
            Some(_) => None,
        }
    }

    /// Whether the answer is that of somebody who keeps no list.
    fn keeps_no_list(&self) -> bool {
        let none = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        self.answer.as_ref().is_some_and(|(probed, _)| {
            probed.list.is_err()
                && probed.status.is_some_and(|status| status.is_success() || none.contains(&status))
        })
    }
}

// === impl Examined ===

impl Examined {
    fn tell(&mut self, severity: Severity, channel: &ChannelSettings, told: String) {
        self.findings.push(Finding::new(severity, channel.name.as_str(), told));
    }

    /// What can be seen of its addresses without asking anybody.
    fn look_at_addresses(&mut self, channel: &ChannelSettings) {
        let mut unasked = Vec::new();
        for address in channel_addresses(channel) {
            match address.url {
                Ok(url) if self.url.is_empty() => self.url = url,
                Ok(_) => {}
                Err(reason) => unasked.push((address.model, reason)),
            }
        }
        if let Some((_, reason)) = unasked.first() {
            let names = names(unasked.iter().map(|(model, _)| &**model));
            self.tell(Severity::Error, channel, format!("{names} cannot be asked: {reason}"));
        }
        let url = channel.base_url.as_deref().and_then(|url| url.parse::<Uri>().ok());
        if let Some(url) = url.filter(|url| url.scheme_str() == Some("http"))
            && !channel.keys.is_empty()
            && url.host().is_some_and(is_public)
        {
            self.tell(
                Severity::Warning,
                channel,
                "its keys go over the network unencrypted (http)".to_owned(),
            );
        }
    }

    /// Asks whether anybody answers, where there is no list to be asked for.
    async fn reach(&mut self, channel: &ChannelSettings, turns: &Turns) {
        let url = if self.url.is_empty() { channel.base_url.clone() } else { Some(self.url.clone()) };
        let origin = url.and_then(|url| url.parse::<Uri>().ok()).and_then(|url| {
            let mut parts = url.into_parts();
            parts.path_and_query = Some(PathAndQuery::from_static("/"));
            Address::at(Uri::from_parts(parts).ok()?)
        });
        let Some(Address { uri, host }) = origin else {
            self.state = State::Failing;
            return self.tell(Severity::Error, channel, "it has no address that could be asked".to_owned());
        };
        let (origin, mut request) = (bare(&uri), Request::new(Vec::new()));
        *request.uri_mut() = uri;
        for (name, value) in [(HOST, host), (ACCEPT, ANYTHING), (USER_AGENT, AGENT)] {
            request.headers_mut().insert(name, value);
        }
        let proxy = channel.proxy.as_ref().map(crate::config::settings::SecretText::expose);
        let answer = turns.take(Fetcher::new(proxy).open(request)).await;
        let fault = match answer {
            Some((Ok(answer), took)) => {
                (self.state, self.took) = (State::Reached, Some(took));
                self.note_clock(&origin, date(answer.headers()));
                let told = "it has no list of models; whether its keys are good shows --paid";
                return self.tell(Severity::Note, channel, told.to_owned());
            }
            Some((Err(reason), _)) => reason,
            None => turns.silence(),
        };
        self.state = State::Failing;
        self.tell(Severity::Error, channel, fault);
    }

    /// Takes in what was answered to each of its credentials.
    fn read(&mut self, channel: &ChannelSettings, asked: Vec<Asked>, turns: &Turns) {
        let faults: Vec<Option<String>> = asked.iter().map(|asked| asked.fault(turns)).collect();
        let good = faults.iter().filter(|fault| fault.is_none()).count();
        let url = self.url.clone();
        for (probed, took) in asked.iter().filter_map(|asked| asked.answer.as_ref()) {
            self.took = self.took.or(Some(*took));
            self.note_clock(&url, probed.date);
        }
        let has_no_list =
            !channel.models.is_empty() && !channel.discover && asked.iter().all(Asked::keeps_no_list);
        if has_no_list {
            self.state = State::Reached;
            let why = faults.into_iter().flatten().next().unwrap_or_default();
            let told = format!("it tells no list of models ({why}); whether its keys are good shows --paid");
            return self.tell(Severity::Note, channel, told);
        }
        self.state = if good == asked.len() { State::Fine } else { State::Failing };
        // Where nobody answered, nobody judged the keys.
        let is_judged = |asked: &Asked| {
            asked.key.is_some() && asked.answer.as_ref().is_some_and(|(probed, _)| probed.status.is_some())
        };
        self.keys = Some((good, asked.len())).filter(|_| asked.iter().any(is_judged));
        self.tell_faults(channel, &asked, &faults);
        let rest = channel.keys.len().saturating_sub(MOST_KEYS);
        if rest > 0 {
            self.tell(Severity::Note, channel, format!("{} more is not asked with", count(rest, "key")));
        }
        let lists = asked.into_iter().filter_map(|asked| asked.answer?.0.list.ok());
        if let Some(ModelList { models, is_whole }) = lists.max_by_key(|list| list.models.len()) {
            (self.models, self.is_whole) = (models, is_whole);
            self.look_for_models(channel);
        }
    }

    fn tell_faults(&mut self, channel: &ChannelSettings, asked: &[Asked], faults: &[Option<String>]) {
        let same = faults.iter().all(|fault| fault == &faults[0]);
        match &faults[0] {
            Some(reason) if same => {
                let keys =
                    if asked.len() > 1 { format!(" (all {} keys)", asked.len()) } else { String::new() };
                self.tell(Severity::Error, channel, format!("{reason}{keys}"));
            }
            _ => {
                for (asked, reason) in asked.iter().zip(faults) {
                    if let (Some(reason), Some(key)) = (reason, &asked.key) {
                        self.tell(Severity::Error, channel, format!("key {} ({key}) {reason}", asked.at + 1));
                    }
                }
            }
        }
    }

    /// Looks for the models that are written down on the list that came.
    fn look_for_models(&mut self, channel: &ChannelSettings) {
        if self.models.is_empty() && channel.discover {
            return self.tell(Severity::Error, channel, "its list of models is empty".to_owned());
        }
        if !self.is_whole {
            return;
        }
        let is_listed = |name: &str| self.models.iter().any(|listed| *listed.name == *name);
        let missing: Vec<&str> =
            channel.models.iter().map(|model| &*model.upstream).filter(|name| !is_listed(name)).collect();
        if !missing.is_empty() {
            let told = format!(
                "not on its list of models: {}; it may serve them all the same",
                names(missing.into_iter())
            );
            self.tell(Severity::Note, channel, told);
        }
    }

    fn note_clock(&mut self, url: &str, theirs: Option<SystemTime>) {
        if let Some(theirs) = theirs {
            let ahead = seconds(SystemTime::now()).saturating_sub(seconds(theirs));
            let host =
                url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
            self.clock.get_or_insert((ahead, host));
        }
    }

    /// Notes what came of its short question.
    pub(super) fn answered(
        &mut self,
        model: &str,
        answer: Option<(Result<(), String>, Duration)>,
        turns: &Turns,
        channel: &ChannelSettings,
    ) {
        let fault = match answer {
            Some((Ok(()), took)) => {
                self.answer = format!("{model} in {} ms", took.as_millis());
                if self.state == State::Reached {
                    self.state = State::Fine;
                }
                // What was to be shown by it is shown.
                self.findings.retain(|finding| !finding.told.ends_with("shows --paid"));
                return;
            }
            Some((Err(reason), _)) => reason,
            None => turns.silence(),
        };
        self.state = State::Failing;
        self.answer = format!("{model} fails");
        self.tell(Severity::Error, channel, format!("{model}: {fault}"));
    }

    /// Notes that it was asked no question.
    pub(super) fn unasked(&mut self, wanted: Option<&str>, channel: &ChannelSettings) {
        let told = match wanted {
            Some(model) => format!("it has no {model} to be asked"),
            None => "no model of it is known that could be asked".to_owned(),
        };
        self.tell(Severity::Note, channel, told);
    }
}

/// Some names, as a sentence has them.
fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    match all.len().checked_sub(MOST_NAMES) {
        Some(more) if more > 0 => format!("{} and {more} more", all[..MOST_NAMES].join(", ")),
        _ => all.join(", "),
    }
}

/// Whether a host is none of this machine or of a network of one's own.
fn is_public(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        Ok(IpAddr::V6(ip)) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
        Err(_name) => {
            let own = [".local", ".internal", ".lan", ".test", ".svc", ".localhost"];
            host.contains('.') && !own.iter().any(|end| host.ends_with(end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_ones_own_are_told_from_those_of_others() {
        for own in ["127.0.0.1", "10.1.2.3", "[::1]", "[fd00::1]", "ollama", "box.local", "a.svc"] {
            assert!(!is_public(own), "{own}");
        }
        for public in ["api.example.com", "8.8.8.8", "[2001:db8::1]"] {
            assert!(is_public(public), "{public}");
        }
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        let all = ["a", "b", "c", "d", "e", "f", "g"];

        assert_eq!(names(all[..5].iter().copied()), "a, b, c, d, e");
        assert_eq!(names(all.into_iter()), "a, b, c, d, e and 2 more");
    }
}
