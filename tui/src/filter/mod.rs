//! The one language that picks flows: `/` in the viewer, `--filter` of `run` and `report`; the kinds and globs of `assert`'s
//! `--to` and `--from` are the same words.
//!
//! ```text
//! to=tcp::443 and copied>0            what was copied on its way to port 443
//! process=nginx not code=ZC10         of nginx, but for its small writes
//! (from=file:/srv/* or to=file) bytes>=1M
//! nginx                               a word alone is looked for in names, calls and codes
//! ```
//!
//! `lex.rs` cuts the text into tokens, `parse.rs` makes an expression of them or says at which column it cannot, `display.rs`
//! writes an expression so that it is read as the same again, `eval.rs` holds it against a flow, `eval_pipes_and_log.rs` against a pipe or a
//! line of the log, `apply.rs` against a report.
//!
//! A row of folded flows may have given up a name. What cannot be told of it is [`Match::Unknown`]: it is left out, and it is
//! said how much that is.

mod apply;
mod display;
mod eval;
mod eval_pipes_and_log;
mod expression;
mod glob;
mod lex;
mod parse;
mod pattern;

use expression::Test;
pub(crate) use expression::{Expression, HELP};
pub(crate) use parse::ParseError;
pub(crate) use pattern::{Match, Pattern};

use zctrace_report::Flow;

/// A filter: an expression, or none, which every flow fits.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Filter(Option<Expression>);

impl Filter {
    /// Reads a filter. Nothing but space is the filter that every flow fits.
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(Self)
    }

    /// Whether every flow fits, because nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a flow, or a row of folded ones, fits.
    pub(crate) fn matches(&self, flow: &Flow) -> Match {
        self.eval(|test| test.matches(flow))
    }

    /// Whether something fits of which `test` says it for each test.
    fn eval(&self, test: impl Fn(&Test) -> Match) -> Match {
        self.0.as_ref().map_or(Match::Yes, |expression| expression.eval(&test))
    }
}

#[cfg(test)]
mod tests;
