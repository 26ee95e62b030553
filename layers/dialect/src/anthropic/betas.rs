//! Features in test: which field of a body each flag unlocks.
//!
//! Source: <https://docs.anthropic.com/en/api/beta-headers>, and the pages of the features. A flag without its field
//! does nothing; a field without its flag is refused.

/// Flags, without the dates that they end with, and the fields that they unlock.
const PAIRS: [(&str, &str); 6] = [
    ("context-management-", "context_management"),
    ("compact-", "context_management"),
    ("mcp-client-", "mcp_servers"),
    ("code-execution-", "container"),
    ("skills-", "container"),
    ("fast-mode-", "speed"),
];

/// Whether one of these flags unlocks the field.
pub(super) fn unlock(flags: &[String], field: &str) -> bool {
    PAIRS
        .iter()
        .any(|(flag, unlocked)| *unlocked == field && flags.iter().any(|given| given.starts_with(flag)))
}
