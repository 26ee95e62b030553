//! Gateways that bad requests must not harm.

use super::super::super::*;

pub(crate) async fn ready() -> (Upstream, Gateway) {
    let upstream = healthy("ok").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    (upstream, gateway)
}

/// The upstream saw nothing, and the gateway still serves.
pub(crate) async fn unharmed(upstream: &Upstream, gateway: &Gateway) {
    assert_eq!(upstream.count(), 0, "{:#?}", upstream.requests());
    assert_eq!(gateway.chat(&hello()).await.expect(200).content(), "ok");
}
