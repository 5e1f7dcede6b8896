//! Causes for which a pipe's mirror is desynced, and how often each occurred.

use zctrace_report::{NotCovered, Report};

/// Reason why a mirror no longer matches the kernel's ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DesyncCause {
    /// A call observed another inode, ring address or size: the pipe was resized, or its memory
    /// belongs to another pipe.
    RingReplaced,
    /// A FIFO was closed by all processes and opened again: its content is another pipe's.
    Reopened,
    /// A traced process called `F_SETPIPE_SZ`.
    Resized,
    /// A call on the pipe is excluded from the analysis.
    ExcludedCall,
    /// A call's entry counters are behind the mirror: two producers or two consumers ran at once.
    Overlap,
    /// A call that another one depends on was not received in time.
    MissingCall,
    /// A call still waited for another one when the trace ended.
    MissingCallAtEnd,
    /// The new slots cannot be divided among the bytes of the call.
    SlotsIndivisible,
    /// A producer's counters, or the slot that it appended to, are not the mirror's.
    PushMismatch,
    /// A consumer's counters, lengths or slots are not the mirror's.
    PopMismatch,
    /// There are more pipes than the engine follows.
    TooManyPipes,
    /// The trace ended. The content was delivered to the pipe, so nothing is lost by it.
    TraceEnded,
}

impl DesyncCause {
    /// Causes that a report lists, in its order.
    const REPORTED: [Self; 11] = [
        Self::RingReplaced,
        Self::Reopened,
        Self::Resized,
        Self::ExcludedCall,
        Self::Overlap,
        Self::MissingCall,
        Self::MissingCallAtEnd,
        Self::SlotsIndivisible,
        Self::PushMismatch,
        Self::PopMismatch,
        Self::TooManyPipes,
    ];

    /// Returns whether what producers pushed after they observed the ring empty is right all the
    /// same.
    pub(super) fn is_of_consumers(self) -> bool {
        matches!(self, Self::MissingCall | Self::MissingCallAtEnd | Self::PopMismatch)
    }

    fn description(self) -> &'static str {
        match self {
            Self::RingReplaced => "its ring was replaced (resized, or another pipe at the same address)",
            Self::Reopened => "it is a FIFO that was closed and opened again",
            Self::Resized => "it was resized (F_SETPIPE_SZ)",
            Self::ExcludedCall => "a call on it is excluded from the analysis",
            Self::Overlap => "two producers or two consumers used it at the same time",
            Self::MissingCall => "a call on it was not received in time",
            Self::MissingCallAtEnd => "a call on it was not received before the trace ended",
            Self::SlotsIndivisible => "its new slots could not be divided among the bytes of a call",
            Self::PushMismatch => "a producer that was not observed used it",
            Self::PopMismatch => "a consumer that was not observed used it",
            Self::TooManyPipes => "there are too many pipes",
            Self::TraceEnded => "the trace ended",
        }
    }
}

/// How often mirrors were desynced, by cause.
#[derive(Clone, Debug, Default)]
pub(crate) struct DesyncCounts {
    /// Desyncs, and the bytes that were known until then, by position in
    /// [`DesyncCause::REPORTED`].
    counts: [(u64, u64); DesyncCause::REPORTED.len()],
}

impl DesyncCounts {
    /// Counts a desync that made `bytes` bytes unknown.
    pub(super) fn add(&mut self, cause: DesyncCause, bytes: u64) {
        let at = DesyncCause::REPORTED.iter().position(|reported| *reported == cause);
        if let Some((count, sum)) = at.map(|at| &mut self.counts[at]) {
            *count += 1;
            *sum = sum.saturating_add(bytes);
        }
    }

    /// Adds one row per cause to a report.
    ///
    /// The numbers are in the text only: the bytes are unknown in the flows that they reach, and
    /// `zctrace assert` must not count them twice.
    pub(super) fn fill(&self, report: &mut Report) {
        for (cause, (count, bytes)) in DesyncCause::REPORTED.iter().zip(&self.counts) {
            if *count > 0 {
                let times = if *count == 1 { "once" } else { &format!("{count} times") };
                report.coverage.not_covered.push(NotCovered {
                    operation: format!(
                        "the content of a pipe ({times}, {bytes} bytes): {}",
                        cause.description()
                    ),
                    ..NotCovered::default()
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zctrace_report::{Scope, Tier};

    #[test]
    fn report_lists_each_cause_once_with_its_counts() {
        let mut counts = DesyncCounts::default();
        counts.add(DesyncCause::Overlap, 100);
        counts.add(DesyncCause::Resized, 7);
        counts.add(DesyncCause::Overlap, 28);
        counts.add(DesyncCause::TraceEnded, 5);
        let mut report = Report::new(Tier::T0, Scope::default());
        counts.fill(&mut report);
        let rows: Vec<_> = report
            .coverage
            .not_covered
            .iter()
            .map(|row| row.operation.as_str())
            .collect();
        assert_eq!(
            rows,
            [
                "the content of a pipe (once, 7 bytes): it was resized (F_SETPIPE_SZ)",
                "the content of a pipe (2 times, 128 bytes): two producers or two consumers used it at the same time",
            ]
        );
        let counted = report
            .coverage
            .not_covered
            .iter()
            .any(|row| row.calls.is_some() || row.bytes.is_some());
        assert!(!counted, "an assertion would be inconclusive");
    }

    #[test]
    fn every_cause_is_listed_once() {
        let mut counts = DesyncCounts::default();
        for cause in DesyncCause::REPORTED {
            counts.add(cause, 1);
        }
        assert!(counts.counts.iter().all(|count| *count == (1, 1)));
    }
}
