//! Evaluates an expression against a pipe or a line of the log. Neither has all fields of a flow; a
//! filter that tests a missing field does not apply to them.

use zctrace_report::Pipe;

use super::Filter;
use super::eval::contains_word;
use super::expression::{NumericField, Side, Test};
use super::name::match_name;
use super::pattern::Match;

/// Maximum number of processes that a pipe lists: if it lists this many, others may be missing.
const MAX_LISTED_PROCESSES: usize = 8;

impl Filter {
    /// Returns the first tested field that pipes do not have. If there is one, the filter does not
    /// apply to pipes.
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

    /// Returns the first tested field that lines of the log do not have; they have only words.
    pub(crate) fn field_missing_for_log(&self) -> Option<&'static str> {
        self.first_missing_field(|test| matches!(test, Test::Word(_)))
    }

    /// Returns whether a pipe matches by its processes, its calls, or the bytes in it. Words are
    /// also searched in its number.
    pub(crate) fn match_pipe(&self, pipe: &Pipe) -> Match {
        // Some processes are not listed, or have no known name.
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

    /// Returns whether a line of the log matches.
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
    /// Returns the field that a test needs.
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
