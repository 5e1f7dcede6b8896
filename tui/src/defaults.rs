//! Default values that several subcommands share.

/// Rows of a report: what fits on one screen.
pub(crate) const REPORT_ROWS: usize = 30;

/// Rows of each list beside the flows, where the tracer has not already bounded it. The tracer uses
/// the same bound.
pub(crate) const LIST_ROWS: usize = 200;

/// File name of a recording.
pub(crate) const RECORDING_FILE: &str = "zctrace.zct";

/// Bytes that each path of the demo carries: large enough that no cache and no socket buffer hides
/// a copy, small enough for a run of a few seconds.
pub(crate) const DEMO_SIZE: u64 = 64 << 20;

/// How long `assert --wait` waits for the processes that a command leaves behind.
pub(crate) const WAIT: &str = "60s";
