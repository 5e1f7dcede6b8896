//! The table that the paired runs print.

use std::time::Duration;

use zctrace_bench::stats::quantile;

use crate::contenders::Contender;
use crate::paths::Path;

/// Prints the head of the table.
pub(crate) fn head() {
    println!(
        "{:<10} {:>6}  {:<24} {:>9} {:>9}  {:>6}  {:<15} {:<15}",
        "path", "chunk", "A / B", "A us/MiB", "B us/MiB", "ratio", "95 % within", "middle half"
    );
}

/// Prints one row: the medians of both contenders, and of the ratios of the pairs.
pub(crate) fn row(path: Path, chunk: u64, a: Contender, b: Contender, bytes: u64, pairs: &[(Duration, Duration)]) {
    let per_mib = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (bytes as f64 / f64::from(1 << 20));
    let mut ones: Vec<f64> = pairs.iter().map(|pair| per_mib(pair.0)).collect();
    let mut twos: Vec<f64> = pairs.iter().map(|pair| per_mib(pair.1)).collect();
    let mut ratios: Vec<f64> = pairs
        .iter()
        .map(|(one, two)| one.as_secs_f64() / two.as_secs_f64())
        .collect();
    // The median of n samples lies between the order statistics n/2 -+ 0.98 sqrt(n) with 95 %
    // certainty, for any distribution (binomial, normal approximation).
    let off = (0.98 / (ratios.len() as f64).sqrt()).min(0.5);
    let mut at = |share| quantile(&mut ratios, share);
    println!(
        "{:<10} {:>6}  {:<24} {:>9.1} {:>9.1}  {:>6.3}  {:<15} {:<15}",
        path.name(),
        size(chunk),
        format!("{} / {}", a.name(), b.name()),
        quantile(&mut ones, 0.5),
        quantile(&mut twos, 0.5),
        at(0.5),
        format!("{:.3} - {:.3}", at(0.5 - off), at(0.5 + off)),
        format!("{:.3} - {:.3}", at(0.25), at(0.75)),
    );
}

fn size(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}
