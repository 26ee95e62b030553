//! `uni-api init`: a first configuration, of what is known of this machine.
//!
//! Keys of providers stay where they are, in the environment; the file names the variables. A file
//! that is there already is never touched.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::config::Environment;

/// A provider that many have a key of: the variable, its name in the file, and its address.
const KNOWN: [(&str, &str, &str); 9] = [
    ("OPENAI_API_KEY", "openai", "https://api.openai.com/v1/chat/completions"),
    ("ANTHROPIC_API_KEY", "anthropic", "https://api.anthropic.com/v1/messages"),
    ("OPENROUTER_API_KEY", "openrouter", "https://openrouter.ai/api/v1/chat/completions"),
    ("DEEPSEEK_API_KEY", "deepseek", "https://api.deepseek.com/v1/chat/completions"),
    ("GROQ_API_KEY", "groq", "https://api.groq.com/openai/v1/chat/completions"),
    ("MISTRAL_API_KEY", "mistral", "https://api.mistral.ai/v1/chat/completions"),
    ("XAI_API_KEY", "xai", "https://api.x.ai/v1/chat/completions"),
    ("TOGETHER_API_KEY", "together", "https://api.together.xyz/v1/chat/completions"),
    ("FIREWORKS_API_KEY", "fireworks", "https://api.fireworks.ai/inference/v1/chat/completions"),
];

/// What to print, and the exit code.
pub fn init(file: &Path, env: &Environment) -> (String, i32) {
    let key = new_key();
    let found: Vec<_> = KNOWN.into_iter().filter(|(name, ..)| is_set(env, name)).collect();
    match write(file, &text(&key, &found)) {
        Ok(()) => (told(file, &key, &found, env.port), 0),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            (format!("uni-api init: {} is there already and stays as it is.\n", file.display()), 1)
        }
        Err(error) => (format!("uni-api init: {} cannot be written: {error}\n", file.display()), 1),
    }
}

fn is_set(env: &Environment, name: &str) -> bool {
    env.var(name).is_some_and(|value| !value.trim().is_empty())
}

/// A key that nobody can guess: 32 characters of 62, from the system's randomness.
fn new_key() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let system = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    let mut key = "sk-".to_owned();
    while key.len() < 35 {
        let mut bytes = [0; 64];
        // The system's randomness does not fail once it is there.
        system.fill(&mut bytes).expect("the system has randomness");
        // Bytes beyond the last whole round of the alphabet would favour its beginning.
        let even = bytes.iter().filter(|&&byte| usize::from(byte) < ALPHABET.len() * 4);
        key.extend(
            even.take(35 - key.len()).map(|&byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])),
        );
    }
    key
}

fn text(key: &str, found: &[(&str, &str, &str)]) -> String {
    let mut text =
        "# The configuration of uni-api. `uni-api check` says what is wrong with it.\n\nproviders:\n"
            .to_owned();
    // Writing to a String cannot fail.
    for (variable, name, url) in found {
        let _ = write!(text, "  - provider: {name}\n    base_url: {url}\n    api: ${{{variable}}}\n");
    }
    if found.is_empty() {
        text.push_str("  # Put a provider in place of the mock, which answers by itself: remove its three lines, and\n  # the `#` of these. Without `model` a provider is asked which models it has.\n");
        text.push_str("  # - provider: openai\n  #   base_url: https://api.openai.com/v1/chat/completions\n  #   api: ${OPENAI_API_KEY}\n");
        text.push_str("  - provider: mock\n    engine: mock\n    model: [demo]\n");
    }
    let _ = write!(
        text,
        "\napi_keys:\n  # What clients send as their key. Give each person or program an entry of its own.\n  - api: {key}\n    role: admin\n"
    );
    text
}

/// Writes a new file that only its owner may read.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn told(file: &Path, key: &str, found: &[(&str, &str, &str)], port: u16) -> String {
    let mut text = format!("{} is written, for your eyes only (mode 0600).\n\n", file.display());
    match found {
        [] => text.push_str("No provider's key is in the environment: the file has a mock in its place, and says how to go on.\n"),
        found => {
            let names: Vec<String> = found.iter().map(|(variable, name, _)| format!("{name} (${variable})")).collect();
            let _ = writeln!(text, "Providers whose keys are in the environment: {}.", names.join(", "));
        }
    }
    let command = if file == Path::new("api.yaml") {
        "uni-api".to_owned()
    } else {
        format!("uni-api --config {}", file.display())
    };
    let _ = write!(
        text,
        "Your key for clients and for administration: {key}\n\nStart it:  {command}\nAsk it:    curl http://127.0.0.1:{port}/v1/models -H 'Authorization: Bearer {key}'\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::settings;
    use crate::config::{Origin, load};

    fn env(vars: &[(&str, &str)]) -> Environment {
        Environment::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
            .unwrap()
    }

    #[test]
    fn providers_whose_keys_are_in_the_environment_are_written_without_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api.yaml");
        let env = env(&[
            ("OPENAI_API_KEY", "sk-hidden-1"),
            ("ANTHROPIC_API_KEY", "sk-hidden-2"),
            ("GROQ_API_KEY", " "),
        ]);

        let (told, code) = init(&file, &env);

        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(code, 0, "{told}");
        assert!(!text.contains("hidden") && !told.contains("hidden"), "{text}{told}");
        let loaded = load(&text, Origin::File(file.clone()), &env).unwrap();
        assert_eq!(loaded.warnings, []);
        let channels: Vec<_> = loaded.settings.channels.iter().map(|channel| channel.name.as_str()).collect();
        assert_eq!(channels, ["openai", "anthropic"]);
        assert_eq!(loaded.settings.channels[0].keys[0].expose(), "sk-hidden-1");
        let key = loaded.settings.callers[0].key.expose();
        assert!(told.contains(key) && key.len() == 35, "{key}");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn without_any_key_the_file_serves_all_the_same_and_shows_how_to_go_on() {
        let text = text("sk-1", &[]);

        assert_eq!(settings(&text).channels[0].name.as_str(), "mock");
        let live =
            text.replace("  # - p", "  - p").replace("  #   ", "    ").replace("${OPENAI_API_KEY}", "k");
        let live = live.replace("  - provider: mock\n    engine: mock\n    model: [demo]\n", "");
        assert_eq!(settings(&live).channels[0].name.as_str(), "openai");
    }

    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("api.yaml");
        std::fs::write(&file, "mine").unwrap();

        let (told, code) = init(&file, &env(&[]));

        assert!(code == 1 && told.contains("stays as it is"), "{told}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    }

    #[test]
    fn every_key_is_another() {
        let keys: std::collections::HashSet<String> = (0..100).map(|_| new_key()).collect();

        assert_eq!(keys.len(), 100);
        assert!(keys.iter().all(|key| key[3..].bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }

    #[test]
    fn every_known_provider_is_read_as_a_channel() {
        for known in KNOWN {
            let text = text("sk-1", &[known]).replace(&format!("${{{}}}", known.0), "k");
            assert_eq!(settings(&text).channels[0].name.as_str(), known.1);
        }
    }
}
