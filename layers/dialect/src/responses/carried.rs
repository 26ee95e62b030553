//! Seals of other makers, carried through clients of this dialect: they keep `encrypted_content` of reasoning, whatever
//! is in it, and send it back.
//!
//! Our form is told by its beginning, and names the maker and what is sealed; only the writer for that maker ever sees
//! the seal again. What OpenAI has encrypted itself stands as it is.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::ir::{Maker, Seal};

/// The beginning of our form, with its version.
const START: &str = "uniapi1.";
/// Longest that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// A seal with what it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// On the reasoning itself.
    Thought(Seal),
    /// Reasoning that only its provider can read.
    Redacted(String),
    /// On the call behind it.
    Call(Seal),
    /// On the text before it.
    Text(Seal),
}

#[derive(Deserialize, Serialize)]
struct Form<'a> {
    /// What is sealed.
    on: &'a str,
    /// Who can read it.
    #[serde(default)]
    by: &'a str,
    data: String,
}

const MAKERS: [(Maker, &str); 4] = [
    (Maker::Anthropic, "anthropic"),
    (Maker::Google, "google"),
    (Maker::OpenAi, "openai"),
    (Maker::Xai, "xai"),
];

impl Carried {
    /// As `encrypted_content`.
    pub(super) fn write(&self) -> String {
        let (on, seal, data) = match self {
            // Clients of this dialect may as well have had it from its maker.
            Self::Thought(Seal { maker: Maker::OpenAi, data }) => return data.clone(),
            Self::Thought(seal) => ("thought", Some(seal), &seal.data),
            Self::Redacted(data) => ("redacted", None, data),
            Self::Call(seal) => ("call", Some(seal), &seal.data),
            Self::Text(seal) => ("text", Some(seal), &seal.data),
        };
        let name = |seal: &Seal| MAKERS.iter().find(|(maker, _)| *maker == seal.maker).map(|(_, name)| *name);
        let form = Form { on, by: seal.and_then(name).unwrap_or_default(), data: data.clone() };
        let json = serde_json::to_vec(&form).unwrap_or_default();
        format!("{START}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads `encrypted_content`. None for what cannot be read, as if it had been dropped.
    pub(super) fn read(text: &str) -> Option<Self> {
        let Some(own) = text.strip_prefix(START) else {
            let seal = Seal { maker: Maker::OpenAi, data: text.to_owned() };
            return (!text.is_empty()).then_some(Self::Thought(seal));
        };
        if own.len() > LONGEST {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(own).ok()?;
        let Form { on, by, data } = serde_json::from_slice(&json).ok()?;
        let maker = || MAKERS.iter().find(|(_, name)| *name == by).map(|(maker, _)| *maker);
        Some(match on {
            "thought" => Self::Thought(Seal { maker: maker()?, data }),
            "call" => Self::Call(Seal { maker: maker()?, data }),
            "text" => Self::Text(Seal { maker: maker()?, data }),
            "redacted" => Self::Redacted(data),
            _ => return None,
        })
    }

    /// Whether `encrypted_content` is of our form.
    pub(super) fn is_own(text: &str) -> bool {
        text.starts_with(START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_comes_back_with_its_maker_and_openai_s_own_stands_as_it_is() {
        let seal = |maker| Seal { maker, data: "s/=\"ü".to_owned() };
        for carried in [
            Carried::Thought(seal(Maker::Anthropic)),
            Carried::Thought(seal(Maker::Xai)),
            Carried::Call(seal(Maker::Google)),
            Carried::Text(seal(Maker::Google)),
            Carried::Redacted("r".to_owned()),
        ] {
            let written = carried.write();
            assert!(Carried::is_own(&written), "{written}");
            assert_eq!(Carried::read(&written), Some(carried));
        }
        let own = Carried::Thought(Seal { maker: Maker::OpenAi, data: "gAAAA".to_owned() });
        assert_eq!((own.write().as_str(), Carried::read("gAAAA")), ("gAAAA", Some(own)));
    }

    #[test]
    fn what_cannot_be_read_carries_nothing() {
        let wrong = |json: &str| format!("{START}{}", URL_SAFE_NO_PAD.encode(json));
        for text in [
            String::new(),
            START.to_owned(),
            format!("{START}***"),
            wrong("{}"),
            wrong(r#"{"on":"thought","by":"nobody","data":"x"}"#),
            wrong(r#"{"on":"else","by":"google","data":"x"}"#),
        ] {
            assert_eq!(Carried::read(&text), None, "{text}");
        }
    }
}
