//! Where the configuration may come from, and what stands in it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::*;

/// Promises: `cfg-file-name`.
#[tokio::test]
async fn a_named_file_comes_before_everything_else() {
    let (named, text, local) = (healthy("named").await, healthy("text").await, healthy("local").await);
    let gateway = Setup::new(config([channel("local", &local)]))
        .file("other.yaml", config([channel("named", &named)]))
        .env("API_YAML_CONTENT", &config([channel("text", &text)]).to_string())
        .arg("--config")
        .arg("other.yaml")
        .start()
        .await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "named");
}

/// Promises: `cfg-file-name`.
#[tokio::test]
async fn the_text_in_the_environment_comes_before_the_local_file() {
    let (text, local) = (healthy("text").await, healthy("local").await);
    let gateway = Setup::new(config([channel("local", &local)]))
        .env("API_YAML_CONTENT", &config([channel("text", &text)]).to_string())
        .start()
        .await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "text");
}

/// Promises: `cfg-file-name`, `env-config-url-http`.
#[tokio::test]
async fn the_local_file_comes_before_the_url_unless_it_is_empty() {
    let (local, remote) = (healthy("local").await, healthy("remote").await);
    let served =
        Upstream::always(Script::body(200, "text/yaml", config([channel("remote", &remote)]).to_string()))
            .await;
    let url = format!("{}/api.yaml", served.origin());

    let gateway = Setup::new(config([channel("local", &local)])).env("CONFIG_URL", &url).start().await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "local");

    let gateway = Setup::new("").env("CONFIG_URL", &url).start().await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "remote");
}

/// Promises: `env-config-url-http`.
#[tokio::test]
async fn a_url_may_redirect_and_needs_no_file() {
    let upstream = healthy("remote").await;
    let text = config([channel("remote", &upstream)]).to_string();
    let served = Upstream::start(move |seen| match seen.path.as_str() {
        "/api.yaml" => Script::body(302, "text/plain", "").header("location", "/moved/api.yaml"),
        "/moved/api.yaml" => Script::body(200, "text/yaml", text.clone()),
        other => Script::error(404, other),
    })
    .await;
    let setup = Setup::empty().env("CONFIG_URL", &format!("{}/api.yaml", served.origin()));

    let gateway = setup.start().await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "remote");
}

#[tokio::test]
async fn a_url_that_cannot_be_had_at_the_start_is_told_with_each_try_until_it_can() {
    let upstream = healthy("remote").await;
    let text = config([channel("remote", &upstream)]).to_string();
    let served = Upstream::start(move |seen| match seen.ordinal {
        0 => Script::error(503, "not yet"),
        1 => Script::body(200, "text/html", "<html>sign in</html>"),
        _ => Script::body(200, "text/yaml", text.clone()),
    })
    .await;
    let setup = Setup::empty().env("CONFIG_URL", &format!("{}/api.yaml?token=sk-hidden", served.origin()));

    let gateway = setup.start().await;

    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "remote");
    let tries: Vec<_> = gateway
        .lines()
        .into_iter()
        .filter(|line| line.contains("cannot be fetched; it is tried again"))
        .collect();
    assert_eq!(tries.len(), 2, "{tries:?}");
    assert!(tries[0].contains("answered 503") && tries[1].contains("this is a web page"), "{tries:?}");
    assert!(tries.iter().all(|line| line.contains("WARN") && !line.contains("sk-hidden")), "{tries:?}");
}

/// Promises: `env-config-url-file`.
#[tokio::test]
async fn a_url_may_name_a_local_file() {
    let upstream = healthy("ok").await;
    let text = config([channel("from-path", &upstream)]);
    for form in ["conf/my.yaml", "PATH", "file://PATH"] {
        let setup = Setup::empty();
        std::fs::create_dir(setup.folder().join("conf")).unwrap();
        let setup = setup.file("conf/my.yaml", &text);
        let path = setup.folder().join("conf/my.yaml").display().to_string();

        let gateway = setup.env("CONFIG_URL", &form.replace("PATH", &path)).start().await;

        assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "from-path", "{form}");
    }
}

/// Promises: `cfg-discovery-readonly`.
#[tokio::test]
async fn models_are_found_where_neither_file_nor_folder_may_be_written() {
    let upstream = Upstream::start(|seen| match seen.path.as_str() {
        "/v1/models" => Script::json(&json!({ "data": [{ "id": "found" }] })),
        _ => saying("ok")(seen),
    })
    .await;
    let channel = json!({ "provider": "a", "base_url": upstream.url(), "api": "k" });
    let setup = Setup::new(config([channel])).without_privileges();
    let (folder, file) = (setup.folder().to_owned(), setup.folder().join("api.yaml"));
    let state = || {
        let names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        (std::fs::read(&file).unwrap(), std::fs::metadata(&file).unwrap().modified().unwrap(), names)
    };
    let allow = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&file, 0o444);
    allow(&folder, 0o555);
    assert!(!setup.can("echo >> api.yaml") && !setup.can("echo > other"), "nothing can be written");
    let before = state();

    let gateway = setup.start().await;

    assert_eq!(gateway.chat(&hello_to("found")).await.expect(200).content(), "ok");
    gateway.signal("HUP");
    gateway.wait_for_reload(0).await;
    gateway.chat(&hello_to("found")).await.expect(200);
    assert_eq!(state(), before);
    assert!(!gateway.printed().contains("enied"), "{}", gateway.printed());
    allow(&folder, 0o755);
}

/// Promises: `env-config-url-empty`.
#[tokio::test]
async fn an_empty_url_counts_as_unset() {
    let upstream = healthy("ok").await;
    let gateway = Setup::new(config([channel("a", &upstream)])).env("CONFIG_URL", "").start().await;

    gateway.chat(&hello()).await.expect(200);
}

/// Promises: `deploy-serv00-env`.
#[tokio::test]
async fn a_url_and_no_database_are_enough_in_an_empty_folder() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream)]).to_string();
    let served = Upstream::always(Script::body(200, "text/yaml", text)).await;
    let setup = Setup::empty()
        .env("CONFIG_URL", &format!("{}/raw/api.yaml", served.origin()))
        .env("DISABLE_DATABASE", "true");
    let folder = setup.folder().to_owned();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o555)).unwrap();

    let gateway = setup.start().await;
    gateway.chat(&hello()).await.expect(200);

    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn variables_expand_in_a_local_file_and_not_in_one_from_afar() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream).with("/api", json!("${UPSTREAM_KEY:-fallback}"))]);

    let gateway = Setup::new(&text).env("UPSTREAM_KEY", "from-the-environment").start().await;
    gateway.chat(&hello()).await.expect(200);
    assert_eq!(upstream.last().key(), "from-the-environment");

    let gateway = Setup::new(&text).start().await;
    gateway.chat(&hello()).await.expect(200);
    assert_eq!(upstream.last().key(), "fallback");

    let served = Upstream::always(Script::body(200, "text/yaml", text.to_string())).await;
    let gateway = Setup::empty()
        .env("CONFIG_URL", &format!("{}/api.yaml", served.origin()))
        .env("UPSTREAM_KEY", "must-not-travel")
        .start()
        .await;
    gateway.chat(&hello()).await;
    assert_ne!(upstream.last().key(), "must-not-travel");
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_an_error_with_its_path() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream).with("/api", json!("${NOT_SET_ANYWHERE}"))]);

    let (code, printed) = run(&text, &["check"]).await;

    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("providers[0].api") && printed.contains("NOT_SET_ANYWHERE"), "{printed}");
}

#[tokio::test]
async fn a_secret_may_come_from_a_file_beside_the_configuration() {
    let upstream = healthy("ok").await;
    let text = config([channel("a", &upstream).with("/api", json!("${file:key.txt}"))]);
    let gateway = Setup::new(&text).file("key.txt", "key-in-a-file\n").start().await;

    gateway.chat(&hello()).await.expect(200);

    assert_eq!(upstream.last().key(), "key-in-a-file");
    let (code, printed) =
        run(text.with("/providers/0/api", json!("${file:/etc/hostname}")), &["check"]).await;
    assert_eq!(code, 1, "{printed}");
}

/// Promises: `cfg-block-minimal`.
#[tokio::test]
async fn the_shortest_file_serves_the_models_that_the_channel_lists() {
    let upstream = Upstream::start(|seen| match seen.method.as_str() {
        "GET" => Recorded::case("openai/models").script(),
        _ => saying("found")(seen),
    })
    .await;
    let yaml = format!(
        "providers:\n  - provider: provider_name\n    base_url: {}\n    api: sk-YgS6GTi0b4bEabc4C\napi_keys:\n  - api: {CLIENT}\n",
        upstream.url()
    );
    let gateway = Gateway::start(yaml).await;
    let listed = Recorded::case("openai/models").body;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let model = listed["data"][0]["id"].as_str().unwrap();

    let found = async {
        while gateway.chat(&hello_to(model)).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a listed model should be served");
}

/// Promises: `cfg-block-faq`, `route-order-is-priority`.
#[tokio::test]
async fn channels_without_model_lists_are_asked_in_the_order_of_the_rules() {
    let listing = json!({ "object": "list", "data": [{ "id": "found", "object": "model" }] });
    let serving = |text: &'static str, listing: serde_json::Value| {
        move |seen: &Seen| match (seen.method.as_str(), text) {
            ("GET", _) => Script::json(&listing),
            (_, "ai2") => Script::error(500, "ai2 is ill"),
            _ => saying(text)(seen),
        }
    };
    let (ai1, ai2) = (
        Upstream::start(serving("ai1", listing.clone())).await,
        Upstream::start(serving("ai2", listing)).await,
    );
    let yaml = format!(
        "providers:\n  - provider: ai1\n    base_url: {}\n    api: sk-x1\n\n  - provider: ai2\n    base_url: {}\n    api: sk-x2\n\n\
         api_keys:\n  - api: {CLIENT}\n    model:\n      - ai2/*\n      - ai1/*\n",
        ai1.url(),
        ai2.url()
    );
    let gateway = Gateway::start(yaml).await;
    let listed = async {
        while (ai1.count(), ai2.count()) < (1, 1)
            || !gateway.ask(&Ask::get("/v1/models")).await.text().contains("found")
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listed).await.expect("both channels should be asked for their models");
    let asked = ai2.count();

    let answer = gateway.chat(&hello_to("found")).await.expect(200);

    assert_eq!((answer.channel(), ai2.count()), ("ai1", asked + 1), "ai2 is asked first");
    assert_eq!(gateway.chat(&hello_to("found")).await.expect(200).channel(), "ai1");
    assert_eq!(ai2.count(), asked + 1, "and left alone afterwards");
}

#[tokio::test]
async fn start_takes_a_fraction_of_a_second() {
    let upstream = healthy("ok").await;
    let began = std::time::Instant::now();
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;

    gateway.chat(&hello()).await.expect(200);

    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
}
