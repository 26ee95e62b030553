//! Signatures of AWS, version 4: over what is sent, byte for byte.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. Only what nobody
//! on the way changes is signed: method, path, query, body, `host`, `content-type` and what is AWS's own. The path is
//! encoded once more for the signature, so a `%3A` that is sent is signed as `%253A`.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Request};
use layers::ports::{Pair, Unsupported};
use sha2::{Digest, Sha256};

/// The scope of a signature: whom it is for.
#[derive(Debug, Clone)]
pub(super) struct Scope<'a> {
    /// The URL that the service sees, where a gateway in front is asked at another.
    pub(super) url: Cow<'a, str>,
    /// The region.
    pub(super) region: &'a str,
    /// The service.
    pub(super) service: &'static str,
}

/// Adds a signature of this moment.
///
/// # Errors
/// The key cannot sign such a request.
pub(super) fn sign(
    request: &mut Request<Vec<Bytes>>,
    pair: &Pair,
    scope: &Scope<'_>,
) -> Result<(), Unsupported> {
    sign_at(request, pair, scope, SystemTime::now(), &SigningSettings::default(), is_signed)
}

/// Whether a header is as it is sent when it arrives.
fn is_signed(name: &HeaderName) -> bool {
    name == HOST || name == CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

fn sign_at(
    request: &mut Request<Vec<Bytes>>,
    pair: &Pair,
    scope: &Scope<'_>,
    now: SystemTime,
    settings: &SigningSettings,
    is_signed: fn(&HeaderName) -> bool,
) -> Result<(), Unsupported> {
    let unable = || Unsupported("its keys cannot sign the request".into());
    let session = pair.session.as_ref().map(|session| session.expose().to_owned());
    let (id, secret) = (pair.id.expose(), pair.secret.expose());
    let identity = Credentials::new(id, secret, session, None, "api.yaml").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(settings.clone())
        .build()
        .map_err(|_incomplete| unable())?
        .into();
    let headers = request.headers().iter().filter(|(name, _)| is_signed(name));
    let headers = headers.map(|(name, value)| Ok((name.as_str(), value.to_str().map_err(|_| unable())?)));
    let headers = headers.collect::<Result<Vec<_>, Unsupported>>()?;
    // A gateway is asked at its own host, and the service behind it sees another.
    let behind = request.uri().to_string() != scope.url;
    let headers = headers.into_iter().filter(|(name, _)| !(behind && *name == HOST.as_str()));
    let body = SignableBody::Precomputed(digest(request.body()));
    let signable = SignableRequest::new(request.method().as_str(), scope.url.as_ref(), headers, body);
    let signed = sign_request(signable.map_err(|_| unable())?, &params).map_err(|_| unable())?;
    let (instructions, _signature) = signed.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unable())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unable())?;
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

/// The digest of a body, of which no copy is made.
fn digest(body: &[Bytes]) -> String {
    let mut hash = Sha256::new();
    body.iter().for_each(|part| hash.update(part));
    hash.finalize().iter().fold(String::with_capacity(64), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests;
