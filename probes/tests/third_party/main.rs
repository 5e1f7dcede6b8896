//! Third-party programs, traced from their first instruction: every figure of the report must equal
//! what the program, or its peer, reports.
//!
//! Needs root, raw tracepoints and Debian's nginx, python3, curl, haproxy and coreutils; otherwise
//! a test is reported as skipped.

mod coreutils;
mod curl;
mod haproxy;
mod harness;
#[path = "../end_to_end/network_namespace.rs"]
mod network_namespace;
mod nginx;
mod python;
mod totals;
