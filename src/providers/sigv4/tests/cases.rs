//! The cases of AWS for signatures: what is signed, and what becomes of it.

use std::path::Path;

use aws_sigv4::http_request::{PayloadChecksumKind, SessionTokenMode, UriPathNormalizationMode};
use serde_json::Value;

use super::*;

#[test]
fn the_cases_of_aws_are_signed_as_they_say() {
    let folder = std::env::var_os("AWS_WIRE").expect("AWS_WIRE names the folder of the cases");
    let folder = Path::new(&folder).join("sigv4/v4");
    let mut seen = 0;
    for case in std::fs::read_dir(&folder).expect("the cases are there") {
        let case = case.expect("a case").path();
        let read = |name: &str| std::fs::read_to_string(case.join(name)).expect("a file of the case");
        let context: Value = serde_json::from_str(&read("context.json")).expect("JSON");
        let (asked, signature) = (read("request.txt"), read("header-signature.txt"));
        let Some(mut request) = parse(&asked) else { continue };
        seen += 1;
        let text = |pointer: &str| context.pointer(pointer).and_then(Value::as_str);
        let pair = pair(
            text("/credentials/access_key_id").expect("a key"),
            text("/credentials/secret_access_key").expect("a secret"),
            text("/credentials/token"),
        );
        let mut settings = SigningSettings::default();
        settings.uri_path_normalization_mode = match context["normalize"].as_bool() {
            Some(false) => UriPathNormalizationMode::Disabled,
            _ => UriPathNormalizationMode::Enabled,
        };
        settings.payload_checksum_kind = match context["sign_body"].as_bool() {
            Some(true) => PayloadChecksumKind::XAmzSha256,
            _ => PayloadChecksumKind::NoHeader,
        };
        if context["omit_session_token"] == true {
            settings.session_token_mode = SessionTokenMode::Exclude;
        }
        let url = request.uri().to_string();
        let scope = Scope { url: url.into(), region: text("/region").expect("a region"), service: "service" };
        let now = text("/timestamp").expect("a time").parse::<jiff::Timestamp>().expect("a time");
        sign_at(&mut request, &pair, &scope, now.into(), &settings, |_| true).expect("signed");

        let signed = request.headers()["authorization"].to_str().expect("text");
        let signed = signed.rsplit_once("Signature=").expect("a signature").1;
        assert_eq!(signed, signature.trim(), "{}", case.display());
    }
    assert!(seen > 30, "{seen} cases");
}

/// A request as a case has it; none where no HTTP library could send it: spaces and letters beyond ASCII in its target.
fn parse(text: &str) -> Option<Request<Vec<Bytes>>> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    // A value may go on in the next line.
    let head = head.replace("\n ", " ");
    let mut lines = head.lines();
    let (method, rest) = lines.next()?.split_once(' ')?;
    let target = rest.rsplit_once(' ')?.0;
    let mut headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    headers.iter_mut().for_each(|(_, value)| *value = value.trim());
    let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?.1;
    let url = format!("https://{host}{target}");
    url.parse::<http::Uri>().ok().filter(|uri| uri.to_string() == url)?;
    Some(request(method.parse().ok()?, &url, &headers, body))
}
