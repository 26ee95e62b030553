//! The names of all keys: what logs and statistics call each, and how to know it again in the file.

use std::collections::HashMap;

use super::{Overview, span, table};
use crate::config::Settings;
use crate::config::settings::SecretText;

/// Keys that are shorter than this show nothing of themselves.
const LONG: usize = 16;

/// One line for each client key and each provider key, in the order of the configuration; with an
/// overview of a running gateway, the state of the latter too.
pub(super) fn render(settings: &Settings, overview: Option<&Overview>) -> String {
    let mut text = String::new();
    let mut callers = vec![["CLIENT KEY", "ROLE", "FINGERPRINT", "ENDS IN"].map(str::to_owned)];
    callers.extend(settings.callers.iter().enumerate().map(|(at, caller)| {
        let fingerprint = caller.key.fingerprint().as_str().to_owned();
        let role = if *caller.alias == *fingerprint { "-".to_owned() } else { caller.alias.to_string() };
        [(at + 1).to_string(), role, fingerprint, end(&caller.key)]
    }));
    let states = overview.map(states);
    let state = |fingerprint: &str| match &states {
        None => String::new(),
        Some(states) => states.get(fingerprint).cloned().unwrap_or_else(|| "usable".to_owned()),
    };
    let title = if overview.is_some() { "STATE" } else { "" };
    let mut keys = vec![["CHANNEL", "KEY", "FINGERPRINT", "ENDS IN", title].map(str::to_owned)];
    for channel in &settings.channels {
        let accounts = channel.accounts.iter().map(|account| &account.private_key);
        for (at, key) in channel.keys.iter().chain(accounts).chain(&channel.aws_secret_key).enumerate() {
            let fingerprint = key.fingerprint().as_str().to_owned();
            let state = state(&fingerprint);
            keys.push([channel.name.to_string(), (at + 1).to_string(), fingerprint, end(key), state]);
        }
    }
    // Writing to a String cannot fail.
    let _ = table::columns(&mut text, &callers);
    if keys.len() > 1 {
        text.push('\n');
        let _ = table::columns(&mut text, &keys);
    }
    text
}

/// The last four characters of a key that is long enough not to be given away by them.
fn end(key: &SecretText) -> String {
    let text = key.expose().trim_end();
    let count = text.chars().count();
    if count < LONG || text.starts_with("-----BEGIN") {
        return "-".to_owned();
    }
    text.chars().skip(count - 4).collect()
}

/// What is said of keys that cannot be used, by fingerprint: the longest rest of any model.
fn states(overview: &Overview) -> HashMap<&str, String> {
    let mut longest = HashMap::<&str, (f64, &str, Vec<&str>)>::new();
    for line in &overview.models {
        for key in line.channels.iter().flat_map(|channel| &channel.resting) {
            let left = key.seconds.unwrap_or_default();
            let state = longest.entry(&key.fingerprint).or_insert((left, &key.standing, Vec::new()));
            if left > state.0 {
                (state.0, state.1) = (left, &key.standing);
            }
            state.2.push(&line.model);
        }
    }
    let told = |(left, standing, models): (f64, &str, Vec<&str>)| {
        let which = match models.as_slice() {
            [one] => (*one).to_owned(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        format!("{} for {} ({which})", standing.replace('_', " "), span(left))
    };
    longest.into_iter().map(|(fingerprint, state)| (fingerprint, told(state))).collect()
}
