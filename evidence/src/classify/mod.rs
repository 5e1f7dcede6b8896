//! Stage 2, second half: classification.
//!
//! A call takes spans from its source and delivers them to its sink. Each byte gets one outcome per
//! hop, by the rule in [`rule`].

pub(crate) mod rule;
pub(crate) mod sinks;
pub(crate) mod source;
