//! The tower layers of uni-api, one concern per file.
