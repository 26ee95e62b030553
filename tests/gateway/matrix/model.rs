//! The model behind every simulated provider: what it says in each scene, whatever the wire form.
//!
//! A scene is named in the user's words (`scene:loop:whole`), since words are what every provider passes to its model. A
//! loop goes on only when the request holds what was said before, as it was said: calls with their identities,
//! results paired with them, thoughts with their seals where the provider demands them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A picture that is sent: one red pixel.
pub(crate) const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// What is said in the scene of plain text.
pub(crate) const GREETING: &str = "Hello, Grüße, 你好 👋.\nSecond \"line\".";
/// What is said before the first calls.
pub(crate) const LOOKING: &str = "Let me look.";
/// What is thought in every scene with thoughts.
pub(crate) const THOUGHT: &str = "I should look at both – first Paris.";
/// The last words of a loop, which hold all results.
pub(crate) const TOGETHER: &str = "Paris 21, Oslo 4, together 25 at 12:00.";
/// What is said after a loop.
pub(crate) const AFTERWARDS: &str = "Mild and cold.";
/// The words in which a provider refuses a request.
pub(crate) const REFUSED: &str = "the request is refused by the script";
/// Tokens of a request, of an answer, and of the thoughts within it.
pub(crate) const INPUT: u64 = 11;
pub(crate) const OUTPUT: u64 = 7;
pub(crate) const THINKING: u64 = 3;

/// What a request says, in the words of no provider.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) stream: bool,
    /// Instructions, put together.
    pub(crate) system: String,
    pub(crate) turns: Vec<Turn>,
    pub(crate) tools: Vec<Tool>,
    /// The tool that must be called.
    pub(crate) forced: Option<String>,
    /// The schema of the answer, in the provider's field for it.
    pub(crate) schema: Option<Value>,
    /// Whether thoughts are asked for.
    pub(crate) thinks: bool,
}

/// A tool that is offered.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// Names of its parameters.
    pub(crate) parameters: Vec<String>,
}

/// A turn of a conversation.
#[derive(Debug)]
pub(crate) enum Turn {
    User(Vec<Part>),
    Model(Spoken),
    /// What calls gave back, each beside its call.
    Results(Vec<(Call, String)>),
}

/// A part of what a user says.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    /// A picture, as base64.
    Image(String),
}

/// What a model says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Spoken {
    /// The identity of the answer, by which no two are the same.
    pub(crate) id: String,
    pub(crate) thought: Option<Thought>,
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
}

/// A thought.
#[derive(Debug, Default, Clone)]
pub(crate) struct Thought {
    pub(crate) text: String,
    pub(crate) seal: String,
}

/// A call. Its identity is empty where the wire form has none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// A request that is refused, as a provider refuses it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// What a provider wants back of the thoughts before calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Seals {
    /// Thought and seal.
    Whole,
    /// The seal, which stands elsewhere than the thought.
    Alone,
    /// Some thought, be it blank.
    Any,
    /// Nothing: a thought that is sent is refused.
    Refused,
    /// What there is no way to send, so that nothing is thought between calls and the answer.
    Lost,
    /// Nothing.
    None,
}

/// What the model says to this request.
pub(crate) enum Answer {
    Spoken(Spoken),
    /// An answer that fails after its first words.
    Torn,
    /// A recorded answer, by its name.
    Recorded(String),
}

/// The ways of one provider that the model has to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways {
    /// What its identities of calls begin with; there are none without.
    pub(crate) ids: Option<&'static str>,
    pub(crate) seals: Seals,
    /// Whether thoughts are there when they are asked for.
    pub(crate) thinks: bool,
    /// Whether there are tools at all.
    pub(crate) calls: bool,
    /// What is said before calls.
    pub(crate) before_calls: BeforeCalls,
}

/// What a model says before it calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum BeforeCalls {
    /// Text like any other.
    Text,
    /// A plan: a kind of thought, which need not come back.
    Plan,
}

// === impl Refusal ===

impl Refusal {
    /// One with status 400.
    pub(crate) fn because(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into() }
    }
}

/// Refuses with 400.
pub(crate) fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::because(message))
}

// === impl Turn ===

impl Turn {
    /// One of the user's with this text.
    pub(crate) fn user(text: &str) -> Self {
        Self::User(vec![Part::Text(text.to_owned())])
    }
}

/// What the user says in this turn.
fn words(turn: &Turn) -> Option<String> {
    let Turn::User(parts) = turn else { return None };
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Image(_) => None,
    });
    Some(texts.collect::<Vec<_>>().join("\n"))
}

impl Asked {
    /// Takes a result to the call that it belongs to, of the model's turn right before.
    pub(crate) fn result(&mut self, id: &str, text: String) -> Result<(), Refusal> {
        let (calls, given) = match self.turns.as_slice() {
            [.., Turn::Model(spoken), Turn::Results(given)] => (&spoken.calls, given.len()),
            [.., Turn::Model(spoken)] => (&spoken.calls, 0),
            _ => return refuse(format!("the result for {id} does not follow the turn with its call")),
        };
        let Some(call) = calls.iter().find(|call| call.id == id).cloned() else {
            return refuse(format!("there is no call {id} in the turn before its result"));
        };
        if given == 0 {
            self.turns.push(Turn::Results(Vec::new()));
        }
        let Some(Turn::Results(results)) = self.turns.last_mut() else { unreachable!("it was pushed") };
        if results.iter().any(|(known, _)| known.id == id) {
            return refuse(format!("there are two results for {id}"));
        }
        results.push((call, text));
        Ok(())
    }

    /// Refuses a conversation in which a call has no result, or the first word is not the user's.
    pub(crate) fn complete(self) -> Result<Self, Refusal> {
        match self.turns.first() {
            Some(Turn::User(_)) => {}
            _ => return refuse("a conversation must start with a user message"),
        }
        for (at, turn) in self.turns.iter().enumerate() {
            let Turn::Model(spoken) = turn else { continue };
            let given = match self.turns.get(at + 1) {
                Some(Turn::Results(results)) => results.len(),
                _ => 0,
            };
            if given != spoken.calls.len() {
                return refuse(format!("turn {at} has {} calls and {given} results", spoken.calls.len()));
            }
        }
        match self.turns.last() {
            Some(Turn::Model(_)) => refuse("the conversation must end with a user message"),
            _ => Ok(self),
        }
    }

    /// The scene that the user names last, and which showing of it this is.
    fn scene(&self) -> Result<(String, String), Refusal> {
        let words = self.turns.iter().rev().find_map(words).unwrap_or_default();
        let named = words.split("scene:").nth(1).and_then(|rest| rest.split_whitespace().next());
        match named.and_then(|named| named.split_once(':')) {
            Some((scene, showing)) => Ok((scene.to_owned(), showing.to_owned())),
            None => refuse(format!("no scene is named: {words:?}")),
        }
    }

    /// What the model says.
    pub(crate) fn answer(&self, ways: Ways) -> Result<Answer, Refusal> {
        let (scene, showing) = self.scene()?;
        let script = Script { ways, showing: &showing };
        let text = |text: &str| Spoken { text: text.to_owned(), ..Spoken::default() };
        let spoken = match scene.as_str() {
            "text" => text(GREETING),
            "think" => {
                if ways.thinks && !self.thinks {
                    return refuse("thoughts are not asked for");
                }
                script.thoughtful(0, text("Both."))
            }
            "tools" => {
                self.offers_tools(ways)?;
                script.first(false)
            }
            "image" => {
                let has = |part: &Part| matches!(part, Part::Image(data) if data == PICTURE);
                if !self.turns.iter().any(|turn| matches!(turn, Turn::User(parts) if parts.iter().any(has))) {
                    return refuse("the picture has not come");
                }
                text("A red dot.")
            }
            "json" => self.in_form()?,
            "bad" => return refuse(REFUSED),
            "busy" => return Err(Refusal { status: 429, message: REFUSED.to_owned() }),
            "torn" => return Ok(Answer::Torn),
            "recorded" => return Ok(Answer::Recorded(showing)),
            "loop" => self.next_of_loop(&script)?,
            "after" => {
                let last = self.spoken().last();
                if ways.calls && last.is_none_or(|last| last.text != TOGETHER) {
                    return refuse(format!("what was said last is lost: {last:?}"));
                }
                text(AFTERWARDS)
            }
            other => return refuse(format!("there is no scene {other:?}")),
        };
        // A model without tools has nothing but its words.
        let spoken = if ways.calls { spoken } else { text(&spoken.text) };
        Ok(Answer::Spoken(Spoken { id: format!("{scene}-{showing}-{}", self.turns.len()), ..spoken }))
    }

    fn spoken(&self) -> impl Iterator<Item = &Spoken> {
        self.turns.iter().filter_map(|turn| if let Turn::Model(spoken) = turn { Some(spoken) } else { None })
    }

    /// The tools must be there with their parameters.
    fn offers_tools(&self, ways: Ways) -> Result<(), Refusal> {
        let expected = [("weather", vec!["city", "unit"]), ("add", vec!["numbers"]), ("now", vec![])];
        for (name, parameters) in expected.into_iter().filter(|_| ways.calls) {
            let Some(tool) = self.tools.iter().find(|tool| tool.name == name) else {
                return refuse(format!("the tool {name} is not offered"));
            };
            let mut found = tool.parameters.clone();
            found.sort_unstable();
            if found != parameters {
                return refuse(format!("the tool {name} has the parameters {found:?}"));
            }
        }
        Ok(())
    }

    /// An answer by a schema, in the way in which it is asked for.
    fn in_form(&self) -> Result<Spoken, Refusal> {
        let value = json!({ "city": "Paris", "degrees": 21 });
        if let Some(name) = &self.forced {
            let tool = self.tools.iter().find(|tool| tool.name == *name);
            if tool.is_none_or(|tool| !tool.parameters.iter().any(|parameter| parameter == "degrees")) {
                return refuse(format!("the tool {name} that must be called does not hold the schema"));
            }
            let call = Call { id: "call_form".into(), name: name.clone(), arguments: value };
            return Ok(Spoken { calls: vec![call], ..Spoken::default() });
        }
        let told = match &self.schema {
            Some(schema) => schema.to_string(),
            None => format!("{}\n{}", self.system, self.turns.iter().filter_map(words).collect::<String>()),
        };
        if !told.contains("degrees") || !told.contains("integer") {
            return refuse("the schema has not come");
        }
        Ok(Spoken { text: value.to_string(), ..Spoken::default() })
    }

    /// The next turn of a loop, when everything before stands as it was said.
    fn next_of_loop(&self, script: &Script<'_>) -> Result<Spoken, Refusal> {
        self.offers_tools(script.ways)?;
        let is_lost = script.ways.seals == Seals::Lost && self.turns.len() > 1;
        if script.ways.thinks && self.thinks == is_lost {
            return refuse("thoughts are asked for where there are none, or not where there are some");
        }
        let steps = [script.first(true), script.second()];
        let said: Vec<&Spoken> = self.spoken().collect();
        for (step, said) in steps.iter().zip(&said) {
            script.same(step, said)?;
        }
        let results: Vec<&(Call, String)> = self
            .turns
            .iter()
            .filter_map(|turn| if let Turn::Results(results) = turn { Some(results) } else { None })
            .flatten()
            .collect();
        let result = |name: &str, arguments: &Value| {
            let found = results.iter().find(|(call, _)| call.name == name && call.arguments == *arguments);
            match found {
                Some((_, text)) => Ok(text.clone()),
                None => refuse(format!("there is no result of {name} {arguments}")),
            }
        };
        match said.len() {
            0 => Ok(steps[0].clone()),
            1 => {
                for (city, degrees) in [("Paris", "21"), ("Oslo", "4")] {
                    let found = result("weather", &json!({ "city": city }))?;
                    if found != degrees {
                        return refuse(format!("the weather of {city} is {found:?}"));
                    }
                }
                Ok(steps[1].clone())
            }
            _ => {
                let paris = result("weather", &json!({ "city": "Paris" }))?;
                let oslo = result("weather", &json!({ "city": "Oslo" }))?;
                let sum = result("add", &json!({ "numbers": [21, 4] }))?;
                let now = result("now", &json!({}))?;
                let text = format!("Paris {paris}, Oslo {oslo}, together {sum} at {now}.");
                Ok(Spoken { text, ..Spoken::default() })
            }
        }
    }
}

/// What is said in one showing of a scene: identities, thoughts and seals of its own.
struct Script<'a> {
    ways: Ways,
    showing: &'a str,
}

impl Script<'_> {
    fn first(&self, thinks: bool) -> Spoken {
        let calls = [("weather", json!({ "city": "Paris" })), ("weather", json!({ "city": "Oslo" }))];
        let spoken = self.calling(0, LOOKING, calls);
        if thinks { self.thoughtful(0, spoken) } else { spoken }
    }

    fn second(&self) -> Spoken {
        let calls = [("add", json!({ "numbers": [21, 4] })), ("now", json!({}))];
        let spoken = self.calling(1, "", calls);
        if self.ways.seals == Seals::Lost { spoken } else { self.thoughtful(1, spoken) }
    }

    fn calling(&self, step: usize, text: &str, calls: [(&str, Value); 2]) -> Spoken {
        let call = |(at, (name, arguments)): (usize, (&str, Value))| {
            // Nine letters and digits behind what leads them: no provider has a narrower grammar.
            let number =
                self.showing.bytes().fold(7_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 9_999_991);
            let id = |lead| format!("{lead}{number:07}{step}{at}");
            Call { id: self.ways.ids.map(id).unwrap_or_default(), name: name.to_owned(), arguments }
        };
        let calls = calls.into_iter().enumerate().map(call).collect();
        Spoken { text: text.to_owned(), calls, ..Spoken::default() }
    }

    fn thoughtful(&self, step: usize, spoken: Spoken) -> Spoken {
        if !self.ways.thinks {
            return spoken;
        }
        let seal =
            STANDARD.encode(format!("the seal of step {step} of {}, long enough to be one", self.showing));
        let thought = Some(Thought { text: THOUGHT.to_owned(), seal });
        match self.ways.before_calls {
            // Who thinks makes no plan beside it.
            BeforeCalls::Plan if !spoken.calls.is_empty() => {
                Spoken { thought, text: String::new(), ..spoken }
            }
            _ => Spoken { thought, ..spoken },
        }
    }

    /// Refuses when what was said comes back as something else.
    fn same(&self, expected: &Spoken, found: &Spoken) -> Result<(), Refusal> {
        let is_said = expected.text == found.text || self.ways.before_calls == BeforeCalls::Plan;
        if !is_said || expected.calls != found.calls {
            return refuse(format!("an earlier turn was {expected:?} and comes back as {found:?}"));
        }
        let Some(thought) = &expected.thought else { return Ok(()) };
        let is_kept = match (self.ways.seals, &found.thought) {
            (Seals::Whole, Some(found)) => found.text == thought.text && found.seal == thought.seal,
            (Seals::Alone, Some(found)) => found.seal == thought.seal,
            (Seals::Any, found) => found.is_some(),
            (Seals::Refused, found) => found.is_none(),
            (Seals::None | Seals::Lost, _) => true,
            (Seals::Whole | Seals::Alone, None) => false,
        };
        if is_kept {
            return Ok(());
        }
        refuse(format!("the thought before the calls comes back as {:?}", found.thought))
    }
}
