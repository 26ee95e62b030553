//! What stands in place of a provider that could not be made: it takes no request, and says why.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Uri};
use layers::ports::{Presented, Provider, Unsupported, Wanted};

/// A provider that takes no request.
struct Refusing {
    reason: String,
}

/// A provider that refuses for this reason.
pub(super) fn refusing(reason: &Unsupported) -> Arc<dyn Provider> {
    Arc::new(Refusing { reason: reason.to_string() })
}

impl Provider for Refusing {
    fn address(&self, _: Wanted<'_>) -> Result<Uri, Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }

    fn sign(&self, _: &mut Request<Vec<Bytes>>, _: Option<&Presented<'_>>) -> Result<(), Unsupported> {
        Err(Unsupported(self.reason.clone().into()))
    }
}
