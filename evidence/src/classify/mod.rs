//! Stage 2b: classification.

pub(crate) mod rule;
pub(crate) mod sinks;
pub(crate) mod source;
