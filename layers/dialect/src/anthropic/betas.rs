//! Features in test: which field of a body each flag unlocks.
//!
//! Source: <https://docs.anthropic.com/en/api/beta-headers>, and the pages of the features. A flag without its field
//! does nothing; a field without its flag is refused.

use serde_json::{Map, Value};

/// Flags, without the dates that they end with, and the fields that they unlock.
const PAIRS: [(&str, &str); 6] = [
    ("context-management-", "context_management"),
    ("compact-", "context_management"),
    ("mcp-client-", "mcp_servers"),
    ("code-execution-", "container"),
    ("skills-", "container"),
    ("fast-mode-", "speed"),
];

/// Takes the fields out of a body that none of these flags unlocks, and a provider that checks them would refuse.
pub(crate) fn without_locked(body: &mut Map<String, Value>, flags: &[String]) {
    for (_, field) in PAIRS {
        if !unlock(flags, field) {
            body.shift_remove(field);
        }
    }
}

/// Whether one of these flags unlocks the field.
pub(crate) fn unlock(flags: &[String], field: &str) -> bool {
    PAIRS
        .iter()
        .any(|(flag, unlocked)| *unlocked == field && flags.iter().any(|given| given.starts_with(flag)))
}
