//! Calls that are excluded from the analysis, and how many.

use zctrace_records::{Call, call_flag};
use zctrace_report::{NotCovered, Report};

/// Reason why a call is excluded from the analysis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exclusion {
    /// Made by a 32-bit program, whose call numbers and arguments have other meanings.
    Compat,
    /// Without an observed entry: the call was entered before tracing started, or its result is
    /// forged.
    NoEntry,
    /// A descriptor led to another file at the exit than at the entry.
    OtherFile,
}

impl Exclusion {
    /// Returns why a call is excluded; `None` if it is analyzed.
    pub(crate) fn of(call: &Call) -> Option<Self> {
        if call.flags & call_flag::COMPAT != 0 {
            Some(Self::Compat)
        } else if call.flags & call_flag::ENTRY_OBSERVED == 0 {
            Some(Self::NoEntry)
        } else if call.flags & call_flag::FD_CHANGED != 0 {
            Some(Self::OtherFile)
        } else {
            None
        }
    }
}

/// Number of excluded calls, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExcludedCalls {
    no_entry: u64,
    other_file: u64,
    compat: u64,
}

impl ExcludedCalls {
    /// Counts a call.
    pub(crate) fn add(&mut self, exclusion: Exclusion) {
        let count = match exclusion {
            Exclusion::Compat => &mut self.compat,
            Exclusion::NoEntry => &mut self.no_entry,
            Exclusion::OtherFile => &mut self.other_file,
        };
        *count += 1;
    }

    /// Adds one row per reason to a report.
    pub(crate) fn fill(self, report: &mut Report) {
        let rows = [
            (
                "calls that were entered before tracing began, or whose result was forged (seccomp)",
                self.no_entry,
            ),
            (
                "calls whose descriptor meant another file at their end",
                self.other_file,
            ),
            ("splice, tee, vmsplice and sendfile of 32-bit programs", self.compat),
        ];
        for (operation, calls) in rows {
            if calls > 0 {
                report.coverage.not_covered.push(NotCovered {
                    operation: operation.to_owned(),
                    calls: Some(calls),
                    ..NotCovered::default()
                });
            }
        }
    }
}
