//! Holds an expression against a flow, by its tests one by one.

use zctrace_report::{End, EndKind, Flow};

use super::expression::{Expression, Number, Side, Test};
use super::glob;
use super::pattern::{Fit, name};

impl Fit {
    pub(super) fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Perhaps => Self::Perhaps,
            Self::Yes => Self::No,
        }
    }
}

impl Expression {
    /// Whether something fits of which `test` says it for each test. `Perhaps` where that hangs on something that is not known.
    pub(super) fn holds(&self, test: &impl Fn(&Test) -> Fit) -> Fit {
        match self {
            Self::Test(one) => test(one),
            Self::Not(inner) => inner.holds(test).not(),
            Self::And(list) => list.iter().map(|inner| inner.holds(test)).min().unwrap_or(Fit::Yes),
            Self::Or(list) => list.iter().map(|inner| inner.holds(test)).max().unwrap_or(Fit::No),
        }
    }

    /// All its tests, in their order.
    pub(super) fn each<'a>(&'a self, take: &mut impl FnMut(&'a Test)) {
        match self {
            Self::Test(test) => take(test),
            Self::Not(inner) => inner.each(take),
            Self::And(list) | Self::Or(list) => list.iter().for_each(|inner| inner.each(take)),
        }
    }
}

impl Test {
    /// Whether a flow fits.
    pub(super) fn fit(&self, flow: &Flow) -> Fit {
        match self {
            Self::Word(word) => self::word(word, flow),
            Self::Process(pattern) => name(pattern, &flow.process, flow.folded),
            Self::Path(pattern) => path(pattern, &flow.from, flow.folded).max(path(pattern, &flow.to, flow.folded)),
            Self::Call(_) if flow.call_names.is_empty() => Fit::Perhaps,
            Self::Call(pattern) => Fit::of(flow.call_names.iter().any(|call| glob::fits(pattern, call.as_str()))),
            Self::Code(pattern) => Fit::of(codes(flow).any(|code| glob::fits(&pattern.to_uppercase(), code))),
            Self::End(side, pattern) => {
                let (from, to) = (pattern.fit(&flow.from, flow.folded), pattern.fit(&flow.to, flow.folded));
                match side {
                    Side::From => from,
                    Side::To => to,
                    Side::Either => from.max(to),
                }
            }
            Self::Verdict(verdict) => Fit::of(flow.verdict() == *verdict),
            Self::Number(number, compare, with) => {
                let holds = |value: u64| Fit::of(compare.holds(value, *with));
                let account = &flow.account;
                match number {
                    Number::Pid => flow.pid.map_or(Fit::Perhaps, |pid| holds(pid.into())),
                    Number::Port => {
                        let port = |end| match port(end) {
                            Port::None => Fit::No,
                            Port::GivenUp => Fit::Perhaps,
                            Port::Is(port) => holds(port.into()),
                        };
                        port(&flow.from).max(port(&flow.to))
                    }
                    Number::Flow => holds(flow.id),
                    Number::Calls => holds(flow.calls),
                    Number::Bytes => holds(flow.payload),
                    Number::Moved => holds(account.moved),
                    Number::Copied => holds(account.copied),
                    Number::Unknown => holds(account.unknown),
                    Number::Neither => holds(account.neither.total()),
                    Number::Looked => holds(flow.looked),
                }
            }
        }
    }
}

/// The codes of a flow. A look at it has one too, which stands with the look: there is one for all of them.
fn codes(flow: &Flow) -> impl Iterator<Item = &str> {
    let looked = (flow.looked > 0).then(|| zctrace_contract::Reason::Peeked.code());
    flow.reasons.iter().map(|cause| cause.code.as_str()).chain(looked)
}

/// A word somewhere in what the row shows: names that were given up when flows were folded are not there. It is asked of
/// every flow at every key that is typed, so nothing is made for it that can be done without.
fn word(word: &str, flow: &Flow) -> Fit {
    // What stands across the border of kind and name is found only by a text with a space.
    let across = word.contains(char::is_whitespace);
    let found = |text: &str| is_in(word, text);
    let ends = [&flow.from, &flow.to].into_iter().any(|end| {
        // The kind by its word in the language and by that of the screen, the name as it is.
        found(end.kind.as_str()) || found(end.kind.label()) || found(&end.name) || (across && found(&end.to_string()))
    });
    let port = |end: &End| end.port.is_some_and(|port| found(&format!(":{port}")));
    Fit::of(
        ends || found(&flow.process)
            || flow.name.as_deref().is_some_and(found)
            || flow.call_names.iter().any(|call| found(call.as_str()))
            || codes(flow).any(found)
            || port(&flow.from)
            || port(&flow.to),
    )
}

/// Whether a word, which may have stars, stands in a text, whatever the case.
pub(super) fn is_in(word: &str, text: &str) -> bool {
    if word.contains(['*', '?']) {
        return glob::fits(&format!("*{}*", word.to_lowercase()), &text.to_lowercase());
    }
    if word.is_ascii() && text.is_ascii() {
        let mut windows = text.as_bytes().windows(word.len());
        return windows.any(|window| window.eq_ignore_ascii_case(word.as_bytes()));
    }
    text.to_lowercase().contains(&word.to_lowercase())
}

/// The path of an end, or whatever its name is. What has no name has none that fits.
fn path(pattern: &str, end: &End, folded: u64) -> Fit {
    match end.kind {
        EndKind::Various => Fit::Perhaps,
        EndKind::Memory => Fit::No,
        // An address never begins like a path, so it does not matter that it was given up.
        EndKind::Tcp | EndKind::Udp if pattern.starts_with('/') => Fit::No,
        _ => name(pattern, &end.name, folded),
    }
}

enum Port {
    None,
    GivenUp,
    Is(u16),
}

/// The service's port if that is known, else that of the address.
fn port(end: &End) -> Port {
    if end.kind == EndKind::Various {
        return Port::GivenUp;
    }
    if !end.kind.is_socket() {
        return Port::None;
    }
    let of_name = || end.name.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    match end.port.or_else(of_name) {
        Some(port) => Port::Is(port),
        None if end.name.is_empty() && end.kind != EndKind::Unix => Port::GivenUp,
        None => Port::None,
    }
}
