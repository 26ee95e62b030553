//! Where Google serves which models on Vertex AI, for channels that name no region.
//!
//! Tables, and data only: a region that has lost a model answers 404 and is left alone for a while,
//! and `region` overrides them. Models that are not known go where all new ones are, `global`.
//!
//! Sources: <https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations>,
//! <https://docs.anthropic.com/en/api/claude-on-vertex-ai>.

/// The region of no region, which spreads requests by itself.
pub(super) const GLOBAL: &str = "global";

const GEMINI_2_5: &[&str] = &[
    "us-central1",
    "us-east1",
    "us-east4",
    "us-east5",
    "us-south1",
    "us-west1",
    "us-west4",
    "europe-central2",
    "europe-north1",
    "europe-southwest1",
    "europe-west1",
    "europe-west4",
    "europe-west8",
    "europe-west9",
];
const GEMINI_BEFORE: &[&str] =
    &["us-central1", "us-east4", "us-west1", "us-west4", "europe-west1", "europe-west2"];

/// Claude by a part of its name; the first that fits counts.
const CLAUDE: [(&str, &[&str]); 10] = [
    ("claude-3-5-haiku", &["us-east5"]),
    ("claude-3-5-sonnet", &["us-east5", "europe-west1"]),
    ("claude-3-7-sonnet", &["us-east5", "europe-west1"]),
    ("claude-3-opus", &["us-east5"]),
    ("claude-3-sonnet", &["us-east5", "us-central1", "asia-southeast1"]),
    ("claude-3-haiku", &["us-east5", "us-central1", "europe-west1", "europe-west4"]),
    ("4-5@", &[GLOBAL, "us-east5", "europe-west1"]),
    ("claude-opus-4-1", &["us-east5", "europe-west1", "asia-east1"]),
    ("claude-sonnet-4@", &["us-east5", "europe-west1", "asia-east1"]),
    ("claude-opus-4@", &["us-east5", "europe-west1", "asia-east1"]),
];

/// The regions of a model of Google's.
pub(super) fn of_google(model: &str) -> &'static [&'static str] {
    let version = model.strip_prefix("gemini-").unwrap_or_default();
    match version {
        // What is in preview is not in the regions yet.
        _ if version.contains("preview") || version.contains("exp") => &[GLOBAL],
        _ if version.starts_with("2.5") => GEMINI_2_5,
        _ if version.starts_with("1.") || version.starts_with("2.") => GEMINI_BEFORE,
        _ => &[GLOBAL],
    }
}

/// The regions of a Claude.
pub(super) fn of_claude(model: &str) -> &'static [&'static str] {
    CLAUDE.iter().find(|(part, _)| model.contains(part)).map_or(&[GLOBAL], |(_, regions)| regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_goes_where_its_family_is_served() {
        for (model, regions, first) in [
            ("gemini-2.5-flash", 14, "us-central1"),
            ("gemini-2.5-pro", 14, "us-central1"),
            ("gemini-2.0-flash-001", 6, "us-central1"),
            ("gemini-1.5-pro-002", 6, "us-central1"),
            ("gemini-3-pro-preview", 1, GLOBAL),
            ("gemini-3.1-pro", 1, GLOBAL),
            ("gemini-2.5-flash-image-preview", 1, GLOBAL),
            ("gemini-pro-latest", 1, GLOBAL),
            ("gemma-3-27b", 1, GLOBAL),
        ] {
            let served = of_google(model);
            assert_eq!((served.len(), served[0]), (regions, first), "{model}");
        }
        for (model, served) in [
            ("claude-sonnet-4-5@20250929", &["global", "us-east5", "europe-west1"][..]),
            ("claude-haiku-4-5@20251001", &["global", "us-east5", "europe-west1"]),
            ("claude-opus-4-6", &["global"]),
            ("claude-sonnet-4@20250514", &["us-east5", "europe-west1", "asia-east1"]),
            ("claude-opus-4-1@20250805", &["us-east5", "europe-west1", "asia-east1"]),
            ("claude-3-7-sonnet@20250219", &["us-east5", "europe-west1"]),
            ("claude-3-5-sonnet-v2@20241022", &["us-east5", "europe-west1"]),
            ("claude-3-opus@20240229", &["us-east5"]),
            ("claude-3-haiku@20240307", &["us-east5", "us-central1", "europe-west1", "europe-west4"]),
        ] {
            assert_eq!(of_claude(model), served, "{model}");
        }
    }
}
