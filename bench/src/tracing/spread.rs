//! Medians, and how far values lie apart.

/// A median, and half of the width of the middle half.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) half_width: f64,
}

/// Both.
pub(crate) fn spread(mut values: Vec<f64>) -> Spread {
    let median = median(&mut values);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Spread {
        median,
        half_width: (at(0.75) - at(0.25)) / 2.0,
    }
}

/// The median; it sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
