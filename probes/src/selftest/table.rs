//! What the trials showed, and what that says of each fact.

use serde::{Deserialize, Serialize};

use super::memory::Key;
use zctrace_report::Alive;

/// What a trial does, and so what must be seen of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Its bytes move.
    Moved,
    /// Its bytes are copied.
    Copied,
    /// Its bytes are zeros that nothing carries.
    Zero,
}

impl Expected {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Copied => "copied",
            Self::Zero => "zero",
        }
    }
}

/// What a trial showed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was done was seen, all of it.
    Yes,
    /// It was not seen, or not all of it.
    Silent,
    /// It could not be done here.
    Absent,
    /// Something else was seen than what was done: a copy where bytes moved, or a move where they were copied. No report can
    /// be believed then.
    Wrong,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Silent => "silent",
            Self::Absent => "absent",
            Self::Wrong => "WRONG",
        }
    }
}

/// What was seen of a trial, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Bytes that were shown to move.
    pub moved: u64,
    /// Bytes that were shown to be copied.
    pub copied: u64,
    /// Bytes of zeros.
    pub zero: u64,
    /// Bytes of which nothing was shown.
    pub unknown: u64,
}

/// A trial, and what it showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// What was done.
    pub name: String,
    /// The fact that it proves, as a report's coverage names it.
    pub fact: String,
    /// What must be seen.
    pub expected: Expected,
    /// How many bytes of it.
    pub bytes: u64,
    /// What was seen.
    pub seen: Seen,
    /// What that means.
    pub verdict: Verdict,
    /// Why, unless all was seen.
    pub reason: String,
}

impl Trial {
    /// Judges a trial by what was seen. `untold` is the program that told nothing, and had to.
    pub(super) fn judge(&mut self, untold: Option<&str>) {
        let Seen {
            moved,
            copied,
            zero,
            unknown,
        } = self.seen;
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
        } else if let Some(program) = untold {
            (Verdict::Silent, format!("{program} told nothing"))
        } else {
            (Verdict::Yes, String::new())
        };
    }
}

/// How many trials showed what.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// All was seen.
    pub passed: usize,
    /// Something was not seen, or seen wrong.
    pub failed: usize,
    /// They could not be made here.
    pub absent: usize,
}

/// All trials of one selftest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Table {
    /// What it is true of.
    pub key: Key,
    /// When it was made: milliseconds since 1970-01-01 00:00 UTC.
    pub made_unix_ms: u64,
    /// How long it took, loading and attaching included.
    pub took_ms: u64,
    /// The directory of its files.
    pub dir: String,
    /// The trials.
    pub trials: Vec<Trial>,
}

impl Table {
    /// How many trials showed what.
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

    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.counts().failed == 0
    }

    /// What the trials say of a fact, and why if it is not proven.
    ///
    /// A fact with a trial that failed is [`Silent`](Alive::Silent): it is not to be used. One of which no trial could be
    /// made is [`Untested`](Alive::Untested).
    pub fn alive(&self, fact: &str) -> (Alive, String) {
        let of = |verdict: Verdict| {
            self.trials
                .iter()
                .find(|trial| trial.fact == fact && trial.verdict == verdict)
        };
        let why = |trial: &Trial| format!("selftest, {}: {}", trial.name, trial.reason);
        if let Some(trial) = of(Verdict::Wrong).or_else(|| of(Verdict::Silent)) {
            (Alive::Silent, why(trial))
        } else if of(Verdict::Yes).is_some() {
            (Alive::Yes, String::new())
        } else {
            (Alive::Untested, of(Verdict::Absent).map_or(String::new(), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Absent, Silent, Wrong, Yes};

    fn judged(expected: Expected, seen: Seen, untold: Option<&str>) -> Trial {
        let mut trial = Trial {
            name: "a → b".to_owned(),
            fact: "pages".to_owned(),
            expected,
            bytes: 8192,
            seen,
            verdict: Verdict::Absent,
            reason: String::new(),
        };
        trial.judge(untold);
        trial
    }

    fn seen(moved: u64, copied: u64, zero: u64, unknown: u64) -> Seen {
        Seen {
            moved,
            copied,
            zero,
            unknown,
        }
    }

    #[test]
    fn only_all_that_was_done_is_a_yes() {
        use Expected::{Copied, Moved, Zero};
        for (expected, seen, verdict) in [
            (Moved, seen(8192, 0, 0, 0), Verdict::Yes),
            (Copied, seen(0, 8192, 0, 0), Verdict::Yes),
            (Zero, seen(0, 0, 8192, 0), Verdict::Yes),
            (Moved, seen(4096, 0, 0, 4096), Verdict::Silent),
            (Moved, seen(0, 0, 0, 0), Verdict::Silent),
            (Copied, seen(0, 0, 0, 8192), Verdict::Silent),
            (Moved, seen(8191, 1, 0, 0), Verdict::Wrong),
            (Moved, seen(0, 8192, 0, 0), Verdict::Wrong),
            (Copied, seen(8192, 0, 0, 0), Verdict::Wrong),
            (Zero, seen(8192, 0, 0, 0), Verdict::Wrong),
            (Moved, seen(8193, 0, 0, 0), Verdict::Wrong),
        ] {
            let trial = judged(expected, seen, None);
            assert_eq!(trial.verdict, verdict, "{trial:?}");
            assert_eq!(trial.reason.is_empty(), verdict == Verdict::Yes, "{trial:?}");
        }
        let quiet = judged(Moved, seen(8192, 0, 0, 0), Some("inet_sock_set_state"));
        assert_eq!(
            (quiet.verdict, quiet.reason.as_str()),
            (Verdict::Silent, "inet_sock_set_state told nothing")
        );
    }

    #[test]
    fn a_fact_is_as_good_as_its_worst_trial() {
        let table = |verdicts: &[Verdict]| Table {
            key: Key::default(),
            made_unix_ms: 0,
            took_ms: 0,
            dir: String::new(),
            trials: verdicts
                .iter()
                .map(|&verdict| Trial {
                    verdict,
                    ..judged(Expected::Moved, Seen::default(), None)
                })
                .collect(),
        };
        for (verdicts, alive, failed) in [
            (&[Yes, Yes][..], Alive::Yes, 0),
            (&[Yes, Absent], Alive::Yes, 0),
            (&[Absent], Alive::Untested, 0),
            (&[], Alive::Untested, 0),
            (&[Yes, Silent], Alive::Silent, 1),
            (&[Wrong, Yes, Absent], Alive::Silent, 1),
        ] {
            let table = table(verdicts);
            let (found, why) = table.alive("pages");
            assert_eq!(found, alive, "{verdicts:?}");
            assert_eq!(
                why.is_empty(),
                !verdicts.iter().any(|v| *v != Yes) || alive == Alive::Yes
            );
            assert_eq!((table.counts().failed, table.passed()), (failed, failed == 0));
            assert_eq!(table.alive("something else").0, Alive::Untested);
        }
    }
}
