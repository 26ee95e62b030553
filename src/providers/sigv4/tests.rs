use std::time::Duration;

use http::Method;
use layers::policy::Fingerprint;
use layers::ports::Secret;

use super::*;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn pair(id: &str, secret: &str, session: Option<&str>) -> Pair {
    let secret_of = |text: &str| Secret::new(text, Fingerprint::new("print"));
    Pair { id: secret_of(id), secret: secret_of(secret), session: session.map(secret_of) }
}

fn request(method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Request<Vec<Bytes>> {
    let mut request = Request::new(vec![Bytes::copy_from_slice(body.as_bytes())]);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().expect("a URL");
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        request.headers_mut().append(name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

/// 2026-01-02T03:04:05Z.
fn frozen() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

/// `Authorization` of a request that `botocore` signs with the same keys at the same time.
#[test]
fn requests_are_signed_as_the_provider_s_own_library_signs_them() {
    const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}"#;
    const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJHMEUCIQ==";
    for (method, host, path, token, names, signature) in [
        (
            Method::POST,
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse",
            None,
            "content-type;host;x-amz-date",
            "65844f67b96ec065771499b63133c081f5aa3e77ae7b477abc8e5c1f1f8bd3ff",
        ),
        (
            Method::POST,
            "bedrock-runtime.us-east-1.amazonaws.com",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc/converse-stream",
            Some(TOKEN),
            "content-type;host;x-amz-date;x-amz-security-token",
            "67646dd1fecb9b0fa9dc96651e9e6afa1b097f0f20dda939aa7f8beda7e6fa77",
        ),
        (
            Method::GET,
            "bedrock.us-east-1.amazonaws.com",
            "/inference-profiles?maxResults=1000&nextToken=a%2Fb%3D",
            None,
            "host;x-amz-date",
            "f7396998b27b4f5f74ed79022c4d327ec8275f5e38a443bbb578cb3cb1266076",
        ),
        (
            Method::POST,
            "vpce-1.example:8443",
            "/model/m/converse",
            None,
            "content-type;host;x-amz-date",
            "68413f9011751950a7a4b975ff1cd671467ce1a542161bd2c2cef79f80e91f78",
        ),
    ] {
        let url = format!("https://{host}{path}");
        let (headers, body): (&[_], _) = match method {
            Method::POST => {
                (&[("host", host), ("content-type", "application/json"), ("accept", "x/y")], BODY)
            }
            _ => (&[("host", host), ("user-agent", "uni-api")], ""),
        };
        let mut request = request(method, &url, headers, body);
        let scope = Scope { url: url.as_str().into(), region: "us-east-1", service: "bedrock" };

        let pair = pair(ID, SECRET, token);
        sign_at(&mut request, &pair, &scope, frozen(), &SigningSettings::default(), is_signed)
            .expect("signed");

        let expected = format!(
            "AWS4-HMAC-SHA256 Credential={ID}/20260102/us-east-1/bedrock/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        assert_eq!(request.headers()["authorization"], expected, "{url}");
        assert_eq!(request.headers()["x-amz-date"], "20260102T030405Z");
        let sent = request.headers().get("x-amz-security-token").map(|token| token.to_str().expect("text"));
        assert_eq!(sent, token);
        assert!(request.headers()["authorization"].is_sensitive());
    }
}

#[test]
fn a_request_through_a_gateway_is_signed_for_the_service_behind_it() {
    let behind = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse";
    let signed = |url: &str, host: &str| {
        let mut request = request(Method::POST, url, &[("host", host)], "{}");
        let scope = Scope { url: behind.into(), region: "us-east-1", service: "bedrock" };
        let pair = pair(ID, SECRET, None);
        sign_at(&mut request, &pair, &scope, frozen(), &SigningSettings::default(), is_signed)
            .expect("signed");
        request.headers()["authorization"].clone()
    };

    let through = signed("https://gateway.test/v1/a/g/x/model/m/converse", "gateway.test");

    assert_eq!(through, signed(behind, "bedrock-runtime.us-east-1.amazonaws.com"));
}

#[test]
fn a_key_that_cannot_stand_in_a_header_signs_nothing() {
    let mut request = request(Method::POST, "https://a.test/x", &[("host", "a.test")], "{}");
    let scope = Scope { url: "https://a.test/x".into(), region: "r", service: "bedrock" };

    assert!(sign(&mut request, &pair("AKID\nEXAMPLE", SECRET, None), &scope).is_err());
    assert_eq!(request.headers().get("authorization"), None);
}

/// AWS's own cases, which are run where they are: `make conformance`.
#[cfg(feature = "conformance")]
mod cases;
