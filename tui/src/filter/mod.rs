//! The filter language, which selects flows: `/` in the viewer, and `--filter` of `run` and
//! `report`. `assert`'s `--to` and `--from` use the same kinds and globs.
//!
//! ```text
//! to=tcp::443 and copied>0            what was copied on its way to port 443
//! process=nginx not code=ZC10         of nginx, but for its small writes
//! (from=file:/srv/* or to=file) bytes>=1M
//! nginx                               a word alone is searched in names, calls and codes
//! ```
//!
//! `lex.rs` splits the text into tokens, and `parse.rs` parses them to an expression or reports the
//! column of the error. `display.rs` formats an expression so that it is parsed to itself.
//! `eval.rs` evaluates it against a flow, `eval_pipes_and_log.rs` against a pipe or a line of the
//! log, `apply.rs` against a report.
//!
//! A row of folded flows may have discarded a name, and the names of some ends are not known. If a
//! test then cannot be decided, the result is [`Match::Unknown`]: the row is excluded, and the
//! number of such rows is reported.

mod apply;
mod display;
mod eval;
mod eval_pipes_and_log;
mod expression;
mod glob;
mod lex;
mod name;
mod parse;
mod pattern;

use expression::Test;
pub(crate) use expression::{Expression, HELP};
pub(crate) use glob::matches as glob_matches;
pub(crate) use parse::ParseError;
pub(crate) use pattern::{Match, Pattern};

use zctrace_report::Flow;

/// A filter: an expression, or none, which every flow matches.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Filter(Option<Expression>);

impl Filter {
    /// Parses a filter. White space alone is the filter that every flow matches.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(Self)
    }

    /// Returns whether every flow matches because the filter is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns whether a flow, or a row of folded ones, matches.
    pub(crate) fn matches(&self, flow: &Flow) -> Match {
        self.eval(|test| test.matches(flow))
    }

    /// Evaluates the filter with the result that `test` returns for each test.
    fn eval(&self, test: impl Fn(&Test) -> Match) -> Match {
        self.0.as_ref().map_or(Match::Yes, |expression| expression.eval(&test))
    }
}

#[cfg(test)]
mod tests;
