//! What watching cost, measured; and what copying cost, estimated.

use serde::{Deserialize, Serialize};

/// Costs of the run. Times are nanoseconds of CPU unless they say otherwise.
#[derive(Clone, Default, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Overhead {
    /// CPU time of zctrace itself, the reader included, in nanoseconds.
    #[serde(default)]
    pub own_cpu_ns: u64,
    /// CPU time of the thread that reads records, in nanoseconds. Part of `own_cpu_ns`.
    #[serde(default)]
    pub reader_cpu_ns: u64,
    /// Run time of the programs in the kernel, in nanoseconds; absent if the kernel did not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_programs_ns: Option<u64>,
    /// Added to every system call of every process while watching, in nanoseconds, as measured on this machine before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_syscall_ns: Option<f64>,
    /// Records read.
    #[serde(default)]
    pub records: u64,
    /// Bytes of records read.
    #[serde(default)]
    pub record_bytes: u64,
    /// Whether a cap was reached and watching fell back to counters; from then on nothing could be shown to have moved.
    #[serde(default)]
    pub fell_back_to_counters: bool,
    /// **Estimate** of the CPU time that copying took, in nanoseconds: bytes copied, divided by the rate below. Absent if no
    /// rate was measured here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying_ns_estimate: Option<u64>,
    /// The rate that the estimate rests on, in bytes per second, as `zctrace calibrate` measured it on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_bytes_per_second: Option<u64>,
}

impl Overhead {
    /// Sets the estimate of what copying `bytes` cost, from a measured rate. A rate of 0 gives none.
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
