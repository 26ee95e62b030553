//! The window that refuses a request, and how a client is told of it.

use std::fmt;
use std::time::Duration;

/// The window that a request ran into, as the refusal's headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Requests per window.
    pub limit: u64,
    /// The length of the window.
    pub period: Duration,
    /// Whose window it is.
    pub whose: Whose,
    /// Until the next request would be admitted.
    pub reset: Duration,
}

/// The party whose window is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The client key's.
    Key,
    /// A nested key's, which leads to channels of the client key.
    Group,
    /// That of all clients together.
    Gateway,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const PERIODS: [(u64, &str); 6] = [
            (1, "second"),
            (60, "minute"),
            (3600, "hour"),
            (24 * 3600, "day"),
            (30 * 24 * 3600, "month"),
            (365 * 24 * 3600, "year"),
        ];
        let period = self.period.as_secs();
        write!(f, "{} per ", self.limit)?;
        match PERIODS.iter().find(|(seconds, _)| *seconds == period) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "{period} s")?,
        }
        f.write_str(match self.whose {
            Whose::Key => " of this key",
            Whose::Group => " of a group of this key",
            Whose::Gateway => " of all keys together",
        })?;
        write!(f, "; again in {} s", self.reset.as_secs_f64().ceil())
    }
}
