//! The body of a client's request as it was received, and where in it the model is named.

use std::ops::Range;

use bytes::Bytes;

use crate::form::Form;

/// A request body.
#[derive(Clone, Debug)]
pub enum Body {
    /// One JSON object, whole.
    Json(Bytes),
    /// A form of several parts.
    Form(Form),
    /// None: everything is in path and query.
    Empty,
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(bytes) => bytes.len(),
            Self::Form(form) => form.len(),
            Self::Empty => 0,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The JSON object, if it is one.
    pub fn json(&self) -> Option<&Bytes> {
        match self {
            Self::Json(bytes) => Some(bytes),
            Self::Form(_) | Self::Empty => None,
        }
    }

    /// The bytes in the order in which they came, without a copy.
    pub fn to_chunks(&self) -> Vec<Bytes> {
        match self {
            Self::Json(bytes) => vec![bytes.clone()],
            Self::Form(form) => form.chunks().to_vec(),
            Self::Empty => Vec::new(),
        }
    }
}

/// The place in which a request names its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelPlace {
    /// The value of `model` in the JSON object, quotes included.
    Json(Range<usize>),
    /// A part of the form, by its position.
    Form(usize),
    /// A segment of the path.
    Path,
    /// Nowhere: the endpoint does without, or knows a default.
    Nowhere,
}
