//! Credentials: what a slot of a key pool holds, and what a provider signs with.
//!
//! A key is its own proof, a service account has to fetch one first and again before it expires.
//! So there are two values: the [`Credential`] that is leased, recorded and cooled by its
//! fingerprint, and what it is [`Presented`] as to an upstream, which only the signer sees.

use std::fmt;
use std::sync::{Arc, OnceLock};

use dialect::Secrets;

use crate::failure::Failure;
use crate::policy::Fingerprint;
use crate::ports::Verdict;

/// A key. Shows itself only where it is asked for by name.
#[derive(Clone)]
pub struct Secret(Arc<Known>);

struct Known {
    text: Box<str>,
    fingerprint: Fingerprint,
    /// What it is found by in answers; made for the first one.
    secrets: OnceLock<Box<Secrets>>,
}

/// Whatever a channel is asked with: the content of a slot of its pool.
#[derive(Clone)]
pub enum Credential {
    /// A key that is sent as it is.
    Key(Secret),
    /// An account whose tokens are sent in its place.
    Token(Arc<dyn Tokens>),
    /// A key that signs and is never sent, with its name.
    Pair(Arc<Pair>),
}

/// A key for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name of the key, which is sent.
    pub id: Secret,
    /// The key, which is not.
    pub secret: Secret,
    /// A token that is sent beside a temporary key.
    pub session: Option<Secret>,
}

/// A credential as one request presents it.
#[derive(Debug)]
pub enum Presented<'a> {
    /// The key itself.
    Key(&'a Secret),
    /// The account's token of this moment.
    Token(Secret),
    /// What to sign with.
    Pair(&'a Pair),
}

/// The tokens of one account: used by `dispatch`, hangs on [`Credential`].
pub trait Tokens: Send + Sync {
    /// Stands for the account in state, records and logs.
    fn account(&self) -> &Fingerprint;
    /// A token that is valid now: at once where there is one, else after a wait that is bounded.
    fn current(&self) -> Verdict<Secret>;
    /// The upstream did not accept this token, so that the next one is fetched before its time.
    fn refused(&self, used: &Secret);
    /// The tokens that requests under way may have been sent with.
    fn known(&self) -> Vec<Secret>;
}

// === impl Secret ===

impl Secret {
    /// Wraps a key with what stands for it elsewhere.
    pub fn new(text: &str, fingerprint: Fingerprint) -> Self {
        Self(Arc::new(Known { text: text.into(), fingerprint, secrets: OnceLock::new() }))
    }

    /// The key in clear.
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// What may be logged and stored.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.0.fingerprint
    }

    /// What it is found by in whatever may repeat it.
    pub fn secrets(&self) -> &Secrets {
        self.0.secrets.get_or_init(|| Box::new(Secrets::default().with_key(&self.0.text)))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text && self.0.fingerprint == other.0.fingerprint
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.fingerprint().as_str())
    }
}

// === impl Credential ===

impl Credential {
    /// What stands for it in state, records and logs.
    pub fn fingerprint(&self) -> &Fingerprint {
        match self {
            Self::Key(secret) => secret.fingerprint(),
            Self::Token(tokens) => tokens.account(),
            Self::Pair(pair) => pair.secret.fingerprint(),
        }
    }

    /// What a request presents now.
    ///
    /// # Errors
    /// Its token cannot be had.
    pub async fn present(&self) -> Result<Presented<'_>, Failure> {
        Ok(match self {
            Self::Key(secret) => Presented::Key(secret),
            Self::Token(tokens) => Presented::Token(tokens.current().resolve().await?),
            Self::Pair(pair) => Presented::Pair(pair),
        })
    }

    /// Every text of it that an upstream may have seen, and nobody else may.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Key(secret) => vec![secret.clone()],
            Self::Token(tokens) => tokens.known(),
            Self::Pair(pair) => [Some(&pair.id), Some(&pair.secret), pair.session.as_ref()]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        }
    }
}

impl From<Secret> for Credential {
    fn from(key: Secret) -> Self {
        Self::Key(key)
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key(one), Self::Key(other)) => one == other,
            (Self::Token(one), Self::Token(other)) => Arc::ptr_eq(one, other),
            (Self::Pair(one), Self::Pair(other)) => one == other,
            (Self::Key(_) | Self::Token(_) | Self::Pair(_), _) => false,
        }
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.fingerprint().as_str())
    }
}
