//! Measured cost of tracing, and estimated cost of copying.

use serde::{Deserialize, Serialize};

/// Cost of the run. Times are nanoseconds of CPU time unless stated otherwise.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Overhead {
    /// CPU time of zctrace, including the reader thread, in nanoseconds.
    #[serde(default)]
    pub own_cpu_ns: u64,
    /// CPU time of the thread that reads records, in nanoseconds. It is part of `own_cpu_ns`.
    #[serde(default)]
    pub reader_cpu_ns: u64,
    /// Run time of the eBPF programs in the kernel, in nanoseconds; absent if the kernel did not
    /// count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_programs_ns: Option<u64>,
    /// Time that tracing adds to every system call of every process, in nanoseconds, as measured on
    /// this machine before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_syscall_ns: Option<f64>,
    /// Number of records read.
    #[serde(default)]
    pub records: u64,
    /// Number of bytes of the records read.
    #[serde(default)]
    pub record_bytes: u64,
    /// True if a limit was reached and tracing continued at level counters. From then on no byte
    /// can be proven to have moved.
    #[serde(default)]
    pub fell_back_to_counters: bool,
    /// **Estimate** of the CPU time of copying, in nanoseconds: the number of copied bytes divided
    /// by `copy_bytes_per_second`. Absent if no rate was measured on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying_ns_estimate: Option<u64>,
    /// Rate on which the estimate depends, in bytes per second, as measured on this machine. No
    /// command of this version measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_bytes_per_second: Option<u64>,
}

impl Overhead {
    /// Sets the estimated cost of copying `bytes` bytes from a measured rate. A rate of 0 removes
    /// the estimate.
    ///
    /// ```
    /// let mut cost = zctrace_report::Overhead::default();
    /// cost.estimate_copying(5 << 30, 10 << 30);
    /// assert_eq!(cost.copying_ns_estimate, Some(500_000_000));
    /// ```
    pub fn estimate_copying(&mut self, bytes: u64, bytes_per_second: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000;
        self.copying_ns_estimate = nanoseconds
            .checked_div(u128::from(bytes_per_second))
            .map(|ns| u64::try_from(ns).unwrap_or(u64::MAX));
        self.copy_bytes_per_second = self.copying_ns_estimate.map(|_| bytes_per_second);
    }
}
