//! Third-party programs, traced from their first instruction: every figure of the report must equal
//! what the program, or its peer, reports.
//!
//! Needs root, raw tracepoints and the Debian packages that `.ci/run` installs
//! (`install_foreign_programs`); otherwise a test is reported as skipped.

mod coreutils;
mod curl;
mod filesystems;
mod fio;
mod fuse;
mod go;
mod haproxy;
mod harness;
mod mounted;
mod mptcp;
#[path = "../end_to_end/network_namespace.rs"]
mod network_namespace;
mod nginx;
mod pv;
mod python;
mod totals;
mod uring;
