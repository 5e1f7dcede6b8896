//! Where bytes went, in four parts that add up, and the verdict that follows from them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What became of a number of bytes: `moved + copied + unknown + excluded` is that number, always. Unit: bytes.
///
/// All four parts must be present in JSON: a part that is missing and read as 0 would be a claim that nobody made.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Account {
    /// Bytes shown to have gone by page reference or device DMA.
    pub moved: u64,
    /// Bytes shown, by a positive witness, to have been copied at least once.
    pub copied: u64,
    /// Bytes of which neither was shown. Never counted as moved nor as copied.
    pub unknown: u64,
    /// Bytes that did not cross at all.
    pub excluded: Excluded,
}

/// Bytes whose payload did not cross, by cause. Unit of every member, known or not: bytes.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Excluded {
    /// Holes of files and the kernel's zero page.
    #[serde(default)]
    pub zero: u64,
    /// Reflinks and copies made by a server: the sink refers to the source's blocks.
    #[serde(default)]
    pub cloned: u64,
    /// Given to `/dev/null`, or dropped.
    #[serde(default)]
    pub discarded: u64,
    /// Causes of a newer version. They are byte counts too, so that sums still come out right.
    #[serde(flatten)]
    pub other: BTreeMap<String, u64>,
}

impl Excluded {
    /// All causes together, in bytes.
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
    /// An account without `excluded`.
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

    /// All four parts together, in bytes.
    pub fn total(&self) -> u64 {
        u64::try_from(self.sum()).unwrap_or(u64::MAX)
    }

    /// Bytes whose payload arrived: all but `excluded`. Shares are of these.
    pub fn delivered(&self) -> u64 {
        self.moved.saturating_add(self.copied).saturating_add(self.unknown)
    }

    /// Wider than any part, so that a sum which does not fit is seen to be wrong instead of wrapping to something right.
    pub(crate) fn sum(&self) -> u128 {
        u128::from(self.moved) + u128::from(self.copied) + u128::from(self.unknown) + self.excluded.sum()
    }

    /// What can be said of these bytes as a whole.
    pub fn verdict(&self) -> Verdict {
        match (self.moved, self.copied, self.unknown) {
            (0, 0, 0) => Verdict::Nothing,
            (_, 0, 0) => Verdict::Moved,
            (0, _, 0) => Verdict::Copied,
            (0, 0, _) => Verdict::Unknown,
            _ => Verdict::Mixed,
        }
    }

    /// The mark of a row, which says without color what deserves a look: `x` if anything was copied, else `?` if anything
    /// is unknown, else `=` if anything moved, else `-`.
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
    /// Saturates: `check` finds a sum that no longer fits, as its parts then do not add up.
    fn add_assign(&mut self, more: &Self) {
        self.moved = self.moved.saturating_add(more.moved);
        self.copied = self.copied.saturating_add(more.copied);
        self.unknown = self.unknown.saturating_add(more.unknown);
        self.excluded += &more.excluded;
    }
}

/// What can be said of an account as a whole. It follows from the numbers and is never stored beside them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Every byte that arrived was shown to have moved, and at least one arrived.
    Moved,
    /// Every byte that arrived was shown to have been copied.
    Copied,
    /// Of no byte that arrived anything was shown.
    Unknown,
    /// More than one of the three.
    Mixed,
    /// Nothing arrived: there were no bytes, or only zeros, clones and discards.
    Nothing,
}

impl Verdict {
    /// The word for it.
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
