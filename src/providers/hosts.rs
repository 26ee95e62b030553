//! Known hosts of the OpenAI format, and what each of them does otherwise: one row for each.
//!
//! A host that is not here is taken at its word. A row is all that a further one needs: its domains, what is repaired
//! in requests and answers ([`Repair`], each with the words in which some host refuses), how it lists its models, and
//! headers that it wants. One that signs otherwise, or has the model in the path, is a provider with a file of its own.

use dialect::{Quirks, Repair, Repairs};
use http::Uri;

use super::openai::LISTING;
use crate::engine::{BaseUrl, Listing};

/// A host that is known.
pub(super) struct Host {
    /// Its name in the documents, which is held to them by a test.
    #[cfg_attr(not(test), expect(dead_code, reason = "people read it here"))]
    name: &'static str,
    /// Its domains; hosts within them are its own too.
    domains: &'static [&'static str],
    /// What is repaired.
    repairs: &'static [Repair],
    /// How its models are listed; none where they cannot be asked for.
    listing: Option<Listing>,
    /// Headers of every request, unless the channel has others.
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// A row that says nothing: what most rows have in common.
const PLAIN: Host = Host { name: "", domains: &[], repairs: &[], listing: Some(LISTING), headers: &[] };

/// All known hosts.
pub(super) static HOSTS: &[Host] = &[
    Host {
        name: "OpenAI",
        domains: &["api.openai.com"],
        repairs: &[Repair::MaxCompletionTokens, Repair::FixedSampling],
        ..PLAIN
    },
    Host {
        name: "Google's OpenAI format",
        domains: &["generativelanguage.googleapis.com"],
        repairs: &[Repair::CallIndexes, Repair::FinishWords],
        ..PLAIN
    },
    Host { name: "xAI", domains: &["x.ai"], repairs: &[Repair::GrokParameters], ..PLAIN },
    Host {
        name: "Groq",
        domains: &["api.groq.com"],
        repairs: &[
            Repair::SystemRole,
            Repair::NoBookkeeping,
            Repair::StripThoughts,
            Repair::ReasoningField,
            Repair::ThinkTags,
        ],
        ..PLAIN
    },
    Host {
        name: "DeepSeek",
        domains: &["api.deepseek.com"],
        repairs: &[Repair::SystemRole, Repair::MaxTokens, Repair::RequireThoughts],
        ..PLAIN
    },
    Host {
        name: "Mistral",
        domains: &["mistral.ai"],
        repairs: &[
            Repair::SystemRole,
            Repair::MaxTokens,
            Repair::RandomSeed,
            Repair::NoBookkeeping,
            Repair::UsageUnasked,
            Repair::NineLetterIds,
            Repair::StripThoughts,
            Repair::ContentParts,
        ],
        ..PLAIN
    },
    // Usage is in every chunk. It lists no models.
    Host {
        name: "Perplexity",
        domains: &["api.perplexity.ai"],
        repairs: &[Repair::SystemRole, Repair::UsageUnasked, Repair::ThinkTags],
        listing: None,
        ..PLAIN
    },
    Host {
        name: "GitHub Models",
        domains: &["models.github.ai"],
        repairs: &[Repair::MaxCompletionTokens, Repair::FixedSampling],
        listing: Some(Listing { path: |_| "/catalog/models".to_owned(), list: "", name: "/id", pages: None }),
        ..PLAIN
    },
    Host {
        name: "GitHub Models (older address)",
        domains: &["models.inference.ai.azure.com"],
        repairs: &[Repair::MaxCompletionTokens, Repair::FixedSampling, Repair::BareChunks],
        listing: Some(Listing { list: "", name: "/name", ..LISTING }),
        ..PLAIN
    },
    Host {
        name: "Moonshot",
        domains: &["moonshot.ai", "moonshot.cn"],
        repairs: &[Repair::SystemRole, Repair::RequireThoughts],
        ..PLAIN
    },
    Host {
        name: "Alibaba Model Studio (DashScope)",
        domains: &["dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"],
        repairs: &[Repair::SystemRole],
        ..PLAIN
    },
    Host { name: "Z.ai", domains: &["z.ai", "bigmodel.cn"], repairs: &[Repair::SystemRole], ..PLAIN },
    Host {
        name: "Cerebras",
        domains: &["api.cerebras.ai"],
        repairs: &[Repair::StripThoughts, Repair::ReasoningField],
        ..PLAIN
    },
    Host { name: "Venice", domains: &["api.venice.ai"], repairs: &[Repair::SystemRole], ..PLAIN },
    Host {
        name: "Hugging Face",
        domains: &["router.huggingface.co"],
        repairs: &[Repair::SystemRole, Repair::ReasoningField, Repair::ThinkTags],
        ..PLAIN
    },
    Host { name: "Ollama", domains: &["ollama.com"], repairs: &[Repair::ReasoningField], ..PLAIN },
    // It lists no models.
    Host {
        name: "Snowflake Cortex",
        domains: &["snowflakecomputing.com"],
        repairs: &[Repair::SystemRole, Repair::FinishWords, Repair::HollowFields],
        listing: None,
        ..PLAIN
    },
    Host {
        name: "Together",
        domains: &["api.together.xyz", "api.together.ai"],
        repairs: &[Repair::SystemRole, Repair::ReasoningField, Repair::ThinkTags],
        listing: Some(Listing { list: "", ..LISTING }),
        ..PLAIN
    },
    Host {
        name: "Fireworks",
        domains: &["api.fireworks.ai"],
        repairs: &[Repair::SystemRole, Repair::ThinkTags],
        ..PLAIN
    },
    Host {
        name: "MiniMax",
        domains: &["minimax.io", "minimaxi.com"],
        repairs: &[Repair::SystemRole, Repair::ThinkTags],
        ..PLAIN
    },
    Host {
        name: "SambaNova",
        domains: &["api.sambanova.ai"],
        repairs: &[Repair::SystemRole, Repair::ThinkTags],
        ..PLAIN
    },
    // A known host, whatever the engine is called; see `openrouter.rs` for its own addresses.
    Host {
        name: "OpenRouter",
        domains: &["openrouter.ai"],
        repairs: &[Repair::ReasoningField],
        headers: &[("x-title", "uni-api")],
        ..PLAIN
    },
    Host { name: "302.AI", domains: &["302.ai", "302ai.cn"], ..PLAIN },
];

impl Host {
    /// The known host of an address.
    pub(super) fn of(base: &Uri) -> Option<&'static Self> {
        let base = BaseUrl::of(base);
        HOSTS.iter().find(|host| host.domains.iter().any(|domain| base.is_on(domain)))
    }

    /// What it does otherwise.
    pub(super) fn quirks(&self) -> Quirks {
        let repairs = Repairs::of(self.repairs);
        Quirks { stream_options: !repairs.has(Repair::UsageUnasked), repairs, ..Quirks::NONE }
    }

    /// How it lists its models.
    pub(super) fn listing(&self) -> Option<Listing> {
        self.listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> Option<&'static str> {
        Host::of(&url.parse().unwrap()).map(|host| host.name)
    }

    #[test]
    fn a_host_is_known_by_its_domain_alone() {
        for (url, known) in [
            ("https://api.groq.com/openai/v1/chat/completions", Some("Groq")),
            ("https://API.Mistral.AI/v1", Some("Mistral")),
            ("https://codestral.mistral.ai/v1/chat/completions", Some("Mistral")),
            ("https://org-account.snowflakecomputing.com/api/v2/cortex/v1", Some("Snowflake Cortex")),
            ("https://models.github.ai/inference/chat/completions", Some("GitHub Models")),
            ("https://api.302.ai/v1/chat/completions", Some("302.AI")),
            ("https://notmistral.ai/v1", None),
            ("https://relay.example/api.groq.com/openai/v1", None),
            ("http://127.0.0.1:8080/v1", None),
        ] {
            assert_eq!(name(url), known, "{url}");
        }
    }

    #[test]
    fn no_domain_is_of_two_hosts() {
        let domains: Vec<_> = HOSTS.iter().flat_map(|host| host.domains).collect();

        for domain in &domains {
            let url = format!("https://{domain}/v1");
            let known = Host::of(&url.parse().unwrap()).unwrap();
            assert!(known.domains.contains(domain), "{domain} is {}'s", known.name);
        }
    }

    #[test]
    fn the_page_for_users_names_every_host() {
        let page = include_str!("../../docs/providers.md");

        for Host { name, domains, repairs, .. } in HOSTS {
            let row = page.lines().find(|line| line.starts_with(&format!("| {name} |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the table of docs/providers.md"));
            assert!(row.contains(domains[0]), "{name}: {}", domains[0]);
            let repairs: Vec<_> = repairs.iter().map(|repair| format!("`{}`", repair.name())).collect();
            assert!(row.contains(&repairs.join(", ")), "{name}: {}", repairs.join(", "));
        }
    }
}
