//! Criteria of a judgment: the endpoints, and how much may be copied on the path to them.

use std::fmt;

use zctrace_contract::Reason;
use zctrace_report::format::count;
use zctrace_report::{Cause, Endpoint, EndpointKind, Flow};

use super::files::Files;
use crate::filter::{Match, Pattern};
use crate::quantity::{parse_bytes, parse_decimal};

/// Limit of copied or unknown bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// Number of bytes.
    Bytes(u64),
    /// Share of the delivered bytes, in billionths.
    Share(u64),
}

impl Limit {
    /// One percent as a [`Limit::Share`].
    pub(crate) const PER_PERCENT: u64 = 10_000_000;

    /// Parses a limit: a size, or a percentage of the delivered bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(number) = text.strip_suffix('%') else {
            return parse_bytes(text)
                .map(Self::Bytes)
                .map_err(|why| format!("{why}; or a percentage, such as 1%"));
        };
        parse_decimal(number.trim_end(), 7)
            .filter(|&parts| parts <= 100 * Self::PER_PERCENT)
            .map(Self::Share)
            .ok_or_else(|| "a percentage is a number from 0 to 100 with at most 7 decimals, such as 0.5%".to_owned())
    }

    /// Returns whether `bytes` of the delivered bytes are within the limit. Nothing is rounded.
    pub(crate) fn allows(self, bytes: u128, arrived: u64) -> bool {
        match self {
            Self::Bytes(most) => bytes <= u128::from(most),
            Self::Share(parts) => {
                bytes * u128::from(100 * Self::PER_PERCENT) <= u128::from(arrived) * u128::from(parts)
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bytes(bytes) => write!(f, "{}", exact_bytes(u128::from(bytes))),
            Self::Share(parts) => {
                let whole = parts / Self::PER_PERCENT;
                let decimals = format!("{:07}", parts % Self::PER_PERCENT);
                let decimals = decimals.trim_end_matches('0');
                let point = if decimals.is_empty() { "" } else { "." };
                write!(f, "{whole}{point}{decimals} %")
            }
        }
    }
}

/// Formats an exact number of bytes, for sentences that compare it with a limit: `65 536 bytes`.
pub(crate) fn exact_bytes(bytes: u128) -> String {
    match u64::try_from(bytes).unwrap_or(u64::MAX) {
        0 => "0".to_owned(),
        1 => "1 byte".to_owned(),
        more => format!("{} bytes", count(more)),
    }
}

/// Criteria that a run is judged by.
#[derive(Clone, Debug)]
pub(crate) struct Criteria {
    /// Endpoints at which delivered bytes are judged.
    pub(crate) to: Vec<Pattern>,
    /// Endpoints that the judged bytes come from; empty for any.
    pub(crate) from: Vec<Pattern>,
    /// Limit of copied bytes. Without one, only the baseline is checked.
    pub(crate) max_copied: Option<Limit>,
    /// Limit of unknown bytes. Without one, unknown bytes must not be able to change the verdict.
    pub(crate) max_unknown: Option<Limit>,
    /// Minimum number of delivered bytes for a verdict.
    pub(crate) min_bytes: u64,
    /// Reasons whose copied and unknown bytes do not count.
    pub(crate) allow: Vec<Reason>,
    /// Files that the patterns name, whatever their names in the report. Empty before the run.
    pub(crate) files: Files,
}

impl Criteria {
    /// Returns whether a flow is judged. It may be if its origin is lost and the criteria ask for
    /// one.
    pub(crate) fn matches(&self, flow: &Flow) -> Match {
        let from = match self.matches_source(&flow.from, flow.folded) {
            Match::No if origin_is_lost(flow) => Match::Unknown,
            from => from,
        };
        self.matches_sink(&flow.to, flow.folded).min(from)
    }

    /// Returns whether bytes that were delivered to an endpoint are judged, if they come from a
    /// source that is.
    pub(crate) fn matches_sink(&self, to: &Endpoint, folded: u64) -> Match {
        self.best(&self.to, to, folded).unwrap_or(Match::No)
    }

    /// Returns whether bytes that came from an endpoint are judged, if they reach a sink that is.
    pub(crate) fn matches_source(&self, from: &Endpoint, folded: u64) -> Match {
        self.best(&self.from, from, folded).unwrap_or(Match::Yes)
    }

    fn best(&self, patterns: &[Pattern], end: &Endpoint, folded: u64) -> Option<Match> {
        let fit = |pattern: &Pattern| pattern.matches(end, folded).max(self.files.matches(pattern, end));
        patterns.iter().map(fit).max()
    }

    /// Returns whether what was done unobserved on an endpoint can have brought bytes to the judged
    /// endpoints, or taken them from the judged sources.
    pub(crate) fn concern(&self, end: &Endpoint) -> bool {
        let patterns = [&self.to, &self.from];
        let mut found = patterns.iter().filter_map(|patterns| self.best(patterns, end, 1));
        found.any(|found| found != Match::No)
    }

    /// Returns a hint about a pattern with white space at its end, which no name is likely to have.
    pub(crate) fn pattern_hint(&self) -> Option<String> {
        let mut patterns = self.to.iter().chain(&self.from);
        let has_space = |pattern: &&Pattern| pattern.glob().is_some_and(|glob| glob.trim() != glob);
        let pattern = patterns.find(has_space)?;
        Some(format!(
            "; `{pattern}` begins or ends with white space, which is part of the name"
        ))
    }

    /// Formats the endpoints, as `file, socket` or `file, socket from tcp`.
    pub(crate) fn endpoints(&self) -> String {
        let list = |patterns: &[Pattern]| {
            let words: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            words.join(", ")
        };
        let to = list(&self.to);
        if self.from.is_empty() {
            to
        } else {
            format!("{to} from {}", list(&self.from))
        }
    }
}

/// Returns whether some bytes of a flow can have come from another endpoint than its first.
fn origin_is_lost(flow: &Flow) -> bool {
    let lost = [Reason::OriginLost, Reason::LeftInPipe, Reason::UnseenSender];
    let is_lost = |cause: &Cause| cause.code.reason().is_some_and(|reason| lost.contains(&reason));
    flow.from.kind == EndpointKind::Pipe || flow.reasons.iter().any(is_lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_exact_and_displayed_as_given() {
        let one_percent = Limit::Share(Limit::PER_PERCENT);
        assert!(one_percent.allows(1, 100) && !one_percent.allows(2, 100));
        assert!(!one_percent.allows(1, 99) && one_percent.allows(0, 0) && !one_percent.allows(1, 0));
        assert!(Limit::Share(100 * Limit::PER_PERCENT).allows(u128::from(u64::MAX), u64::MAX));
        assert!(Limit::Bytes(0).allows(0, 0) && !Limit::Bytes(0).allows(1, 10));
        for (limit, shown) in [
            (Limit::Bytes(0), "0"),
            (Limit::Bytes(65_536), "65 536 bytes"),
            (one_percent, "1 %"),
            (Limit::Share(5_000_000), "0.5 %"),
            (Limit::Share(1), "0.0000001 %"),
        ] {
            assert_eq!(limit.to_string(), shown);
        }
    }

    #[test]
    fn parses_sizes_and_exact_percentages() {
        for (text, expected) in [
            ("0", Limit::Bytes(0)),
            ("64K", Limit::Bytes(65_536)),
            ("1MiB", Limit::Bytes(1 << 20)),
            ("0%", Limit::Share(0)),
            ("1%", Limit::Share(10_000_000)),
            ("0.5 %", Limit::Share(5_000_000)),
            ("0.0000001%", Limit::Share(1)),
            ("100%", Limit::Share(1_000_000_000)),
        ] {
            assert_eq!(Limit::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "-1%", "101%", "100.1%", "1.%x", ".5%", "1e3%", "0.00000001%"] {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }
}
