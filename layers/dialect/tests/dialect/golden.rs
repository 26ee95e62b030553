//! Recorded upstream answers, and what clients of another dialect get of them.
//!
//! A case is a folder below `tests/golden/<client>-<upstream>/`; `tests/golden/README.md` tells what is in it.
//! `GOLDEN_BLESS=1` writes the results anew, `GOLDEN=word` runs the cases with that word in their path.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dialect::{AnswerForm, Asked, Body, Dialect, Envelope, Evidence, Framing};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::cuts::few;
use crate::kit::{Coming, Exchange, UPSTREAMS, outbound};
use crate::{meaning, meaning_messages, meaning_responses};

/// The fields of a meaning, compared one by one.
const FIELDS: [&str; 10] =
    ["text", "reasoning", "refusal", "tools", "finish", "images", "citations", "usage", "more", "error"];

/// One recorded exchange.
pub(crate) struct Case {
    pub(crate) folder: PathBuf,
    pub(crate) client: Dialect,
    pub(crate) upstream: Dialect,
    /// The folder of the case whose answer it is: its own, or that of a client of another dialect.
    answered: PathBuf,
    /// `case.json`, joined with that of the case whose answer it is.
    told: Value,
}

/// All cases, or the wanted ones.
pub(crate) fn cases() -> Vec<Case> {
    of(&std::env::var_os("GOLDEN").unwrap_or_default().to_string_lossy())
}

/// All cases, whatever is wanted.
pub(crate) fn every() -> Vec<Case> {
    of("")
}

fn of(wanted: &str) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = Vec::new();
    for pair in folders(&root) {
        let name = pair.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let known = |label: &str| UPSTREAMS.iter().copied().find(|dialect| dialect.label() == label);
        let pair_of = name.split_once('-').map(|(client, upstream)| (known(client), known(upstream)));
        let Some((Some(client), Some(upstream))) = pair_of else {
            panic!("{name} is no pair of dialects of which upstreams.rs has a row");
        };
        for folder in folders(&pair) {
            if folder.display().to_string().contains(wanted) {
                let mut told = read_json(&folder.join("case.json"));
                let mut answered = folder.clone();
                if let Some(other) = told["answer"].as_str() {
                    answered = root.join(other);
                    let mut joined = read_json(&answered.join("case.json"));
                    match client {
                        Dialect::Responses => joined["differs"] = told["differs"].take(),
                        _ => {
                            if let Value::Object(own) = told["differs"].take() {
                                own.into_iter().for_each(|(field, why)| joined["differs"][field] = why);
                            }
                        }
                    }
                    told = joined;
                }
                cases.push(Case { folder, client, upstream, answered, told });
            }
        }
    }
    assert!(!cases.is_empty());
    cases
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(root).expect("the cases are there").map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_dialect_has_a_row_among_the_upstreams_and_cases_of_its_own() {
    let cases = every();
    for dialect in Dialect::ALL {
        assert_eq!(UPSTREAMS.iter().filter(|upstream| **upstream == dialect).count(), 1, "{dialect:?}");
        // Nobody has recorded translations, whose answers are those of responses in all but name.
        let is_recorded = dialect != Dialect::DoubaoTranslation;
        assert_eq!(cases.iter().any(|case| case.upstream == dialect), is_recorded, "{dialect:?}");
    }
}

#[test]
fn clients_get_of_every_recorded_answer_what_its_makers_sdk_finds_in_it() {
    let cases = cases();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|first| {
                let cases = &cases;
                let mine =
                    move || cases.iter().skip(first).step_by(workers).filter_map(|case| case.check().err());
                scope.spawn(move || mine().collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    assert!(failures.is_empty(), "{} of {} cases\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

impl Case {
    /// The recorded answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let files = ["json", "sse", "bin"].map(|end| self.answered.join("upstream").with_extension(end));
        files.iter().find_map(|file| fs::read(file).ok()).expect("an answer")
    }

    /// What the client sends.
    pub(crate) fn request(&self) -> Vec<u8> {
        fs::read(self.folder.join("request.json")).expect("a request")
    }

    /// How its frames come; none where the answer is whole.
    pub(crate) fn coming(&self) -> Option<Coming> {
        let framing = match self.told["framing"].as_str()? {
            "sse" => Framing::Sse,
            "json_array" => Framing::JsonArray,
            "json_lines" => Framing::JsonLines,
            "event_stream" => Framing::EventStream,
            other => panic!("{}: framing {other}", self.folder.display()),
        };
        Some(Coming { framing, wrapped: self.told["envelope"] == "invoke" })
    }

    fn status(&self) -> StatusCode {
        let status = self.told["status"].as_u64().unwrap_or(200);
        StatusCode::from_u16(status.try_into().expect("a status")).expect("a status")
    }

    /// What the provider's SDK finds in the answer.
    pub(crate) fn expected(&self) -> Value {
        let expected = read_json(&self.answered.join("expected.json"));
        match self.client {
            Dialect::Anthropic => meaning_messages::expected(&expected),
            _ => expected,
        }
    }

    /// Where clients rightly get something else: the case, the field, and why.
    pub(crate) fn differences(&self) -> Vec<(String, String, String)> {
        let name = self.folder.file_name().expect("a name").to_string_lossy().into_owned();
        let differs = self.told["differs"].as_object().into_iter().flatten();
        differs
            .map(|(field, why)| (name.clone(), field.clone(), why.as_str().unwrap_or_default().to_owned()))
            .collect()
    }

    /// Whether its status says that it is an answer.
    pub(crate) fn is_answer(&self) -> bool {
        self.status().is_success()
    }

    /// What its provider wraps the dialect in.
    fn envelope(&self) -> &'static Envelope {
        match self.told["provider"].as_str() {
            Some("vertex-claude") => &Envelope::VERTEX_CLAUDE,
            Some("vertex-gemini") => &Envelope::VERTEX_GEMINI,
            _ => &self.upstream.codec().upstream.envelope,
        }
    }

    fn check(&self) -> Result<(), String> {
        let expected = self.expected();
        let body = self.request();
        let answer = self.answer();
        if !self.is_answer() {
            return self.refused(&body, &answer, &expected["error"]);
        }
        if self.client == self.upstream {
            return self.same(&body, &answer, &expected);
        }
        let coming = self.coming();
        let (client, upstream, events) = (self.client, self.upstream, coming.is_some());
        let exchange = match Exchange::asked_in(self.envelope(), client, upstream, &body, events) {
            Ok(exchange) => exchange,
            // Another channel is asked.
            Err(refused) => {
                let told = json!({ "refused": refused.to_string() });
                return compare(&self.folder.join("upstream_request.json"), &pretty(&told));
            }
        };
        compare(&self.folder.join("upstream_request.json"), &pretty(&exchange.sent))?;
        let meaning = if let Some(coming) = coming {
            let whole = exchange.told(coming, &answer, &[]);
            for cuts in few(coming.framing, &answer) {
                if exchange.told(coming, &answer, &cuts) != whole {
                    return Err(format!("{}: cut at {cuts:?} the answer is another", self.folder.display()));
                }
            }
            compare(&self.folder.join("response.sse"), &whole)?;
            if self.client == Dialect::Responses
                && let Some(fault) = meaning_responses::fault(whole.as_bytes())
            {
                return Err(format!("{}: {fault}", self.folder.display()));
            }
            self.of_events(whole.as_bytes())
        } else {
            let whole = match exchange.whole(&answer, AnswerForm::Json) {
                Ok(whole) => whole,
                Err(error) => return self.fails(&error, &expected["error"]),
            };
            let whole = pretty(&serde_json::from_slice(&whole).expect("JSON"));
            compare(&self.folder.join("response.json"), &whole)?;
            self.of_whole(whole.as_bytes())
        };
        self.means(&meaning, &expected)
    }

    /// The meaning of an answer in events for this client.
    fn of_events(&self, answer: &[u8]) -> Value {
        match self.client {
            Dialect::Anthropic => meaning_messages::of_events(answer),
            Dialect::Responses => meaning_responses::of_events(answer),
            _ => meaning::of_events(answer),
        }
    }

    /// The meaning of a whole answer for this client.
    fn of_whole(&self, answer: &[u8]) -> Value {
        match self.client {
            Dialect::Anthropic => meaning_messages::of_whole(answer),
            Dialect::Responses => meaning_responses::of_whole(answer),
            _ => meaning::of_whole(answer),
        }
    }

    /// Between equal dialects the bytes pass; read and written anew they mean the same.
    fn same(&self, body: &[u8], answer: &[u8], expected: &Value) -> Result<(), String> {
        let at = self.folder.display();
        let exchange = Exchange::new(self.client, self.upstream, body, self.coming().is_some());
        if exchange.sent != serde_json::from_slice::<Value>(body).expect("JSON") {
            return Err(format!("{at}: the request did not pass as it is"));
        }
        if self.coming().is_some() {
            if !exchange.passes() {
                return Err(format!("{at}: the answer is not passed on"));
            }
            self.means(&self.of_events(answer), expected)?;
            return self.means_anew(self.of_events(exchange.stream(answer, &[]).as_bytes()), expected);
        }
        match exchange.whole(answer, AnswerForm::Json) {
            Ok(whole) if whole == answer => {}
            Ok(_) => return Err(format!("{at}: the answer did not pass as it is")),
            Err(error) => return self.fails(&error, &expected["error"]),
        }
        self.means(&self.of_whole(answer), expected)?;
        // A client that wants events of it gets the same.
        let streamed = Exchange::new(self.client, self.upstream, body, true).whole(answer, AnswerForm::Json);
        match streamed {
            Ok(streamed) => self.means_anew(self.of_events(&streamed), expected),
            Err(error) => self.fails(&error, &expected["error"]),
        }
    }

    /// Compares what an answer means that was read and written anew: that gives each an end, usage to those who ask for
    /// it, and a place to sources that stand beside the text, where OpenAI's SDK does not look.
    fn means_anew(&self, mut meaning: Value, expected: &Value) -> Result<(), String> {
        for (field, unsaid) in [
            ("usage", meaning["usage"].is_null()),
            ("finish", expected["finish"].is_null()),
            ("citations", expected["citations"] == json!([])),
        ] {
            if unsaid {
                meaning[field] = expected[field].clone();
            }
        }
        self.means(&meaning, expected)
    }

    /// An answer whose status says that it is none.
    fn refused(&self, body: &[u8], answer: &[u8], expected: &Value) -> Result<(), String> {
        let error = outbound(self.upstream).error(self.status(), &HeaderMap::new(), answer);
        let model = self.told["model"].as_str().unwrap_or_default();
        let body = Body::Json(body.to_vec().into());
        let asked = Asked { body: &body, headers: &HeaderMap::new(), model };
        let evidence = Evidence::read(&HeaderMap::new(), &error, answer, &asked, SystemTime::UNIX_EPOCH);
        let told = json!({
            "status": error.status.as_u16(),
            "kind": format!("{:?}", error.kind),
            "message": error.message,
            "code": error.code,
            "param": error.param,
            "evidence": format!("{evidence:?}"),
        });
        compare(&self.folder.join("error.json"), &pretty(&told))?;
        self.says(&error, expected)
    }

    /// An answer that holds an error where another stands.
    fn fails(&self, error: &dialect::ir::Error, expected: &Value) -> Result<(), String> {
        let told = json!({ "status": error.status.as_u16(), "message": error.message, "code": error.code });
        compare(&self.folder.join("error.json"), &pretty(&told))?;
        self.says(error, expected)
    }

    fn says(&self, error: &dialect::ir::Error, expected: &Value) -> Result<(), String> {
        let found = json!({ "error": { "message": error.message } });
        let status = expected["status"].as_u64().unwrap_or_else(|| error.status.as_u16().into());
        if status != u64::from(error.status.as_u16()) {
            return Err(format!("{}: status {} instead of {status}", self.folder.display(), error.status));
        }
        self.means(&found, &json!({ "error": expected }))
    }

    /// Compares what an answer means with what it should.
    fn means(&self, found: &Value, expected: &Value) -> Result<(), String> {
        let mut wrong = Vec::new();
        // Of what failed before it began there is only the failure.
        let only_failed = expected.get("text").is_none();
        for field in FIELDS.into_iter().filter(|field| !only_failed || *field == "error") {
            let reason = self.told["differs"][field].as_str();
            let (found, expected) = (comparable(field, &found[field]), comparable(field, &expected[field]));
            // What was not counted cannot be told.
            let same = found == expected || field == "usage" && expected.is_null();
            match reason {
                None if !same => {
                    wrong.push(format!("  {field}\n    expected {expected}\n    found    {found}"))
                }
                Some(reason) if same => wrong.push(format!("  {field} differs no more, although: {reason}")),
                _ => {}
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}\n{}", self.folder.display(), wrong.join("\n")))
        }
    }
}

/// A field as it is compared: reasoning without white space, which stands between its parts as each provider likes it.
fn comparable(field: &str, value: &Value) -> Value {
    match (field, value) {
        ("reasoning", Value::String(text)) => text.split_whitespace().collect::<String>().into(),
        ("error", Value::Object(error)) => error.get("message").cloned().unwrap_or_default(),
        ("more", Value::Array(more)) => more
            .iter()
            .map(|one| FIELDS.iter().map(|field| comparable(field, &one[*field])).collect::<Value>())
            .collect(),
        _ => value.clone(),
    }
}

pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn compare(file: &Path, found: &str) -> Result<(), String> {
    if std::env::var_os("GOLDEN_BLESS").is_some() {
        fs::write(file, found).expect("writable");
        return Ok(());
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected == found {
        return Ok(());
    }
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or(0);
    let show = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    Err(format!(
        "{} line {}\n  expected {}\n  found    {}",
        file.display(),
        line + 1,
        show(&expected),
        show(found)
    ))
}
