//! `cargo xtask bench`: parts by criterion, whole paths by paired runs, then the cost and the
//! latencies of tracing.

use std::path::Path;

use crate::{Outcome, repo};

/// Arguments of cargo, one benchmark per row.
const BENCHMARKS: [&[&str]; 4] = [
    &["bench", "--package", "zctrace-bench"],
    &["run", "--release", "--package", "zctrace-bench"],
    &["run", "--release", "--package", "zctrace-bench", "--bin", "tracing"],
    &["run", "--release", "--package", "zctrace-bench", "--bin", "latency"],
];

pub(crate) fn run(root: &Path) -> Outcome {
    BENCHMARKS
        .iter()
        .try_for_each(|arguments| repo::cargo(root, &[], arguments))
}
