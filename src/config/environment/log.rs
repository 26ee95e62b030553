//! Reads what the environment says about the log.

use super::Reader;
use crate::config::problem::Severity;

impl Reader<'_> {
    /// Where the log goes; none means standard error. It is opened where the log is started.
    pub(super) fn log_file(&self) -> Option<String> {
        self.text("LOG_FILE").map(str::to_owned)
    }

    /// What says how the program logs. Its value is read where the log is started.
    pub(super) fn log(&mut self) {
        let is_known = |text: &&str| ["json", "text"].iter().any(|known| text.eq_ignore_ascii_case(known));
        if let Some(text) = self.text("LOG_FORMAT").filter(|text| !is_known(text)) {
            let accepted = "json or text; taken as unset: text in a terminal, JSON elsewhere";
            self.refuse(Severity::Warning, "LOG_FORMAT", text, accepted);
        }
        if let Some(text) = self.text("LOG_LEVEL") {
            let accepted = "nothing, it has no effect: DEBUG=true logs more, RUST_LOG=warn less";
            self.refuse(Severity::Warning, "LOG_LEVEL", text, accepted);
        }
    }
}
