//! The orders in which channels and keys are tried.

/// Order in which the members of a client key's route are tried: `SCHEDULING_ALGORITHM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// Always from the head of the rules.
    #[default]
    FixedPriority,
    /// In turn.
    RoundRobin,
    /// In turn, interleaved, as often as the weights say.
    WeightedRoundRobin,
    /// A draw by weight per request.
    Lottery,
    /// An even draw per request.
    Random,
    /// Meant for provider keys; among channels the same as [`Algorithm::WeightedRoundRobin`].
    SmartRoundRobin,
}

/// Order in which the keys of a channel are used: `api_key_schedule_algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// One after the other.
    #[default]
    RoundRobin,
    /// A fresh draw per request.
    Random,
    /// Always the first usable one.
    FixedPriority,
    /// In turn, in an order that follows their success over the last 72 hours.
    SmartRoundRobin,
}

// === impl Algorithm ===

impl Algorithm {
    /// The word for it in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::FixedPriority => "fixed_priority",
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Lottery => "lottery",
            Self::Random => "random",
            Self::SmartRoundRobin => "smart_round_robin",
        }
    }
}
