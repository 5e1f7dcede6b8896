//! Phases of a trace.

/// Phase of the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Probes are being attached, or no report exists yet.
    Starting,
    /// Tracing.
    Live,
    /// Tracing has ended and the snapshot is the last one. The reason as a sentence: `CMD ended
    /// with code 0`.
    Ended(String),
    /// Tracing failed; the snapshot is the last one.
    Failed {
        /// Cause, without a full stop.
        cause: String,
        /// Hint for the user; may be empty.
        hint: String,
    },
}
