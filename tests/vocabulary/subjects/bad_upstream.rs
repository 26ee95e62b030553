//! Answers of a gateway whose only upstream misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::super::super::*;

/// The answer of a gateway whose only channel does this, and does well afterwards.
pub(crate) async fn alone(script: Script, request: &serde_json::Value) -> (Answer, Gateway, Upstream) {
    let well = Arc::new(AtomicBool::new(false));
    let recovered = well.clone();
    let script =
        move |seen: &Seen| if recovered.load(Ordering::SeqCst) { saying("ok")(seen) } else { script.clone() };
    let upstream = Upstream::start(script).await;
    let config = config([channel("a", &upstream)])
        .with("/preferences/model_timeout", json!(1))
        .with("/preferences/cooldown_period", json!(0));
    let gateway = Gateway::start(config).await;
    let answer = gateway.chat(request).await;
    well.store(true, Ordering::SeqCst);
    (answer, gateway, upstream)
}
