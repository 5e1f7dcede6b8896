//! Holds an expression against what is no flow: a pipe, or a line of the log. Neither has all the fields that a flow has; a
//! filter that asks for one that is not there says nothing about it, and does not apply.

use zctrace_report::Pipe;

use super::Filter;
use super::eval::contains_word;
use super::expression::{NumericField, Side, Test};
use super::pattern::{Match, match_name};

/// Processes that a pipe lists: of one with so many others are not known.
const MAX_LISTED_PROCESSES: usize = 8;

impl Filter {
    /// The first field that is asked for and that pipes do not have. With one the filter does not apply to them.
    pub(crate) fn field_missing_for_pipes(&self) -> Option<&'static str> {
        self.first_missing_field(|test| {
            matches!(
                test,
                Test::Word(_)
                    | Test::Process(_)
                    | Test::Number(NumericField::Pid | NumericField::Calls | NumericField::Bytes, ..)
            )
        })
    }

    /// The same for lines of the log, which have nothing but words.
    pub(crate) fn field_missing_for_log(&self) -> Option<&'static str> {
        self.first_missing_field(|test| matches!(test, Test::Word(_)))
    }

    /// Whether a pipe fits: its processes, calls, and the bytes that are in it. Words are also looked for in its number.
    pub(crate) fn match_pipe(&self, pipe: &Pipe) -> Match {
        // Some are not listed, or have no name that is known.
        let other = if pipe.pids.is_empty()
            || pipe.pids.len() >= MAX_LISTED_PROCESSES
            || pipe.processes.len() < pipe.pids.len()
        {
            Match::Unknown
        } else {
            Match::No
        };
        let names = |fits: &dyn Fn(&str) -> Match| pipe.processes.iter().map(|name| fits(name)).max();
        self.eval(|test| match test {
            Test::Word(word) => {
                let found = contains_word(word, &pipe.inode.to_string())
                    || pipe.processes.iter().any(|name| contains_word(word, name));
                Match::from_bool(found)
            }
            Test::Process(pattern) => names(&|process| match_name(pattern, process, 1))
                .unwrap_or(Match::No)
                .max(other),
            Test::Number(NumericField::Pid, compare, with) => {
                let found = pipe.pids.iter().any(|&pid| compare.holds(pid.into(), *with));
                let listed = !pipe.pids.is_empty() && pipe.pids.len() < MAX_LISTED_PROCESSES;
                match found {
                    true => Match::Yes,
                    false if listed => Match::No,
                    false => Match::Unknown,
                }
            }
            Test::Number(NumericField::Calls, compare, with) => Match::from_bool(compare.holds(pipe.calls, *with)),
            Test::Number(NumericField::Bytes, compare, with) => pipe
                .bytes
                .map_or(Match::Unknown, |bytes| Match::from_bool(compare.holds(bytes, *with))),
            _ => Match::Yes,
        })
    }

    /// Whether a line of the log fits.
    pub(crate) fn match_log_line(&self, text: &str) -> Match {
        self.eval(|test| match test {
            Test::Word(word) => Match::from_bool(contains_word(word, text)),
            _ => Match::Yes,
        })
    }

    fn first_missing_field(&self, has: impl Fn(&Test) -> bool) -> Option<&'static str> {
        let mut missing = None;
        if let Some(expression) = &self.0 {
            expression.for_each_test(&mut |test| {
                if missing.is_none() && !has(test) {
                    missing = Some(test.field());
                }
            });
        }
        missing
    }
}

impl Test {
    /// The field that it asks for.
    fn field(&self) -> &'static str {
        match self {
            Self::Word(_) => "a word",
            Self::Process(_) => "process",
            Self::Path(_) => "path",
            Self::Call(_) => "call",
            Self::Code(_) => "code",
            Self::End(Side::From, _) => "from",
            Self::End(Side::To, _) => "to",
            Self::End(Side::Either, _) => "kind",
            Self::Verdict(_) => "verdict",
            Self::Number(number, ..) => number.keyword(),
        }
    }
}
