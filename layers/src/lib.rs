//! The tower layers of uni-api, one concern per file.
//!
//! Read [`stage`] first: it says what flows. Then the layers, outermost first:
//!
//! | stage | layers |
//! |---|---|
//! | edge | [`request_id`], [`endpoint`], [`rescue`], [`host`], [`admission`], [`auth`], [`ingress`] |
//! | request | [`account`], [`rate_limit`], [`moderation`], [`pin`], [`resolve`], [`keepalive`], [`failover`] |
//! | attempt | [`observe`], [`cooldown`], [`lease`], [`timeout`], [`error_trigger`], [`convert`], [`overrides`], [`dispatch`] |
//!
//! `src/pipeline.rs` of the program composes them, with the reason for each place. This crate
//! knows neither YAML nor SQL nor TLS: policy arrives as values ([`policy`]), memory and I/O as
//! small traits ([`ports`]).

pub mod account;
pub mod address;
pub mod admission;
pub mod auth;
pub mod body;
pub mod capacity;
pub mod concurrent;
pub mod conversation;
pub mod convert;
pub mod cooldown;
pub mod credential;
pub mod decided_or;
pub mod dispatch;
pub mod endpoint;
pub mod error_trigger;
pub mod estimate;
pub mod failover;
pub mod failure;
mod forward;
pub mod hidden;
pub mod host;
pub mod ingress;
pub mod judge;
pub mod keepalive;
pub mod lease;
pub mod ledger;
pub mod moderation;
pub mod observe;
pub mod offload;
pub mod overrides;
pub mod pin;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod rate_limit;
pub mod reply;
pub mod request_id;
pub mod rescue;
pub mod resolve;
pub mod stage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod timeout;
pub mod trace_context;
pub mod visit;

pub use failure::Failure;
pub use reply::{Gateway, Reply, ReplyBody};
