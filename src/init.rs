//! `uni-api init`: a first configuration, of what is known of this machine.
//!
//! Keys of providers stay where they are, in the environment; the file names the variables. A file
//! that is there already is never touched.

mod known;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use http::Uri;

use self::known::{Found, found, value};
use crate::config::Environment;

/// What to print, and the exit code.
pub fn init(file: &Path, env: &Environment) -> (String, i32) {
    let key = new_key();
    let (found, own): (Vec<Found>, Vec<Found>) =
        found(env).into_iter().partition(|found| !leads_here(found, env));
    match write(file, &text(&key, &found)) {
        Ok(()) => (told(file, &key, &found, &own, env), 0),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            (format!("uni-api init: {} is there already and stays as it is.\n", file.display()), 1)
        }
        Err(error) => (format!("uni-api init: {} cannot be written: {error}\n", file.display()), 1),
    }
}

/// Whether the address in the environment is that of this very gateway, whose clients have it there.
fn leads_here(found: &Found, env: &Environment) -> bool {
    let urls = found.variables.iter().filter(|name| name.ends_with("_BASE_URL"));
    urls.filter_map(|name| value(env, name)?.parse::<Uri>().ok()).any(|url| {
        let is_loopback = url.host().is_some_and(|host| {
            ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"].iter().any(|own| host.eq_ignore_ascii_case(own))
        });
        is_loopback && url.port_u16() == Some(env.port)
    })
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

fn text(key: &str, found: &[Found]) -> String {
    let mut text =
        "# The configuration of uni-api. `uni-api check` says what is wrong with it.\n\nproviders:\n"
            .to_owned();
    // Writing to a String cannot fail.
    for Found { name, lines, .. } in found {
        let _ = writeln!(text, "  - provider: {name}");
        for line in lines {
            let _ = writeln!(text, "    {line}");
        }
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

fn told(file: &Path, key: &str, found: &[Found], own: &[Found], env: &Environment) -> String {
    let mut text = format!("{} is written, for your eyes only (mode 0600).\n\n", file.display());
    let names = |found: &[Found]| {
        let name = |found: &Found| {
            let variables: Vec<String> = found.variables.iter().map(|name| format!("${name}")).collect();
            format!("{} ({})", found.name, variables.join(", "))
        };
        found.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    match found {
        [] => text.push_str("No provider's key is in the environment: the file has a mock in its place, and says how to go on.\n"),
        found => {
            let _ = writeln!(text, "Providers whose keys are in the environment: {}.", names(found));
        }
    }
    if !own.is_empty() {
        let _ = writeln!(text, "Left out, since the address there is that of this gateway: {}.", names(own));
    }
    if let Some(path) = value(env, "GOOGLE_APPLICATION_CREDENTIALS") {
        let _ = writeln!(
            text,
            "For Vertex AI copy {path} beside the file, and add a provider with private_key: ${{file:NAME}}."
        );
    }
    let (serve, of_file) = if file == Path::new("api.yaml") {
        ("uni-api".to_owned(), String::new())
    } else {
        (format!("uni-api --config {}", file.display()), format!(" {}", file.display()))
    };
    let port = env.port;
    let _ = write!(
        text,
        "Your key for clients and for administration: {key}\n\nTry it:    uni-api doctor{of_file}\nStart it:  {serve}\nAsk it:    curl http://127.0.0.1:{port}/v1/models -H 'Authorization: Bearer {key}'\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::known::KNOWN;
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
    fn every_known_provider_is_read_as_a_channel_with_what_the_environment_has() {
        let value = |name: &str| match name {
            "OPENAI_BASE_URL" | "AZURE_OPENAI_ENDPOINT" => format!("https://{}.test/v1", name.len()),
            "ANTHROPIC_BASE_URL" => "https://claude.test".to_owned(),
            "DATABRICKS_HOST" => "workspace.cloud.databricks.com".to_owned(),
            name => format!("value-of-{name}"),
        };
        for known in KNOWN {
            let names: Vec<&str> = known.lines.iter().copied().flat_map(known::variables).collect();
            let vars: Vec<(&str, String)> = names.iter().map(|name| (*name, value(name))).collect();
            let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, &**value)).collect();
            let env = env(&vars);

            let found = found(&env);
            let loaded = load(&text("sk-1", &found), Origin::Inline, &env)
                .unwrap_or_else(|problems| panic!("{problems:?}"));

            let [channel] = &*loaded.settings.channels else { panic!("{}", known.name) };
            assert_eq!(channel.name.as_str(), known.name);
            let odd = loaded.warnings.iter().filter(|problem| !problem.path.contains("private_key"));
            assert_eq!(odd.count(), 0, "{}: {:?}", known.name, loaded.warnings);
            let is_served = !channel.models.is_empty() || channel.discover && channel.listing().is_some();
            assert!(is_served, "{} has models", known.name);
        }
    }

    #[test]
    fn every_provider_of_the_documents_is_known_that_can_be_known_by_its_key() {
        // An account's name stands in the address, there is no usual variable, or there are two addresses.
        let others =
            ["snowflakecomputing.com", "api.302.ai", "models.inference.ai.azure.com", "v1beta/openai"];
        let page = include_str!("../docs/providers.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | `https://").nth(1));
        let urls: Vec<&str> = rows.filter_map(|rest| rest.split('`').next()).collect();
        assert!(urls.len() > 15, "{urls:?}");

        for url in urls.into_iter().filter(|url| !others.iter().any(|other| url.contains(other))) {
            let is_known = |known: &known::Known| known.lines.iter().any(|line| line.contains(url));
            assert!(KNOWN.iter().any(is_known), "{url}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_wins_and_an_account_needs_all_of_its_parts() {
        let text = |vars: &[(&str, &str)]| text("sk-1", &found(&env(vars)));

        let gemini = text(&[("GOOGLE_API_KEY", "b"), ("GEMINI_API_KEY", "a")]);
        assert!(gemini.contains("api: ${GEMINI_API_KEY}") && !gemini.contains("GOOGLE_API_KEY"), "{gemini}");
        assert!(text(&[("GOOGLE_API_KEY", "b")]).contains("api: ${GOOGLE_API_KEY}"));
        assert!(text(&[("CLOUDFLARE_API_TOKEN", "t")]).contains("provider: mock"));
        assert!(text(&[("AWS_ACCESS_KEY_ID", "i"), ("AWS_REGION", "r")]).contains("provider: mock"));
        let host = text(&[("DATABRICKS_HOST", "https://w.test"), ("DATABRICKS_TOKEN", "t")]);
        assert!(host.contains("base_url: ${DATABRICKS_HOST}"), "{host}");
        let host = text(&[("DATABRICKS_HOST", "w.test"), ("DATABRICKS_TOKEN", "t")]);
        assert!(host.contains("base_url: https://${DATABRICKS_HOST}"), "{host}");
    }

    #[test]
    fn an_address_that_is_the_gateways_own_makes_no_channel() {
        let folder = tempfile::tempdir().unwrap();
        let vars =
            |url: &str| env(&[("OPENAI_API_KEY", "sk-hidden"), ("OPENAI_BASE_URL", url), ("PORT", "8123")]);

        let own = folder.path().join("own.yaml");
        let (told, _) = init(&own, &vars("http://localhost:8123/v1"));
        assert!(told.contains("that of this gateway: openai"), "{told}");
        assert!(std::fs::read_to_string(own).unwrap().contains("provider: mock"));

        let other = folder.path().join("other.yaml");
        let (told, _) = init(&other, &vars("http://localhost:8124/v1"));
        assert!(told.contains("environment: openai ($OPENAI_BASE_URL, $OPENAI_API_KEY)"), "{told}");
        assert!(std::fs::read_to_string(other).unwrap().contains("base_url: ${OPENAI_BASE_URL}\n"));
    }
}
