use http::StatusCode;
use metrics::Unit;

use super::*;
use crate::values::Price;
use crate::values::testing::{attempt, entry, target};

fn closed(change: impl FnOnce(&mut layers::ledger::Entry)) -> Closed {
    let mut entry = entry("gpt-4o");
    change(&mut entry);
    Closed::new(entry, Price::flat(1_000_000, 2_000_000))
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

/// Series that others have samples of, or nobody in a test.
const OF_OTHERS: &[Series] = &[
    CONNECTIONS,
    CONNECT_TIME,
    CHANNEL_MODELS,
    CHANNEL_MODELS_COOLING,
    CHANNEL_KEYS,
    CHANNEL_KEYS_COOLING,
    MODELS,
    MODELS_COOLING,
    DISCOVERIES,
    TOKEN_RENEWALS,
    CALLER_CREDITS,
    CALLER_BALANCE,
    CALLER_SPENT,
    CALLER_WINDOW_LIMIT,
    CALLER_WINDOW_REMAINING,
    GATEWAY_WINDOW_LIMIT,
    GATEWAY_WINDOW_REMAINING,
    LEDGER_QUEUE,
    LEDGER_UP,
    LEDGER_DROPPED,
    LEDGER_WRITTEN,
    LOG_DROPPED,
    LOG_WAITING,
    SPANS_EXPORTED,
    SPANS_DROPPED,
    SPANS_WAITING,
    RUNTIME_TASKS,
    RUNTIME_QUEUE,
    RUNTIME_BUSY,
    MEMORY_LIMIT,
];

#[test]
fn every_declared_series_is_rendered_under_its_name_with_its_help_and_kind() {
    let metrics = Metrics::new();
    metrics.close(&closed(|_| {}));
    metrics.close(&closed(|entry| entry.usage = None));
    metrics.close(&closed(|entry| entry.attempts.push(attempt("second", "ok"))));
    metrics.close(&closed(|entry| {
        entry.attempts.clear();
        entry.failure = Some("rate_limited");
    }));
    metrics.meters("main", "gpt-4o").attempt("ok", Duration::from_millis(3));
    metrics.reloaded(Reload::Loaded("abc"));
    metrics.observe_capacity(&Capacity::new(1, 1));
    for series in OF_OTHERS {
        let labels: Vec<_> = series.labels.iter().map(|label| (*label, "x")).collect();
        let registry = &metrics.0.registry;
        match series.series_type {
            SeriesType::Counter => registry.counter(series, &labels).increment(1),
            SeriesType::Gauge => registry.gauge(series, &labels).set(1.0),
            SeriesType::Histogram => registry.histogram(series, &labels).record(1.0),
        }
    }

    let text = metrics.render();

    for series in SERIES {
        let (kind, sample) = match series.series_type {
            SeriesType::Counter => ("counter", series.name.to_owned()),
            SeriesType::Gauge => ("gauge", series.name.to_owned()),
            SeriesType::Histogram => ("histogram", format!("{}_bucket", series.name)),
        };
        assert!(has(&text, &format!("# HELP {} {}", series.name, series.help)), "help of {}", series.name);
        assert!(has(&text, &format!("# TYPE {} {kind}", series.name)), "type of {}", series.name);
        let sampled = text.lines().any(|line| {
            line.strip_prefix(&sample).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        assert!(sampled, "no sample of {}:\n{text}", series.name);
    }
}

#[test]
fn names_carry_our_prefix_or_a_stock_one_and_end_in_their_unit() {
    for series in SERIES {
        let name = series.name;
        assert!(["uni_api_", "process_", "gen_ai_"].iter().any(|prefix| name.starts_with(prefix)), "{name}");
        assert_eq!(series.series_type == SeriesType::Counter, name.ends_with("_total"), "{name}");
        assert_eq!(series.unit == Unit::Seconds, name.contains("_seconds"), "{name}");
        assert_eq!(series.unit == Unit::Bytes, name.contains("_bytes"), "{name}");
        assert_eq!(series.series_type == SeriesType::Histogram, !series.buckets.is_empty(), "{name}");
        assert!(series.buckets.is_sorted(), "{name}");
    }
}

#[test]
fn cost_is_told_in_dollars_over_all_dialects_of_a_model() {
    let metrics = Metrics::new();

    metrics.close(&closed(|_| {}));
    metrics.close(&closed(|entry| entry.target = None));

    let line = "uni_api_cost_usd_total{operation=\"chat\",model=\"gpt-4o\"} 0.00004";
    assert!(has(&metrics.render(), line), "{}", metrics.render());
}

#[test]
fn a_model_that_no_channel_has_is_never_a_label() {
    let metrics = Metrics::new();

    metrics.close(&closed(|entry| {
        entry.model = "sk-pasted-by-mistake".into();
        entry.model_known = false;
    }));

    let text = metrics.render();
    assert!(text.contains("model=\"other\"") && !text.contains("sk-pasted"), "{text}");
}

#[test]
fn the_wait_for_an_upstream_is_not_overhead() {
    let metrics = Metrics::new();

    // Accepted after 250.1 ms, 250 ms of them waiting.
    metrics.close(&closed(|_| {}));

    let text = metrics.render();
    assert!(has(&text, "uni_api_overhead_seconds_bucket{operation=\"chat\",le=\"0.0001\"} 1"), "{text}");
    assert!(has(&text, "uni_api_overhead_seconds_bucket{operation=\"chat\",le=\"0.00008\"} 0"), "{text}");
}

#[test]
fn an_outcome_without_a_label_of_its_own_counts_as_other() {
    let metrics = Metrics::new();

    metrics.meters("main", "gpt-4o").attempt("brand_new", Duration::ZERO);

    let line = "uni_api_attempts_total{channel=\"main\",outcome=\"other\"} 1";
    assert!(has(&metrics.render(), line), "{}", metrics.render());
}

#[test]
fn buffered_bytes_are_shown_while_they_are_held() {
    let metrics = Metrics::new();
    let capacity = Capacity::new(7, 1000);
    metrics.observe_capacity(&capacity);

    let mut held = capacity.hold();
    held.grow(300).unwrap();
    let during = metrics.render();
    drop(held);

    assert!(has(&during, &format!("{} 300", BYTES_USED.name)), "{during}");
    assert!(has(&during, &format!("{} 7", PERMITS_LIMIT.name)), "{during}");
    assert!(has(&metrics.render(), &format!("{} 0", BYTES_USED.name)));
}

#[test]
fn a_broken_reload_keeps_the_hash_of_what_is_served() {
    let metrics = Metrics::new();
    metrics.reloaded(Reload::Loaded("good"));

    metrics.reloaded(Reload::Broken);

    let text = metrics.render();
    assert!(has(&text, "uni_api_config_reload_success 0") && has(&text, "uni_api_config_source_up 1"));
    assert!(has(&text, "uni_api_config_info{hash=\"good\"} 1"));
}

/// What a gateway counts that has served each of 500 models, on twenty channels, and failed at it once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    for n in 0..500 {
        let (model, channel) =
            (format!("provider/model-name-{n:03}-2026-01-01"), format!("channel-{:02}", n % 20));
        for failure in [None, Some("upstream_error")] {
            metrics.close(&closed(|entry| {
                entry.model = model.as_str().into();
                entry.target = Some(target(&channel, &model));
                let usage = entry.usage.as_mut().expect("the record has usage");
                (usage.cached_read, usage.cache_write, usage.reasoning) = (1, 1, 1);
                if failure.is_some() {
                    (entry.failure, entry.usage, entry.accepted) = (failure, None, None);
                    entry.status = StatusCode::BAD_GATEWAY;
                }
            }));
            for outcome in ["ok", "client_gone", "upstream_rate_limited", failure.unwrap_or("timeout")] {
                metrics.meters(&channel, &model).attempt(outcome, Duration::from_millis(3));
            }
        }
    }
    metrics
}

#[test]
fn a_scrape_of_five_hundred_models_that_are_all_in_use_is_under_a_megabyte() {
    let text = busy().render();

    assert!(text.len() < 900_000, "{} bytes", text.len());
    assert!(
        text.contains(
            "uni_api_cost_usd_total{operation=\"chat\",model=\"provider/model-name-499-2026-01-01\"}"
        )
    );
}

#[test]
fn stock_series_know_the_first_models_by_name_and_count_all() {
    let text = busy().render();

    let name = GENAI_DURATION.name;
    let counts = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}_count{{")));
    let counts: Vec<(&str, u64)> = counts
        .map(|line| {
            let model = line.split("gen_ai_request_model=\"").nth(1).and_then(|rest| rest.split('"').next());
            (model.unwrap(), line.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .collect();
    let models: HashSet<&str> = counts.iter().map(|(model, _)| *model).collect();
    assert_eq!(models.len(), MOST_STOCK + 1, "{models:?}");
    assert!(models.contains(OTHER) && models.contains("provider/model-name-000-2026-01-01"));
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1000, "sums are whole");
}

/// The sum of a histogram with these labels.
fn sum_of(text: &str, series: &Series, labels: &str) -> f64 {
    let start = format!("{}_sum{{{labels}}} ", series.name);
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start} in {text}")).parse().unwrap()
}

#[test]
fn overhead_is_told_by_stage_and_pauses_are_no_part_of_it() {
    let metrics = Metrics::new();

    metrics.close(&closed(|entry| {
        // Judged for 100 ms, failed over once with a pause, accepted after 700 ms.
        let ms = Duration::from_millis;
        entry.attempts = vec![attempt("judge", "ok"), attempt("a", "timeout"), attempt("b", "ok")];
        entry.attempts[0].side_call = Some("judge".into());
        (entry.attempts[1].began, entry.attempts[1].waited) = (ms(103), ms(100));
        entry.waited = ms(690);
        entry.accepted = Some(ms(700));
    }));

    let text = metrics.render();
    let close_to =
        |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
    close_to(sum_of(&text, &STAGE_TIME, "stage=\"request\""), 0.003);
    close_to(sum_of(&text, &STAGE_TIME, "stage=\"attempts\""), 0.007);
    close_to(sum_of(&text, &OVERHEAD_TIME, "operation=\"chat\""), 0.010);
    assert!(has(&text, "uni_api_retried_requests_total{result=\"ok\"} 1"), "{text}");
}

#[test]
fn the_time_per_token_is_that_behind_the_first_one() {
    let metrics = Metrics::new();

    // Five tokens: four of them in the 1249.9 ms behind the first.
    metrics.close(&closed(|_| {}));
    metrics.close(&closed(|entry| entry.stream = false));

    let labels =
        "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-4o\"";
    let sum = sum_of(&metrics.render(), &GENAI_PER_TOKEN, labels);
    assert!((sum - 0.312_475).abs() < 1e-9, "{sum}");
}

#[test]
fn a_refused_request_counts_by_its_reason_and_one_that_was_tried_does_not() {
    let metrics = Metrics::new();

    metrics.close(&closed(|entry| {
        entry.attempts.clear();
        entry.failure = Some("rate_limited");
    }));
    metrics.close(&closed(|entry| entry.failure = Some("timeout")));

    let text = metrics.render();
    let counted: Vec<_> =
        text.lines().filter(|line| line.starts_with("uni_api_refused_requests_total{")).collect();
    assert_eq!(counted, ["uni_api_refused_requests_total{reason=\"rate_limited\"} 1"]);
}

#[test]
fn a_source_that_cannot_be_read_is_told_apart_from_a_broken_one() {
    let metrics = Metrics::new();
    metrics.reloaded(Reload::Loaded("good"));

    metrics.reloaded(Reload::Unreadable);

    let text = metrics.render();
    for line in [
        "uni_api_config_source_up 0",
        "uni_api_config_reload_success 0",
        "uni_api_config_reloads_total{result=\"unreadable\"} 1",
        "uni_api_config_info{hash=\"good\"} 1",
    ] {
        assert!(has(&text, line), "no {line} in {text}");
    }
}
