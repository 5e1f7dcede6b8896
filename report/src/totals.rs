//! Totals over flows, and the share of each outcome in the delivered payload.

use serde::{Deserialize, Serialize};

use super::account::Account;

/// Sums over flows. Each byte counts once, at the last station of its flow. Unit: bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Totals {
    /// Number of bytes: `moved + copied + unknown + excluded`.
    pub payload: u64,
    /// Outcome of the bytes.
    #[serde(flatten)]
    pub account: Account,
}

impl Totals {
    /// Returns the share of each outcome in the delivered payload; `None` if no payload was
    /// delivered.
    pub fn share(&self) -> Option<Share> {
        Share::of(&self.account)
    }

    pub(crate) fn add(&mut self, payload: u64, account: &Account) {
        self.payload = self.payload.saturating_add(payload);
        self.account += account;
    }
}

/// Fractions of the delivered payload (`moved + copied + unknown`, without `excluded`).
///
/// The fractions are between 0 and 1, and add up to 1. A fraction is 1 only if it covers every
/// byte, and 0 only if it covers none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Share {
    /// Fraction that was proven to have moved.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub moved: f64,
    /// Fraction that was proven to have been copied.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub copied: f64,
    /// Fraction for which neither was proven.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub unknown: f64,
}

impl Share {
    /// Computes the share of an account. Returns `None` if no payload was delivered, because a
    /// share of nothing is neither 0 % nor 100 %.
    ///
    /// ```
    /// use zctrace_report::{Account, Share};
    /// assert_eq!(Share::of(&Account::default()), None);
    /// assert_eq!(Share::of(&Account::new(3, 1, 0)).unwrap().moved, 0.75);
    /// ```
    pub fn of(account: &Account) -> Option<Self> {
        let arrived = account.delivered();
        (arrived > 0).then(|| Self {
            moved: fraction(account.moved, arrived),
            copied: fraction(account.copied, arrived),
            unknown: fraction(account.unknown, arrived),
        })
    }
}

/// Computes `part / whole`, where rounding never turns less than the whole into 1. `whole` is not
/// 0.
fn fraction(part: u64, whole: u64) -> f64 {
    let quotient = part as f64 / whole as f64;
    if part < whole {
        // The upper bound is the largest number below 1, so that one byte in 2^60 remains visible.
        quotient.min(1.0 - f64::EPSILON / 2.0)
    } else {
        quotient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copied_byte_in_an_exbibyte_keeps_the_share_below_one() {
        let share = Share::of(&Account::new((1 << 60) - 1, 1, 0)).unwrap();
        assert!(share.moved < 1.0 && share.copied > 0.0);
        let all = Share::of(&Account::new(1 << 60, 0, 0)).unwrap();
        assert!(all.moved >= 1.0);
    }

    #[test]
    fn excluded_is_not_part_of_the_whole() {
        let mut account = Account::new(1, 1, 0);
        account.excluded.zero = 1_000_000;
        assert!((Share::of(&account).unwrap().moved - 0.5).abs() < f64::EPSILON);
        account = Account::default();
        account.excluded.discarded = 5;
        assert_eq!(Share::of(&account), None);
    }
}
