//! Wire dialects of uni-api: intermediate form, codecs and framing, without I/O.
