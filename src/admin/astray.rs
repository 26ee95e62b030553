//! Paths that nobody serves: mostly a `base_url` that lacks its `/v1`, or has it twice.
//!
//! Read only when a request is refused, so it may think for a while.

use http::HeaderMap;
use http::header::HOST;
use layers::Failure;
use layers::endpoint::ENDPOINTS;

use crate::config::nearest;

/// Longest part of a path that is repeated.
const LONGEST: usize = 200;

/// The refusal of a path, which says what may have been meant.
pub(super) fn failure(path: &str, headers: &HeaderMap) -> Failure {
    let shown: String = path.chars().take(LONGEST).collect();
    let Some(meant) = meant(path) else { return Failure::UnknownEndpoint(shown) };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty());
    let host = host.unwrap_or("host:8000");
    Failure::UnknownEndpoint(format!(
        "{shown}; did you mean {meant}? The base_url of an OpenAI client is http://{host}/v1"
    ))
}

/// The path that this one is most likely a slip of.
fn meant(path: &str) -> Option<&'static str> {
    /// What is served beside the endpoints and may be meant.
    const BESIDE: &[&str] = &["/v1/models"];
    let words = words(path);
    let known = || ENDPOINTS.iter().map(|endpoint| endpoint.path).filter(|path| !path.contains('{'));
    let known = || known().chain(BESIDE.iter().copied());
    let ends_like = known().find(|known| words.ends_with(&format!("/{}", tail(known))));
    ends_like.or_else(|| {
        let tails: Vec<&str> = known().map(tail).collect();
        let near = nearest(words.trim_start_matches('/'), tails)?;
        known().find(|known| tail(known) == near)
    })
}

/// A known path without the version in front.
fn tail(known: &str) -> &str {
    known.trim_start_matches("/v1/")
}

/// A path without what clients put in front, between or behind by mistake.
fn words(path: &str) -> String {
    let path: String = path.chars().take(LONGEST).collect::<String>().to_ascii_lowercase();
    let words = path.split('/').map(str::trim).filter(|word| !word.is_empty() && *word != "v1");
    words.flat_map(|word| ["/", word]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_slips_are_told_what_was_meant() {
        for path in [
            "/chat/completions",
            "/v1/v1/chat/completions",
            "/v1/chat/completions/",
            "//v1/chat/completions",
            "/v1//chat/completions",
            "/V1/Chat/Completions",
            "/api/v1/chat/completions",
            "/openai/v1/chat/completions",
            "/v1/chat/completion",
            "/v1/chat/completions/chat/completions",
        ] {
            assert_eq!(meant(path), Some("/v1/chat/completions"), "{path}");
        }
        assert_eq!(meant("/models"), Some("/v1/models"));
        assert_eq!(meant("/v1/model"), Some("/v1/models"));
        assert_eq!(meant("/moderations/"), Some("/v1/moderations"));
    }

    #[test]
    fn other_paths_are_told_nothing_that_misleads() {
        for path in
            ["/", "/nowhere", "/v1/embeddings", "/v1", "/robots.txt", "/v1/completions", &"/a".repeat(9000)]
        {
            assert_eq!(meant(path), None, "{path}");
        }
    }

    #[test]
    fn the_refusal_names_the_address_that_was_asked_and_is_bounded() {
        let headers = HeaderMap::from_iter([(HOST, "gate.test:8000".parse().unwrap())]);

        let told = failure("/chat/completions", &headers).to_string();
        let long = failure(&"/x".repeat(9000), &headers).to_string();

        assert!(told.contains("did you mean /v1/chat/completions?"), "{told}");
        assert!(told.ends_with("http://gate.test:8000/v1"), "{told}");
        assert!(long.len() < 300, "{}", long.len());
    }
}
