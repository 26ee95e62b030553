//! The rules of a client key, as its `model` list writes them.

use std::sync::Arc;

/// Levels of client keys that name each other; a configuration with more is refused.
pub const DEEPEST: usize = 64;

/// One entry of a client key's `model` list, with the names in it resolved to positions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What it admits.
    pub matcher: RuleMatch,
    /// Its weight, if it has one; positive.
    pub weight: Option<u32>,
}

/// Models and channels that a rule admits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RuleMatch {
    /// `all`: every model of every channel.
    All,
    /// `name` or `<na/me>`: this model on every channel that has it.
    Model(Arc<str>),
    /// `channel/*`: every model of the channels at these positions; several for duplicate names,
    /// none for an absent one.
    ChannelAll(Arc<[usize]>),
    /// `channel/name`: this model on the channels at these positions.
    ChannelModel(Arc<[usize]>, Arc<str>),
    /// `sk-…/*`: whatever the client key at this position may use.
    NestedAll(usize),
    /// `sk-…/name`: this model as the client key at this position may use it.
    NestedModel(usize, Arc<str>),
}
