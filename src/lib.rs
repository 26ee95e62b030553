//! The uni-api gateway: assembly of the layers into one program.
