//! Statistics shared by the benchmarks.

pub mod stats;
