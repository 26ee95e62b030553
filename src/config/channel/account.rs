//! Reads the service accounts of an entry: keys beside their e-mail addresses and projects, or the
//! key files that Google gives out, whole.

use http::Uri;
use serde_json::{Map, Value as Json};

use crate::config::problem::Report;
use crate::config::schema::{Item, Section};
use crate::config::settings::{AccountSettings, SecretText};
use crate::providers::key_problem;

/// What a person is told that `private_key` takes.
const GRAMMAR: &str = "the private_key of a service account's key file (PEM), or the whole file";

/// One `private_key`, with what its key file says beside it.
#[derive(Default)]
struct Written {
    key: String,
    key_id: Option<String>,
    email: Option<String>,
    project: Option<String>,
    token_uri: Option<String>,
}

/// The accounts, in the order of `private_key`. What stands in the entry itself comes before what a
/// key file says; of lists the value at the same position counts, one value is for all.
pub(super) fn accounts(section: &Section<'_>, report: &mut Report) -> Vec<AccountSettings> {
    let emails = section.texts("client_email", report);
    let projects = section.texts("project_id", report);
    let token_uri = token_uri(section, report);
    let Some(item) = section.get("private_key") else { return Vec::new() };
    let of = |list: &[String], at: usize| if list.len() == 1 { list.first() } else { list.get(at) }.cloned();
    let mut accounts: Vec<AccountSettings> = Vec::new();
    for (at, item) in item.items().into_iter().enumerate() {
        let Some(written) = written(item, report) else { continue };
        let email = of(&emails, at).or(written.email);
        let project = of(&projects, at).or(written.project);
        if let Some(problem) = key_problem(&written.key) {
            let accepted = format!("{GRAMMAR}; no token can be had with this one");
            item.warn(format!("a key that cannot be used: {problem}"), &accepted, report);
        }
        let account = AccountSettings {
            private_key: SecretText::from(&*written.key),
            key_id: written.key_id,
            email,
            project,
            token_uri: token_uri.clone().or(written.token_uri),
        };
        if accounts.iter().any(|before| before.private_key == account.private_key) {
            item.warn("a key that stands above already", "each key once; this one is ignored", report);
            continue;
        }
        accounts.push(account);
    }
    accounts
}

/// Where tokens come from, if not from Google's endpoint.
fn token_uri(section: &Section<'_>, report: &mut Report) -> Option<String> {
    let item = section.get("token_uri")?;
    let text = item.text(report)?;
    let is_url = |url: Uri| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    };
    if !text.parse::<Uri>().is_ok_and(is_url) {
        item.warn(item.node.describe(), "an address that begins with https:// or http://", report);
    }
    Some(text)
}

/// One key in any of its forms.
fn written(item: Item<'_>, report: &mut Report) -> Option<Written> {
    if let Some(pairs) = item.pairs() {
        let fields = pairs.filter_map(|(pair, item)| Some((pair.key.clone(), Json::from(item.plain()?))));
        return key_file(&fields.collect(), item, report);
    }
    let text = item.secret(report)?;
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str::<Map<String, Json>>(&text) {
            Ok(fields) => key_file(&fields, item, report),
            Err(_broken) => {
                item.warn("JSON that cannot be read", GRAMMAR, report);
                None
            }
        };
    }
    // Inside single quotes or a block the escaped line ends of the key file stay as they are.
    Some(Written { key: text.replace("\\n", "\n"), ..Written::default() })
}

/// A key file, which is of a service account and of nobody else.
fn key_file(fields: &Map<String, Json>, item: Item<'_>, report: &mut Report) -> Option<Written> {
    let text = |name: &str| {
        let text = fields.get(name).and_then(Json::as_str).map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let Some(key) = text("private_key") else {
        let found = match text("type").as_deref() {
            Some("authorized_user") => "the credentials of a user",
            Some("external_account" | "external_account_authorized_user") => {
                "credentials that another identity provider vouches for"
            }
            _ => "a map without private_key",
        };
        item.warn(found, GRAMMAR, report);
        return None;
    };
    Some(Written {
        key: key.replace("\\n", "\n"),
        key_id: text("private_key_id"),
        email: text("client_email"),
        project: text("project_id"),
        token_uri: text("token_uri"),
    })
}

/// Which of an account's settings are there, in the entry or in a key file.
pub(super) fn told(accounts: &[AccountSettings]) -> impl Iterator<Item = (&'static str, bool)> {
    let every = |has: fn(&AccountSettings) -> bool| !accounts.is_empty() && accounts.iter().all(has);
    [
        ("client_email", every(|account| account.email.is_some())),
        ("project_id", every(|account| account.project.is_some())),
    ]
    .into_iter()
}
