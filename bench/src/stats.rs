//! Medians and quantiles of samples.

/// A median with half of the width of the middle half of the samples.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// Half of the distance between the lower and the upper quartile.
    pub half_width: f64,
}

/// Returns the median and spread of samples.
///
/// # Panics
///
/// If there are no samples.
#[must_use]
pub fn spread(mut samples: Vec<f64>) -> Spread {
    Spread {
        median: median(&mut samples),
        half_width: (quantile(&mut samples, 0.75) - quantile(&mut samples, 0.25)) / 2.0,
    }
}

/// Returns the median of samples, which it sorts.
///
/// # Panics
///
/// If there are no samples.
#[must_use]
pub fn median(samples: &mut [f64]) -> f64 {
    quantile(samples, 0.5)
}

/// Returns the value below which `share` of the samples lie, interpolated. Sorts the samples.
///
/// # Panics
///
/// If there are no samples.
#[must_use]
pub fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = share * (samples.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    samples[low] + (samples[high] - samples[low]) * at.fract()
}
