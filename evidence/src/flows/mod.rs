//! Stage 3: flows, edges and certificates, and the report made of them.

pub(crate) mod certificates;
pub(crate) mod counters;
pub(crate) mod deliveries;
pub(crate) mod digest;
pub(crate) mod digest_flows;
pub(crate) mod edges;
pub(crate) mod flow_stats;
pub(crate) mod io_counters;
mod io_uring;
mod other_calls;
mod report;
pub(crate) mod report_flows;
pub(crate) mod socket_peeks;
pub(crate) mod stations;
pub(crate) mod unseen_senders;
pub(crate) mod zerocopy;
