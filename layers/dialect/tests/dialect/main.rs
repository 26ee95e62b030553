//! What the crate promises, seen from outside: one binary, because each more is one more program to link.

mod agents;
mod caches;
mod cuts;
mod folds;
mod golden;
mod kit;
mod robustness;
mod streams;
mod vectors;
