//! Evaluates an expression against a flow, test by test.

use zctrace_report::{Endpoint, EndpointKind, Flow};

use super::expression::{Expression, NumericField, Side, Test};
use super::glob;
use super::name::{match_end_name, match_name, ports_of};
use super::pattern::Match;

impl Match {
    pub(super) fn from_bool(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn negate(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

impl Expression {
    /// Evaluates the expression with the result that `test` returns for each test. `Unknown` if the
    /// result depends on an undecidable test.
    pub(super) fn eval(&self, test: &impl Fn(&Test) -> Match) -> Match {
        match self {
            Self::Test(one) => test(one),
            Self::Not(inner) => inner.eval(test).negate(),
            Self::And(list) => list.iter().map(|inner| inner.eval(test)).min().unwrap_or(Match::Yes),
            Self::Or(list) => list.iter().map(|inner| inner.eval(test)).max().unwrap_or(Match::No),
        }
    }

    /// Returns all tests in order.
    pub(super) fn for_each_test<'a>(&'a self, visit: &mut impl FnMut(&'a Test)) {
        match self {
            Self::Test(test) => visit(test),
            Self::Not(inner) => inner.for_each_test(visit),
            Self::And(list) | Self::Or(list) => list.iter().for_each(|inner| inner.for_each_test(visit)),
        }
    }
}

impl Test {
    /// Returns whether a flow matches.
    pub(super) fn matches(&self, flow: &Flow) -> Match {
        match self {
            Self::Word(word) => match_word(word, flow),
            Self::Process(pattern) => match_name(pattern, &flow.process, flow.folded),
            Self::Path(pattern) => {
                match_path(pattern, &flow.from, flow.folded).max(match_path(pattern, &flow.to, flow.folded))
            }
            Self::Call(_) if flow.call_names.is_empty() => Match::Unknown,
            Self::Call(pattern) => {
                Match::from_bool(flow.call_names.iter().any(|call| glob::matches(pattern, call.as_str())))
            }
            Self::Code(pattern) => {
                Match::from_bool(codes(flow).any(|code| glob::matches(&pattern.to_uppercase(), code)))
            }
            Self::End(side, pattern) => {
                let (from, to) = (
                    pattern.matches(&flow.from, flow.folded),
                    pattern.matches(&flow.to, flow.folded),
                );
                match side {
                    Side::From => from,
                    Side::To => to,
                    Side::Either => from.max(to),
                }
            }
            Self::Verdict(verdict) => Match::from_bool(flow.verdict() == *verdict),
            Self::Number(number, compare, with) => {
                let holds = |value: u64| Match::from_bool(compare.holds(value, *with));
                let account = &flow.account;
                match number {
                    NumericField::Pid => flow.pid.map_or(Match::Unknown, |pid| holds(pid.into())),
                    NumericField::Port => {
                        let port = |end| {
                            let (ports, has_others) = ports_of(end, flow.folded);
                            let best = ports.into_iter().map(|port| holds(port.into())).max();
                            let others = if has_others { Match::Unknown } else { Match::No };
                            best.unwrap_or(Match::No).max(others)
                        };
                        port(&flow.from).max(port(&flow.to))
                    }
                    NumericField::Flow => holds(flow.id),
                    NumericField::Calls => holds(flow.calls),
                    NumericField::Bytes => holds(flow.payload),
                    NumericField::Moved => holds(account.moved),
                    NumericField::Copied => holds(account.copied),
                    NumericField::Unknown => holds(account.unknown),
                    NumericField::Excluded => holds(account.excluded.total()),
                    NumericField::Peeked => holds(flow.peeked_bytes),
                }
            }
        }
    }
}

/// Iterates over the codes of a flow. All peeks at it share one code, which is stored with the
/// peeks.
fn codes(flow: &Flow) -> impl Iterator<Item = &str> {
    let looked = (flow.peeked_bytes > 0).then(|| zctrace_contract::Reason::Peeked.code());
    flow.reasons.iter().map(|cause| cause.code.as_str()).chain(looked)
}

/// Searches for a word in everything that the row shows; names discarded by folding are not
/// searched. This runs for every flow at every key typed, so it avoids allocations.
fn match_word(word: &str, flow: &Flow) -> Match {
    // Only a text with a space can match across the boundary of kind and name.
    let across = word.contains(char::is_whitespace);
    let found = |text: &str| contains_word(word, text);
    let ends = [&flow.from, &flow.to].into_iter().any(|end| {
        // The kind by its name in the filter language and by its label on screen, the name as it
        // is.
        found(end.kind.as_str()) || found(end.kind.label()) || found(&end.name) || (across && found(&end.to_string()))
    });
    let port = |end: &Endpoint| end.ports().any(|port| found(&format!(":{port}")));
    Match::from_bool(
        ends || found(&flow.process)
            || flow.name.as_deref().is_some_and(found)
            || flow.call_names.iter().any(|call| found(call.as_str()))
            || codes(flow).any(found)
            || port(&flow.from)
            || port(&flow.to),
    )
}

/// Returns whether a word, which may contain stars, occurs in a text, ignoring case.
pub(super) fn contains_word(word: &str, text: &str) -> bool {
    if word.contains(['*', '?']) {
        return glob::matches(&format!("*{}*", word.to_lowercase()), &text.to_lowercase());
    }
    if word.is_ascii() && text.is_ascii() {
        let mut windows = text.as_bytes().windows(word.len());
        return windows.any(|window| window.eq_ignore_ascii_case(word.as_bytes()));
    }
    text.to_lowercase().contains(&word.to_lowercase())
}

/// Returns the path of an endpoint, or else its name. An endpoint without a name matches nothing.
fn match_path(pattern: &str, end: &Endpoint, folded: u64) -> Match {
    match end.kind {
        EndpointKind::Various => Match::Unknown,
        EndpointKind::Memory => Match::No,
        // An address never begins like a path, so it does not matter that it was discarded.
        EndpointKind::Tcp | EndpointKind::Udp if pattern.starts_with('/') => Match::No,
        _ => match_end_name(pattern, end, folded),
    }
}
