//! The uni-api gateway: assembly of the layers into one program.
//!
//! In reading order: [`pipeline`] is the list of layers; [`config`] turns `api.yaml` into what
//! runs; [`gate`] holds the current configuration; [`routing`] decides who is next and [`state`]
//! remembers what must outlive a configuration; [`recall`] gives it back after a restart, [`allowance`] says what a key may still have; [`providers`] and [`upstream`] reach the upstreams;
//! [`accounting`] and [`telemetry`] keep the books; [`server`] listens, [`admin`] answers
//! everything that is not a model's business, [`explain`] says why a request goes where it goes; [`edge`] and [`lifecycle`] frame it, and [`app`] is the
//! life of the whole.

pub mod accounting;
pub mod admin;
pub mod allowance;
pub mod app;
pub mod config;
pub mod discovery;
pub mod edge;
pub mod explain;
pub mod gate;
pub mod lifecycle;
pub mod pipeline;
pub mod providers;
pub mod publisher;
pub mod recall;
pub mod routing;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod upstream;
