//! The engine of a channel: all that is known of one kind of upstream, as one row.
//!
//! A row is written in the file of its provider and listed in `providers::ENGINES`; what a row *is*
//! stands here, below both those who write rows and those who read them. So imports run one way:
//! the providers write rows of this type, the configuration asks their table which of them a channel
//! has and keeps the row, and whoever comes later (snapshot, discovery, client) asks the row and
//! names no provider.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialect::{Dialect, Envelope, Quirks};
use http::{Request, Response, StatusCode, Uri};
use layers::body::UpstreamBody;
use layers::policy::{Fingerprint, Link};
use layers::ports::{Outgoing, Pair, Provider, Secret, Unsupported};
use serde_json::Value;

/// The row of one kind of upstream: how it is called, recognised, and asked.
pub struct Engine {
    /// Its names in `engine:`; the first is the one that is said.
    pub names: &'static [&'static str],
    /// Names that older configurations have for it.
    pub old_names: &'static [&'static str],
    /// Whether a base URL is one of its own.
    pub detect: fn(&BaseUrl<'_>) -> bool,
    /// Settings any of which says that it is this one, where no base URL does.
    pub hints: &'static [&'static str],
    /// The engine that it is instead where there are API keys and no account.
    pub with_keys: Option<&'static Engine>,
    /// The engine that it is instead at this base URL: another version or format of the same provider.
    pub at: fn(&BaseUrl<'_>) -> Option<&'static Engine>,
    /// The engine that it is instead for this upstream model; whether `engine` was written is told
    /// too.
    pub refine: fn(&str, bool) -> Option<&'static Engine>,
    /// What a channel has to have.
    pub needs: &'static [Need],
    /// How it speaks.
    pub dialect: Dialect,
    /// What is different around bodies of that dialect.
    pub envelope: Envelope,
    /// What such upstreams do otherwise, wherever they are.
    pub quirks: fn(Option<&str>) -> Quirks,
    /// What the slots of a channel's key pool hold.
    pub credentials: fn(&ProviderSpec<'_>) -> Vec<Slot>,
    /// How its models are listed; none where they cannot be asked for.
    pub listing: Option<Listing>,
    /// The URL of the list where the base URL alone does not tell it; none where there is no list.
    pub lists_at: Option<fn(&ProviderSpec<'_>) -> Option<Uri>>,
    /// Lists of models beside the first.
    pub more_listings: &'static [Listing],
    /// The name by which an entry of its lists is asked for, given the one that it has there; none
    /// where it is no model that this version asks for.
    pub listed: for<'a> fn(&'a str, &Value) -> Option<&'a str>,
    /// How a list goes on whose pages have numbers.
    pub numbered: Option<Numbered>,
    /// Makes what finds its addresses and signs its requests.
    pub build: Build,
    /// What answers in its place, for an upstream inside this program.
    pub inside: Option<Inside>,
    /// Whether its addresses depend on `region`, so that each region is a place of its own.
    pub is_regional: bool,
    /// Where an upstream model is served, for a channel without `region`; nowhere in particular by
    /// default.
    pub places: fn(&ProviderSpec<'_>, &str) -> Vec<Cow<'static, str>>,
    /// Its address, where a channel gives none.
    pub base: Option<&'static str>,
}

/// A maker of a channel's provider.
pub type Build = fn(&ProviderSpec<'_>) -> Result<Arc<dyn Provider>, Unsupported>;

/// An upstream inside this program: what stands where a connection would be.
pub type Inside = fn(Request<Vec<Bytes>>) -> Response<UpstreamBody>;

/// A base URL, taken apart for [`Engine::detect`].
#[derive(Debug)]
pub struct BaseUrl<'a> {
    /// The host, in lower case.
    pub host: String,
    /// The path, without slashes at its end.
    pub path: &'a str,
}

/// A setting that an engine cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `base_url`; others derive their address.
    BaseUrl,
    /// `api`.
    Key,
    /// All of these, or else `api`.
    AccountOrKey {
        /// The settings.
        settings: &'static [&'static str],
        /// What a person is told that is missing.
        told: &'static str,
    },
    /// This one, or else `base_url`.
    SettingOrBaseUrl(&'static str),
}

/// A channel as far as it decides where requests go and how they are signed.
#[derive(Debug, Clone, Copy)]
pub struct ProviderSpec<'a> {
    /// The row.
    pub engine: &'static Engine,
    /// Whether the configuration names the engine, so that the address is taken at its word.
    pub engine_is_explicit: bool,
    /// The upstream's address as written.
    pub base_url: Option<&'a str>,
    /// `api`.
    pub keys: &'a [Secret],
    /// `cf_account_id`.
    pub cf_account: Option<&'a str>,
    /// The service accounts of which everything is there.
    pub accounts: &'a [ServiceAccount],
    /// `project_id`; one for all credentials, or one for each.
    pub projects: &'a [String],
    /// How connections are made for it.
    pub link: &'a Link,
    /// The AWS keys, where both are there.
    pub pair: Option<&'a Pair>,
    /// `region`.
    pub regions: &'a [String],
    /// `api_version`.
    pub api_version: Option<&'a str>,
}

/// A Google service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// `client_email`.
    pub email: String,
    /// The project that it is asked for.
    pub project: String,
    /// `private_key`, PEM.
    pub private_key: Secret,
    /// The name that Google has for the key, where its file tells it.
    pub key_id: Option<String>,
    /// `token_uri`, if not Google's.
    pub token_uri: Option<String>,
}

/// The content of one slot, before what outlives the configuration is put to it.
pub enum Slot {
    /// A key that is sent as it is.
    Key(Secret),
    /// An account, whose tokens this issuer gives out.
    Account(Arc<dyn Issuer>),
    /// A key that signs.
    Pair(Pair),
}

/// The source of the tokens of one account.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// What stands for the account: the same account has the same in every configuration.
    fn account(&self) -> Fingerprint;
    /// Asks for a new token, by way of this client.
    ///
    /// # Errors
    /// What went wrong, without any part of a key.
    async fn issue(&self, client: &dyn SideClient) -> Result<Token, NoToken>;
}

/// A client for what is asked of an upstream beside the pipeline, over the connections that
/// requests are sent over.
#[async_trait]
pub trait SideClient: Send + Sync {
    /// The status and the body of an answer, which is short.
    ///
    /// # Errors
    /// A clause that says what went wrong, without the URL.
    async fn ask(&self, outgoing: Outgoing) -> Result<(StatusCode, Bytes), String>;
}

/// The reason why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoToken {
    /// What went wrong, as a clause.
    pub why: String,
    /// Whether it is the account's own fault, so that another one may do better.
    pub is_of_account: bool,
}

/// A token that was given out.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// How long it is valid from now on.
    pub expires_in: Duration,
}

/// The way in which an upstream lists its models.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// The path of the list at this base URL.
    pub path: fn(&Uri) -> String,
    /// JSON pointer to the list in an answer.
    pub list: &'static str,
    /// JSON pointer to the name in an entry of it.
    pub name: &'static str,
    /// How a list of several pages goes on.
    pub pages: Option<Pages>,
}

/// The way from one page of a list to the next.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// JSON pointer to the token of the next page; on the last page it is absent, null or empty.
    pub token: &'static str,
    /// The query parameter that asks for that page.
    pub parameter: &'static str,
}

/// The way through a list whose pages have numbers, from 1.
#[derive(Debug, Clone, Copy)]
pub struct Numbered {
    /// JSON pointer to the number of entries on all pages.
    pub total: &'static str,
    /// How many there are on one.
    pub size: usize,
    /// The query parameter that asks for a page.
    pub parameter: &'static str,
}

// === impl Engine ===

impl Engine {
    /// A row that says nothing: what most rows have in common.
    pub const PLAIN: Self = Self {
        names: &[],
        old_names: &[],
        detect: |_| false,
        hints: &[],
        with_keys: None,
        at: |_| None,
        refine: |_, _| None,
        needs: &[Need::BaseUrl, Need::Key],
        dialect: Dialect::OpenAiChat,
        envelope: Envelope::PLAIN,
        // Usage is asked of everybody: who does not understand it says so once.
        quirks: |_| Quirks { stream_options: true, ..Quirks::NONE },
        credentials: Slot::keys,
        listing: None,
        lists_at: None,
        more_listings: &[],
        listed: |name, _| Some(name),
        numbered: None,
        build: |_| Err(Unsupported("its engine names no provider".into())),
        inside: None,
        is_regional: false,
        places: |_, _| Vec::new(),
        base: None,
    };

    /// Its name in `engine:`.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    /// The engine that it is at a base URL.
    pub fn at(&'static self, url: &Uri) -> &'static Self {
        (self.at)(&BaseUrl::of(url)).unwrap_or(self)
    }

    /// The format of one upstream model on a channel of this engine.
    pub fn refined(&'static self, upstream: &str, is_explicit: bool) -> &'static Self {
        (self.refine)(&upstream.to_lowercase(), is_explicit).unwrap_or(self)
    }

    /// Whether the configuration has to give a base URL.
    pub fn needs_base_url(&self) -> bool {
        self.needs.contains(&Need::BaseUrl)
    }
}

impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Engine {}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.name())
    }
}

// === impl BaseUrl ===

impl<'a> BaseUrl<'a> {
    /// Takes a base URL apart.
    pub fn of(url: &'a Uri) -> Self {
        Self {
            host: url.host().unwrap_or_default().to_ascii_lowercase(),
            path: url.path().trim_end_matches('/'),
        }
    }

    /// Whether the host is this domain, or is in it.
    pub fn is_on(&self, domain: &str) -> bool {
        self.host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

// === impl Slot ===

impl Slot {
    /// The keys of `api`.
    pub fn keys(spec: &ProviderSpec<'_>) -> Vec<Self> {
        spec.keys.iter().cloned().map(Self::Key).collect()
    }
}

// === impl Token ===

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
