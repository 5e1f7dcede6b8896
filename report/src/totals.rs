//! The headline: totals over flows, and the share of what arrived that was moved.

use serde::{Deserialize, Serialize};

use super::account::Account;

/// Sums over flows, each byte counted once, at the last station of its flow. Unit: bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Totals {
    /// All bytes: `moved + copied + unknown + excluded`.
    pub payload: u64,
    /// What became of them.
    #[serde(flatten)]
    pub account: Account,
}

impl Totals {
    /// The share of what arrived; `None` if nothing did.
    pub fn share(&self) -> Option<Share> {
        Share::of(&self.account)
    }

    pub(crate) fn add(&mut self, payload: u64, account: &Account) {
        self.payload = self.payload.saturating_add(payload);
        self.account += account;
    }
}

/// Parts of the payload that arrived (`moved + copied + unknown`; `excluded` did not arrive). Unit: fractions from 0 to 1,
/// which together make 1. 1 is said only of all, 0 only of none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Share {
    /// The part that was shown to have moved.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub moved: f64,
    /// The part that was shown to have been copied.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub copied: f64,
    /// The part of which nothing was shown.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    pub unknown: f64,
}

impl Share {
    /// The share of an account. `None` where nothing arrived: a share of nothing is neither 0 % nor 100 %.
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

/// `part / whole`, where rounding never turns "nearly all" into all. `whole` is not 0.
fn fraction(part: u64, whole: u64) -> f64 {
    let quotient = part as f64 / whole as f64;
    if part < whole {
        // The largest number below 1: one byte in 2^60 is still a byte.
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
