//! The recorded requests and answers of real providers in `tests/fixtures/recorded`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::{Script, Seen};

/// One recorded case.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    /// `provider/case`.
    pub(crate) name: String,
    /// Status of the answer.
    pub(crate) status: u16,
    /// Whether the answer is an event stream.
    pub(crate) stream: bool,
    /// What is in it.
    pub(crate) kinds: Vec<String>,
    /// The operation that was asked for.
    pub(crate) operation: String,
    /// The request; null for a GET.
    pub(crate) request: Value,
    /// The body of the answer.
    pub(crate) body: Vec<u8>,
    content_type: String,
}

#[derive(Deserialize)]
struct Meta {
    operation: String,
    stream: bool,
    status: u16,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    kinds: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/recorded")
}

impl Recorded {
    /// The case of this name.
    pub(crate) fn case(name: &str) -> Self {
        let folder = root().join(name);
        let read = |file: &str| std::fs::read(folder.join(file)).ok();
        let meta = read("meta.yaml").unwrap_or_else(|| panic!("{} has no meta.yaml", folder.display()));
        let meta: Meta = serde_yaml::from_slice(&meta).unwrap();
        let (body, kind) = match (read("response.json"), read("response.sse")) {
            (Some(body), None) => (body, "application/json"),
            (None, Some(body)) => (body, "text/event-stream"),
            _ => panic!("{name} should have one answer"),
        };
        Self {
            name: name.to_owned(),
            status: meta.status,
            stream: kind == "text/event-stream",
            kinds: meta.kinds,
            operation: meta.operation,
            request: read("request.json")
                .map_or(Value::Null, |request| serde_json::from_slice(&request).unwrap())
                .with_stream(meta.stream),
            body,
            content_type: meta.content_type.unwrap_or_else(|| kind.to_owned()),
        }
    }

    /// All cases of an operation.
    pub(crate) fn all(operation: &str) -> Vec<Self> {
        let mut names: Vec<String> = Vec::new();
        for provider in folders(&root()) {
            for case in folders(&root().join(&provider)) {
                names.push(format!("{provider}/{case}"));
            }
        }
        names.sort();
        names.iter().map(|name| Self::case(name)).filter(|case| case.operation == operation).collect()
    }

    /// Whether it has something of this kind in it.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.kinds.iter().any(|k| k == kind)
    }

    /// Whether it says nothing at all: a limit or a stop sequence came before the first word.
    pub(crate) fn says_nothing(&self) -> bool {
        let silent = [
            "openai/cut-short",
            "openai/stream-cut-short",
            "anthropic/stop-sequence",
            "anthropic/stream-stop-sequence-2",
        ];
        silent.contains(&self.name.as_str())
    }

    /// The answer, sent whole.
    pub(crate) fn script(&self) -> Script {
        Script::body(self.status, &self.content_type, self.body.clone())
    }

    /// The request, for another model.
    pub(crate) fn request_for(&self, model: &str) -> Value {
        let mut request = self.request.clone();
        request["model"] = Value::from(model);
        request
    }
}

trait WithStream {
    fn with_stream(self, stream: bool) -> Self;
}

impl WithStream for Value {
    /// Some requests were recorded with a path that says that it is a stream, not a field.
    fn with_stream(mut self, stream: bool) -> Self {
        if let Some(request) = self.as_object_mut()
            && stream
        {
            request.insert("stream".into(), true.into());
        }
        self
    }
}

fn folders(path: &Path) -> Vec<String> {
    std::fs::read_dir(path)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Answers each request with the recorded case that its model names.
pub(crate) fn replay(cases: Vec<Recorded>) -> impl Fn(&Seen) -> Script + Send + Sync + 'static {
    move |seen| match cases.iter().find(|case| case.name == seen.model()) {
        Some(case) => case.script(),
        None => Script::error(418, &format!("no recorded case for {:?}", seen.model())),
    }
}
