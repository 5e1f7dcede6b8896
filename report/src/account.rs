//! Partition of a number of bytes into moved, copied, unknown and excluded, and the verdict that
//! follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Partition of a number of bytes by outcome. Unit: bytes.
///
/// `moved + copied + unknown + excluded` always equals the number of bytes. All four parts must be
/// present in JSON, because reading a missing part as 0 would be a claim that no observation
/// supports.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Account {
    /// Bytes that were proven to be delivered by page reference or device DMA.
    pub moved: u64,
    /// Bytes for which a witness proves at least one copy.
    pub copied: u64,
    /// Bytes for which neither a move nor a copy was proven. They count neither as moved nor as
    /// copied.
    pub unknown: u64,
    /// Bytes of the calls that carried no payload.
    pub excluded: Excluded,
}

/// Bytes without payload, by cause. Unit of every member, including those of newer versions: bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Excluded {
    /// Bytes from holes of files and from the kernel's zero page.
    #[serde(default)]
    pub zero: u64,
    /// Bytes of reflinks and of copies made by a file server. The sink refers to the source's
    /// blocks.
    #[serde(default)]
    pub cloned: u64,
    /// Bytes that were written to `/dev/null` or dropped.
    #[serde(default)]
    pub discarded: u64,
    /// Bytes by a cause that a newer version defines. They count in sums.
    #[serde(flatten)]
    pub other: BTreeMap<String, u64>,
}

impl Excluded {
    /// Returns the sum of all causes, in bytes.
    pub fn total(&self) -> u64 {
        u64::try_from(self.sum()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sum(&self) -> u128 {
        let known = [self.zero, self.cloned, self.discarded];
        known.iter().chain(self.other.values()).map(|&n| u128::from(n)).sum()
    }
}

impl AddAssign<&Self> for Excluded {
    fn add_assign(&mut self, more: &Self) {
        self.zero = self.zero.saturating_add(more.zero);
        self.cloned = self.cloned.saturating_add(more.cloned);
        self.discarded = self.discarded.saturating_add(more.discarded);
        for (cause, bytes) in &more.other {
            let sum = self.other.entry(cause.clone()).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }
}

impl Account {
    /// Creates an account without excluded bytes.
    ///
    /// ```
    /// use zctrace_report::{Account, Verdict};
    /// assert_eq!(Account::new(4096, 0, 0).verdict(), Verdict::Moved);
    /// assert_eq!(Account::new(4096, 0, 1).verdict(), Verdict::Mixed);
    /// ```
    pub fn new(moved: u64, copied: u64, unknown: u64) -> Self {
        Self {
            moved,
            copied,
            unknown,
            excluded: Excluded::default(),
        }
    }

    /// Returns the sum of all four parts, in bytes.
    pub fn total(&self) -> u64 {
        u64::try_from(self.sum()).unwrap_or(u64::MAX)
    }

    /// Returns the delivered bytes: all parts except `excluded`. Shares are fractions of this
    /// number.
    pub fn delivered(&self) -> u64 {
        self.moved.saturating_add(self.copied).saturating_add(self.unknown)
    }

    /// Returns the sum of all four parts. The type is wider than the parts, so that an overflow
    /// shows as a wrong sum instead of wrapping around to a plausible one.
    pub(crate) fn sum(&self) -> u128 {
        u128::from(self.moved) + u128::from(self.copied) + u128::from(self.unknown) + self.excluded.sum()
    }

    /// Returns the verdict on all bytes of the account.
    pub fn verdict(&self) -> Verdict {
        match (self.moved, self.copied, self.unknown) {
            (0, 0, 0) => Verdict::Nothing,
            (_, 0, 0) => Verdict::Moved,
            (0, _, 0) => Verdict::Copied,
            (0, 0, _) => Verdict::Unknown,
            _ => Verdict::Mixed,
        }
    }

    /// Returns the mark of a row, which shows without color which rows need attention.
    ///
    /// The mark is `x` if any byte was copied, else `?` if any is unknown, else `=` if any moved,
    /// else `-`.
    ///
    /// ```
    /// use zctrace_report::Account;
    /// assert_eq!(Account::new(1 << 30, 0, 1).mark(), '?');
    /// ```
    pub fn mark(&self) -> char {
        match (self.moved, self.copied, self.unknown) {
            (0, 0, 0) => '-',
            (_, 0, 0) => '=',
            (_, 0, _) => '?',
            _ => 'x',
        }
    }
}

impl AddAssign<&Self> for Account {
    /// Adds with saturation. `check` reports a saturated sum, because its parts no longer add up.
    fn add_assign(&mut self, more: &Self) {
        self.moved = self.moved.saturating_add(more.moved);
        self.copied = self.copied.saturating_add(more.copied);
        self.unknown = self.unknown.saturating_add(more.unknown);
        self.excluded += &more.excluded;
    }
}

/// Verdict on an account. It follows from the numbers, so a report does not store it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// At least one byte was delivered, and every delivered byte was proven to have moved.
    Moved,
    /// Every delivered byte was proven to have been copied.
    Copied,
    /// No delivered byte was proven to have moved or to have been copied.
    Unknown,
    /// Several of moved, copied and unknown bytes were delivered.
    Mixed,
    /// No byte was delivered: the account is empty, or it has only excluded bytes.
    Nothing,
}

impl Verdict {
    /// Returns the word for the verdict.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Copied => "copied",
            Self::Unknown => "unknown",
            Self::Mixed => "mixed",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_is_said_only_when_something_moved_and_nothing_is_copied_or_unknown() {
        for moved in [0, 1, u64::MAX] {
            for copied in [0, 1, u64::MAX] {
                for unknown in [0, 1, u64::MAX] {
                    let account = Account::new(moved, copied, unknown);
                    let clean = moved > 0 && copied == 0 && unknown == 0;
                    assert_eq!(account.verdict() == Verdict::Moved, clean, "{account:?}");
                    assert_eq!(account.mark() == '=', clean, "{account:?}");
                    assert_eq!(account.mark() == 'x', copied > 0, "{account:?}");
                }
            }
        }
    }

    #[test]
    fn zeros_clones_and_discards_are_not_an_arrival() {
        let mut account = Account::default();
        account.excluded.cloned = 4096;
        assert_eq!(account.verdict(), Verdict::Nothing);
        assert_eq!((account.mark(), account.delivered(), account.total()), ('-', 0, 4096));
    }

    #[test]
    fn a_part_that_is_missing_is_refused_and_a_new_kind_of_excluded_counts() {
        let missing = r#"{"moved":1,"copied":0,"excluded":{}}"#;
        let error = serde_json::from_str::<Account>(missing).unwrap_err();
        assert!(error.to_string().contains("unknown"), "{error}");
        let newer = r#"{"moved":1,"copied":0,"unknown":0,"excluded":{"zero":2,"encrypted":3}}"#;
        assert_eq!(serde_json::from_str::<Account>(newer).unwrap().total(), 6);
    }
}
