//! Every query of the dashboards and every rule, asked of a real Prometheus that scrapes gateways under traffic and faults.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dashboards::boards;
use crate::harness::*;
use crate::objects::{documents, list};
use crate::prometheus::Prometheus;
use crate::rules::rules;
use crate::scenario::Scenario;
use crate::{read, root};

/// How long there is traffic.
const TRAFFIC: Duration = Duration::from_secs(7);

/// What may say nothing here, and why; that its series are there is checked all the same. `rules` has each alert fire.
const IDLE: [(&str, &str); 12] = [
    ("Start", "nothing is started a second time under the same address"),
    ("UniApiInternalFault", "there is no way to make one"),
    ("UniApiOverheadHigh", "the gateway is faster"),
    ("UniApiFirstTokenSlow", "it would take ten seconds"),
    ("UniApiOverloaded", "it would take thousands of requests at once"),
    ("UniApiNearlyFull", "it would take thousands of requests at once"),
    ("UniApiStatisticsLost", "it would take as many requests as rows may wait"),
    ("UniApiLogLost", "the log is read"),
    ("UniApiMemoryNearlyUsedUp", "there is enough"),
    ("UniApiFilesNearlyUsedUp", "there are enough"),
    ("UniApiBusy", "it would take all processors"),
    ("UniApiRestarts", "nothing is started a second time under the same address"),
];

/// A query, and where it stands.
struct Asked {
    place: String,
    title: String,
    expr: String,
    /// Its values are shares: 1 is the whole.
    share: bool,
}

/// Every query of the dashboards, with what is chosen there filled in: everything, for a minute.
fn queries() -> Vec<Asked> {
    let mut asked = Vec::new();
    for (name, board) in boards() {
        let mut add = |title: &Value, expr: &Value, share| {
            let expr = ["$job", "$instance", "$channel", "$model", "$caller"]
                .iter()
                .fold(expr.as_str().unwrap().to_owned(), |expr, variable| expr.replace(variable, ".*"));
            let expr = expr.replace("$__rate_interval", "1m").replace("$__range", "1m");
            assert!(!expr.contains('$'), "{expr}");
            let title = title.as_str().unwrap().to_owned();
            asked.push(Asked { place: format!("{name}: {title}"), title, expr, share });
        };
        for panel in list(&board["panels"]) {
            let share = panel["fieldConfig"]["defaults"]["unit"] == "percentunit";
            list(&panel["targets"]).for_each(|target| add(&panel["title"], &target["expr"], share));
        }
        list(&board["annotations"]["list"])
            .for_each(|mark| add(&mark["name"], &mark["target"]["expr"], false));
    }
    asked
}

/// Every rule; what is recorded is asked for by its name too.
fn rule_queries() -> Vec<Asked> {
    let mut asked = Vec::new();
    for rule in rules() {
        let title = rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
        let expr = rule["expr"].as_str().unwrap().to_owned();
        if rule["record"].is_string() {
            let place = format!("recorded as {title}");
            asked.push(Asked {
                place,
                title: title.clone(),
                expr: title.clone(),
                share: title.contains(":ratio_"),
            });
        }
        asked.push(Asked { place: format!("rule {title}"), title, expr, share: false });
    }
    asked
}

/// The series that an expression names.
fn series(expr: &str) -> impl Iterator<Item = &str> {
    let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | ':'));
    words.filter(|word| {
        let ours =
            ["uni_api_", "gen_ai_client", "gen_ai_server", "process_", "job:", "job_channel:", "job_model:"];
        ours.iter().any(|prefix| word.starts_with(prefix)) && !word.ends_with(':')
    })
}

/// What is wrong with the answer to a query.
async fn complaint(prometheus: &Prometheus, known: &BTreeSet<String>, asked: &Asked) -> Option<String> {
    let Asked { place, title, expr, share } = asked;
    if let Some(unknown) = series(expr).find(|name| !known.contains(*name)) {
        return Some(format!("{place}: there is no series {unknown}"));
    }
    let samples = match prometheus.query(expr).await {
        Ok(samples) => samples,
        Err(error) => return Some(format!("{place}: {error}: {expr}")),
    };
    let told = samples.iter().any(|(_, value)| value.is_finite());
    if !told && IDLE.iter().all(|(idle, _)| idle != title) {
        return Some(format!("{place}: nothing comes of {expr}"));
    }
    let beyond = samples.iter().find(|(_, value)| *share && *value > 1.0001);
    beyond.map(|(labels, value)| format!("{place}: {value} is no share: {labels}"))
}

/// The configuration that the page shows, with these gateways in place of its own.
fn configuration(targets: &[String]) -> String {
    let shown = read("grafana/prometheus.yaml");
    let list = targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ");
    let text = shown
        .replace("scrape_interval: 15s", "scrape_interval: 500ms")
        .replace("evaluation_interval: 15s", "evaluation_interval: 500ms")
        .replace("\"127.0.0.1:9464\"", &list)
        .replace("rules/", &format!("{}/grafana/rules/", root().display()));
    assert_ne!(documents(&text), documents(&shown));
    text
}

/// Series that are drawn nowhere, and why.
const UNDRAWN: [(&str, &str); 2] = [
    (
        "gen_ai_server_request_duration_seconds",
        "for dashboards of others; ours have uni_api_request_duration_seconds",
    ),
    ("process_virtual_memory_bytes", "it says nothing that resident memory does not"),
];

#[test]
fn every_series_of_the_page_on_metrics_is_on_a_panel_or_in_a_rule() {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let is_series = |rest: &str| ["counter", "gauge", "histogram"].iter().any(|word| rest.starts_with(word));
    let told: BTreeSet<&str> = rows.filter(|(_, rest)| is_series(rest)).map(|(name, _)| name).collect();
    assert!(told.len() > 50, "{told:?}");
    let asked: Vec<Asked> = queries().into_iter().chain(rule_queries()).collect();
    let parts = ["", "_bucket", "_sum", "_count"];
    let is_used = |name: &str| {
        let used = |word: &str| parts.iter().any(|part| word.strip_prefix(name) == Some(part));
        asked.iter().any(|one| series(&one.expr).any(used))
    };

    for name in told {
        let left_out = UNDRAWN.iter().any(|(undrawn, _)| *undrawn == name);
        assert_ne!(is_used(name), left_out, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_rule_and_alert_tells_something_of_gateways_under_traffic_and_faults() {
    let scenario = Scenario::start().await;
    let mut targets = scenario.targets();
    // Nobody is there.
    targets.push(
        refused_port().await.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned(),
    );
    let prometheus = Prometheus::start(&configuration(&targets));
    // It looks for its targets some seconds after its start.
    let began = Instant::now();
    while prometheus.query("up == 1").await.unwrap_or_default().len() < 2 {
        assert!(began.elapsed() < PATIENCE, "Prometheus scrapes nobody");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    scenario.run(TRAFFIC).await;

    let names = prometheus.get("label/__name__/values", &[]).await.unwrap();
    let known: BTreeSet<String> = list(&names).map(|name| name.as_str().unwrap().to_owned()).collect();
    let asked: Vec<Asked> = queries().into_iter().chain(rule_queries()).collect();
    assert!(asked.len() > 150, "{}", asked.len());
    let mut wrong = Vec::new();
    for one in &asked {
        wrong.extend(complaint(&prometheus, &known, one).await);
    }
    for (name, board) in boards() {
        for variable in list(&board["templating"]["list"]).filter(|variable| variable["type"] == "query") {
            let query = variable["query"]["query"].as_str().unwrap().replace("$job", ".*");
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let values =
                prometheus.get(&format!("label/{label}/values"), &[("match[]", selector)]).await.unwrap();
            if list(&values).next().is_none() {
                wrong.push(format!("{name}: nothing can be chosen by {query}"));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (idle, _) in IDLE {
        assert!(asked.iter().any(|one| one.title == idle), "{idle} is in the list of idle ones alone");
    }
    // What is renamed in the program alone is found.
    for one in asked.iter().filter(|one| one.expr.contains("uni_api_requests_total")).take(1) {
        let expr = one.expr.replace("uni_api_requests_total", "uni_api_request_total");
        let renamed = Asked { expr, place: one.place.clone(), title: one.title.clone(), share: false };
        assert!(complaint(&prometheus, &known, &renamed).await.is_some());
    }
}
