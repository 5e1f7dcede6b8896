//! Stage 3: flows and report.

pub(crate) mod digest;
pub(crate) mod digest_flows;
pub(crate) mod edges;
pub(crate) mod flow_stats;
pub(crate) mod io_counters;
pub(crate) mod zerocopy;
