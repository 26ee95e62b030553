//! Configurations that cannot be served, and ones that are merely odd: what `check` says of them.

use serde_json::json;

use crate::harness::*;

const GOOD: &str = "providers:\n  - provider: a\n    base_url: https://a.example/v1/chat/completions\n    api: sk-upstream-secret-123\n    model: [m]\napi_keys:\n  - api: sk-client-secret-456\n";

async fn check(config: impl ToString) -> (i32, String) {
    run(config, &["check"]).await
}

async fn strict(config: impl ToString) -> (i32, String) {
    run(config, &["check", "--strict"]).await
}

#[tokio::test]
async fn a_good_file_passes_both_checks_with_exit_code_0() {
    for (code, text) in [check(GOOD).await, strict(GOOD).await] {
        assert_eq!(code, 0, "{text}");
        assert!(!text.contains("warning") && !text.contains("error:"), "{text}");
    }
}

#[tokio::test]
async fn check_never_prints_a_key() {
    let bad = GOOD.replace("[m]", "{x: [1]}").replace("api_keys:", "api_kyes:\n  - api: 7\napi_keys:");
    for (_, text) in [check(GOOD).await, check(&bad).await] {
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_file_is_exit_code_2_with_one_sentence_on_the_fix() {
    let (code, text) = Setup::empty().arg("check").run().await;

    assert_eq!(code, 2, "{text}");
    assert!(text.contains("api.yaml"), "{text}");
}

/// Promises: `cfg-none-given`.
#[tokio::test]
async fn a_start_without_configuration_is_exit_code_2_with_one_sentence_on_the_fix() {
    let (code, text) = Setup::empty().run().await;

    assert_eq!(code, 2, "{text}");
    assert!(text.contains("api.yaml") && text.contains("demo"), "{text}");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_exit_code_2() {
    let setup = Setup::empty();
    std::fs::create_dir(setup.folder().join("api.yaml")).unwrap();

    let (code, text) = setup.run().await;

    assert_eq!(code, 2, "{text}");
}

#[tokio::test]
async fn whatever_else_stands_in_place_of_the_file_is_exit_code_2_at_once_and_without_memory() {
    type Spoil = fn(&std::path::Path);
    let spoils: [(&str, Spoil); 4] = [
        ("is a pipe", |path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("larger than 16 MiB", |path| {
            std::fs::File::create(path).unwrap().set_len(6 << 30).unwrap();
        }),
        ("save it as UTF-8", |path| std::fs::write(path, b"\xff\xfea\0:\0").unwrap()),
        ("a link to a file that is not there", |path| {
            std::os::unix::fs::symlink("nowhere", path).unwrap();
        }),
    ];
    for (told, spoil) in spoils {
        for command in [None, Some("check")] {
            let setup = Setup::empty();
            spoil(&setup.folder().join("api.yaml"));

            let (code, text) = command.into_iter().fold(setup, Setup::arg).run().await;

            assert_eq!(code, 2, "{text}");
            assert!(text.contains("api.yaml") && text.contains(told), "{text}");
        }
    }
}

#[tokio::test]
async fn a_web_page_is_told_as_one() {
    let (code, text) = check("<!DOCTYPE html>\n<html><body>api.yaml: not found</body></html>\n").await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("a web page") && text.contains("raw address"), "{text}");
}

#[tokio::test]
async fn a_start_that_is_refused_names_the_file_that_it_read() {
    let (code, text) = run("providers: 1\napi_keys: 2\n", &[]).await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("./api.yaml cannot be served:"), "{text}");
}

#[tokio::test]
async fn a_config_argument_that_names_nothing_is_exit_code_2() {
    let (code, text) = run(GOOD, &["check", "--config", "elsewhere.yaml"]).await;

    assert_eq!(code, 2, "{text}");
    assert!(text.contains("elsewhere.yaml"), "{text}");
}

#[tokio::test]
async fn an_empty_file_is_as_good_as_none() {
    for empty in ["", "\n\n", "# only a comment\n"] {
        let (code, text) = check(empty).await;
        assert_ne!(code, 0, "{empty:?}: {text}");
    }
}

#[tokio::test]
async fn a_list_in_place_of_the_document_is_an_error() {
    let (code, text) = check("- provider: a\n").await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("list"), "{text}");
}

#[tokio::test]
async fn tabs_are_an_error_with_the_line() {
    let (code, text) = check("providers:\n\t- provider: a\n").await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("line 2"), "{text}");
}

#[tokio::test]
async fn an_unknown_key_is_a_warning_that_names_the_nearest_known_one() {
    let odd = GOOD.replace("    model:", "    modle: x\n    model:");

    let (code, text) = check(&odd).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("providers[0].modle") && text.contains("`model`") || text.contains("model"),
        "{text}"
    );
    assert!(text.contains("warning"), "{text}");

    let (code, text) = strict(&odd).await;
    assert_eq!(code, 1, "warnings are errors here: {text}");
}

#[tokio::test]
async fn wrong_types_are_errors_all_at_once_with_path_and_line() {
    let bad = "providers:\n  - provider: a\n    base_url: https://a.example/v1\n    api: k\n    model: [m]\n    preferences:\n      cooldown_period: soon\n  - provider: b\n    base_url: 'not a url'\n    api: k\napi_keys:\n  - api: [1]\n  - role: x\n";

    let (code, text) = check(bad).await;

    assert_eq!(code, 1, "{text}");
    for (path, line) in [
        ("providers[0].preferences.cooldown_period", "line 7"),
        ("providers[1].base_url", "line 9"),
        ("api_keys[1]", "line 13"),
    ] {
        let place =
            text.lines().find(|found| found.contains(path)).unwrap_or_else(|| panic!("no {path} in {text}"));
        assert!(place.contains(line), "{place}");
    }
    assert!(text.contains("found: \"soon\"") || text.contains("soon"), "{text}");
}

/// Promises: `cfg-provider-name`, `cfg-base-url`.
#[tokio::test]
async fn a_channel_without_name_or_address_is_reported_by_path_and_line() {
    let (code, text) = check(
        "providers:\n  - base_url: https://a.example/v1\n    api: k\n    model: [m]\n  - provider: b\n    api: k\n    model: [m]\napi_keys: [{api: sk-x}]\n",
    )
    .await;

    assert_eq!(code, 1, "{text}");
    for (path, line) in [("providers[0]", "line 2"), ("providers[1]", "line 5")] {
        let place =
            text.lines().find(|found| found.contains(path)).unwrap_or_else(|| panic!("no {path} in {text}"));
        assert!(place.contains(line), "{place}");
    }
    assert!(text.contains("name") && text.contains("base_url"), "{text}");
}

/// Promises: `cfg-api-required`.
#[tokio::test]
async fn a_channel_without_any_key_is_reported_by_path_and_line() {
    for keys in ["", "    api: []\n", "    api:\n", "    api: ''\n", "    api: ['']\n"] {
        let (code, text) = check(GOOD.replace("    api: sk-upstream-secret-123\n", keys)).await;

        assert_eq!(code, 1, "{keys:?}: {text}");
        assert!(
            text.contains("providers[0]") && text.contains("line ") && text.contains("api"),
            "{keys:?}: {text}"
        );
    }
}

#[tokio::test]
async fn a_start_with_errors_ends_with_their_number_and_where_they_are() {
    let bad = GOOD
        .replace("https://a.example/v1/chat/completions", "nonsense")
        .replace("api: sk-client-secret-456", "api: [1, 2]");

    let (code, text) = run(&bad, &[]).await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("api.yaml cannot be served:"), "{text}");
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    assert!(last.starts_with("2 problems in ") && last.ends_with("api.yaml"), "{text}");
}

#[tokio::test]
async fn a_wrong_environment_is_exit_code_1() {
    let (code, text) = Setup::new(GOOD).env("PORT", "many").arg("check").run().await;
    assert!(
        code == 1 && text.contains("the environment cannot be served") && text.contains("PORT"),
        "{text}"
    );
}

#[tokio::test]
async fn a_first_file_is_written_checked_by_its_name_and_never_written_again() {
    let setup = || Setup::empty().env("OPENAI_API_KEY", "sk-hidden-in-the-environment");
    let first = setup();
    let file = first.folder().join("first.yaml");
    let name = file.display().to_string();

    let (code, text) = setup().arg("init").arg(&name).run().await;
    assert!(code == 0 && text.contains("openai ($OPENAI_API_KEY)") && !text.contains("hidden"), "{text}");
    let (code, text) = setup().arg("check").arg("--strict").arg(&name).run().await;
    assert!(code == 0 && text.contains("1 channel is asked for its models when serving"), "{text}");
    let written = std::fs::read_to_string(&file).unwrap();
    let (code, text) = setup().arg("init").arg(&name).run().await;
    assert!(code == 1 && text.contains("stays as it is"), "{text}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[tokio::test]
async fn duplicate_channel_names_are_a_warning_and_both_serve() {
    let (first, second) = (healthy("first").await, Upstream::always(Script::error(500, "x")).await);
    let twice = config([channel("same", &second), channel("same", &first)]);

    let (code, text) = check(&twice).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("same~2"), "{text}");

    let gateway = Gateway::start(twice.with("/api_keys/0/model", json!(["same/*"]))).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "same~2");
}

/// Promises: `key-nested`.
#[tokio::test]
async fn a_cycle_of_nested_keys_is_an_error_that_prints_the_cycle() {
    let upstream = healthy("x").await;
    let cyclic = config([channel("a", &upstream)]).with(
        "/api_keys",
        json!([
            { "api": "sk-first-secret", "role": "first", "model": ["sk-second-secret/*"] },
            { "api": "sk-second-secret", "role": "second", "model": ["sk-third-secret/*", "m"] },
            { "api": "sk-third-secret", "role": "third", "model": ["sk-first-secret/*"] },
        ]),
    );

    let (code, text) = check(&cyclic).await;

    assert_eq!(code, 1, "{text}");
    for alias in ["first", "second", "third"] {
        assert!(text.contains(alias), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

/// Promises: `cfg-guide`.
#[tokio::test]
async fn the_example_that_is_shipped_passes_the_strict_check() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/api.yaml.example");

    let (code, text) = strict(std::fs::read_to_string(example).unwrap()).await;

    assert_eq!(code, 0, "{text}");
}

#[tokio::test]
async fn a_start_with_errors_prints_what_check_prints() {
    let bad = GOOD.replace("https://a.example/v1/chat/completions", "nonsense");
    let (code, text) = run(&bad, &[]).await;

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("providers[0].base_url"), "{text}");
}

#[tokio::test]
async fn unknown_numbers_of_things_and_odd_shapes_never_panic() {
    let odd = [
        "{}",
        "providers:",
        "providers: {}",
        "providers: [~, 1, [], {}]",
        "api_keys: 7",
        "preferences: []",
        "providers: &a [*a]",
        "a: &x [1]\nb: *x\n",
        "? [1,2]\n: 3\n",
        "--- {}\n--- {}\n",
        "providers: !!python/object 7\n",
        "\u{feff}providers: []\n",
        "providers: [\"a\n",
        "'",
        "{",
        "providers:\n- provider: {a: b}\n  model: {m: [1]}\n",
        "preferences: {model_timeout: {default: -1, x: .nan}, cooldown_period: .inf}\n",
    ];
    for text in odd {
        let (code, printed) = check(text).await;
        assert!(matches!(code, 0..=2), "{text:?}: {code} {printed}");
        assert!(!printed.contains("panicked"), "{text:?}: {printed}");
    }
}
