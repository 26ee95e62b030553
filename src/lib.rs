//! The uni-api gateway: assembly of the layers into one program.

pub mod routing;
pub mod state;
