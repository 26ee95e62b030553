//! Upstreams that can be configured and are not asked by this version: their channels are no part of
//! any route. Each row moves into a file of its own with its provider.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

use crate::engine::{Engine, Need};

/// Cloudflare Workers AI.
pub(super) static CLOUDFLARE: Engine = Engine {
    names: &["cloudflare"],
    detect: |url| url.host == "api.cloudflare.com",
    hints: &["cf_account_id"],
    needs: &[Need::SettingOrBaseUrl("cf_account_id"), Need::Key],
    ..Engine::PLAIN
};

/// Cohere.
pub(super) static COHERE: Engine = Engine {
    names: &["cohere"],
    detect: |url| {
        matches!(&*url.host, "api.cohere.com" | "api.cohere.ai") && !url.path.contains("/compatibility/")
    },
    ..Engine::PLAIN
};

/// A provider that takes no request.
struct Unserved {
    reason: String,
}

/// A provider that refuses for this reason.
pub(super) fn unserved(reason: &Unsupported) -> Arc<dyn Provider> {
    Arc::new(Unserved { reason: reason.to_string() })
}

impl Provider for Unserved {
    fn address(&self, _: Wanted<'_>) -> Result<Uri, Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }

    fn sign(&self, _: &mut Request<Vec<Bytes>>, _: Option<&Presented<'_>>) -> Result<(), Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }
}
