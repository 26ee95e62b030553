//! Keeps `docs/traces.md` complete: every variable that is read, every attribute that is sent.

use crate::{between, read};

#[test]
fn every_variable_about_traces_is_on_the_page() {
    let (page, source) = (read("docs/traces.md"), read("src/config/environment/traces.rs"));
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let whole: Vec<&str> = code.split('"').filter(|text| text.starts_with("OTEL_")).collect();
    assert!(whole.len() > 8, "{whole:?}");
    let parts =
        between(code, "of_traces(\"", "\"").into_iter().map(|part| format!("OTEL_EXPORTER_OTLP_{part}"));
    let names: Vec<String> = whole.iter().map(|name| (*name).to_owned()).chain(parts).collect();

    for name in names.iter().filter(|name| !name.ends_with('_')) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained");
    }
}

#[test]
fn every_attribute_of_our_own_is_on_the_page() {
    let (page, source) = (read("docs/traces.md"), read("src/telemetry/traces/tree.rs"));
    let own = between(&source, "\"uni_api.", "\"");
    assert!(own.len() > 10, "{own:?}");

    for name in own {
        assert!(page.contains(&format!("`uni_api.{name}`")), "uni_api.{name} is not explained");
    }
}
