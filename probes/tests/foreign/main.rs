//! Programs that nobody here wrote, traced from their first instruction: every figure of the report must equal what the
//! program, or its peer, says it did.
//!
//! Needs root, raw tracepoints and Debian's nginx, python3, curl, haproxy and coreutils; without them a test is reported as
//! skipped.

mod coreutils;
mod curl;
mod haproxy;
mod harness;
#[path = "../trace/net.rs"]
mod net;
mod nginx;
mod python;
mod sums;
