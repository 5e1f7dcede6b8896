//! Holds an expression against what is no flow: a pipe, or a line of the log. Neither has all the fields that a flow has; a
//! filter that asks for one that is not there says nothing about it, and does not apply.

use zctrace_report::Pipe;

use super::Filter;
use super::expression::{Number, Side, Test};
use super::fit::is_in;
use super::pattern::{Fit, name};

/// Processes that a pipe lists: of one with so many others are not known.
const LISTED: usize = 8;

impl Filter {
    /// The first field that is asked for and that pipes do not have. With one the filter does not apply to them.
    pub(crate) fn not_of_pipes(&self) -> Option<&'static str> {
        self.missing(|test| {
            matches!(
                test,
                Test::Word(_) | Test::Process(_) | Test::Number(Number::Pid | Number::Calls | Number::Bytes, ..)
            )
        })
    }

    /// The same for lines of the log, which have nothing but words.
    pub(crate) fn not_of_lines(&self) -> Option<&'static str> {
        self.missing(|test| matches!(test, Test::Word(_)))
    }

    /// Whether a pipe fits: its processes, calls, and the bytes that are in it. Words are also looked for in its number.
    pub(crate) fn fit_pipe(&self, pipe: &Pipe) -> Fit {
        // Some are not listed, or have no name that is known.
        let other = if pipe.pids.is_empty() || pipe.pids.len() >= LISTED || pipe.processes.len() < pipe.pids.len() {
            Fit::Perhaps
        } else {
            Fit::No
        };
        let names = |fits: &dyn Fn(&str) -> Fit| pipe.processes.iter().map(|name| fits(name)).max();
        self.holds(|test| match test {
            Test::Word(word) => {
                let found = is_in(word, &pipe.inode.to_string()) || pipe.processes.iter().any(|name| is_in(word, name));
                Fit::of(found)
            }
            Test::Process(pattern) => names(&|process| name(pattern, process, 1))
                .unwrap_or(Fit::No)
                .max(other),
            Test::Number(Number::Pid, compare, with) => {
                let found = pipe.pids.iter().any(|&pid| compare.holds(pid.into(), *with));
                let listed = !pipe.pids.is_empty() && pipe.pids.len() < LISTED;
                match found {
                    true => Fit::Yes,
                    false if listed => Fit::No,
                    false => Fit::Perhaps,
                }
            }
            Test::Number(Number::Calls, compare, with) => Fit::of(compare.holds(pipe.calls, *with)),
            Test::Number(Number::Bytes, compare, with) => pipe
                .bytes
                .map_or(Fit::Perhaps, |bytes| Fit::of(compare.holds(bytes, *with))),
            _ => Fit::Yes,
        })
    }

    /// Whether a line of the log fits.
    pub(crate) fn fit_line(&self, text: &str) -> Fit {
        self.holds(|test| match test {
            Test::Word(word) => Fit::of(is_in(word, text)),
            _ => Fit::Yes,
        })
    }

    fn missing(&self, has: impl Fn(&Test) -> bool) -> Option<&'static str> {
        let mut missing = None;
        if let Some(expression) = &self.0 {
            expression.each(&mut |test| {
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
            Self::Number(number, ..) => number.word(),
        }
    }
}
