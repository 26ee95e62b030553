use http::StatusCode;
use layers::endpoint::{CHAT_COMPLETIONS, MODERATIONS};
use layers::ports::Secret;

use super::*;
use crate::engine::ServiceAccount;
use crate::providers::testing::spec;

fn secret(text: &str) -> Secret {
    Secret::new(text, Fingerprint::new(text))
}

fn account(project: &str) -> ServiceAccount {
    ServiceAccount {
        email: "e".to_owned(),
        project: project.to_owned(),
        private_key: secret(&format!("key of {project}")),
        key_id: None,
        token_uri: None,
    }
}

fn wanted<'a>(model: &'a str, place: Option<&'a str>, stream: bool) -> Wanted<'a> {
    Wanted { endpoint: &CHAT_COMPLETIONS, model, place, stream }
}

fn provider(engine: &'static Engine, spec: ProviderSpec<'_>) -> Arc<dyn Provider> {
    (engine.build)(&ProviderSpec { engine, ..spec }).unwrap()
}

fn derived() -> ProviderSpec<'static> {
    ProviderSpec { base_url: None, ..spec(&VERTEX, "") }
}

fn text(address: Result<Uri, Unsupported>) -> String {
    address.map_or_else(|refused| refused.to_string(), |uri| uri.to_string())
}

fn signed(provider: &dyn Provider, uri: &str, with: &Presented<'_>) -> Request<Vec<Bytes>> {
    let mut request = Request::post(uri).body(Vec::new()).unwrap();
    provider.sign(&mut request, Some(with)).unwrap();
    request
}

fn error(message: &str) -> ir::Error {
    ir::Error::new(StatusCode::BAD_REQUEST, message)
}

#[test]
fn project_region_and_model_make_the_address() {
    let accounts = [account("P")];
    let spec = ProviderSpec { accounts: &accounts, ..derived() };
    let (gemini, claude) = (provider(&VERTEX_GEMINI, spec), provider(&VERTEX_CLAUDE, spec));

    assert_eq!(
        text(gemini.address(wanted("gemini-3-pro-preview", Some("global"), false))),
        "https://aiplatform.googleapis.com/v1/projects/P/locations/global/publishers/google/models/gemini-3-pro-preview:generateContent"
    );
    assert_eq!(
        text(gemini.address(wanted("gemini-2.5-pro", Some("eu"), true))),
        "https://aiplatform.eu.rep.googleapis.com/v1/projects/P/locations/eu/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    );
    assert_eq!(
        text(claude.address(wanted("claude-sonnet-4-5@20250929", Some("us-east5"), true))),
        "https://us-east5-aiplatform.googleapis.com/v1/projects/P/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict"
    );
    assert!(
        text(claude.address(wanted("claude-opus-4-6", Some("global"), false)))
            .ends_with("/claude-opus-4-6:rawPredict")
    );
    let moderation = Wanted { endpoint: &MODERATIONS, ..wanted("m", None, false) };
    assert!(gemini.address(moderation).is_err());
}

#[test]
fn a_gateway_in_front_is_kept_in_the_address() {
    let accounts = [account("P")];
    let base_url = Some("https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai");
    let gemini = provider(&VERTEX_GEMINI, ProviderSpec { accounts: &accounts, base_url, ..derived() });

    assert_eq!(
        text(gemini.address(wanted("gemini-2.5-pro", Some("us-east1"), false))),
        "https://gateway.ai.cloudflare.com/v1/A/G/google-vertex-ai/v1/projects/P/locations/us-east1/publishers/google/models/gemini-2.5-pro:generateContent"
    );
}

#[test]
fn a_channel_serves_where_its_address_or_the_table_says() {
    let accounts = [account("P")];
    let of = |engine: &'static Engine, base_url, model: &str| {
        let spec = ProviderSpec { accounts: &accounts, base_url, ..derived() };
        (engine.places)(&spec, model).join(" ")
    };

    assert_eq!(of(&VERTEX_CLAUDE, None, "claude-opus-4@20250514"), "us-east5 europe-west1 asia-east1");
    assert_eq!(of(&VERTEX_GEMINI, None, "gemini-3-pro-preview"), "global");
    assert_eq!(
        of(&VERTEX_GEMINI, Some("https://us-west1-aiplatform.googleapis.com"), "gemini-2.5-pro"),
        "us-west1"
    );
    assert_eq!(of(&VERTEX_GEMINI, Some("http://127.0.0.1:9"), "gemini-2.5-pro").split(' ').count(), 14);
    assert!((VERTEX_GEMINI.places)(&derived(), "gemini-2.5-pro").is_empty(), "a key has no region");
    assert!((VERTEX_EXPRESS.places)(&derived(), "gemini-2.5-pro").is_empty());
}

#[test]
fn each_account_is_sent_with_its_token_and_its_project() {
    let accounts = [account("P"), account("Q")];
    let gemini = provider(&VERTEX_GEMINI, ProviderSpec { accounts: &accounts, ..derived() });
    let uri = text(gemini.address(wanted("projects", Some("us-east1"), false)));

    for (of, project) in [("key of P", "P"), ("key of Q", "Q")] {
        let token = Presented::Token(Secret::new("ya29.x", Fingerprint::new(of)));
        let request = signed(gemini.as_ref(), &uri, &token);

        assert_eq!(request.headers()["authorization"], "Bearer ya29.x");
        assert_eq!(request.uri().to_string(), uri.replace("/projects/P/", &format!("/projects/{project}/")));
    }
}

#[test]
fn an_express_key_is_sent_without_project_and_without_authorization() {
    let keys = [secret("AQ.xyz")];
    let express = provider(
        &VERTEX_EXPRESS,
        ProviderSpec { keys: &keys, base_url: Some("https://aiplatform.googleapis.com/"), ..derived() },
    );
    let uri = text(express.address(wanted("gemini-2.5-pro", None, false)));
    let request = signed(express.as_ref(), &uri, &Presented::Key(&keys[0]));

    assert_eq!(
        uri,
        "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-pro:generateContent"
    );
    assert_eq!(request.uri().to_string(), uri);
    assert_eq!(request.headers()["x-goog-api-key"], "AQ.xyz");
    assert!(!request.headers().contains_key("authorization"));
}

#[test]
fn an_express_key_goes_on_with_its_own_project_once_google_asks_for_it() {
    let (keys, projects) = ([secret("AQ.1"), secret("AQ.2")], ["p1".to_owned(), "p2".to_owned()]);
    let express = provider(&VERTEX_EXPRESS, ProviderSpec { keys: &keys, projects: &projects, ..derived() });
    let uri = text(express.address(wanted("m", None, true)));
    let sent = |key: &Secret| signed(express.as_ref(), &uri, &Presented::Key(key)).uri().to_string();
    let plain =
        "https://aiplatform.googleapis.com/v1/publishers/google/models/m:streamGenerateContent?alt=sse";
    let named = "https://aiplatform.googleapis.com/v1/projects/p2/locations/global/publishers/google/models/m:streamGenerateContent?alt=sse";
    let relearns = |status: u16, message: &str| {
        express.relearns(keys[1].fingerprint(), StatusCode::from_u16(status).unwrap(), &error(message))
    };

    assert_eq!(sent(&keys[1]), plain);
    for (status, message) in [
        (429, "project is over its quota"),
        (500, "project is required"),
        (400, "the word project"),
        (403, "no"),
    ] {
        assert!(!relearns(status, message), "{status} {message}");
    }
    assert!(relearns(401, "API keys are not supported by this API. Expected OAuth2 access token."));
    assert_eq!((sent(&keys[1]).as_str(), sent(&keys[0]).as_str()), (named, plain));
    // That was not it: back to where it was.
    assert!(relearns(403, "no"));
    assert_eq!(sent(&keys[1]), plain);
    assert!(relearns(400, "A project is required."));
    assert_eq!(sent(&keys[1]), named);
}

#[test]
fn a_key_without_a_project_has_one_address_only() {
    let keys = [secret("AQ.1")];
    let express = provider(&VERTEX_EXPRESS, ProviderSpec { keys: &keys, ..derived() });

    assert!(!express.relearns(keys[0].fingerprint(), StatusCode::FORBIDDEN, &error("project is required")));
}

#[test]
fn claude_takes_a_service_account() {
    let keys = [secret("AQ.1")];
    let refused = (VERTEX_CLAUDE.build)(&ProviderSpec { keys: &keys, ..derived() }).err().unwrap();

    assert!(refused.to_string().contains("service account"), "{refused}");
}

#[test]
fn the_lists_of_both_publishers_are_asked_for_in_the_name_of_the_project() {
    let accounts = [account("P")];
    let vertex = provider(&VERTEX, ProviderSpec { accounts: &accounts, ..derived() });
    let path = |listing: &Listing, base: &str| (listing.path)(&base.parse().unwrap());
    let listings: Vec<&Listing> = VERTEX.listing.iter().chain(VERTEX.more_listings).collect();

    assert_eq!(path(listings[0], GOOGLE), "/v1beta1/publishers/google/models?pageSize=100");
    assert_eq!(
        path(listings[1], "https://g.test/x/google-vertex-ai/v1"),
        "/x/google-vertex-ai/v1beta1/publishers/anthropic/models?pageSize=100"
    );
    let mut request = Request::get("https://aiplatform.googleapis.com/v1beta1/publishers/google/models")
        .body(Vec::new())
        .unwrap();
    let token = Presented::Token(Secret::new("ya29.x", Fingerprint::new("key of P")));
    vertex.sign(&mut request, Some(&token)).unwrap();
    assert_eq!(request.headers()["x-goog-user-project"], "P");
    assert_eq!(request.uri().path(), "/v1beta1/publishers/google/models");
}

#[test]
fn of_the_lists_only_what_chats_is_taken() {
    for (name, taken) in [
        ("publishers/google/models/gemini-2.5-pro", Some("gemini-2.5-pro")),
        ("publishers/anthropic/models/claude-opus-4-6", Some("claude-opus-4-6")),
        ("publishers/google/models/gemini-embedding-001", None),
        ("publishers/google/models/imagen-4.0", None),
    ] {
        assert_eq!(listed(name, &Value::Null), taken);
    }
}
