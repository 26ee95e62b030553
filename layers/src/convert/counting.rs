//! Counts the tokens of a request where no upstream does.
//!
//! Agents ask before each turn, and one that is refused counts by asking a model, for money. The
//! answer says that it is a guess, in itself and in a header.

use dialect::{Kind, Sighting};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::failure::{Blame, Failure};
use crate::reply::{Reply, ReplyBody};
use crate::stage::Call;

/// Says that an answer is a guess of ours.
const ESTIMATED: HeaderName = HeaderName::from_static("x-uni-api-estimated");

/// A guess in place of a failure that says that this upstream does not count; the failure itself
/// otherwise.
///
/// # Errors
/// That failure, or a body that cannot be read.
pub(super) fn otherwise(call: &Call, failure: Failure) -> Result<Reply, Failure> {
    let exchange = &call.attempt.exchange;
    if exchange.endpoint.kind != Kind::CountTokens || !means_that_nobody_counts(call, &failure) {
        return Err(failure);
    }
    let Some(counted) = exchange.dialect().estimated_count(&exchange.body) else { return Err(failure) };
    let sighting = Sighting { content: true, finished: true, done: true, ..Sighting::default() };
    let mut reply = Reply::new(ReplyBody::whole(counted?, sighting));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ESTIMATED, HeaderValue::from_static("true"));
    Ok(reply)
}

/// Whether an upstream has no such endpoint, or none for this model. A model that it does not know is
/// another matter, and so is a request that the client itself has written wrong.
fn means_that_nobody_counts(call: &Call, failure: &Failure) -> bool {
    let target = &call.attempt.target;
    let is_ours = target.channel.dialect != call.attempt.exchange.dialect() || target.overrides.is_some();
    match failure {
        Failure::Unsupported { .. } => true,
        Failure::Upstream(rejection) => match rejection.status.as_u16() {
            405 | 501 => true,
            400 | 422 => is_ours && rejection.blame == Blame::Request,
            404 => rejection.blame != Blame::Model,
            _ => false,
        },
        _ => false,
    }
}
