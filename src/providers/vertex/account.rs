//! The tokens of Google service accounts: an assertion that the account signs, for a token that an
//! hour of requests is sent with.
//!
//! Source: <https://developers.google.com/identity/protocols/oauth2/service-account>, RFC 7523.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use layers::address::Address;
use layers::policy::{Fingerprint, Link};
use layers::ports::Outgoing;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::engine::{Issuer, NoToken, ServiceAccount, SideClient, Token};
use crate::values::seconds;

/// Google's endpoint, which is also whom an assertion is for, wherever it is sent.
const TOKEN_ENDPOINT: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The grant, encoded for a form.
const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// How long an assertion is good; Google takes no longer one.
const ASSERTED: i64 = 3600;
/// How long a token is taken for good when its answer does not say.
const USUAL_LIFE: u64 = 3600;
/// Longest reason of a refusal that is passed on, in characters.
const LONGEST_REASON: usize = 300;

/// The issuer of one account's tokens.
pub(super) struct GoogleIssuer {
    account: ServiceAccount,
    /// How the token endpoint is reached: as the channel is.
    link: Link,
}

/// A token endpoint's answer, good or bad (RFC 6749 §5).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
    error: String,
    error_description: String,
}

// === impl GoogleIssuer ===

impl GoogleIssuer {
    pub(super) fn new(account: &ServiceAccount, link: &Link) -> Self {
        // An answer of some hundred bytes an hour is not worth a second kind of connection.
        let link = Link { http2: false, inside: None, ..link.clone() };
        Self { account: account.clone(), link }
    }

    /// The request for a token.
    fn request(&self, now: SystemTime) -> Result<Request<Vec<Bytes>>, NoToken> {
        let fault = |is_of_account| move |why: String| NoToken { why, is_of_account };
        let assertion = assertion(&self.account, now)
            .map_err(|problem| fault(true)(format!("its private_key cannot be used: {problem}")))?;
        let endpoint = self.account.token_uri.as_deref().unwrap_or(TOKEN_ENDPOINT);
        let address = endpoint.parse::<Uri>().ok().and_then(Address::at);
        let address = address.ok_or_else(|| fault(false)("its token_uri is no URL".to_owned()))?;
        let body = format!("grant_type={GRANT}&assertion={assertion}");
        let mut request = Request::new(vec![Bytes::from(body)]);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = address.uri;
        let headers = request.headers_mut();
        headers.insert(HOST, address.host);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Ok(request)
    }
}

#[async_trait]
impl Issuer for GoogleIssuer {
    fn account(&self) -> Fingerprint {
        self.account.private_key.fingerprint().clone()
    }

    async fn issue(&self, client: &dyn SideClient) -> Result<Token, NoToken> {
        let request = Box::new(self.request(SystemTime::now())?);
        // On a fresh connection: one that has lain idle may be dead, and nobody would ask again.
        let outgoing = Outgoing { request, link: self.link.clone(), fresh_since: Some(Instant::now()) };
        let (status, body) = client.ask(outgoing).await.map_err(|why| NoToken {
            why: format!("the token endpoint gave no answer: {why}"),
            is_of_account: false,
        })?;
        read(status, &body)
    }
}

/// Reads what a token endpoint answered.
fn read(status: StatusCode, body: &[u8]) -> Result<Token, NoToken> {
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    if status.is_success() && !answer.access_token.is_empty() {
        let life = Duration::from_secs(answer.expires_in.unwrap_or(USUAL_LIFE));
        return Ok(Token { text: answer.access_token, expires_in: life });
    }
    let reason = [answer.error, answer.error_description].into_iter().filter(|text| !text.is_empty());
    // An endpoint that repeats the assertion would have it told to everybody.
    let reason = reason.filter(|text| !text.contains("eyJ")).collect::<Vec<_>>().join(": ");
    let reason: String = dialect::scrub(&reason).chars().take(LONGEST_REASON).collect();
    let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    Err(NoToken {
        why: format!("the token endpoint answered {}{said}", status.as_u16()),
        // What it says of an account, and not of a bad moment of its own.
        is_of_account: matches!(status.as_u16(), 400..=403),
    })
}

/// The assertion that an account signs now (RFC 7519, RFC 7515 §3).
fn assertion(account: &ServiceAccount, now: SystemTime) -> Result<String, &'static str> {
    let key = rsa_key(account.private_key.expose())?;
    let now = seconds(now);
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = &account.key_id {
        header["kid"] = id.as_str().into();
    }
    let claims = json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": TOKEN_ENDPOINT,
        "iat": now,
        "exp": now + ASSERTED,
    });
    let part = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_unspecified| "it does not sign")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Why no token can be had with a private key, if so.
pub fn key_problem(pem: &str) -> Option<&'static str> {
    rsa_key(pem).err()
}

/// A private key as people write it: PEM (RFC 7468) in PKCS #8 or PKCS #1, also where its last line
/// is cut, or nothing but what stands between the two lines.
fn rsa_key(pem: &str) -> Result<RsaKeyPair, &'static str> {
    const BEGIN: &str = "-----BEGIN";
    let inner = match pem.split_once(BEGIN) {
        Some((_, rest)) => {
            let (label, rest) = rest.split_once("-----").ok_or("it is no PEM: its first line has no end")?;
            if label.contains("ENCRYPTED") {
                return Err("it is encrypted");
            }
            if label.contains("PUBLIC") || label.contains("CERTIFICATE") {
                return Err("it is public: a private key begins with -----BEGIN PRIVATE KEY-----");
            }
            rest.split_once("-----").map_or(rest, |(inner, _end)| inner)
        }
        None => pem,
    };
    let inner: String = inner.split_whitespace().collect();
    if inner.is_empty() {
        return Err("it is empty");
    }
    let der = STANDARD.decode(inner).map_err(|_invalid| "it is no PEM: its lines are no base64")?;
    RsaKeyPair::from_pkcs8(&der)
        .or_else(|_rejected| RsaKeyPair::from_der(&der))
        .map_err(|_rejected| "it is no RSA key of 2048 bits or more")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use layers::ports::Secret;
    use serde_json::Value;

    use super::*;

    /// A fresh key in PKCS #8, and its public half.
    pub(crate) fn key() -> (String, Vec<u8>) {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        (pem(der.as_ref()), key.public_key().as_ref().to_vec())
    }

    fn pem(der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    fn account(pem: &str) -> ServiceAccount {
        ServiceAccount {
            email: "me@p.iam.gserviceaccount.com".to_owned(),
            project: "p".to_owned(),
            private_key: Secret::new(pem, Fingerprint::new("print")),
            key_id: Some("key-1".to_owned()),
            token_uri: Some("https://token.test:8443/token?x=1".to_owned()),
        }
    }

    /// A token endpoint that notes what it is asked.
    struct Endpoint {
        answer: Result<(u16, &'static str), &'static str>,
        asked: Mutex<Vec<Outgoing>>,
    }

    impl Endpoint {
        fn new(answer: Result<(u16, &'static str), &'static str>) -> Self {
            Self { answer, asked: Mutex::default() }
        }
    }

    #[async_trait]
    impl SideClient for Endpoint {
        async fn ask(&self, outgoing: Outgoing) -> Result<(StatusCode, Bytes), String> {
            self.asked.lock().unwrap().push(outgoing);
            let (status, body) = self.answer.map_err(str::to_owned)?;
            Ok((StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes())))
        }
    }

    async fn issue(pem: &str, endpoint: &Endpoint) -> Result<Token, NoToken> {
        let link = Link { proxy: Some("http://proxy.test:3128".into()), http2: true, ..Link::default() };
        GoogleIssuer::new(&account(pem), &link).issue(endpoint).await
    }

    #[tokio::test]
    async fn a_token_is_asked_for_with_an_assertion_that_the_account_has_signed() {
        let (pem, public) = key();
        let endpoint =
            Endpoint::new(Ok((200, r#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#)));

        let token = issue(&pem, &endpoint).await.unwrap();

        assert_eq!((token.text.as_str(), token.expires_in.as_secs()), ("ya29.x", 3599));
        let asked = endpoint.asked.lock().unwrap();
        let request = &asked[0].request;
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::POST, "https://token.test:8443/token?x=1")
        );
        assert_eq!(request.headers()["host"], "token.test:8443");
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(asked[0].link, Link { proxy: Some("http://proxy.test:3128".into()), ..Link::default() });
        let body = String::from_utf8(request.body().concat()).unwrap();
        let assertion = body
            .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
            .unwrap();
        let parts: Vec<&str> = assertion.split('.').collect();
        let read =
            |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(read(parts[0]), json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" }));
        let claims = read(parts[1]);
        assert_eq!(
            (&claims["iss"], &claims["scope"], &claims["aud"]),
            (&json!("me@p.iam.gserviceaccount.com"), &json!(SCOPE), &json!(TOKEN_ENDPOINT))
        );
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
        assert!(seconds(SystemTime::now()) - claims["iat"].as_i64().unwrap() < 60);
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
            .verify(
                format!("{}.{}", parts[0], parts[1]).as_bytes(),
                &URL_SAFE_NO_PAD.decode(parts[2]).unwrap(),
            )
            .unwrap();
    }

    #[tokio::test]
    async fn a_refusal_is_the_account_s_and_silence_the_endpoint_s() {
        let (pem, _) = key();
        for (answer, why, is_of_account) in [
            (
                Ok((400, r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#)),
                "the token endpoint answered 400: invalid_grant: Invalid JWT Signature.",
                true,
            ),
            (
                Ok((
                    400,
                    r#"{"error":"invalid_grant","error_description":"Bad eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}"#,
                )),
                "the token endpoint answered 400: invalid_grant",
                true,
            ),
            (Ok((401, "<html>")), "the token endpoint answered 401", true),
            (Ok((429, "{}")), "the token endpoint answered 429", false),
            (Ok((503, "")), "the token endpoint answered 503", false),
            (Ok((200, "{}")), "the token endpoint answered 200", false),
            (Err("cannot be reached"), "the token endpoint gave no answer: cannot be reached", false),
        ] {
            let fault = issue(&pem, &Endpoint::new(answer)).await.unwrap_err();

            assert_eq!(fault, NoToken { why: why.to_owned(), is_of_account }, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn without_a_key_that_signs_nobody_is_asked() {
        let endpoint = Endpoint::new(Ok((200, "{}")));

        let fault =
            issue("-----BEGIN PRIVATE KEY-----\nxxxxx\n-----END PRIVATE", &endpoint).await.unwrap_err();

        assert_eq!(fault.why, "its private_key cannot be used: it is no PEM: its lines are no base64");
        assert!(fault.is_of_account && endpoint.asked.lock().unwrap().is_empty());
    }

    #[test]
    fn a_key_is_read_however_its_lines_were_mangled() {
        let (pem, _) = key();
        let cut = pem.split("-----END").next().unwrap();
        let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', " "),
            format!("{cut}-----END PRIVATE"),
            cut.to_owned(),
            bare,
        ] {
            assert_eq!(key_problem(&text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_told_without_the_key() {
        let (pem, _) = key();
        for (text, problem) in [
            (String::new(), "it is empty"),
            ("-----BEGIN PRIVATE KEY".to_owned(), "it is no PEM: its first line has no end"),
            (pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "it is encrypted"),
            (
                pem.replace("PRIVATE", "PUBLIC"),
                "it is public: a private key begins with -----BEGIN PRIVATE KEY-----",
            ),
            ("k?".to_owned(), "it is no PEM: its lines are no base64"),
            ("aGVsbG8=".to_owned(), "it is no RSA key of 2048 bits or more"),
        ] {
            assert_eq!(key_problem(&text), Some(problem));
        }
    }
}
