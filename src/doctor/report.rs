//! The report: a table of the channels, what was found, and whether that is well.

use std::fmt::{self, Write as _};

use super::channel::{Examined, State};
use crate::config::problem::count;
use crate::config::{Settings, Severity};
use crate::explain::columns;

/// A clock that is so many seconds wrong spoils signatures and tokens.
const MOST_SKEW: u64 = 30;

/// A fact that a person should know.
#[derive(Debug)]
pub(super) struct Finding {
    severity: Severity,
    about: String,
    /// What it is.
    pub(super) told: String,
}

/// All that was found.
pub(super) struct Report {
    source: String,
    rows: Vec<[String; 8]>,
    findings: Vec<Finding>,
    /// What the gateway behind a URL did.
    gateway: Vec<String>,
    clock: Option<String>,
    hint: bool,
    channels: (usize, usize),
}

// === impl Finding ===

impl Finding {
    pub(super) fn new(severity: Severity, about: &str, told: String) -> Self {
        Self { severity, about: about.to_owned(), told }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        write!(f, "{severity}: {}: {}", self.about, self.told)
    }
}

// === impl Report ===

impl Report {
    /// About the configuration from this source.
    pub(super) fn of(source: String) -> Self {
        Self {
            source,
            rows: Vec::new(),
            findings: Vec::new(),
            gateway: Vec::new(),
            clock: None,
            hint: false,
            channels: (0, 0),
        }
    }

    /// One finding more.
    pub(super) fn tell(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// One line more about the gateway behind a URL.
    pub(super) fn tell_gateway(&mut self, line: String) {
        self.gateway.push(line);
    }

    /// The channels, with what was found of each.
    pub(super) fn tell_channels(&mut self, settings: &Settings, examined: &[Examined], paid: bool) {
        let answer = if paid { "ANSWER" } else { "" };
        let titles = ["CHANNEL", "ENGINE", "STATE", "TOOK", "KEYS", "MODELS", "ASKED AT", answer];
        self.rows = vec![titles.map(str::to_owned)];
        self.rows.extend(examined.iter().map(|one| row(settings, one)));
        self.channels = (examined.iter().filter(|one| one.state != State::Failing).count(), examined.len());
        self.hint = !paid && examined.iter().any(|one| one.state == State::Reached);
        self.tell_clock(examined);
    }

    /// What the clocks of the others say of this machine's. The nearest is believed: they may be wrong, too.
    fn tell_clock(&mut self, examined: &[Examined]) {
        let clocks = examined.iter().filter_map(|one| one.clock.as_ref());
        let Some((ahead, whose)) = clocks.min_by_key(|(ahead, _)| ahead.unsigned_abs()) else { return };
        let off = ahead.unsigned_abs();
        if off > MOST_SKEW {
            let direction = if *ahead > 0 { "before" } else { "behind" };
            let told =
                format!("it is {off} s {direction} that of {whose}; signatures and tokens will be refused");
            self.tell(Finding::new(Severity::Error, "this machine's clock", told));
        } else {
            self.clock = Some(format!("This machine's clock is within {} s of that of {whose}.", off.max(1)));
        }
    }

    /// What to print, and the exit code.
    pub(super) fn render(mut self) -> (String, i32) {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if self.rows.len() > 1 {
            let _ = columns(&mut text, &self.rows);
        }
        if !self.gateway.is_empty() {
            let _ = write!(text, "\n{}\n", self.gateway.join("\n"));
        }
        // What weighs most comes last, next to the sum.
        self.findings.sort_by_key(|finding| finding.severity);
        let mut told: Vec<String> = self.findings.iter().map(ToString::to_string).collect();
        told.extend(self.clock);
        if self.hint {
            told.push(
                "Nothing was asked that costs money; --paid has each channel answer a short question."
                    .to_owned(),
            );
        }
        if !told.is_empty() {
            let _ = write!(text, "\n{}\n", told.join("\n"));
        }
        let of = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let (well, all) = self.channels;
        let counted: Vec<String> = [(errors, "error"), (warnings, "warning")]
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, noun)| count(number, noun))
            .collect();
        let sum = if counted.is_empty() { "ok".to_owned() } else { counted.join(", ") };
        let _ = writeln!(text, "{}: {sum} ({well} of {} well)", self.source, count(all, "channel"));
        (text, i32::from(errors > 0))
    }
}

fn row(settings: &Settings, one: &Examined) -> [String; 8] {
    let channel = &settings.channels[one.at];
    let state = match one.state {
        State::Fine => "ok",
        State::Reached => "reached",
        State::Inside => "inside",
        State::Failing => "failing",
    };
    let none = || "-".to_owned();
    let took = one.took.map_or_else(none, |took| format!("{} ms", took.as_millis()));
    let keys = one.keys.map_or_else(none, |(good, all)| format!("{good}/{all}"));
    let models = match one.models.len() {
        0 => none(),
        count if one.is_whole => count.to_string(),
        count => format!("{count}+"),
    };
    let way = channel.proxy.as_ref().map(|proxy| match proxy.expose().parse::<http::Uri>() {
        Ok(proxy) => format!(" through {}", layers::address::bare(&proxy).trim_end_matches('/')),
        Err(_invalid) => " through a proxy".to_owned(),
    });
    let url = if one.url.is_empty() { none() } else { one.url.clone() };
    let asked_at = url + way.as_deref().unwrap_or_default();
    [
        channel.name.to_string(),
        channel.engine.name().to_owned(),
        state.to_owned(),
        took,
        keys,
        models,
        asked_at,
        one.answer.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(clocks: &[i64]) -> Report {
        let examined: Vec<Examined> = clocks
            .iter()
            .enumerate()
            .map(|(at, ahead)| Examined {
                at,
                state: State::Fine,
                took: None,
                keys: None,
                models: Vec::new(),
                is_whole: true,
                url: String::new(),
                clock: Some((*ahead, format!("{at}.test"))),
                answer: String::new(),
                findings: Vec::new(),
            })
            .collect();
        let channels: Vec<String> =
            (0..clocks.len()).map(|at| format!("{{provider: c{at}, engine: mock, model: [m]}}")).collect();
        let text = format!("providers: [{}]\napi_keys: [{{api: sk-1}}]\n", channels.join(", "));
        let mut report = Report::of("a.yaml".to_owned());
        report.tell_channels(&crate::config::testing::settings(&text), &examined, false);
        report
    }

    #[test]
    fn the_clock_is_wrong_when_all_others_say_so() {
        let (text, code) = with(&[120, 95]).render();
        assert!(code == 1 && text.contains("it is 95 s before that of 1.test"), "{text}");
        let (text, code) = with(&[-40]).render();
        assert!(code == 1 && text.contains("it is 40 s behind"), "{text}");
        let (text, code) = with(&[300, 2]).render();
        assert!(code == 0 && text.contains("within 2 s of that of 1.test"), "{text}");
    }

    #[test]
    fn only_errors_fail_and_they_come_last() {
        let mut report = with(&[0]);
        report.tell(Finding::new(Severity::Error, "b", "broken".to_owned()));
        report.tell(Finding::new(Severity::Note, "a", "odd".to_owned()));
        let (text, code) = report.render();
        assert_eq!(code, 1);
        assert!(text.find("note: a: odd") < text.find("error: b: broken"), "{text}");
        assert!(text.ends_with("a.yaml: 1 error (1 of 1 channel well)\n"), "{text}");

        let mut report = with(&[0]);
        report.tell(Finding::new(Severity::Warning, "a", "odd".to_owned()));
        assert_eq!(report.render().1, 0);
    }
}
