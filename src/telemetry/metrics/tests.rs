use metrics::Unit;

use super::*;
use crate::values::Price;
use crate::values::testing::entry;

fn closed(change: impl FnOnce(&mut layers::ledger::Entry)) -> Closed {
    let mut entry = entry("gpt-4o");
    change(&mut entry);
    Closed::new(entry, Price::flat(1_000_000, 2_000_000))
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn every_declared_series_is_rendered_under_its_name_with_its_help_and_kind() {
    let metrics = Metrics::new();
    metrics.close(&closed(|_| {}));
    metrics.meters("main", "gpt-4o").attempt("ok", Duration::from_millis(3));
    metrics.reloaded(Some("abc"));
    metrics.observe_capacity(&Capacity::new(1, 1));
    for series in [&LEDGER_QUEUE, &LEDGER_UP] {
        metrics.observe(series, || 1.0);
    }
    for series in [&LEDGER_DROPPED, &LEDGER_WRITTEN, &LOG_DROPPED] {
        metrics.observe_total(series, || 1);
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
        assert_eq!(series.unit == Unit::Seconds, name.ends_with("_seconds"), "{name}");
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

    let line = "uni_api_attempts_total{channel=\"main\",model=\"gpt-4o\",outcome=\"other\"} 1";
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
    metrics.reloaded(Some("good"));

    metrics.reloaded(None);

    let text = metrics.render();
    assert!(has(&text, "uni_api_config_reload_success 0"));
    assert!(has(&text, "uni_api_config_info{hash=\"good\"} 1"));
}

#[test]
fn label_values_are_escaped() {
    assert_eq!(Escaped("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
}
