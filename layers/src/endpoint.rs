//! The endpoints: which paths are served, with which method, and what each of them takes and gives.
//!
//! One table, [`ENDPOINTS`], read by everything that has to know a path: the fork between pipeline
//! and admin routes, `exclude_endpoints`, the shape in which an unknown path is refused, the
//! providers' addresses, the ledger's `endpoint` column. A new endpoint is a row.
//!
//! [`EndpointLayer`] stands outside `rescue` and looks a request's path up once; everybody further
//! in finds the [`Lookup`] among the request's extensions.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};

use dialect::{Dialect, ErrorShape, Kind};
use http::Method;
use percent_encoding::percent_decode_str;
use tower::{Layer, Service};

/// A path that is served, with its method: a row of the table.
#[derive(Debug)]
pub struct Endpoint {
    /// Method and path, as the ledger's `endpoint` column has them.
    pub label: &'static str,
    /// The method.
    pub method: Method,
    /// The path. `{model}` stands for a model's name, `{id}` for the name of a stored object.
    pub path: &'static str,
    /// What is asked for.
    pub kind: Kind,
    /// How the client speaks there.
    pub client: Dialect,
    /// What the request's body is.
    pub request: RequestForm,
    /// What the answer is.
    pub answer: AnswerForm,
    /// Whether an answer without content is an answer.
    pub may_be_empty: bool,
    /// Whether upstreams keep what an answer creates, under the answer's id.
    pub keeps: bool,
}

/// The form of the body of an endpoint's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestForm {
    /// A JSON object.
    Json,
    /// A form of several parts.
    Multipart,
    /// Nothing: a body is not read.
    Nothing,
}

/// The form of an endpoint's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    /// One JSON object.
    Json,
    /// A stream of events.
    Events,
    /// Bytes of a medium.
    Bytes,
    /// A stream where `stream` asks for it, else one JSON object.
    AsAsked,
}

/// `POST /v1/chat/completions`.
pub static CHAT_COMPLETIONS: Endpoint = Endpoint {
    label: "POST /v1/chat/completions",
    method: Method::POST,
    path: "/v1/chat/completions",
    kind: Kind::Chat,
    client: Dialect::OpenAiChat,
    request: RequestForm::Json,
    answer: AnswerForm::AsAsked,
    may_be_empty: false,
    keeps: false,
};

/// `POST /v1/messages`.
pub static MESSAGES: Endpoint = Endpoint {
    label: "POST /v1/messages",
    method: Method::POST,
    path: "/v1/messages",
    kind: Kind::Chat,
    client: Dialect::Anthropic,
    request: RequestForm::Json,
    answer: AnswerForm::AsAsked,
    may_be_empty: false,
    keeps: false,
};

/// `POST /v1/messages/count_tokens`.
pub static COUNT_MESSAGE_TOKENS: Endpoint = Endpoint {
    label: "POST /v1/messages/count_tokens",
    method: Method::POST,
    path: "/v1/messages/count_tokens",
    kind: Kind::CountTokens,
    client: Dialect::Anthropic,
    request: RequestForm::Json,
    answer: AnswerForm::Json,
    may_be_empty: false,
    keeps: false,
};

/// `POST /v1/moderations`.
pub static MODERATIONS: Endpoint = Endpoint {
    label: "POST /v1/moderations",
    method: Method::POST,
    path: "/v1/moderations",
    kind: Kind::Moderate,
    client: Dialect::OpenAiChat,
    request: RequestForm::Json,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: false,
};

/// `POST /v1/responses`.
pub static RESPONSES: Endpoint = Endpoint {
    label: "POST /v1/responses",
    method: Method::POST,
    path: "/v1/responses",
    kind: Kind::Chat,
    client: Dialect::Responses,
    request: RequestForm::Json,
    answer: AnswerForm::AsAsked,
    may_be_empty: false,
    keeps: true,
};

/// `POST /v1/responses/compact`.
pub static COMPACT_RESPONSE: Endpoint = Endpoint {
    label: "POST /v1/responses/compact",
    method: Method::POST,
    path: "/v1/responses/compact",
    kind: Kind::Compact,
    client: Dialect::Responses,
    request: RequestForm::Json,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: true,
};

/// `POST /v1/responses/input_tokens`.
pub static COUNT_RESPONSE_TOKENS: Endpoint = Endpoint {
    label: "POST /v1/responses/input_tokens",
    method: Method::POST,
    path: "/v1/responses/input_tokens",
    kind: Kind::CountTokens,
    client: Dialect::Responses,
    request: RequestForm::Json,
    answer: AnswerForm::Json,
    may_be_empty: true,
    // It keeps nothing, but may name what was kept.
    keeps: true,
};

/// `GET /v1/responses/{id}`.
pub static READ_RESPONSE: Endpoint = Endpoint {
    label: "GET /v1/responses/{id}",
    method: Method::GET,
    path: "/v1/responses/{id}",
    kind: Kind::Stored,
    client: Dialect::Responses,
    request: RequestForm::Nothing,
    answer: AnswerForm::AsAsked,
    may_be_empty: true,
    keeps: false,
};

/// `DELETE /v1/responses/{id}`.
pub static DELETE_RESPONSE: Endpoint = Endpoint {
    label: "DELETE /v1/responses/{id}",
    method: Method::DELETE,
    path: "/v1/responses/{id}",
    kind: Kind::Stored,
    client: Dialect::Responses,
    request: RequestForm::Nothing,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: false,
};

/// `POST /v1/responses/{id}/cancel`.
pub static CANCEL_RESPONSE: Endpoint = Endpoint {
    label: "POST /v1/responses/{id}/cancel",
    method: Method::POST,
    path: "/v1/responses/{id}/cancel",
    kind: Kind::Stored,
    client: Dialect::Responses,
    request: RequestForm::Nothing,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: false,
};

/// `GET /v1/responses/{id}/input_items`.
pub static RESPONSE_INPUT: Endpoint = Endpoint {
    label: "GET /v1/responses/{id}/input_items",
    method: Method::GET,
    path: "/v1/responses/{id}/input_items",
    kind: Kind::Stored,
    client: Dialect::Responses,
    request: RequestForm::Nothing,
    answer: AnswerForm::Json,
    may_be_empty: true,
    keeps: false,
};

/// All endpoints of the pipeline.
pub static ENDPOINTS: &[&Endpoint] = &[
    &CHAT_COMPLETIONS,
    &MESSAGES,
    &COUNT_MESSAGE_TOKENS,
    &MODERATIONS,
    &RESPONSES,
    &COMPACT_RESPONSE,
    &COUNT_RESPONSE_TOKENS,
    &READ_RESPONSE,
    &DELETE_RESPONSE,
    &CANCEL_RESPONSE,
    &RESPONSE_INPUT,
];

/// Families of paths, each with the shape in which its clients read errors; the first that a path
/// begins with counts.
const FAMILIES: &[(&str, ErrorShape)] =
    &[("/v1beta/", ErrorShape::Gemini), ("/v1/messages", ErrorShape::Anthropic)];

/// The table's answer for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// An endpoint, with what its path says.
    Found(Matched),
    /// The path is served, with these methods only: the value of `Allow`.
    OtherMethod(String),
    /// No path of the pipeline.
    Unknown,
}

/// An endpoint that a request was found to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The endpoint.
    pub endpoint: &'static Endpoint,
    /// The model that the path names.
    pub model: Option<Arc<str>>,
    /// The stored object that the path names.
    pub id: Option<Arc<str>>,
}

// === impl Endpoint ===

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.label == other.label
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.label.hash(state);
    }
}

impl Endpoint {
    /// What of the path its placeholder stands for; none when the path is another.
    fn reads<'p>(&self, path: &'p str) -> Option<Placeholder<'p>> {
        // Most ask for a path without one, and need not pay for the search in all others.
        if self.path == path && !path.contains('{') {
            return Some(Placeholder::None);
        }
        let (before, rest) = self.path.split_once('{')?;
        let (name, after) = rest.split_once('}')?;
        let value = path.strip_prefix(before)?.strip_suffix(after).filter(|value| !value.is_empty())?;
        match name {
            // Some makers have a slash in the names of their models.
            "model" => Some(Placeholder::Model(value)),
            _ if value.contains('/') => None,
            _ => Some(Placeholder::Id(value)),
        }
    }
}

/// The part of a path that differs between requests.
enum Placeholder<'p> {
    None,
    Model(&'p str),
    Id(&'p str),
}

/// Looks a request up in the table.
pub fn find(method: &Method, path: &str) -> Lookup {
    find_in(ENDPOINTS, method, path)
}

/// Looks a request up in this table.
pub fn find_in(table: &[&'static Endpoint], method: &Method, path: &str) -> Lookup {
    let mut others: Vec<&str> = Vec::new();
    for endpoint in table {
        let Some(placeholder) = endpoint.reads(path) else { continue };
        if endpoint.method != *method {
            others.push(endpoint.method.as_str());
            continue;
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Arc::from);
        let (model, id) = match placeholder {
            Placeholder::None => (None, None),
            Placeholder::Model(text) => (decoded(text), None),
            Placeholder::Id(text) => (None, decoded(text)),
        };
        return Lookup::Found(Matched { endpoint, model, id });
    }
    if others.is_empty() {
        return Lookup::Unknown;
    }
    others.dedup();
    Lookup::OtherMethod(others.join(", "))
}

/// The endpoints with this path, whatever their method: what `exclude_endpoints` names.
pub fn on_path(path: &str) -> impl Iterator<Item = &'static Endpoint> {
    ENDPOINTS.iter().copied().filter(move |endpoint| endpoint.path == path)
}

impl Lookup {
    /// The endpoint, where there is one.
    pub fn matched(&self) -> Option<&Matched> {
        match self {
            Self::Found(matched) => Some(matched),
            Self::OtherMethod(_) | Self::Unknown => None,
        }
    }

    /// The shape in which whoever sent a request to `path` reads errors.
    pub fn error_shape(&self, path: &str) -> ErrorShape {
        if let Self::Found(matched) = self {
            return matched.endpoint.client.error_shape();
        }
        let family = FAMILIES.iter().find(|(prefix, _)| path.starts_with(prefix));
        family.map_or(ErrorShape::OpenAi, |(_, shape)| *shape)
    }
}

/// Mounts [`FindEndpoint`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointLayer;

/// The service of [`EndpointLayer`].
#[derive(Debug, Clone)]
pub struct FindEndpoint<S> {
    inner: S,
}

// === impl EndpointLayer ===

impl<S> Layer<S> for EndpointLayer {
    type Service = FindEndpoint<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FindEndpoint { inner }
    }
}

// === impl FindEndpoint ===

impl<S, B> Service<http::Request<B>> for FindEndpoint<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let lookup = find(request.method(), request.uri().path());
        request.extensions_mut().insert(lookup);
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static STREAM: Endpoint = Endpoint {
        label: "POST /v1beta/models/{model}:stream",
        method: Method::POST,
        path: "/v1beta/models/{model}:stream",
        kind: Kind::Chat,
        client: Dialect::OpenAiChat,
        request: RequestForm::Json,
        answer: AnswerForm::Events,
        may_be_empty: false,
        keeps: false,
    };
    static READ: Endpoint = Endpoint {
        label: "GET /v1/things/{id}",
        method: Method::GET,
        path: "/v1/things/{id}",
        kind: Kind::Stored,
        client: Dialect::OpenAiChat,
        request: RequestForm::Nothing,
        answer: AnswerForm::Json,
        may_be_empty: true,
        keeps: false,
    };
    static REMOVE: Endpoint = Endpoint {
        label: "DELETE /v1/things/{id}",
        method: Method::DELETE,
        path: "/v1/things/{id}",
        kind: Kind::Stored,
        client: Dialect::OpenAiChat,
        request: RequestForm::Nothing,
        answer: AnswerForm::Json,
        may_be_empty: true,
        keeps: false,
    };
    static TABLE: &[&Endpoint] = &[&CHAT_COMPLETIONS, &STREAM, &READ, &REMOVE];

    fn found(method: Method, path: &str) -> (Option<&'static str>, Option<String>, Option<String>) {
        match find_in(TABLE, &method, path) {
            Lookup::Found(Matched { endpoint, model, id }) => {
                (Some(endpoint.label), model.map(|text| text.to_string()), id.map(|text| text.to_string()))
            }
            _ => (None, None, None),
        }
    }

    #[test]
    fn every_row_says_in_its_label_what_its_fields_say() {
        for endpoint in ENDPOINTS.iter().chain(TABLE) {
            assert_eq!(endpoint.label, format!("{} {}", endpoint.method, endpoint.path));
        }
    }

    #[test]
    fn a_path_names_its_model_also_when_that_is_escaped_or_holds_a_slash() {
        let label = Some(STREAM.label);

        assert_eq!(
            found(Method::POST, "/v1beta/models/gemini-2.5-pro:stream"),
            (label, Some("gemini-2.5-pro".into()), None)
        );
        assert_eq!(
            found(Method::POST, "/v1beta/models/maker/model:stream"),
            (label, Some("maker/model".into()), None)
        );
        assert_eq!(
            found(Method::POST, "/v1beta/models/maker%2Fmodel:stream"),
            (label, Some("maker/model".into()), None)
        );
        assert_eq!(found(Method::POST, "/v1beta/models/:stream"), (None, None, None));
        assert_eq!(found(Method::POST, "/v1beta/models/m:other"), (None, None, None));
    }

    #[test]
    fn a_stored_object_is_one_segment() {
        assert_eq!(found(Method::GET, "/v1/things/t_1"), (Some(READ.label), None, Some("t_1".into())));
        assert_eq!(found(Method::GET, "/v1/things/t_1/more"), (None, None, None));
    }

    #[test]
    fn another_method_is_told_which_ones_there_are() {
        assert_eq!(
            find_in(TABLE, &Method::POST, "/v1/things/t"),
            Lookup::OtherMethod("GET, DELETE".to_owned())
        );
        assert_eq!(find(&Method::GET, "/v1/chat/completions"), Lookup::OtherMethod("POST".to_owned()));
        assert_eq!(find(&Method::POST, "/v1/chat/completions/"), Lookup::Unknown);
    }

    #[test]
    fn an_unknown_path_is_refused_in_the_shape_of_its_family() {
        let shape = |path: &str| find(&Method::POST, path).error_shape(path);

        assert_eq!(shape("/v1/chat/completions"), ErrorShape::OpenAi);
        assert_eq!(shape("/v1/messages/batches"), ErrorShape::Anthropic);
        assert_eq!(shape("/v1beta/models/m:unknown"), ErrorShape::Gemini);
        assert_eq!(shape("/anything"), ErrorShape::OpenAi);
    }
}
