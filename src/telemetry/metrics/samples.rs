//! Writes samples whose labels come and go, which the recorder would keep for ever.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::series::{Series, SeriesType};

/// The text of a scrape, as whoever adds to it sees it.
pub struct Page<'a>(pub(super) &'a mut String);

impl Page<'_> {
    /// Writes samples of this series, all that there are.
    pub fn of<'p>(&'p mut self, series: &'p Series) -> Samples<'p> {
        Samples { text: self.0, series, has_head: false }
    }
}

/// A writer of the samples of one series.
pub struct Samples<'a> {
    text: &'a mut String,
    series: &'a Series,
    /// Whether help and type are written.
    has_head: bool,
}

impl Samples<'_> {
    /// Writes the sample with these values of the series' labels, in their order. Each set may come once.
    pub fn add(&mut self, labels: &[&str], value: f64) {
        let Series { name, help, labels: names, series_type, .. } = *self.series;
        debug_assert_eq!(names.len(), labels.len(), "{name}");
        if !std::mem::replace(&mut self.has_head, true) {
            let kind = match series_type {
                SeriesType::Counter => "counter",
                SeriesType::Gauge => "gauge",
                SeriesType::Histogram => "histogram",
            };
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.text.push_str(name);
        for (n, (label, text)) in names.iter().zip(labels).enumerate() {
            let before = if n == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", Escaped(text));
        }
        let after = if names.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

/// A label value as the text format wants it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{COST, SPANS_WAITING};

    #[test]
    fn samples_of_one_series_have_one_head_and_escaped_values() {
        let mut text = String::new();

        let mut page = Page(&mut text);
        let mut samples = page.of(&COST);
        samples.add(&["chat", "a\"b\\c\nd"], 0.5);
        samples.add(&["chat", "e"], 2.0);
        page.of(&SPANS_WAITING).add(&[], 3.0);

        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"uni_api_cost_usd_total{operation="chat",model="a\"b\\c\nd"} 0.5"#,
                r#"uni_api_cost_usd_total{operation="chat",model="e"} 2"#,
                "uni_api_spans_waiting 3",
            ]
        );
        assert_eq!(text.matches("# TYPE uni_api_cost_usd_total counter").count(), 1);
    }

    #[test]
    fn a_series_without_samples_leaves_no_head() {
        let mut text = String::new();
        let _ = Page(&mut text).of(&COST);
        assert_eq!(text, "");
    }
}
