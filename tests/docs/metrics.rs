//! Keeps `docs/metrics.md` and the series of the program the same, and their names in the code known.

use std::collections::BTreeMap;
use std::path::Path;

use uni_api::telemetry::metrics::{SERIES, Series, SeriesType};

use crate::{between, read, root};

/// The rows of the page, by name: type, labels, unit.
fn told(page: &str) -> BTreeMap<&str, (&str, Vec<&str>, &str)> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let [name, kind, labels, unit, _what, _end] = cells[..] else { return None };
        Some((name.trim_end_matches('`'), (kind, labels.split('`').skip(1).step_by(2).collect(), unit)))
    });
    rows.collect()
}

fn kind(series: &Series) -> &'static str {
    match series.series_type {
        SeriesType::Counter => "counter",
        SeriesType::Gauge => "gauge",
        SeriesType::Histogram => "histogram",
    }
}

#[test]
fn every_series_is_on_the_page_with_its_type_and_labels_and_no_other_is() {
    let page = read("docs/metrics.md");
    let told = told(&page);

    for series in SERIES {
        let Some((of_page, labels, unit)) = told.get(series.name) else {
            panic!("{} is not on the page", series.name)
        };
        assert_eq!((*of_page, &**labels), (kind(series), series.labels), "{}", series.name);
        let by_name = [("_seconds", "seconds"), ("_bytes", "bytes"), ("_usd", "US dollars")];
        let by_name =
            by_name.iter().find(|(part, _)| series.name.contains(part)).map_or("", |(_, unit)| unit);
        assert_eq!(*unit, by_name, "{}", series.name);
    }
    assert_eq!(told.len(), SERIES.len(), "the page has series that the program has not");
}

/// The texts of source files below a folder.
fn sources(folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("the sources can be listed").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, texts);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            texts.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn every_name_of_a_series_in_the_code_is_one() {
    let mut texts = Vec::new();
    for folder in ["src", "layers/src", "tests/gateway"] {
        sources(&root().join(folder), &mut texts);
    }
    let mut found = 0;
    for (path, text) in &texts {
        for rest in between(text, "\"uni_api_", "\"") {
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
            let name = format!("uni_api_{}", &rest[..end]);
            let is_one = |series: &&Series| {
                name == "uni_api_"
                    || name == series.name
                    || ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|part| name == format!("{}{part}", series.name))
            };
            assert!(SERIES.iter().any(|series| is_one(&series)), "{name} in {path}");
            found += 1;
        }
    }
    assert!(found > 60, "{found}");
}
