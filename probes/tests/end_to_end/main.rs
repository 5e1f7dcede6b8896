//! End-to-end traces on this kernel: real calls of this process and its children, and the resulting
//! reports.
//!
//! Needs root and raw tracepoints; otherwise each test is reported as skipped.

mod attack_calls;
mod attack_compat;
mod attack_forged;
mod attack_identity;
mod attack_loss;
mod attack_pipes;
mod attack_process;
mod attack_tcp;
mod cases;
mod child;
mod digests;
mod direct_fallback;
mod fixtures;
mod harness;
mod initial_state;
mod injected_copies;
mod journal;
mod journal_children;
mod least_privilege;
mod mounts;
mod network_namespace;
mod oracle;
mod other_calls;
mod paths_disk;
mod paths_file;
mod paths_tcp;
mod paths_unix;
mod rate;
mod socket_peeks;
mod uring;
mod uring_requests;
mod wire;
mod zerocopy_completions;
