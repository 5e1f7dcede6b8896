//! Results of the selftest's trials, and what they imply for each fact.

use serde::{Deserialize, Serialize};

use super::cache::CacheKey;
use zctrace_report::FactStatus;

/// Operation that a trial performs, and therefore the expected observation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// The bytes move.
    Moved,
    /// The bytes are copied.
    Copied,
    /// The bytes are zeros of a hole, for which no page is transferred.
    Zero,
}

impl Expected {
    /// Returns the name of the operation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Copied => "copied",
            Self::Zero => "zero",
        }
    }
}

/// Verdict on a trial.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All bytes were observed as expected.
    Yes,
    /// Some or all bytes were not observed.
    Silent,
    /// The trial could not be performed on this machine.
    Absent,
    /// Something else was observed: a copy where bytes moved, or a move where they were copied. No
    /// report can be trusted then.
    Wrong,
}

impl Verdict {
    /// Returns the name of the verdict.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Silent => "silent",
            Self::Absent => "absent",
            Self::Wrong => "WRONG",
        }
    }
}

/// Bytes of a trial by outcome.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observed {
    /// Bytes that were proven to move.
    pub moved: u64,
    /// Bytes that were proven to be copied.
    pub copied: u64,
    /// Zeros of a hole.
    pub zero: u64,
    /// Bytes without proof.
    pub unknown: u64,
}

/// Trial and its result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Name of the trial.
    pub name: String,
    /// Fact that the trial verifies, by its name in reports.
    pub fact: String,
    /// Expected observation.
    pub expected: Expected,
    /// Bytes that the trial transfers.
    pub bytes: u64,
    /// Actual observation.
    pub observed: Observed,
    /// Verdict.
    pub verdict: Verdict,
    /// Reason for the verdict; empty if the trial passed.
    pub reason: String,
}

impl Trial {
    /// Sets verdict and reason. `silent_program` is a program that had to emit a record and did
    /// not.
    pub(crate) fn evaluate(&mut self, silent_program: Option<&str>) {
        let Observed {
            moved,
            copied,
            zero,
            unknown,
        } = self.observed;
        let (right, wrong) = match self.expected {
            Expected::Moved => (moved, copied + zero),
            Expected::Copied => (copied, moved + zero),
            Expected::Zero => (zero, moved + copied),
        };
        (self.verdict, self.reason) = if wrong > 0 {
            let words = [(moved, "moved"), (copied, "copied"), (zero, "zero")];
            let word = words
                .iter()
                .find(|(bytes, word)| *bytes > 0 && *word != self.expected.as_str())
                .map_or("", |(_, word)| word);
            (Verdict::Wrong, format!("{wrong} bytes were said to be {word}"))
        } else if right > self.bytes {
            let more = right - self.bytes;
            (Verdict::Wrong, format!("{more} bytes too many were seen"))
        } else if right < self.bytes {
            let reason = if right + unknown == 0 {
                "nothing was seen".to_owned()
            } else {
                format!("{} of {} bytes were not seen", self.bytes - right, self.bytes)
            };
            (Verdict::Silent, reason)
        } else if let Some(program) = silent_program {
            (Verdict::Silent, format!("{program} told nothing"))
        } else {
            (Verdict::Yes, String::new())
        };
    }
}

/// Number of trials by verdict.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Trials that passed.
    pub passed: usize,
    /// Trials of which some bytes were not observed, or observed wrongly.
    pub failed: usize,
    /// Trials that could not be performed.
    pub absent: usize,
}

/// Results of one selftest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SelftestResults {
    /// Conditions under which the results are valid.
    pub key: CacheKey,
    /// Time of the selftest, in milliseconds since 1970-01-01 00:00 UTC.
    pub made_unix_ms: u64,
    /// Duration in milliseconds, with loading and attaching.
    pub took_ms: u64,
    /// Directory of the trials' files.
    pub dir: String,
    /// Trials.
    pub trials: Vec<Trial>,
}

impl SelftestResults {
    /// Counts the trials by verdict.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for trial in &self.trials {
            match trial.verdict {
                Verdict::Yes => counts.passed += 1,
                Verdict::Silent | Verdict::Wrong => counts.failed += 1,
                Verdict::Absent => counts.absent += 1,
            }
        }
        counts
    }

    /// Returns whether no trial failed.
    pub fn passed(&self) -> bool {
        self.counts().failed == 0
    }

    /// Returns whether a fact is proven, with the reason if it is not.
    ///
    /// If a trial failed, the fact is [`Silent`](FactStatus::Silent) and must not be used. If no
    /// trial could be performed, the fact is [`Untested`](FactStatus::Untested).
    pub fn alive(&self, fact: &str) -> (FactStatus, String) {
        let of = |verdict: Verdict| {
            self.trials
                .iter()
                .find(|trial| trial.fact == fact && trial.verdict == verdict)
        };
        let why = |trial: &Trial| format!("selftest, {}: {}", trial.name, trial.reason);
        if let Some(trial) = of(Verdict::Wrong).or_else(|| of(Verdict::Silent)) {
            (FactStatus::Silent, why(trial))
        } else if of(Verdict::Yes).is_some() {
            (FactStatus::Verified, String::new())
        } else {
            (FactStatus::Untested, of(Verdict::Absent).map_or(String::new(), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Absent, Silent, Wrong, Yes};

    fn evaluated(expected: Expected, observed: Observed, silent_program: Option<&str>) -> Trial {
        let mut trial = Trial {
            name: "a → b".to_owned(),
            fact: "pages".to_owned(),
            expected,
            bytes: 8192,
            observed,
            verdict: Verdict::Absent,
            reason: String::new(),
        };
        trial.evaluate(silent_program);
        trial
    }

    fn observed(moved: u64, copied: u64, zero: u64, unknown: u64) -> Observed {
        Observed {
            moved,
            copied,
            zero,
            unknown,
        }
    }

    #[test]
    fn trial_passes_only_if_all_bytes_are_as_expected() {
        use Expected::{Copied, Moved, Zero};
        for (expected, observed, verdict) in [
            (Moved, observed(8192, 0, 0, 0), Verdict::Yes),
            (Copied, observed(0, 8192, 0, 0), Verdict::Yes),
            (Zero, observed(0, 0, 8192, 0), Verdict::Yes),
            (Moved, observed(4096, 0, 0, 4096), Verdict::Silent),
            (Moved, observed(0, 0, 0, 0), Verdict::Silent),
            (Copied, observed(0, 0, 0, 8192), Verdict::Silent),
            (Moved, observed(8191, 1, 0, 0), Verdict::Wrong),
            (Moved, observed(0, 8192, 0, 0), Verdict::Wrong),
            (Copied, observed(8192, 0, 0, 0), Verdict::Wrong),
            (Zero, observed(8192, 0, 0, 0), Verdict::Wrong),
            (Moved, observed(8193, 0, 0, 0), Verdict::Wrong),
        ] {
            let trial = evaluated(expected, observed, None);
            assert_eq!(trial.verdict, verdict, "{trial:?}");
            assert_eq!(trial.reason.is_empty(), verdict == Verdict::Yes, "{trial:?}");
        }
        let quiet = evaluated(Moved, observed(8192, 0, 0, 0), Some("inet_sock_set_state"));
        assert_eq!(
            (quiet.verdict, quiet.reason.as_str()),
            (Verdict::Silent, "inet_sock_set_state told nothing")
        );
    }

    #[test]
    fn fact_gets_the_verdict_of_its_worst_trial() {
        let results = |verdicts: &[Verdict]| SelftestResults {
            key: CacheKey::default(),
            made_unix_ms: 0,
            took_ms: 0,
            dir: String::new(),
            trials: verdicts
                .iter()
                .map(|&verdict| Trial {
                    verdict,
                    ..evaluated(Expected::Moved, Observed::default(), None)
                })
                .collect(),
        };
        for (verdicts, alive, failed) in [
            (&[Yes, Yes][..], FactStatus::Verified, 0),
            (&[Yes, Absent], FactStatus::Verified, 0),
            (&[Absent], FactStatus::Untested, 0),
            (&[], FactStatus::Untested, 0),
            (&[Yes, Silent], FactStatus::Silent, 1),
            (&[Wrong, Yes, Absent], FactStatus::Silent, 1),
        ] {
            let results = results(verdicts);
            let (found, why) = results.alive("pages");
            assert_eq!(found, alive, "{verdicts:?}");
            assert_eq!(
                why.is_empty(),
                !verdicts.iter().any(|v| *v != Yes) || alive == FactStatus::Verified
            );
            assert_eq!((results.counts().failed, results.passed()), (failed, failed == 0));
            assert_eq!(results.alive("something else").0, FactStatus::Untested);
        }
    }
}
