//! What all targets share: functions of the tests, which drive them too.

#![allow(dead_code)] // Each target uses one of the functions.

#[path = "../../layers/dialect/tests/dialect/bodies.rs"]
mod bodies;
#[path = "../../layers/dialect/tests/dialect/targets.rs"]
pub mod targets;
#[path = "../../layers/dialect/tests/dialect/upstreams.rs"]
mod upstreams;
