//! The providers whose keys may stand in the environment, by the variables that their own programs read.

use crate::config::Environment;

/// A provider that many have a key of.
pub(super) struct Known {
    /// What its channel is called.
    pub(super) name: &'static str,
    /// The settings without which there is no channel.
    needs: &'static [&'static str],
    /// The lines of its entry, as `key: value`. One stands in the file where all variables in it are set and no line
    /// before it has the same key, so what comes first is preferred.
    pub(super) lines: &'static [&'static str],
}

const KEY: &[&str] = &["api"];

/// All of them, in the order in which they are asked for a model that several have.
pub(super) static KNOWN: &[Known] = &[
    Known {
        name: "openai",
        needs: KEY,
        lines: &[
            "base_url: ${OPENAI_BASE_URL}",
            "base_url: https://api.openai.com/v1/chat/completions",
            "api: ${OPENAI_API_KEY}",
        ],
    },
    Known {
        name: "anthropic",
        needs: KEY,
        lines: &[
            "base_url: ${ANTHROPIC_BASE_URL}",
            "base_url: https://api.anthropic.com/v1/messages",
            "engine: claude",
            "api: ${ANTHROPIC_API_KEY}",
        ],
    },
    Known {
        name: "gemini",
        needs: KEY,
        lines: &[
            "base_url: https://generativelanguage.googleapis.com/v1beta",
            "api: ${GEMINI_API_KEY}",
            "api: ${GOOGLE_API_KEY}",
        ],
    },
    Known {
        name: "vertex",
        needs: &["project_id", "private_key", "client_email"],
        lines: &[
            "project_id: ${VERTEX_PROJECT_ID}",
            "project_id: ${GOOGLE_CLOUD_PROJECT}",
            "private_key: ${VERTEX_PRIVATE_KEY}",
            "client_email: ${VERTEX_CLIENT_EMAIL}",
        ],
    },
    Known {
        name: "azure",
        // Azure lists what could be deployed and not what is.
        needs: &["base_url", "api", "model"],
        lines: &[
            "base_url: ${AZURE_OPENAI_ENDPOINT}",
            "engine: azure",
            "api: ${AZURE_OPENAI_API_KEY}",
            "model: [\"${AZURE_OPENAI_DEPLOYMENT}\"]",
            "model: [\"${AZURE_OPENAI_DEPLOYMENT_NAME}\"]",
        ],
    },
    Known {
        name: "bedrock",
        needs: KEY,
        lines: &[
            "engine: aws",
            "api: ${AWS_BEARER_TOKEN_BEDROCK}",
            "region: ${AWS_REGION}",
            "region: ${AWS_DEFAULT_REGION}",
        ],
    },
    Known {
        name: "bedrock",
        needs: &["aws_access_key", "aws_secret_key"],
        lines: &[
            "engine: aws",
            "aws_access_key: ${AWS_ACCESS_KEY_ID}",
            "aws_secret_key: ${AWS_SECRET_ACCESS_KEY}",
            "aws_session_token: ${AWS_SESSION_TOKEN}",
            "region: ${AWS_REGION}",
            "region: ${AWS_DEFAULT_REGION}",
        ],
    },
    Known {
        name: "databricks",
        needs: &["base_url", "api"],
        lines: &["base_url: ${DATABRICKS_HOST}", "engine: databricks", "api: ${DATABRICKS_TOKEN}"],
    },
    Known {
        name: "cloudflare",
        needs: &["api", "cf_account_id"],
        lines: &["api: ${CLOUDFLARE_API_TOKEN}", "cf_account_id: ${CLOUDFLARE_ACCOUNT_ID}"],
    },
    Known {
        name: "cohere",
        needs: KEY,
        lines: &["base_url: https://api.cohere.com/v2/chat", "api: ${COHERE_API_KEY}", "api: ${CO_API_KEY}"],
    },
    Known {
        name: "xai",
        needs: KEY,
        lines: &["base_url: https://api.x.ai/v1/chat/completions", "api: ${XAI_API_KEY}"],
    },
    Known {
        name: "groq",
        needs: KEY,
        lines: &["base_url: https://api.groq.com/openai/v1/chat/completions", "api: ${GROQ_API_KEY}"],
    },
    Known {
        name: "deepseek",
        needs: KEY,
        lines: &["base_url: https://api.deepseek.com/chat/completions", "api: ${DEEPSEEK_API_KEY}"],
    },
    Known {
        name: "mistral",
        needs: KEY,
        lines: &["base_url: https://api.mistral.ai/v1/chat/completions", "api: ${MISTRAL_API_KEY}"],
    },
    Known {
        name: "perplexity",
        needs: KEY,
        lines: &[
            "base_url: https://api.perplexity.ai/chat/completions",
            "api: ${PERPLEXITY_API_KEY}",
            "api: ${PPLX_API_KEY}",
            // It has no list of models.
            "model: [sonar, sonar-pro, sonar-reasoning-pro]",
        ],
    },
    Known {
        name: "github",
        needs: KEY,
        // Not GITHUB_TOKEN, which is in the environment for other ends.
        lines: &["base_url: https://models.github.ai/inference/chat/completions", "api: ${GITHUB_API_KEY}"],
    },
    Known {
        name: "moonshot",
        needs: KEY,
        lines: &["base_url: https://api.moonshot.ai/v1/chat/completions", "api: ${MOONSHOT_API_KEY}"],
    },
    Known {
        name: "dashscope",
        needs: KEY,
        lines: &[
            "base_url: https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
            "api: ${DASHSCOPE_API_KEY}",
        ],
    },
    Known {
        name: "zai",
        needs: KEY,
        lines: &["base_url: https://api.z.ai/api/paas/v4/chat/completions", "api: ${ZAI_API_KEY}"],
    },
    Known {
        name: "ark",
        needs: KEY,
        lines: &[
            "base_url: https://ark.cn-beijing.volces.com/api/v3/chat/completions",
            "api: ${ARK_API_KEY}",
        ],
    },
    Known {
        name: "cerebras",
        needs: KEY,
        lines: &["base_url: https://api.cerebras.ai/v1/chat/completions", "api: ${CEREBRAS_API_KEY}"],
    },
    Known {
        name: "venice",
        needs: KEY,
        lines: &["base_url: https://api.venice.ai/api/v1/chat/completions", "api: ${VENICE_API_KEY}"],
    },
    Known {
        name: "huggingface",
        needs: KEY,
        lines: &["base_url: https://router.huggingface.co/v1/chat/completions", "api: ${HF_TOKEN}"],
    },
    Known {
        name: "ollama",
        needs: KEY,
        lines: &["base_url: https://ollama.com/v1/chat/completions", "api: ${OLLAMA_API_KEY}"],
    },
    Known {
        name: "together",
        needs: KEY,
        lines: &["base_url: https://api.together.xyz/v1/chat/completions", "api: ${TOGETHER_API_KEY}"],
    },
    Known {
        name: "fireworks",
        needs: KEY,
        lines: &[
            "base_url: https://api.fireworks.ai/inference/v1/chat/completions",
            "api: ${FIREWORKS_API_KEY}",
        ],
    },
    Known {
        name: "minimax",
        needs: KEY,
        lines: &["base_url: https://api.minimax.io/v1/chat/completions", "api: ${MINIMAX_API_KEY}"],
    },
    Known {
        name: "sambanova",
        needs: KEY,
        lines: &["base_url: https://api.sambanova.ai/v1/chat/completions", "api: ${SAMBANOVA_API_KEY}"],
    },
    Known {
        name: "openrouter",
        needs: KEY,
        lines: &["base_url: https://openrouter.ai/api/v1/chat/completions", "api: ${OPENROUTER_API_KEY}"],
    },
];

/// The entry of a provider, as far as the environment has what it needs.
pub(super) struct Found {
    /// What its channel is called.
    pub(super) name: &'static str,
    /// The variables that stand in it.
    pub(super) variables: Vec<&'static str>,
    /// Its lines.
    pub(super) lines: Vec<String>,
}

/// The providers whose keys are there, each once.
pub(super) fn found(env: &Environment) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for known in KNOWN {
        if !found.iter().any(|before| before.name == known.name) {
            found.extend(known.found(env));
        }
    }
    found
}

impl Known {
    fn found(&self, env: &Environment) -> Option<Found> {
        let mut entry = Found { name: self.name, variables: Vec::new(), lines: Vec::new() };
        let mut keys = Vec::new();
        for line in self.lines {
            let (key, _) = line.split_once(':').unwrap_or((line, ""));
            let variables: Vec<&str> = variables(line).collect();
            if keys.contains(&key) || !variables.iter().all(|name| value(env, name).is_some()) {
                continue;
            }
            keys.push(key);
            entry.lines.push(written(line, &variables, env));
            entry.variables.extend(variables);
        }
        self.needs.iter().all(|need| keys.contains(need)).then_some(entry)
    }
}

/// The names of the variables in a line.
pub(super) fn variables(line: &'static str) -> impl Iterator<Item = &'static str> {
    line.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// A variable that says something.
pub(super) fn value<'a>(env: &'a Environment, name: &str) -> Option<&'a str> {
    env.var(name).map(str::trim).filter(|value| !value.is_empty())
}

/// A line as it is written. Of hosts some have the name alone in their variable.
fn written(line: &str, variables: &[&str], env: &Environment) -> String {
    let is_bare = |name: &&str| value(env, name).is_some_and(|value| !value.contains("://"));
    match line.strip_prefix("base_url: $") {
        Some(rest) if variables.iter().all(is_bare) => format!("base_url: https://${rest}"),
        _ => line.to_owned(),
    }
}
