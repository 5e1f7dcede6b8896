//! How far the trace has come.

/// How far it has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The probes are being attached, or nothing was reported yet.
    Starting,
    /// It is watched.
    Live,
    /// Watching has ended, and the snapshot is the last. Why, as a sentence: `CMD ended with code 0`.
    Ended(String),
    /// Watching failed, and the snapshot is the last there was.
    Failed {
        /// Why, without a full stop.
        cause: String,
        /// What to do about it; may be empty.
        hint: String,
    },
}
