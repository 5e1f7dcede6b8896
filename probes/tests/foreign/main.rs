//! Third-party programs, traced from their first instruction: every figure of the report must equal
//! what the program, or its peer, reports.
//!
//! Needs root, raw tracepoints and Debian's nginx, python3, curl, haproxy and coreutils; otherwise
//! a test is reported as skipped.

mod coreutils;
mod curl;
mod haproxy;
mod harness;
#[path = "../trace/net.rs"]
mod net;
mod nginx;
mod python;
mod sums;
