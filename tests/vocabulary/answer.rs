//! An answer as a client sees it, with the time of every piece.

use std::time::Duration;

use serde_json::Value;

/// An answer that has ended, well or badly.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status line's number.
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as it would be without transfer coding.
    pub(crate) body: Vec<u8>,
    /// The body in the pieces that it came in, each with the time since the request was sent.
    pub(crate) pieces: Vec<(Duration, Vec<u8>)>,
    /// Whether the end was marked, or the connection just closed.
    pub(crate) complete: bool,
    /// From the request to the end.
    pub(crate) took: Duration,
}

impl Answer {
    /// A header of the answer.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The channel that served, as administrators are told.
    pub(crate) fn channel(&self) -> &str {
        self.header("x-uni-api-channel")
            .unwrap_or_else(|| panic!("no channel told: {} {}", self.status, self.text()))
    }

    /// Stops the test unless the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// The content of a whole chat answer.
    #[track_caller]
    pub(crate) fn content(&self) -> String {
        let json = self.json();
        json["choices"][0]["message"]["content"]
            .as_str()
            .unwrap_or_else(|| panic!("no content: {json}"))
            .to_owned()
    }

    /// The data of all events of a stream.
    pub(crate) fn events(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.trim().to_owned())
            .collect()
    }

    /// The events of a stream that are JSON.
    pub(crate) fn event_values(&self) -> Vec<Value> {
        self.events().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The content deltas of a chat stream, put together.
    pub(crate) fn streamed(&self) -> String {
        self.event_values()
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    }

    /// Whether the stream has its terminal marker.
    pub(crate) fn is_done(&self) -> bool {
        self.events().iter().any(|data| data == "[DONE]")
    }

    /// The error object, in OpenAI's shape; stops the test when there is none.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let json = self.json();
        assert_openai_error(&json);
        json["error"].clone()
    }

    /// The error event of a stream that broke, in OpenAI's shape.
    #[track_caller]
    pub(crate) fn error_event(&self) -> Value {
        let last = self
            .event_values()
            .into_iter()
            .next_back()
            .unwrap_or_else(|| panic!("no event: {}", self.text()));
        assert_openai_error(&last);
        last["error"].clone()
    }
}

/// Stops the test unless this is an error as OpenAI's SDKs read it.
#[track_caller]
pub(crate) fn assert_openai_error(json: &Value) {
    let error = json["error"].as_object().unwrap_or_else(|| panic!("no error object: {json}"));
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
    assert!(error["type"].is_string(), "{json}");
    for field in ["param", "code"] {
        assert!(
            error.get(field).is_some_and(|value| value.is_null() || value.is_string()),
            "{field}: {json}"
        );
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}
