//! The uni-api gateway: assembly of the layers into one program.
//!
//! In reading order: [`app`] is the life of the whole and [`pipeline`] the list of layers.
//! [`snapshot`] is the configuration that is served, made from what [`config`] reads; [`routing`]
//! decides who is next and [`state`] remembers what must outlive a configuration. [`allowance`]
//! says what a key may still have and [`recall`] gives it back after a restart. [`providers`] and
//! [`upstream`] reach the upstreams; [`accounting`] keeps the books and [`telemetry`] shows them.
//! [`server`] listens, [`admin`] answers everything that is not a model's business, [`explain`]
//! says why a request goes where it goes and [`doctor`] whether it would arrive there; [`edge`] and
//! [`lifecycle`] frame it.
//!
//! Imports run downwards only, from floor to floor; `tests/docs/readme.rs` holds the folders to it:
//!
//! | floor | modules |
//! |---|---|
//! | 11 | `app` |
//! | 10 | `server`, `doctor` |
//! | 9 | `pipeline` |
//! | 8 | `edge` |
//! | 7 | `admin`, `check` |
//! | 6 | `explain`, `init`, `allowance`, `recall` |
//! | 5 | `snapshot` |
//! | 4 | `routing`, `accounting`, `upstream` |
//! | 3 | `config`, `state`, `telemetry` |
//! | 2 | `providers` |
//! | 1 | `values`, `engine`, `lifecycle`, `cli` |

pub mod accounting;
pub mod admin;
pub mod allowance;
pub mod app;
pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod edge;
pub mod engine;
pub mod explain;
pub mod init;
pub mod lifecycle;
pub mod pipeline;
pub mod providers;
pub mod recall;
pub mod routing;
pub mod server;
pub mod snapshot;
pub mod state;
pub mod telemetry;
pub mod upstream;
pub mod values;
