//! A saved change takes effect at once; a broken one changes nothing; no request notices either.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::gateway::LOADED;
use crate::harness::*;

/// Promises: `cfg-hot-reload`.
#[tokio::test]
async fn a_model_added_to_the_file_can_be_requested() {
    let upstream = healthy("ok").await;
    let first = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&first).await;
    gateway.chat(&hello_to("new")).await.expect(404);

    gateway.reload(first.with("/providers/0/model", json!(["m", "new"]))).await;

    gateway.chat(&hello_to("new")).await.expect(200);
    gateway.chat(&hello()).await.expect(200);
}

#[tokio::test]
async fn a_key_taken_from_the_file_is_refused() {
    let upstream = healthy("ok").await;
    let two = config([channel("a", &upstream)])
        .with("/api_keys", json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-leaving" }]));
    let gateway = Gateway::start(&two).await;
    gateway.ask(&Ask::chat(&hello()).key("sk-leaving")).await.expect(200);

    gateway.reload(two.clone().with("/api_keys", json!([{ "api": CLIENT }]))).await;

    gateway.ask(&Ask::chat(&hello()).key("sk-leaving")).await.expect(401);
    gateway.chat(&hello()).await.expect(200);
}

/// Promises: `cfg-hot-reload`.
#[tokio::test]
async fn garbage_changes_nothing_and_is_told() {
    let upstream = healthy("ok").await;
    let good = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&good).await;

    for garbage in ["{]", "", "- a list\n", "providers: []\napi_keys: [", "providers:\n\t- x\n"] {
        std::fs::write(gateway.api_yaml(), garbage).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        gateway.chat(&hello()).await.expect(200);
    }
    let failed = async {
        while gateway.metric("uni_api_config_reload_success").await != 0.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, failed).await.expect("the gauge should say that the reload failed");
    assert!(gateway.printed().contains("api.yaml"), "{}", gateway.printed());

    gateway.reload(good.with("/providers/0/model", json!(["m", "later"]))).await;
    gateway.chat(&hello_to("later")).await.expect(200);
    assert_eq!(gateway.metric("uni_api_config_reload_success").await, 1.0);
}

#[tokio::test]
async fn a_file_that_is_emptied_is_told_and_so_is_the_return_of_its_text() {
    let upstream = healthy("ok").await;
    let good = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&good).await;

    std::fs::write(gateway.api_yaml(), "").unwrap();
    gateway.wait_for_line("the empty file", |line| line.contains("api.yaml is empty")).await;
    assert_eq!(gateway.metric("uni_api_config_reload_success").await, 0.0);
    gateway.chat(&hello()).await.expect(200);

    gateway.reload(&good).await;
    assert_eq!(gateway.metric("uni_api_config_reload_success").await, 1.0);
}

#[tokio::test]
async fn a_reload_says_by_name_what_it_changed() {
    let upstream = healthy("ok").await;
    let keys = json!([{ "api": CLIENT, "role": "admin" }, { "api": "sk-leaving", "role": "bob" }]);
    let first = config([channel("a", &upstream)]).with("/api_keys", keys);
    let gateway = Gateway::start(&first).await;

    gateway
        .reload(first.with("/providers/0/model", json!(["n"])).with("/api_keys", json!([{ "api": CLIENT }])))
        .await;

    let line = gateway.wait_for_line("the reload", |line| line.contains("Configuration loaded.")).await;
    assert!(line.contains("\"added\":\"model n\""), "{line}");
    assert!(line.contains("\"removed\":\"client key bob, model m\""), "{line}");
}

/// Promises: `front-status-edit`.
#[tokio::test]
async fn a_file_written_in_two_halves_is_followed() {
    let upstream = healthy("ok").await;
    let first = config([channel("a", &upstream)]);
    let gateway = Gateway::start(&first).await;
    let text = first.with("/providers/0/model", json!(["m", "second-half"])).to_string();
    let (head, tail) = text.split_at(text.len() / 2);

    std::fs::write(gateway.api_yaml(), head).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    gateway.chat(&hello()).await.expect(200);
    let mut file = std::fs::OpenOptions::new().append(true).open(gateway.api_yaml()).unwrap();
    std::io::Write::write_all(&mut file, tail.as_bytes()).unwrap();

    served(&gateway, "second-half").await;
}

/// Waits until the model is served.
async fn served(gateway: &Gateway, model: &str) {
    let asking = async {
        while gateway.chat(&hello_to(model)).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, asking).await;
    waited.unwrap_or_else(|_| panic!("{model} is never served:\n{}", gateway.printed()));
}

/// Promises: `env-watchfiles-polling`.
#[tokio::test]
async fn watchfiles_force_polling_is_accepted_and_changes_are_seen() {
    let upstream = healthy("ok").await;
    let first = config([channel("a", &upstream)]);
    let gateway = Setup::new(&first).env("WATCHFILES_FORCE_POLLING", "true").start().await;

    std::fs::write(gateway.api_yaml(), first.with("/providers/0/model", json!(["polled"])).to_string())
        .unwrap();

    served(&gateway, "polled").await;
}

#[tokio::test]
async fn the_file_is_never_written() {
    let upstream = healthy("ok").await;
    let text = format!(
        "# my comment\nproviders:\n  - {{provider: a, base_url: '{}', api: k, model: [m]}} # mine\napi_keys: [{{api: {CLIENT}}}]\n",
        upstream.url()
    );
    let gateway = Gateway::start(&text).await;

    gateway.chat(&hello()).await.expect(200);
    tokio::time::sleep(Duration::from_millis(300)).await;

    assert_eq!(std::fs::read_to_string(gateway.api_yaml()).unwrap(), text);
}

/// The configuration of the n-th reload: the same routes, and a model that tells the number.
fn numbered(a: &Upstream, b: &Upstream, n: usize) -> Value {
    let keys = json!(["k1", "k2", "k3"]);
    let models = json!(["m", "cooled", "turns", format!("extra-{n}")]);
    config([
        channel("a", a).with("/model", models.clone()).with("/api", keys),
        channel("b", b).with("/model", models),
    ])
    .with(
        "/api_keys",
        json!([
            { "api": CLIENT, "role": "admin" },
            { "api": TURNS, "model": ["a/turns", "b/turns"], "preferences": {
                "SCHEDULING_ALGORITHM": "round_robin", "expose_route": true,
            } },
            { "api": FEW, "preferences": { "rate_limit": "3/day" } },
        ]),
    )
}

/// A client whose requests go to the channels in turn.
const TURNS: &str = "sk-turns-0123456789";
/// A client that may ask three times a day.
const FEW: &str = "sk-few-0123456789";

/// Ways in which editors, tools and Kubernetes save a file.
fn save(folder: &Path, text: &str, n: usize) {
    let file = folder.join("api.yaml");
    match n % 3 {
        0 => {
            // In place; through a symlink the file behind it is written.
            std::fs::write(&file, text).unwrap();
        }
        1 => {
            let beside = folder.join(".api.yaml.swp");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, &file).unwrap();
        }
        _ => {
            // As Kubernetes does: a folder per version, a link to it that is swapped.
            let version = folder.join(format!("..version-{n}"));
            std::fs::create_dir(&version).unwrap();
            std::fs::write(version.join("api.yaml"), text).unwrap();
            let link = folder.join("..new");
            std::os::unix::fs::symlink(version.join("api.yaml"), &link).unwrap();
            std::fs::rename(link, &file).unwrap();
        }
    }
}

/// Promises: `cfg-hot-reload`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_reloads_of_a_file_under_load_fail_no_request_and_forget_nothing() {
    let (a, b) = busy_upstreams().await;
    let gateway = Gateway::start(numbered(&a, &b, 0)).await;
    let folder = gateway.folder().to_owned();

    // A file is read once it has been still for a moment, which sums up.
    reload_under_load(gateway, 50, (&a, &b), |n, text| save(&folder, text, n)).await;
}

/// Promises: `cfg-hot-reload`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_from_a_url_under_load_fail_no_request_and_forget_nothing() {
    let (a, b) = busy_upstreams().await;
    let served = Arc::new(Mutex::new((0, numbered(&a, &b, 0).to_string())));
    let texts = served.clone();
    let server = Upstream::start(move |seen| {
        let (n, text) = texts.lock().unwrap().clone();
        let tag = format!("\"version-{n}\"");
        if seen.header("if-none-match") == Some(&tag) {
            return Script::body(304, "text/yaml", "").header("etag", &tag);
        }
        Script::body(200, "text/yaml", text).header("etag", &tag)
    })
    .await;
    let gateway = Setup::empty()
        .env("CONFIG_URL", &format!("{}/api.yaml", server.origin()))
        .env("CONFIG_URL_POLL", "0.1")
        .start()
        .await;

    reload_under_load(gateway, 100, (&a, &b), |n, text| *served.lock().unwrap() = (n, text.to_owned())).await;

    let asked: Vec<_> = server.requests().iter().map(|seen| seen.header("if-none-match").is_some()).collect();
    assert!(!asked[0] && asked[1..].iter().all(|tagged| *tagged), "{asked:?}");
}

async fn busy_upstreams() -> (Upstream, Upstream) {
    let a = Upstream::start(|seen| match (seen.model().as_str(), seen.streams()) {
        ("cooled", _) => Script::error(500, "broken"),
        (_, true) => Script::events(stream_of(&["one", "two", "three"])).paced(Duration::from_millis(40)),
        (_, false) => Script::json(&said("a")),
    })
    .await;
    (a, healthy("b").await)
}

/// Changes the configuration again and again while clients ask without a pause.
async fn reload_under_load(
    gateway: Gateway,
    reloads: usize,
    (a, b): (&Upstream, &Upstream),
    mut publish: impl FnMut(usize, &str),
) {
    let gateway = Arc::new(gateway);
    // The channel that fails once is left alone for 300 s: reloads must not make it forget.
    assert_eq!(gateway.chat(&hello_to("cooled")).await.expect(200).channel(), "b");
    let few = Ask::chat(&hello()).key(FEW);
    gateway.ask(&few).await.expect(200);

    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let (gateway, stop, served) = (gateway.clone(), stop.clone(), served.clone());
        load.spawn(async move {
            let mut wire = gateway.client().connect().await;
            let mut pace = tokio::time::interval(Duration::from_millis(80));
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                let request = if worker % 2 == 0 { hello() } else { hello_stream() };
                let (answer, back) = wire.open(&Ask::chat(&request)).await.rest_and_wire().await;
                let answer = answer.expect(200);
                assert!(answer.complete, "{}", answer.text());
                if worker % 2 == 1 {
                    assert_eq!(answer.text(), stream_of(&["one", "two", "three"]).concat());
                }
                served.fetch_add(1, Ordering::Relaxed);
                wire = back;
            }
        });
    }
    let mut turns = String::new();
    for n in 1..=reloads {
        publish(n, &numbered(a, b, n).to_string());
        let asked = tokio::time::timeout(PATIENCE, async {
            while gateway.chat(&hello_to(&format!("extra-{n}"))).await.status != 200 {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        asked.await.unwrap_or_else(|_| panic!("reload {n} is never served:\n{}", gateway.printed()));
        turns += gateway.ask(&Ask::chat(&hello_to("turns")).key(TURNS)).await.expect(200).channel();
        if n == reloads / 2 {
            gateway.ask(&few).await.expect(200);
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;

    let requests = served.load(Ordering::Relaxed);
    assert!(requests > 5 * reloads, "{requests} requests in {:?} are no load", began.elapsed());
    assert_eq!(gateway.count_messages(LOADED), reloads, "each text is loaded once");
    assert_eq!(turns, "ab".repeat(reloads / 2), "channels take turns across reloads");
    gateway.ask(&few).await.expect(200);
    gateway.ask(&few).await.expect(429);
    let answer = gateway.chat(&hello_to("cooled")).await.expect(200);
    assert_eq!(answer.channel(), "b", "the cooldown was forgotten");
    assert_eq!(a.requests().iter().filter(|seen| seen.model() == "cooled").count(), 1);
    let keys = a.keys();
    let counts = ["k1", "k2", "k3"].map(|key| keys.iter().filter(|used| *used == key).count());
    let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
    assert!(most - least <= 10, "keys are taken in turn across reloads: {counts:?}");
}

#[tokio::test]
async fn a_url_that_fails_or_tells_garbage_changes_nothing() {
    let upstream = healthy("ok").await;
    let good = config([channel("a", &upstream)]);
    let later = good.clone().with("/providers/0/model", json!(["m", "later"])).to_string();
    let first = good.to_string();
    let server = Upstream::start(move |seen| match seen.ordinal {
        0 => Script::body(200, "text/yaml", first.clone()),
        1 => Script::error(500, "down"),
        2 => Script::body(200, "text/yaml", ""),
        3 => Script::reset(),
        4 => Script::body(200, "text/html", "<html>Sign in</html>"),
        _ => Script::body(200, "text/yaml", later.clone()),
    })
    .await;
    let gateway =
        Setup::empty().env("CONFIG_URL", &server.origin()).env("CONFIG_URL_POLL", "0.2").start().await;

    while server.count() < 6 {
        gateway.chat(&hello()).await.expect(200);
    }
    served(&gateway, "later").await;
}

/// Promises: `cfg-hot-reload`.
#[tokio::test]
async fn key_cursors_and_cooldowns_survive_a_reload() {
    let upstream = Upstream::start(|seen| match seen.key().as_str() {
        "k2" => Script::error(429, "slow").header("retry-after", "60"),
        _ => Script::json(&said("ok")),
    })
    .await;
    let first = config([channel("a", &upstream).with("/api", json!(["k1", "k2", "k3", "k4"]))]);
    let gateway = Gateway::start(&first).await;
    for _ in 0..2 {
        gateway.chat(&hello()).await.expect(200);
    }

    gateway.reload(first.with("/providers/0/model", json!(["m", "n"]))).await;
    for _ in 0..4 {
        gateway.chat(&hello()).await.expect(200);
    }

    assert_eq!(upstream.keys(), ["k1", "k2", "k3", "k4", "k1", "k3", "k4"]);
}

#[tokio::test]
async fn a_stream_that_began_before_a_reload_ends_by_the_old_configuration() {
    let gate = Gate::new();
    let script = Script::events([role_event(), text_event("old ")]).then_wait(&gate).then(format!(
        "{}{}{DONE}",
        text_event("but whole"),
        stop_event()
    ));
    let upstream = Upstream::always(script).await;
    let other = healthy("new").await;
    let gateway = Gateway::start(config([channel("a", &upstream)])).await;
    let mut flow = gateway.client().open(&Ask::chat(&hello_stream())).await;
    flow.until("old").await;

    gateway.reload(config([channel("b", &other)])).await;
    assert_eq!(gateway.chat(&hello()).await.expect(200).channel(), "b");
    gate.open();

    let answer = flow.rest().await;
    assert_eq!(answer.streamed(), "old but whole");
    assert!(answer.is_done());
}
